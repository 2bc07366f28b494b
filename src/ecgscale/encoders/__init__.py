"""Encoders: networks from an ECG to tokens and to one embedding."""

from ecgscale.encoders.base import Encoder, create, encoders, load, save

__all__ = ["Encoder", "create", "encoders", "load", "save"]
