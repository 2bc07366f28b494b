"""Whether pretraining data buy labels: slopes at few labels against all, and the exchange."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from ecgscale.scaling.claims import holm
from ecgscale.scaling.compare import paired
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import (
    Blocks,
    Estimate,
    FloatArray,
    contrast_estimate,
    regular,
    slope_weights,
    weighted_estimate,
)

STEPS = 64
"""Shares of the labels that are tried between two that were measured."""


@dataclass(frozen=True)
class Exchange:
    """How many times more labels the smallest pretraining size needs to equal the largest.

    Attributes
    ----------
    times
        Ratio of the shares of labels; NaN where `problem` says why.
    low, high
        Ratios that are not told apart from it: 0 and infinity where an end lies outside of the
        shares that were measured; NaN without an interval.
    problem
        Why there is no ratio, or "".
    """

    times: float = math.nan
    low: float = math.nan
    high: float = math.nan
    covers: str = "nothing"
    problem: str = ""


@dataclass(frozen=True)
class Labels:
    """What fewer labels do to the slope on pretraining patients.

    Attributes
    ----------
    few, full
        The same runs read out with a share of the labels, and with all.
    of_few, of_full
        Slopes per doubling of the pretraining patients.
    interaction
        The first minus the second, paired by replicate and resample; None with a `problem`.
    p_holm
        Adjusted over the family (`labels`).
    """

    few: Group
    full: Group
    of_few: Estimate | None = None
    of_full: Estimate | None = None
    interaction: Estimate | None = None
    p_holm: float = math.nan
    exchange: Exchange = Exchange()
    problem: str = ""

    @property
    def fraction(self) -> float:
        """Share of the labels."""
        return self.few.endpoint.protocol.fraction


def labels(groups: Sequence[Group], confidence: float) -> list[Labels]:
    """Hold the slope at each share of the labels against that at all of them.

    Parameters
    ----------
    groups
        Of one task under any protocols: one family, over which the interactions are adjusted.
    """
    found = []
    for full in (group for group in groups if group.endpoint.protocol.fraction == 1):
        curve = sorted(
            (other for other in groups if _same_but_labels(other, full)),
            key=lambda group: group.endpoint.protocol.fraction,
        )
        found += [_against(few, curve, confidence) for few in curve if few is not full]
    adjusted = holm([one.interaction.p if one.interaction else math.nan for one in found])
    return [replace(one, p_holm=p) for one, p in zip(found, adjusted, strict=True)]


def _same_but_labels(other: Group, full: Group) -> bool:
    ours, theirs = full.endpoint.protocol, other.endpoint.protocol
    return (other.objective, other.encoder) == (full.objective, full.encoder) and (
        (theirs.readout, theirs.depth) == (ours.readout, ours.depth)
    )


def _against(few: Group, curve: Sequence[Group], confidence: float) -> Labels:
    full = curve[-1]
    lacking = next((group for group in (few, full) if group.problem), None)
    if lacking is not None:
        return Labels(few, full, problem=lacking.problem)
    score, drawn, shared = paired(few, full)
    if not shared:
        return Labels(few, full, problem="no replicate of both")
    weights = slope_weights(np.log2(few.sizes))
    of_few, of_full = (
        weighted_estimate(group.score, group.replicates, group.blocks, weights, confidence)
        for group in (few, full)
    )
    interaction = weighted_estimate(score, drawn, shared, weights, confidence)
    exchange = _exchange(few, curve, confidence)
    return Labels(few, full, of_few, of_full, interaction, exchange=exchange)


def _exchange(few: Group, curve: Sequence[Group], confidence: float) -> Exchange:
    """Return the exchange of the shares from `few` on; smaller ones say where it goes below 1."""
    known = [group for group in curve if not group.problem]
    shared = regular([b for b in few.blocks if all(b in group.blocks for group in known)])
    if not shared:
        return Exchange(problem="no replicate has all shares of the labels")
    sign = few.endpoint.metric.quality(1.0)
    count = min(len(group.replicates) for group in known)
    places = [[group.blocks.index(block) for block in shared] for group in known]
    pairs = list(zip(known, places, strict=True))
    # At the smallest size by share, shapes (block, share) and (resample, block, share).
    small = sign * np.stack([group.score[ours, 0] for group, ours in pairs], axis=1)
    drawn = sign * np.stack([g.replicates[:count, ours, 0] for g, ours in pairs], axis=2)
    own = places[known.index(few)]
    goal = sign * few.score[own, -1], sign * few.replicates[:count, own, -1]
    shares = np.array([group.endpoint.protocol.fraction for group in known])
    return exchange_of(
        shares, (small, drawn), goal, few.endpoint.protocol.fraction, shared, confidence
    )


def exchange_of(
    shares: FloatArray,
    small: tuple[FloatArray, FloatArray],
    goal: tuple[FloatArray, FloatArray],
    start: float,
    blocks: Blocks,
    confidence: float,
) -> Exchange:
    """Return how many times the share `start` of labels reaches a goal, by interpolation.

    The score is taken as linear in the logarithm of the share between two that were measured. The
    interval is that of Fieller (1954), by inversion: all shares at which the score is not told
    apart from the goal. It is the hull of them, so where the score does not rise with labels it is
    wide, and an end that reaches the last share that was measured is open.

    Parameters
    ----------
    shares
        Shape (share,), ascending.
    small
        Scores, more is better: shapes (block, share) and (resample, block, share).
    goal
        Shapes (block,) and (resample, block).
    """
    log, mean = np.log2(shares), small[0].mean(axis=0)
    off = mean - goal[0].mean()
    problem = _unreadable(off, mean, shares, start)
    tried = [np.linspace(a, b, STEPS + 1) for a, b in pairwise(log)]
    times = math.nan
    if not problem:
        reached = np.interp(0.0, off, log)
        times = float(2**reached / start)
        tried.append(np.array([reached]))
    at = np.unique(np.concatenate(tried))
    # Weights of the measured shares at each one that is tried.
    weights = np.array([np.interp(at, log, unit) for unit in np.eye(len(log))]).T
    accepted, covers = [], "nothing"
    for place in weights:
        found = contrast_estimate(
            small[0] @ place - goal[0], small[1] @ place - goal[1], blocks, confidence
        )
        covers = found.covers
        accepted.append(found.low <= 0 <= found.high)
    if covers == "nothing":
        return Exchange(times, covers=covers, problem=problem)
    if not any(accepted):
        # Beyond all shares that were measured, on the side that the last one says.
        low, high = math.nan, math.nan
        if off[0] > 0:
            low, high = 0.0, float(shares[0] / start)
        elif off[-1] < 0:
            low, high = float(1 / start), math.inf
        return Exchange(times, low, high, covers, problem)
    # The ends lie between a share that is told apart and one that is not: the former is taken.
    first, last = np.flatnonzero(accepted)[[0, -1]]
    low = 0.0 if first == 0 else float(2 ** at[first - 1] / start)
    high = math.inf if last == len(at) - 1 else float(2 ** at[last + 1] / start)
    return Exchange(times, low, high, covers, problem)


def _unreadable(off: FloatArray, mean: FloatArray, shares: FloatArray, start: float) -> str:
    """Say why a ratio cannot be read off, or ""."""
    if (np.diff(mean) <= 0).any():
        return "at the smallest size the score does not rise with every step of the labels"
    if off[-1] < 0:
        return f"not reached on average with all labels, {1 / start:.3g} times as many"
    if off[0] > 0:
        return "the smallest size is above the goal at the fewest labels"
    return ""
