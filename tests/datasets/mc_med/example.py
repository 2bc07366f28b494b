"""MC-MED for tests."""

FAULTS = ("unmonitored", "unrecorded", "gaps", "lost_signal")
COHORT = {"fs": 100, **dict.fromkeys(FAULTS, 0)}
PARTS = ("train", "val", "test")
UNREAD = (".dat", *(f"split_random_{part}.csv" for part in PARTS))
