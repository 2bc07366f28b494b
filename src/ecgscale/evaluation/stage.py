"""The evaluate and baseline stages: one encoder, or none, on every downstream task of a study."""

import copy
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from ecgscale import encoders
from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.data.store import Store, open_store
from ecgscale.data.subsets import read_subset
from ecgscale.device import device_name, study_device
from ecgscale.encoders.base import Encoder, model_digest, read_config
from ecgscale.errors import BadInputError
from ecgscale.evaluation.baselines import NEEDS_FEATURES, baseline_scores
from ecgscale.evaluation.embed import Embeddings, cached_embeddings, input_leads
from ecgscale.evaluation.metrics.functions import Bools
from ecgscale.evaluation.readouts.base import (
    Problem,
    ReadoutSettings,
    labelled_share,
    parse_settings,
    readouts,
)
from ecgscale.evaluation.result import TaskResult, check_table, minimum_positives, task_result
from ecgscale.evaluation.settings import EvaluationConfig, Protocol
from ecgscale.runs import resume, tracking
from ecgscale.runs.cell import Cell, subset_name
from ecgscale.runs.lineage import code_digest, dvc_tags, lineage_tags
from ecgscale.runs.record import DatasetInput, RunRecord, Scalar, result_path
from ecgscale.settings import digest_of
from ecgscale.study.cells import cell_axes, check_cell
from ecgscale.study.file import Study
from ecgscale.study.resolve import EVALUATION_CODE
from ecgscale.tasks import tasks
from ecgscale.tasks.targets import TaskTable, read_manifest, read_targets

log = logging.getLogger(__name__)

EXTERNAL = "external"
"""First part of the cell, and the role, of encoders that no cell of a study has trained."""

_NOTHING: dict[str, Scalar] = dict.fromkeys(("patients", "records", "hours", "sources"), 0)
"""The scale of what was pretrained on no subset."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Results = dict[str, TaskResult]
"""Endpoint to how it came out; see `ecgscale.evaluation.settings.EvaluationConfig.endpoint`."""


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
    """

    cell: str
    axes: dict[str, Scalar]
    params: dict[str, Scalar]
    tags: dict[str, str]
    details: dict[str, Any]


def evaluate(study: Study, cell: str, root: Path) -> RunRecord:
    """Evaluate the encoder of a cell on every task of the study, under every protocol.

    Reads ``models/<cell>``, ``data/tasks``, ``data/store`` and the manifest of the cell's subset;
    writes ``results/evaluate/<cell>.json``. Killed at any moment and called again, it goes on after
    the last endpoint that was finished, in the same tracked run, and ends with the same values.

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
    TrainingDivergedError
        If the loss of a readout that is trained is not finite.
    """
    check_cell(study, Cell.parse(cell))
    axes, subset_digest = _axes(study, Cell.parse(cell), root)
    directory = root / "models" / cell
    tags = {"subset_digest": subset_digest, "model_digest": model_digest(directory)}
    tables = [read_targets(root / "data/tasks", name) for name in study.evaluation.tasks]
    return _evaluated(study, Subject(cell, axes, {}, tags, {}), directory, tables, root)


