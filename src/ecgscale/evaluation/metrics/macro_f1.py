"""F1 at thresholds that the validation split chose, averaged over labels."""

from functools import partial

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.metrics.base import LABELLED, Columns, Metric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import (
    Bools,
    Floats,
    checked_probabilities,
    of_each_label,
)

UNLEARNED_THRESHOLD = 0.5
"""Threshold of a label that has no positives or no negatives to choose one by."""


@metrics.register("macro_f1")
class MacroF1(Metric):
    """Mean over labels of F1 at the threshold that is best on validation, of torchmetrics.

    Of one class of several the most probable class is called, which needs no threshold.
    """

    name = "macro_f1"
    kinds = LABELLED
    title = "macro F1"
    short = "F1"
    higher_is_better = True
    column = "f1"

    def by_label(self, outcome: Outcome) -> Columns:
        """Return F1 of each label and the threshold, NaN where there is none."""
        y, seen = outcome.y, outcome.probability
        if outcome.kind == "multi-class":
            return {self.column: multiclass_f1(y, seen), "threshold": np.full(y.shape[1], np.nan)}
        threshold = best_f1_thresholds(outcome.validation_y, outcome.validation_probability)
        return {self.column: f1_scores(y, seen, threshold), "threshold": threshold}


def best_f1_thresholds(y: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Choose the threshold of each label that maximises its F1, for use on other examples.

    Every probability that occurs is tried; of equally good ones the highest is taken. An example is
    positive from the threshold on.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1; validation examples.
    probability
        Shape (example, label), in [0, 1].

    Returns
    -------
    array
        Shape (label,); `UNLEARNED_THRESHOLD` for a label without positives or without negatives.

    Raises
    ------
    BadInputError
        If a probability is outside of [0, 1].
    """
    truth, values = np.asarray(y) == 1, checked_probabilities(probability)
    positives = truth.sum(axis=0)
    order = np.argsort(-values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    hits = np.cumsum(np.take_along_axis(truth, order, axis=0), axis=0)
    called = np.arange(1, len(values) + 1)[:, None]
    f1 = 2 * hits / (called + positives)
    # Equal probabilities are called together: only the last of them ends a candidate.
    f1[:-1][ordered[1:] == ordered[:-1]] = -1.0
    thresholds = np.full(truth.shape[1], UNLEARNED_THRESHOLD)
    for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        thresholds[label] = ordered[f1[:, label].argmax(), label]
    return thresholds


def f1_scores(y: npt.ArrayLike, probability: npt.ArrayLike, thresholds: npt.ArrayLike) -> Floats:
    """Compute the F1 of each label, ``2 TP / (2 TP + FP + FN)``, with torchmetrics.

    Takes and raises what `best_f1_thresholds` does, and takes the thresholds, shape (label,), that
    it chose on other examples. Returns shape (label,), NaN where a label is absent.
    """
    called = checked_probabilities(probability) >= np.asarray(thresholds, dtype=np.float64)
    return _f1(y, called)


def multiclass_f1(y: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Compute the F1 of each class when the most probable class is called, with torchmetrics.

    As `f1_scores`; each row of `y` has one 1, and of equally probable classes the first is called.
    """
    values = np.asarray(probability)
    called = values.argmax(axis=1)[:, None] == np.arange(values.shape[1])
    return _f1(y, called)


def _f1(y: npt.ArrayLike, called: Bools) -> Floats:
    from torchmetrics.functional.classification import binary_f1_score

    return of_each_label(y, called, partial(binary_f1_score, validate_args=False))
