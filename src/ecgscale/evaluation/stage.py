"""The evaluate and baseline stages: one encoder, or none, on every downstream task of a study."""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ecgscale import encoders, tracking
from ecgscale.cells import Cell, cell_axes, check_cell, subset_name
from ecgscale.config import EvaluationConfig, Recipe, Study
from ecgscale.data.store import Store, open_store
from ecgscale.data.subsets import read_subset
from ecgscale.device import device_name, study_device
from ecgscale.encoders.base import model_digest, read_config
from ecgscale.errors import BadInputError
from ecgscale.evaluation.baselines import baseline_scores
from ecgscale.evaluation.bootstrap import bootstrap_auroc, interval
from ecgscale.evaluation.embed import Embeddings, cached_embeddings
from ecgscale.evaluation.metrics import Bools, Floats, label_metrics, macro
from ecgscale.evaluation.probe import fit_linear_probes, log_loss, selection_auroc
from ecgscale.lineage import dvc_tags, lineage_tags
from ecgscale.results import DatasetInput, RunRecord, Scalar, result_path
from ecgscale.tasks import tasks
from ecgscale.tasks.materialise import TaskTable, read_targets

REPLICATE_DECIMALS = 7
"""Decimals of a replicate in the record: the error of a reported AUROC is of that size too."""


_NOTHING: dict[str, Scalar] = dict.fromkeys(("patients", "records", "hours", "sources"), 0)
"""The scale of what was pretrained on no subset."""


@dataclass(frozen=True)
class TaskResult:
    """How one task came out.

    Attributes
    ----------
    metrics
        Final values: macro_auroc with macro_auroc_low and macro_auroc_high, probe_loss, ...
    details
        ``labels``, a row per label; ``replicates``, the macro AUROC of each resample; for probes
        ``penalties``, a row per penalty tried.
    """

    metrics: dict[str, float]
    details: dict[str, Any]


def evaluate(study: Study, cell: str, root: Path) -> RunRecord:
    """Evaluate the encoder of a cell on every task of the study.

    Reads ``models/<cell>``, ``data/tasks``, ``data/store`` and the manifest of the cell's subset;
    writes ``results/evaluate/<cell>.json``.

    Parameters
    ----------
    study
        The study.
    cell
        Name of one of its cells.
    root
        The project.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If the cell is not of this study, an input is missing, the encoder was trained on signals
        that were prepared by another recipe, or a task was made from another store.
    """
    torch.set_num_threads(study.study.threads)
    check_cell(study, Cell.parse(cell))
    axes, subset_digest = _axes(study, Cell.parse(cell), root)
    directory = root / "models" / cell
    _check_recipe(directory, study.recipe)
    device = study_device(study)
    tags = {
        "subset_digest": subset_digest,
        "model_digest": model_digest(directory),
        "device": device_name(device),
    }

    def measure(tables: Sequence[TaskTable]) -> dict[str, TaskResult]:
        return evaluate_encoder(
            directory,
            tables,
            _stores(tables, root),
            study.evaluation,
            study.recipe,
            cache=root / ".ecgscale" / "embeddings",
            device=device,
        )

    return _recorded(study, cell, axes, tags, root, measure)


def evaluate_baseline(study: Study, name: str, root: Path) -> RunRecord:
    """Evaluate predictions that need no ECG on every task of the study.

    Reads ``data/tasks``; writes ``results/evaluate/baseline/<name>.json``.

    Parameters
    ----------
    study
        The study.
    name
        ``age-sex`` or ``prevalence`` (`ecgscale.evaluation.baselines`).
    root
        The project.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If there is no such baseline or an input is missing.
    """
    axes: dict[str, Scalar] = {
        **{"objective": name, "kind": "baseline", "encoder": None, "regime": None},
        **{"size": 0, "order": 0, "seed": 0, "role": "baseline", "control_of": None},
        **_NOTHING,
    }

    def measure(tables: Sequence[TaskTable]) -> dict[str, TaskResult]:
        return {table.task: _baseline_result(name, table, study.evaluation) for table in tables}

    return _recorded(study, f"baseline/{name}", axes, {}, root, measure)


