"""The shape of a curve: whether it rises to its end, and from where it does not."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import (
    Estimate,
    FloatArray,
    slope_weights,
    uncertainty,
    weighted_estimate,
)

Form = Literal[
    "improves throughout",
    "saturates",
    "only the first step",
    "negligible",
    "slows down",
    "not told apart",
    "no gain",
    "not tested",
]


@dataclass(frozen=True)
class Shape:
    """What is known of the shape of one group's curve, in the metric's own direction.

    Attributes
    ----------
    steps
        Change from each size to the next, per doubling.
    first, last_two, last_three
        Slope per doubling over the first three sizes (of three, the first two), and over the last
        two and three.
    quadratic
        Coefficient of the square of log2 of the patients: half of how much the slope changes per
        doubling.
    isotonic
        Least-squares fit to the means that never worsens with size (pool adjacent violators).
    form
        By the rules of `shape`.
    negligible
        Slope per doubling below which an effect is of no interest; NaN where none was declared.
    saturates_from
        Place of the size from which the slope is negligible, None if there is none.
    """

    group: Group
    steps: tuple[Estimate, ...]
    first: Estimate
    last_two: Estimate
    last_three: Estimate
    quadratic: Estimate
    isotonic: tuple[float, ...]
    form: Form
    negligible: float
    saturates_from: int | None


def shape(group: Group, confidence: float, negligible: float) -> Shape | None:
    """Describe the shape of one group's curve; None if its `problem` forbids it.

    With alpha one minus the confidence:

    - *negligible*: the whole slope lies between plus and minus `negligible` (two one-sided tests
      at alpha).
    - *saturates* from size n: so does the slope over n and larger sizes, and that over n and
      smaller ones is an improvement at alpha. n is found from the last three sizes on, then four,
      until one is not established; a fixed sequence needs no adjustment. If n is the second size
      this is *only the first step*.
    - *improves throughout*: the slopes over the first and over the last three sizes (of three, over
      both pairs) both improve at alpha. Both must reject, so neither needs an adjustment.
    - *slows down*: the whole slope improves, and the quadratic contrast says that it does so less
      and less, at alpha.
    - *no gain*: the whole slope does not improve at alpha. Else *not told apart*.

    Parameters
    ----------
    negligible
        Slope per doubling below which an effect is of no interest, in the unit of the metric; NaN
        where none was declared: then nothing is said to saturate.
    """
    from scipy.optimize import isotonic_regression

    if group.problem:
        return None
    x, k, metric = np.log2(group.sizes), len(group.sizes), group.endpoint.metric

    def over(start: int, stop: int) -> Estimate:
        return _estimate(group, _part(x, start, stop), confidence)

    first, last = over(0, 3 if k > 3 else 2), over(k - 3 if k > 3 else k - 2, k)
    quadratic = _estimate(group, np.linalg.pinv(np.vander(x - x.mean(), 3))[0], confidence)
    whole = over(0, k)

    def improves(found: Estimate) -> bool:
        return found.p <= 1 - confidence and metric.better(found.value)

    flat = None
    for start in range(k - 3, 0, -1):
        if not _negligible(group, _part(x, start, k), negligible, 1 - confidence):
            break
        flat = start
    if _negligible(group, _part(x, 0, k), negligible, 1 - confidence):
        flat = 0
    form: Form = "not told apart"
    if len(group.blocks) < 2:
        form, flat = "not tested", None
    elif flat == 0:
        form = "negligible"
    elif flat is not None and improves(over(0, flat + 1)):
        form = "only the first step" if flat == 1 else "saturates"
    elif improves(first) and improves(last):
        form = "improves throughout"
    elif not improves(whole):
        form = "no gain"
    elif quadratic.p <= 1 - confidence and not metric.better(quadratic.value):
        form = "slows down"
    means = group.score.mean(axis=0)
    return Shape(
        group,
        tuple(over(place, place + 2) for place in range(k - 1)),
        first,
        over(k - 2, k),
        over(k - 3, k),
        quadratic,
        tuple(map(float, isotonic_regression(means, increasing=metric.higher_is_better).x)),
        form,
        negligible,
        flat if form in ("saturates", "only the first step", "negligible") else None,
    )


def _part(x: FloatArray, start: int, stop: int) -> FloatArray:
    """Return weights of the slope over some of the sizes, 0 at the others."""
    weights = np.zeros(len(x))
    weights[start:stop] = slope_weights(x[start:stop])
    return weights


def _estimate(group: Group, weights: FloatArray, confidence: float) -> Estimate:
    return weighted_estimate(group.score, group.replicates, group.blocks, weights, confidence)


def _negligible(group: Group, weights: FloatArray, bound: float, alpha: float) -> bool:
    """Return whether a contrast is within plus and minus a bound, by two one-sided tests."""
    contrast = group.score @ weights
    reach = uncertainty(contrast, group.replicates @ weights, group.blocks).reach(2 * alpha)
    return abs(float(contrast.mean())) + reach < bound
