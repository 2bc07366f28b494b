"""The same recording under another name: proposed by its course, in time linear in the records.

The course around a beat (`ecgscale.data.fingerprint`) becomes a code of 64 bits, and is compared
with its neighbours in several sorted orders of the codes, each of another permutation of the bits
(Charikar, 2002, "Similarity estimation techniques from rounding algorithms"; Manku et al., 2007,
"Detecting near-duplicates for web crawling"). What a record costs is the same however many there
are, and however alike. `ecgscale.data.copies` decides on the pairs that are proposed here.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ecgscale.data.fingerprint import RATE, SELF_LAG, STEPS

HALF_WINDOW = 2.4
"""Seconds before and after a beat that its code covers."""

ANCHORS = 4
"""Most beats of a record that are coded: those nearest to the middle of its first seconds."""

DIMENSIONS = 48
"""Principal components of the windows from which codes are made."""

ORDERS = 8
"""Sorted orders in which windows are compared with their neighbours."""

NEIGHBOURS = 8
"""Neighbours on each side that a window is compared with in each order."""

PROPOSALS = 4
"""Pairs per record that are kept: those whose windows agree best."""

ALIKE = 0.9
"""Least correlation of two windows, and then of two whole courses, that is worth a look."""

EXCESS = 0.8
"""Most that a pair's courses may differ, as a part of what one differs from itself a beat later."""

BLOCK = 50_000
"""Records, windows or pairs that are worked on at once."""

SAMPLE = 20_000
"""Windows from which the directions and thresholds of the codes are computed."""

Bytes = npt.NDArray[np.int8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class Pairs(NamedTuple):
    """Pairs of records.

    Attributes
    ----------
    first, second
        Shape (pair,), rows, ``first < second``.
    lag
        Shape (pair,): what happens at t in `first` happens at t + lag in `second`, fingerprint
        samples.
    alike
        Shape (pair,), correlation.
    """

    first: Ints
    second: Ints
    lag: Floats
    alike: Floats

    def at(self, rows: Ints | slice) -> "Pairs":
        """Return some of the pairs."""
        return Pairs(self.first[rows], self.second[rows], self.lag[rows], self.alike[rows])


class Beats(NamedTuple):
    """Peaks of courses: shape (beat,), the record's row and the place in fingerprint samples."""

    record: Ints
    place: Floats

    def at(self, rows: Ints | slice) -> "Beats":
        """Return some of the beats."""
        return Beats(self.record[rows], self.place[rows])


def propose(prints: Bytes, lengths: Ints) -> Pairs:
    """Return the pairs of records that may be one recording, each pair once.

    Parameters
    ----------
    prints
        Shape (record, time), as `ecgscale.data.fingerprint.fingerprints` returns them.
    lengths
        Shape (record,), how many samples of each are signal.

    Returns
    -------
    Pairs
        Sorted by `first` and `second`; `alike` is the correlation of the whole courses at the best
        lag. At most `PROPOSALS` pairs per record of each pair.

    Examples
    --------
    >>> beats = np.cumsum(np.random.default_rng(0).integers(15, 30, (50, 20)), axis=1)
    >>> prints = np.full((50, 230), -20, dtype=np.int8)
    >>> for row, places in zip(prints, beats):
    ...     row[places[places < 230]] = 100
    >>> prints[7, 3:] = prints[40, :-3]
    >>> pairs = propose(prints, np.full(50, 230))
    >>> pairs.first.tolist(), pairs.second.tolist(), pairs.lag.round().tolist()
    ([7], [40], [-3.0])
    """
    none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float32)
    pairs = Pairs(none[0], none[0], none[1], none[1])
    beats = find_beats(prints, lengths) if len(prints) else Beats(*none)
    if not len(beats.record):
        return pairs
    windows = np.concatenate([_windows(prints, part) for part in _blocks(beats)])
    codes = _codes(windows)
    permutations = np.random.default_rng(0)
    for _ in range(ORDERS):
        order = np.argsort(_permuted(codes, permutations.permutation(64)), kind="stable")
        pairs = _best([pairs, *_neighbours(order, windows, beats)], len(prints))
    return _agreeing(prints, lengths, pairs)


def find_beats(prints: Bytes, lengths: Ints) -> Beats:
    """Return the beats whose surroundings are coded: those with a whole window around them."""
    from scipy.ndimage import maximum_filter1d

    half = int(HALF_WINDOW * RATE) + 2
    found = []
    for start in range(0, len(prints), BLOCK):
        block, length = prints[start : start + BLOCK], lengths[start : start + BLOCK, None]
        at = np.arange(block.shape[1])
        peak = (block >= STEPS) & (block == maximum_filter1d(block, 11, axis=1, mode="nearest"))
        peak[:, 1:] &= block[:, 1:] != block[:, :-1]  # of a plateau, its first sample
        record, place = np.nonzero(peak & (at >= half) & (at < length - half))
        nearest = np.lexsort((np.abs(place - length[record, 0] / 2), record))
        record, place = record[nearest], place[nearest]
        kept = np.arange(len(record)) - np.searchsorted(record, record) < ANCHORS
        record, place = record[kept], place[kept]
        left, top, right = (block[record, place + step].astype(np.float32) for step in (-1, 0, 1))
        # The vertex of the parabola through three samples; a plateau has none.
        bend = np.minimum(left - 2 * top + right, -1)
        shift = np.clip((left - right) / (2 * bend), -0.5, 0.5)
        found.append(Beats(record + start, (place + shift).astype(np.float32)))
    return Beats(*map(np.concatenate, zip(*found, strict=True)))


