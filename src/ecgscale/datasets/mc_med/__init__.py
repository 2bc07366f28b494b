"""MC-MED."""
