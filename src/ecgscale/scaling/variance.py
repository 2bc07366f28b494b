"""Where differences come from, runs and test patients, and the intervals that cover both.

The model is that of Fisher's randomised blocks (docs/statistics.md): a block is one (order, seed)
with one run at every size, and all runs are read out on the same test patients.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

_NO_VARIANCE = 1e-20
"""Rounding of values near 1: identical resamples leave no variance to speak of."""


@dataclass(frozen=True)
class Estimate:
    """A value with its interval.

    Attributes
    ----------
    se
        Standard error: runs and test patients together, as far as `covers` says.
    df
        Degrees of freedom of `se` (Satterthwaite); infinite without a part from runs.
    covers
        What the interval covers: "runs and test patients", "test patients only", "runs only" or
        "nothing"; "the objective's runs" where a control was run once.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    covers: str


def slope_weights(x: FloatArray) -> FloatArray:
    """Return weights w, shape (size,), with ``w @ y`` the least-squares slope of y on x.

    Examples
    --------
    >>> float(slope_weights(np.log2([64, 128, 256])) @ [0.70, 0.72, 0.74]).__round__(6)
    0.02
    """
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def reseed_sd(score: FloatArray) -> float:
    """Return the SD between blocks at equal size, pooled over sizes; NaN with one block.

    Of a score of shape (block, size).
    """
    if len(score) < 2:
        return math.nan
    return math.sqrt(float(score.var(axis=0, ddof=1).mean()))


def mean_squares(score: FloatArray) -> tuple[float, float]:
    """Return the mean squares of blocks and of block x size (Fisher's randomised blocks).

    Of a score of shape (block, size), at least 2 x 2.
    """
    blocks, k = score.shape
    between = k * float(score.mean(axis=1).var(ddof=1))
    return between, float((interaction(score) ** 2).sum()) / ((blocks - 1) * (k - 1))


def interaction(score: FloatArray) -> FloatArray:
    """Return what block and size do not explain of each run, shape (block, size)."""
    by_size = score.mean(axis=0, keepdims=True)
    by_block = score.mean(axis=1, keepdims=True)
    return np.asarray(score - by_size - by_block + score.mean())


def level_estimate(
    score: FloatArray, replicates: FloatArray, position: int, confidence: float
) -> Estimate:
    """Return the mean over blocks at one size with its interval, as `weighted_estimate`."""
    return weighted_estimate(score, replicates, np.eye(score.shape[1])[position], confidence)


def weighted_estimate(
    score: FloatArray, replicates: FloatArray, weights: FloatArray, confidence: float
) -> Estimate:
    """Return the mean over blocks of ``score @ weights`` with a t interval.

    Parameters
    ----------
    score, replicates
        Shapes (block, size) and (resample, block, size).
    weights
        Shape (size,). Weights that sum to 0 (a slope) are free of what blocks differ by.
    """
    blocks, k = score.shape
    parts = []
    if blocks > 1:
        between, within = mean_squares(score)
        # All sizes share one run-to-run variance, as the permutation test assumes under its
        # hypothesis. Weights are split into their mean, which carries the levels of blocks along,
        # and the rest, which only block x size moves; the two mean squares are independent.
        level, spread = weights.sum() ** 2 / k, float(weights @ weights)
        parts = [
            (level * between / blocks, blocks - 1.0),
            ((spread - level) * within / blocks, (blocks - 1.0) * (k - 1)),
        ]
    # All runs are read out on the same patients, so a resample goes through the mean over blocks as
    # a whole: what it does to all runs alike is counted once, not divided by the number of blocks.
    patients = float((replicates.mean(axis=1) @ weights).var(ddof=1)) if len(replicates) > 1 else 0
    return t_interval(
        float(score.mean(axis=0) @ weights),
        parts,
        patients,
        covers=coverage(blocks > 1, len(replicates) > 1),
        confidence=confidence,
    )


def t_interval(
    value: float,
    run_parts: Sequence[tuple[float, float]],
    patients: float,
    covers: str,
    confidence: float,
) -> Estimate:
    """Return a value with Student's t interval at Satterthwaite's degrees of freedom (1946).

    Parameters
    ----------
    run_parts
        Independent parts of the variance that come from runs, each with its degrees of freedom.
    patients
        The part of the test patients: so many resamples that it counts as known.
    """
    variance = sum(part for part, _ in run_parts) + patients
    if covers == "nothing" or variance <= _NO_VARIANCE:
        return Estimate(value, math.nan, math.nan, math.nan, math.nan, "nothing")
    # Satterthwaite: a sum of estimated variances is as uncertain as one chi-square whose variance
    # is that of the sum. A part counts by its square over its degrees of freedom, so a large part
    # from few blocks widens the interval and a small one does not.
    wobble = sum(part**2 / df for part, df in run_parts)
    df = variance**2 / wobble if wobble > 0 else math.inf
    se = math.sqrt(variance)
    reach = t_quantile((1 + confidence) / 2, df) * se
    return Estimate(value, value - reach, value + reach, se, df, covers)


def t_quantile(probability: float, df: float) -> float:
    """Return Student's t quantile; the normal one at infinite `df`."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(df) else stdtrit(df, probability))


def coverage(runs: bool, patients: bool) -> str:
    """Return what an interval covers, in words."""
    if runs and patients:
        return "runs and test patients"
    if patients:
        return "test patients only"
    return "runs only" if runs else "nothing"
