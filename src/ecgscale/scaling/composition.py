"""What the pretraining subsets are made of at each size: age, sex, source."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from ecgscale.data.subsets import AGE_BANDS, SubsetManifest
from ecgscale.scaling.variance import Estimate, FloatArray, slope_weights, weighted_estimate

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Part:
    """One number of a subset's composition, over sizes and nesting orders.

    Attributes
    ----------
    name
        "mean age", "share of women", "age unknown", "sex unknown" or "share of <source>".
    sizes
        Pretraining patients, ascending.
    values
        Shape (order, size): years, or shares of the records. NaN where no age or sex is known.
    trend
        Change per doubling, with an interval over orders; NaN in it with one order.
    """

    name: str
    sizes: tuple[int, ...]
    values: FloatArray
    trend: Estimate


def compositions(manifests: Sequence[SubsetManifest], confidence: float) -> list[Part]:
    """Return what subsets are made of; none of fewer than 2 sizes.

    Subsets are drawn at random, so composition should not change with size but for the luck of the
    small ones. Where it does, a slope of the score is also one of age, sex or source.

    Parameters
    ----------
    manifests
        Of a study's subsets. A size that some order lacks is left out.
    """
    at = {(one.order, one.size): one for one in manifests}
    orders = sorted({order for order, _ in at})
    sizes = sorted({size for _, size in at})
    sizes = [size for size in sizes if all((order, size) in at for order in orders)]
    if len(sizes) < 2:
        return []
    numbers: dict[str, Callable[[SubsetManifest], float]] = {
        "mean age": _mean_age,
        "age unknown": lambda one: one.age.get(UNKNOWN, 0) / one.records,
        "share of women": _share_of_women,
        "sex unknown": lambda one: one.sex.get(UNKNOWN, 0) / one.records,
    }
    sources = sorted({source for one in manifests for source in one.sources})
    if len(sources) > 1:
        numbers |= {f"share of {source}": partial(_share_of, source) for source in sources}
    weights, blocks = slope_weights(np.log2(sizes)), [(order, order) for order in orders]
    none, parts = np.empty((0, len(orders), len(sizes))), []
    for name, number in numbers.items():
        values = np.array([[number(at[order, size]) for size in sizes] for order in orders])
        trend = weighted_estimate(values, none, blocks, weights, confidence)
        parts.append(Part(name, tuple(sizes), values, trend))
    return parts


def _mean_age(one: SubsetManifest) -> float:
    """Return the mean age of the records whose age is known, each in the middle of its band."""
    known = {band: count for band, count in one.age.items() if band != UNKNOWN}
    total = sum(known.values())
    middles = (count * (int(band.split("-")[0]) + AGE_BANDS / 2) for band, count in known.items())
    return math.fsum(middles) / total if total else math.nan


def _share_of(source: str, one: SubsetManifest) -> float:
    return one.sources.get(source, 0) / one.records


def _share_of_women(one: SubsetManifest) -> float:
    known = one.sex.get("F", 0) + one.sex.get("M", 0)
    return one.sex.get("F", 0) / known if known else math.nan
