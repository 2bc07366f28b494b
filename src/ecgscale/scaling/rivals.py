"""Objectives against each other: at each size, in slope, and whether their ranks stay."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from ecgscale.scaling.claims import holm
from ecgscale.scaling.compare import paired
from ecgscale.scaling.draws import joint_draws
from ecgscale.scaling.groups import Group
from ecgscale.scaling.ranks import average_ranks
from ecgscale.scaling.variance import (
    Estimate,
    FloatArray,
    covered,
    regular,
    slope_weights,
    weighted_estimate,
)


@dataclass(frozen=True)
class Duel:
    """The difference of two objectives in one respect, first minus second.

    Attributes
    ----------
    size
        Pretraining patients, or None for the slope per doubling.
    p_holm
        Adjusted over all pairs, sizes and slopes of the family (`duels`).
    """

    first: Group
    second: Group
    size: int | None
    difference: Estimate
    p_holm: float = math.nan


@dataclass(frozen=True)
class Concordance:
    """Whether objectives keep their ranks from size to size.

    Attributes
    ----------
    objectives, ranks
        Names, and ranks by size, shape (size, objective); 1 is the best.
    w
        Kendall's W: 1 if all sizes agree, 0 if they have nothing in common.
    low, high
        Percentiles over joint draws of runs and test patients, NaN without any.
    covers
        What the interval covers, in words.
    problem
        Why there is none, or "".
    """

    objectives: tuple[str, ...] = ()
    ranks: tuple[tuple[float, ...], ...] = ()
    w: float = math.nan
    low: float = math.nan
    high: float = math.nan
    covers: str = "nothing"
    problem: str = ""


def duels(groups: Sequence[Group], confidence: float) -> list[Duel]:
    """Compare every two objectives at every size and in slope, paired by block.

    Parameters
    ----------
    groups
        Of one endpoint and encoder. Variants of another objective are compared with that alone
        (`ecgscale.scaling.compare`) and are no rivals; nor are two of different regimes.
    """
    rivals = [group for group in groups if not group.problem]
    found = []
    for first, second in combinations(rivals, 2):
        if first.regime != second.regime:
            continue
        score, drawn, blocks = paired(first, second)
        if not blocks:
            continue
        respects: list[tuple[int | None, FloatArray]] = [
            (int(size), np.eye(len(first.sizes))[place]) for place, size in enumerate(first.sizes)
        ]
        for size, weights in [*respects, (None, slope_weights(np.log2(first.sizes)))]:
            difference = weighted_estimate(score, drawn, blocks, weights, confidence)
            found.append(Duel(first, second, size, difference))
    adjusted = holm([duel.difference.p for duel in found])
    return [replace(duel, p_holm=p) for duel, p in zip(found, adjusted, strict=True)]


def concordance(groups: Sequence[Group], confidence: float, draws: int, seed: int) -> Concordance:
    """Return Kendall's W of the objectives' ranks over sizes; groups as of `duels`.

    Its interval takes each draw of the true means (`ecgscale.scaling.draws.joint_draws`) for the
    truth and ranks it anew. Where two objectives are equal at a size their true rank is a tie that
    no draw has, so that W of nearly equal objectives is drawn towards 0: the interval says how
    stable the ranks are, not how stable the scores.
    """
    rivals = [group for group in groups if not group.problem]
    if len(rivals) < 3:
        return Concordance(problem=f"{len(rivals)} objectives have numbers; 3 are needed")
    if len({group.regime for group in rivals}) > 1:
        return Concordance(problem="the objectives are trained under different regimes")
    shared = regular([b for b in rivals[0].blocks if all(b in group.blocks for group in rivals)])
    if not shared:
        return Concordance(problem="the objectives have no replicate in common")
    count = min(len(group.replicates) for group in rivals)
    sign = rivals[0].endpoint.metric.quality(1.0)
    places = [[group.blocks.index(block) for block in shared] for group in rivals]
    pairs = list(zip(rivals, places, strict=True))
    # Shapes (block, objective, size) and (resample, block, objective, size).
    score = sign * np.stack([group.score[ours] for group, ours in pairs], axis=1)
    drawn = sign * np.stack([g.replicates[:count, ours] for g, ours in pairs], axis=2)
    flat, shape = (len(shared), -1), score.shape[1:]
    means = joint_draws(
        score.reshape(flat),
        drawn.reshape(count, *flat) if count else np.empty((0, len(shared), score[0].size)),
        shared,
        draws,
        np.random.default_rng(seed),
    )
    ranks = average_ranks(-score.mean(axis=0).T)
    w = float(kendall_w(ranks))
    found = Concordance(
        tuple(group.objective for group in rivals), tuple(map(tuple, ranks.tolist())), w
    )
    if len(shared) < 2 and count < 2:
        return found
    of_draws = kendall_w(average_ranks(-means.reshape(-1, *shape).swapaxes(1, 2)))
    low, high = np.quantile(of_draws, [(1 - confidence) / 2, (1 + confidence) / 2])
    covers = covered(shared, patients=count > 1)
    return replace(found, low=min(float(low), w), high=max(float(high), w), covers=covers)


def kendall_w(ranks: FloatArray) -> FloatArray:
    """Return Kendall's coefficient of concordance of ranks, shape (..., judge, object).

    ``12 S / (m^2 (n^3 - n))`` with S the sum of squares of the objects' rank sums about their mean
    (Kendall and Babington Smith 1939). Ties are not corrected for; scores have none.

    Examples
    --------
    >>> float(kendall_w(np.array([[1.0, 2, 3], [1, 2, 3], [3, 2, 1], [1, 2, 3]])))
    0.25
    """
    m, n = ranks.shape[-2:]
    sums = ranks.sum(axis=-2)
    off = sums - sums.mean(axis=-1, keepdims=True)
    return np.asarray(12 * (off**2).sum(axis=-1) / (m**2 * (n**3 - n)))
