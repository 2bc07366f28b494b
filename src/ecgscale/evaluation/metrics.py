"""AUROC and average precision per label, and macro means that are honest about absence.

A label without positives or without negatives has no AUROC: it is NaN and counted, never 0 or 1.
A label with too few positives keeps its own value but does not enter a macro mean.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LabelMetrics:
    """Metrics of one set of examples; every array has shape (label,).

    Attributes
    ----------
    positives, negatives
        Examples of each kind.
    auroc, average_precision
        NaN where a label is absent (no positives or no negatives).
    included
        Whether the label enters the macro means.
    """

    positives: npt.NDArray[np.int64]
    negatives: npt.NDArray[np.int64]
    auroc: Floats
    average_precision: Floats
    included: Bools

    @property
    def absent(self) -> Bools:
        """Whether the label's metrics are undefined."""
        return np.asarray((self.positives == 0) | (self.negatives == 0))

    @property
    def macro_auroc(self) -> float:
        """Mean AUROC over the included labels, NaN if there are none."""
        return macro(self.auroc, self.included)

    @property
    def macro_average_precision(self) -> float:
        """Mean average precision over the included labels, NaN if there are none."""
        return macro(self.average_precision, self.included)


def label_metrics(
    y: npt.ArrayLike, scores: npt.ArrayLike, minimum_positives: int = 1
) -> LabelMetrics:
    """Compute the reported metrics, with torchmetrics.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    scores
        Shape (example, label), finite; only their order within a label matters.
    minimum_positives
        Positives that a label needs to enter the macro means.
    """
    import torch
    from torchmetrics.functional.classification import binary_auroc, binary_average_precision

    truth = np.asarray(y) == 1
    positives, negatives = truth.sum(axis=0), (~truth).sum(axis=0)
    # Ranks over their number have the order and the ties of the scores. Scores outside of [0, 1]
    # would go through a sigmoid, which ties the large ones.
    ranks = torch.from_numpy(average_ranks(scores) / (len(truth) + 1))
    target = torch.from_numpy(truth.astype(np.int64))
    area, precision = np.full((2, truth.shape[1]), np.nan)
    # torchmetrics gives 0 where there are no positives.
    for label in np.flatnonzero((positives > 0) & (negatives > 0)):
        one = (ranks[:, label], target[:, label])
        area[label] = float(binary_auroc(*one, validate_args=False))
        precision[label] = float(binary_average_precision(*one, validate_args=False))
    return LabelMetrics(
        positives, negatives, area, precision, included_labels(truth, minimum_positives)
    )


def included_labels(y: npt.ArrayLike, minimum_positives: int) -> Bools:
    """Return shape (label,): which labels enter a macro mean.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    minimum_positives
        Positives that a label needs, beside at least one negative.
    """
    truth = np.asarray(y) == 1
    return np.asarray((truth.sum(axis=0) >= max(minimum_positives, 1)) & ~truth.all(axis=0))


def macro(values: npt.ArrayLike, included: Bools) -> float:
    """Return the mean over the included labels, NaN if there are none."""
    chosen = np.asarray(values, dtype=np.float64)[included]
    return float(chosen.mean()) if len(chosen) else float("nan")


def auroc(y: npt.ArrayLike, scores: npt.ArrayLike) -> Floats:
    """Compute the AUROC of every label at once, from ranks.

    The Mann-Whitney form: with R the sum of the average ranks of the P positives among all P + N
    examples, AUROC = (R - P (P + 1) / 2) / (P N). Hanley & McNeil, Radiology 143:29-36, 1982.
    For where many are needed (choosing a penalty, monitors); the tests hold it equal to the
    reported one.

    Parameters
    ----------
    y, scores
        As `label_metrics`.

    Returns
    -------
    array
        Shape (label,), NaN where a label has no positives or no negatives.
    """
    truth = np.asarray(y) == 1
    positives, negatives = truth.sum(axis=0), (~truth).sum(axis=0)
    rank_sums = np.where(truth, average_ranks(scores), 0.0).sum(axis=0)
    wins = rank_sums - positives * (positives + 1) / 2
    pairs = positives.astype(np.float64) * negatives
    area = np.full(len(pairs), np.nan)
    np.divide(wins, pairs, out=area, where=pairs > 0)
    return area


def average_ranks(scores: npt.ArrayLike) -> Floats:
    """Rank each column from 1; equal values share the mean of their ranks.

    Parameters
    ----------
    scores
        Shape (example, label).

    Returns
    -------
    array
        Shape (example, label), float64.
    """
    values = np.asarray(scores)
    order = np.argsort(values, axis=0)
    ordered = np.take_along_axis(values, order, axis=0)
    place = np.arange(len(values))[:, None]
    differs = ordered[1:] != ordered[:-1]
    edge = np.ones((1, values.shape[1]), dtype=np.bool_)
    first = np.maximum.accumulate(np.where(np.vstack([edge, differs]), place, 0), axis=0)
    ends = np.where(np.vstack([differs, edge]), place, len(values))
    last = np.minimum.accumulate(ends[::-1], axis=0)[::-1]
    ranks = np.empty(values.shape, dtype=np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2 + 1, axis=0)
    return ranks