def evaluate_encoder(
    directory: Path,
    tables: Sequence[TaskTable],
    stores: Mapping[str, Store],
    settings: EvaluationConfig,
    recipe: Recipe,
    *,
    cache: Path,
    device: torch.device | str = "cpu",
) -> dict[str, TaskResult]:
    """Evaluate any encoder directory: frozen embeddings, a linear probe per task.

    Parameters
    ----------
    directory
        Written by `ecgscale.encoders.save`.
    tables
        The tasks.
    stores
        The store of each table's source, by name.
    settings
        Lead, penalties, resamples, minimum of positives, batch size.
    recipe
        How signals are normalised, and the leads of an encoder with several.
    cache
        Folder of cached embeddings.
    device
        Where to embed and to fit.

    Returns
    -------
    dict
        Task name to its result, in the order of `tables`.

    Raises
    ------
    BadInputError
        If the directory is no encoder, a task was made from another store, is a regression or
        lacks training examples, or an embedding is not finite.
    """
    for table in tables:
        _check_table(table, stores[table.source])
    encoder = encoders.load(directory, device)
    results = {}
    with _progress() as progress:
        rows = {source: _union(tables, source) for source in sorted({t.source for t in tables})}
        bar = progress.add_task("embedding records", total=sum(map(len, rows.values())))
        embeddings = {
            source: cached_embeddings(
                directory,
                encoder,
                stores[source],
                wanted,
                recipe,
                settings.lead,
                settings.batch_size,
                device,
                cache,
                lambda records: progress.advance(bar, records),
            )
            for source, wanted in rows.items()
        }
        bar_tasks = progress.add_task("probing tasks", total=len(tables))
        for table in tables:
            places = np.searchsorted(rows[table.source], table.frame["row"].to_numpy())
            results[table.task] = _probe_result(
                table, embeddings[table.source][places], settings, device
            )
            progress.advance(bar_tasks)
    return results


def _recorded(
    study: Study,
    cell: str,
    axes: dict[str, Scalar],
    tags: dict[str, str],
    root: Path,
    measure: Callable[[Sequence[TaskTable]], dict[str, TaskResult]],
) -> RunRecord:
    """Measure the study's tasks, write the record and mirror it to the tracker."""
    started = _now()
    tables = [read_targets(root / "data/tasks", name) for name in study.evaluation.tasks]
    live_after = study.study.live_tracking_after
    with tracking.start_run(
        "evaluate", study.study.name, cell, root, live_after=live_after
    ) as tracked:
        results = measure(tables)
        record = RunRecord(
            phase="evaluate",
            study=study.study.name,
            cell=cell,
            axes=axes,
            params=_params(study),
            metrics={
                f"{task}.{name}": value
                for task, result in results.items()
                for name, value in result.metrics.items()
            },
            tags={
                **lineage_tags(root),
                **dvc_tags(root, "data/tasks", f"models/{cell}"),
                "study": study.study.name,
                "recipe_digest": study.recipe.digest,
                **tags,
            },
            inputs=[
                DatasetInput(
                    name=table.task,
                    digest=table.digest,
                    context="test",
                    source=f"data/tasks/{table.task}.parquet",
                )
                for table in tables
            ],
            details={"tasks": {task: result.details for task, result in results.items()}},
            started=started,
            ended=_now(),
        )
        record.write(result_path(root / "results", "evaluate", cell))
        tracked.finish(record)
    return record


def _probe_result(
    table: TaskTable, x: Embeddings, settings: EvaluationConfig, device: torch.device | str
) -> TaskResult:
    """Fit on training examples, choose the penalty on validation, measure on test."""
    train, validation = table.where("train"), table.where("validation")
    minimum = _minimum_positives(table, settings)
    probes = fit_linear_probes(
        x[train],
        table.y[train],
        settings.probe.penalties,
        max_iterations=settings.probe.max_iterations,
        device=device,
    )
    seen = [
        selection_auroc(table.y[validation], probe.scores(x[validation]), minimum)
        for probe in probes
    ]
    # NaN sorts below every AUROC; of equal ones the strongest penalty, which comes first, wins.
    best = int(np.argmax(np.nan_to_num(seen, nan=-1.0)))
    probe = probes[best]
    log_odds = probe.scores(x[table.where("test")])
    result = _test_result(table, log_odds, log_odds, probe.constant, settings)
    chosen = {"validation_macro_auroc": seen[best], "penalty": probe.penalty}
    tried = [
        {
            "penalty": probe.penalty,
            "validation_macro_auroc": value,
            "unconverged": int((~probe.converged).sum()),
        }
        for probe, value in zip(probes, seen, strict=True)
    ]
    return TaskResult({**result.metrics, **chosen}, {**result.details, "penalties": tried})


