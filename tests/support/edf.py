"""Writes EDF and EDF+ with another library than the one that reads them."""

import numpy as np
import pyedflib

FS = 100


def write_edf(path, signals, labels, *, unit="uV", rates=(), physical=3276.8, plus=True, **header):
    """Write digital samples, int16 (time,) each; 10 steps in a unit, or as `physical` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rates = rates or [FS] * len(labels)
    kind = pyedflib.FILETYPE_EDFPLUS if plus else pyedflib.FILETYPE_EDF
    with pyedflib.EdfWriter(str(path), len(labels), file_type=kind) as file:
        file.setSignalHeaders(
            [
                {
                    "label": label,
                    "dimension": unit,
                    "sample_frequency": rate,
                    "physical_min": -physical,
                    "physical_max": physical,
                    "digital_min": -32768,
                    "digital_max": 32767,
                    "transducer": "",
                    "prefilter": "",
                }
                for label, rate in zip(labels, rates, strict=True)
            ]
        )
        for name, value in header.items():
            getattr(file, f"set{name}")(value)
        file.writeSamples([row.astype(np.int32) for row in signals], digital=True)
        if plus:
            file.writeAnnotation(0.5, -1, "a beat")
