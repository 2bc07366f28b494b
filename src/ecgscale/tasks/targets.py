"""The targets of every task of a study, computed once and checked."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from ecgscale.data.record import SPLITS, UNKNOWN_PATIENT
from ecgscale.data.store import Store, open_store
from ecgscale.errors import BadInputError
from ecgscale.files import whole_file, write_whole
from ecgscale.runs.record import DatasetInput
from ecgscale.tasks.base import Kind, Targets, Task, TaskMetadata, check_patient_disjoint, tasks

MANIFEST = "manifest.json"
UNKNOWN_SHARE = 0.1
"""Most records of unknown patients, as a share, that a task goes without."""
SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("record_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),
        ("age", pa.float64()),
        ("sex", pa.string()),
        ("y", pa.list_(pa.float32())),
    ]
)


@dataclass(frozen=True)
class TaskTable:
    """The examples of one task.

    Attributes
    ----------
    metric, unit
        Name of the main metric, and the unit of what is predicted ("" for labels).
    minimum_positives
        Test positives that a label needs to enter a macro mean.
    source, store_digest
        The study's source whose store the rows number, and that store's digest.
    labels
        Names, in the order of the columns of `y`.
    frame
        One row per example, in store order: row, record_id, patient_id, split, age (NaN unknown),
        sex ("F", "M" or None).
    y
        Shape (example, label), float32.
    digest
        SHA-256 of the content.
    """

    task: str
    kind: Kind
    metric: str
    unit: str
    minimum_positives: int
    source: str
    store_digest: str
    labels: tuple[str, ...]
    frame: pd.DataFrame
    y: npt.NDArray[np.float32]
    digest: str

    def where(self, split: str) -> npt.NDArray[np.bool_]:
        """Return shape (example,): whether an example is in `split`."""
        return np.asarray(self.frame["split"] == split, dtype=np.bool_)


def write_targets(
    names: Iterable[str],
    data: Mapping[str, str],
    stores: Path,
    out: Path,
    declared: Mapping[str, type[Task]] | None = None,
) -> dict[str, Any]:
    """Write ``<out>/<task>.parquet`` for each task, and ``<out>/manifest.json``.

    Parameters
    ----------
    names
        The tasks.
    data
        Data set of a task to the source that holds it.
    stores
        The folder with one store per source.
    out
        Made if absent; tables of an earlier study are removed.
    declared
        Tasks that the study's sources declare, by name.

    Returns
    -------
    dict
        The manifest: for each task dataset, kind, main metric, unit, minimum_positives, source,
        store_digest, version, labels, examples per split, positives per label and split (none for
        a regression), digest of its table, and the records that it counts as left out. So an
        evaluation depends on what decides its numbers and not on all that a task says of itself.

    Raises
    ------
    BadInputError
        If a task does not exist, no source holds its data set, a split has no examples, a patient
        is in two splits, or the source does not say who the patients of more than `UNKNOWN_SHARE`
        of a task's records are.
    """
    opened: dict[str, Store] = {}
    manifest: dict[str, Any] = {}
    tables: dict[str, pa.Table] = {}
    for name in names:
        task = (declared or {}).get(name) or tasks.get(name)
        metadata = task.metadata
        source = _source(data, metadata)
        if source not in opened:
            opened[source] = open_store(stores / source)
        store = opened[source]
        targets = _of_somebody(name, source, task.targets(store.records))
        _check(metadata, source, targets)
        table = tables[name] = _table(targets, store.records)
        said = ("dataset", "kind", "minimum_positives", "version")
        manifest[name] = {
            **{key: getattr(metadata, key) for key in said},
            **{"metric": metadata.main_metric, "unit": metadata.unit or ""},
            **{"source": source, "store_digest": store.digest},
            "labels": list(metadata.label_names),
            **_counts(targets, metadata),
            **({"left_out": targets.left_out} if targets.left_out else {}),
            "digest": _digest(table, metadata),
        }
    out.mkdir(parents=True, exist_ok=True)
    # Away first and back last: a manifest never stands beside tables that are not all there.
    for stale in (out / MANIFEST, *out.glob("*.parquet")):
        stale.unlink(missing_ok=True)
    for name, table in tables.items():
        with whole_file(out / f"{name}.parquet") as path:
            pq.write_table(table, path, compression="zstd")
    write_whole(out / MANIFEST, json.dumps(manifest, indent=1, sort_keys=True) + "\n")
    return manifest


def read_manifest(tasks_dir: Path) -> dict[str, Any]:
    """Read the manifest of the targets.

    Raises
    ------
    BadInputError
        If it does not exist or is not JSON.
    """
    path = tasks_dir / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        said = f"{path} does not exist: run `python -m ecgscale targets` first"
        raise BadInputError(said) from error
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not JSON: {error}") from error
    return manifest


def read_targets(tasks_dir: Path, task: str) -> TaskTable:
    """Read what `write_targets` wrote for one task.

    Raises
    ------
    BadInputError
        If the task is not in the manifest or its table is missing.
    """
    entry = _entry(read_manifest(tasks_dir), tasks_dir, task)
    path = tasks_dir / f"{task}.parquet"
    if not path.is_file():
        raise BadInputError(f"{path} does not exist, although {tasks_dir / MANIFEST} lists it")
    table = pq.read_table(path, schema=SCHEMA)
    said = ("kind", "metric", "unit", "minimum_positives", "source", "store_digest", "digest")
    return TaskTable(
        task=task,
        **{name: entry[name] for name in said},
        labels=tuple(entry["labels"]),
        frame=table.drop_columns(["y"]).to_pandas(),
        y=_matrix(table, len(entry["labels"])),
    )


def part_of(task: str, digest: str, context: str) -> DatasetInput:
    """Return a part of a task's table as what a run has read; the test examples have its name.

    Parameters
    ----------
    digest
        Of the whole table.
    context
        "training", "validation" or "test".
    """
    name = task if context == "test" else f"{task}/{context}"
    source = f"data/tasks/{task}.parquet"
    return DatasetInput(name=name, digest=digest, context=context, source=source)


def label_space(tasks_dir: Path, names: Iterable[str]) -> tuple[str, ...]:
    """Return the labels of several tasks in one row, as ``<task>:<label>``.

    This is the output layer of the supervised control and the order of `training_targets`.
    Regressions have no part in it: the control has one loss, which is that of labels.

    Raises
    ------
    BadInputError
        If a task is not in the manifest.
    """
    manifest = read_manifest(tasks_dir)
    return tuple(
        f"{name}:{label}"
        for name in names
        if _entry(manifest, tasks_dir, name)["kind"] != "regression"
        for label in _entry(manifest, tasks_dir, name)["labels"]
    )


def training_targets(tasks_dir: Path, names: Iterable[str]) -> pd.DataFrame:
    """Return the training records of several tasks with the targets of all of them.

    Patients in the validation or test split of any of the tasks are left out, so that tasks which
    share patients do not leak into each other. Regressions add no targets (`label_space`).

    Returns
    -------
    DataFrame
        One row per record, sorted by source and row: source, row, record_id, patient_id, and y, a
        float32 vector over `label_space`, NaN for the labels of tasks that do not hold the record.

    Raises
    ------
    BadInputError
        If a task is not in the manifest or its table is missing, or all are regressions.
    """
    tables = [read_targets(tasks_dir, name) for name in names]
    held_out = {
        patient
        for table in tables
        for patient in table.frame.loc[~table.where("train"), "patient_id"]
    }
    tables = [table for table in tables if table.kind != "regression"]
    if not tables:
        raise BadInputError("the study's tasks are all regressions: there are no labels to learn")
    width = sum(len(table.labels) for table in tables)
    records: dict[tuple[str, int], tuple[str, str]] = {}
    vectors: dict[tuple[str, int], npt.NDArray[np.float32]] = {}
    start = 0
    for table in tables:
        stop = start + len(table.labels)
        chosen = table.where("train") & ~table.frame["patient_id"].isin(held_out).to_numpy()
        columns = ["row", "record_id", "patient_id"]
        rows = table.frame.loc[chosen, columns].itertuples(index=False)
        for (row, record_id, patient_id), y in zip(rows, table.y[chosen], strict=True):
            key = (table.source, int(row))
            records[key] = (record_id, patient_id)
            vector = vectors.setdefault(key, np.full(width, np.nan, dtype=np.float32))
            vector[start:stop] = y
        start = stop
    return pd.DataFrame(
        [(*key, *records[key], vectors[key]) for key in sorted(records)],
        columns=["source", "row", "record_id", "patient_id", "y"],
    )


def _source(data: Mapping[str, str], metadata: TaskMetadata) -> str:
    source = data.get(metadata.dataset)
    if source is None:
        raise BadInputError(
            f"evaluation.data names no source for the data set {metadata.dataset!r} "
            f"of task {metadata.name}"
        )
    return source


def _of_somebody(name: str, source: str, targets: Targets) -> Targets:
    """Return targets without records of unknown patients, which cannot be held out, if few are."""
    unknown = np.array([UNKNOWN_PATIENT in patient for patient in targets.patient_id], dtype=bool)
    if not unknown.any():
        return targets
    count = int(unknown.sum())
    if count > UNKNOWN_SHARE * len(unknown):
        first = targets.patient_id[unknown][0].split(UNKNOWN_PATIENT)[-1]
        raise BadInputError(
            f"task {name}: source {source} does not say who the patients of {count} of "
            f"{len(unknown)} records are ({first}), so none can be held out; its options "
            "patients, table.patient or patient_pattern say it"
        )
    return Targets(
        targets.rows[~unknown],
        targets.split[~unknown],
        targets.y[~unknown],
        targets.patient_id[~unknown],
        {**targets.left_out, "of unknown patients": count},
    )


def _check(metadata: TaskMetadata, source: str, targets: Targets) -> None:
    name, y = metadata.name, targets.y
    for split in SPLITS:
        if not (targets.split == split).any():
            raise BadInputError(f"task {name}: source {source} has no {split} records for it")
    check_patient_disjoint(name, targets)
    if metadata.kind == "regression":
        if not np.isfinite(y).all():
            raise BadInputError(f"task {name}: a target of source {source} is not finite")
    elif not np.isin(y, (0, 1)).all():
        raise BadInputError(f"task {name}: a target of source {source} is neither 0 nor 1")
    if metadata.kind == "multi-class" and not (y.sum(axis=1) == 1).all():
        raise BadInputError(f"task {name}: a record of source {source} is not of one class")


def _table(targets: Targets, records: pd.DataFrame) -> pa.Table:
    chosen = records.iloc[targets.rows]
    width = targets.y.shape[1]
    offsets = np.arange(0, targets.y.size + 1, width, dtype=np.int32)
    y = pa.ListArray.from_arrays(pa.array(offsets), pa.array(targets.y.ravel()))
    return pa.table(
        [
            pa.array(targets.rows),
            pa.array(chosen["record_id"].astype(str).tolist(), pa.string()),
            pa.array(targets.patient_id.tolist(), pa.string()),
            pa.array(targets.split.tolist(), pa.string()),
            pa.array(chosen["age"].to_numpy(dtype=np.float64)),
            pa.array([None if pd.isna(sex) else sex for sex in chosen["sex"]], pa.string()),
            y,
        ],
        schema=SCHEMA,
    )


def _matrix(table: pa.Table, width: int) -> npt.NDArray[np.float32]:
    flat = table["y"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat, dtype=np.float32).reshape(-1, width)


def _counts(targets: Targets, metadata: TaskMetadata) -> dict[str, Any]:
    inside = {split: targets.split == split for split in SPLITS}
    counts = {split: int(chosen.sum()) for split, chosen in inside.items()}
    if metadata.kind == "regression":
        return {"counts": counts, "positives": {}}
    columns = zip(metadata.label_names, targets.y.T, strict=True)
    positives = {
        label: {split: int((column[chosen] == 1).sum()) for split, chosen in inside.items()}
        for label, column in columns
    }
    return {"counts": counts, "positives": positives}


def _digest(table: pa.Table, metadata: TaskMetadata) -> str:
    """Hash the content, not the file: another parquet writer leaves it unchanged."""
    hasher = hashlib.sha256(json.dumps([metadata.name, metadata.version]).encode())
    hasher.update(json.dumps(metadata.label_names).encode())
    for name in SCHEMA.names[:-1]:
        values = table[name].to_pylist()
        hasher.update(json.dumps([None if value != value else value for value in values]).encode())
    hasher.update(_matrix(table, len(metadata.labels)).astype("<f4").tobytes())
    return hasher.hexdigest()


def _entry(manifest: dict[str, Any], tasks_dir: Path, task: str) -> dict[str, Any]:
    if task not in manifest:
        raise BadInputError(f"{tasks_dir / MANIFEST} has no task {task!r}")
    entry: dict[str, Any] = manifest[task]
    return entry