def _baseline_result(name: str, table: TaskTable, settings: EvaluationConfig) -> TaskResult:
    _check_classification(table)
    scores = baseline_scores(name, table, settings.probe.penalties)
    train, validation, test = (table.where(s) for s in ("train", "validation", "test"))
    constant = (table.y[train] == table.y[train][:1]).all(axis=0)
    # As if half an example of each class had been seen: no label is impossible or certain.
    least = 0.5 / (train.sum() + 1)
    odds = np.clip(scores[test], least, 1 - least)
    result = _test_result(table, scores[test], np.log(odds / (1 - odds)), constant, settings)
    minimum = _minimum_positives(table, settings)
    seen = selection_auroc(table.y[validation], scores[validation], minimum)
    return TaskResult({**result.metrics, "validation_macro_auroc": seen}, result.details)


def _test_result(
    table: TaskTable, scores: Floats, log_odds: Floats, constant: Bools, settings: EvaluationConfig
) -> TaskResult:
    """Measure scores of the test examples, with intervals."""
    test = table.where("test")
    y, patients = table.y[test], table.frame.loc[test, "patient_id"].tolist()
    measured = label_metrics(y, scores, _minimum_positives(table, settings))
    replicates = bootstrap_auroc(
        y,
        scores,
        patients,
        measured.included,
        resamples=settings.bootstrap,
        seed=settings.bootstrap_seed,
        task=table.task,
    )
    low, high = interval(replicates.macro)
    metrics = {
        "macro_auroc": measured.macro_auroc,
        "macro_auroc_low": low,
        "macro_auroc_high": high,
        "macro_average_precision": measured.macro_average_precision,
        "probe_loss": macro(log_loss(y, log_odds), measured.included),
        "labels_used": float(measured.included.sum()),
        "labels_absent": float(measured.absent.sum()),
    }
    labels = []
    for column, name in enumerate(table.labels):
        bounds = interval(replicates.labels[column])
        labels.append(
            {
                "name": name,
                "positives": int(measured.positives[column]),
                "negatives": int(measured.negatives[column]),
                "auroc": float(measured.auroc[column]),
                "low": bounds[0],
                "high": bounds[1],
                "average_precision": float(measured.average_precision[column]),
                "included": bool(measured.included[column]),
                "constant": bool(constant[column]),
            }
        )
    kept = np.round(replicates.macro, REPLICATE_DECIMALS).tolist()
    return TaskResult(metrics, {"labels": labels, "replicates": kept})


def _minimum_positives(table: TaskTable, settings: EvaluationConfig) -> int:
    return settings.minimum_positives or tasks.get(table.task).metadata.minimum_positives


def _check_table(table: TaskTable, store: Store) -> None:
    _check_classification(table)
    if table.store_digest != store.digest:
        raise BadInputError(
            f"task {table.task} was made from another state of {store.path}: "
            "run the tasks stage again"
        )


def _check_classification(table: TaskTable) -> None:
    if not np.isin(table.y, (0, 1)).all():
        raise BadInputError(f"task {table.task} has targets other than 0 and 1")
    for split in ("train", "validation", "test"):
        if not table.where(split).any():
            raise BadInputError(f"task {table.task} has no {split} examples")


def _check_recipe(directory: Path, recipe: Recipe) -> None:
    found = read_config(directory)["recipe"].get("digest")
    if found != recipe.digest:
        raise BadInputError(
            f"{directory} was trained on signals of recipe {found}, the study has {recipe.digest}"
        )


def _union(tables: Sequence[TaskTable], source: str) -> npt.NDArray[np.int64]:
    """Return the sorted rows that the tasks of a source need, each once."""
    return np.unique(
        np.concatenate([t.frame["row"].to_numpy(np.int64) for t in tables if t.source == source])
    )


def _stores(tables: Sequence[TaskTable], root: Path) -> dict[str, Store]:
    return {s: open_store(root / "data/store" / s) for s in sorted({t.source for t in tables})}


def _axes(study: Study, cell: Cell, root: Path) -> tuple[dict[str, Scalar], str]:
    """Return a cell's coordinates with the scale of its subset, and the subset's digest."""
    axes = {**cell_axes(study, cell), **_NOTHING}
    if not cell.size:
        return axes, "none"
    _, subset = read_subset(root / "data/subsets" / subset_name(cell.size, cell.order))
    axes |= {"patients": subset.patients, "records": subset.records}
    axes |= {"hours": subset.hours, "sources": len(subset.sources)}
    return axes, subset.digest


def _params(study: Study) -> dict[str, Scalar]:
    settings = study.evaluation
    return {
        "lead": settings.lead,
        "bootstrap": settings.bootstrap,
        "bootstrap_seed": settings.bootstrap_seed,
        "minimum_positives": settings.minimum_positives,
        "probe.penalties": ", ".join(map(str, settings.probe.penalties)),
        "probe.max_iterations": settings.probe.max_iterations,
        "tasks": ", ".join(settings.tasks),
        "threads": study.study.threads,
    }


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
