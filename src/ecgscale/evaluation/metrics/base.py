"""What every metric says of itself, and what it is computed from."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics.functions import (
    Bools,
    Floats,
    average_ranks,
    included_labels,
    macro,
)
from ecgscale.registry import Registry

if TYPE_CHECKING:
    from ecgscale.evaluation.bootstrap import Replicates
    from ecgscale.tasks.base import Kind
    from ecgscale.tasks.targets import TaskTable

Columns = dict[str, npt.NDArray[Any]]
"""What a label's row in a record says, by its key: arrays of shape (label,)."""

LABELLED: tuple["Kind", ...] = ("multi-label", "multi-class", "binary")
"""Kinds of task whose targets are 0 or 1."""


@dataclass(frozen=True)
class Outcome:
    """What was predicted for the test examples of a task, beside the truth.

    Attributes
    ----------
    task, kind
        Of the task.
    y, scores
        Shape (test example, label): targets, and scores as
        `ecgscale.evaluation.readouts.base.Predictions.scores`.
    patients
        Shape (test example,), patient ids.
    validation_y, validation_scores
        Shape (validation example, label); thresholds are chosen there.
    minimum_positives
        Positives that a label needs to enter the macro means.
    """

    task: str
    kind: "Kind"
    y: npt.NDArray[np.floating]
    scores: Floats
    patients: list[str]
    validation_y: npt.NDArray[np.floating]
    validation_scores: Floats
    minimum_positives: int

    @classmethod
    def of(cls, table: "TaskTable", scores: Floats, minimum_positives: int) -> "Outcome":
        """Take the outcome out of a task's examples and their scores (example, label)."""
        test, validation = table.where("test"), table.where("validation")
        return cls(
            task=table.task,
            kind=table.kind,
            y=table.y[test],
            scores=scores[test],
            patients=table.frame.loc[test, "patient_id"].tolist(),
            validation_y=table.y[validation],
            validation_scores=scores[validation],
            minimum_positives=minimum_positives,
        )

    @cached_property
    def included(self) -> Bools:
        """Shape (label,): which labels enter the macro means."""
        return included_labels(self.y, self.minimum_positives)

    @cached_property
    def ranks(self) -> Floats:
        """Shape (test example, label), in (0, 1): the order and the ties of the scores.

        For torchmetrics, which puts scores outside of [0, 1] through a sigmoid, where large ones
        tie.
        """
        return average_ranks(self.scores) / (len(self.y) + 1)

    @cached_property
    def probability(self) -> Floats:
        """Shape (test example, label): the scores as probabilities."""
        return self._probability(self.scores)

    @cached_property
    def validation_probability(self) -> Floats:
        """Shape (validation example, label): the scores as probabilities."""
        return self._probability(self.validation_scores)

    def _probability(self, scores: Floats) -> Floats:
        if self.kind == "multi-class":
            # Rounding may put the logarithm of a certainty just above zero.
            return np.asarray(np.exp(np.minimum(scores, 0.0)))
        # Both halves of the logistic function, each where it cannot overflow.
        small = np.exp(-np.abs(scores))
        return np.asarray(np.where(scores >= 0, 1.0, small) / (1 + small))


@dataclass(frozen=True)
class Metric:
    """A metric, in the unit of the task that it measures.

    Attributes
    ----------
    unit
        Of its values; "" where they have none.
    name
        As registered and as records call it.
    kinds
        Of the tasks that it is for.
    title
        Its name on axes and in headings, without a unit: "macro AUROC".
    short
        Its name in running text: "AUROC".
    digits
        Decimals of a value.
    higher_is_better
        Whether a larger value is an improvement.
    in_unit_of_target
        Whether its values are in the unit of what is predicted.
    column
        Key of its values per label in a label's row; "" if it has none.
    """

    unit: str = ""

    name: ClassVar[str]
    kinds: ClassVar[tuple["Kind", ...]]
    title: ClassVar[str]
    short: ClassVar[str]
    digits: ClassVar[int] = 3
    higher_is_better: ClassVar[bool]
    in_unit_of_target: ClassVar[bool] = False
    column: ClassVar[str] = ""

    @property
    def label(self) -> str:
        """Name with unit: "macro AUROC" or "MAE (mmHg)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def suffix(self) -> str:
        """The unit as it follows a number: " mmHg", or ""."""
        return f" {self.unit}" if self.unit else ""

    @property
    def slope_digits(self) -> int:
        """Decimals of a change per doubling, one more than of a value."""
        return self.digits + 1

    def quality(self, value: float) -> float:
        """Return a value as a number of which more is better."""
        return value if self.higher_is_better else -value

    def better(self, change: float) -> bool:
        """Return whether a change of the metric is an improvement."""
        return self.quality(change) > 0

    def by_label(self, outcome: Outcome) -> Columns:
        """Return what a label's row says of this metric, `column` and what belongs to it."""
        return {}

    def value(self, outcome: Outcome, columns: Columns) -> float:
        """Return the metric of all test examples.

        Unless a metric says otherwise it is the mean of its `column` over the labels that enter
        macro means, NaN if there are none; `columns` are what `by_label` has returned.
        """
        return macro(columns[self.column], outcome.included)


@dataclass(frozen=True)
class MainMetric(Metric):
    """A metric by which a task can be judged, and something chosen on its validation split.

    Attributes
    ----------
    subject
        What it says something of, as a sentence begins: "accuracy".
    suite_metric
        Name of the metric that is averaged over the tasks of a suite in its stead.
    """

    subject: ClassVar[str]
    suite_metric: ClassVar[str]

    def on_validation(
        self, y: npt.NDArray[np.floating], scores: npt.ArrayLike, minimum_positives: int
    ) -> float:
        """Return the metric by which something is chosen; a cheap form of it, asked often.

        Parameters
        ----------
        y, scores
            Shape (validation example, label), as in `Outcome`.
        minimum_positives
            Positives that a label needs here to count.
        """
        raise NotImplementedError

    def replicates(self, outcome: Outcome, resamples: int, seed: int) -> "Replicates":
        """Return the metric in each resample of `ecgscale.evaluation.bootstrap.patient_weights`."""
        raise NotImplementedError

    def intervals(
        self, outcome: Outcome, replicates: "Replicates", columns: Columns
    ) -> tuple[tuple[float, float], list[tuple[float, float]]]:
        """Return the interval of the metric, and of each label where it has values per label.

        Unless a metric says otherwise they are percentile intervals. `columns` are those of
        `by_label`.
        """
        from ecgscale.evaluation.bootstrap import interval

        return interval(replicates.metric), [interval(values) for values in replicates.labels]


metrics: Registry[Metric] = Registry("metric", "ecgscale.evaluation.metrics")


def main_metric(name: str, unit: str = "") -> MainMetric:
    """Return the main metric of a task by its name, for what is predicted in a unit ("": none).

    Raises
    ------
    BadInputError
        If there is no metric of this name, or a task cannot be judged by it.
    """
    cls = metrics.get(name)
    if not issubclass(cls, MainMetric):
        raise BadInputError(f"metric {name} has no resamples: it cannot be a task's main metric")
    return cls(unit if cls.in_unit_of_target else "")
