"""EDF and EDF+ files, read with `edfio`.

Reference: https://www.edfplus.info/specs/edfplus.html
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ecgscale.data.gate import NO_MEASUREMENT, Channel, admit
from ecgscale.data.sources.base import Decoded, QuarantineError
from ecgscale.data.sources.formats.names import check_unit, voltage
from ecgscale.data.sources.formats.signals import age_comment, only_leads, unreadable

_HEADER = 256
"""Bytes of the header, and again of each signal's."""

_COUNT_AT, _ANNOTATIONS = 216, "EDF Annotations"
"""Where the signals' headers have the samples of a data record, in bytes a signal."""


def read_edf(path: Path, lead_names: Mapping[str, str], leads: Sequence[str]) -> Decoded:
    """Read the leads of a file: those named like a standard lead, or in `lead_names` or `leads`.

    Parameters
    ----------
    lead_names
        Labels to names of leads.
    leads
        Names of leads besides the standard 12.

    Raises
    ------
    QuarantineError
        With reason unreadable-header (no EDF file, or recorded with gaps, EDF+D), missing-lead,
        truncated-signal, wrong-rate (more data than the header states), or as the gate.
    """
    edf, notes = _opened(path)
    try:
        labels = [_text(signal.label) for signal in edf.signals]
        names, kept, left = only_leads(path.name, labels, lead_names, leads)
        channels = []
        for place in kept:
            channel, turned = _channel(names[place], edf.signals[place])
            check_unit(path.name, labels[place], channel.unit)
            channels.append(channel)
            notes += (*turned,)
    except QuarantineError:
        raise
    except Exception as error:  # a damaged header makes edfio raise nearly anything
        raise unreadable(path, error) from error
    found = admit(path.name, channels)
    return replace(found, notes=(*notes, *left, *found.notes))


def edf_comments(path: Path) -> str:
    """Return sex and, from the dates, age at the recording of an EDF+ file as comment lines."""
    edf, _ = _opened(path)
    if not edf.reserved.startswith("EDF+"):
        return ""  # the field is free text there, and may begin with a name
    lines = [f"#Sex: {edf.patient.sex}"] if edf.patient.sex in ("F", "M") else []
    with suppress(ValueError, IndexError):  # withheld ("X"), or no dates
        lines.append(age_comment(edf.patient.birthdate, edf.startdate))
    return "\n".join(lines)


def _opened(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Open a file whose header agrees with its length."""
    import edfio

    with path.open("rb") as file:
        head = file.read(_HEADER)
        try:
            count, stated, size = int(head[252:256]), int(head[236:244]), int(head[184:192])
            headers = file.read(_HEADER * max(count, 0))
            start = _COUNT_AT * count
            lengths = [int(headers[start + 8 * i : start + 8 * i + 8]) for i in range(count)]
        except ValueError as error:
            raise QuarantineError("unreadable-header", f"{path.name} is no EDF file") from error
    if head[:8].strip() != b"0" or count < 1 or size != _HEADER * (count + 1) or min(lengths) < 1:
        raise QuarantineError("unreadable-header", f"{path.name} is no EDF file")
    if head[192:197] == b"EDF+D":
        raise QuarantineError("unreadable-header", f"{path.name} is recorded with gaps (EDF+D)")
    record = 2 * sum(lengths)
    held = path.stat().st_size - size
    if held < record * max(stated, 1):
        detail = f"{path.name} holds {held / record:g} of {stated} data records"
        raise QuarantineError("truncated-signal", detail)
    if held > record * stated >= 0:
        detail = f"{path.name} holds {held / record:g} data records, the header states {stated}"
        raise QuarantineError("wrong-rate", detail)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the -1 that a recorder writes until it is done
            edf = edfio.read_edf(path, header_encoding="latin-1")
    except Exception as error:  # as above
        raise unreadable(path, error) from error
    notes = ("the header states no number of data records, those held are read",)
    return edf, notes if stated < 0 else ()


def _text(field: str) -> str:
    """Return a field that was read as Latin-1, in UTF-8 if it is; the standard has ASCII only."""
    try:
        return field.encode("latin-1").decode()
    except UnicodeDecodeError:
        return field


def _channel(lead: str, signal: Any) -> tuple[Channel, list[str]]:
    """Return a signal, turned over where its gain is negative, which EDF defines."""
    (low, high), (bottom, top) = signal.digital_range, signal.physical_range
    samples = signal.digital.astype(np.int32)  # whose smallest value is none of EDF's
    unit = voltage(_text(signal.physical_dimension))
    if high <= low or top == bottom:
        raise QuarantineError(
            "bad-gain", f"lead {lead} has the digital range {low} to {high} for {bottom} to {top}"
        )
    gain = (high - low) / (top - bottom)
    baseline = low - bottom * gain
    outside = int(np.count_nonzero((samples < low) | (samples > high)))
    invalid = [NO_MEASUREMENT] if low > NO_MEASUREMENT else []
    notes = [f"{outside} samples of lead {lead} are outside its digital range"] if outside else []
    if gain < 0:
        samples, gain, baseline = -samples, -gain, -baseline
        invalid = [-marker for marker in invalid]
        notes.append(f"lead {lead} has a negative gain, and is turned over as EDF defines")
    rate = signal.sampling_frequency
    # The end of a stated range is a value that was measured, or cut off there.
    return Channel(
        lead, samples, rate, unit, gain, baseline, tuple(invalid), all_invalid=True
    ), notes
