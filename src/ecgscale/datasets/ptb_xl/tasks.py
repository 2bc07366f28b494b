"""PTB-XL: the five label sets of its benchmark, as published.

Aggregation and selection follow Strodthoff et al. (2021) and the code published with it
(`helme/ecg_ptbxl_benchmarking`, ``compute_label_aggregations`` and ``select_data`` with
``min_samples=0``): a statement counts whatever its likelihood, and records without any label of the
task are left out.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.datasets import described_tasks
from ecgscale.datasets.ptb_xl.statements import Statement, statements
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import Label, Targets, Task, multi_hot, select, tasks

SUPERCLASSES: dict[str, str] = {
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
    "MI": "myocardial infarction",
    "NORM": "normal ECG",
    "STTC": "ST/T change",
}
"""The five diagnostic classes and what they mean (Wagner et al. 2020)."""

LAST_TRAIN_FOLD, VALIDATION_FOLD, TEST_FOLD = 8, 9, 10


def _labels_by(kind: str, column: str, meaning: dict[str, str] | None = None) -> tuple[Label, ...]:
    """Group the statements of a kind into labels, sorted by name.

    Parameters
    ----------
    kind
        "diagnostic", "form" or "rhythm": the statements flagged so in the table.
    column
        Holds the label that a statement belongs to, empty for none; the codes' own column is "".
    meaning
        Descriptions of the labels; default: those of their statements.
    """
    groups: dict[str, list[Statement]] = {}
    for statement in statements():
        if statement[kind] and float(statement[kind]) == 1 and statement[column]:
            groups.setdefault(statement[column], []).append(statement)
    return tuple(
        Label(
            name=label,
            codes=tuple(statement[""] for statement in members),
            description=meaning[label]
            if meaning
            else "; ".join(statement["description"] for statement in members),
        )
        for label, members in sorted(groups.items())
    )


METADATA = described_tasks(
    Path(__file__).with_name("ptb-xl-tasks.yaml"),
    {
        "ptb-xl-diagnostic": _labels_by("diagnostic", ""),
        "ptb-xl-subdiagnostic": _labels_by("diagnostic", "diagnostic_subclass"),
        "ptb-xl-superdiagnostic": _labels_by("diagnostic", "diagnostic_class", SUPERCLASSES),
        "ptb-xl-form": _labels_by("form", ""),
        "ptb-xl-rhythm": _labels_by("rhythm", ""),
    },
)


class PtbXlTask(Task):
    """A label set of PTB-XL with its published folds."""

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select the records with a label of the task; see `Task.targets`.

        Raises
        ------
        BadInputError
            If a record has no fold in 1-10.
        """
        labels = cls.metadata.labels
        columns = {code: column for column, label in enumerate(labels) for code in label.codes}
        y = multi_hot(records["labels"], columns, len(labels))
        labelled = np.asarray(y.any(axis=1), dtype=np.bool_)
        return select(records, labelled, _splits(cls.metadata.name, records), y)


def _splits(task: str, records: pd.DataFrame) -> npt.NDArray[np.str_]:
    fold = records["fold"].astype("float64").to_numpy()
    outside = ~((fold >= 1) & (fold <= TEST_FOLD))
    if outside.any():
        record = records["record_id"].iloc[int(outside.argmax())]
        raise BadInputError(
            f"task {task} needs a fold in 1-{TEST_FOLD} for every record, and {record} has none"
        )
    held_out = np.where(fold == VALIDATION_FOLD, "validation", "test")
    return np.where(fold <= LAST_TRAIN_FOLD, "train", held_out)


@tasks.register("ptb-xl-diagnostic")
class Diagnostic(PtbXlTask):
    """44 diagnostic statements."""

    metadata = METADATA["ptb-xl-diagnostic"]


@tasks.register("ptb-xl-subdiagnostic")
class Subdiagnostic(PtbXlTask):
    """23 diagnostic subclasses."""

    metadata = METADATA["ptb-xl-subdiagnostic"]


@tasks.register("ptb-xl-superdiagnostic")
class Superdiagnostic(PtbXlTask):
    """5 diagnostic classes."""

    metadata = METADATA["ptb-xl-superdiagnostic"]


@tasks.register("ptb-xl-form")
class Form(PtbXlTask):
    """19 form statements."""

    metadata = METADATA["ptb-xl-form"]


@tasks.register("ptb-xl-rhythm")
class Rhythm(PtbXlTask):
    """12 rhythm statements."""

    metadata = METADATA["ptb-xl-rhythm"]
