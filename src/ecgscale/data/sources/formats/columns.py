"""Columns of numbers whose rate, unit and leads a description states."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.gate import Channel, admit
from ecgscale.data.sources.base import Decoded
from ecgscale.data.sources.description import FolderDescription

NO_MEASUREMENT = -32768
"""What converters of 16 bit write for "no measurement", whatever type it is kept in later."""


def admit_columns(
    name: str,
    columns: Sequence[npt.NDArray[Any]],
    stated: FolderDescription,
    notes: tuple[str, ...] = (),
) -> Decoded:
    """Hand columns to the gate as a description says they are to be read.

    Parameters
    ----------
    name
        The file's, for messages.
    columns
        One for each of the leads, in their order, each of shape (time,).
    notes
        What reading the file had to assume.

    Raises
    ------
    QuarantineError
        As `ecgscale.data.gate.admit`.
    """
    leads, steps = stated.standard_leads, stated.units == "adu"
    invalid = stated.invalid
    if invalid is None:
        invalid = (NO_MEASUREMENT,) if steps and all(map(_fits_16_bit, columns)) else ()
    found = admit(
        name,
        [
            Channel(
                name=lead,
                samples=samples,
                fs=float(stated.fs or 0.0),
                unit="mV" if steps else str(stated.units),
                gain=stated.gain if steps else 1.0,
                invalid=invalid,
            )
            for lead, samples in zip(leads, columns, strict=True)
        ],
    )
    notes = (*notes, *found.notes, *(_largest(leads, columns) if steps else ()))
    return replace(found, notes=notes)


def _fits_16_bit(samples: npt.NDArray[Any]) -> bool:
    if not len(samples) or samples.dtype.kind not in "iuf":
        return True
    low, high = float(np.fmin.reduce(samples)), float(np.fmax.reduce(samples))
    return not (low < NO_MEASUREMENT or high >= -NO_MEASUREMENT)


def _largest(leads: Sequence[str], columns: Sequence[npt.NDArray[Any]]) -> list[str]:
    """Say where a converter stood at its largest value: cut off, or a device's own marker."""
    largest = -NO_MEASUREMENT - 1
    counts = [int(np.count_nonzero(samples == largest)) for samples in columns]
    pairs = zip(leads, counts, strict=True)
    return [f"{count} samples of lead {lead} are {largest}" for lead, count in pairs if count]
