"""Published layouts that a simulated cohort can be written in."""
