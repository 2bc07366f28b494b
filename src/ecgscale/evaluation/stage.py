"""The evaluate and baseline stages: one encoder, or none, on every downstream task of a study."""

import logging
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecgscale import encoders
from ecgscale.code import closure, entry_of
from ecgscale.data.subsets import read_subset, without_sources
from ecgscale.device import device_name, study_device
from ecgscale.encoders.base import model_digest, read_config
from ecgscale.encoders.seen import UNKNOWN, seen_by
from ecgscale.errors import BadInputError
from ecgscale.evaluation.baselines.base import Baseline, baseline_scores, baselines
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.encoder import Results, evaluate_encoder
from ecgscale.evaluation.inputs import check_recipe, check_store, rows_of, stores_of
from ecgscale.evaluation.readouts.base import Predictions, parse_settings
from ecgscale.evaluation.result import TaskResult, check_table, minimum_positives, task_result
from ecgscale.evaluation.settings import Evaluation, EvaluationSettings
from ecgscale.progress import Bars
from ecgscale.runs.cell import Cell, baseline_reads, evaluation_reads, subset_place
from ecgscale.runs.protocol import open_run
from ecgscale.runs.record import RunRecord, Scalar
from ecgscale.settings import digest_of
from ecgscale.tasks.targets import TaskTable, part_of, read_manifest, read_targets

log = logging.getLogger(__name__)

EXTERNAL = "external"
"""First part of the cell, and the role, of encoders that no cell of a study has trained."""

_NOTHING: dict[str, Scalar] = dict.fromkeys(
    ("patients", "unknown_patients", "records", "hours", "sources"), 0
)
"""The scale of what was pretrained on no subset."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Subject:
    """What is evaluated, as its record states it.

    Attributes
    ----------
    cell
        Names the record.
    axes, params, tags
        What belongs to it beside the evaluation's own.
    details
        Beside ``tasks``.
    reads
        What decides the results, relative to the project.
    """

    cell: str
    axes: dict[str, Scalar]
    params: dict[str, Scalar] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    reads: Sequence[str] = ("data/tasks",)


def evaluate(plan: Evaluation, cell: Cell, axes: dict[str, Scalar], root: Path) -> RunRecord:
    """Evaluate the encoder of a cell on every task of the study, under every protocol.

    Reads ``models/<cell>``, ``data/tasks``, ``data/store`` and the manifest of the cell's subset;
    writes ``results/evaluate/<cell>.json``. Killed at any moment and called again, it goes on after
    the last endpoint that was finished, in the same tracked run, and ends with the same values.

    Parameters
    ----------
    plan
        How to evaluate, and on which tasks.
    axes
        The cell's coordinates, as its record states them.
    root
        The project.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If an input is missing, the encoder was trained on signals that were prepared by another
        recipe (the message names the setting), or a task was made from another store.
    TrainingDivergedError
        If the loss of a readout that is trained is not finite.
    """
    scale, subset_digest = _NOTHING, "none"
    if cell.size:
        drawn = read_subset(root / subset_place(cell.size, cell.order))
        left_out = str(axes.get("without") or "")
        _, subset = without_sources(*drawn, left_out.split(", ") if left_out else [])
        scale = {"patients": subset.patients, "unknown_patients": subset.unknown_patients}
        scale |= {"records": subset.records}
        scale |= {"hours": subset.hours, "sources": len(subset.sources)}
        subset_digest = subset.digest
    directory = root / "models" / cell.name
    tags = {"subset_digest": subset_digest, "model_digest": model_digest(directory)}
    tables = [read_targets(root / "data/tasks", name) for name in plan.settings.tasks]
    subject = Subject(cell.name, axes | scale, tags=tags, reads=evaluation_reads(cell))
    return _evaluated(plan, subject, directory, tables, root)


def evaluate_directory(
    plan: Evaluation, directory: Path, task_names: Sequence[str], root: Path, name: str
) -> RunRecord:
    """Evaluate any encoder directory, an imported one for instance, as `evaluate` does a cell's.

    Reads ``data/tasks`` and ``data/store``; writes ``results/evaluate/external/<name>.json``. Of a
    subset that the encoder was trained on nothing is known here, so its axes are empty but for the
    encoder and the role ``external``. What its kind of checkpoint is known to have seen
    (`ecgscale.encoders.seen`) is in the record's details, with the data sets of these tasks among
    it.

    Parameters
    ----------
    directory
        Written by `ecgscale.encoders.save`, anywhere.
    task_names
        In place of the plan's; those that the study has no data of are left out, with a warning,
        and listed in the record's details as ``without_data``.
    name
        Of the record: letters, digits, dots, dashes and underscores.

    Raises
    ------
    BadInputError
        If it is no encoder directory, or no task has data.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(f"name {name!r} must be letters, digits, dots, dashes, underscores")
    known = read_manifest(root / "data/tasks")
    tables = [read_targets(root / "data/tasks", task) for task in task_names if task in known]
    without = [task for task in task_names if task not in known]
    if not tables:
        raise BadInputError(f"{root / 'data/tasks'} has none of the tasks {', '.join(task_names)}")
    if without:
        log.warning("no data, so not evaluated: %s", ", ".join(without))
    axes: dict[str, Scalar] = {
        **dict.fromkeys(("objective", "kind", "regime", "size", "order", "seed", "control_of")),
        **dict.fromkeys(_NOTHING),
        "encoder": read_config(directory)["encoder"]["name"],
        "role": EXTERNAL,
    }
    subject = Subject(
        cell=f"{EXTERNAL}/{name}",
        axes=axes,
        params={"directory": os.path.relpath(directory, root)},
        tags={"subset_digest": "unknown", "model_digest": model_digest(directory)},
        details={"without_data": without, **_seen(directory, known, tables)},
    )
    return _evaluated(plan, subject, directory, tables, root)


