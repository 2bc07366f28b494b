"""Readouts: what turns an encoder into predictions of a task; one file each."""

from ecgscale.evaluation.readouts.base import (
    Predictions,
    Problem,
    Readout,
    ReadoutSettings,
    readouts,
)

__all__ = ["Predictions", "Problem", "Readout", "ReadoutSettings", "readouts"]
