"""The expected calibration error: how far stated probabilities are from what happens."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.metrics.base import LABELLED, Columns, Metric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import (
    Floats,
    as_tensor,
    checked_probabilities,
    of_each_label,
)

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATION_BINS = 15
"""Equal-width bins of a calibration error: Guo et al., ICML 2017, arXiv 1706.04599."""


@metrics.register("ece")
class Ece(Metric):
    """Mean over labels of the expected calibration error, of torchmetrics.

    Of one class of several it is that of the most probable class.
    """

    name = "ece"
    kinds = LABELLED
    title = "calibration error"
    short = "calibration error"
    higher_is_better = False
    column = "ece"

    def by_label(self, outcome: Outcome) -> Columns:
        """Return the calibration error of each label."""
        return {self.column: calibration_error(outcome.y, outcome.probability)}

    def value(self, outcome: Outcome, columns: Columns) -> float:
        """Return the mean over labels, or the calibration error of the most probable class."""
        if outcome.kind == "multi-class":
            return top_label_calibration_error(outcome.y, outcome.probability)
        return super().value(outcome, columns)


def calibration_error(
    y: npt.ArrayLike, probability: npt.ArrayLike, bins: int = CALIBRATION_BINS
) -> Floats:
    """Compute the expected calibration error of each label, with torchmetrics.

    ``sum_b n_b / n |positives_b / n_b - mean probability_b|`` over bins of equal width (Naeini,
    Cooper & Hauskrecht, AAAI 2015, 2901-2907).

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    probability
        Shape (example, label), in [0, 1], of a positive.
    bins
        Number of bins; a probability on an edge belongs to the upper one, 1 to the last.

    Returns
    -------
    array
        Shape (label,), NaN where a label is absent.

    Raises
    ------
    BadInputError
        If a probability is outside of [0, 1].
    """
    return of_each_label(y, checked_probabilities(probability), _binned_error(bins))


def top_label_calibration_error(
    y: npt.ArrayLike, probability: npt.ArrayLike, bins: int = CALIBRATION_BINS
) -> float:
    """Compute the expected calibration error of the most probable class, with torchmetrics.

    As `calibration_error`, of how often the called class is right (Guo et al., ICML 2017); each row
    of `y` has one 1, and of equally probable classes the first is called. NaN without examples.
    """
    truth, values = np.asarray(y) == 1, checked_probabilities(probability)
    if not len(truth):
        return float("nan")
    right = np.take_along_axis(truth, values.argmax(axis=1)[:, None], axis=1)[:, 0]
    return float(_binned_error(bins)(as_tensor(values.max(axis=1)), as_tensor(right)))


def _binned_error(bins: int) -> Callable[["Tensor", "Tensor"], "Tensor"]:
    """Return a function of probabilities and targets, both of shape (example,)."""
    from torchmetrics.functional.classification import binary_calibration_error

    def error(probability: "Tensor", target: "Tensor") -> "Tensor":
        # torchmetrics has a bin of its own for a probability of 1.
        below = probability.clamp(max=math.nextafter(1.0, 0.0))
        return binary_calibration_error(below, target, n_bins=bins, validate_args=False)

    return error
