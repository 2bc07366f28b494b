"""Every task as a table row and as a page: what it is, and whether its data is here."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecgscale.data.record import SPLITS
from ecgscale.tasks.base import Task, TaskMetadata, tasks
from ecgscale.tasks.suites import SUITES
from ecgscale.tasks.targets import MANIFEST, read_manifest

PAGES_COMMAND = "python -m ecgscale tasks --pages docs/tasks"


@dataclass(frozen=True)
class CatalogueEntry:
    """A task, and the state of its data in a study.

    Attributes
    ----------
    suites
        Suites that declare it.
    state
        "installed" (its targets are written), "not ingested" (the study names a source, but the
        targets are not written yet) or "not installed" (the study names no source).
    counts
        Examples per split, where installed.
    advice
        What to do next, where not installed.
    """

    metadata: TaskMetadata
    suites: tuple[str, ...]
    state: str
    counts: dict[str, int]
    advice: str

    def to_json(self) -> dict[str, Any]:
        """Return the entry as plain values."""
        metadata = self.metadata
        return {
            **{"task": metadata.name, "version": metadata.version, "suites": list(self.suites)},
            **{"kind": metadata.kind, "labels": len(metadata.labels), "dataset": metadata.dataset},
            **{"access": metadata.access, "metric": metadata.main_metric},
            **{"state": self.state, "counts": self.counts, "advice": self.advice},
        }


def catalogue(
    data: Mapping[str, str], root: Path, declared: Mapping[str, type[Task]] | None = None
) -> list[CatalogueEntry]:
    """Return every task, suite by suite in the suites' order, then those in no suite.

    Parameters
    ----------
    data
        Data set to the study's source that holds it.
    root
        The project; ``data/tasks`` says what is installed.
    declared
        Tasks that the study's sources declare, by name; they come last.

    Raises
    ------
    BadInputError
        If the manifest of the written targets is damaged.
    """
    folder = root / "data" / "tasks"
    manifest = read_manifest(folder) if (folder / MANIFEST).is_file() else {}
    in_suites = [name for suite in SUITES.values() for name in suite.available()]
    classes = {name: tasks.get(name) for name in (*in_suites, *tasks.names())} | {
        **(declared or {})
    }
    return [_entry(task.metadata, data, manifest) for task in classes.values()]


def _entry(
    metadata: TaskMetadata, data: Mapping[str, str], manifest: dict[str, Any]
) -> CatalogueEntry:
    name = metadata.name
    suites = tuple(suite.name for suite in SUITES.values() if name in suite.declared)
    source = data.get(metadata.dataset)
    if name in manifest:
        return CatalogueEntry(metadata, suites, "installed", manifest[name]["counts"], "")
    if source is None:
        advice = (
            f"get it from {metadata.url} ({metadata.access}), add it to the study's sources and "
            f"name it in evaluation.data.{metadata.dataset}"
        )
        return CatalogueEntry(metadata, suites, "not installed", {}, advice)
    advice = f"name it in evaluation.tasks and run the study: its source is {source}"
    return CatalogueEntry(metadata, suites, "not ingested", {}, advice)


def task_page(metadata: TaskMetadata) -> str:
    """Return a task's page, Markdown; all of it comes from its metadata."""
    suites = [suite.name for suite in SUITES.values() if metadata.name in suite.declared]
    rows = [
        ("Data set", f"[{metadata.dataset}]({metadata.url})"),
        ("Version", str(metadata.version)),
        ("Kind", metadata.kind + (f", {metadata.unit}" if metadata.unit else "")),
        ("Records", metadata.selection_rule),
        ("Label rule", metadata.label_rule),
        ("Split", metadata.split_rule),
        ("Patient key", metadata.patient_key),
        ("Main metric", _metric(metadata)),
        ("Published records", _counts(metadata)),
        ("Licence", f"{metadata.licence}; access: {metadata.access}"),
        ("In the suites", ", ".join(suites) or "none"),
    ]
    parts = [
        f"<!-- Written by `{PAGES_COMMAND}`. -->",
        f"# {metadata.name}",
        f"{metadata.title}.",
        "| | |\n|---|---|\n" + "\n".join(f"| {key} | {_cell(text)} |" for key, text in rows),
        "## Labels",
        "| Label | Codes | Meaning |\n|---|---|---|\n"
        + "\n".join(
            f"| {_cell(x.name)} | {_cell(', '.join(f'`{c}`' for c in x.codes))} | "
            f"{_cell(x.description)} |"
            for x in metadata.labels
        ),
    ]
    if metadata.known_issues:
        parts += ["## Known issues", "\n".join(f"- {issue}" for issue in metadata.known_issues)]
    parts += ["## Citation", metadata.citation]
    return "\n\n".join(parts) + "\n"


def write_pages(folder: Path) -> list[Path]:
    """Write a page per task and an index, remove pages of others; return the files, sorted."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {f"{name}.md": task_page(task.metadata) for name, task in tasks.items()}
    pages["README.md"] = _index()
    for stale in folder.glob("*.md"):
        if stale.name not in pages:
            stale.unlink()
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return sorted(folder / name for name in pages)


def _index() -> str:
    parts = [f"<!-- Written by `{PAGES_COMMAND}`. -->", "# Every downstream task"]
    head = "| Task | Kind | Labels | Data set | Access | Main metric |\n|---|---|---|---|---|---|\n"
    for suite in SUITES.values():
        parts.append(f"## {suite.name}, version {suite.version}")
        parts.append(f"{suite.title} ({suite.citation}).")
        parts.append(head + "\n".join(_index_row(task.metadata) for task in suite))
    return "\n\n".join(parts) + "\n"


def _index_row(task: TaskMetadata) -> str:
    return (
        f"| [{task.name}]({task.name}.md) | {task.kind} | {len(task.labels)} | "
        f"{task.dataset} | {task.access} | {_metric(task)} |"
    )


def _metric(metadata: TaskMetadata) -> str:
    if metadata.kind == "regression":
        return f"mean absolute error, {metadata.unit} (lower is better)"
    return f"macro AUROC (labels with {metadata.minimum_positives} test positives or more)"


def _counts(metadata: TaskMetadata) -> str:
    counts = metadata.published_counts
    numbers = " / ".join(f"{counts[split]:,}" for split in SPLITS) if counts else "not published"
    return f"{numbers} ({metadata.counts_source})"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
