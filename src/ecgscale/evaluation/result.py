"""From scores to the result of an endpoint: every metric, its interval, and a row per label."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import SPLITS
from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import SCHEME
from ecgscale.evaluation.metrics import Outcome, main_metric, metrics
from ecgscale.evaluation.metrics.base import Columns
from ecgscale.evaluation.metrics.functions import Bools
from ecgscale.evaluation.readouts.base import Predictions
from ecgscale.evaluation.settings import EvaluationSettings
from ecgscale.tasks.targets import TaskTable

REPLICATE_DECIMALS = 7
"""Decimals of a replicate in the record: the error of a reported AUROC is of that size too."""


@dataclass(frozen=True)
class TaskResult:
    """How one endpoint (a task under a protocol) came out.

    Attributes
    ----------
    metrics
        Final values: every registered metric of the task's kind; the interval of the main one,
        ``<main>_low`` and ``<main>_high``, and ``validation_<main>``; of labels labels_used and
        labels_absent; what only the readout has (penalty).
    details
        ``kind``; ``metric``, the main one, and its ``unit``; ``protocol``; ``labels``, a row per
        label (none for a regression); ``replicates``, the main metric of each resample, and
        ``resampling``, how those were drawn; what the readout tried.
    """

    metrics: dict[str, float]
    details: dict[str, Any]


def task_result(
    table: TaskTable,
    predictions: Predictions,
    train: Bools,
    settings: EvaluationSettings,
    protocol: dict[str, Any],
) -> TaskResult:
    """Compute every metric of the test split; the validation split gives thresholds.

    Parameters
    ----------
    table
        The task.
    predictions
        Of the validation and test examples.
    train
        Shape (example,), the examples that were learned from.
    settings
        Resamples and minimum of positives.
    protocol
        How the task was read out; the record says from how many examples and patients too.
    """
    minimum = minimum_positives(table, settings)
    outcome = Outcome.of(table, predictions.scores, minimum)
    main = main_metric(table.metric, table.unit)
    replicates = main.replicates(outcome, settings.bootstrap, settings.bootstrap_seed)
    seen = main.on_validation(outcome.validation_y, outcome.validation_scores, minimum)
    values = {f"validation_{main.name}": seen}
    columns: Columns = {}
    for name, metric in metrics.items():
        if table.kind in metric.kinds:
            found = metric().by_label(outcome)
            values[name] = metric().value(outcome, found)
            columns |= found
    (low, high), of_labels = main.intervals(outcome, replicates, columns)
    values |= {f"{main.name}_low": low, f"{main.name}_high": high}
    labels: list[dict[str, Any]] = []
    if table.kind != "regression":
        columns |= _label_columns(outcome, table.y[train], of_labels)
        values["labels_used"] = float(outcome.included.sum())
        absent = (columns["positives"] == 0) | (columns["negatives"] == 0)
        values["labels_absent"] = float(absent.sum())
        labels = [
            {"name": name, **{key: column[place].item() for key, column in columns.items()}}
            for place, name in enumerate(table.labels)
        ]
    details = {
        **{"kind": table.kind, "metric": main.name, "unit": main.unit, "labels": labels},
        "protocol": {
            **protocol,
            "train_examples": int(train.sum()),
            "train_patients": int(table.frame.loc[train, "patient_id"].nunique()),
        },
        "replicates": np.round(replicates.metric, REPLICATE_DECIMALS).tolist(),
        "resampling": SCHEME,
    }
    return TaskResult({**values, **predictions.metrics}, {**details, **predictions.details})


def minimum_positives(table: TaskTable, settings: EvaluationSettings) -> int:
    """Return the positives that a label needs to enter the macro means of a task."""
    return settings.minimum_positives or table.minimum_positives


def check_table(table: TaskTable) -> None:
    """Check that a task can be evaluated.

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


def _label_columns(
    outcome: Outcome,
    learned: npt.NDArray[np.floating],
    intervals: Sequence[tuple[float, float]],
) -> Columns:
    """Return what a label's row says whatever the metrics: counts, the interval, its part."""
    truth = outcome.y == 1
    bounds = np.array(intervals).reshape(-1, 2)
    columns = {
        "positives": truth.sum(axis=0),
        "negatives": (~truth).sum(axis=0),
        "included": outcome.included,
        "constant": (learned == learned[:1]).all(axis=0),
    }
    return columns | ({"low": bounds[:, 0], "high": bounds[:, 1]} if len(bounds) else {})
