"""What a table says of the records of a folder, for sources without a published layout."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ecgscale.data.record import Sex, Split
from ecgscale.data.sources.base import (
    QuarantineError,
    parse_age,
    parse_sex,
    read_table,
    whole_number,
)
from ecgscale.errors import BadInputError

Row = dict[str, str]
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def _has_a_group(pattern: str) -> str:
    try:
        groups = re.compile(pattern).groups
    except re.error as error:
        raise ValueError(f"{pattern!r} is not a regular expression: {error}") from error
    if groups < 1:
        raise ValueError(f"{pattern!r} has no group")
    return pattern


GroupPattern = Annotated[str, AfterValidator(_has_a_group)]
"""A regular expression whose first group is what is looked for."""


def first_group(pattern: str, text: str) -> str:
    """Return the first group of a pattern's first match in a text; empty if there is none."""
    match = re.search(pattern, text)
    return (match[1] or "").strip() if match else ""


class MetadataTable(BaseModel):
    """A table with a row a record: its file and the columns that are read from it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    """CSV (``.csv``) or Parquet, relative to the source's folder or absolute."""
    record: str
    """Column with the record's path in the folder, or its file name if that is unique; the suffix
    may be there or not."""
    patient: str | None = None
    """Column with the patient's id; without it every record is its own patient."""
    age: str | None = None
    """Column with the age in years."""
    sex: str | None = None
    """Column with F, M, Female or Male."""
    labels: str | None = None
    """Column with label codes."""
    label_separator: str = Field(default=";", min_length=1)
    """What stands between two codes."""
    split: str | None = None
    """Column with train, val (validation) or test."""
    measurements: tuple[str, ...] = ()
    """Columns with numbers that a task may predict."""

    def rows(self, root: Path) -> list[Row]:
        """Read the columns as text.

        Raises
        ------
        BadInputError
            If the table is missing or cannot be read, or a column is missing.
        """
        path = root / self.path
        names = (self.record, self.patient, self.age, self.sex, self.labels, self.split)
        columns = (*(name for name in names if name), *self.measurements)
        rows = _read_parquet(path, columns) if path.suffix == ".parquet" else None
        rows = read_table(path, columns) if rows is None else rows
        return [{name: row[name] for name in columns} for row in rows]

    def describe(self, rows: tuple[Row, ...]) -> "Described":
        """Return what a record's rows say; there must be one.

        Raises
        ------
        QuarantineError
            If there is not, or a value in it cannot be read (bad-metadata).
        """
        if len(rows) != 1:
            raise QuarantineError("bad-metadata", f"{len(rows)} rows in {self.path}")
        (row,) = rows
        patient = whole_number(row[self.patient]) if self.patient else None
        if patient == "":
            raise QuarantineError("bad-metadata", f"{self.patient} is empty in {self.path}")
        age, notes = parse_age(row[self.age]) if self.age else (None, ())
        codes = row[self.labels].split(self.label_separator) if self.labels else []
        return Described(
            patient=patient,
            age=age,
            sex=parse_sex(row[self.sex]) if self.sex else None,
            labels={code.strip(): 100.0 for code in codes if code.strip()},
            split=_split(row[self.split], self.split) if self.split else None,
            measurements={
                name: _number(row[name], name) for name in self.measurements if row[name].strip()
            },
            notes=notes,
        )


@dataclass(frozen=True)
class Described:
    """What a table says of one record; `patient` is None where the table has no such column."""

    patient: str | None = None
    age: float | None = None
    sex: Sex | None = None
    labels: dict[str, float] | None = None
    split: Split | None = None
    measurements: dict[str, float] | None = None
    notes: tuple[str, ...] = ()


def join(
    rows: Iterable[Row], column: str, records: Iterable[str], suffixes: tuple[str, ...]
) -> dict[str, tuple[Row, ...]]:
    """Give every record its rows.

    Parameters
    ----------
    rows
        Of the table.
    column
        Names the record: its id, or the last part of it where only one record has that.
    records
        Ids: paths without suffix.
    suffixes
        What may follow the id in the table.

    Returns
    -------
    Record id to its rows, in the order of `records`; rows of no record follow under the id that
    they name.
    """
    joined: dict[str, list[Row]] = {record: [] for record in records}
    named: dict[str, list[str]] = {}
    for record in joined:
        named.setdefault(PurePosixPath(record).name, []).append(record)
    for row in rows:
        key = row[column].strip().removeprefix("./")
        suffix = next((end for end in suffixes if key.endswith(end)), "")
        key = key.removesuffix(suffix)
        own = named.get(key, [])
        joined.setdefault(own[0] if key not in joined and len(own) == 1 else key, []).append(row)
    return {record: tuple(found) for record, found in joined.items()}


def _read_parquet(path: Path, columns: tuple[str, ...]) -> list[Row]:
    import pandas as pd

    try:
        table = pd.read_parquet(path)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, ValueError) as error:
        raise BadInputError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise BadInputError(f"{path} has no column {missing[0]!r}")
    text = [
        [
            "" if absent else str(value)
            for value, absent in zip(table[n], table[n].isna(), strict=True)
        ]
        for n in columns
    ]
    return [dict(zip(columns, values, strict=True)) for values in zip(*text, strict=True)]


def _split(text: str, column: str) -> Split | None:
    name = text.strip().lower()
    if name and name not in SPLIT_NAMES:
        raise QuarantineError("bad-metadata", f"{column} is {text!r}, not train, val or test")
    return SPLIT_NAMES.get(name)


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise QuarantineError("bad-metadata", f"{column} is {text!r}, not a number") from None
