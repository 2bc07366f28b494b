"""The mean absolute error of a regression."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.bootstrap import Replicates, patient_weights
from ecgscale.evaluation.metrics.base import Columns, MainMetric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import Floats, as_tensor, paired_values


@metrics.register("mae")
class Mae(MainMetric):
    """Mean absolute error, in the unit of the target, of torchmetrics.

    Errors of different units have no mean, so that of a suite's regressions is the mean share of
    variance explained.
    """

    name = "mae"
    kinds = ("regression",)
    title = "MAE"
    short = "MAE"
    digits = 2
    higher_is_better = False
    in_unit_of_target = True
    subject = "the error"
    suite_metric = "r2"

    def value(self, outcome: Outcome, columns: Columns) -> float:
        """Return the mean absolute error, NaN if there are no examples."""
        return mean_absolute_error(outcome.y, outcome.scores)

    def on_validation(
        self, y: npt.NDArray[np.floating], scores: npt.ArrayLike, minimum_positives: int
    ) -> float:
        """Return the mean absolute error."""
        return float(np.abs(np.asarray(scores) - y).mean())

    def replicates(self, outcome: Outcome, resamples: int, seed: int) -> Replicates:
        """Return the mean absolute error in every resample."""
        given = (outcome.y, outcome.scores, outcome.patients)
        errors = bootstrap_mae(*given, resamples=resamples, seed=seed)
        return Replicates(np.empty((0, resamples)), errors)


def mean_absolute_error(y: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Compute the mean absolute error of `paired_values`, NaN if there are none."""
    from torchmetrics.functional import regression

    truth, values = paired_values(y, predicted)
    if not len(truth):
        return float("nan")
    return float(regression.mean_absolute_error(as_tensor(values), as_tensor(truth)))


def bootstrap_mae(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
) -> Floats:
    """Return shape (resample,): a regression's mean absolute error in every resample.

    ``sum_i w_i |y_i - p_i| / sum_i w_i`` of `paired_values` with the weights of `patient_weights`;
    `patients` has the patient id of each example.
    """
    truth, values = paired_values(y, predicted)
    ids, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(ids.tolist(), resamples, seed)
    errors = np.bincount(patient, weights=np.abs(truth - values), minlength=len(ids))
    records = np.bincount(patient, minlength=len(ids)).astype(np.float64)
    return np.asarray(errors @ weights / (records @ weights))
