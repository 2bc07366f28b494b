"""The one place where what a file states becomes a signal in mV, or is refused.

Every reader hands over what its file says, as `Channel`; `admit` believes nothing of it. So a guard
holds for every kind of file and every format in it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.amplitude import settled
from ecgscale.data.record import LEADS, canonical_lead
from ecgscale.data.sources.base import Decoded, QuarantineError

MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3}
"""mV per unit, by the unit's lower-case name (both Unicode spellings of micro)."""

RATES = (20.0, 20_000.0)
"""Sampling rates in Hz outside which a file cannot be right."""

GAINS = (1.0, 1e7)
"""Steps per mV of integers of up to 16 bits outside which a file cannot be right: full scale 33 V,
or 3 uV. A gain a thousand times too large (2,000,000/mV for 2000/mV is published) is left to those
who look at amplitudes. Wider integers may have so many more steps; floats are no steps."""

LARGEST_BASELINE = 2.0**31
"""Steps: no converter has more."""

NO_MEASUREMENT = -32768
"""What converters of 16 bit write for "no measurement", whatever the type or the unit that the
samples are kept in later."""

FAR = 8.0
"""Samples that are further from their lead's median, mV, and are reached and left by steps of half
of that, are noted: no heart does that, but markers such as -9999 and faults of transmission do."""

_LARGEST = -NO_MEASUREMENT - 1
_BLOCK = 2**22


@dataclass(frozen=True)
class Channel:
    """One signal as its file states it, before anything is believed.

    Attributes
    ----------
    name
        As the file spells it; "" where it does not say.
    samples
        Shape (time,), integers as digitised, or floats.
    fs
        The channel's own rate in Hz: that of the frames times its samples in a frame.
    unit
        Of the values after `gain` and `baseline`.
    gain
        Steps per `unit`; None where the file does not say.
    baseline
        The step that is 0.
    invalid
        Sample values that mean "no measurement" in the file's format.
    checksum
        Stated sum of all samples modulo 65536; None where not stated, or where only a part is read.
    stated
        Samples that the file says it has of this channel; None where it does not say, or where only
        a part is read.
    all_invalid
        Whether `invalid` names every such value: `NO_MEASUREMENT` is none unless it is among them.
    """

    name: str
    samples: npt.NDArray[Any]
    fs: float
    unit: str = "mV"
    gain: float | None = 1.0
    baseline: float = 0.0
    invalid: tuple[float, ...] = ()
    checksum: int | None = None
    stated: int | None = None
    all_invalid: bool = False


def admit(
    name: str,
    channels: Sequence[Channel],
    lead_names: Mapping[str, str] = MappingProxyType({}),
) -> Decoded:
    """Check the channels of a recording, and return them in mV.

    A channel that is no voltage, or has another rate than the leads, is left out with a note: no
    rate is changed here. Everything else that cannot be right refuses the recording. A negative
    gain is refused: no format that is read by its steps defines one (where one does, as EDF, its
    reader turns the samples and says so). A signed integer type's smallest value always means "no
    measurement": that is what converters, WFDB and MATLAB exports use it for. So does
    `NO_MEASUREMENT` where all samples are whole numbers that 16 bit hold, in any type and unit.
    Samples at the other ends of 16 bit, and single ones that are far off (`FAR`), are noted.

    Parameters
    ----------
    name
        The file's name, for messages.
    channels
        What the file states, in its order.
    lead_names
        Names in the file to names of leads ({"MLII": "II"}); they apply before names are compared.

    Returns
    -------
    Decoded
        ``(samples - baseline) / gain``, computed in float64; NaN and infinite floats are passed on.
        Integers whose gain is known to be misstated are corrected (`ecgscale.data.amplitude`).

    Raises
    ------
    QuarantineError
        With reason bad-gain, checksum-mismatch, missing-lead (a nameless channel, or no channel),
        nan-samples, repeated-lead, truncated-signal, unreadable-header (samples that are no
        numbers) or wrong-rate.
    """
    if not channels:
        raise QuarantineError("missing-lead", f"{name} has no signals")
    leads = [canonical_lead(lead_names.get(each.name, each.name)) for each in channels]
    scales = [MILLIVOLTS.get(each.unit.strip().lower()) for each in channels]
    kept = [place for place, scale in enumerate(scales) if scale is not None]
    _check_units(name, channels, leads, kept)
    gains = {
        place: _gain(name, leads[place] or f"number {place + 1}", channels[place]) for place in kept
    }
    _check_names(name, leads, kept)
    fs = _common_rate(name, channels, leads, kept)
    at_rate = [place for place in kept if channels[place].fs == fs]
    chosen = [channels[place] for place in at_rate]
    names = tuple(leads[place] for place in at_rate)
    used = tuple(gains[place] for place in at_rate)
    _check_lengths(name, names, chosen)
    signal, doubts = _in_millivolts(name, names, chosen, used)
    no_voltage = [leads[place] or "nameless" for place in range(len(leads)) if place not in kept]
    other_rate = [f"{leads[i]} ({channels[i].fs:g} Hz)" for i in kept if i not in at_rate]
    notes = (
        *([f"not a voltage, left out: {', '.join(no_voltage)}"] if no_voltage else []),
        *([f"not at {fs:g} Hz, left out: {', '.join(other_rate)}"] if other_rate else []),
        *doubts,
    )
    decoded = Decoded(signal, fs, names, notes, used)
    if any(each.samples.dtype.kind == "f" for each in chosen):
        return decoded  # floats are no steps: nobody misstates their gain
    return settled(decoded, name)