def evaluate_directory(
    study: Study, directory: Path, task_names: Sequence[str], root: Path, name: str
) -> RunRecord:
    """Evaluate any encoder directory on the study's data, an imported one for instance.

    Reads ``data/tasks`` and ``data/store``; writes ``results/evaluate/external/<name>.json``. Of a
    subset that the encoder was trained on nothing is known here, so its axes are empty but for the
    encoder and the role ``external``; that it has not seen the test patients is for the user to
    know.

    Parameters
    ----------
    study
        Says how to evaluate, and on which data.
    directory
        Written by `ecgscale.encoders.save`, anywhere.
    task_names
        Tasks; those that the study has no data of are left out, with a warning, and listed in the
        record's details as ``without_data``.
    root
        The project.
    name
        Of the record: letters, digits, dots, dashes and underscores.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If it is no encoder directory, the study's signals were prepared by another recipe than the
        encoder's (the message names the setting), a task does not exist, or none has data.
    TrainingDivergedError
        As `evaluate`.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(f"name {name!r} must be letters, digits, dots, dashes, underscores")
    for task in task_names:
        tasks.get(task)
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
        details={"without_data": without},
    )
    return _evaluated(study, subject, directory, tables, root)


def evaluate_baseline(study: Study, name: str, root: Path) -> RunRecord:
    """Evaluate predictions that need no encoder on every task of the study.

    Reads ``data/tasks``, and ``data/store`` where signals are measured; writes
    ``results/evaluate/baseline/<name>.json``.

    Parameters
    ----------
    study
        The study.
    name
        Of one of `ecgscale.evaluation.baselines.BASELINES`.
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
    torch.set_num_threads(study.study.threads)
    axes: dict[str, Scalar] = {
        **{"objective": name, "kind": "baseline", "encoder": None, "regime": None},
        **{"size": 0, "order": 0, "seed": 0, "role": "baseline", "control_of": None},
        **_NOTHING,
    }
    tables = [read_targets(root / "data/tasks", task) for task in study.evaluation.tasks]

    def results() -> Results:
        features = _features(tables, root) if name in NEEDS_FEATURES else {}
        return {
            table.task: _baseline_result(name, table, study.evaluation, features.get(table.task))
            for table in tables
        }

    return _recorded(study, Subject(f"baseline/{name}", axes, {}, {}, {}), tables, root, results)


def evaluate_encoder(
    directory: Path,
    tables: Sequence[TaskTable],
    stores: Mapping[str, Store],
    settings: EvaluationConfig,
    recipe: Recipe,
    *,
    cache: Path,
    device: torch.device | str = "cpu",
    finished: Path | None = None,
) -> Results:
    """Evaluate any encoder directory on tasks, under every protocol of the settings.

    Parameters
    ----------
    directory
        Written by `ecgscale.encoders.save`.
    tables
        The tasks.
    stores
        The store of each table's source, by name.
    settings
        Protocols, readouts, lead, resamples, minimum of positives, batch size.
    recipe
        How signals are normalised, and the leads of an encoder with several.
    cache
        Folder of cached embeddings.
    device
        Where to embed and to fit.
    finished
        Folder with a file per finished endpoint; what is there is taken from there. None keeps
        none.

    Returns
    -------
    dict
        Endpoint to its result, task by task in the order of `tables`.

    Raises
    ------
    BadInputError
        If the directory is no encoder, a task was made from another store or lacks examples, or an
        embedding is not finite.
    TrainingDivergedError
        As `evaluate`.
    """
    for table in tables:
        _check_store(table, stores[table.source])
    results: Results = {}
    with _progress() as progress:
        bench = _Bench(directory, tables, stores, settings, recipe, cache, device, progress)
        bar = progress.add_task("reading out", total=len(tables) * len(settings.protocols))
        for table in tables:
            for protocol in settings.protocols:
                endpoint = settings.endpoint(table.task, protocol)
                file = finished / f"{endpoint}.json" if finished else None
                results[endpoint] = _once(file, partial(bench.result, table, protocol))
                progress.advance(bar)
    return results


