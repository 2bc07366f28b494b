"""What a table says of the records of a folder, for sources without a published layout."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

from ecgscale.data.record import Sex, Split
from ecgscale.data.sources.base import (
    QuarantineError,
    one_line,
    parse_fold,
    parse_likelihoods,
    read_table,
    whole_number,
)
from ecgscale.data.sources.demographics import parse_age, parse_labels, parse_sex
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
    """Column with the patient's id."""
    age: str | None = None
    """Column with the age, in years where it states no unit."""
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
        age, age_notes = parse_age(row[self.age]) if self.age else (None, ())
        sex, sex_notes = parse_sex(row[self.sex]) if self.sex else (None, ())
        labels, label_notes = self._codes(row[self.labels]) if self.labels else ({}, ())
        notes = (*age_notes, *sex_notes, *label_notes)
        is_clipped = bool(self.clipped) and row[self.clipped or ""].strip().lower() == "true"
        return Described(
            patient=patient,
            age=age,
            sex=sex,
            labels=labels,
            split=_split(row[self.split], self.split) if self.split else None,
            fold=parse_fold(row[self.fold]) if self.fold else None,
            measurements={
                name: _number(row[name], name) for name in self.measurements if row[name].strip()
            },
            unit=_unit(row[self.amplitude], self.amplitude) if self.amplitude else "mV",
            seconds=seconds,
            notes=(*notes, "clipped by the recorder") if is_clipped else notes,
        )

    def _patient(self, row: Row, pattern: str | None) -> str | None:
        if self.patient is None:
            return None
        text = row[self.patient]
        match = re.fullmatch(pattern or "(?s)(.*)", text)
        patient = whole_number(match[1] or "") if match else ""
        if not patient:
            problem = f"{text!r} does not match {pattern!r}" if pattern else "is empty"
            raise QuarantineError("bad-metadata", f"{self.patient} {problem} in {self.path}")
        return patient

    def _codes(self, text: str) -> tuple[dict[str, float], tuple[str, ...]]:
        if self.label_separator is None and text.startswith("{"):
            return parse_likelihoods(text), ()
        codes, notes = parse_labels(text, self.label_separator)
        return dict.fromkeys(codes, 100.0), notes


@dataclass(frozen=True)
class Described:
    """What a table says of one record; `patient` is None where the table has no such column."""

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
        own = named.get(key, [])
        joined.setdefault(own[0] if key not in joined and len(own) == 1 else key, []).append(row)
    return {record: tuple(found) for record, found in joined.items()}


def _read_parquet(path: Path, required: tuple[str, ...]) -> list[Row]:
    import pandas as pd

    if not path.is_file():
        raise BadInputError(f"{path} does not exist")
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # whatever a damaged file makes of Arrow
        raise BadInputError(f"{path} cannot be read as Parquet: {one_line(error)}") from error
    twice = table.columns[table.columns.duplicated()]
    if len(twice):
        raise BadInputError(f"{path} names the column {twice[0]!r} twice")
    missing = [name for name in required if name not in table.columns]
    if missing:
        raise BadInputError(f"{path} has no column {missing[0]!r}")
    known = table.astype(object).where(table.notna(), "").astype(str)
    names = known.columns.tolist()
    return [dict(zip(names, row, strict=True)) for row in known.itertuples(index=False, name=None)]


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
    try:
        seconds = float(row[samples] or "nan") / float(row[rate] or "nan")
    except ValueError:
        raise QuarantineError("bad-metadata", f"{samples} or {rate} is not a number") from None
    except ZeroDivisionError:
        raise QuarantineError("wrong-rate", f"{rate} is 0") from None
    return None if math.isnan(seconds) else seconds


def _number(text: str, column: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise QuarantineError("bad-metadata", f"{column} is {text!r}, not a number") from None
