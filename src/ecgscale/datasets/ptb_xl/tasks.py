"""PTB-XL: the five label sets of its benchmark, as published.

Aggregation and selection follow Strodthoff et al. (2021) and the code published with it
(`helme/ecg_ptbxl_benchmarking`, ``compute_label_aggregations`` and ``select_data`` with
``min_samples=0``): a statement counts whatever its likelihood, and records without any label of the
task are left out.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.data.record import Split
from ecgscale.datasets.ptb_xl.statements import Statement, statements
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import (
    Label,
    Targets,
    Task,
    TaskMetadata,
    multi_hot,
    select,
    tasks,
)

SUPERCLASSES: dict[str, str] = {
    "CD": "conduction disturbance",
    "HYP": "hypertrophy",
    "MI": "myocardial infarction",
    "NORM": "normal ECG",
    "STTC": "ST/T change",
}
"""The five diagnostic classes and what they mean (Wagner et al. 2020)."""

LAST_TRAIN_FOLD, VALIDATION_FOLD, TEST_FOLD = 8, 9, 10

_COUNTS_SOURCE = (
    "rows of the PTB-XL 1.0.3 split lists published with MERL (Liu et al. 2024, arXiv:2403.06659); "
    "the diagnostic, subdiagnostic and superdiagnostic tasks take the same records, since every "
    "diagnostic statement has a class and a subclass. Release 1.0.1 had 38 records more in all "
    "(21,837 against 21,799)"
)
_CITATION = (
    "Wagner et al. 2020, PTB-XL, a large publicly available electrocardiography dataset, "
    "Scientific Data 7:154, doi:10.1038/s41597-020-0495-6; Strodthoff et al. 2021, Deep Learning "
    "for ECG Analysis: Benchmarks and Insights from PTB-XL, IEEE JBHI 25(5), "
    "doi:10.1109/JBHI.2020.3022989"
)


def _labels_by(
    kind: str, name: Callable[[Statement], str], meaning: dict[str, str] | None = None
) -> tuple[Label, ...]:
    """Group the statements of a kind into labels, sorted by name.

    Parameters
    ----------
    kind
        "diagnostic", "form" or "rhythm": the statements flagged so in the table.
    name
        The label that a statement belongs to; "" for none.
    meaning
        Descriptions of the labels; default: those of their statements.
    """
    groups: dict[str, list[Statement]] = {}
    for statement in statements():
        if statement[kind] and float(statement[kind]) == 1 and name(statement):
            groups.setdefault(name(statement), []).append(statement)
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


def _code(statement: Statement) -> str:
    return statement[""]


def _metadata(
    name: str, title: str, labels: tuple[Label, ...], counts: dict[Split, int]
) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        version=1,
        title=title,
        kind="multi-label",
        dataset="ptb-xl",
        labels=labels,
        selection_rule="records with at least one label of the task",
        label_rule="one of the label's SCP codes is in scp_codes, whatever its likelihood (0 too)",
        split_rule="strat_fold 1-8 train, 9 validation, 10 test",
        patient_key="patient_id",
        published_counts=counts,
        counts_source=_COUNTS_SOURCE,
        licence="CC BY 4.0",
        access="open",
        url="https://physionet.org/content/ptb-xl/1.0.3/",
        citation=_CITATION,
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

    metadata = _metadata(
        "ptb-xl-diagnostic",
        "PTB-XL diagnostic statements",
        _labels_by("diagnostic", _code),
        {"train": 17_084, "validation": 2_146, "test": 2_158},
    )


@tasks.register("ptb-xl-subdiagnostic")
class Subdiagnostic(PtbXlTask):
    """23 diagnostic subclasses."""

    metadata = _metadata(
        "ptb-xl-subdiagnostic",
        "PTB-XL diagnostic subclasses",
        _labels_by("diagnostic", lambda statement: statement["diagnostic_subclass"]),
        {"train": 17_084, "validation": 2_146, "test": 2_158},
    )


@tasks.register("ptb-xl-superdiagnostic")
class Superdiagnostic(PtbXlTask):
    """5 diagnostic classes."""

    metadata = _metadata(
        "ptb-xl-superdiagnostic",
        "PTB-XL diagnostic classes",
        _labels_by("diagnostic", lambda statement: statement["diagnostic_class"], SUPERCLASSES),
        {"train": 17_084, "validation": 2_146, "test": 2_158},
    )


@tasks.register("ptb-xl-form")
class Form(PtbXlTask):
    """19 form statements."""

    metadata = _metadata(
        "ptb-xl-form",
        "PTB-XL form statements",
        _labels_by("form", _code),
        {"train": 7_197, "validation": 901, "test": 880},
    )


@tasks.register("ptb-xl-rhythm")
class Rhythm(PtbXlTask):
    """12 rhythm statements."""

    metadata = _metadata(
        "ptb-xl-rhythm",
        "PTB-XL rhythm statements",
        _labels_by("rhythm", _code),
        {"train": 16_832, "validation": 2_100, "test": 2_098},
    )
