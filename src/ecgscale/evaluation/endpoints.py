"""What a study measures: tasks under protocols, and in which direction their scores are better."""

from dataclasses import dataclass
from typing import Literal

from ecgscale.evaluation.settings import Protocol
from ecgscale.study.file import Study

Metric = Literal["macro_auroc", "mae"]


@dataclass(frozen=True)
class Measure:
    """The main metric of a task, and how it is written.

    Attributes
    ----------
    metric
        "macro_auroc" or "mae" (mean absolute error).
    unit
        Of the metric; "" for an AUROC.
    """

    metric: Metric = "macro_auroc"
    unit: str = ""

    @property
    def higher_is_better(self) -> bool:
        """Whether a larger value is an improvement."""
        return self.metric == "macro_auroc"

    @property
    def short(self) -> str:
        """Name in running text: "AUROC" or "MAE"."""
        return "AUROC" if self.metric == "macro_auroc" else "MAE"

    @property
    def label(self) -> str:
        """Name with unit, for axes and headings: "macro AUROC" or "MAE (mmHg)"."""
        return "macro AUROC" if self.metric == "macro_auroc" else f"MAE ({self.unit})"

    @property
    def digits(self) -> int:
        """Decimals of a value."""
        return 3 if self.metric == "macro_auroc" else 2

    @property
    def slope_digits(self) -> int:
        """Decimals of a change per doubling, one more than of a value."""
        return self.digits + 1

    @property
    def suffix(self) -> str:
        """The unit as it follows a number: " mmHg", or ""."""
        return f" {self.unit}" if self.unit else ""

    def better(self, change: float) -> bool:
        """Return whether a change of the metric is an improvement."""
        return change > 0 if self.higher_is_better else change < 0


@dataclass(frozen=True)
class Endpoint:
    """One result of every cell: a task under a protocol.

    Attributes
    ----------
    name
        The task's name under the study's first protocol, else ``<task>@<protocol>``.
    """

    name: str
    task: str
    protocol: Protocol
    measure: Measure


def endpoints(study: Study) -> tuple[Endpoint, ...]:
    """Return what a study measures: its tasks under its first protocol, then under the others."""
    settings = study.evaluation
    measures = {task: measure_of(task) for task in settings.tasks}
    return tuple(
        Endpoint(settings.endpoint(task, protocol), task, protocol, measures[task])
        for protocol in settings.protocols
        for task in settings.tasks
    )


def primary(study: Study) -> Endpoint:
    """Return the endpoint that decides: `report.primary_task` under the first protocol."""
    task, protocol = study.report.primary_task, study.evaluation.protocols[0]
    return Endpoint(task, task, protocol, measure_of(task))


def measure_of(task: str) -> Measure:
    """Return the main metric of a task; macro AUROC for a name that is not registered."""
    from ecgscale.tasks.base import tasks

    if task not in tasks.names():
        return Measure()
    metadata = tasks.get(task).metadata
    return Measure(metadata.main_metric, metadata.unit or "")


def protocol_words(protocol: Protocol) -> str:
    """Return a protocol in words: "linear probe, 10% of the labels"."""
    from ecgscale.evaluation.readouts import readouts

    words = readouts.get(protocol.readout).title
    if protocol.fraction < 1:
        words += f", {protocol.fraction:.0%} of the labels"
    if protocol.depth < 1:
        words += f", blocks up to {protocol.depth:.0%}"
    return words