class _Bench:
    """An encoder with the data that it is evaluated on; all that is costly waits for its use."""

    def __init__(
        self,
        directory: Path,
        tables: Sequence[TaskTable],
        stores: Mapping[str, Store],
        settings: EvaluationConfig,
        recipe: Recipe,
        cache: Path,
        device: torch.device | str,
        progress: Progress,
    ) -> None:
        self._directory = directory
        self._tables = tables
        self._stores = stores
        self._settings = settings
        self._recipe = recipe
        self._cache = cache
        self._device = device
        self._progress = progress
        self._embedded: dict[str, dict[float, Embeddings]] = {}

    def result(self, table: TaskTable, protocol: Protocol) -> TaskResult:
        """Read a task out under a protocol and measure it."""
        train = labelled_share(table, protocol.fraction, self._settings.seed)
        predictions = readouts.get(protocol.readout)().predict(
            Problem(
                table=table,
                train=train,
                minimum_positives=minimum_positives(table, self._settings),
                settings=_readout_settings(self._settings, protocol.readout),
                seed=self._settings.seed,
                batch_size=self._settings.batch_size,
                device=self._device,
                embeddings=lambda: self._embeddings(table, protocol.depth),
                signals=lambda positions: self._signals(table, positions),
                encoder=lambda: copy.deepcopy(self._encoder),
            )
        )
        result = task_result(table, predictions.scores, train, self._settings)
        about = {
            "protocol": {"name": protocol.name, **protocol.model_dump(), **_seen(table, train)}
        }
        return TaskResult(
            {**result.metrics, **predictions.metrics},
            {**result.details, **about, **predictions.details},
        )

    @cached_property
    def _encoder(self) -> Encoder:
        return encoders.load(self._directory, self._device)

    def _embeddings(self, table: TaskTable, depth: float) -> Embeddings:
        """Return shape (example, dim); the first call embeds the whole source, at all depths."""
        rows = _union(self._tables, table.source)
        if table.source not in self._embedded:
            depths = {
                protocol.depth
                for protocol in self._settings.protocols
                if readouts.get(protocol.readout).reads_depths
            }
            bar = self._progress.add_task(f"embedding {table.source}", total=len(rows))
            self._embedded[table.source] = cached_embeddings(
                self._directory,
                self._encoder,
                self._stores[table.source],
                rows,
                self._recipe,
                self._settings.lead,
                self._settings.batch_size,
                sorted(depths),
                self._device,
                self._cache,
                lambda records: self._progress.advance(bar, records),
            )
        places = np.searchsorted(rows, table.frame["row"].to_numpy())
        return self._embedded[table.source][depth][places]

    def _signals(self, table: TaskTable, positions: npt.NDArray[np.intp]) -> Tensor:
        store = self._stores[table.source]
        leads = input_leads(self._encoder, store, self._recipe, self._settings.lead)
        signal = store.signals(table.frame["row"].to_numpy()[positions], leads)
        return normalise(torch.from_numpy(signal).to(self._device), self._recipe)


def _evaluated(
    study: Study, subject: Subject, directory: Path, tables: Sequence[TaskTable], root: Path
) -> RunRecord:
    """Evaluate an encoder directory, keeping what is finished until the record is written."""
    torch.set_num_threads(study.study.threads)
    device = study_device(study)
    stores = _stores(tables, root)
    _check_recipe(directory, study.recipe, "the study")
    for store in stores.values():
        _check_recipe(directory, store.manifest.recipe, str(store.path))
    folder = root / ".ecgscale" / "work" / _key(study, subject, tables, directory, device)

    def results() -> Results:
        return evaluate_encoder(
            directory,
            tables,
            stores,
            study.evaluation,
            study.recipe,
            cache=root / ".ecgscale" / "embeddings",
            device=device,
            finished=folder / "endpoints",
        )

    tags = {**subject.tags, "device": device_name(device)}
    return _recorded(study, replace(subject, tags=tags), tables, root, results, folder)


def _key(
    study: Study,
    subject: Subject,
    tables: Sequence[TaskTable],
    directory: Path,
    device: torch.device,
) -> str:
    """Return the digest of all inputs: the name of the work directory."""
    inputs = {
        "phase": "evaluate",
        "cell": subject.cell,
        "model": subject.tags["model_digest"],
        "encoder": code_digest(
            encoders.encoders.get(read_config(directory)["encoder"]["name"]).__module__
        ),
        "code": code_digest(*EVALUATION_CODE),
        "settings": study.evaluation.model_dump(mode="json"),
        "recipe": study.recipe.digest,
        "tasks": {table.task: [table.digest, table.store_digest] for table in tables},
        "threads": study.study.threads,
        "device": device.type,
        "torch": torch.__version__,
    }
    return digest_of(inputs)[:32]


def _once(file: Path | None, action: Callable[[], TaskResult]) -> TaskResult:
    """Return what a file holds, or do the action and keep its result in the file."""
    if file is not None and file.is_file():
        return TaskResult(**json.loads(file.read_text(encoding="utf-8")))
    result = action()
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside = file.with_name(f".{file.name}.tmp")
        # Python's JSON keeps every bit of a number, and NaN.
        aside.write_text(json.dumps(asdict(result)), encoding="utf-8")
        aside.replace(file)
    return result


