"""Correlation and slope of an endpoint's score against log2 of the pretraining patients.

Runs lie in replicate blocks: one block is one (nesting order, seed) with one run at every size.
`docs/statistics.md` states the model and shows by simulation what the intervals cover.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.collect import Collection
from ecgscale.study.endpoints import endpoints
from ecgscale.study.file import Study

FloatArray = npt.NDArray[np.float64]
Coefficient = Literal["spearman", "kendall"]

MIN_SIZES = 3
"""Below this many sizes a rank correlation says nothing."""
EXACT_ARRANGEMENTS = 1_000_000
"""Largest number of arrangements of one block that is enumerated (9 sizes: 362,880)."""
EXACT_SUPPORT = 200_000
"""Largest number of distinct values of the statistic that is carried from block to block."""
ALPHA, POWER = 0.05, 0.80
"""Test level and power of the smallest detectable slope."""
_TIE = 1e-9
_NO_VARIANCE = 1e-20
"""Rounding of values near 1: identical resamples leave no variance to speak of."""


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one objective, encoder, regime and endpoint, as complete blocks.

    Attributes
    ----------
    endpoint
        What was measured; its measure says in which direction a score is better.
    sizes
        Shape (size,), pretraining patients, ascending.
    blocks
        (order, seed) of each block.
    score
        The main metric as it is (an error is not turned round), shape (block, size).
    replicates
        The same on resampled test patients, shape (resample, block, size); the b-th resample
        holds the same patients in every run. No resamples: shape (0, block, size).
    left_out
        Blocks left out, each with the run that collapsed.
    problem
        Why nothing can be estimated, or "".
    """

    objective: str
    encoder: str
    regime: str
    endpoint: Endpoint
    sizes: npt.NDArray[np.int64]
    blocks: tuple[tuple[int, int], ...]
    score: FloatArray
    replicates: FloatArray
    left_out: tuple[str, ...] = ()
    problem: str = ""


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


