"""The study file, typed, and what it asks for."""
