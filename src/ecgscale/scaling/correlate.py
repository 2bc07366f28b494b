"""Correlation and slope of an endpoint's score against log2 of the pretraining patients.

`docs/statistics.md` states the model and shows by simulation what the intervals cover.
"""

import math
from dataclasses import dataclass

import numpy as np

from ecgscale.scaling.groups import Group
from ecgscale.scaling.power import simulate_power, times, variance_limits
from ecgscale.scaling.ranks import PermutationTest, kendall, permutation_test, spearman
from ecgscale.scaling.variance import (
    Components,
    Estimate,
    FloatArray,
    Uncertainty,
    components,
    contrast_estimate,
    interaction,
    reseed_sd,
    slope_weights,
    uncertainty,
    whole,
)


@dataclass(frozen=True)
class Correlation:
    """Everything said about one group.

    Attributes
    ----------
    rho, tau
        Mean within-block Spearman coefficient and Kendall tau-b, against size.
    rho_test, tau_test
        Their permutation tests, of these test patients and of runs that are independent within a
        block. The Spearman test is Page's trend test in its exact form.
    rho_of_means
        Spearman coefficient of the block means against size.
    slope
        Change of the score per doubling of the patients; its p is the test that decides.
    components
        Where the variance of one run's slope comes from.
    variance
        Of the mean slope: what its intervals and tests are made from.
    detectable_slope, detectable_low, detectable_high
        Smallest slope that the rule of the verdicts finds with power 0.8 in studies of this design
        and noise; the same where runs vary by as little or as much as the estimate of their
        variance leaves possible (80% interval). NaN with one block, which is no test.
    reseed_sd
        SD between blocks at equal size, pooled over sizes; NaN with one block.
    """

    group: Group
    rho: Estimate
    rho_test: PermutationTest
    tau: Estimate
    tau_test: PermutationTest
    rho_of_means: float
    slope: Estimate
    components: Components
    variance: Uncertainty
    detectable_slope: float
    detectable_low: float
    detectable_high: float
    reseed_sd: float


def correlate(
    group: Group, *, tests: int, confidence: float, permutations: int, bootstrap: int, seed: int
) -> Correlation | None:
    """Estimate everything about one group; None if its `problem` forbids it.

    Parameters
    ----------
    tests
        Pre-declared tests of the study, which decide the level of each.
    confidence, permutations, bootstrap, seed
        As `ecgscale.scaling.settings.ReportConfig`.

    Examples
    --------
    >>> from ecgscale.evaluation.endpoints import Endpoint
    >>> from ecgscale.evaluation.metrics import main_metric
    >>> from ecgscale.evaluation.settings import Protocol
    >>> endpoint = Endpoint("ptb-xl-form", "ptb-xl-form", Protocol(), main_metric("macro_auroc"))
    >>> sizes, blocks = np.array([64, 128, 256, 512]), ((0, 0), (1, 1))
    >>> score = np.array([[0.70, 0.72, 0.73, 0.76], [0.71, 0.72, 0.75, 0.76]])
    >>> group = Group("clef", "net1d", "fixed_steps", endpoint, sizes, blocks, score, score[None])
    >>> options = {"confidence": 0.95, "permutations": 1000, "bootstrap": 200, "seed": 0}
    >>> found = correlate(group, tests=1, **options)
    >>> round(found.rho.value, 2), round(found.rho_test.p, 4), round(found.slope.value, 4)
    (1.0, 0.0035, 0.0185)
    """
    if group.problem:
        return None
    rng = np.random.default_rng(seed)
    score, x = group.score, np.log2(group.sizes)
    drawn = _joint_draws(group, confidence, bootstrap, rng)
    weights = slope_weights(x)
    slopes = (score @ weights, group.replicates @ weights, group.blocks)
    slope = contrast_estimate(*slopes, confidence)
    parts = components(*slopes)
    detectable, detectable_low, detectable_high = _detectable(
        group, parts, slope.df, tests, confidence
    )
    return Correlation(
        group=group,
        rho=_percentile(float(spearman(score).mean()), spearman(drawn), slope.covers, confidence),
        rho_test=permutation_test(score, "spearman", permutations, rng),
        tau=_percentile(float(kendall(score).mean()), kendall(drawn), slope.covers, confidence),
        tau_test=permutation_test(score, "kendall", permutations, rng),
        rho_of_means=float(spearman(score.mean(axis=0))),
        slope=slope,
        components=parts,
        variance=uncertainty(*slopes),
        detectable_slope=detectable,
        detectable_low=detectable_low,
        detectable_high=detectable_high,
        reseed_sd=reseed_sd(score),
    )


def _joint_draws(
    group: Group, confidence: float, count: int, rng: np.random.Generator
) -> FloatArray:
    """Return new studies drawn from this one, shape (draw, block, size).

    Each draw takes one resample of the test patients for all runs, and for every run a residual of
    the block x size interaction, scaled to the unbiased variance and to Student's t for its degrees
    of freedom. Resampling whole blocks instead would cover far too little with the two to five
    blocks that studies have.
    """
    from scipy.special import ndtri, stdtrit

    blocks, k = group.score.shape
    replicates = whole(group.replicates)
    means = np.broadcast_to(group.score.mean(axis=0), (count, k))
    if len(replicates) > 1:
        # One resample moves the whole curve: the b-th holds the same patients in every run, so what
        # a lucky set of patients does to all sizes alike changes no order among them.
        curves = replicates.mean(axis=1)
        picked = rng.integers(len(curves), size=count)
        means = means + (curves[picked] - curves.mean(axis=0))
    if blocks < 2:
        return np.asarray(means[:, None, :]) if len(replicates) > 1 else np.empty((0, 1, k))
    # Residuals about fitted blocks and sizes are smaller than the noise that they come from, by the
    # degrees of freedom that the fit took. Student's t over the normal quantile makes up for a
    # variance that is known from few runs.
    df = (blocks - 1) * (k - 1)
    tail = (1 + confidence) / 2
    widen = math.sqrt(blocks * k / df) * float(stdtrit(df, tail) / ndtri(tail))
    residuals = widen * interaction(group.score).ravel()
    return np.asarray(means[:, None, :] + rng.choice(residuals, size=(count, blocks, k)))


def _percentile(value: float, drawn: FloatArray, covers: str, confidence: float) -> Estimate:
    """Return the percentile interval of coefficients, shape (draw, block), averaged over blocks."""
    if not len(drawn):
        return Estimate(value, math.nan, math.nan, math.nan, math.nan, math.nan, covers)
    means = drawn.mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    low, high = min(float(low), value), max(float(high), value)
    return Estimate(value, low, high, float(means.std(ddof=1)), math.nan, math.nan, covers)


def _detectable(
    group: Group, found: Components, df: float, tests: int, confidence: float
) -> tuple[float, float, float]:
    """Return the slope found with `POWER`, and what it is where runs vary less or more."""
    if math.isnan(df):
        return (math.nan, math.nan, math.nan)

    def found_by(factor: float) -> float:
        power = simulate_power(
            times(found, factor), group.blocks, tests=tests, alpha=1 - confidence
        )
        return power.detectable() if power else math.nan

    less, more = variance_limits(df)
    return found_by(1.0), found_by(less), found_by(more)
