"""From scores to a task's result: metrics, their intervals, and a row per label."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import SPLITS
from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import bootstrap_auroc, bootstrap_mae, interval
from ecgscale.evaluation.metrics import (
    Bools,
    Floats,
    best_f1_thresholds,
    calibration_error,
    f1_scores,
    label_metrics,
    macro,
    multiclass_f1,
    regression_metrics,
    top_label_calibration_error,
)
from ecgscale.evaluation.probe import log_loss
from ecgscale.evaluation.readouts.base import validation_quality
from ecgscale.evaluation.settings import EvaluationConfig
from ecgscale.tasks import tasks
from ecgscale.tasks.targets import TaskTable

REPLICATE_DECIMALS = 7
"""Decimals of a replicate in the record: the error of a reported AUROC is of that size too."""


@dataclass(frozen=True)
class TaskResult:
    """How one endpoint (a task under a protocol) came out.

    Attributes
    ----------
    metrics
        Final values. Classification: macro_auroc with macro_auroc_low and macro_auroc_high,
        macro_average_precision, macro_f1, ece, probe_loss, labels_used, labels_absent,
        validation_macro_auroc. Regression: mae with mae_low and mae_high, r2, validation_mae.
        Both: what only the readout has (penalty).
    details
        ``kind``; ``metric``, the main one; ``protocol``; ``labels``, a row per label (none for a
        regression); ``replicates``, the main metric of each resample; what the readout tried.
    """

    metrics: dict[str, float]
    details: dict[str, Any]


def measure(
    table: TaskTable,
    scores: Floats,
    train: Bools,
    settings: EvaluationConfig,
) -> TaskResult:
    """Measure scores on the test split, with intervals; the validation split gives thresholds.

    Parameters
    ----------
    table
        The task.
    scores
        Shape (example, label), as `ecgscale.evaluation.readouts.base.Predictions.scores`.
    train
        Shape (example,), the examples that were learned from.
    settings
        Resamples and minimum of positives.

    Returns
    -------
    TaskResult
        Its details lack ``protocol`` and what the readout tried.
    """
    quality = validation_quality(
        table, scores[table.where("validation")], minimum_positives(table, settings)
    )
    if table.kind == "regression":
        result = _regression(table, scores, settings)
        seen = {"validation_mae": -quality}
    else:
        result = _classification(table, scores, train, settings)
        seen = {"validation_macro_auroc": quality}
    return TaskResult({**result.metrics, **seen}, {"kind": table.kind, **result.details})


def minimum_positives(table: TaskTable, settings: EvaluationConfig) -> int:
    """Return the positives that a label needs to enter the macro means of a task."""
    return settings.minimum_positives or tasks.get(table.task).metadata.minimum_positives


def check_table(table: TaskTable) -> None:
    """Check that a task can be measured.

    Raises
    ------
    BadInputError
        If a split has no examples, or a target is not what the task's kind says.
    """
    if table.kind == "regression":
        if not np.isfinite(table.y).all():
            raise BadInputError(f"task {table.task} has targets that are not finite")
    elif not np.isin(table.y, (0, 1)).all():
        raise BadInputError(f"task {table.task} has targets other than 0 and 1")
    for split in SPLITS:
        if not table.where(split).any():
            raise BadInputError(f"task {table.task} has no {split} examples")


def _regression(table: TaskTable, scores: Floats, settings: EvaluationConfig) -> TaskResult:
    test = table.where("test")
    y, predicted = table.y[test, 0], scores[test, 0]
    measured = regression_metrics(y, predicted)
    replicates = bootstrap_mae(
        y,
        predicted,
        table.frame.loc[test, "patient_id"].tolist(),
        resamples=settings.bootstrap,
        seed=settings.bootstrap_seed,
        task=table.task,
    )
    low, high = interval(replicates)
    metrics = {"mae": measured.mae, "mae_low": low, "mae_high": high, "r2": measured.r2}
    return TaskResult(metrics, {"metric": "mae", "labels": [], "replicates": _kept(replicates)})


def _classification(
    table: TaskTable,
    scores: Floats,
    train: Bools,
    settings: EvaluationConfig,
) -> TaskResult:
    test = table.where("test")
    y = table.y[test]
    measured = label_metrics(y, scores[test], minimum_positives(table, settings))
    replicates = bootstrap_auroc(
        y,
        scores[test],
        table.frame.loc[test, "patient_id"].tolist(),
        measured.included,
        resamples=settings.bootstrap,
        seed=settings.bootstrap_seed,
        task=table.task,
    )
    low, high = interval(replicates.macro)
    probability = _probability(table, scores)
    columns = _calibrated(table, probability)
    metrics = {
        "macro_auroc": measured.macro_auroc,
        "macro_auroc_low": low,
        "macro_auroc_high": high,
        "macro_average_precision": measured.macro_average_precision,
        "macro_f1": macro(columns["f1"], measured.included),
        "ece": (
            top_label_calibration_error(y, probability[test])
            if table.kind == "multi-class"
            else macro(columns["ece"], measured.included)
        ),
        "probe_loss": _loss(table, scores, measured.included),
        "labels_used": float(measured.included.sum()),
        "labels_absent": float(measured.absent.sum()),
    }
    bounds = np.array([interval(values) for values in replicates.labels])
    constant = (table.y[train] == table.y[train][:1]).all(axis=0)
    columns |= {
        "positives": measured.positives,
        "negatives": measured.negatives,
        "auroc": measured.auroc,
        "low": bounds[:, 0],
        "high": bounds[:, 1],
        "average_precision": measured.average_precision,
        "included": measured.included,
        "constant": constant,
    }
    labels = [
        {"name": name, **{key: values[column].item() for key, values in columns.items()}}
        for column, name in enumerate(table.labels)
    ]
    details = {"metric": "macro_auroc", "labels": labels, "replicates": _kept(replicates.macro)}
    return TaskResult(metrics, details)


def _calibrated(table: TaskTable, probability: Floats) -> dict[str, npt.NDArray[Any]]:
    """Return per label what needs probabilities: F1, its threshold, the calibration error."""
    validation, test = table.where("validation"), table.where("test")
    y, seen = table.y[test], probability[test]
    if table.kind == "multi-class":
        f1, threshold = multiclass_f1(y, seen), np.full(y.shape[1], np.nan)
    else:
        threshold = best_f1_thresholds(table.y[validation], probability[validation])
        f1 = f1_scores(y, seen, threshold)
    return {"f1": f1, "threshold": threshold, "ece": calibration_error(y, seen)}


def _probability(table: TaskTable, scores: Floats) -> Floats:
    if table.kind == "multi-class":
        # Rounding may put the logarithm of a certainty just above zero.
        return np.asarray(np.exp(np.minimum(scores, 0.0)))
    # Both halves of the logistic function, each where it cannot overflow.
    small = np.exp(-np.abs(scores))
    return np.asarray(np.where(scores >= 0, 1.0, small) / (1 + small))


def _loss(table: TaskTable, scores: Floats, included: Bools) -> float:
    """Return the loss on test: softmax cross entropy, or the included labels' logistic loss."""
    test = table.where("test")
    if table.kind == "multi-class":
        return -float(scores[test][table.y[test] == 1].mean())
    return macro(log_loss(table.y[test], scores[test]), included)


def _kept(replicates: Floats) -> list[float]:
    rounded: list[float] = np.round(replicates, REPLICATE_DECIMALS).tolist()
    return rounded
