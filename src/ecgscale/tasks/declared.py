"""Downstream tasks on own labels, made of what a source's YAML declares."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.data.record import SPLITS
from ecgscale.data.sources.base import Source, parse_number, sources, whole_number
from ecgscale.data.sources.declaration import NO, YES, SplitDeclaration, TaskDeclaration
from ecgscale.data.sources.metadata import SPLIT_NAMES
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import (
    Label,
    Targets,
    Task,
    TaskMetadata,
    measurement,
    multi_hot,
    patient_split,
    select,
)

SHOWN = 12
"""Most codes or values that a message lists."""

Cells = npt.NDArray[np.object_]
"""Shape (record,), the text of a column; empty where it says nothing."""


class DeclaredTask(Task):
    """A task that a source's YAML declares.

    Attributes
    ----------
    declaration
        What it says.
    where
        The file and the key, for messages.
    """

    declaration: ClassVar[TaskDeclaration]
    where: ClassVar[str]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the records; see `Task.targets`.

        Raises
        ------
        BadInputError
            If no record has a code or a column that the task names, or a cell is neither a value
            that the task names nor missing; the message names the file, the key and the record.
        """
        stated = cls.declaration
        if stated.kind == "regression":
            y, usable, why = cls._numbers(records)
        elif stated.columns or (stated.kind == "binary" and stated.column):
            y, usable, why = cls._flags(records)
        elif stated.column:
            y, usable, why = cls._classes(records)
        else:
            y, usable, why = cls._codes(records)
        split = cls._split(records)
        left_out = Counter({why: int((~usable).sum())})
        if stated.kind == "multi-class" and not stated.column:
            several = y.sum(axis=1) > 1
            left_out["of several classes"] += int((usable & several).sum())
            usable = usable & ~several
        without = usable & (split == "")
        left_out["without a split"] += int(without.sum())
        found = select(records, usable & ~without, split, y)
        counted = {reason: count for reason, count in left_out.items() if count}
        return Targets(found.rows, found.split, found.y, found.patient_id, counted)

    @classmethod
    def _codes(
        cls, records: pd.DataFrame
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], str]:
        """Label the records by their codes."""
        stated, labels = cls.declaration, cls.metadata.labels
        known = Counter(code for codes in records["labels"] for code in codes)
        key = "positive" if stated.kind == "binary" else "labels"
        for code in (code for label in labels for code in label.codes):
            if code not in known and stated.absent_codes == "refuse":
                raise BadInputError(
                    f"{cls.where}.{key}: no record has the code {code!r}; there are: "
                    f"{_listed(known)} (a code that may be absent: absent_codes: allow)"
                )
        y = np.zeros((len(records), len(labels)), dtype=np.float32)
        for column, label in enumerate(labels):  # a code may count for several labels
            y[:, [column]] = multi_hot(records["labels"], dict.fromkeys(label.codes, 0), 1)
        if stated.kind == "multi-class":
            return y, np.asarray(y.any(axis=1), dtype=np.bool_), "without a code of a class"
        if stated.unlabelled == "negative":
            return y, np.ones(len(records), dtype=np.bool_), ""
        return y, np.array([len(codes) > 0 for codes in records["labels"]]), "without any code"

    @classmethod
    def _flags(
        cls, records: pd.DataFrame
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], str]:
        """Label the records by columns of present and absent."""
        stated = cls.declaration
        columns = stated.columns or {stated.column or "": stated.column or ""}
        positive = {whole_number(value) for value in stated.positive or ()}
        negative = {whole_number(value) for value in stated.negative or ()}

        def read(cell: str) -> float | None:
            if not positive:
                lower = cell.lower()
                return 1.0 if lower in YES else 0.0 if lower in NO else None
            if cell in positive:
                return 1.0
            return 0.0 if cell in negative or not negative else None

        told = "neither positive, negative nor missing"
        y = np.stack(
            [cls._read(records, column, read, told, positive) for column in columns.values()],
            axis=1,
        )
        return _filled(y)

    @classmethod
    def _classes(
        cls, records: pd.DataFrame
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], str]:
        """Label the records by the value of a column."""
        labels = cls.metadata.labels
        place = {
            whole_number(code): float(number)
            for number, label in enumerate(labels)
            for code in label.codes
        }
        told = "no class (name it in labels, or in missing)"
        column = cls.declaration.column or ""
        found = cls._read(records, column, place.get, told, set(place))
        y, usable, why = _filled(found[:, None])
        chosen = np.eye(len(labels), dtype=np.float32)[y[:, 0].astype(np.int64)]
        return chosen, usable, why

    @classmethod
    def _numbers(
        cls, records: pd.DataFrame
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], str]:
        """Read the numbers of a column."""
        low, high = cls.declaration.range or (-np.inf, np.inf)

        def read(cell: str) -> float | None:
            value = parse_number(cell)
            return None if value is None or not low <= value <= high else value

        told = f"no number in {cls.declaration.range}" if cls.declaration.range else "no number"
        return _filled(cls._read(records, cls.declaration.column or "", read, told)[:, None])

    @classmethod
    def _read(
        cls,
        records: pd.DataFrame,
        column: str,
        read: Callable[[str], float | None],
        told: str,
        named: set[str] | None = None,
    ) -> npt.NDArray[np.float64]:
        """Return shape (record,): a column's values as numbers, NaN where a cell is missing.

        Parameters
        ----------
        read
            Makes a number of a cell, or None.
        told
            What a cell is that `read` makes nothing of.
        named
            Values that count even where they would be missing; each must occur.
        """
        key = f"{cls.where}.{cls.declaration.asked.get(column, 'column')}"
        cells = cls._cells(records, column)
        missing = {value.lower() for value in cls.declaration.missing} | {""}
        values = np.full(len(cells), np.nan)
        known = Counter(cell for cell in cells if cell)
        absent = sorted((named or set()) - known.keys())
        if absent and cls.declaration.absent_codes == "refuse":
            raise BadInputError(
                f"{key}: no record has {absent[0]!r} in the column {column}; there are: "
                f"{_listed(known)} (a value that may be absent: absent_codes: allow)"
            )
        for row, cell in enumerate(cells):
            if cell in (named or ()) or cell.lower() not in missing:
                value = read(cell)
                if value is None:
                    record = records["record_id"].iloc[row]
                    raise BadInputError(f"{key}: record {record} has {cell!r}, which is {told}")
                values[row] = value
        return values

    @classmethod
    def _cells(cls, records: pd.DataFrame, column: str) -> Cells:
        """Return the text of a column: of the table, else a measurement or the published split."""
        pairs = zip(records["columns"], records["cells"], strict=True)
        rows = [dict(zip(names, values, strict=True)) for names, values in pairs]
        if any(column in row for row in rows):
            return np.array([whole_number(row.get(column, "")) for row in rows], dtype=object)
        numbers = measurement(records, column)
        if np.isfinite(numbers).any():
            texts = ["" if np.isnan(x) else whole_number(repr(float(x))) for x in numbers]
            return np.array(texts, dtype=object)
        published = [split if split in SPLITS else "" for split in records["split"]]
        if column == "split" and any(published):
            return np.array(published, dtype=object)
        key = cls.declaration.asked.get(column, "column")
        raise BadInputError(f"{cls.where}.{key}: the source's records have no column {column!r}")

    @classmethod
    def _split(cls, records: pd.DataFrame) -> npt.NDArray[np.str_]:
        stated = cls.declaration.split
        if stated.fold:
            fold = records["fold"].astype("float64").to_numpy()
            outer = np.where(np.isin(fold, stated.fold.test), "test", "train")
            dealt = np.where(np.isin(fold, stated.fold.validation), "validation", outer)
            return np.where(np.isnan(fold), "", dealt).astype(np.str_)
        if stated.column:
            cells = [cell.lower() for cell in cls._cells(records, stated.column)]
            missing = {value.lower() for value in cls.declaration.missing} | {""}
            for cell, record in zip(cells, records["record_id"], strict=True):
                if cell not in SPLIT_NAMES and cell not in missing:
                    raise BadInputError(
                        f"{cls.where}.split.column: record {record} has {cell!r}, "
                        f"none of {', '.join(SPLIT_NAMES)}"
                    )
            return np.array([SPLIT_NAMES.get(cell, "") for cell in cells], dtype=np.str_)
        salt = f"ecgscale declared split, seed {stated.seed}"
        return patient_split(records["patient_id"], salt, stated.validation, stated.test)


