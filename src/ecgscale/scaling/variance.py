"""Where differences come from, runs and test patients, and the intervals and p that cover both.

A *contrast* is a weighted sum of a block's scores over its sizes: a slope, a level, or either of a
difference of two objectives. Everything here reads one flat table with a row a block, which is an
(order, seed): its contrast, and the same contrast on resampled test patients.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Blocks = Sequence[tuple[int, int]]
"""(order, seed) of each block."""

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
        Degrees of freedom of the runs' part of `se`; NaN without one.
    p
        Two-sided, of the value being 0: below ``1 - confidence`` just where the interval leaves 0
        out. NaN where nothing is known of how runs differ.
    covers
        What the interval covers, in words (`covered`).
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    p: float
    covers: str


@dataclass(frozen=True)
class Components:
    """The variance of a contrast of one run, by where it comes from; NaN where not estimable.

    Attributes
    ----------
    order, seed
        What runs of one order, or of one seed, have in common. NaN unless orders and seeds are
        crossed.
    run
        The rest of what runs differ by. Without crossing, order and seed are in it.
    patients
        Test patients, as far as they move all runs alike.
    """

    order: float
    seed: float
    run: float
    patients: float


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


def interaction(score: FloatArray) -> FloatArray:
    """Return what block and size do not explain of each run, shape (block, size)."""
    by_size = score.mean(axis=0, keepdims=True)
    by_block = score.mean(axis=1, keepdims=True)
    return np.asarray(score - by_size - by_block + score.mean())


def whole(resampled: FloatArray) -> FloatArray:
    """Return the resamples, shape (resample, ...), that have a number everywhere."""
    each = tuple(range(1, resampled.ndim))
    kept: FloatArray = resampled[np.isfinite(resampled).all(axis=each)]
    return kept


def regular(blocks: Blocks) -> tuple[tuple[int, int], ...]:
    """Return the blocks of a layout that can be analysed, as many as are found.

    Such a layout has every order with every seed, or no order and no seed twice. Of another one
    (a crossed one with a hole) the order or the seed that has fewest blocks is left out, again and
    again.

    Examples
    --------
    >>> regular([(0, 0), (0, 1), (1, 0), (2, 0), (2, 1)])
    ((0, 0), (0, 1), (2, 0), (2, 1))
    """
    kept = tuple(blocks)
    while not _is_regular(kept):
        counts = Counter((axis, block[axis]) for block in kept for axis in (0, 1))
        axis, value = min(counts, key=lambda place: (counts[place], place))
        kept = tuple(block for block in kept if block[axis] != value)
    return kept


def axes(blocks: Blocks) -> tuple[int, int]:
    """Return the numbers of different orders and seeds."""
    return len({order for order, _ in blocks}), len({seed for _, seed in blocks})


def _is_regular(blocks: Blocks) -> bool:
    orders, seeds = axes(blocks)
    return len(blocks) == orders * seeds or len(blocks) == orders == seeds


def covered(blocks: Blocks, patients: bool) -> str:
    """Return what an interval from these blocks covers, in words.

    Examples
    --------
    >>> covered([(0, 0), (1, 1)], patients=True), covered([(0, 0), (1, 0)], patients=True)
    ('orders, seeds and test patients', 'orders and test patients, of one seed')
    >>> covered([(0, 0)], patients=True), covered([(0, 0)], patients=False)
    ('test patients only', 'nothing')
    """
    orders, seeds = axes(blocks)
    if len(blocks) < 2:
        return "test patients only" if patients else "nothing"
    drawn = ["orders"] * (orders > 1) + ["seeds"] * (seeds > 1) + ["test patients"] * patients
    single = {(True, False): ", of one seed", (False, True): ", of one order"}
    words = ", ".join(drawn[:-1]) + " and " * (len(drawn) > 1) + drawn[-1]
    return words + single.get((orders > 1, seeds > 1), "")


def level_estimate(
    score: FloatArray, replicates: FloatArray, blocks: Blocks, position: int, confidence: float
) -> Estimate:
    """Return the mean over blocks at one size with its interval, as `weighted_estimate`."""
    weights = np.eye(score.shape[1])[position]
    return weighted_estimate(score, replicates, blocks, weights, confidence)


def weighted_estimate(
    score: FloatArray,
    replicates: FloatArray,
    blocks: Blocks,
    weights: FloatArray,
    confidence: float,
) -> Estimate:
    """Return the mean over blocks of ``score @ weights``, as `contrast_estimate`.

    Parameters
    ----------
    score, replicates
        Shapes (block, size) and (resample, block, size).
    weights
        Shape (size,).
    """
    return contrast_estimate(score @ weights, replicates @ weights, blocks, confidence)


def contrast_estimate(
    contrast: FloatArray, resampled: FloatArray, blocks: Blocks, confidence: float
) -> Estimate:
    """Return the mean of a contrast over blocks, with an interval and a p that agree.

    Parameters
    ----------
    contrast, resampled, blocks
        As `uncertainty`.
    """
    resampled = whole(resampled)
    value, found = float(contrast.mean()), uncertainty(contrast, resampled, blocks)
    reach = found.reach(1 - confidence)
    covers = "nothing" if math.isnan(reach) else covered(blocks, len(resampled) > 1)
    numbers = (value, value - reach, value + reach, found.se, found.df, found.p(value))
    return Estimate(*numbers, covers)


@dataclass(frozen=True)
class Uncertainty:
    """The variance of a mean over blocks: a part from runs, estimated, and one from patients.

    Attributes
    ----------
    runs, df
        Variance that runs add, and its degrees of freedom; 0 and NaN with one block.
    patients
        Variance that test patients add: so many resamples that it counts as known.
    """

    runs: float
    df: float
    patients: float

    @property
    def se(self) -> float:
        """Standard error; 0 where nothing varies."""
        return math.sqrt(self.runs + self.patients)

    def p(self, value: float) -> float:
        """Return the two-sided p of a value; NaN where nothing is known of how runs differ."""
        unknown = math.isnan(self.df) or self.se**2 <= _NO_VARIANCE
        return math.nan if unknown else self._beyond(abs(value))

    def p_outside(self, value: float, bound: float) -> float:
        """Return the p of equivalence: of a truth at ``bound`` or beyond, on either side.

        The larger of the two one-sided p (Schuirmann, J. Pharmacokinet. Biopharm. 15:657-680,
        1987): at most alpha just where the interval of level ``1 - 2 alpha`` about the value lies
        within the bounds. NaN where nothing is known of how runs differ.
        """
        if math.isnan(self.p(value)):
            return math.nan
        room = bound - abs(value)
        tail = self._beyond(abs(room)) / 2
        return tail if room > 0 else 1 - tail

    def reach(self, alpha: float) -> float:
        """Return half the width of the interval of level ``1 - alpha``; NaN if nothing varies."""
        from scipy.optimize import brentq

        if self.se**2 <= _NO_VARIANCE:
            return math.nan
        high = self.se
        while self._beyond(high) > alpha:
            high *= 2
        return float(brentq(lambda reach: self._beyond(reach) - alpha, 0, high, rtol=1e-9))

    def _beyond(self, reach: float) -> float:
        """Return how probable an error as large as `reach` is.

        The error is a sum of Student's t, scaled by the runs, and a normal one, scaled by the
        patients. This is the distribution of Behrens and Fisher where one variance is known, and
        the generalised p value of Tsui and Weerahandi (JASA 84:602-607, 1989): the normal tail
        averaged over what an estimated variance leaves possible. Welch and Satterthwaite's t in
        its stead rejects too often at few degrees of freedom (docs/statistics.md).
        """
        from scipy.special import ndtr

        if math.isnan(self.df):
            return float(2 * ndtr(-reach / math.sqrt(self.patients)))
        scales, weights = inverse_chi_square(self.df)
        return float(2 * weights @ ndtr(-reach / np.sqrt(self.runs * scales + self.patients)))


def uncertainty(contrast: FloatArray, resampled: FloatArray, blocks: Blocks) -> Uncertainty:
    """Return the variance of the mean of a contrast over blocks.

    It is what Obuchowski and Rockette (Commun. Stat. Simul. Comput. 24:285-308, 1995) give for
    several readers of the same patients, here runs: the mean square between runs, which holds each
    run's own error with these test patients, over their number, plus the covariance that test
    patients cause between runs that have neither order nor seed in common. So each source counts
    once, and nothing is assumed of how noise depends on size.

    Parameters
    ----------
    contrast, resampled
        Shapes (block,) and (resample, block); the b-th resample holds the same patients in every
        block. One with a NaN is left out.
    blocks
        Their orders and seeds, a `regular` layout.
    """
    squares = mean_squares(contrast, blocks)
    parts = [value / len(contrast) for value, _ in squares]
    patients = _common_to_runs(resampled, blocks)
    if not parts:
        return Uncertainty(0.0, math.nan, patients)
    if len(parts) == 1:
        return Uncertainty(parts[0], squares[0][1], patients)
    variance, df = crossed_variance(np.array(parts), np.array([df for _, df in squares]))
    return Uncertainty(float(variance), float(df), patients)


def crossed_variance(parts: FloatArray, df: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the variance that crossed orders and seeds add to a mean, and its df.

    Parameters
    ----------
    parts
        Shape (3, ...): the mean squares of orders, seeds and interaction over the number of blocks.
    df
        Shape (3,), their degrees of freedom.
    """
    of_orders, of_seeds, rest = parts
    # The interaction is in both mean squares and counts once; what is left is no less than either.
    variance = np.maximum(of_orders + of_seeds - rest, np.maximum(of_orders, of_seeds))
    wobble = np.tensordot(1 / df, parts**2, axes=1)
    # A difference of estimates can be less certain than any of them; its floor is not.
    found = np.divide(variance**2, wobble, out=np.zeros_like(variance), where=wobble > 0)
    return variance, np.maximum(found, df.min())