def _check_units(name: str, channels: Sequence[Channel], leads: list[str], kept: list[int]) -> None:
    if not kept:
        units = ", ".join(sorted({each.unit for each in channels}))
        raise QuarantineError("bad-gain", f"no signal of {name} is a voltage, but in {units[:80]}")
    for place, lead in enumerate(leads):
        if place not in kept and lead in LEADS:
            unit = channels[place].unit
            raise QuarantineError(
                "bad-gain", f"lead {lead} of {name} has the unit {unit!r}, no voltage"
            )


def _check_names(name: str, leads: list[str], kept: list[int]) -> None:
    nameless = [place + 1 for place in kept if not leads[place]]
    if nameless:
        raise QuarantineError("missing-lead", f"signal {nameless[0]} of {name} has no name")
    named = [leads[place] for place in kept]
    if len(set(named)) < len(named):
        lead = Counter(named).most_common(1)[0][0]
        raise QuarantineError("repeated-lead", f"lead {lead} of {name} is named twice")


def _common_rate(
    name: str, channels: Sequence[Channel], leads: list[str], kept: list[int]
) -> float:
    """Return the rate of most standard leads, or of most channels; of two as frequent the higher.

    Raises
    ------
    QuarantineError
        If it, or that of a lead, cannot be (wrong-rate).
    """
    standard = [place for place in kept if leads[place] in LEADS] or kept
    for rate in {channels[place].fs for place in standard}:
        if not RATES[0] <= rate <= RATES[1]:
            raise QuarantineError("wrong-rate", f"{name} states a rate of {rate:g} Hz")
    counts = Counter(channels[place].fs for place in standard)
    return float(max(counts, key=lambda rate: (counts[rate], rate)))


def _gain(name: str, lead: str, channel: Channel) -> float:
    """Return a channel's steps per mV."""
    if channel.gain is None:
        raise QuarantineError("bad-gain", f"lead {lead} of {name} has no gain")
    gain = channel.gain / MILLIVOLTS[channel.unit.strip().lower()]
    lowest, highest = GAINS
    kind = channel.samples.dtype
    if kind.kind == "f":
        lowest, highest = np.finfo(np.float64).tiny, np.finfo(np.float64).max
    elif kind.itemsize > 2:
        highest *= 2**16
    if not lowest <= gain <= highest:
        raise QuarantineError(
            "bad-gain", f"lead {lead} of {name} has the gain {channel.gain:g}/{channel.unit}"
        )
    if not abs(channel.baseline) <= LARGEST_BASELINE:
        raise QuarantineError(
            "bad-gain", f"lead {lead} of {name} has the baseline {channel.baseline:g}"
        )
    return gain


def _check_lengths(name: str, leads: tuple[str, ...], channels: list[Channel]) -> None:
    length = len(channels[0].samples)
    for lead, channel in zip(leads, channels, strict=True):
        held = len(channel.samples)
        stated = held if channel.stated is None else channel.stated
        if held < stated or held == 0:
            raise QuarantineError(
                "truncated-signal", f"lead {lead} of {name} has {held} of {stated} samples"
            )
        if held > stated:
            raise QuarantineError(
                "wrong-rate", f"lead {lead} of {name} has {held} samples, {stated} are stated"
            )
        if held != length:
            raise QuarantineError(
                "truncated-signal",
                f"lead {lead} of {name} has {held} samples, lead {leads[0]} {length}",
            )


def _in_millivolts(
    name: str, leads: tuple[str, ...], channels: list[Channel], gains: tuple[float, ...]
) -> tuple[npt.NDArray[np.float32], list[str]]:
    types = {each.samples.dtype for each in channels}
    if any(kind.kind not in "iuf" for kind in types) or any(
        each.samples.ndim != 1 for each in channels
    ):
        raise QuarantineError("unreadable-header", f"the samples of {name} are no rows of numbers")
    signal = np.empty((len(channels), len(channels[0].samples)), dtype=np.float32)
    for rows in _blocks(channels):
        block = np.stack([channels[row].samples for row in rows])
        some = [channels[row] for row in rows]
        _check_samples(name, [leads[row] for row in rows], some, block)
        baselines = np.array([each.baseline for each in some], dtype=np.float64)[:, None]
        values = np.subtract(block, baselines, dtype=np.float64)
        values /= np.array([gains[row] for row in rows])[:, None]
        with np.errstate(over="ignore"):  # becomes infinite, which no record may hold
            if len(rows) == len(signal):
                signal = values.astype(np.float32)
            else:
                signal[rows] = values
    doubts = _at_the_ends(name, leads, channels) if _at_16_bit(channels) else []
    return signal, [*doubts, *_alone(leads, signal)]


