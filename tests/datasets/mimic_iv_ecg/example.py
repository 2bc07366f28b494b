"""MIMIC-IV-ECG for tests."""

FAULTS = ("nan_lead", "lost_signal", "unknown_patients", "impossible_lvef")
COHORT = {"fs": 100, **dict.fromkeys(FAULTS, 0)}
UNREAD = ("machine_measurements.csv",)
