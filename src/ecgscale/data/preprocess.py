"""From a record as published to the samples in the store: check, resample, filter, quantise."""

from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ecgscale.data.limb_leads import contradictions
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import Record
from ecgscale.data.sources.base import QuarantineError

ORDER = 3
"""Order of the Butterworth prototype; forward and backward passes double it."""

STEP = 1e-3
"""mV (unit z: standard deviations) per step of the stored int16."""

LIMIT = 32767
"""Largest stored magnitude, in steps."""

FLAT_FRACTION = 0.9
"""A lead is flat when one value holds for at least this part of the kept recording."""

SATURATED_FRACTION = 0.01
"""Part of a record's samples that may exceed the int16 range and be cut to it."""

Floats = npt.NDArray[np.float64]


def keep(
    record: Record,
    recipe: Recipe,
    flat_leads: Literal["quarantine", "keep"] = "quarantine",
    leads: tuple[str, ...] | None = None,
) -> tuple[npt.NDArray[np.float32], tuple[str, ...]]:
    """Check a record and cut out what the recipe keeps of it, at the record's own rate.

    Parameters
    ----------
    record
        As its source delivers it.
    recipe
        The leads, the length and the minimum length.
    flat_leads
        Whether a flat lead sends the record to quarantine or is noted.
    leads
        The leads to keep, where the source does not have all of the recipe.

    Returns
    -------
    numpy.ndarray
        Shape (lead, time), float32, mV; at most ``recipe.seconds`` long.
    tuple of str
        Notes on what was found.

    Raises
    ------
    QuarantineError
        With reason missing-lead, too-short, nan-samples or flat-lead.
    """
    leads = recipe.leads if leads is None else leads
    missing = [lead for lead in leads if lead not in record.leads]
    if missing:
        raise QuarantineError("missing-lead", f"no lead {', '.join(missing)}")
    seconds = record.signal.shape[1] / record.fs
    if seconds < recipe.minimum_seconds:
        raise QuarantineError("too-short", f"{seconds:g} s, minimum {recipe.minimum_seconds:g} s")
    rows = [record.leads.index(lead) for lead in leads]
    signal = record.signal[rows, : round(recipe.seconds * record.fs)]
    broken = np.flatnonzero(~np.isfinite(signal).all(axis=1))
    if broken.size:
        raise QuarantineError("nan-samples", f"lead {', '.join(leads[i] for i in broken)}")
    notes = _flat_notes(signal, leads, flat_leads)
    if record.unit == "mV":
        notes += contradictions(record.signal, record.leads)
    return signal, notes


def process(
    signals: npt.NDArray[np.floating[Any]], fs: float, recipe: Recipe, filtered: bool = False
) -> Floats:
    """Resample, band-pass and cut or pad records of one rate and length.

    Resampling is polyphase with its own anti-alias filter and extends each lead by the line
    through its ends. The filter is a Butterworth band-pass of order `ORDER`, run forwards and
    backwards (zero phase); an edge that the stored rate cannot carry is left out.

    Parameters
    ----------
    signals
        Shape (record, lead, time).
    fs
        Their sampling rate, Hz.
    recipe
        Rate, length and band.
    filtered
        True if the publisher has filtered already; then only the rate and the length change.

    Returns
    -------
    numpy.ndarray
        Shape (record, lead, ``recipe.n_samples``), float64, the unit of `signals`; shorter records
        are padded with zeros. A record's result does not depend on the others.
    """
    from scipy.signal import resample_poly, sosfiltfilt

    x = np.asarray(signals, dtype=np.float64)
    ratio = Fraction(recipe.fs / fs).limit_denominator(10_000)
    if ratio != 1:
        x = resample_poly(x, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    x = x[..., : recipe.n_samples]
    sos = None if filtered else band_pass(recipe.band, recipe.fs)
    if sos is not None:
        x = sosfiltfilt(sos, x, axis=-1, padlen=_pad_samples(recipe, x.shape[-1]))
    short = recipe.n_samples - x.shape[-1]
    return np.pad(x, ((0, 0), (0, 0), (0, short))) if short > 0 else x


@lru_cache
def band_pass(band: tuple[float, float], fs: float) -> Floats | None:
    """Return the second-order sections of the recipe's filter, None if no edge is possible.

    Parameters
    ----------
    band
        Lower and upper edge, Hz. A lower edge of 0 asks for no high-pass; an upper edge at or
        above half of `fs` cannot exist and is left out.
    fs
        Rate of the signals to be filtered, Hz.
    """
    from scipy.signal import butter

    low, high = band
    if low > 0 and high < fs / 2:
        sos = butter(ORDER, (low, high), btype="bandpass", fs=fs, output="sos")
    elif 0 < low < fs / 2:
        sos = butter(ORDER, low, btype="highpass", fs=fs, output="sos")
    elif high < fs / 2:
        sos = butter(ORDER, high, btype="lowpass", fs=fs, output="sos")
    else:
        return None
    return np.asarray(sos, dtype=np.float64)


def quantise(
    signals: npt.NDArray[np.floating[Any]],
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int64]]:
    """Round to the steps of the store.

    Parameters
    ----------
    signals
        Shape (record, lead, time), mV or standard deviations.

    Returns
    -------
    numpy.ndarray
        The same shape, int16, cut to plus or minus `LIMIT`.
    numpy.ndarray
        Shape (record,), how many samples of each record were cut.
    """
    steps = np.rint(np.asarray(signals, dtype=np.float64) / STEP)
    cut = np.abs(steps) > LIMIT
    return np.clip(steps, -LIMIT, LIMIT).astype(np.int16), cut.sum(axis=(1, 2))


def saturation_notes(cut: int, samples: int) -> tuple[str, ...]:
    """Say how many of a record's samples were cut.

    Raises
    ------
    QuarantineError
        If they are more than `SATURATED_FRACTION` (reason bad-gain).
    """
    if cut > SATURATED_FRACTION * samples:
        raise QuarantineError("bad-gain", f"{cut} of {samples} samples exceed {LIMIT * STEP:g} mV")
    return (f"{cut} samples cut to {LIMIT * STEP:g}",) if cut else ()


def _flat_notes(
    signal: npt.NDArray[np.float32], leads: tuple[str, ...], policy: Literal["quarantine", "keep"]
) -> tuple[str, ...]:
    flat = [lead for lead, row in zip(leads, signal, strict=True) if _is_flat(row)]
    if not flat:
        return ()
    text = f"flat lead {', '.join(flat)}"
    if policy == "quarantine":
        raise QuarantineError("flat-lead", text.removeprefix("flat "))
    return (text,)


def _is_flat(row: npt.NDArray[np.float32]) -> bool:
    changes = np.flatnonzero(row[1:] != row[:-1])
    if len(changes) > (1 - FLAT_FRACTION) * len(row):
        return False
    edges = np.concatenate(([-1], changes, [len(row) - 1]))
    return bool(np.diff(edges).max() >= FLAT_FRACTION * len(row))


def _pad_samples(recipe: Recipe, length: int) -> int:
    """Reflect as long as the slowest edge rings: one period of the lower edge."""
    low = recipe.band[0] if recipe.band[0] > 0 else recipe.band[1]
    return min(length - 1, round(recipe.fs / low))
