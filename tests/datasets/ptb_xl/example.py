"""PTB-XL for tests."""

COHORT = {}
