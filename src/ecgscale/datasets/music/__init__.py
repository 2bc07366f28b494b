"""MUSIC."""