def _seen(directory: Path, manifest: dict[str, Any], tables: Sequence[TaskTable]) -> dict[str, Any]:
    """Return what an encoder is known to have seen, and which of the tasks' data sets."""
    seen = seen_by(directory)
    if seen is None:
        return {"seen": UNKNOWN, "seen_datasets": None}
    held_out = {manifest[table.task]["dataset"] for table in tables}
    return {"seen": seen.sentence(), "seen_datasets": sorted(held_out.intersection(seen.datasets))}


def evaluate_baseline(plan: Evaluation, name: str, root: Path) -> RunRecord:
    """Evaluate a baseline (`ecgscale.evaluation.baselines`) on every task of the study.

    Reads ``data/tasks``, and ``data/store`` where signals are measured; writes
    ``results/evaluate/baseline/<name>.json`` and returns the record.

    Raises
    ------
    BadInputError
        If there is no such baseline or an input is missing.
    """
    baseline = baselines.get(name)
    torch.set_num_threads(plan.study.threads)
    axes: dict[str, Scalar] = {
        **{"objective": name, "kind": "baseline", "encoder": None, "regime": None},
        **{"size": 0, "order": 0, "seed": 0, "role": "baseline", "control_of": None},
        **_NOTHING,
    }
    tables = [read_targets(root / "data/tasks", task) for task in plan.settings.tasks]

    def results(_: Path | None) -> Results:
        features = _features(baseline, tables, root) if baseline.reads_signals else {}
        return {
            table.task: _baseline_result(name, table, plan.settings, features.get(table.task))
            for table in tables
        }

    subject = Subject(f"baseline/{name}", axes, reads=baseline_reads(name))
    return _recorded(plan, subject, tables, root, results)


