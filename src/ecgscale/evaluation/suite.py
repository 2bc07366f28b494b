"""Any encoder directory on a suite: what came out, and how much of the suite is behind it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics import main_metric, metrics
from ecgscale.evaluation.settings import ENDPOINT_SEPARATOR, Evaluation
from ecgscale.evaluation.stage import evaluate_directory
from ecgscale.runs.record import RunRecord
from ecgscale.tasks.catalogue import CatalogueEntry
from ecgscale.tasks.suites import mean_over_tasks
from ecgscale.tasks.suites import suite as find_suite


@dataclass(frozen=True)
class SuiteResult:
    """An encoder's results on the installed tasks of a suite.

    Attributes
    ----------
    title
        The suite with its version, or the study.
    record
        As written; its `details` have an entry per endpoint.
    absent
        The suite's tasks whose data is not there.
    """

    title: str
    record: RunRecord
    absent: tuple[CatalogueEntry, ...]

    def table(self) -> list[tuple[str, ...]]:
        """Return rows for printing, a heading first: one per endpoint."""
        rows: list[tuple[str, ...]] = [("endpoint", "metric", "value", "low", "high", "unit")]
        for endpoint, details in self.record.details["tasks"].items():
            metric = main_metric(details["metric"], details["unit"])
            values = [
                self.record.metrics.get(f"{endpoint}.{metric.name}{end}", math.nan)
                for end in ("", "_low", "_high")
            ]
            texts = (f"{value:.{metric.digits}f}" for value in values)
            rows.append((endpoint, metric.name, *texts, metric.unit))
        return rows

    def summary(self) -> str:
        """Return the mean over tasks with the number behind it, and which tasks are missing."""
        details = self.record.details["tasks"]
        names = [endpoint for endpoint in details if ENDPOINT_SEPARATOR not in endpoint]
        averaged: dict[str, list[float]] = {}
        for name in names:
            metric = main_metric(details[name]["metric"]).suite_metric
            averaged.setdefault(metric, []).append(self.record.metrics[f"{name}.{metric}"])
        lines = [self._mean(metrics.get(name).title, averaged[name]) for name in sorted(averaged)]
        lines += self._seen()
        lines += [f"not evaluated: {e.metadata.name} ({e.state}; {e.advice})" for e in self.absent]
        return "\n".join(lines)

    def _seen(self) -> list[str]:
        seen, shared = (self.record.details.get(key) for key in ("seen", "seen_datasets"))
        if seen is None or shared is None:
            return [seen] if seen else []
        return [f"{seen} Of these tasks' data sets: {', '.join(shared) or 'none'}."]

    def _mean(self, words: str, values: list[float]) -> str:
        declared = len(values) + len(self.absent)
        defined = [value for value in values if math.isfinite(value)]
        mean = mean_over_tasks(defined)
        if len(defined) == declared:
            return f"{self.title}: mean {words} {mean:.4f} of all {declared} tasks"
        return (
            f"{self.title}: mean {words} {mean:.4f} of {len(defined)} of {declared} tasks, "
            "which is not the suite's score"
        )


def evaluate_suite(
    plan: Evaluation,
    directory: Path,
    name: str | None,
    known: Sequence[CatalogueEntry],
    root: Path,
) -> SuiteResult:
    """Evaluate any encoder directory on the installed tasks of a suite.

    Writes ``results/evaluate/external/<name of the encoder>.json``.

    Parameters
    ----------
    plan, directory, root
        As `ecgscale.evaluation.stage.evaluate_directory`.
    name
        The suite; None for the study's tasks.
    known
        Every task, with what to do where its data is missing (`ecgscale.tasks.catalogue`).

    Raises
    ------
    BadInputError
        If the suite or a task of it does not exist, none of its tasks is installed, or the
        directory is no encoder or was trained on signals of another recipe.
    """
    chosen = find_suite(name) if name else None
    names = chosen.declared if chosen else plan.settings.tasks
    entries = {entry.metadata.name: entry for entry in known}
    for task in names:
        if task not in entries:
            raise BadInputError(f"no task is named {task!r}")
    record = evaluate_directory(plan, directory, names, root, _name(directory, root))
    title = f"{chosen.name}, version {chosen.version}" if chosen else plan.study.name
    absent = tuple(entries[task] for task in record.details["without_data"])
    return SuiteResult(title, record, absent)


def _name(directory: Path, root: Path) -> str:
    """Return a name for an encoder directory: its path below ``models``, without "external"."""
    models = (root / "models").resolve()
    path = directory.resolve()
    parts = path.relative_to(models).parts if path.is_relative_to(models) else (path.name,)
    return "-".join(part for part in parts if part != "external")
