"""One slope over the tasks of a study; tasks are a sample of those that one could have taken."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import (
    Blocks,
    Estimate,
    FloatArray,
    contrast_estimate,
    patients_covariance,
    slope_weights,
    uncertainty,
    whole,
)

_NODES = 2000
"""Draws of the variances that an interval averages over."""
_TINY = 1e-24


@dataclass(frozen=True)
class Pool:
    """A mean slope over tasks and how the tasks differ.

    Attributes
    ----------
    these
        The mean slope of these tasks; its interval covers runs and test patients.
    alike
        The same value as the mean slope of all tasks that these stand for: its interval covers
        which tasks were taken as well.
    tau2, tau2_low, tau2_high
        Variance of the true slopes between tasks, by REML, and its interval. NaN with one task or
        where nothing is known of the noise.
    i2, i2_low, i2_high
        Share of `tau2` in the variance between tasks that is seen.
    """

    these: Estimate
    alike: Estimate
    tau2: float
    tau2_low: float
    tau2_high: float
    i2: float
    i2_low: float
    i2_high: float


@dataclass(frozen=True)
class PooledSlope:
    """The pooled slope of one objective.

    Attributes
    ----------
    measure
        What the slope is of: the metric's title, or of errors in different units the relative
        change of the error per doubling (of its natural logarithm).
    higher_is_better
        Whether a positive slope is an improvement.
    endpoints
        Tasks that are pooled.
    left_out
        Tasks that have no slope, each with its reason.
    slopes
        Of each of them.
    pool
        None where `problem` says why there is none.
    """

    objective: str
    encoder: str
    regime: str
    control_of: str | None
    measure: str
    higher_is_better: bool
    endpoints: tuple[str, ...]
    left_out: tuple[str, ...]
    slopes: tuple[float, ...]
    pool: Pool | None
    problem: str = ""


def pooled_slopes(groups: Iterable[Group], confidence: float) -> list[PooledSlope]:
    """Pool the slopes of every objective over tasks: classification and regression apart.

    AUROCs are pooled as they are, errors by their logarithm, since they are in different units.

    Parameters
    ----------
    groups
        Under one protocol, any number of objectives and encoders.
    """

    def kind(group: Group) -> tuple[str, str, str, bool]:
        metric = group.endpoint.metric
        return group.objective, group.encoder, metric.name, metric.in_unit_of_target

    found: dict[tuple[str, str, str, bool], list[Group]] = {}
    for group in groups:
        found.setdefault(kind(group), []).append(group)
    return [_pooled(tasks, confidence) for tasks in found.values()]


def _pooled(groups: Sequence[Group], confidence: float) -> PooledSlope:
    first, problems = groups[0], {g.endpoint.name: g.problem for g in groups if g.problem}
    metric, relative = first.endpoint.metric, first.endpoint.metric.in_unit_of_target
    usable = [group for group in groups if not group.problem]
    problem, slopes, pool = "", np.empty((0, 0)), None
    if relative:
        # An error of 0 has no logarithm.
        problems |= {g.endpoint.name: "an error of 0" for g in usable if (g.score <= 0).any()}
        usable = [group for group in usable if (group.score > 0).all()]
    if len(usable) < 2:
        problem = f"{len(usable)} of {len(groups)} tasks can be pooled; at least 2 are needed"
    elif len({group.blocks for group in usable}) > 1:
        problem = "the tasks do not have the same replicates"
    else:
        weights = slope_weights(np.log2(first.sizes))
        values = [(g.score, g.replicates) for g in usable]
        if relative:
            with np.errstate(divide="ignore", invalid="ignore"):
                values = [(np.log(score), np.log(drawn)) for score, drawn in values]
        count = min(len(drawn) for _, drawn in values)
        slopes = np.stack([score @ weights for score, _ in values], axis=-1)
        drawn = np.stack([drawn[:count] @ weights for _, drawn in values], axis=-1)
        pool = pool_slopes(slopes, drawn, usable[0].blocks, confidence)
    return PooledSlope(
        *(first.objective, first.encoder, first.regime, first.control_of),
        f"{metric.title}, relative" if relative else metric.title,
        metric.higher_is_better,
        tuple(group.endpoint.name for group in usable),
        tuple(f"{name}: {reason}" for name, reason in problems.items()),
        tuple(map(float, slopes.mean(axis=0))) if len(slopes) else (),
        pool,
        problem,
    )


def pool_slopes(
    slopes: FloatArray, resampled: FloatArray, blocks: Blocks, confidence: float
) -> Pool:
    """Return the mean slope over tasks, tau2 and I2.

    The model is slope = mean + task + run + test patients, runs and patients correlated between
    tasks. Every task weighs the same. Weights by the inverse of a covariance of which the part of
    the runs is known from two to five replicates would be mostly noise, and their mean would be of
    no population of tasks. What moves all tasks alike is then just the variance of each block's
    mean over tasks (`contrast_estimate`), and what sets them apart is in the contrasts between
    tasks, from which tau2 comes: by REML, since the restricted likelihood is that of these
    contrasts (Patterson and Thompson, Biometrika 58:545-554, 1971). Their covariance under no
    heterogeneity is that of the test patients, from the resamples, plus the mean over contrasts of
    the variance between runs, which is known with (task - 1) times its degrees of freedom.

    The interval of `Pool.tau2` is Viechtbauer's (Stat. Med. 26:37-52, 2007), Q profiled with this
    covariance. That of `Pool.alike` averages the normal tail over what the variances between tasks
    and between runs may be given the data (generalised inference: Iyer, Wang and Mathew, JASA
    99:1060-1071, 2004). With equal and known noise it is the interval of Hartung and Knapp, but
    never narrower than without heterogeneity.

    Parameters
    ----------
    slopes, resampled
        Shapes (block, task) and (resample, block, task), at least 2 tasks.
    blocks
        Their orders and seeds, a `regular` layout.
    """
    from scipy.linalg import helmert

    resampled, tasks = whole(resampled), slopes.shape[1]
    mean = slopes.mean(axis=1), resampled.mean(axis=2)
    these = contrast_estimate(*mean, blocks, confidence)
    apart = helmert(tasks)
    runs, df = _runs_apart(slopes @ apart.T, blocks)
    patients = apart @ patients_covariance(resampled, blocks) @ apart.T
    noise, axes = np.linalg.eigh(patients)
    noise = np.maximum(noise, 0)
    seen = (axes.T @ apart @ slopes.mean(axis=0)) ** 2
    if float(noise.min()) + runs <= _TINY or math.isnan(these.low):
        unknown = Estimate(these.value, *(math.nan,) * 5, "nothing")
        return Pool(these, unknown, *(math.nan,) * 6)
    tau2 = _reml(seen, noise + runs)
    # Latin hypercube: each variance takes its quantiles evenly, and the three meet at random.
    rng = np.random.default_rng(0)
    quantiles = ((rng.permutation(_NODES) + 0.5) / _NODES for _ in range(3))
    common, within, between = (
        _chi_square(q, n) for q, n in zip(quantiles, (these.df, df, tasks - 1.0), strict=True)
    )
    within = np.ones(_NODES) if math.isnan(df) else df / within
    drawn = _profile(seen, noise + runs * within[:, None], between)
    found = uncertainty(*mean, blocks)
    # A negative covariance of the patients is rounding; the mean cannot be better known than that.
    of_runs = 0.0 if math.isnan(found.df) else found.runs * found.df / common
    alike = _averaged(these, of_runs + found.patients + drawn / tasks, confidence)
    typical = float(noise.mean()) + runs
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    shares = (tau / (tau + typical) for tau in (tau2, float(low), float(high)))
    return Pool(these, alike, tau2, float(low), float(high), *shares)


def _runs_apart(contrasts: FloatArray, blocks: Blocks) -> tuple[float, float]:
    """Return the variance that runs add to a contrast between tasks, the mean over contrasts.

    With its degrees of freedom: where noise differs between tasks there are fewer, as many as the
    mean squares of the contrasts say (Satterthwaite). Of contrasts of shape (block, contrast); 0
    and NaN where runs do not differ.
    """
    none = np.empty((0, len(blocks)))
    found = [uncertainty(column, none, blocks) for column in contrasts.T]
    parts = np.array([each.runs for each in found])
    if math.isnan(found[0].df) or not parts.any():
        return float(parts.mean()), math.nan
    df = found[0].df
    # A mean square squared is too large by 1 + 2 / df on average.
    independent = parts.sum() ** 2 * (1 + 2 / df) / (parts**2).sum()
    return float(parts.mean()), df * min(float(independent), len(parts))


def _reml(seen: FloatArray, noise: FloatArray) -> float:
    """Return the variance between tasks of largest restricted likelihood.

    Of squared contrasts and their variance without it, both of shape (contrast,).
    """
    from scipy.optimize import minimize_scalar

    def cost(root: float) -> float:
        total = noise + root**2
        return float((np.log(total) + seen / total).sum())

    # The likelihood may have two tops: the best of a grid is polished.
    grid = np.linspace(0, math.sqrt(float(seen.sum())) + 1e-300, 50)
    best = int(np.argmin([cost(root) for root in grid]))
    near = (float(grid[max(best - 1, 0)]), float(grid[min(best + 1, len(grid) - 1)]))
    found = float(minimize_scalar(cost, bounds=near, method="bounded").x)
    return found**2 if cost(found) < cost(0.0) else 0.0


def _profile(seen: FloatArray, noise: FloatArray, target: FloatArray) -> FloatArray:
    """Return the variance between tasks at which Q is `target`, shape (draw,); 0 where it is less.

    Q = sum over contrasts of `seen`, shape (contrast,), over noise, (draw, contrast), plus it.
    """
    low, high = np.zeros(len(target)), np.full(len(target), float(seen.sum())) / target
    for _ in range(40):
        middle = (low + high) / 2
        above = (seen / (noise + middle[:, None])).sum(axis=1) > target
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.asarray(np.where((seen / noise).sum(axis=1) > target, high, 0.0))


def _chi_square(quantile: FloatArray, df: float) -> FloatArray:
    from scipy.special import gammaincinv

    return np.asarray(2 * gammaincinv(df / 2, quantile))


def _averaged(these: Estimate, variance: FloatArray, confidence: float) -> Estimate:
    """Return the interval and p of a mean whose variance may be any of these, shape (draw,)."""
    from scipy.optimize import brentq
    from scipy.special import ndtr

    sd = np.sqrt(variance)

    def beyond(reach: float) -> float:
        return float(2 * ndtr(-reach / sd).mean())

    high = float(np.median(sd))
    while beyond(high) > 1 - confidence:
        high *= 2
    reach = float(brentq(lambda x: beyond(x) - (1 - confidence), 0, high, rtol=1e-9))
    value, covers = these.value, f"{these.covers}, and which tasks were taken"
    return Estimate(
        *(value, value - reach, value + reach, float(np.median(sd)), these.df, beyond(abs(value))),
        covers,
    )
