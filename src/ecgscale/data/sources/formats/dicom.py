"""DICOM waveforms (12-lead, general and ambulatory ECG), read with `pydicom`.

Reference: DICOM PS3.3 C.10.9 (waveform module), PS3.16 CID 3001 (ECG leads).
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from ecgscale.data.gate import Channel, admit
from ecgscale.data.record import LEADS
from ecgscale.data.sources.base import Decoded, QuarantineError
from ecgscale.data.sources.formats.names import check_unit, lead_of, voltage
from ecgscale.data.sources.formats.signals import age_comment, only_leads, unreadable

LEAD_CODES = {
    **{f"2:{number}": lead for number, lead in enumerate(("I", "II", *LEADS[6:]), 1)},
    **{f"2:{number}": lead for number, lead in enumerate(LEADS[2:6], 61)},
}
"""Code of ISO/IEEE 11073-10101 ("MDC") to lead; those of SCP-ECG end in the same numbers."""

_SCP = "5.6.3-9-"
"""Begins the codes of leads in the coding scheme SCPECG."""

_AVERAGED = ("median", "average", "avg", "template", "representative", "mean beat")
"""Words in the label of a group that holds one beat made of many."""

_LARGEST_DEFLATED = 2**20
"""Bytes of a file that is inflated: a thousand times as many may come of it."""

_LARGEST = 2**28
"""Bytes of a file that is read."""

_DEFLATED, _BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"


def read_dicom(path: Path, lead_names: Mapping[str, str], leads: Sequence[str]) -> Decoded:
    """Read the recording of a file: its original waveforms, not beats that were made of them.

    Of several multiplex groups that with the most leads is read, then the longest, then the first.

    Parameters
    ----------
    lead_names
        Meanings of channels' codes, or their labels, to names of leads.
    leads
        Names of leads besides the standard 12.

    Raises
    ------
    QuarantineError
        With reason unreadable-header (no DICOM file, or none with waveforms), missing-lead (no
        lead, or a lead's code and meaning differ), truncated-signal, wrong-rate, or as the gate.
    """
    with _opened(path) as data:
        groups = list(data.get("WaveformSequence") or ())
        if not groups:
            kind = data.get("SOPClassUID", "of no kind")
            detail = f"{path.name} has no waveforms ({getattr(kind, 'name', kind)})"
            raise QuarantineError("unreadable-header", detail)
        place, notes = _recording(path.name, groups, lead_names)
        labels = [_label(path.name, each, lead_names) for each in _channels_of(groups[place])]
        names, kept, left = only_leads(path.name, labels, lead_names, leads)
        channels, cut = _channels(path.name, data, place, {at: names[at] for at in kept})
    found = admit(path.name, channels)
    return replace(found, notes=(*notes, *left, *cut, *found.notes))


def dicom_comments(path: Path) -> str:
    """Return age and sex as comment lines: the age as stated, or from the dates."""
    with _opened(path) as data:
        sex, age = str(data.get("PatientSex") or ""), str(data.get("PatientAge") or "")
        lines = [f"#Sex: {sex}"] if sex else []
        days = (data.get(key) for key in ("AcquisitionDateTime", "AcquisitionDate", "StudyDate"))
        day = next((str(each)[:8] for each in days if each), "")
        if age:
            lines.append(f"#Age: {age}")
        else:
            with suppress(ValueError):  # withheld
                birth = datetime.strptime(str(data.get("PatientBirthDate")), "%Y%m%d")
                lines.append(age_comment(birth, datetime.strptime(day, "%Y%m%d")))
    return "\n".join(lines)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file; what goes wrong with its values meanwhile is the record's quarantine."""
    import pydicom

    size = path.stat().st_size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of values that are not read here
            meta = pydicom.filereader.read_file_meta_info(path)
            syntax = str(meta.get("TransferSyntaxUID", ""))
            if size > (_LARGEST_DEFLATED if syntax == _DEFLATED else _LARGEST):
                raise ValueError(f"{size} bytes are too many for a file of its kind")
            if syntax == _BIG_ENDIAN:
                raise ValueError("big-endian files, which DICOM has retired, are not read")
            yield pydicom.dcmread(path)
    except QuarantineError:
        raise
    except Exception as error:  # a damaged file makes pydicom raise nearly anything
        raise unreadable(path, error) from error


def _recording(
    file: str, groups: Sequence[Any], lead_names: Mapping[str, str]
) -> tuple[int, tuple[str, ...]]:
    """Return the place of the group that is the recording, and a note on the others."""
    ranks = {}
    for place, group in enumerate(groups):
        label = str(group.get("MultiplexGroupLabel") or "")
        averaged = any(word in label.lower() for word in _AVERAGED)
        labels = [_label(file, each, lead_names) for each in _channels_of(group)]
        count = len({*LEADS} & {lead_of(each, lead_names) for each in labels})
        seconds = _seconds(group)
        original = group.get("WaveformOriginality") == "ORIGINAL"
        if not averaged:
            ranks[place] = original, count, seconds, -place
    if not ranks:
        detail = f"{file} has averaged beats only, and no recording"
        raise QuarantineError("unreadable-header", detail)
    chosen = max(ranks, key=lambda place: ranks[place])
    notes = [] if ranks[chosen][0] else ["the waveforms are derived, not as recorded"]
    left = [_title(group, at) for at, group in enumerate(groups) if at != chosen]
    notes += [f"other waveforms left out: {', '.join(left)}"] if left else []
    return chosen, tuple(notes)


def _seconds(group: Any) -> float:
    rate = float(group.get("SamplingFrequency") or 0)
    return int(group.get("NumberOfWaveformSamples") or 0) / rate if rate > 0 else 0.0


def _title(group: Any, place: int) -> str:
    label = group.get("MultiplexGroupLabel") or f"group {place + 1}"
    return f"{label} ({group.get('WaveformOriginality')}, {_seconds(group):g} s)"


def _channels_of(group: Any) -> list[Any]:
    return list(group.get("ChannelDefinitionSequence") or ())


def _label(file: str, channel: Any, lead_names: Mapping[str, str]) -> str:
    """Return the lead that a channel's code means, or its meaning, or its label."""
    source = next(iter(channel.get("ChannelSourceSequence") or ()), None)
    value = str(source.get("CodeValue") or "").strip() if source else ""
    meaning = str(source.get("CodeMeaning") or "").strip() if source else ""
    meaning = meaning or str(channel.get("ChannelLabel") or "").strip()
    if meaning in lead_names:
        return meaning
    code = LEAD_CODES.get(value.replace(_SCP, "2:", 1))
    said = lead_of(meaning.partition(",")[0], lead_names)
    if code and said in LEADS and code != said:
        detail = f"{file} has a channel with the code {value} of {code} and the name {meaning!r}"
        raise QuarantineError("missing-lead", detail)
    return code or (said if said in LEADS else meaning)


def _channels(
    file: str, data: Any, place: int, names: Mapping[int, str]
) -> tuple[list[Channel], tuple[str, ...]]:
    """Return the channels of a group that are leads, by their places in it, and notes.

    Channels whose first samples were taken at other times are cut to the time that all have.
    """
    from pydicom.waveforms.numpy_handler import multiplex_array

    group = data.WaveformSequence[place]
    count, stated = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    defined, size = len(_channels_of(group)), int(group.WaveformBitsAllocated) // 8
    if group.WaveformSampleInterpretation in ("MB", "AB"):
        raise QuarantineError("unreadable-header", f"{file} has companded samples")
    if count != defined:
        detail = f"{file} states {count} channels and defines {defined}"
        raise QuarantineError("unreadable-header", detail)
    held = len(group.WaveformData) / (count * size)
    if held < stated:
        raise QuarantineError("truncated-signal", f"{file} holds {held:g} of {stated} samples")
    if len(group.WaveformData) > count * size * stated + 1:  # one to make it even
        detail = f"{file} holds {held:g} samples, {stated} are stated"
        raise QuarantineError("wrong-rate", detail)
    samples = multiplex_array(data, place, as_raw=True)
    padding = group.get("WaveformPaddingValue")
    invalid = (int(np.frombuffer(padding[:size], samples.dtype)[0]),) if padding else ()
    rate = float(group.get("SamplingFrequency") or math.nan)
    skews = {at: _skew(_channels_of(group)[at], rate) for at in names}
    latest, skewed = max(skews.values()), max(skews.values()) - min(skews.values())
    if skewed >= stated:
        raise QuarantineError("truncated-signal", f"{file} has no time with all of its leads")
    channels = []
    for at, name in names.items():
        stated_of = _channels_of(group)[at]
        units = next(iter(stated_of.get("ChannelSensitivityUnitsSequence") or ()), None)
        unit = voltage(str(units.get("CodeValue") or "")) if units else ""
        sensitivity = stated_of.get("ChannelSensitivity")
        factor = stated_of.get("ChannelSensitivityCorrectionFactor")
        scale = float(sensitivity or 0) * float(1 if factor is None else factor)
        check_unit(file, str(stated_of.get("ChannelLabel") or ""), unit)
        offset = float(stated_of.get("ChannelBaseline") or 0)  # of a sample of 0, in the unit
        channels.append(
            Channel(
                name=name,
                samples=samples[latest - skews[at] :, at][: stated - skewed],
                fs=rate,
                unit=unit,
                gain=1 / scale if scale else None,
                baseline=-offset / scale if scale else 0.0,
                invalid=invalid,
            )
        )
    notes = (f"{skewed} samples at the ends, which not all leads have, left out",)
    return channels, notes if skewed else ()


def _skew(channel: Any, rate: float) -> int:
    """Return how many samples after the group's start a channel's first one was taken."""
    samples, seconds = channel.get("ChannelSampleSkew"), channel.get("ChannelTimeSkew")
    return round(float(samples or 0) or (float(seconds) * rate if seconds else 0.0))
