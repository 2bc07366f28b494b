"""Readers of ECG data sets in their published layouts, one file each."""