@dataclass(frozen=True)
class Correlation:
    """Everything said about one group.

    Attributes
    ----------
    rho, tau
        Mean within-block Spearman coefficient and Kendall tau-b, against size.
    rho_test, tau_test
        Their permutation tests. The Spearman test is Page's trend test in its exact form.
    rho_of_means
        Spearman coefficient of the block means against size.
    slope
        Change of the score per doubling of the patients.
    detectable_slope
        Smallest slope that a study like this one finds with power 0.8 at level 0.05.
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
    detectable_slope: float
    detectable_from: str
    reseed_sd: float


@dataclass(frozen=True)
class Comparison:
    """An objective against one of its controls at one endpoint, paired by block if both scale.

    Attributes
    ----------
    slope
        Difference of the slopes per doubling, objective minus control; None where the control
        has no sizes.
    level
        Difference of the mean score, objective at its largest size minus control.
    """

    objective: str
    control: str
    encoder: str
    regime: str
    endpoint: Endpoint
    size: int
    slope: Estimate | None
    level: Estimate


def groups(study: Study, collection: Collection) -> list[Group]:
    """Return every (objective, encoder, regime, endpoint) of a study's grid, complete or not.

    A group with a missing run has a `problem` and no numbers: a mean over the runs that happen to
    exist would compare different orders and seeds at different sizes. A block with a collapsed run
    is left out whole, and named.
    """
    table, measured = collection.table, endpoints(study)
    found = []
    for objective in study.grid.objectives:
        regime = study.training_for(objective).regime
        for encoder in study.grid.encoders:
            for endpoint in measured:
                rows = table[
                    (table["objective"] == objective)
                    & (table["encoder"] == encoder)
                    & (table["endpoint"] == endpoint.name)
                    & table["score"].notna()
                ]
                names = (objective, encoder, regime, endpoint)
                found.append(_group(study, collection, names, rows))
    return found


def _group(
    study: Study, collection: Collection, names: tuple[str, str, str, Endpoint], rows: pd.DataFrame
) -> Group:
    sizes = np.array(sorted(study.grid.sizes), dtype=np.int64)
    wanted = [(order, seed) for order in study.grid.orders for seed in study.grid.seeds]
    by_run = {(row["order"], row["seed"], row["size"]): row for row in rows.to_dict("records")}
    empty = np.empty((0, 0, len(sizes)))
    expected = len(wanted) * len(sizes)
    present = sum((*place, int(size)) in by_run for place in wanted for size in sizes)
    problem = ""
    if len(sizes) < MIN_SIZES:
        problem = f"{len(sizes)} sizes are too few to order; at least {MIN_SIZES} are needed"
    elif present < expected:
        absent = expected - present
        problem = f"{absent} of {expected} runs {'is' if absent == 1 else 'are'} missing"
    if problem:
        return Group(*names, sizes, (), np.empty((0, len(sizes))), empty, problem=problem)
    blocks, left_out = [], []
    for order, seed in wanted:
        block = [by_run[order, seed, int(size)] for size in sizes]
        collapsed = ", ".join(run["cell"] for run in block if run["collapsed"])
        if collapsed:
            left_out.append(f"order {order}, seed {seed}: {collapsed} collapsed")
        else:
            blocks.append((order, seed))
    runs = [[by_run[(*place, int(size))] for size in sizes] for place in blocks]
    score = np.array([[run["score"] for run in block] for block in runs], dtype=np.float64)
    cells = [[run["cell"] for run in block] for block in runs]
    return Group(
        *names,
        sizes,
        tuple(blocks),
        score.reshape(len(blocks), len(sizes)),
        _paired(collection, cells, names[3].name) if blocks else empty,
        tuple(left_out),
        "" if blocks else "every block holds a collapsed run",
    )


def _paired(collection: Collection, cells: Sequence[Sequence[str]], endpoint: str) -> FloatArray:
    """Return paired resamples, shape (resample, block, size); those with a NaN are dropped."""
    drawn = [[collection.replicates[cell, endpoint] for cell in block] for block in cells]
    count = min(len(values) for block in drawn for values in block)
    stacked = np.array([[values[:count] for values in block] for block in drawn])
    stacked = np.moveaxis(stacked, -1, 0)
    kept: FloatArray = stacked[np.isfinite(stacked).all(axis=(1, 2))]
    return kept


def spearman(values: FloatArray) -> FloatArray:
    """Return Spearman's coefficient of each row against its position.

    Parameters
    ----------
    values
        Shape (..., size), in ascending order of size.

    Returns
    -------
    array
        Shape (...). Tied values share their mean rank; a constant row has 0.
    """
    k = values.shape[-1]
    ranks = _ranks(values) - (k + 1) / 2
    position = np.arange(1, k + 1) - (k + 1) / 2
    norm = np.sqrt((ranks**2).sum(-1) * (position**2).sum())
    return _ratio(ranks @ position, norm)


def kendall(values: FloatArray) -> FloatArray:
    """Return Kendall's tau-b of each row against its position; a constant row has 0.

    Parameters
    ----------
    values
        Shape (..., size), in ascending order of size.
    """
    earlier, later = np.triu_indices(values.shape[-1], 1)
    signs = np.sign(values[..., later] - values[..., earlier])
    norm = np.sqrt(np.abs(signs).sum(-1) * len(earlier))
    return _ratio(signs.sum(-1), norm)


COEFFICIENTS: dict[Coefficient, Callable[[FloatArray], FloatArray]] = {
    "spearman": spearman,
    "kendall": kendall,
}


def _ranks(values: FloatArray) -> FloatArray:
    other, own = values[..., None, :], values[..., :, None]
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
    ``p = (1 + hits) / (1 + draws)`` (Phipson and Smyth 2010).

    Parameters
    ----------
    score
        Shape (block, size), in ascending order of size.
    """
    blocks, k = score.shape
    observed = float(COEFFICIENTS[coefficient](score).mean())
    smallest = min(1.0, 2.0 / math.factorial(k) ** blocks)
    exact = _exact_null(score, coefficient) if _enumerable(k) else None
    if exact is not None:
        values, weights = exact
        hit = np.abs(values) >= abs(observed) * blocks - _TIE
        return PermutationTest(observed, min(1.0, float(weights[hit].sum())), smallest, 0)
    shuffled = rng.permuted(np.broadcast_to(score, (draws, blocks, k)), axis=-1)
    null = COEFFICIENTS[coefficient](shuffled).mean(axis=-1)
    hits = int((np.abs(null) >= abs(observed) - _TIE).sum())
    return PermutationTest(observed, (1 + hits) / (1 + draws), smallest, draws)


