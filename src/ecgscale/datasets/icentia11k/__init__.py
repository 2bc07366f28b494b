"""Icentia11k."""
