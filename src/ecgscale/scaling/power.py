"""What the rule of the verdicts finds, by simulation, before or after a study has run.

The rule is that of `ecgscale.scaling.claims`: the p of `ecgscale.scaling.variance`, adjusted by
Holm over all pre-declared tests. Of a whole study it reads three things: the mean slope, the mean
squares between runs, and the variance that test patients add. They are drawn from their
distributions, normal and chi-square, in place of studies; `tests/scaling/test_power.py` holds the
result against whole simulated studies.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

import numpy as np
import numpy.typing as npt

from ecgscale.scaling.variance import (
    Blocks,
    Components,
    FloatArray,
    axes,
    crossed_variance,
    inverse_chi_square,
)

BoolArray = npt.NDArray[np.bool_]

POWER = 0.80
"""Of the smallest detectable slope, and of a plan."""
DRAWS = 4000
"""A power of 0.8 then has a standard error of 0.6 points."""
_DF_STEP = 0.03
"""To which degrees of freedom of crossed designs are rounded, on a logarithmic scale."""


@dataclass(frozen=True, eq=False)
class Power:
    """What the rule says of one objective in simulated studies.

    The other objectives of the family have noise of the same size, drawn independently, and no
    slope. If they have slopes too, Holm's levels are wider and the power is higher.

    Attributes
    ----------
    errors
        Shape (draw, test), estimated minus true slope of every objective, the one in question
        first.
    runs, df
        Shape (draw, test), the estimated variance that runs add, and its degrees of freedom.
    patients
        The variance that test patients add.
    alpha
        Level of the whole family.
    """

    errors: FloatArray
    runs: FloatArray
    df: FloatArray
    patients: float
    alpha: float

    def found(self, slope: float) -> float:
        """Return how often a true slope is found, with its sign."""
        return float((self._needed <= abs(slope)).mean())

    def detectable(self, power: float = POWER) -> float:
        """Return the smallest true slope that is found with this probability."""
        return float(np.quantile(self._needed, power))

    def no_effect(self, smallest_effect: float) -> float:
        """Return how often "no effect of interest" is said where no objective has a slope."""
        off = np.abs(self.errors)
        inside = [off + self._reach(2 * level) <= smallest_effect for level in self._levels]
        steps = _steps([each[:, 1:] for each in inside])
        equivalent = np.stack(inside)[steps, np.arange(len(steps)), 0]
        return float((equivalent & (off[:, 0] < self._own_reach)).mean())

    @property
    def _levels(self) -> list[float]:
        """Levels of the steps of Holm's procedure: that of the smallest p first."""
        tests = self.errors.shape[1]
        return [self.alpha / (tests - step) for step in range(tests)]

    @cached_property
    def _own_reach(self) -> FloatArray:
        """Shape (draw,): half the interval of the objective in question, at its level."""
        reach = [self._reach(level) for level in self._levels]
        steps = _steps([np.abs(self.errors[:, 1:]) >= each[:, 1:] for each in reach])
        return np.asarray(np.stack(reach)[steps, np.arange(len(steps)), 0])

    @property
    def _needed(self) -> FloatArray:
        """Shape (draw,): the true slope from which on a draw is found to rise."""
        return np.asarray(self._own_reach - self.errors[:, 0])

    def _reach(self, alpha: float) -> FloatArray:
        """Return `Uncertainty.reach` of every draw and test, by interpolation."""
        variance = self.runs + self.patients
        share = np.divide(self.runs, variance, out=np.ones_like(variance), where=variance > 0)
        wide = np.empty_like(variance)
        for df in np.unique(self.df):
            here = self.df == df
            wide[here] = _standard_reach(float(df), alpha)(share[here])
        return np.asarray(np.sqrt(variance) * wide)


