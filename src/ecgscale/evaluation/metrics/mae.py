"""The mean absolute error of a regression."""

from collections.abc import Sequence
from typing import ClassVar

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

    name: ClassVar[str] = "mae"
    kinds = ("regression",)
    title: ClassVar[str] = "MAE"
    short: ClassVar[str] = "MAE"
    digits: ClassVar[int] = 2
    higher_is_better: ClassVar[bool] = False
    in_unit_of_target: ClassVar[bool] = True
    subject: ClassVar[str] = "the error"
    suite_metric: ClassVar[str] = "r2"

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
        errors = bootstrap_mae(
            outcome.y,
            outcome.scores,
            outcome.patients,
            resamples=resamples,
            seed=seed,
            task=outcome.task,
        )
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
    task: str,
) -> Floats:
    """Recompute a regression's mean absolute error in every resample of the patients.

    ``sum_i w_i |y_i - p_i| / sum_i w_i`` with the weights of `patient_weights`.

    Parameters
    ----------
    y, predicted
        Shape (example,) or (example, 1), finite.
    patients
        Shape (example,), patient ids.
    resamples, seed, task
        As `ecgscale.evaluation.bootstrap.patient_weights`.

    Returns
    -------
    array
        Shape (resample,).
    """
    truth, values = paired_values(y, predicted)
    ids, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(len(ids), resamples, seed, task)
    errors = np.bincount(patient, weights=np.abs(truth - values), minlength=len(ids))
    records = np.bincount(patient, minlength=len(ids)).astype(np.float64)
    return np.asarray(errors @ weights / (records @ weights))