def self_correlation(prints: Bytes, lengths: Ints) -> Floats:
    """Return shape (record,): the best correlation of a course with itself later.

    Later means from `SELF_LAG` to half of its length; overlaps are brought to mean 0 and norm 1.
    """
    out = np.empty(len(prints), dtype=np.float32)
    width = prints.shape[1]
    lags = np.arange(round(SELF_LAG * RATE), width // 2)
    for start in range(0, len(prints), BLOCK // 10):
        x = prints[start : start + BLOCK // 10].astype(np.float64)
        length = lengths[start : start + BLOCK // 10, None]
        spectrum = np.abs(np.fft.rfft(x, 2 * width, axis=1)) ** 2
        product = np.fft.irfft(spectrum, axis=1)[:, lags]
        kept = np.maximum(length - lags, 0)
        count = np.maximum(kept, 1)
        sums = []
        for values in (x, x * x):
            running = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
            sums.append(np.take_along_axis(running, kept, axis=1))
            sums.append(np.take_along_axis(running, length, axis=1) - running[:, lags])
        head, tail, head_squares, tail_squares = sums
        spread = (head_squares - head**2 / count) * (tail_squares - tail**2 / count)
        correlation = (product - head * tail / count) / np.sqrt(np.maximum(spread, 1))
        out[start : start + len(x)] = np.where(lags <= length // 2, correlation, 0).max(axis=1)
    return out


def _blocks(beats: Beats) -> Iterator[Beats]:
    for start in range(0, len(beats.record), BLOCK):
        yield beats.at(slice(start, start + BLOCK))


def _windows(prints: Bytes, beats: Beats) -> Bytes:
    """Return shape (beat, sample): the course around each beat, smoothed, of one norm."""
    reach = int(HALF_WINDOW * RATE / 2)
    below = np.floor(beats.place).astype(np.int64)
    part = (beats.place - below)[:, None]
    place = below[:, None] + 2 * np.arange(-reach, reach + 1)
    row = beats.record[:, None]
    a, b, c, d = (prints[row, place + step].astype(np.float32) for step in (-1, 0, 1, 2))
    # (1 2 1)/4 keeps what every second sample can hold; linear between samples.
    window = (1 - part) * (a + 2 * b + c) + part * (b + 2 * c + d)
    return np.rint(_unit(window) * 250).clip(-127, 127).astype(np.int8)


def _unit(rows: Floats) -> Floats:
    """Return rows of mean 0 and norm 1."""
    rows = rows - rows.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(norm > 0, norm, 1), dtype=np.float32)


def _codes(windows: Bytes) -> npt.NDArray[np.uint64]:
    """Return shape (window,): the signs of 64 random directions after whitening."""
    chosen = np.unique(np.linspace(0, len(windows) - 1, SAMPLE).astype(np.int64))
    sample = windows[chosen].astype(np.float32)
    mean = sample.mean(axis=0)
    variance, axes = np.linalg.eigh(np.cov(sample.T.astype(np.float64), bias=True))
    whitened = axes[:, -DIMENSIONS:] / np.sqrt(np.maximum(variance[-DIMENSIONS:], 1e-6))
    directions = np.random.default_rng(0).normal(size=(DIMENSIONS, 64))
    project = (whitened @ directions).astype(np.float32)
    threshold = np.median((sample - mean) @ project, axis=0)
    codes = np.empty(len(windows), dtype=np.uint64)
    for start in range(0, len(windows), BLOCK):
        bits = (windows[start : start + BLOCK] - mean) @ project > threshold
        codes[start : start + BLOCK] = _packed(bits)
    return codes


def _packed(bits: npt.NDArray[np.bool_] | npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    packed = np.ascontiguousarray(np.packbits(bits, axis=1))
    return packed.view(">u8")[:, 0].astype(np.uint64)


def _permuted(codes: npt.NDArray[np.uint64], order: Ints) -> npt.NDArray[np.uint64]:
    out = np.empty_like(codes)
    for start in range(0, len(codes), BLOCK):
        octets = codes[start : start + BLOCK].astype(">u8").view(np.uint8).reshape(-1, 8)
        out[start : start + BLOCK] = _packed(np.unpackbits(octets, axis=1)[:, order])
    return out


def _neighbours(order: Ints, windows: Bytes, beats: Beats) -> Iterator[Pairs]:
    """Yield the pairs of windows that are near in an order, and alike."""
    for start in range(0, len(order), BLOCK):
        here = order[start : start + BLOCK + NEIGHBOURS]
        record, place = beats.record[here], beats.place[here]
        window = _unit(windows[here].astype(np.float32))
        for step in range(1, NEIGHBOURS + 1):
            alike = np.einsum("ij,ij->i", window[step:], window[:-step])
            pair = np.flatnonzero((alike >= ALIKE) & (record[step:] != record[:-step]))
            one, two = record[pair], record[pair + step]
            lag = np.where(one < two, 1, -1) * (place[pair + step] - place[pair])
            pairs = np.minimum(one, two), np.maximum(one, two), lag.astype(np.float32), alike[pair]
            yield Pairs(*pairs)


def _best(found: list[Pairs], records: int) -> Pairs:
    """Return each pair once, and of each record those that are most alike."""
    pairs = _joined(found)
    key = pairs.first * records + pairs.second
    order = np.lexsort((-pairs.alike, key))
    pairs = pairs.at(order[np.diff(key[order], prepend=-1) != 0])
    kept = np.zeros(len(pairs.first), dtype=np.bool_)
    for member in (pairs.first, pairs.second):
        rank = np.lexsort((-pairs.alike, member))
        place = np.arange(len(rank)) - np.searchsorted(member[rank], member[rank])
        kept[rank[place < PROPOSALS]] = True
    return pairs.at(np.flatnonzero(kept))


def _joined(parts: list[Pairs]) -> Pairs:
    return Pairs(
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.lag for part in parts]),
        np.concatenate([part.alike for part in parts]),
    )


def _agreeing(prints: Bytes, lengths: Ints, pairs: Pairs) -> Pairs:
    """Return the pairs whose whole courses agree, with the lag at which they do so best."""
    members = np.unique(np.concatenate([pairs.first, pairs.second]))
    own = np.zeros(len(prints), dtype=np.float32)
    own[members] = self_correlation(prints[members], lengths[members])
    kept = [pairs.at(np.empty(0, dtype=np.int64))]
    for start in range(0, len(pairs.first), BLOCK // 10):
        part = pairs.at(slice(start, start + BLOCK // 10))
        part = part._replace(alike=_correlation(prints, lengths, part, 0))
        part = part.at(np.flatnonzero(part.alike >= ALIKE - 0.05))
        part = _at_best_lag(prints, lengths, part)
        own_best = np.maximum(own[part.first], own[part.second])
        close = (part.alike >= ALIKE) & (1 - part.alike <= EXCESS * (1 - own_best))
        kept.append(part.at(np.flatnonzero(close)))
    return _joined(kept)


def _at_best_lag(prints: Bytes, lengths: Ints, pairs: Pairs) -> Pairs:
    """Return pairs at the vertex of the parabola through three lags around the given."""
    step = 0.25
    left, right = (_correlation(prints, lengths, pairs, offset) for offset in (-step, step))
    bend = np.minimum(left - 2 * pairs.alike + right, -1e-6)
    shift = np.clip((left - right) / (2 * bend), -1, 1)
    best = np.minimum(pairs.alike - (left - right) * shift / 4, 1)
    return pairs._replace(lag=pairs.lag + np.float32(step) * shift, alike=best)


def _correlation(prints: Bytes, lengths: Ints, pairs: Pairs, offset: float) -> Floats:
    """Return shape (pair,): the correlation of two courses at a lag, where both are signal."""
    width = prints.shape[1]
    lag = pairs.lag + np.float32(offset)
    below = np.floor(lag).astype(np.int64)[:, None]
    at = np.arange(width)
    inside = (at < lengths[pairs.first, None]) & (at + below >= 1)
    inside &= at + below + 2 < lengths[pairs.second, None]
    place = np.clip(np.arange(-1, width + 2) + below, 0, width - 1)
    taps = prints[pairs.second[:, None], place].astype(np.float32)
    a, b, c, d = (taps[:, step : step + width] for step in range(4))
    u = (lag - np.floor(lag))[:, None]
    # Catmull and Rom's cubic through four samples.
    y = b + u / 2 * (c - a + u * (2 * a - 5 * b + 4 * c - d + u * (3 * (b - c) + d - a)))
    x = prints[pairs.first].astype(np.float32)
    count = np.maximum(inside.sum(axis=1, dtype=np.float32), 1)[:, None]
    for course in (x, y):
        course *= inside
        course -= course.sum(axis=1, keepdims=True) / count
        course *= inside
    norm = np.linalg.norm(x, axis=1) * np.linalg.norm(y, axis=1)
    return np.asarray(np.einsum("ij,ij->i", x, y) / np.maximum(norm, 1), dtype=np.float32)
