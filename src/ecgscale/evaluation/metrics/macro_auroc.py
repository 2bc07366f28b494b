"""The area under the ROC curve, averaged over labels.

In a resample AUROC is normalised within a label's positives and within its negatives, and Exp(1)
weights so normalised are uniform Dirichlet weights over that stratum alone (Gu, Ghosal & Roy, Stat.
Med. 27:5407-5420, 2008). One draw therefore resamples every label within its own strata, no
resample loses a rare label's positives, and labels keep their dependence, which the interval of a
macro mean needs.
"""

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.bootstrap import Replicates, auroc_interval, patient_weights
from ecgscale.evaluation.metrics.base import LABELLED, Columns, MainMetric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import (
    Bools,
    Floats,
    auroc,
    included_labels,
    macro,
    of_each_label,
)

_BLOCK = 64
"""Resamples taken at once, so that their weights stay in the processor's cache."""


@metrics.register("macro_auroc")
class MacroAuroc(MainMetric):
    """Mean area under the ROC curve, each label for itself, of torchmetrics.

    The order of the scores alone decides. Of one class of several it is that of the class against
    the rest.
    """

    name = "macro_auroc"
    kinds = LABELLED
    title = "macro AUROC"
    short = "AUROC"
    higher_is_better = True
    column = "auroc"
    subject = "accuracy"
    suite_metric = "macro_auroc"

    def by_label(self, outcome: Outcome) -> Columns:
        """Return the AUROC of each label."""
        from torchmetrics.functional.classification import binary_auroc

        area = partial(binary_auroc, validate_args=False)
        return {self.column: of_each_label(outcome.y, outcome.ranks, area)}

    def on_validation(
        self, y: npt.NDArray[np.floating], scores: npt.ArrayLike, minimum_positives: int
    ) -> float:
        """Return the macro AUROC; where no label has the minimum, of all that have both classes."""
        return selection_auroc(y, scores, minimum_positives)

    def replicates(self, outcome: Outcome, resamples: int, seed: int) -> Replicates:
        """Return the AUROC of every label, and their mean, in every resample."""
        given = (outcome.y, outcome.scores, outcome.patients, outcome.included)
        return bootstrap_auroc(*given, resamples=resamples, seed=seed)

    def intervals(
        self, outcome: Outcome, replicates: Replicates, columns: Columns
    ) -> tuple[tuple[float, float], list[tuple[float, float]]]:
        """Return the intervals of `auroc_interval`, of the macro mean and of each label."""
        areas, drawn = columns[self.column], replicates.labels
        fewest = patients_of_rarer_class(outcome.y, outcome.patients)
        each = [auroc_interval(areas[[k]], drawn[[k]], fewest[[k]]) for k in range(len(areas))]
        used = outcome.included
        return auroc_interval(areas[used], drawn[used], fewest[used]), each


def patients_of_rarer_class(y: npt.ArrayLike, patients: Sequence[str]) -> npt.NDArray[np.int64]:
    """Return shape (label,): the patients with a positive, or with a negative if they are fewer.

    `y` has shape (example, label), `patients` the patient id of each example.
    """
    truth = np.asarray(y) == 1
    ids = np.asarray(patients, dtype=str)
    counts = [[len(np.unique(ids[column])) for column in part.T] for part in (truth, ~truth)]
    fewest: npt.NDArray[np.int64] = np.array(counts, dtype=np.int64).reshape(2, -1).min(axis=0)
    return fewest


def selection_auroc(y: npt.ArrayLike, scores: npt.ArrayLike, minimum_positives: int) -> float:
    """Return the macro AUROC on validation examples, by which a penalty is chosen.

    Of labels (`y` and `scores` as of `auroc`) with the minimum of positives here; where none has
    them, of all labels with a positive and a negative. NaN if there are none either.
    """
    included = included_labels(y, minimum_positives)
    if not included.any():
        included = included_labels(y, 1)
    return macro(auroc(y, scores), included)


def bootstrap_auroc(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    included: Bools,
    *,
    resamples: int,
    seed: int,
) -> Replicates:
    """Recompute every label's AUROC in every resample of the patients.

    Parameters
    ----------
    y, scores
        As `auroc`.
    patients
        Shape (example,), patient ids.
    included
        Shape (label,), the labels of the macro mean; decided once, on all examples.
    resamples, seed
        As `ecgscale.evaluation.bootstrap.patient_weights`.
    """
    truth, values = np.asarray(y) == 1, np.asarray(scores)
    ids, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(ids.tolist(), resamples, seed)
    columns = zip(truth.T, values.T, strict=True)
    areas = [_auroc_under_weights(*column, patient, weights) for column in columns]
    replicates = np.array(areas).reshape(truth.shape[1], resamples)
    if not included.any():
        return Replicates(replicates, np.full(resamples, np.nan))
    return Replicates(replicates, replicates[included].mean(axis=0))


def _auroc_under_weights(
    truth: Bools, scores: npt.NDArray[np.floating], patient: npt.NDArray[np.intp], weights: Floats
) -> Floats:
    """Return shape (resample,): the AUROC with each example's weight in each resample.

    Examples are sorted once. The negatives are summed in segments: below the lowest positive score
    (segment 0), equal to it (1), between it and the next (2), and so on. A positive with the i-th
    distinct score then wins against segments 0 to 2i and half of 2i + 1.
    """
    area = np.full(weights.shape[1], np.nan)
    if truth.all() or not truth.any():
        return area
    levels, level = np.unique(scores[truth], return_inverse=True)
    below = np.searchsorted(levels, scores[~truth], side="left")
    segment = below + np.searchsorted(levels, scores[~truth], side="right")
    for start in range(0, len(area), _BLOCK):
        block = weights[:, start : start + _BLOCK]
        positive = _sum_groups(block, patient[truth], level, len(levels))
        negative = _sum_groups(block, patient[~truth], segment, 2 * len(levels) + 1)
        beaten = np.cumsum(negative, axis=0)
        wins = (positive * (beaten[:-1:2] + beaten[1::2])).sum(axis=0) / 2
        area[start : start + _BLOCK] = wins / (positive.sum(axis=0) * beaten[-1])
    return area


def _sum_groups(
    weights: Floats, patient: npt.NDArray[np.intp], group: npt.NDArray[np.intp], groups: int
) -> Floats:
    """Sum the examples' weights within groups: (patient, resample) to (group, resample)."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    sums = np.zeros((groups, weights.shape[1]))
    sums[present] = np.add.reduceat(weights[patient[order]], starts, axis=0)
    return sums