def _enumerable(k: int) -> bool:
    return math.factorial(k) <= EXACT_ARRANGEMENTS


def _exact_null(
    score: FloatArray, coefficient: Coefficient
) -> tuple[FloatArray, FloatArray] | None:
    """Return values and probabilities of the sum over blocks; None if there are too many values."""
    values: FloatArray = np.zeros(1)
    weights: FloatArray = np.ones(1)
    for block in _ranks(score):
        own_values, own_weights = _block_null(tuple(sorted(block)), coefficient)
        if len(values) * len(own_values) > EXACT_SUPPORT * 25:
            return None
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
    values, counts = np.unique(
        np.round(COEFFICIENTS[coefficient](arrangements), 10), return_counts=True
    )
    return values, counts / len(arrangements)


def correlate(
    group: Group, *, confidence: float, permutations: int, bootstrap: int, seed: int
) -> Correlation | None:
    """Estimate everything about one group; None if its `problem` forbids it.

    Parameters
    ----------
    confidence
        Of the intervals.
    permutations
        Monte Carlo draws, where the exact distribution is out of reach.
    bootstrap
        Joint resamples of runs and test patients behind the intervals of rho and tau.
    seed
        Of both.
    """
    if group.problem:
        return None
    rng = np.random.default_rng(seed)
    score, x = group.score, np.log2(group.sizes)
    drawn = _joint_draws(group, confidence, bootstrap, rng)
    slope = _linear(score, group.replicates, slope_weights(x), confidence)
    detectable, source = _detectable_slope(group, slope)
    return Correlation(
        group=group,
        rho=_percentile(float(spearman(score).mean()), spearman(drawn), slope.covers, confidence),
        rho_test=permutation_test(score, "spearman", permutations, rng),
        tau=_percentile(float(kendall(score).mean()), kendall(drawn), slope.covers, confidence),
        tau_test=permutation_test(score, "kendall", permutations, rng),
        rho_of_means=float(spearman(score.mean(axis=0))),
        slope=slope,
        detectable_slope=detectable,
        detectable_from=source,
        reseed_sd=reseed_sd(score),
    )


def slope_weights(x: FloatArray) -> FloatArray:
    """Return weights w, shape (size,), with ``w @ y`` the least-squares slope of y on x."""
    centred = x - x.mean()
    return np.asarray(centred / (centred @ centred))


def reseed_sd(score: FloatArray) -> float:
    """Return the SD between blocks at equal size, pooled over sizes; NaN with one block."""
    if len(score) < 2:
        return math.nan
    return math.sqrt(float(score.var(axis=0, ddof=1).mean()))


def mean_squares(score: FloatArray) -> tuple[float, float]:
    """Return the mean squares of blocks and of block x size (Fisher's randomised blocks).

    Parameters
    ----------
    score
        Shape (block, size), at least 2 x 2.
    """
    blocks, k = score.shape
    residual = _interaction(score)
    between = k * float(score.mean(axis=1).var(ddof=1))
    return between, float((residual**2).sum()) / ((blocks - 1) * (k - 1))


def _interaction(score: FloatArray) -> FloatArray:
    by_size = score.mean(axis=0, keepdims=True)
    by_block = score.mean(axis=1, keepdims=True)
    return np.asarray(score - by_size - by_block + score.mean())


def level_estimate(
    score: FloatArray, replicates: FloatArray, position: int, confidence: float
) -> Estimate:
    """Return the mean over blocks at one size, with its interval.

    Parameters
    ----------
    score, replicates
        Shapes (block, size) and (resample, block, size).
    position
        Which size.
    """
    weights = np.zeros(score.shape[1])
    weights[position] = 1.0
    return _linear(score, replicates, weights, confidence)


