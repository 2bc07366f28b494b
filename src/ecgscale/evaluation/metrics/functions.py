"""What metrics share: ranks, the fast AUROC, and macro means that are honest about absence.

A label without positives or without negatives has no AUROC, average precision, F1 or calibration
error: they are NaN and the label is counted, never 0 or 1. A label with too few positives keeps its
own values but does not enter a macro mean.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def included_labels(y: npt.ArrayLike, minimum_positives: int) -> Bools:
    """Return shape (label,): which labels enter a macro mean.

    Those of `y`, shape (example, label), 0 or 1, with the minimum of positives and a negative.
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
        Shape (example, label): 0 or 1, and finite; only the scores' order within a label matters.

    Returns
    -------
    array
        Shape (label,), NaN where a label has no positives or no negatives.

    Examples
    --------
    >>> auroc([[0], [1], [1]], [[0.2], [0.1], [0.8]]).tolist()
    [0.5]
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
    """Rank each column, shape (example, label), from 1; equal values share their mean rank."""
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


def paired_values(y: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Return what was to be predicted and what was, each of shape (example,), float64.

    Both are given with shape (example,) or (example, 1), finite.

    Raises
    ------
    BadInputError
        If there is not one prediction for each example.
    """
    truth, values = (np.asarray(part, dtype=np.float64).ravel() for part in (y, predicted))
    if len(truth) != len(values):
        raise BadInputError(f"there are {len(values)} predictions for {len(truth)} examples")
    return truth, values


def of_each_label(
    y: npt.ArrayLike,
    values: npt.NDArray[np.generic],
    function: Callable[["Tensor", "Tensor"], "Tensor"],
) -> Floats:
    """Apply a metric of torchmetrics to each label that has positives and negatives.

    torchmetrics gives 0 where there are no positives, which nobody has measured.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    values
        Shape (example, label), what is predicted.
    function
        Maps the values (float64, or int64 of what is true or false) and the targets (int64) of one
        label to its metric.

    Returns
    -------
    array
        Shape (label,), NaN where a label is absent.
    """
    truth = np.asarray(y) == 1
    found = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0) & ~truth.all(axis=0)):
        found[label] = float(function(as_tensor(values[:, label]), as_tensor(truth[:, label])))
    return found


def checked_probabilities(values: npt.ArrayLike) -> Floats:
    """Refuse what torchmetrics would take for log odds, or drop.

    Raises
    ------
    BadInputError
        If a value is outside of [0, 1].
    """
    probability = np.asarray(values, dtype=np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise BadInputError("probabilities must be between 0 and 1")
    return probability


def as_tensor(values: npt.NDArray[np.generic]) -> "Tensor":
    """Return a tensor of float64, or of int64 for what is true or false."""
    import torch

    kind = np.int64 if values.dtype == np.bool_ else np.float64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind))
