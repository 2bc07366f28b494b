"""What every downstream task supplies."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ecgscale.data.record import SPLITS, Split
from ecgscale.data.sources.declaration import Kind as Kind
from ecgscale.errors import BadInputError
from ecgscale.registry import Registry

USUAL_METRIC: dict[Kind, str] = {
    **dict.fromkeys(("multi-label", "multi-class", "binary"), "macro_auroc"),
    "regression": "mae",
}
"""The main metric of a task of each kind, unless the task names another."""
MINIMUM_POSITIVES = 10
"""Test positives below which a label's AUROC says too little to enter a macro mean."""


class Label(BaseModel):
    """One label of a task: its short name, its codes in the source, and what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)
    codes: tuple[str, ...] = Field(min_length=1)
    description: str = Field(min_length=1)


class TaskMetadata(BaseModel):
    """All that is known of a task before any data is read; a corrected task is a new version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int = Field(ge=1)
    title: str
    kind: Kind
    dataset: str
    """The published data set ("ptb-xl"); a study says which of its sources holds it."""
    labels: tuple[Label, ...] = Field(min_length=1)
    selection_rule: str
    """Which records the task takes."""
    label_rule: str
    """When a label counts as present."""
    split_rule: str
    patient_key: str
    main_metric: str = Field(default_factory=lambda said: USUAL_METRIC.get(said.get("kind"), ""))
    """Name of a metric (`ecgscale.evaluation.metrics`), which says how it is computed and which
    direction is better."""
    minimum_positives: int = Field(default=MINIMUM_POSITIVES, ge=1)
    """Test positives that a label needs to enter the macro mean."""
    published_counts: dict[Split, int]
    """Records per split in the published data; empty where nobody has published them."""
    counts_source: str
    """Where `published_counts` come from, or why there are none."""
    unit: str | None = None
    """Unit of what a regression predicts."""
    known_issues: tuple[str, ...] = ()
    """What is wrong with the published labels or splits, with numbers."""
    licence: str
    access: Literal["open", "credentialed", "restricted"]
    url: str
    citation: str

    @property
    def label_names(self) -> tuple[str, ...]:
        """Names of the labels, in the order of the columns of `Targets.y`."""
        return tuple(label.name for label in self.labels)

    @model_validator(mode="after")
    def _consistent(self) -> "TaskMetadata":
        if len(set(self.label_names)) != len(self.labels):
            raise ValueError(f"task {self.name} has two labels of one name")
        if set(self.published_counts) not in (set(), set(SPLITS)):
            raise ValueError(f"task {self.name}: published_counts must have {', '.join(SPLITS)}")
        if (self.kind == "regression") != (self.unit is not None):
            raise ValueError(f"task {self.name}: a regression, and only one, has a unit")
        if self.kind in ("binary", "regression") and len(self.labels) != 1:
            raise ValueError(f"task {self.name}: {self.kind} tasks have one column")
        return self


@dataclass(frozen=True)
class Targets:
    """The rows of a store that a task uses, with their split and targets.

    Attributes
    ----------
    rows
        Shape (example,), row numbers in the store.
    split
        Shape (example,), "train", "validation" or "test".
    y
        Shape (example, label), float32: 0/1 for classification (multi-class: one 1 in each row),
        the value for regression.
    patient_id
        Shape (example,).
    left_out
        How many records the task does not use, by the reason, where it says so.
    """

    rows: npt.NDArray[np.int64]
    split: npt.NDArray[np.str_]
    y: npt.NDArray[np.float32]
    patient_id: npt.NDArray[np.str_]
    left_out: dict[str, int] = field(default_factory=dict)


class Task:
    """A downstream task: metadata, and targets for the records of a store."""

    metadata: ClassVar[TaskMetadata]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the records of a store (`ecgscale.data.store.Store.records`).

        Raises
        ------
        BadInputError
            If the records lack what the task needs (a split, a fold).
        """
        raise NotImplementedError


tasks: Registry[Task] = Registry("task", "ecgscale.datasets", "tasks", required=("metadata",))


def multi_hot(
    present: Iterable[Iterable[str]], columns: dict[str, int], width: int
) -> npt.NDArray[np.float32]:
    """Return shape (record, width): 1 where a record has a key that maps to the column.

    Parameters
    ----------
    present
        Keys (codes or label names) of each record.
    columns
        Key to column; several keys may share one. Keys that are not in it are ignored.
    """
    rows = [list(keys) for keys in present]
    y = np.zeros((len(rows), width), dtype=np.float32)
    for row, keys in zip(y, rows, strict=True):
        row[[columns[key] for key in keys if key in columns]] = 1
    return y


def measurement(records: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    """Return shape (record,): a number that the source states, NaN where it does not.

    `name` is a key of `ecgscale.data.record.Record.measurements`.
    """
    columns = zip(records["measurements"], records["measured"], strict=True)
    known = [dict(zip(names, values, strict=True)) for names, values in columns]
    return np.array([values.get(name, np.nan) for values in known], dtype=np.float64)


def patient_split(
    patients: Iterable[str], salt: str, validation: float, test: float
) -> npt.NDArray[np.str_]:
    """Return "train", "validation" or "test", shape (record,), for data without published splits.

    Patients are dealt by a hash of their id and the salt alone, so that a patient's split stays
    when records come or go, and tasks that share a salt share the split.

    Parameters
    ----------
    patients
        The patient of each record.
    validation, test
        Expected shares of the patients.
    """
    known: dict[str, Split] = {}
    for patient in patients:
        digest = hashlib.sha256(f"{salt}\0{patient}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        inner: Split = "validation" if place < test + validation else "train"
        known[patient] = "test" if place < test else inner
    return np.array([known[patient] for patient in patients], dtype=np.str_)


def select(
    records: pd.DataFrame,
    keep: npt.NDArray[np.bool_],
    split: npt.NDArray[np.str_],
    y: npt.NDArray[np.float32],
) -> Targets:
    """Return the targets of the records to keep, given one entry (row) for each record."""
    return Targets(
        rows=np.flatnonzero(keep).astype(np.int64),
        split=split[keep],
        y=y[keep],
        patient_id=records["patient_id"].to_numpy(dtype=np.str_)[keep],
    )


def check_patient_disjoint(task: str, targets: Targets) -> None:
    """Check that no patient is in two splits of a task.

    Raises
    ------
    BadInputError
        If one is; the message names the task, the patient and the splits.
    """
    home: dict[str, str] = {}
    for patient, split in zip(targets.patient_id, targets.split, strict=True):
        first = home.setdefault(patient, split)
        if first != split:
            raise BadInputError(
                f"task {task}: patient {patient} is in the {first} and the {split} split"
            )