def _evaluated(
    plan: Evaluation, subject: Subject, directory: Path, tables: Sequence[TaskTable], root: Path
) -> RunRecord:
    """Evaluate an encoder directory, keeping what is finished until the record is written."""
    torch.set_num_threads(plan.study.threads)
    device = study_device(plan.study.device)
    stores = stores_of(tables, root)
    check_recipe(directory, plan.recipe, "the study")
    for store in stores.values():
        check_recipe(directory, store.manifest.recipe, str(store.path))

    def results(finished: Path | None) -> Results:
        return evaluate_encoder(
            *(directory, tables, stores, plan.settings, plan.recipe),
            cache=root / ".ecgscale" / "embeddings",
            device=device,
            finished=finished,
        )

    encoder = encoders.encoders.get(read_config(directory)["encoder"]["name"])
    inputs = {
        "phase": "evaluate",
        "cell": subject.cell,
        "model": subject.tags["model_digest"],
        "encoder": closure(entry_of(encoder)).digest,
        "code": plan.code,
        "settings": plan.settings.model_dump(mode="json"),
        "recipe": plan.recipe.digest,
        "tasks": {
            t.task: [t.digest, t.store_digest, t.metric, t.unit, t.minimum_positives]
            for t in tables
        },
        "threads": plan.study.threads,
        "device": device.type,
        "torch": torch.__version__,
    }
    tags = {**subject.tags, "device": device_name(device)}
    key = digest_of(inputs)[:32]
    return _recorded(plan, replace(subject, tags=tags), tables, root, results, key)


def _recorded(
    plan: Evaluation,
    subject: Subject,
    tables: Sequence[TaskTable],
    root: Path,
    results: Callable[[Path | None], Results],
    key: str | None = None,
) -> RunRecord:
    """Get the results and write the record; what is finished is kept under `key` until then."""
    with open_run(
        "evaluate",
        plan.study,
        subject.cell,
        root,
        key=key,
        axes=subject.axes,
        params={**_params(plan, tables), **subject.params},
        tags={"recipe_digest": plan.recipe.digest, "code_digest": plan.code, **subject.tags},
        inputs=[
            part_of(table.task, table.digest, context)
            for table in tables
            for context in ("training", "validation", "test")
        ],
        reads=subject.reads,
    ) as run:
        found = results(run.kept("endpoints"))
        return run.finish(
            metrics={
                f"{endpoint}.{name}": value
                for endpoint, result in found.items()
                for name, value in result.metrics.items()
            },
            details={
                "tasks": {endpoint: result.details for endpoint, result in found.items()},
                **subject.details,
            },
        )


def _baseline_result(
    name: str, table: TaskTable, settings: EvaluationSettings, features: Embeddings | None
) -> TaskResult:
    check_table(table)
    readout = baselines.get(name).readout
    scores = baseline_scores(
        name,
        table,
        parse_settings(readout, settings.readouts.get(readout, {})) if readout else None,
        minimum_positives=minimum_positives(table, settings),
        features=features,
    )
    protocol = {"name": name, "readout": None, "fraction": 1.0, "depth": None}
    return task_result(table, Predictions(scores), table.where("train"), settings, protocol)


def _features(
    baseline: type[Baseline], tables: Sequence[TaskTable], root: Path
) -> dict[str, Embeddings]:
    """Measure every source's records once; return the features of each task's examples."""
    found = {}
    with Bars() as bars:
        for source, store in stores_of(tables, root).items():
            rows = rows_of(tables, source)
            bar = bars.bar(f"measuring {source}", len(rows))
            values = baseline.features(store, rows, partial(bars.advance, bar))
            for table in (table for table in tables if table.source == source):
                check_store(table, store)
                found[table.task] = values[np.searchsorted(rows, table.frame["row"].to_numpy())]
    return found


def _params(plan: Evaluation, tables: Sequence[TaskTable]) -> dict[str, Scalar]:
    """Return the settings that decided the results: of readouts, those that were used."""
    settings = plan.settings
    alone = ("lead", "bootstrap", "bootstrap_seed", "minimum_positives", "seed")
    return {
        **{name: getattr(settings, name) for name in alone},
        "protocols": ", ".join(protocol.name for protocol in settings.protocols),
        **{
            f"{readout}.{name}": ", ".join(map(str, value)) if isinstance(value, list) else value
            for readout, used in sorted(settings.readouts.items())
            for name, value in used.items()
        },
        "tasks": ", ".join(table.task for table in tables),
        "threads": plan.study.threads,
    }
