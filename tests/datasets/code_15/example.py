"""CODE-15% for tests."""

COHORT = {"blank": 0, "lost_signal": 0}
