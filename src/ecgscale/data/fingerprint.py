"""A recording's fingerprint: when its heart beats, and how strongly, whatever the file says.

The fingerprint is the course of the energy in 5 to 20 Hz, summed over leads that are each brought
to the same mean energy. Beat times and the beat-to-beat course of the energy survive other sampling
rates, band-passes, gains, per-lead z-scores, signs and orders of leads; ids, units and headers have
no part in it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

RATE = 25.0
"""Samples of a fingerprint per second."""

SECONDS = 10.0
"""Longest part of a record that is looked at: its first seconds."""

EDGE = 10
"""Fingerprint samples left out at each end, where the filters see the ends of the record."""

STEPS = 32
"""Steps of the stored int8 per standard deviation of a record's course over time."""

BAND = (5.0, 20.0)
"""Edges of the band in Hz: inside every band-pass in use, above drift, below mains hum."""

SIGMA = 0.03
"""Standard deviation in seconds of the Gaussian that smooths the energy."""

SELF_LAG = 0.24
"""Least seconds between a recording and itself, below which it resembles itself by smoothness."""


def fingerprint_length(n_samples: int, fs: float) -> int:
    """Return the samples of the fingerprint of `n_samples` at `fs` Hz; 0 if too short for one."""
    return max(0, _whole(n_samples, fs) - 2 * EDGE)


def fingerprints(signals: npt.NDArray[Any], fs: float, valid: int) -> npt.NDArray[np.int8]:
    """Return the fingerprints of records of one rate and length.

    The energy is the squared magnitude of the analytic signal of the band-passed lead, divided by
    the lead's mean; the square root of the mean over leads is smoothed and brought to mean 0 and
    standard deviation 1 over time.

    Parameters
    ----------
    signals
        Shape (record, lead, time), any unit; leads that are constant have no part.
    fs
        Their sampling rate, Hz, at least 40.
    valid
        Samples that are signal; the rest is padding.

    Returns
    -------
    numpy.ndarray
        Shape (record, ``fingerprint_length(time, fs)``), int8 in steps of 1/`STEPS` standard
        deviation, cut at +-127; 0 where there is padding and for a record without energy.

    Examples
    --------
    >>> ecg = np.random.default_rng(0).normal(size=(1, 12, 1000))
    >>> one, other = fingerprints(ecg, 100, 1000), fingerprints(-7 * ecg[:, ::-1], 100, 1000)
    >>> one.shape, bool(np.abs(one.astype(int) - other).max() <= 1)
    ((1, 230), True)
    """
    out = np.zeros((len(signals), fingerprint_length(signals.shape[-1], fs)), dtype=np.int8)
    length = fingerprint_length(valid, fs)
    if not length or not len(signals):
        return out
    x = np.asarray(signals[..., : round(_whole(valid, fs) / RATE * fs)], dtype=np.float32)
    energy = _energy(x, fs)
    course = _smooth(np.sqrt(energy), x.shape[-1] / fs, length)
    course -= course.mean(axis=-1, keepdims=True)
    spread = course.std(axis=-1, keepdims=True)
    scaled = course / np.where(spread > 0, spread, np.inf) * STEPS
    out[:, :length] = np.clip(np.rint(scaled), -127, 127)
    return out


def _whole(n_samples: int, fs: float) -> int:
    """Return how many whole fingerprint samples a signal holds: a part of one would stretch all."""
    return int(min(n_samples / fs, SECONDS) * RATE + 1e-6)


def _energy(x: npt.NDArray[np.float32], fs: float) -> npt.NDArray[np.float32]:
    """Return shape (record, time'): mean over leads of the energy, at a rate that holds its band.

    All in the frequency domain; the line through a lead's ends is taken off, and what is left of
    the ends' effect lies within `EDGE`.
    """
    length = x.shape[-1]
    line = np.linspace(0, 1, length, dtype=np.float32)
    x = x - (x[..., :1] + (x[..., -1:] - x[..., :1]) * line)
    frequency = np.fft.rfftfreq(length, 1 / fs)
    low, high = BAND
    ramps = np.clip((frequency - low + 1.5) / 3, 0, 1) * np.clip((high + 1.5 - frequency) / 3, 0, 1)
    weight = np.sin(ramps * np.pi / 2) ** 2
    last = int(np.flatnonzero(weight).max(initial=0))
    spectrum = np.zeros((*x.shape[:-1], 2 * (last + 1)), dtype=np.complex64)
    spectrum[..., : last + 1] = (np.fft.rfft(x, axis=-1) * weight)[..., : last + 1]
    analytic = np.fft.ifft(spectrum, axis=-1)
    energy = analytic.real**2 + analytic.imag**2
    mean = energy.mean(axis=-1, keepdims=True)
    # Rounding leaves a constant lead some energy: far below that of one step of the store.
    flat = mean <= 1e-9 * mean.max(axis=1, keepdims=True, initial=0)
    share = np.where(flat, 0, energy / np.where(flat, 1, mean))
    return np.asarray(share.sum(axis=1) / np.maximum((~flat).sum(axis=1), 1), dtype=np.float32)


def _smooth(
    course: npt.NDArray[np.float32], seconds: float, length: int
) -> npt.NDArray[np.float32]:
    """Return shape (record, `length`): the course at `RATE`, smoothed, without its edges."""
    samples = length + 2 * EDGE
    spectrum = np.fft.rfft(course, axis=-1)
    frequency = np.arange(spectrum.shape[-1]) / seconds
    spectrum *= np.exp(-2 * (np.pi * frequency * SIGMA) ** 2)
    kept = min(spectrum.shape[-1], samples // 2 + 1)
    cut = np.zeros((len(course), samples // 2 + 1), dtype=np.complex64)
    cut[:, :kept] = spectrum[:, :kept]
    smooth = np.fft.irfft(cut, samples, axis=-1)
    return np.asarray(smooth[:, EDGE:-EDGE], dtype=np.float32)