def components(contrast: FloatArray, resampled: FloatArray, blocks: Blocks) -> Components:
    """Return where the variance of a contrast comes from; arguments as of `uncertainty`."""
    patients = _common_to_runs(resampled, blocks) if len(whole(resampled)) > 1 else math.nan
    squares = [value for value, _ in mean_squares(contrast, blocks)]
    if len(squares) < 3:
        run = squares[0] if squares else math.nan
        return Components(math.nan, math.nan, run, patients)
    of_orders, of_seeds, rest = squares
    orders, seeds = axes(blocks)
    by_order, by_seed = max(of_orders - rest, 0.0) / seeds, max(of_seeds - rest, 0.0) / orders
    return Components(by_order, by_seed, rest, patients)


def mean_squares(contrast: FloatArray, blocks: Blocks) -> list[tuple[float, float]]:
    """Return mean squares with their degrees of freedom: of blocks, or where crossed of three."""
    orders, seeds = axes(blocks)
    if len(blocks) < 2:
        return []
    if len(blocks) == max(orders, seeds):
        return [(float(contrast.var(ddof=1)), len(blocks) - 1.0)]
    place = sorted(range(len(blocks)), key=lambda block: blocks[block])
    table = contrast[place].reshape(orders, seeds)
    df = (orders - 1.0) * (seeds - 1)
    return [
        (seeds * float(table.mean(axis=1).var(ddof=1)), orders - 1.0),
        (orders * float(table.mean(axis=0).var(ddof=1)), seeds - 1.0),
        (float((interaction(table) ** 2).sum()) / df, df),
    ]