def declared_tasks(name: str, config: SourceConfig) -> dict[str, type[DeclaredTask]]:
    """Return the tasks that are declared for a source of a study, by their names.

    Parameters
    ----------
    name
        The source's name in the study; the tasks' data set has it.

    Raises
    ------
    BadInputError
        If the reader does not exist, or its options or its description are wrong; the message
        names the file and the key.
    """
    source = sources.get(config.reader)(config.root, config.namespace or name, config.options)
    return {task: _class(task, stated, name, source) for task, stated in source.declared.items()}


def _class(
    name: str, stated: TaskDeclaration, dataset: str, source: Source[Any]
) -> type[DeclaredTask]:
    fields = {
        "__doc__": stated.title or name,
        "__module__": __name__,
        "declaration": stated,
        "where": f"{source.declared_in(name)}: tasks.{name}",
        "metadata": _metadata(name, stated, dataset, source.patient_key),
    }
    return type(DeclaredTask.__name__, (DeclaredTask,), fields)


def _metadata(name: str, stated: TaskDeclaration, dataset: str, patient_key: str) -> TaskMetadata:
    same = ("kind", "minimum_positives", "version", "known_issues", "licence", "citation", "url")
    read = ", ".join(stated.asked) if stated.column or stated.columns else ""
    by_codes = "every record" if stated.unlabelled == "negative" else "records with a label code"
    return TaskMetadata(
        name=name,
        title=stated.title or name.replace("-", " "),
        dataset=dataset,
        labels=_label_list(stated),
        selection_rule=f"records with a value in {read}" if read else by_codes,
        label_rule=_label_rule(stated),
        split_rule=_split_rule(stated.split),
        patient_key=patient_key,
        published_counts={},
        counts_source="own labels",
        unit=stated.unit,
        access=stated.access,
        **{key: getattr(stated, key) for key in same},
    )


