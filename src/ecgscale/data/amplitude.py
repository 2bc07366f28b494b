"""Amplitudes are checked, not believed: against what hearts give, and against the other records.

A record's amplitude is that of its QRS complexes in mV, the median over its leads. People differ by
a factor of 1.36 (one standard deviation), so that one record says little of a gain that is wrong by
2 or 5, and many records say much: hence limits for one record, for a group of records whose files
state the same gain, device and rate, and for a whole source. One lead among many does not move the
median, so each lead is compared with the record's others too. `benchmarks/amplitudes.py` prints
what all that finds and what it costs; docs/amplitudes.md has the tables.
"""

import csv
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from ecgscale.data.record import LEADS, Record
from ecgscale.data.sources.base import Decoded, QuarantineError

USUAL = {
    **{"I": 0.88, "II": 0.88, "III": 0.68, "aVR": 0.82, "aVL": 0.64, "aVF": 0.64},
    **{"V1": 1.03, "V2": 1.64, "V3": 1.71, "V4": 1.86, "V5": 1.58, "V6": 1.18},
}
"""Median QRS amplitude of each lead in mV, in 3,049 records of PTB-XL."""

POSSIBLE = 10.0
"""A record whose amplitude is more than this many times the usual one, or less than a tenth, is no
ECG in mV. Of 3,506 real recordings none is beyond 3.4, but for those of poor quality."""

LARGEST_SWING = 20.0
"""Largest central 99% range in mV, median over the leads: baseline and all. Of those 3,506
the largest has 4.8 mV."""

FAR, NOTED = 6.5, 3.2
"""Times the centre of the other records beyond which one record is left out, or noted. A low
voltage of 0.3 mV and hypertrophy with 5 mV are not left out."""

GROUP_FAR, GROUP_NOTED = 3.5, 2.0
"""The same for the median of a group or a source. Medians of real sources lie within 1.4 of the
usual; 3.5 is half-way (on a log scale) between 2.5, which a data set is known to have without
anybody knowing why, and a gain that is wrong by 5."""

ONE_LEAD = 1.5
"""The limits for one record are raised to this power where one lead is stored: a single lead
differs that much more between people (by a factor of 1.52, twelve leads 1.34), as axes differ."""

LEAD_NOTED = 4.0
"""Times what a record's other leads let expect of one (`against_others`), beyond which the lead is
noted; raised to the power `ONE_LEAD` where there are only two."""

LEAD_POSSIBLE = (1 / 120, 32.0)
"""Parts of its usual amplitude outside which one lead of several is no ECG in mV. Detached leads of
records that are otherwise acceptable have a hundredth."""

UNEQUAL = 2.0
"""A lead whose stated gain is this many times that of most others, and whose amplitude is so too,
is noted."""

GROUP, MANY = 5, 20
"""Fewest patients of a group, and fewest with whom others are compared."""

CLUSTER = 0.02
"""More than this part of a group's patients beyond `NOTED` on one side are recorded otherwise."""

MINORITY = 0.1
"""Fewer of the records that state one gain cannot be right where the others were corrected."""

KNOWN_NAME = 1.5
"""How many times worse a correction may look than the stated gain, where the record's name too is
that of a data set whose gains are known to be wrong."""

_RATE, _WINDOW, _SEGMENT, _START = 100.0, 0.12, 2.0, 10.0

_LIMB, _CHEST = ("aVL", "I", "aVR", "II", "aVF", "III"), LEADS[6:]
_NEAR = {
    **{lead: (_LIMB[at - 1], _LIMB[(at + 1) % 6]) for at, lead in enumerate(_LIMB)},
    **{lead: _CHEST[max(at - 1, 0) : at + 2] for at, lead in enumerate(_CHEST)},
}
"""The leads that look from beside: in the frontal plane every 30 degrees, on the chest the next."""

Floats = npt.NDArray[np.float64]


