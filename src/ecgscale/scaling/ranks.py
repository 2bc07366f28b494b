"""Rank correlation with size, and its permutation test within blocks."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Literal

import numpy as np

from ecgscale.scaling.variance import FloatArray

Coefficient = Literal["spearman", "kendall"]

EXACT_ARRANGEMENTS = 1_000_000
"""Largest number of arrangements of one block that is enumerated (9 sizes: 362,880)."""
EXACT_SUPPORT = 200_000
"""Largest number of distinct values of the statistic that is carried from block to block."""
_TIE = 1e-9
"""Rounding within which two values of a statistic are the same."""


@dataclass(frozen=True)
class PermutationTest:
    """An exact or Monte Carlo permutation test of the mean within-block coefficient.

    Attributes
    ----------
    statistic
        Mean over the blocks of the coefficient within the block.
    p
        Two-sided.
    smallest_p
        The p that perfectly ordered blocks would have.
    draws
        Monte Carlo draws; 0 where the distribution is exact.
    """

    statistic: float
    p: float
    smallest_p: float
    draws: int


def spearman(values: FloatArray) -> FloatArray:
    """Return Spearman's coefficient, shape (...), of each row against its position.

    Rows are values of shape (..., size), in ascending order of size. Tied values share their mean
    rank; a constant row has 0.

    Examples
    --------
    >>> spearman(np.array([[0.70, 0.72, 0.71, 0.75], [0.8, 0.8, 0.8, 0.8]]))
    array([0.8, 0. ])
    """
    k = values.shape[-1]
    ranks = average_ranks(values) - (k + 1) / 2
    position = np.arange(1, k + 1) - (k + 1) / 2
    norm = np.sqrt((ranks**2).sum(-1) * (position**2).sum())
    return _ratio(ranks @ position, norm)


def kendall(values: FloatArray) -> FloatArray:
    """Return Kendall's tau-b of each row against its position, as `spearman`.

    Examples
    --------
    >>> round(float(kendall(np.array([0.70, 0.72, 0.71, 0.75]))), 3)
    0.667
    """
    earlier, later = np.triu_indices(values.shape[-1], 1)
    signs = np.sign(values[..., later] - values[..., earlier])
    # Positions have no ties, so tau-b corrects for those of the values alone.
    norm = np.sqrt(np.abs(signs).sum(-1) * len(earlier))
    return _ratio(signs.sum(-1), norm)


COEFFICIENTS: dict[Coefficient, Callable[[FloatArray], FloatArray]]
COEFFICIENTS = {"spearman": spearman, "kendall": kendall}


def average_ranks(values: FloatArray) -> FloatArray:
    """Return ranks from 1 up along the last axis; tied values share their mean rank."""
    other, own = values[..., None, :], values[..., :, None]
    # How many are smaller, and half of those that are equal, oneself among them.
    ranks: FloatArray = 0.5 + (other < own).sum(-1) + 0.5 * (other == own).sum(-1)
    return ranks


def _ratio(above: FloatArray, below: FloatArray) -> FloatArray:
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def permutation_test(
    score: FloatArray, coefficient: Coefficient, draws: int, rng: np.random.Generator
) -> PermutationTest:
    """Test that size does not order the runs of a block.

    The size labels of the runs are permuted within each block. Blocks are independent, so the null
    distribution of the sum over blocks is the convolution of the blocks' own distributions, each
    enumerated over its ``size!`` arrangements: exact at any number of blocks. With more than
    `EXACT_ARRANGEMENTS` arrangements a block, `draws` random ones are taken and
    ``p = (1 + hits) / (1 + draws)`` (Phipson and Smyth 2010). The score has shape (block, size), in
    ascending order of size.

    Examples
    --------
    One block of five sizes in perfect order: 2 of 120 arrangements are as extreme.

    >>> rising = np.array([[0.70, 0.71, 0.73, 0.74, 0.76]])
    >>> test = permutation_test(rising, "spearman", draws=100, rng=np.random.default_rng(0))
    >>> round(test.p, 4), test.draws
    (0.0167, 0)
    """
    # Labels move within a block only: under the hypothesis runs of one block are exchangeable, but
    # those of two blocks are not, for each order and seed has a level of its own.
    blocks, k = score.shape
    observed = float(COEFFICIENTS[coefficient](score).mean())
    smallest = min(1.0, 2.0 / math.factorial(k) ** blocks)
    exact = _exact_null(score, coefficient) if math.factorial(k) <= EXACT_ARRANGEMENTS else None
    if exact is not None:
        values, weights = exact
        hit = np.abs(values) >= abs(observed) * blocks - _TIE
        return PermutationTest(observed, min(1.0, float(weights[hit].sum())), smallest, 0)
    shuffled = rng.permuted(np.broadcast_to(score, (draws, blocks, k)), axis=-1)
    null = COEFFICIENTS[coefficient](shuffled).mean(axis=-1)
    hits = int((np.abs(null) >= abs(observed) - _TIE).sum())
    # The arrangement at hand counts as one of the draws: p is never 0, and the test keeps its level
    # whatever the number of draws.
    return PermutationTest(observed, (1 + hits) / (1 + draws), smallest, draws)


def _exact_null(
    score: FloatArray, coefficient: Coefficient
) -> tuple[FloatArray, FloatArray] | None:
    """Return values and probabilities of the sum over blocks; None if there are too many values."""
    values: FloatArray = np.zeros(1)
    weights: FloatArray = np.ones(1)
    for block in average_ranks(score):
        # Both coefficients see ranks alone, so blocks that have the same ties share a distribution.
        own_values, own_weights = _block_null(tuple(sorted(block)), coefficient)
        if len(values) * len(own_values) > EXACT_SUPPORT * 25:
            return None
        # Rounded, so that sums that are equal but for the order of adding are one value: a
        # coefficient takes few values, and the support would else grow with every block.
        sums = np.round(np.add.outer(values, own_values).ravel(), 10)
        products = np.multiply.outer(weights, own_weights).ravel()
        values, place = np.unique(sums, return_inverse=True)
        weights = np.bincount(place, products).astype(np.float64)
        if len(values) > EXACT_SUPPORT:
            return None
    return values, weights


@cache
def _block_null(
    ranks: tuple[float, ...], coefficient: Coefficient
) -> tuple[FloatArray, FloatArray]:
    arrangements = np.array(list(permutations(ranks)))
    rounded = np.round(COEFFICIENTS[coefficient](arrangements), 10)
    values, counts = np.unique(rounded, return_counts=True)
    return values, counts / len(arrangements)
