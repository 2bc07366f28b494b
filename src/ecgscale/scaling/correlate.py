"""Correlation and slope of an endpoint's score against log2 of the pretraining patients.

`docs/statistics.md` states the model and shows by simulation what the intervals cover.
"""

import math
from dataclasses import dataclass

import numpy as np

from ecgscale.scaling.groups import Group
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

POWER = 0.80
"""Of the smallest detectable slope."""


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
    detectable_slope
        Smallest slope that a study like this one finds with power 0.8, by its own interval.
    detectable_from
        "runs" (differences between blocks) or "residuals" (scatter about the line, one block).
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
    detectable_slope: float
    detectable_from: str
    reseed_sd: float


def correlate(
    group: Group, *, confidence: float, permutations: int, bootstrap: int, seed: int
) -> Correlation | None:
    """Estimate everything about one group; None if its `problem` forbids it.

    The other arguments are those of `ecgscale.scaling.settings.ReportConfig`.

    Examples
    --------
    >>> from ecgscale.evaluation.endpoints import Endpoint
    >>> from ecgscale.evaluation.metrics import main_metric
    >>> from ecgscale.evaluation.settings import Protocol
    >>> endpoint = Endpoint("ptb-xl-form", "ptb-xl-form", Protocol(), main_metric("macro_auroc"))
    >>> sizes, blocks = np.array([64, 128, 256, 512]), ((0, 0), (1, 1))
    >>> score = np.array([[0.70, 0.72, 0.73, 0.76], [0.71, 0.72, 0.75, 0.76]])
    >>> group = Group("clef", "net1d", "fixed_steps", endpoint, sizes, blocks, score, score[None])
    >>> found = correlate(group, confidence=0.95, permutations=1000, bootstrap=200, seed=0)
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
    detectable, source = _detectable_slope(group, slope.value, uncertainty(*slopes), confidence)
    return Correlation(
        group=group,
        rho=_percentile(float(spearman(score).mean()), spearman(drawn), slope.covers, confidence),
        rho_test=permutation_test(score, "spearman", permutations, rng),
        tau=_percentile(float(kendall(score).mean()), kendall(drawn), slope.covers, confidence),
        tau_test=permutation_test(score, "kendall", permutations, rng),
        rho_of_means=float(spearman(score.mean(axis=0))),
        slope=slope,
        components=components(*slopes),
        detectable_slope=detectable,
        detectable_from=source,
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


def _detectable_slope(
    group: Group, slope: float, found: Uncertainty, confidence: float
) -> tuple[float, str]:
    """Return the slope found with `POWER`, and where the variance of runs comes from."""
    source = "runs"
    if len(group.blocks) < 2:
        # One block says nothing of how runs differ, so the scatter about its line stands in. It
        # holds some of the patients' noise as well, which makes the slope too large, not too small.
        x, k = np.log2(group.sizes), len(group.sizes)
        y = group.score[0]
        residual = y - y.mean() - slope * (x - x.mean())
        scatter = float(residual @ residual) / (k - 2) / float(((x - x.mean()) ** 2).sum())
        found, source = Uncertainty(scatter, k - 2.0, found.patients), "residuals"
    return found.reach(1 - confidence) + found.reach(2 * (1 - POWER)), source
