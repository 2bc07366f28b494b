"""MUSIC for tests."""

FAULTS = ("no_holter", "two_leads", "late_start", "flat", "lost_signal")
COHORT = {"recording_seconds": 40, **dict.fromkeys(FAULTS, 0)}
UNREAD = (".dat",)
