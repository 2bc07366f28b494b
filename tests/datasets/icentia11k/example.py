"""Icentia11k for tests."""

FAULTS = ("undefined", "interrupted", "unannotated", "detached", "lost_signal")
COHORT = {"segment_seconds": 20, **dict.fromkeys(FAULTS, 0)}
UNREAD = (".dat",)
