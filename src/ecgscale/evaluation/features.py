"""Hand-crafted features of an ECG: what a cardiologist's ruler and a stopwatch would give.

R peaks come from sleepecg (Brunner & Hofer, J. Open Source Softw. 8(86):5411, 2023), a detector
after Pan & Tompkins (IEEE Trans. Biomed. Eng. 32:230-236, 1985). The beats are aligned, and the
rest is measured on their median, with one onset and one offset for all leads, as the programs of
electrocardiographs do (Kligfield et al., Circulation 115:1306-1324, 2007).

- QRS: around the R peak, from the end of one quiet stretch to the start of the next. Quiet is where
  the leads together move at less than 7 % of their highest speed.
- T end: where the steepest tangent after the peak of T meets the baseline (Lepeschkin & Surawicz,
  Circulation 6:378-388, 1952), on the root mean square of the leads.
- P: the largest deflection before QRS on that root mean square; its onset is found as T's end is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecgscale.data.normalise import FLAT_SD
from ecgscale.errors import BadInputError

if TYPE_CHECKING:
    from ecgscale.data.store import Store

Floats = npt.NDArray[np.float64]

RATE = 500
"""Hz at which everything is measured, so that a beat is placed more finely than it was sampled."""

GLOBAL_FEATURES: tuple[str, ...] = (
    *("heart_rate", "rr_sd", "rr_rmssd", "rr_shortest", "rr_longest", "rr_entropy"),
    *("pr", "p_duration", "qrs", "qt", "qtc", "t_peak_end"),
    *("p_size", "qrs_size", "t_size", "qrs_axis", "t_axis", "qrs_t_angle"),
    *("beat_likeness", "unlike_beats", "residual", "residual_4_9_hz"),
    *("power_below_4_hz", "power_4_9_hz", "power_9_15_hz", "spectral_entropy"),
)
"""Features of the whole record. Rate in beats a minute; intervals in ms (`rr_shortest` and
`rr_longest` relative to the median RR); sizes and `residual` in mV, root mean squares over leads;
angles in degrees in the frontal plane; `rr_entropy` (bins of 50 ms) and `spectral_entropy` (0.5 to
40 Hz) in bits; `beat_likeness` is the median correlation of a beat with the median beat and
`unlike_beats` the share below 0.8; `residual` is what the median beat leaves unexplained; power is
relative to that between 0.5 and 40 Hz."""

LEAD_FEATURES: tuple[str, ...] = ("p", "q", "r", "s", "st", "t")
"""Features of each lead, in mV above the level before QRS: the largest deflection of P and of T
with its sign, the highest point of QRS (r, at least 0) and the lowest before and after it (q and s,
at most 0), and the level 60 ms after QRS (st)."""

_BEFORE, _AFTER = round(0.35 * RATE), round(0.65 * RATE)
"""Samples of a beat before and after its R peak."""

_SLOW = 0.07
"""Share of the highest speed of a beat below which its leads are quiet."""

_QUIET = round(0.014 * RATE)
"""Samples for which leads are quiet before and after QRS; they turn more quickly within it."""

_SHORTEST_SECONDS = 2.0
"""The detector learns its thresholds for so long."""

_BLOCK = 64
"""Records resampled at once."""


@dataclass(frozen=True)
class Features:
    """Features of some records.

    Attributes
    ----------
    names
        A name per column; those of `LEAD_FEATURES` are followed by their lead, as in ``r_V5``.
    values
        Shape (record, feature), float32, NaN where a feature could not be measured.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.float32]


