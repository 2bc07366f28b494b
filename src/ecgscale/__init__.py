"""Correlate the amount of pretraining data with downstream ECG classification accuracy."""

__version__ = "0.2.0"