def _at_16_bit(channels: list[Channel]) -> bool:
    """Whether some samples are at an end of 16 bit, and all are whole numbers that it holds."""
    ends = []
    for each in channels:
        floats = each.samples.dtype.kind == "f"
        low = np.fmin.reduce(each.samples) if floats else each.samples.min()
        high = np.fmax.reduce(each.samples) if floats else each.samples.max()
        ends += [float(low), float(high)]
    if not {NO_MEASUREMENT, -_LARGEST, _LARGEST} & {*ends}:
        return False
    if min(ends) < NO_MEASUREMENT or max(ends) > _LARGEST:
        return False
    numbers = (each.samples[np.isfinite(each.samples)] for each in channels)
    return all(each.dtype.kind != "f" or (each == np.rint(each)).all() for each in numbers)


def _at_the_ends(name: str, leads: tuple[str, ...], channels: list[Channel]) -> list[str]:
    """Refuse `NO_MEASUREMENT`; say where a converter was at an end: cut off, or its own marker."""
    notes = []
    for lead, channel in zip(leads, channels, strict=True):
        for end in (NO_MEASUREMENT, -_LARGEST, _LARGEST):
            count = int(np.count_nonzero(channel.samples == end))
            if count and end == NO_MEASUREMENT and not channel.all_invalid:
                detail = f"lead {lead} of {name} has {count} invalid samples ({end})"
                raise QuarantineError("nan-samples", detail)
            notes += [f"{count} samples of lead {lead} are {end}"] if count else []
    return notes


def _alone(leads: tuple[str, ...], signal: npt.NDArray[np.float32]) -> list[str]:
    """Say where samples are far from their lead's median, and reached and left in one step."""
    notes = []
    with np.errstate(invalid="ignore"):  # of infinite ones, which are refused later
        spread = np.fmax.reduce(signal, axis=1) - np.fmin.reduce(signal, axis=1)
        for row in np.flatnonzero(np.isfinite(spread) & (spread > FAR)).tolist():
            x = signal[row]
            centre = np.nanmedian(x)
            far = np.abs(x - centre) > FAR
            first = np.flatnonzero(np.diff(far, prepend=False) & far)
            last = np.flatnonzero(np.diff(far, append=False) & far)
            steps = np.abs(np.diff(x, prepend=centre, append=centre)) > FAR / 2
            runs = steps[first] & steps[last + 1]
            if runs.any():
                furthest = max(x[first[runs]].tolist(), key=lambda mv: abs(mv - centre))
                notes.append(
                    f"{(last - first + 1)[runs].sum()} samples of lead {leads[row]} are more than "
                    f"{FAR:g} mV from its median, reached and left in one step ({furthest:.4g} mV)"
                )
    return notes


def _blocks(channels: list[Channel]) -> list[list[int]]:
    """Return the rows to be computed at once: of one type, which integers must keep, and not many.

    A record of usual length is one block; of a long one float64 is never held for all leads.
    """
    size = max(1, _BLOCK // len(channels[0].samples))
    types = dict.fromkeys(each.samples.dtype for each in channels)
    alike = ([row for row, each in enumerate(channels) if each.samples.dtype == t] for t in types)
    return [rows[at : at + size] for rows in alike for at in range(0, len(rows), size)]


def check_sum(name: str, lead: str, channel: Channel, total: int | None = None) -> None:
    """Compare the samples of a channel with its checksum; `admit` does so itself.

    Parameters
    ----------
    name, lead
        For the message.
    channel
        All of its samples: for a reader that hands over only a part of them.
    total
        Their sum, if it is known.

    Raises
    ------
    QuarantineError
        If they do not add up to it (checksum-mismatch).
    """
    if channel.checksum is None:
        return
    total = int(channel.samples.sum(dtype=np.int64)) if total is None else total
    if (total - channel.checksum) % 65536:
        raise QuarantineError(
            "checksum-mismatch",
            f"lead {lead} of {name} adds up to {total % 65536}, "
            f"the header states {channel.checksum % 65536}",
        )


def _check_samples(
    name: str, leads: list[str], channels: list[Channel], block: npt.NDArray[Any]
) -> None:
    integers = block.dtype.kind in "iu"
    if integers and any(each.checksum is not None for each in channels):
        totals = block.sum(axis=1, dtype=np.int64).tolist()
        for lead, channel, total in zip(leads, channels, totals, strict=True):
            check_sum(name, lead, channel, total)
    smallest = (int(np.iinfo(block.dtype).min),) if block.dtype.kind == "i" else ()
    for marker in {*smallest, *(value for each in channels for value in each.invalid)}:
        marked = block == marker
        if not marked.any():
            continue
        for lead, channel, count in zip(leads, channels, marked.sum(axis=1).tolist(), strict=True):
            if count and (marker in smallest or marker in channel.invalid):
                raise QuarantineError(
                    "nan-samples", f"lead {lead} of {name} has {count} invalid samples ({marker})"
                )