def _common_to_runs(resampled: FloatArray, blocks: Blocks) -> float:
    """Return the covariance over resamples of runs that have no order or seed in common, >= 0."""
    return max(float(patients_covariance(resampled[..., None], blocks)[0, 0]), 0.0)


def patients_covariance(resampled: FloatArray, blocks: Blocks) -> FloatArray:
    """Return what test patients do to several contrasts at once, shape (contrast, contrast).

    The covariance over resamples of one contrast in a run and another in a run that has neither
    order nor seed in common with it, the mean over such pairs of runs. An axis with one value is
    the same for all; with one block it is the covariance within that block. Zero without resamples.

    Parameters
    ----------
    resampled
        Shape (resample, block, contrast); the b-th resample weights patients alike everywhere.
    """
    resampled = whole(resampled)
    if len(resampled) < 2:
        return np.zeros((resampled.shape[2], resampled.shape[2]))
    apart = np.ones((len(blocks), len(blocks)))
    for axis in np.array(blocks).T if len(blocks) > 1 else ():
        if len(set(axis)) > 1:
            apart[axis[:, None] == axis] = 0
    centred = resampled - resampled.mean(axis=0)
    products = np.einsum("rbp,bc,rcq->pq", centred, apart, centred, optimize=True)
    return np.asarray(products / apart.sum() / (len(resampled) - 1))


def means_of_levels(values: FloatArray, blocks: Blocks) -> list[FloatArray]:
    """Return what varies from run to run: values by block, or by order and by seed where crossed.

    Parameters
    ----------
    values
        Shape (block, ...).

    Returns
    -------
    list
        Arrays of shape (level, ...), means over the blocks of each; none of one block.
    """
    if len(blocks) < 2:
        return []
    if len(blocks) == max(axes(blocks)):
        return [values]
    return [
        np.array([values[axis == level].mean(axis=0) for level in np.unique(axis)])
        for axis in np.array(blocks).T
    ]


@cache
def inverse_chi_square(df: float) -> tuple[FloatArray, FloatArray]:
    """Return values of df over chi-square and their probabilities, to average over.

    Gauss-Legendre quadrature of the quantile function, denser where chi-square is small, which the
    tails of p come from. Exact to 1e-8 where Student's t is known, down to p of 0.0001.
    """
    from scipy.special import gammaincinv

    x, weight = np.polynomial.legendre.leggauss(100)
    x = (x + 1) / 2
    return np.asarray(df / (2 * gammaincinv(df / 2, x**4))), np.asarray(weight * 2 * x**3)