def qrs_amplitude(signal: npt.NDArray[np.floating[Any]], fs: float) -> float:
    """Return the amplitude of the QRS complexes, median over the leads.

    Samples are averaged to about 100 Hz (spikes of a pacemaker vanish); in every window of 0.12 s
    that is the range (the baseline's wander vanishes), in every 2 s the largest of these is a QRS
    complex, and the median over the recording is a lead's amplitude. Constant leads, and leads with
    values that are not finite, do not count.

    Parameters
    ----------
    signal
        Shape (lead, time), mV.
    fs
        Its rate in Hz.

    Returns
    -------
    float
        In mV; NaN if no lead counts.
    """
    amplitudes = lead_amplitudes(signal, fs)
    return float(np.nanmedian(amplitudes)) if np.isfinite(amplitudes).any() else float("nan")


def lead_amplitudes(signal: npt.NDArray[np.floating[Any]], fs: float) -> Floats:
    """Return each lead's QRS amplitude in mV, shape (lead,); NaN for one that does not count."""
    found = np.full(len(signal), np.nan)
    lives = np.isfinite(signal).all(axis=1)
    lives[lives] = np.ptp(signal[lives], axis=1) > 0 if signal.shape[1] else False
    if not lives.any():
        return found
    block = min(max(1, int(fs // _RATE)), signal.shape[1])
    whole = signal.shape[1] // block * block
    x = signal[lives, :whole].reshape(lives.sum(), -1, block).mean(axis=2, dtype=np.float64)
    rate = fs / block
    window = min(max(2, round(_WINDOW * rate)), x.shape[1])
    hop = max(1, window // 2)
    ranges = np.ptp(np.lib.stride_tricks.sliding_window_view(x, window, axis=1)[:, ::hop], axis=2)
    length = min(max(1, round(_SEGMENT * rate / hop)), ranges.shape[1])
    segments = ranges[:, : ranges.shape[1] // length * length].reshape(len(x), -1, length)
    found[lives] = np.median(segments.max(axis=2), axis=1)
    return found


def usual_amplitude(leads: Sequence[str]) -> float:
    """Return the usual QRS amplitude of some leads in mV; an unknown lead is taken for a median."""
    middle = float(np.median(list(USUAL.values())))
    return float(np.median([USUAL.get(lead, middle) for lead in leads]))


def against_others(amplitudes: npt.ArrayLike, leads: Sequence[str]) -> Floats:
    """Compare each lead's amplitude with what the record's other leads let expect.

    With levels as logarithms of the amplitude over the usual one of the lead, a third of what is
    expected is the median level of the others, and two thirds the mean level of the leads beside it
    (V1 and V3 of V2; aVL and aVR of I), where there are any: that follows the axis of the heart.

    Parameters
    ----------
    amplitudes
        mV, one for each of `leads`; those that are not above 0 do not count.
    leads
        Names; other leads than the standard 12 do not count.

    Returns
    -------
    Shape (lead,): the logarithm of the amplitude over the expected one; NaN where unknown.
    """
    values = np.asarray(amplitudes, dtype=np.float64).tolist()
    pairs = zip(leads, values, strict=True)
    levels = {x: math.log(mv / USUAL[x]) for x, mv in pairs if x in USUAL and mv > 0}
    found = []
    for lead in leads:
        others = sorted(level for other, level in levels.items() if other != lead)
        if lead not in levels or not others:
            found.append(math.nan)
            continue
        expected = (others[len(others) // 2] + others[(len(others) - 1) // 2]) / 2
        near = [levels[other] for other in _NEAR[lead] if other in levels and other != lead]
        if near:
            expected = (expected + 2 * sum(near) / len(near)) / 3
        found.append(levels[lead] - expected)
    return np.array(found)


class Checked(NamedTuple):
    """What one record's amplitudes are.

    Attributes
    ----------
    amplitude
        mV, median over the leads; NaN where there is none: unit z, all leads constant.
    apart
        Shape (lead,), as `against_others`.
    notes
        On the lead that is furthest from what is expected.
    """

    amplitude: float
    apart: Floats
    notes: tuple[str, ...] = ()


def checked_amplitude(
    record: Record, kept: npt.NDArray[np.float32], leads: Sequence[str]
) -> Checked:
    """Measure a record's amplitudes, and refuse those that cannot be.

    Parameters
    ----------
    record
        What the source says of it.
    kept
        Shape (lead, time), what the recipe keeps of its signal.
    leads
        Names of the leads of `kept`.

    Raises
    ------
    QuarantineError
        If the amplitude is further from the usual than `POSSIBLE`, or that of one lead is outside
        `LEAD_POSSIBLE`, or the signal with its baseline swings by more than `LARGEST_SWING` (reason
        bad-gain).
    """
    if record.unit != "mV":
        return Checked(float("nan"), np.full(len(leads), np.nan))
    of_leads = lead_amplitudes(kept, record.fs)
    amplitude = float(np.nanmedian(of_leads)) if np.isfinite(of_leads).any() else float("nan")
    usual = usual_amplitude(leads)
    limit = _limit(POSSIBLE, leads)
    if amplitude > limit * usual or amplitude < usual / limit:
        raise QuarantineError(
            "bad-gain", f"amplitude {amplitude:.3g} mV; {usual:.2g} mV is usual in these leads"
        )
    for lead, own in zip(leads, of_leads.tolist(), strict=True):
        lowest, highest = LEAD_POSSIBLE
        off = own / USUAL.get(lead, own or 1.0)
        if 0 < off < lowest or off > highest:
            detail = f"lead {lead} has an amplitude of {own:.3g} mV; {USUAL[lead]:.2g} mV is usual"
            raise QuarantineError("bad-gain", detail)
    swing = float(np.median(np.subtract(*np.quantile(kept, [0.995, 0.005], axis=1))))
    if swing > LARGEST_SWING:
        raise QuarantineError("bad-gain", f"the signal swings by {swing:.3g} mV")
    apart = against_others(of_leads, leads)
    return Checked(amplitude, apart, _lead_note(apart, of_leads, leads))


def compared(leads: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Return of which leads an unexpected amplitude is noted, shape (lead,).

    With I, II and another, limb leads follow from each other at every sample, which says more of
    their gains (`ecgscale.data.limb_leads`): amplitudes of them differ with the heart's axis.
    """
    limb = [lead in _LIMB for lead in leads]
    follow = {"I", "II"} <= {*leads} and sum(limb) > 2
    return np.array([lead in USUAL and not (follow and lead in _LIMB) for lead in leads])


def _lead_note(apart: Floats, of_leads: Floats, leads: Sequence[str]) -> tuple[str, ...]:
    off = np.where(compared(leads) & np.isfinite(apart), abs(apart), 0.0)
    worst = int(np.argmax(off))
    power = ONE_LEAD if np.isfinite(apart).sum() == 2 else 1.0
    if off[worst] <= power * math.log(LEAD_NOTED):
        return ()
    return (
        f"amplitude of lead {leads[worst]} {of_leads[worst]:.3g} mV, {_times(apart[worst])} times "
        "what the other leads let expect",
    )


@dataclass(frozen=True)
class KnownGain:
    """Gains that a release is known to misstate: a row of ``gains.csv``.

    Attributes
    ----------
    records
        Pattern of whole record names; empty for all.
    lowest, highest
        Stated steps per mV, both included.
    divisor
        What the stated gain is divided by.
    evidence
        Where it was found, and the numbers.
    """

    records: str
    lowest: float
    highest: float
    divisor: float
    evidence: str


@cache
def known_gains() -> tuple[KnownGain, ...]:
    """Return the gains that are known to be misstated."""
    text = files("ecgscale.data").joinpath("gains.csv").read_text(encoding="utf-8")
    return tuple(
        KnownGain(
            records=row["records"],
            lowest=float(row["lowest"]),
            highest=float(row["highest"]),
            divisor=float(row["divisor"]),
            evidence=row["evidence"],
        )
        for row in csv.DictReader(text.splitlines())
    )


def settled(decoded: Decoded, name: str) -> Decoded:
    """Correct a gain that is known to be misstated, where the amplitude agrees.

    A row of `known_gains` applies to the record's name and its stated gains; it is followed if the
    amplitude of the first 10 s is then nearer to the usual one (on a log scale) than as stated.
    `KNOWN_NAME` is the margin where the row names its records. Less than 2 s need not hold a QRS
    complex, and decide nothing. A single lead whose gain is `UNEQUAL` to that of most others is
    noted if that makes its amplitude as unequal.

    Parameters
    ----------
    decoded
        As stated: ``(samples - baseline) / gain``, with the stated gains.
    name
        The record's name, or its header's.

    Returns
    -------
    Decoded
        `decoded` with the stated gain in words as its `gain` ("1000/mV"); corrected ("200/mV read
        as 1000/mV"), it has the very values of integers under the true gain, and a note.
    """
    gains = decoded.gains
    if not gains:
        return decoded
    stated = _in_words(gains)
    if decoded.signal.shape[1] < _SEGMENT * decoded.fs:
        return replace(decoded, gain=stated)
    if len(set(gains)) > 1:
        decoded = replace(decoded, notes=(*decoded.notes, *_unequal(decoded)))
    for row in known_gains():
        named = re.fullmatch(row.records, re.sub(r"\.\w+$", "", name)) if row.records else None
        if row.records and not named:
            continue
        if not all(row.lowest <= gain <= row.highest for gain in gains):
            continue
        amplitude = qrs_amplitude(decoded.signal[:, : round(_START * decoded.fs)], decoded.fs)
        usual = usual_amplitude(decoded.leads)
        other = amplitude * row.divisor
        if not amplitude > 0 or not usual / POSSIBLE <= other <= usual * POSSIBLE:
            continue
        margin = np.log(KNOWN_NAME) if named else 0.0
        if abs(np.log(other / usual)) >= abs(np.log(amplitude / usual)) + margin:
            continue
        as_stated = np.array(gains, dtype=np.float64)[:, None]
        true = np.round(as_stated / row.divisor, 6)
        single = _in_words(true[:, 0].tolist()) if len(set(gains)) == 1 else f"1/{row.divisor:g}"
        read = f"{stated}{_AS}{single}"
        signal = np.rint(decoded.signal * as_stated) / true
        note = (
            f"{'gain ' if len(set(gains)) == 1 else ''}{stated} in the header{_AS}{single}: "
            f"amplitude {other:.2g} mV, not {amplitude:.2g} mV"
        )
        return replace(
            decoded,
            signal=signal.astype(np.float32),
            gain=read,
            notes=(*decoded.notes, note),
        )
    return replace(decoded, gain=stated)


def corrected(gain: str) -> bool:
    """Whether a gain in words, as `settled` writes it, is one that was corrected."""
    return _AS in gain


def _unequal(decoded: Decoded) -> list[str]:
    """Say of which leads the stated gain is another than most have, and the amplitude with it."""
    others, most = Counter(decoded.gains).most_common(1)[0]
    if 2 * most <= len(decoded.gains):
        return []
    amplitudes = lead_amplitudes(decoded.signal[:, : round(_START * decoded.fs)], decoded.fs)
    as_others = amplitudes * np.array(decoded.gains) / others
    notes = []
    for at, (lead, gain) in enumerate(zip(decoded.leads, decoded.gains, strict=True)):
        off = abs(math.log(gain / others))
        if off < math.log(UNEQUAL):
            continue
        changed = np.where(np.arange(len(amplitudes)) == at, as_others, amplitudes)
        apart = float(abs(against_others(amplitudes, decoded.leads)[at]))
        if apart > max(off / 2, abs(against_others(changed, decoded.leads)[at])):
            notes.append(
                f"lead {lead} has {gain:.6g}/mV in the header, others {others:.6g}/mV: "
                f"amplitude {amplitudes[at]:.3g} mV, under theirs {as_others[at]:.3g} mV; "
                "nothing was changed"
            )
    return notes


class AmplitudeSummary(BaseModel, extra="forbid", frozen=True):
    """The amplitudes of a source's records in mV: how many are known, quantiles, the usual one."""

    records: int
    low: float | None
    """1st percentile; None where no amplitude is known."""
    median: float | None
    high: float | None
    """99th percentile."""
    usual: float


def summarise(amplitudes: npt.ArrayLike, leads: Sequence[str]) -> AmplitudeSummary:
    """Summarise the column `amplitude` of ``records.parquet``.

    Parameters
    ----------
    amplitudes
        mV; NaN is unknown.
    leads
        The stored leads.
    """
    values = np.asarray(amplitudes, dtype=np.float64)
    known = values[np.isfinite(values)]
    quantiles = np.quantile(known, [0.01, 0.5, 0.99]).tolist() if len(known) else [None] * 3
    low, median, high = quantiles
    return AmplitudeSummary(
        records=len(known), low=low, median=median, high=high, usual=usual_amplitude(leads)
    )


@dataclass
class Judgement:
    """What a source's amplitudes say: by row, why it is left out or its note; and of the source."""

    left_out: dict[int, str] = field(default_factory=dict)
    noted: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def judge(
    rows: Sequence[Mapping[str, Any]], leads: Sequence[str], apart: npt.ArrayLike | None = None
) -> Judgement:
    """Compare all records of a source with each other and with the usual amplitude.

    1. Records that state the same gain, where most were corrected and at most `MINORITY` were not,
       or the other way round: the few are left out.
    2. A group (the same gain, device and rate; those of fewer than `GROUP` patients together) whose
       median is off the usual, or off the rest of the source, by `GROUP_FAR`: all are left out.
    3. More than `CLUSTER` of a group's patients beyond `NOTED` on one side: they were recorded
       otherwise, and what is nearer to them than to the rest is left out.
    4. One record beyond `NOTED` of the others is noted, beyond `FAR` (of the usual too) left out.
    5. A lead that is off what the other leads let expect, in the median over the patients of a
       group of `MANY`: by `GROUP_FAR`, all are left out, by `GROUP_NOTED` it is noted. With two
       leads, of which either may be the wrong one, it is noted.

    With fewer than `MANY` patients there is nothing to compare with but the usual amplitude.

    Parameters
    ----------
    rows
        Of ``records.parquet``, with patient_id, amplitude, gain, device and fs_original; those
        whose amplitude is NaN are exempt.
    leads
        The stored leads.
    apart
        Shape (row, lead), as `against_others`; None: leads are not compared.
    """
    amplitudes = np.array([row["amplitude"] for row in rows], dtype=np.float64)
    judged = _Judge(rows, np.log(amplitudes / usual_amplitude(leads)), leads)
    judged.contradictions()
    judged.groups()
    judged.clusters()
    judged.singles()
    if apart is not None and len(rows):
        judged.leads(np.asarray(apart, dtype=np.float64), leads)
    judged.source()
    return judged.result


class _Judge:
    """The steps of `judge`; `level` is the log of the amplitude over the usual one."""

    def __init__(
        self, rows: Sequence[Mapping[str, Any]], level: Floats, leads: Sequence[str]
    ) -> None:
        self.rows, self.level, self.usual = rows, level, usual_amplitude(leads)
        self.noted, self.far = np.log([_limit(NOTED, leads), _limit(FAR, leads)]).tolist()
        self.open = np.isfinite(level)
        self.patient = _numbered([row["patient_id"] for row in rows])
        keys = [(row["gain"] or "", row["device"] or "", row["fs_original"]) for row in rows]
        self.names: list[tuple[str, str, float] | None] = [*dict.fromkeys(keys), None]
        self.group = _numbered(keys)
        for members in self.members().values():
            if self.patients(members) < GROUP:
                self.group[members] = len(self.names) - 1
        self.result = Judgement()

    def patients(self, rows: npt.NDArray[np.int64]) -> int:
        """Return how many patients some rows are of."""
        return len(np.unique(self.patient[rows]))

    def members(self) -> dict[int, npt.NDArray[np.int64]]:
        """Return the rows of each group that are not left out yet."""
        rows = np.flatnonzero(self.open)
        rows = rows[np.argsort(self.group[rows], kind="stable")]
        parts = np.split(rows, np.flatnonzero(np.diff(self.group[rows])) + 1)
        return {int(self.group[part[0]]): part for part in parts if len(part)}

    def leave_out(self, rows: npt.NDArray[np.int64], why: str) -> None:
        for row in rows.tolist():
            self.result.left_out[row] = f"amplitude {self.millivolts(row)}; {why}"
        self.open[rows] = False

    def millivolts(self, row: int) -> str:
        return f"{self.usual * np.exp(self.level[row]):.3g} mV"

    def what(self, number: int) -> str:
        key = self.names[number]
        if key is None:
            return "records of small groups"
        gain, device, fs = key
        parts = (f"gain {gain}" if gain else "", f"device {device}" if device else "")
        return ", ".join(filter(None, (*parts, f"{fs:g} Hz")))

    def contradictions(self) -> None:
        counts = Counter(row["gain"] or "" for row in self.rows)
        for read in [gain for gain in counts if corrected(gain)]:
            stated = read.split(_AS)[0]
            total = counts[read] + counts[stated]
            few = min(read, stated, key=lambda gain: counts[gain])
            if not counts[stated]:
                continue
            what = f"gain {read} in {counts[read]} of {total} records that state it"
            if total >= MANY and counts[few] <= MINORITY * total:
                same = np.array([row["gain"] == few for row in self.rows]) & self.open
                why = f"{what}, {'not' if few == stated else 'and'} in this one"
                self.leave_out(np.flatnonzero(same), why)
            else:
                self.result.notes.append(what)

    def groups(self) -> None:
        members = self.members()
        centres = {
            number: float(np.median(self.level[rows]))
            for number, rows in members.items()
            if self.patients(rows) >= GROUP
        }
        for number in sorted(centres, key=lambda number: -abs(centres[number])):
            centre, rows = centres[number], members[number]
            why = f"{len(rows)} records ({self.what(number)}) have {{}} times the {{}}"
            if abs(centre) > np.log(GROUP_FAR):
                self.leave_out(rows, why.format(_times(centre), f"usual {self.usual:.2g} mV"))
                continue
            # Only what is further from the usual than the rest can be the wrong part of the two.
            if abs(centre) <= np.log(GROUP_FAR) / 2:
                break
            others = np.flatnonzero(self.open & (self.group != number))
            compared = self.patients(others) >= MANY
            rest = float(np.median(self.level[others])) if compared else centre
            if abs(centre - rest) > np.log(GROUP_FAR) and abs(centre) > abs(rest):
                usual = self.usual * np.exp(rest)
                self.leave_out(
                    rows,
                    why.format(_times(centre - rest), f"{usual:.2g} mV of the source's others"),
                )

    def clusters(self) -> None:
        for number, rows in self.members().items():
            patients = self.patients(rows)
            if patients < MANY:
                continue
            centre = float(np.median(self.level[rows]))
            for side in (1, -1):
                away = side * (self.level[rows] - centre)
                far = away > self.noted
                if self.patients(rows[far]) < max(GROUP, CLUSTER * patients):
                    continue
                middle = float(np.median(away[far]))
                if abs(centre + side * middle) <= abs(centre):
                    continue
                apart = rows[away > middle / 2]
                self.leave_out(
                    apart,
                    f"{len(apart)} of {len(rows)} records ({self.what(number)}) have "
                    f"{_times(side * middle)} times the {self.usual * np.exp(centre):.2g} mV "
                    "of the others",
                )

    def singles(self) -> None:
        everybody = np.flatnonzero(self.open)
        compared = self.patients(everybody) >= MANY
        whole = float(np.median(self.level[everybody])) if compared else 0.0
        for rows in self.members().values():
            own = self.patients(rows) >= MANY
            centre = float(np.median(self.level[rows])) if own else whole
            others = f"{self.usual * np.exp(centre):.2g} mV that are usual"
            others += " in this source" if compared else ""
            for row in rows[abs(self.level[rows] - centre) > self.noted].tolist():
                level = float(self.level[row])
                text = f"{_times(level - centre)} times the {others}"
                side = np.sign(level - centre)
                if min(side * level, side * (level - centre)) > self.far:
                    self.leave_out(np.array([row]), text)
                else:
                    self.result.noted[row] = f"amplitude {self.millivolts(row)}, {text}"

    def leads(self, apart: Floats, leads: Sequence[str]) -> None:
        for number, rows in self.members().items():
            centres = {}
            for at, lead in enumerate(leads):
                known = rows[np.isfinite(apart[rows, at])]
                if self.patients(known) >= MANY:
                    centres[lead] = float(np.median(apart[known, at]))
            for lead in sorted(centres, key=lambda lead: -abs(centres[lead])):
                centre = centres[lead]
                if abs(centre) <= np.log(GROUP_NOTED):
                    break
                text = (
                    f"lead {lead} of {len(rows)} records ({self.what(number)}) has "
                    f"{_times(centre)} times the amplitude that the other leads let expect"
                )
                if abs(centre) > np.log(GROUP_FAR) and len(leads) > 2:
                    self.leave_out(rows, text)
                    break  # what the leads beside it have may be due to it
                self.result.notes.append(f"{text}; nothing was changed")

    def source(self) -> None:
        notes = self.result.notes
        known, everybody = np.flatnonzero(np.isfinite(self.level)), np.flatnonzero(self.open)
        if len(known) < len(self.rows):
            exempt = len(self.rows) - len(known)
            notes.append(f"amplitude not checked in {exempt} records that have none in mV")
        if 0 < self.patients(known) < MANY:
            notes.append(f"fewer than {MANY} patients: amplitudes compared with the usual only")
        if self.patients(everybody) < GROUP:
            return
        centre = float(np.median(self.level[everybody]))
        if abs(centre) > np.log(GROUP_NOTED):
            notes.append(self._off("the source", centre))
        for number, rows in self.members().items():
            own = float(np.median(self.level[rows]))
            apart = min(abs(own - centre), abs(own)) > np.log(GROUP_NOTED)
            if apart and self.patients(rows) >= GROUP:
                notes.append(self._off(f"{len(rows)} records ({self.what(number)})", own))

    def _off(self, what: str, centre: float) -> str:
        return (
            f"median amplitude of {what} {self.usual * np.exp(centre):.2g} mV, {_times(centre)} "
            f"times the {self.usual:.2g} mV that are usual in these leads; nothing was changed"
        )


_AS = " read as "


def _limit(factor: float, leads: Sequence[str]) -> float:
    return float(factor**ONE_LEAD) if len(leads) == 1 else factor


def _numbered(values: Sequence[Any]) -> npt.NDArray[np.int64]:
    """Give equal values one number, in the order in which they first come."""
    numbers = {value: number for number, value in enumerate(dict.fromkeys(values))}
    return np.array([numbers[value] for value in values], dtype=np.int64)


def _times(log_ratio: float) -> str:
    return f"{np.exp(log_ratio):.2g}"


def _in_words(gains: Sequence[float]) -> str:
    """Write the gain that all leads have; some recorders scale each lead of each record."""
    several = len(set(gains)) > 1
    return "several gains" if several else f"{np.format_float_positional(gains[0], trim='-')}/mV"
