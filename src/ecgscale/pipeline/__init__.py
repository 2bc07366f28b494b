"""The study as a whole: all that is out of date at once, tuning, a look at the machine."""