def simulate_power(
    components: Components,
    blocks: Blocks,
    *,
    tests: int,
    alpha: float,
    draws: int = DRAWS,
    seed: int = 0,
) -> Power | None:
    """Simulate studies of a design whose slopes have these variances.

    Parameters
    ----------
    components
        Of the slope of one run; NaN counts as 0.
    blocks
        Orders and seeds of the design, a `regular` layout.
    tests
        Pre-declared tests: the family of Holm's adjustment.
    alpha
        One minus the confidence.

    Returns
    -------
    Power or None
        None where the design has one block: there is no test then.

    Examples
    --------
    >>> noise = Components(order=math.nan, seed=math.nan, run=1e-6, patients=1e-7)
    >>> five = [(replicate, replicate) for replicate in range(5)]
    >>> found = simulate_power(noise, five, tests=2, alpha=0.05)
    >>> round(found.detectable(), 4), round(found.found(0.002), 1)
    (0.0022, 0.7)
    """
    if len(blocks) < 2:
        return None
    rng = np.random.default_rng(seed)
    shape = (draws, tests)
    orders, seeds = axes(blocks)
    order, seed_part, run, patients = (
        0.0 if math.isnan(part) else part for part in vars(components).values()
    )
    if len(blocks) == max(orders, seeds):
        # Of an axis with one value, what it adds is the same in all runs.
        square = run + order * (orders > 1) + seed_part * (seeds > 1)
        df = len(blocks) - 1.0
        truth = square / len(blocks)
        runs = truth * rng.chisquare(df, shape) / df
        dfs = np.full(shape, df)
    else:
        truth = order / orders + seed_part / seeds + run / len(blocks)
        squares = np.array([run + seeds * order, run + orders * seed_part, run])
        df_of = np.array([orders - 1.0, seeds - 1.0, (orders - 1.0) * (seeds - 1)])
        of_chi_square = (squares / len(blocks) / df_of)[:, None, None]
        drawn = of_chi_square * rng.chisquare(df_of[:, None, None], (3, *shape))
        runs, dfs = crossed_variance(drawn, df_of)
        dfs = np.exp(np.round(np.log(dfs) / _DF_STEP) * _DF_STEP)
    errors = rng.normal(0, math.sqrt(truth + patients), shape)
    return Power(errors, runs, dfs, patients, alpha)


def times(components: Components, factor: float) -> Components:
    """Return components whose variances of runs are a multiple; patients' stay."""
    return replace(
        components,
        order=components.order * factor,
        seed=components.seed * factor,
        run=components.run * factor,
    )


def variance_limits(df: float, each_side: float = 0.1) -> tuple[float, float]:
    """Return by what an estimated variance may be too large and too small.

    The factors by which to multiply it: the ends of its chi-square interval, from the degrees of
    freedom that it was estimated with.

    Examples
    --------
    >>> [round(factor, 2) for factor in variance_limits(2)]
    [0.43, 9.49]
    """
    from scipy.special import gammaincinv

    low, high = (2 * float(gammaincinv(df / 2, tail)) for tail in (1 - each_side, each_side))
    return df / low, df / high


def _steps(rejected: Sequence[BoolArray]) -> npt.NDArray[np.intp]:
    """Return how many of the other tests Holm's procedure rejects before the one in question.

    `rejected` has, for each level of its steps, which of the others have a p below it, shape
    (draw, others). The one in question is then tested at the level of the next step.
    """
    count = np.zeros(len(rejected[0]), dtype=np.intp)
    going = np.ones(len(count), dtype=np.bool_)
    for step, below in enumerate(rejected[:-1]):
        going &= below.sum(axis=1) > step
        count += going
    return count


@lru_cache(maxsize=4096)
def _standard_reach(df: float, alpha: float) -> Callable[[FloatArray], FloatArray]:
    """Return half the interval in standard errors, as a function of the runs' share of variance.

    By interpolation between shares at which it is solved by bisection.
    """
    from scipy.interpolate import PchipInterpolator
    from scipy.special import ndtr, ndtri, stdtrit

    scales, weights = inverse_chi_square(df)
    nodes = np.linspace(0, 1, 65)
    spread = np.sqrt(np.outer(nodes**4, scales) + (1 - nodes**4)[:, None])
    normal, student = -float(ndtri(alpha / 2)), -float(stdtrit(df, alpha / 2))
    low, high = (
        np.full(len(nodes), math.log(normal / 2)),
        np.full(len(nodes), math.log(2 * student)),
    )
    for _ in range(40):
        middle = (low + high) / 2
        beyond = 2 * ndtr(-np.exp(middle)[:, None] / spread) @ weights > alpha
        low, high = np.where(beyond, middle, low), np.where(beyond, high, middle)
    found = PchipInterpolator(nodes, high)
    return lambda share: np.asarray(np.exp(found(share**0.25)))