def _linear(
    score: FloatArray, replicates: FloatArray, weights: FloatArray, confidence: float
) -> Estimate:
    """Return the mean over blocks of ``score @ weights`` with a t interval.

    Variance from runs: `mean_squares` (all sizes share one run-to-run variance, as the permutation
    test assumes under its hypothesis). A contrast (weights summing to 0) is free of block effects.
    Variance from patients: over the paired resamples.
    """
    blocks, k = score.shape
    parts = []
    if blocks > 1:
        between, within = mean_squares(score)
        level, spread = weights.sum() ** 2 / k, float(weights @ weights)
        parts = [
            (level * between / blocks, blocks - 1.0),
            ((spread - level) * within / blocks, (blocks - 1.0) * (k - 1)),
        ]
    patients = float((replicates.mean(axis=1) @ weights).var(ddof=1)) if len(replicates) > 1 else 0
    return _t_interval(
        float(score.mean(axis=0) @ weights),
        parts,
        patients,
        covers=_covers(blocks > 1, len(replicates) > 1),
        confidence=confidence,
    )


def _t_interval(
    value: float,
    run_parts: Sequence[tuple[float, float]],
    patients: float,
    covers: str,
    confidence: float,
) -> Estimate:
    """Combine variance parts (variance, df) and the patients' into a Satterthwaite interval."""
    variance = sum(part for part, _ in run_parts) + patients
    if covers == "nothing" or variance <= _NO_VARIANCE:
        return Estimate(value, math.nan, math.nan, math.nan, math.nan, "nothing")
    wobble = sum(part**2 / df for part, df in run_parts)
    df = variance**2 / wobble if wobble > 0 else math.inf
    se = math.sqrt(variance)
    reach = t_quantile((1 + confidence) / 2, df) * se
    return Estimate(value, value - reach, value + reach, se, df, covers)


