"""Benchmark suites in the report: means with the number of tasks behind them, and what lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.report.analysis import Analysis
from ecgscale.report.tables import Rows, Table
from ecgscale.report.words import score_text
from ecgscale.scaling.means import MeanScores
from ecgscale.tasks.base import tasks
from ecgscale.tasks.suites import SUITES, Suite, mean_over_tasks


def suites_table(analysis: Analysis) -> Table:
    """Return the mean over a suite's tasks, for every suite that the study has a task of.

    Errors in different units have no common mean: there is one row a unit.
    """
    design, means = analysis.design, analysis.means
    rows: Rows = [
        [
            f"{suite.name}\u00a0v{suite.version}",
            _behind(suite, metric, len(measured)),
            encoder,
            *(score_text(_mean(means, measured, encoder, c), metric) for c in means.columns),
        ]
        for suite in _present([endpoint.task for endpoint in design.tasks])
        for metric, measured in _by_metric(design.tasks, suite)
        for encoder in design.encoders
    ]
    return Table(
        "suites",
        f"Unweighted means over tasks: objectives at {means.largest:,} pretraining patients, then "
        "controls and baselines. A mean over fewer tasks than a suite declares is not the suite's "
        "score and does not compare with one. A dash: a run of one of the tasks is missing.",
        ("Suite", "What the number is", "Encoder", *means.columns),
        rows,
        stub=3,
    ).without("Encoder", unless=len(design.encoders) > 1)


@dataclass(frozen=True)
class Missing:
    """Tasks of a suite that the study lacks for the same reason.

    Attributes
    ----------
    why
        Ends in "from" where `url` says from where.
    """

    suite: str
    tasks: tuple[str, ...]
    why: str
    url: str = ""
    access: str = ""

    def __str__(self) -> str:
        """Return one line of plain text."""
        source = f" {self.url} ({self.access})" if self.url else ""
        return f"{self.suite}: {', '.join(self.tasks)}: {self.why}{source}"


def missing_tasks(wanted: Sequence[str], data: dict[str, str]) -> list[Missing]:
    """Return what a study lacks of the suites that it has a task of, and what to do.

    Parameters
    ----------
    wanted
        The study's tasks.
    data
        Data set to the study's source that holds it (`evaluation.data`).
    """
    found: list[Missing] = []
    for suite in _present(wanted):
        reasons: dict[tuple[str, str, str], list[str]] = {}
        for name in suite.declared:
            if name not in wanted:
                reasons.setdefault(_why(name, data), []).append(name)
        found += [Missing(suite.name, tuple(names), *why) for why, names in reasons.items()]
    return found


def _present(wanted: Sequence[str]) -> list[Suite]:
    return [suite for suite in SUITES.values() if set(wanted) & set(suite.declared)]


def _by_metric(
    measured: Sequence[Endpoint], suite: Suite
) -> Iterator[tuple[MainMetric, list[Endpoint]]]:
    mine = [endpoint for endpoint in measured if endpoint.task in suite.declared]
    for metric in dict.fromkeys(endpoint.metric for endpoint in mine):
        yield metric, [endpoint for endpoint in mine if endpoint.metric == metric]


def _behind(suite: Suite, metric: MainMetric, count: int) -> str:
    total = len(suite.declared)
    if count == total:
        return f"score: mean {metric.label} of all {total} tasks"
    if count == 1:
        return f"{metric.label} of 1 of the {total} tasks"
    return f"mean {metric.label} of {count} of the {total} tasks"


def _mean(means: MeanScores, measured: Sequence[Endpoint], encoder: str, objective: str) -> float:
    return mean_over_tasks([means.mean(e, encoder, objective) for e in measured])


def _why(name: str, data: dict[str, str]) -> tuple[str, str, str]:
    """Return why a study lacks a task, where to get it and under which access."""
    if name not in tasks.names():
        return "not available in this version of ecgscale", "", ""
    metadata = tasks.get(name).metadata
    if metadata.dataset in data:
        return "not asked for: name it in evaluation.tasks", "", ""
    return "not installed: get it from", metadata.url, metadata.access