def _recorded(
    study: Study,
    subject: Subject,
    tables: Sequence[TaskTable],
    root: Path,
    measured: Callable[[], Results],
    folder: Path | None = None,
) -> RunRecord:
    """Measure, write the record, mirror it to the tracker and remove the work directory."""
    with (
        resume.alone(folder) if folder else nullcontext(),
        tracking.start_run(
            "evaluate",
            study.study.name,
            subject.cell,
            root,
            folder / "run_id" if folder else None,
            study.study.live_tracking_after,
        ) as tracked,
    ):
        started = resume.started(folder) if folder else resume.now()
        results = measured()
        record = RunRecord(
            phase="evaluate",
            study=study.study.name,
            cell=subject.cell,
            axes=subject.axes,
            params={**_params(study, tables), **subject.params},
            metrics={
                f"{endpoint}.{name}": value
                for endpoint, result in results.items()
                for name, value in result.metrics.items()
            },
            tags={
                **lineage_tags(root),
                **dvc_tags(root, "data/tasks", f"models/{subject.cell}"),
                "study": study.study.name,
                "recipe_digest": study.recipe.digest,
                **subject.tags,
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
            details={
                "tasks": {endpoint: result.details for endpoint, result in results.items()},
                **subject.details,
            },
            started=started,
            ended=resume.now(),
        )
        record.write(result_path(root / "results", "evaluate", subject.cell))
        tracked.finish(record)
        if folder:
            resume.remove(folder)
    return record


def _baseline_result(
    name: str, table: TaskTable, settings: EvaluationConfig, features: Embeddings | None
) -> TaskResult:
    check_table(table)
    scores = baseline_scores(
        name,
        table,
        _readout_settings(settings, "linear"),
        minimum_positives=minimum_positives(table, settings),
        features=features,
    )
    train = table.where("train")
    result = task_result(table, scores, train, settings)
    protocol = {"name": name, "readout": None, "fraction": 1.0, "depth": None}
    about = {"protocol": {**protocol, **_seen(table, train)}}
    return TaskResult(result.metrics, {**result.details, **about})


def _features(tables: Sequence[TaskTable], root: Path) -> dict[str, Embeddings]:
    """Measure every source's records once; return the features of each task's examples."""
    from ecgscale.evaluation.features import store_features

    found = {}
    with _progress() as progress:
        for source, store in _stores(tables, root).items():
            rows = _union(tables, source)
            bar = progress.add_task(f"measuring {source}", total=len(rows))
            values = store_features(store, rows, partial(progress.advance, bar)).values
            for table in (table for table in tables if table.source == source):
                _check_store(table, store)
                found[table.task] = values[np.searchsorted(rows, table.frame["row"].to_numpy())]
    return found


def _seen(table: TaskTable, train: Bools) -> dict[str, int]:
    """Return from how much a readout learned."""
    patients = table.frame.loc[train, "patient_id"].nunique()
    return {"train_examples": int(train.sum()), "train_patients": int(patients)}


def _check_store(table: TaskTable, store: Store) -> None:
    check_table(table)
    if table.store_digest != store.digest:
        raise BadInputError(
            f"task {table.task} was made from another state of {store.path}: "
            "run the tasks stage again"
        )


def _check_recipe(directory: Path, recipe: Recipe, whose: str) -> None:
    """Check that an encoder was trained on signals of a recipe."""
    found = read_config(directory)["recipe"]
    for key, value in recipe.model_dump(mode="json").items():
        if found.get(key) != value:
            raise BadInputError(
                f"{directory} was trained on signals with recipe.{key} {found.get(key)}, "
                f"{whose} has {value}"
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


def _params(study: Study, tables: Sequence[TaskTable]) -> dict[str, Scalar]:
    """Return the settings that decided the results: of readouts, those that were used."""
    settings = study.evaluation
    used = {"linear", *(protocol.readout for protocol in settings.protocols)}
    return {
        "lead": settings.lead,
        "bootstrap": settings.bootstrap,
        "bootstrap_seed": settings.bootstrap_seed,
        "minimum_positives": settings.minimum_positives,
        "protocols": ", ".join(protocol.name for protocol in settings.protocols),
        "seed": settings.seed,
        **{
            f"{readout}.{name}": ", ".join(map(str, value)) if isinstance(value, tuple) else value
            for readout in sorted(used)
            for name, value in _readout_settings(settings, readout).model_dump().items()
        },
        "tasks": ", ".join(table.task for table in tables),
        "threads": study.study.threads,
    }


def _readout_settings(settings: EvaluationConfig, readout: str) -> ReadoutSettings:
    return parse_settings(readout, settings.readouts.get(readout, {}))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=sys.stderr),
    )
