"""The Challenge for tests."""

COHORT = {"fs": 100}
UNREAD = ("RECORDS", ".csv")
