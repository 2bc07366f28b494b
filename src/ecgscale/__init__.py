"""Correlate the amount of pretraining data with downstream ECG classification accuracy."""

__version__ = "0.1.0"
