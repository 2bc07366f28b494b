"""Columns of numbers whose rate, unit and leads a description states."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy.typing as npt

from ecgscale.data.gate import Channel, admit
from ecgscale.data.sources.base import Decoded
from ecgscale.data.sources.description import FolderDescription


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
    found = admit(
        name,
        [
            Channel(
                name=lead,
                samples=samples,
                fs=float(stated.fs or 0.0),
                unit="mV" if steps else str(stated.units),
                gain=stated.gain if steps else 1.0,
                invalid=stated.invalid or (),
                all_invalid=stated.invalid is not None,
            )
            for lead, samples in zip(leads, columns, strict=True)
        ],
    )
    return replace(found, notes=(*notes, *found.notes))
