"""Correlation across published models: accuracy against the logarithm of their pretraining size.

Each model is one point, of its own architecture, objective and data. That is another question than
a study's, in which nothing but the amount of data differs; `ecgscale.scaling.correlate` answers
that one.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import numpy as np
import numpy.typing as npt

from ecgscale.literature.publication import Exposure, PublishedReadout, PublishedResults, Row
from ecgscale.scaling.ranks import average_ranks
from ecgscale.scaling.variance import FloatArray

FEWEST_MODELS = 5
"""With four models no order of them is significant at 0.05."""
MOST_ENUMERATED = 9
"""Models up to which every permutation is looked at (362,880); of more, `DRAWS` random ones."""
DRAWS = 100_000
EXPOSURES: tuple[Exposure, ...] = ("seen", "not seen", "unclear")

LEVEL = 0.05
"""Of the test that `Association.needed` is about."""

_TIE = 1e-9


@dataclass(frozen=True)
class Association:
    """Spearman's coefficient of some models' values against their sizes.

    Attributes
    ----------
    n
        Models.
    rho
        NaN where all sizes or all values are the same, or with fewer than three models.
    p, smallest_p
        Two-sided, by permutation; the smallest that these sizes and values could have.
    needed
        The smallest size of a coefficient that has p of at most 0.05; NaN where none has.
    low, high
        Approximate interval; NaN with fewer than four models or a perfect order.
    mean
        Of the values.
    """

    n: int
    rho: float
    p: float
    smallest_p: float
    needed: float
    low: float
    high: float
    mean: float


@dataclass(frozen=True)
class AcrossModels:
    """One task and readout over the models of one publication, by ascending size.

    Attributes
    ----------
    models, sizes, values
        Titles, pretraining recordings and values.
    whole
        Over all of them.
    without
        Title to Spearman's coefficient of the other models.
    by_exposure
        Over the models that had seen the test data, had not, or of which it is unclear.
    slope, slope_low, slope_high
        Change of the value per doubling of the size, by least squares, and its t interval.
    """

    publication: str
    results: PublishedResults
    readout: PublishedReadout
    models: tuple[str, ...]
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    whole: Association
    without: dict[str, float]
    by_exposure: dict[Exposure, Association]
    slope: float
    slope_low: float
    slope_high: float

    @property
    def range_without(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The lowest and the highest coefficient with one model left out, and which."""
        ordered = sorted(self.without.items(), key=lambda item: item[1])
        return ordered[0], ordered[-1]


def across_models(rows: Iterable[Row], confidence: float = 0.95) -> list[AcrossModels]:
    """Return every task and readout for which a publication has enough models of different sizes.

    Parameters
    ----------
    rows
        As `ecgscale.literature.published_rows` gives them. What was not pretrained, and models of
        unknown size, are left out.
    confidence
        Of the intervals.
    """
    tests: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        if row.of.records and row.results.metric != "auroc_change":
            tests.setdefault((row.publication, row.results.task, row.readout), []).append(row)
    return [
        _across(sorted(group, key=lambda row: row.of.records or 0), confidence)
        for group in tests.values()
        if len(group) >= FEWEST_MODELS and len({row.of.records for row in group}) > 2
    ]


def _across(rows: Sequence[Row], confidence: float) -> AcrossModels:
    sizes = np.array([row.of.records for row in rows], dtype=np.float64)
    values = np.array([row.value for row in rows])
    titles = tuple(row.of.title for row in rows)
    others = ~np.eye(len(rows), dtype=np.bool_)
    exposed = np.array([row.exposure for row in rows])
    parts = {name: exposed == name for name in EXPOSURES}
    slope, reach = least_squares(np.log2(sizes), values, confidence)
    return AcrossModels(
        publication=rows[0].publication,
        results=rows[0].results,
        readout=rows[0].readout,
        models=titles,
        sizes=tuple(int(size) for size in sizes),
        values=tuple(values.tolist()),
        whole=associate(sizes, values, confidence),
        without={
            title: spearman_of(sizes[kept], values[kept])
            for title, kept in zip(titles, others, strict=True)
        },
        by_exposure={
            name: associate(sizes[part], values[part], confidence)
            for name, part in parts.items()
            if part.any()
        },
        slope=slope,
        slope_low=slope - reach,
        slope_high=slope + reach,
    )