def t_quantile(probability: float, df: float) -> float:
    """Return Student's t quantile; the normal one at infinite `df`."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(probability) if math.isinf(df) else stdtrit(df, probability))


def _covers(runs: bool, patients: bool) -> str:
    if runs and patients:
        return "runs and test patients"
    if patients:
        return "test patients only"
    return "runs only" if runs else "nothing"


def _joint_draws(
    group: Group, confidence: float, count: int, rng: np.random.Generator
) -> FloatArray:
    """Return new studies drawn from this one, shape (draw, block, size).

    Each draw takes one resample of the test patients for all runs, and for every run a residual of
    the block x size interaction, scaled to the unbiased variance and to Student's t for its degrees
    of freedom. Resampling whole blocks instead would cover far too little with the two to five
    blocks that studies have.
    """
    blocks, k = group.score.shape
    means = np.broadcast_to(group.score.mean(axis=0), (count, k))
    if len(group.replicates) > 1:
        curves = group.replicates.mean(axis=1)
        picked = rng.integers(len(curves), size=count)
        means = means + (curves[picked] - curves.mean(axis=0))
    if blocks < 2:
        return np.asarray(means[:, None, :]) if len(group.replicates) > 1 else np.empty((0, 1, k))
    df = (blocks - 1) * (k - 1)
    tail = (1 + confidence) / 2
    widen = math.sqrt(blocks * k / df) * t_quantile(tail, df) / t_quantile(tail, math.inf)
    residuals = widen * _interaction(group.score).ravel()
    return np.asarray(means[:, None, :] + rng.choice(residuals, size=(count, blocks, k)))


def _percentile(value: float, drawn: FloatArray, covers: str, confidence: float) -> Estimate:
    """Return the percentile interval of coefficients, shape (draw, block), averaged over blocks."""
    if not len(drawn):
        return Estimate(value, math.nan, math.nan, math.nan, math.nan, covers)
    means = drawn.mean(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(
        value, min(float(low), value), max(float(high), value), float(means.std(ddof=1)),
        math.inf, covers,
    )  # fmt: skip


def _detectable_slope(group: Group, slope: Estimate) -> tuple[float, str]:
    """Return the slope found with `POWER` at two-sided `ALPHA`, and where its SE comes from."""
    se, df, source = slope.se, slope.df, "runs"
    if len(group.blocks) < 2:
        x, k = np.log2(group.sizes), len(group.sizes)
        y = group.score[0]
        residual = y - y.mean() - slope.value * (x - x.mean())
        scatter = float(residual @ residual) / (k - 2) / float(((x - x.mean()) ** 2).sum())
        patients = slope.se**2 if math.isfinite(slope.se) else 0.0
        total = scatter + patients
        df = total**2 / (scatter**2 / (k - 2)) if scatter > 0 else math.inf
        se, source = math.sqrt(total), "residuals"
    if not math.isfinite(se):
        return math.nan, source
    return (t_quantile(1 - ALPHA / 2, df) + t_quantile(POWER, df)) * se, source


def compare(
    study: Study, collection: Collection, found: Sequence[Group], confidence: float
) -> list[Comparison]:
    """Hold every objective against its own controls and against those that see no subset.

    Parameters
    ----------
    found
        The groups of the study (`groups`).
    """
    comparisons = []
    for group in found:
        if group.problem or study.objectives[group.objective].control_of:
            continue
        for other in found:
            if (
                study.objectives[other.objective].control_of == group.objective
                and not other.problem
            ):
                comparisons += _against_scaled(group, other, confidence)
        comparisons += _against_fixed(study, collection, group, confidence)
    return comparisons


def _against_scaled(group: Group, control: Group, confidence: float) -> list[Comparison]:
    same = (group.encoder, group.regime, group.endpoint)
    if (control.encoder, control.regime, control.endpoint) != same:
        return []
    shared = [block for block in group.blocks if block in control.blocks]
    if not shared:
        return []
    ours = [group.blocks.index(block) for block in shared]
    theirs = [control.blocks.index(block) for block in shared]
    count = min(len(group.replicates), len(control.replicates))
    score = group.score[ours] - control.score[theirs]
    replicates = group.replicates[:count, ours] - control.replicates[:count, theirs]
    return [
        Comparison(
            group.objective,
            control.objective,
            *same,
            size=int(group.sizes[-1]),
            slope=_linear(score, replicates, slope_weights(np.log2(group.sizes)), confidence),
            level=level_estimate(score, replicates, len(group.sizes) - 1, confidence),
        )
    ]


def _against_fixed(
    study: Study, collection: Collection, group: Group, confidence: float
) -> list[Comparison]:
    """Compare with every control or baseline that has no sizes, each run of it one seed."""
    table = collection.table
    rows = table[
        (table["endpoint"] == group.endpoint.name)
        & (~table["objective"].isin(study.grid.objectives))
        & (table["encoder"].isna() | (table["encoder"] == group.encoder))
        & table["score"].notna()
    ]
    largest = level_estimate(group.score, group.replicates, len(group.sizes) - 1, confidence)
    comparisons = []
    for control, runs in rows.groupby("objective", sort=False):
        values = runs["score"].to_numpy(dtype=np.float64)
        paired = _paired(collection, [list(runs["cell"])], group.endpoint.name)[:, 0]
        count = min(len(paired), len(group.replicates))
        shift = group.replicates[:count, :, -1].mean(axis=1) - paired[:count].mean(axis=1)
        seeded = runs["role"].iloc[0] != "baseline"
        parts = _level_parts(group.score) if len(group.blocks) > 1 else []
        if parts and seeded and len(values) > 1:
            parts.append((float(values.var(ddof=1)) / len(values), len(values) - 1.0))
        covers = _covers(len(group.blocks) > 1, count > 1)
        if seeded and len(values) < 2:
            covers = covers.replace("runs", "the objective's runs")
        level = _t_interval(
            largest.value - float(values.mean()),
            parts,
            float(shift.var(ddof=1)) if count > 1 else 0.0,
            covers=covers,
            confidence=confidence,
        )
        comparisons.append(
            Comparison(
                group.objective,
                str(control),
                group.encoder,
                group.regime,
                group.endpoint,
                size=int(group.sizes[-1]),
                slope=None,
                level=level,
            )
        )
    return comparisons


def _level_parts(score: FloatArray) -> list[tuple[float, float]]:
    blocks, k = score.shape
    between, within = mean_squares(score)
    return [
        (between / k / blocks, blocks - 1.0),
        ((k - 1) / k * within / blocks, (blocks - 1.0) * (k - 1)),
    ]
