"""Whether two signals are one recording: they agree far better than either with itself later."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.fingerprint import SECONDS, SELF_LAG

RATE = 200.0
"""Rate in Hz at which signals are compared."""

BAND = (2.0, 20.0)
"""Edges in Hz of what is compared: inside every band-pass in use."""

EDGE = 0.4
"""Seconds left out at each end, where filters see the end of the record."""

SEARCH = 0.05
"""Seconds around the proposed lag in which the best is looked for."""

Floats = npt.NDArray[np.float32]


def canonical(signal: npt.NDArray[Any], fs: float) -> Floats:
    """Return a signal in `BAND` at `RATE`, without constant leads and `EDGE`.

    Parameters
    ----------
    signal
        Shape (lead, time), any unit, its first `ecgscale.data.fingerprint.SECONDS` are taken.
    fs
        Its rate, Hz.
    """
    x = np.asarray(signal[:, : round(SECONDS * fs)], dtype=np.float32)
    x = x[np.ptp(x, axis=1) > 0]
    length = x.shape[1]
    line = np.linspace(0, 1, length, dtype=np.float32)
    x = x - (x[:, :1] + (x[:, -1:] - x[:, :1]) * line)
    frequency = np.fft.rfftfreq(length, 1 / fs)
    low, high = BAND
    ramps = np.clip((frequency - low + 1) / 2, 0, 1) * np.clip((high + 2 - frequency) / 4, 0, 1)
    samples = round(length / fs * RATE)
    kept = min(len(frequency), samples // 2 + 1)
    spectrum = np.zeros((len(x), samples // 2 + 1), dtype=np.complex64)
    spectrum[:, :kept] = (np.fft.rfft(x) * np.sin(ramps * np.pi / 2) ** 2)[:, :kept]
    edge = round(EDGE * RATE)
    return np.asarray(np.fft.irfft(spectrum, samples)[:, edge:-edge], dtype=np.float32)


def agreement(one: Floats, other: Floats, lag: float) -> float:
    """Return how two signals agree at the best lag.

    Parameters
    ----------
    one, other
        Shape (lead, time), as `canonical` returns them; at least one lead each.
    lag
        What happens at t in `one` happens about at t + lag in `other`, seconds.

    Returns
    -------
    float
        Of each lead of the signal with fewer leads the largest correlation, whatever its sign, with
        a lead of the other; of these, the median.
    """
    centre, reach = round(lag * RATE), round(SEARCH * RATE)
    best = np.stack(
        [_by_lead(one, other, step) for step in range(centre - reach, centre + reach + 1)]
    )
    top = int(np.clip(np.median(best, axis=1).argmax(), 1, len(best) - 2))
    # The vertex of the parabola through three lags: less than one sample lies between recordings.
    left, mid, right = best[top - 1 : top + 2]
    bend = np.minimum(left - 2 * mid + right, -1e-9)
    shift = np.clip((left - right) / (2 * bend), -1, 1)
    return float(np.median(np.minimum(mid - (left - right) * shift / 4, 1)))


def _by_lead(one: Floats, other: Floats, lag: int) -> Floats:
    """Return the best correlation of each lead of the signal with fewer, at a lag in samples."""
    start, stop = max(0, -lag), min(one.shape[1], other.shape[1] - lag)
    if stop - start < RATE:
        return np.zeros(min(len(one), len(other)), dtype=np.float32)
    a, b = one[:, start:stop], other[:, start + lag : stop + lag]
    norms = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    correlation = np.abs(a @ b.T) / np.maximum(norms, 1e-12)
    return np.asarray(correlation.max(axis=1 if len(one) <= len(other) else 0), dtype=np.float32)


def repeats(signal: Floats) -> float:
    """Return how a canonical signal agrees with itself at the best lag of `SELF_LAG` or more.

    The median over leads of the correlations, as of `agreement`.
    """
    length = signal.shape[1]
    lags = np.arange(round(SELF_LAG * RATE), length // 2)
    product = np.fft.irfft(np.abs(np.fft.rfft(signal, 2 * length)) ** 2)[:, lags]
    squares = np.pad(np.cumsum(signal.astype(np.float64) ** 2, axis=1), ((0, 0), (1, 0)))
    spread = squares[:, length - lags] * (squares[:, [length]] - squares[:, lags])
    correlation = np.abs(product) / np.sqrt(np.maximum(spread, 1e-24))
    return float(np.median(correlation, axis=0).max())
