"""Aurora-BP for tests."""

FAULTS = ("unrecorded", "unfeatured", "unmeasured", "inaudible", "late", "gaps", "lost_signal")
COHORT = {"measurement_seconds": 6, **dict.fromkeys(FAULTS, 0)}
