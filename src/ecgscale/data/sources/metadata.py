"""What a table says of the records of a folder, for sources without a published layout."""

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, Field

from ecgscale.data.record import Sex, Split
from ecgscale.data.sources.base import (
    QuarantineError,
    one_line,
    parse_fold,
    parse_likelihoods,
    parse_measurement,
    parse_patient,
    read_table,
    whole_number,
)
from ecgscale.data.sources.demographics import column_unit, parse_age, parse_labels, parse_sex
from ecgscale.errors import BadInputError

Row = dict[str, str]
SPLIT_NAMES: dict[str, Split] = {
    **{"train": "train", "test": "test"},
    **{"val": "validation", "valid": "validation", "validation": "validation"},
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


class MetadataTable(BaseModel, extra="forbid", frozen=True):
    """A table with a row a record: its file and the columns that are read from it."""

    path: Path
    """CSV (``.csv``) or Parquet, relative to the source's folder or absolute."""
    record: str
    """Column with the record's path in the folder, or its file name if that is unique; the suffix
    may be there or not."""
    patient: str | None = None
    """Column with the patient's id; where a cell says that nobody knows (nan, unknown, ...), the
    recording's patient is unknown."""
    age: str | None = None
    """Column with the age, in years where neither it nor its name (age_months) states a unit."""
    sex: str | None = None
    """Column with F, M, Female or Male."""
    labels: str | None = None
    """Column with label codes."""
    label_separator: str | None = Field(default=";", min_length=1)
    """What stands between two codes; None: the text is one code, or a Python dictionary of codes
    with their likelihoods."""
    split: str | None = None
    """Column with train, val (validation) or test."""
    fold: str | None = None
    """Column with a published fold, a whole number."""
    measurements: tuple[str, ...] = ()
    """Columns with numbers that a task may predict."""
    amplitude: str | None = None
    """Column that says what the samples are: mV, or standard deviations ("zscore...")."""
    clipped: str | None = None
    """Column that is true where the recorder cut off the peaks; the record's notes then say so."""
    original: tuple[str, str] | None = None
    """Columns with the samples and the rate (Hz) of the recording that somebody resampled: the
    file must be as long."""
    required: tuple[str, ...] | None = None
    """Which of the columns must be there; default all of them. Of the others no value is known."""

    def rows(self, root: Path, more: Iterable[str] = ()) -> list[Row]:
        """Read the columns as text.

        Parameters
        ----------
        root
            The source's folder.
        more
            Further columns, which are left out where the table lacks them.

        Raises
        ------
        BadInputError
            If the table is missing or cannot be read, or a column is missing.
        """
        path = root / self.path
        own = (self.record, self.patient, self.age, self.sex, self.labels, self.split, self.fold)
        about = (self.amplitude, self.clipped, *(self.original or ()), *self.measurements)
        columns = tuple(name for name in (*own, *about) if name)
        needed = columns if self.required is None else self.required
        parquet = path.suffix == ".parquet"
        rows = _read_parquet(path, needed) if parquet else read_table(path, needed)
        there = [name for name in more if rows and name in rows[0]]
        return [{name: row.get(name, "") for name in (*columns, *there)} for row in rows]

    def describe(self, rows: tuple[Row, ...], patient_pattern: str | None = None) -> "Described":
        """Return what a record's rows say; there must be one.

        Parameters
        ----------
        patient_pattern
            Its first group, matched against the whole column, is the patient; default all of it.

        Raises
        ------
        QuarantineError
            If there is not one row, or a value in it cannot be read (bad-metadata; wrong-rate or
            bad-gain for those that say what the samples are).
        """
        if len(rows) != 1:
            what = f"{len(rows)} rows" if rows else "no row"
            raise QuarantineError("bad-metadata", f"{what} in {self.path}")
        (row,) = rows
        seconds = _seconds(row, *self.original) if self.original else None
        patient = self._patient(row, patient_pattern)
        age, age_notes = self._age(row[self.age], self.age) if self.age else (None, ())
        sex, sex_notes = parse_sex(row[self.sex]) if self.sex else (None, ())
        labels, label_notes = self._codes(row[self.labels]) if self.labels else ({}, ())
        measurements, more = self._measured(row)
        notes = (*age_notes, *sex_notes, *label_notes, *more)
        is_clipped = bool(self.clipped) and row[self.clipped or ""].strip().lower() == "true"
        return Described(
            patient=patient,
            age=age,
            sex=sex,
            labels=labels,
            split=_split(row[self.split], self.split) if self.split else None,
            fold=parse_fold(row[self.fold]) if self.fold else None,
            measurements=measurements,
            unit=_unit(row[self.amplitude], self.amplitude) if self.amplitude else "mV",
            seconds=seconds,
            notes=(*notes, "clipped by the recorder") if is_clipped else notes,
        )

    def _patient(self, row: Row, pattern: str | None) -> str | None:
        if self.patient is None:
            return None
        where = f"{self.path}: {self.patient}"
        patient = parse_patient(row[self.patient], where)
        if pattern is None or patient is None:
            return patient
        match = re.fullmatch(pattern, row[self.patient])
        if not match or not match[1]:
            problem = f"{row[self.patient]!r} does not match {pattern!r}"
            raise QuarantineError("bad-metadata", f"{where} {problem}")
        return parse_patient(match[1], where)

    def _age(self, text: str, column: str) -> tuple[float | None, tuple[str, ...]]:
        unit = column_unit(column)
        if unit is None:
            note = f"ages left out: the column {column!r} does not say whether they are in months"
            return None, (note,)
        age, notes = parse_age(text, unit)
        if unit == "y" or age is None:
            return age, notes
        return age, (*notes, f"ages are not in years, as the column {column!r} says")

    def _measured(self, row: Row) -> tuple[dict[str, float], tuple[str, ...]]:
        values: dict[str, float] = {}
        notes: list[str] = []
        for name in self.measurements:
            value, more = parse_measurement(row[name], name)
            notes += more
            if value is not None:
                values[name] = value
        return values, tuple(notes)

    def _codes(self, text: str) -> tuple[dict[str, float], tuple[str, ...]]:
        if self.label_separator is None and text.strip().startswith("{"):
            return parse_likelihoods(text)
        codes, notes = parse_labels(text, self.label_separator)
        return dict.fromkeys(codes, 100.0), notes


@dataclass(frozen=True)
class Described:
    """What a table says of one record; `patient` is None where the table does not say who it is."""

    patient: str | None = None
    age: float | None = None
    sex: Sex | None = None
    labels: dict[str, float] = field(default_factory=dict)
    split: Split | None = None
    fold: int | None = None
    measurements: dict[str, float] = field(default_factory=dict)
    unit: Literal["mV", "z"] = "mV"
    seconds: float | None = None
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
        if key not in joined and key not in named:
            key = whole_number(key)
        own = named.get(key, [])
        joined.setdefault(own[0] if key not in joined and len(own) == 1 else key, []).append(row)
    return {record: tuple(found) for record, found in joined.items()}


def _read_parquet(path: Path, required: tuple[str, ...]) -> list[Row]:
    """Read a table as rows of text: exact, since an identifier as a float may be another's."""
    import pyarrow.parquet as pq

    if not path.is_file():
        raise BadInputError(f"{path} does not exist")
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            twice = [name for name in names if names.count(name) > 1]
            if twice:
                raise BadInputError(f"{path} names the column {twice[0]!r} twice")
            missing = [name for name in required if name not in names]
            if missing:
                raise BadInputError(f"{path} has no column {missing[0]!r}")
            columns = [_texts(column) for column in file.read().columns]
    except BadInputError:
        raise
    except Exception as error:  # whatever a damaged file makes of Arrow
        raise BadInputError(f"{path} cannot be read as Parquet: {one_line(error)}") from error
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _texts(column: Any) -> list[str]:
    """Return the values of an Arrow column as text, empty where there is none."""
    kind = getattr(column.type, "value_type", column.type)  # of a dictionary
    exact = _EXACT.get(str(kind))
    values = column.to_pylist()
    if exact is None:
        return [_text(value) for value in values]
    digits, narrow = exact
    return [
        ""
        if value is None or math.isnan(value)
        else str(narrow(value))
        if abs(value) < 2**digits or math.isinf(value)
        else f"{value:.17e}"  # that far apart, floats skip whole numbers: see `parse_patient`
        for value in values
    ]


_EXACT: dict[str, tuple[int, Callable[[float], Any]]] = {
    "halffloat": (11, np.float16),
    "float": (24, np.float32),
    "double": (53, float),
}
"""Arrow's floating types: up to which power of 2 whole numbers are exact, and what prints them."""


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode()
    return "" if value is None else str(value)


def _split(text: str, column: str) -> Split | None:
    name = text.strip().lower()
    if name and name not in SPLIT_NAMES:
        raise QuarantineError("bad-metadata", f"{column} is {text!r}, not train, val or test")
    return SPLIT_NAMES.get(name)


def _unit(text: str, column: str) -> Literal["mV", "z"]:
    if text.startswith("zscore"):
        return "z"
    if text == "mV":
        return "mV"
    raise QuarantineError("bad-gain", f"{column} is {text!r}, neither 'mV' nor 'zscore...'")


def _seconds(row: Row, samples: str, rate: str) -> float | None:
    """Return how long a recording was, or None if the table does not say."""
    length, per_second = (parse_measurement(row[name], name)[0] for name in (samples, rate))
    if per_second == 0:
        raise QuarantineError("wrong-rate", f"{rate} is 0")
    return None if length is None or per_second is None else length / per_second
