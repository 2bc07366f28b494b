"""What every downstream task supplies."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field

from ecgscale.registry import Registry

Split = Literal["train", "validation", "test"]


class Label(BaseModel):
    """One label of a task: its short name, its codes in the source, and what it means."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    codes: tuple[str, ...]
    description: str


class TaskMetadata(BaseModel):
    """All that is known of a task before any data is read; a corrected task is a new version."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    version: int = Field(ge=1)
    title: str
    kind: Literal["multi-label", "multi-class", "binary", "regression"]
    dataset: str
    """The published data set ("ptb-xl"); a study says which of its sources holds it."""
    labels: tuple[Label, ...]
    split_rule: str
    patient_key: str
    main_metric: Literal["macro_auroc", "mae"]
    higher_is_better: bool
    minimum_positives: int = Field(ge=1)
    """Test positives that a label needs to enter the macro mean."""
    published_counts: dict[str, int]
    """Records per split ("train", "validation", "test") in the published data."""
    licence: str
    access: Literal["open", "credentialed", "restricted"]
    url: str
    citation: str


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
        Shape (example, label), float32: 0/1 for classification, the value for regression.
    patient_id
        Shape (example,).
    """

    rows: npt.NDArray[np.int64]
    split: npt.NDArray[np.str_]
    y: npt.NDArray[np.float32]
    patient_id: npt.NDArray[np.str_]


class Task:
    """A downstream task: metadata, and targets for the records of a store."""

    metadata: ClassVar[TaskMetadata]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the records of a store.

        Parameters
        ----------
        records
            The store's table (`ecgscale.data.store.Store.records`), a row a record.

        Raises
        ------
        BadInputError
            If the records lack what the task needs (a split, a fold).
        """
        raise NotImplementedError


tasks: Registry[Task] = Registry("task", "ecgscale.tasks")