def feature_names(leads: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the columns for records with these leads."""
    return (*GLOBAL_FEATURES, *(f"{name}_{lead}" for lead in leads for name in LEAD_FEATURES))


def ecg_features(signal: npt.ArrayLike, fs: float, leads: Sequence[str]) -> Features:
    """Measure hand-crafted features of records.

    Parameters
    ----------
    signal
        Shape (record, lead, time), mV. Zeros at the end of all leads only fill the record up; a
        lead that is flat or not finite is left out.
    fs
        Sampling rate, Hz, at least 100.
    leads
        Name of each lead; the axes need I and aVF.

    Returns
    -------
    Features
        In the order of the records. A record without beats has its spectral features at most.

    Raises
    ------
    BadInputError
        If the shape does not fit the leads, or the rate is too low for a QRS to be measured.
    """
    records = np.asarray(signal)
    if records.ndim != 3 or records.shape[1] != len(leads):
        raise BadInputError(
            f"features need signals of shape (record, {len(leads)} leads, time), "
            f"not {records.shape}"
        )
    if fs < 100:
        raise BadInputError(f"features need at least 100 Hz, the signals have {fs:g}")
    names = feature_names(leads)
    values = np.full((len(records), len(names)), np.nan, dtype=np.float32)
    for start in range(0, len(records), _BLOCK):
        block = records[start : start + _BLOCK]
        for number, (fine, usable) in enumerate(_prepared(block, fs), start):
            found = _record_features(fine, usable, leads)
            values[number] = [found.get(name, np.nan) for name in names]
    return Features(names, values)


def store_features(
    store: "Store",
    rows: npt.NDArray[np.int64],
    advance: Callable[[int], object] = lambda records: None,
) -> Features:
    """Measure rows of a store, with all its leads, as `ecg_features`.

    `advance` is called with the number of records after each block.
    """
    names = feature_names(store.leads)
    values = np.empty((len(rows), len(names)), dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        found = ecg_features(store.signals(block), store.fs, store.leads)
        values[start : start + len(block)] = found.values
        advance(len(block))
    return Features(names, values)


def _prepared(
    records: npt.NDArray[np.floating], fs: float
) -> list[tuple[Floats, npt.NDArray[np.bool_]]]:
    """Return each record at `RATE` without its filling, and which of its leads can be measured."""
    from scipy.signal import resample_poly

    ratio = Fraction(RATE / fs).limit_denominator(1000)
    finite = np.isfinite(records).all(axis=2)
    clean = np.where(finite[:, :, None], records, 0.0).astype(np.float64)
    position = np.arange(1, records.shape[2] + 1)
    filled = ((clean != 0).any(axis=1) * position).max(axis=1, initial=0)
    fine = resample_poly(clean, ratio.numerator, ratio.denominator, axis=2)
    prepared = []
    for record, whole, length in zip(clean, fine, filled.tolist(), strict=True):
        usable = record[:, :length].std(axis=1) > FLAT_SD if length else np.zeros(len(record), bool)
        prepared.append((whole[:, : round(length * RATE / fs)], usable))
    return prepared


def _record_features(
    signal: Floats, usable: npt.NDArray[np.bool_], leads: Sequence[str]
) -> dict[str, float]:
    """Return the features of one record that can be measured, by name."""
    if not usable.any() or signal.shape[1] < _SHORTEST_SECONDS * RATE:
        return {}
    names = [lead for lead, good in zip(leads, usable, strict=True) if good]
    signal = signal[usable] - np.median(signal[usable], axis=1, keepdims=True)
    found = _spectrum(signal)
    detection = _common_component(signal)
    peaks = _r_peaks(detection)
    whole = peaks[(peaks >= _BEFORE) & (peaks < signal.shape[1] - _AFTER)]
    if len(whole) < 2:
        return found
    rr = np.diff(peaks) / RATE
    beats = signal[:, whole[:, None] + np.arange(-_BEFORE, _AFTER)]
    beat = np.median(beats, axis=1)
    found |= _rhythm(rr) | _likeness(detection, whole) | _residual(signal, beat, peaks)
    return found | _waves(beat, names, float(np.median(rr)))


def _common_component(signal: Floats) -> Floats:
    """Return the mix of leads, shape (time,), whose slopes agree most, with QRS upright.

    The first principal component of the correlations: a lead that is disturbed alone agrees with no
    other, so it weighs little.
    """
    slope = np.diff(signal, axis=1)
    scale = 1 / slope.std(axis=1)
    weights = np.linalg.eigh(np.corrcoef(slope))[1][:, -1] * scale if len(slope) > 1 else scale
    mixed: Floats = weights @ signal
    low, high = np.quantile(mixed, (0.01, 0.99))
    return mixed if high > -low else -mixed


def _r_peaks(detection: Floats) -> npt.NDArray[np.intp]:
    """Return where the beats are, aligned with each other to one sample."""
    from sleepecg.heartbeats import detect_heartbeats

    if np.ptp(detection) == 0:
        return np.empty(0, dtype=np.intp)
    peaks = np.asarray(detect_heartbeats(detection, RATE), dtype=np.intp)
    half, reach = round(0.06 * RATE), round(0.05 * RATE)
    edge = half + reach
    padded = np.pad(detection, edge, mode="edge")
    for _ in range(2):
        if len(peaks) < 2:
            break
        around = padded[peaks[:, None] + np.arange(2 * edge + 1)]
        template = np.median(around[:, reach:-reach], axis=0)
        shifted = np.lib.stride_tricks.sliding_window_view(around, 2 * half + 1, axis=1)
        distance = np.square(shifted - template).sum(axis=2)
        peaks = np.unique(np.clip(peaks + distance.argmin(axis=1) - reach, 0, len(detection) - 1))
    return peaks


def _rhythm(rr: Floats) -> dict[str, float]:
    """Describe the RR intervals, given in seconds."""
    median = float(np.median(rr))
    found = {"heart_rate": 60 / median}
    if len(rr) < 2:
        return found
    share = np.unique(np.floor(rr / 0.05), return_counts=True)[1] / len(rr)
    return found | {
        "rr_sd": 1000 * float(rr.std()),
        "rr_rmssd": 1000 * float(np.sqrt(np.mean(np.diff(rr) ** 2))),
        "rr_shortest": float(rr.min()) / median,
        "rr_longest": float(rr.max()) / median,
        "rr_entropy": _entropy(share),
    }


def _likeness(detection: Floats, peaks: npt.NDArray[np.intp]) -> dict[str, float]:
    """Compare the beats' QRS and early T with those of the median beat."""
    beats = detection[peaks[:, None] + np.arange(round(-0.1 * RATE), round(0.3 * RATE))]
    beats = beats - beats.mean(axis=1, keepdims=True)
    median = np.median(beats, axis=0)
    norm = np.linalg.norm(beats, axis=1) * np.linalg.norm(median)
    likeness = beats @ median / np.maximum(norm, np.finfo(np.float64).tiny)
    return {
        "beat_likeness": float(np.median(likeness)),
        "unlike_beats": float(np.mean(likeness < 0.8)),
    }


def _residual(signal: Floats, beat: Floats, peaks: npt.NDArray[np.intp]) -> dict[str, float]:
    """Measure what is left when each beat's share of time is explained by the median beat.

    Fibrillating atria leave their waves of 4 to 9 Hz (Bollmann et al., Europace 8:911-926, 2006).
    """
    time = np.arange(signal.shape[1])
    nearest = peaks[np.abs(time[:, None] - peaks).argmin(axis=1)]
    place = time - nearest + _BEFORE
    explained = (place >= 0) & (place < beat.shape[1])
    left = np.where(explained, signal - beat[:, np.clip(place, 0, beat.shape[1] - 1)], 0.0)
    share = _power(left, (0.5, 4.0, 9.0, 40.0))
    return {
        "residual": float(np.sqrt(np.mean(np.square(left[:, explained])))),
        "residual_4_9_hz": float(share[1] / share.sum()) if share.sum() > 0 else 0.0,
    }


def _spectrum(signal: Floats) -> dict[str, float]:
    """Describe the leads' mean spectrum between 0.5 and 40 Hz."""
    bands = _power(signal, (0.5, 4.0, 9.0, 15.0, 40.0))
    fine = _power(signal, np.arange(0.5, 41.0, 0.5))
    total = max(float(bands.sum()), np.finfo(np.float64).tiny)
    return {
        "power_below_4_hz": float(bands[0]) / total,
        "power_4_9_hz": float(bands[1]) / total,
        "power_9_15_hz": float(bands[2]) / total,
        "spectral_entropy": _entropy(fine / max(float(fine.sum()), np.finfo(np.float64).tiny)),
    }


def _power(signal: Floats, edges: Sequence[float] | Floats) -> Floats:
    """Return the power of all leads between consecutive edges in Hz."""
    power = np.square(np.abs(np.fft.rfft(signal, axis=1))).sum(axis=0)
    frequency = np.arange(len(power)) * RATE / signal.shape[1]
    return np.histogram(frequency, np.asarray(edges), weights=power)[0]


def _entropy(share: Floats) -> float:
    """Return the Shannon entropy in bits."""
    present = share[share > 0]
    return float(-(present * np.log2(present)).sum())


def _waves(beat: Floats, leads: Sequence[str], rr: float) -> dict[str, float]:
    """Measure intervals, axes and amplitudes on a median beat, shape (lead, time)."""
    onset, offset = _qrs(beat)
    level = beat[:, max(onset - round(0.016 * RATE), 0) : onset + 1].mean(axis=1, keepdims=True)
    beat = beat - level
    size = np.sqrt(np.mean(np.square(beat), axis=0))
    last = min(beat.shape[1], _BEFORE + round((rr - 0.12) * RATE))
    first = max(0, _BEFORE - round(max(0.4 * rr, 0.15) * RATE))
    found = {
        "qrs": _ms(offset - onset),
        "qrs_size": float(size[onset : offset + 1].max()),
        **_amplitudes(beat, leads, onset, offset),
    }
    p = slice(first, max(onset - round(0.01 * RATE), first))
    t = slice(min(offset + round(0.06 * RATE), last), last)
    windows = (("p", p), ("t", t))
    for name, window in windows:
        if window.stop - window.start > round(0.05 * RATE):
            extreme = np.abs(beat[:, window]).argmax(axis=1)
            values = beat[:, window][np.arange(len(beat)), extreme]
            found |= {f"{name}_{lead}": float(v) for lead, v in zip(leads, values, strict=True)}
            found[f"{name}_size"] = float(size[window].max())
    found |= _t_intervals(size, onset, t, rr) | _p_intervals(beat, onset, p)
    return found | _axes(beat, leads, slice(onset, offset + 1), t)


def _qrs(beat: Floats) -> tuple[int, int]:
    """Return the first and the last sample of QRS."""
    speed = np.linalg.norm(np.gradient(beat, axis=1), axis=0)
    width = round(0.01 * RATE)
    speed = np.convolve(speed, np.ones(width) / width, mode="same")
    centre = _BEFORE
    near = slice(centre - round(0.08 * RATE), centre + round(0.08 * RATE))
    fast = speed > _SLOW * speed[near].max()
    # quiet[i]: samples i to i + _QUIET - 1.
    quiet = np.convolve(fast, np.ones(_QUIET), mode="valid") == 0
    before = np.flatnonzero(quiet[: centre - _QUIET])
    after = np.flatnonzero(quiet[centre:])
    onset = int(before[-1]) + _QUIET if len(before) else 0
    offset = int(after[0]) + centre if len(after) else beat.shape[1] - 1
    return onset, offset


def _amplitudes(beat: Floats, leads: Sequence[str], onset: int, offset: int) -> dict[str, float]:
    """Return q, r, s and st of each lead."""
    qrs = beat[:, onset : offset + 1]
    top = qrs.argmax(axis=1)
    before = np.arange(qrs.shape[1]) <= top[:, None]
    st = beat[:, min(offset + round(0.06 * RATE), beat.shape[1] - 1)]
    measured = {
        "q": np.minimum(np.where(before, qrs, 0.0).min(axis=1), 0.0),
        "r": np.maximum(qrs.max(axis=1), 0.0),
        "s": np.minimum(np.where(before, 0.0, qrs).min(axis=1), 0.0),
        "st": st,
    }
    return {
        f"{name}_{lead}": float(value)
        for name, values in measured.items()
        for lead, value in zip(leads, values, strict=True)
    }


def _t_intervals(size: Floats, onset: int, window: slice, rr: float) -> dict[str, float]:
    if window.stop - window.start < round(0.1 * RATE):
        return {}
    peak = window.start + int(size[window].argmax())
    end = _tangent(size[peak : window.stop])
    if end is None:
        return {}
    qt = _ms(peak + end - onset)
    return {"qt": qt, "qtc": qt / float(np.sqrt(rr)), "t_peak_end": _ms(end)}


def _p_intervals(beat: Floats, onset: int, window: slice) -> dict[str, float]:
    if window.stop - window.start < round(0.05 * RATE):
        return {}
    level = np.median(beat[:, window], axis=1, keepdims=True)
    size = np.sqrt(np.mean(np.square(beat[:, : window.stop] - level), axis=0))
    peak = window.start + int(size[window].argmax())
    start = _tangent(size[window.start : peak + 1][::-1])
    end = _tangent(size[peak : window.stop])
    found = {}
    if start is not None:
        found["pr"] = _ms(onset - peak + start)
        if end is not None:
            found["p_duration"] = _ms(start + end)
    return found


def _tangent(falling: Floats) -> float | None:
    """Return where the steepest tangent of a wave from its peak on meets its lowest level after it.

    In samples after the peak; None if the wave does not fall.
    """
    lowest = int(falling.argmin())
    slope = np.diff(falling[: lowest + 1])
    if not len(slope) or slope.min() >= 0:
        return None
    steepest = int(slope.argmin())
    return float(steepest + (falling[lowest] - falling[steepest]) / slope[steepest])


def _axes(beat: Floats, leads: Sequence[str], qrs: slice, t: slice) -> dict[str, float]:
    """Return frontal axes from the areas in I and aVF (which is sqrt(3) / 2 of a bipolar lead)."""
    if "I" not in leads or "aVF" not in leads or t.stop <= t.start:
        return {}
    x, y = beat[leads.index("I")], 2 / np.sqrt(3) * beat[leads.index("aVF")]
    qrs_axis, t_axis = (
        float(np.degrees(np.arctan2(y[part].sum(), x[part].sum()))) for part in (qrs, t)
    )
    angle = abs((qrs_axis - t_axis + 180) % 360 - 180)
    return {"qrs_axis": qrs_axis, "t_axis": t_axis, "qrs_t_angle": angle}


def _ms(samples: float) -> float:
    return 1000 * samples / RATE