def _label_list(stated: TaskDeclaration) -> tuple[Label, ...]:
    if stated.labels:
        return tuple(
            Label(name=name, codes=label.codes, description=label.description or name)
            for name, label in stated.labels.items()
        )
    if stated.columns:
        columns: Mapping[str, str] = stated.columns
        return tuple(
            Label(name=name, codes=(column,), description=f"column {column}")
            for name, column in columns.items()
        )
    name = stated.column or "positive"
    codes = stated.positive or (name,)
    return (Label(name=name, codes=codes, description=stated.title or name),)


def _label_rule(stated: TaskDeclaration) -> str:
    if stated.kind == "regression":
        return f"the number in the column {stated.column}"
    if stated.kind == "multi-class" and stated.column:
        return f"the value of the column {stated.column}"
    if stated.column or stated.columns:
        return f"the label's column is {' or '.join(stated.positive or YES)}"
    return "one of the label's codes is among the record's"


def _split_rule(split: SplitDeclaration) -> str:
    if split.column:
        return f"column {split.column}"
    if split.fold:
        held_out = " and ".join(
            f"{', '.join(map(str, folds))} {name}"
            for name, folds in (("validation", split.fold.validation), ("test", split.fold.test))
        )
        return f"folds {held_out}, the others train"
    return (
        f"dealt by patient, seed {split.seed}: {split.validation:.0%} validation, "
        f"{split.test:.0%} test"
    )


def _filled(
    y: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], str]:
    """Return values with zeros where one is missing, and the rows without a missing one."""
    usable = np.asarray(np.isfinite(y).all(axis=1), dtype=np.bool_)
    return np.nan_to_num(y).astype(np.float32), usable, "with an empty cell"


def _listed(known: Mapping[str, int]) -> str:
    """Return the commonest codes or values with their counts."""
    common = Counter(known).most_common()
    texts = [f"{code} ({count})" for code, count in common[:SHOWN]]
    more = [f"{len(common) - SHOWN} more"] if len(common) > SHOWN else []
    return ", ".join([*texts, *more]) or "none"
