"""Metrics per label and of regressions, and macro means that are honest about absence.

A label without positives or without negatives has no AUROC, average precision, F1 or calibration
error: they are NaN and the label is counted, never 0 or 1. A label with too few positives keeps its
own values but does not enter a macro mean.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATION_BINS = 15
"""Equal-width bins of a calibration error: Guo et al., ICML 2017, arXiv 1706.04599."""

UNLEARNED_THRESHOLD = 0.5
"""Threshold of a label that has no positives or no negatives to choose one by."""

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


@dataclass(frozen=True)
class RegressionMetrics:
    """Metrics of a regression.

    Attributes
    ----------
    mae
        Mean absolute error, in the unit of the target; NaN if there are no examples.
    r2
        Coefficient of determination, ``1 - sum (y - p)^2 / sum (y - mean y)^2``: 0 for the mean of
        these examples, negative for worse; NaN where the target is constant.
    """

    mae: float
    r2: float


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
    truth, values = np.asarray(y) == 1, _probabilities(probability)
    positives = truth.sum(axis=0)
    order = np.argsort(-values, axis=0, kind="stable")
    ordered = np.take_along_axis(values, order, axis=0)
    hits = np.cumsum(np.take_along_axis(truth, order, axis=0), axis=0)
    called = np.arange(1, len(values) + 1)[:, None]
    f1 = 2 * hits / (called + positives)
    # Equal probabilities are called together: only the last of them ends a candidate.
    f1[:-1][ordered[1:] == ordered[:-1]] = -1.0
    thresholds = np.full(truth.shape[1], UNLEARNED_THRESHOLD)
    for label in np.flatnonzero(_present(truth)):
        thresholds[label] = ordered[f1[:, label].argmax(), label]
    return thresholds


def f1_scores(y: npt.ArrayLike, probability: npt.ArrayLike, thresholds: npt.ArrayLike) -> Floats:
    """Compute the F1 of each label, ``2 TP / (2 TP + FP + FN)``, with torchmetrics.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    probability
        Shape (example, label), in [0, 1].
    thresholds
        Shape (label,), chosen on other examples; an example is positive from there on.

    Returns
    -------
    array
        Shape (label,), NaN where a label is absent.

    Raises
    ------
    BadInputError
        If a probability is outside of [0, 1].
    """
    called = _probabilities(probability) >= np.asarray(thresholds, dtype=np.float64)
    return _f1(np.asarray(y) == 1, called)


def multiclass_f1(y: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Compute the F1 of each class when the most probable class is called, with torchmetrics.

    Parameters
    ----------
    y
        Shape (example, class), one 1 in each row.
    probability
        Shape (example, class); of equally probable classes the first is called.

    Returns
    -------
    array
        Shape (class,), NaN where a class is absent.
    """
    values = np.asarray(probability)
    called = values.argmax(axis=1)[:, None] == np.arange(values.shape[1])
    return _f1(np.asarray(y) == 1, called)


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
    truth, values = np.asarray(y) == 1, _probabilities(probability)
    errors = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(_present(truth)):
        errors[label] = _binned_error(truth[:, label], values[:, label], bins)
    return errors


def top_label_calibration_error(
    y: npt.ArrayLike, probability: npt.ArrayLike, bins: int = CALIBRATION_BINS
) -> float:
    """Compute the expected calibration error of the most probable class, with torchmetrics.

    As `calibration_error`, of how often the called class is right (Guo et al., ICML 2017).

    Parameters
    ----------
    y
        Shape (example, class), one 1 in each row.
    probability
        Shape (example, class), in [0, 1]; of equally probable classes the first is called.
    bins
        Number of bins.

    Returns
    -------
    float
        NaN if there are no examples.

    Raises
    ------
    BadInputError
        If a probability is outside of [0, 1].
    """
    truth, values = np.asarray(y) == 1, _probabilities(probability)
    if not len(truth):
        return float("nan")
    right = np.take_along_axis(truth, values.argmax(axis=1)[:, None], axis=1)[:, 0]
    return _binned_error(right, values.max(axis=1), bins)


def regression_metrics(y: npt.ArrayLike, predicted: npt.ArrayLike) -> RegressionMetrics:
    """Compute the metrics of a regression, with torchmetrics.

    Parameters
    ----------
    y, predicted
        Shape (example,) or (example, 1), finite.

    Raises
    ------
    BadInputError
        If there is not one prediction for each example.
    """
    from torchmetrics.functional.regression import mean_absolute_error, r2_score

    truth = np.asarray(y, dtype=np.float64).ravel()
    values = np.asarray(predicted, dtype=np.float64).ravel()
    if len(truth) != len(values):
        raise BadInputError(f"there are {len(values)} predictions for {len(truth)} examples")
    if not len(truth):
        return RegressionMetrics(float("nan"), float("nan"))
    mae = float(mean_absolute_error(_tensor(values), _tensor(truth)))
    spread = truth.std() if np.ptp(truth) > 0 else 0.0
    if spread == 0:
        return RegressionMetrics(mae, float("nan"))
    # In units of the target's SD: torchmetrics takes a sum of squares below 1e-4 for none.
    scaled, target = (_tensor((part - truth.mean()) / spread) for part in (values, truth))
    return RegressionMetrics(mae, float(r2_score(scaled, target)))


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


def _present(truth: Bools) -> Bools:
    """Return shape (label,): whether a label has positives and negatives."""
    return np.asarray(truth.any(axis=0) & ~truth.all(axis=0))


def _probabilities(values: npt.ArrayLike) -> Floats:
    """Refuse what torchmetrics would take for log odds, or drop."""
    probability = np.asarray(values, dtype=np.float64)
    if not ((probability >= 0) & (probability <= 1)).all():
        raise BadInputError("probabilities must be between 0 and 1")
    return probability


def _f1(truth: Bools, called: Bools) -> Floats:
    from torchmetrics.functional.classification import binary_f1_score

    scores = np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(_present(truth)):
        one = (_tensor(called[:, label]), _tensor(truth[:, label]))
        scores[label] = float(binary_f1_score(*one, validate_args=False))
    return scores


def _binned_error(truth: Bools, probability: Floats, bins: int) -> float:
    from torchmetrics.functional.classification import binary_calibration_error

    # torchmetrics has a bin of its own for a probability of 1.
    below = np.minimum(probability, np.nextafter(1.0, 0.0))
    one = (_tensor(below), _tensor(truth))
    return float(binary_calibration_error(*one, n_bins=bins, validate_args=False))


def _tensor(values: npt.NDArray[np.generic]) -> "Tensor":
    """Return a tensor of float64, or of int64 for what is true or false."""
    import torch

    kind = np.int64 if values.dtype == np.bool_ else np.float64
    return torch.from_numpy(np.ascontiguousarray(values, dtype=kind))