def associate(sizes: FloatArray, values: FloatArray, confidence: float = 0.95) -> Association:
    """Return Spearman's coefficient of values against sizes, both of shape (model,), with ties.

    The interval is Fisher's with the variance ``1.06 / (n - 3)`` of Fieller, Hartley and Pearson
    (Biometrika 1957;44:470-481): approximate, the more so the fewer the models.

    Examples
    --------
    >>> found = associate(np.array([1.0, 2, 4, 8, 16]), np.array([0.7, 0.8, 0.75, 0.9, 0.95]))
    >>> found.n, round(found.rho, 2), round(found.p, 3), round(found.smallest_p, 3)
    (5, 0.9, 0.083, 0.017)
    """
    from scipy.special import ndtri

    n, rho = len(sizes), spearman_of(sizes, values)
    p, smallest, needed = _permuted(sizes, values, rho)
    low = high = math.nan
    if n > 3 and abs(rho) < 1 - _TIE:
        reach = float(ndtri((1 + confidence) / 2)) * math.sqrt(1.06 / (n - 3))
        low, high = math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)
    return Association(n, rho, p, smallest, needed, low, high, float(values.mean()))


def spearman_of(sizes: FloatArray, values: FloatArray) -> float:
    """Return Spearman's coefficient with mean ranks for ties; NaN where there is no order."""
    if len(sizes) < 3:
        return math.nan
    one, other = _centred_ranks(sizes), _centred_ranks(values)
    norm = math.sqrt(float((one**2).sum() * (other**2).sum()))
    return float(one @ other) / norm if norm else math.nan


def _centred_ranks(values: FloatArray) -> FloatArray:
    ranks = average_ranks(values)
    centred: FloatArray = ranks - ranks.mean()
    return centred


def _permuted(sizes: FloatArray, values: FloatArray, rho: float) -> tuple[float, float, float]:
    """Return p of a coefficient, the smallest p that there is, and what `LEVEL` needs."""
    if math.isnan(rho):
        return math.nan, math.nan, math.nan
    one, other = _centred_ranks(sizes), _centred_ranks(values)
    norm = math.sqrt(float((one**2).sum() * (other**2).sum()))
    null = np.sort(np.abs(other[_arrangements(len(one))] @ one) / norm)
    # Of random arrangements, the one at hand counts too, so that p is never 0.
    more = 0 if len(one) <= MOST_ENUMERATED else 1
    as_large = len(null) - np.searchsorted(null, null - _TIE) + more
    p_of = as_large / (len(null) + more)
    hits = len(null) - int(np.searchsorted(null, abs(rho) - _TIE)) + more
    enough = null[p_of <= LEVEL]
    return (
        hits / (len(null) + more),
        float(p_of[-1]),
        float(enough[0]) if len(enough) else math.nan,
    )


@cache
def _arrangements(n: int) -> npt.NDArray[np.int64]:
    """Return shape (arrangement, n): all orders of n places, or `DRAWS` random ones."""
    if n <= MOST_ENUMERATED:
        return np.array(list(permutations(range(n))), dtype=np.int64)
    places = np.broadcast_to(np.arange(n), (DRAWS, n))
    return np.random.default_rng(0).permuted(places, axis=1)


def least_squares(x: FloatArray, y: FloatArray, confidence: float) -> tuple[float, float]:
    """Return the slope of y on x, both of shape (point,), and the reach of its t interval."""
    from scipy.special import stdtrit

    centred = x - x.mean()
    spread, df = float(centred @ centred), len(x) - 2
    slope = float(centred @ y) / spread
    residuals = y - y.mean() - slope * centred
    variance = float(residuals @ residuals) / df / spread
    return slope, float(stdtrit(df, (1 + confidence) / 2)) * math.sqrt(variance)
