"""Any encoder directory on a suite: what came out, and how much of the suite is behind it."""

import math
from dataclasses import dataclass
from pathlib import Path

from ecgscale.evaluation.stage import evaluate_directory
from ecgscale.runs.record import RunRecord
from ecgscale.study.file import Study
from ecgscale.tasks import suite as find_suite
from ecgscale.tasks import tasks
from ecgscale.tasks.catalogue import CatalogueEntry, catalogue

MEAN_OF = {"macro_auroc": ("macro_auroc", "macro AUROC"), "mae": ("r2", "R\u00b2")}
"""Main metric of a suite's tasks to what is averaged over them.

Errors of different units have no mean, so that of regressions is the mean share of variance
explained.
"""


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
            metric = details["metric"]
            values = [
                self.record.metrics.get(f"{endpoint}.{metric}{end}", math.nan)
                for end in ("", "_low", "_high")
            ]
            digits = 4 if metric == "macro_auroc" else 2
            unit = tasks.get(endpoint.partition("@")[0]).metadata.unit or ""
            rows.append((endpoint, metric, *(f"{value:.{digits}f}" for value in values), unit))
        return rows

    def summary(self) -> str:
        """Return the mean over tasks with the number behind it, and which tasks are missing."""
        details = self.record.details["tasks"]
        names = [endpoint for endpoint in details if "@" not in endpoint]
        lines = []
        for main, (metric, words) in MEAN_OF.items():
            values = [
                self.record.metrics[f"{name}.{metric}"]
                for name in names
                if details[name]["metric"] == main
            ]
            if values:
                lines.append(self._mean(words, values))
        lines += [f"not evaluated: {e.metadata.name} ({e.state}; {e.advice})" for e in self.absent]
        return "\n".join(lines)

    def _mean(self, words: str, values: list[float]) -> str:
        declared = len(values) + len(self.absent)
        defined = [value for value in values if math.isfinite(value)]
        mean = math.fsum(defined) / len(defined) if defined else math.nan
        if len(defined) == declared:
            return f"{self.title}: mean {words} {mean:.4f} of all {declared} tasks"
        return (
            f"{self.title}: mean {words} {mean:.4f} of {len(defined)} of {declared} tasks, "
            "which is not the suite's score"
        )


def evaluate_suite(study: Study, directory: Path, name: str | None, root: Path) -> SuiteResult:
    """Evaluate any encoder directory on the installed tasks of a suite.

    Writes ``results/evaluate/external/<name of the encoder>.json``.

    Parameters
    ----------
    study
        Says which source holds each data set, and how encoders are read out.
    directory
        Written by `ecgscale.encoders.save` or by ``import-weights``.
    name
        The suite; None for the study's tasks.
    root
        The project.

    Raises
    ------
    BadInputError
        If the suite does not exist, none of its tasks is installed, or the directory is no encoder
        or was trained on signals of another recipe.
    """
    chosen = find_suite(name) if name else None
    names = chosen.declared if chosen else study.evaluation.tasks
    record = evaluate_directory(study, directory, names, root, _name(directory, root))
    entries = {entry.metadata.name: entry for entry in catalogue(study.evaluation.data, root)}
    title = f"{chosen.name}, version {chosen.version}" if chosen else study.study.name
    absent = tuple(entries[task] for task in record.details["without_data"])
    return SuiteResult(title, record, absent)


def _name(directory: Path, root: Path) -> str:
    """Return a name for an encoder directory: its path below ``models``, without "external"."""
    models = (root / "models").resolve()
    path = directory.resolve()
    parts = path.relative_to(models).parts if path.is_relative_to(models) else (path.name,)
    return "-".join(part for part in parts if part != "external")
