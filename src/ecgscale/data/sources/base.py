"""What every source of ECG recordings supplies, and how a bad recording is set aside."""

import ast
import csv
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from ecgscale.data.record import CLINICAL_FIELDS, Record, Sex
from ecgscale.errors import BadInputError
from ecgscale.registry import Registry
from ecgscale.settings import first_problem

REASONS: dict[str, str] = {
    "bad-gain": "no gain, a zero or non-finite gain, no voltage unit, or an impossible amplitude",
    "bad-metadata": "the record's row in the source's table cannot be read",
    "checksum-mismatch": "the samples do not add up to the checksum in the header",
    "duplicate-record": "an earlier record has the same id or the same samples",
    "flat-lead": "a lead keeps one value for nine tenths of the recording or longer",
    "missing-lead": "a lead that the recipe asks for is not there",
    "missing-signal-file": "the signal file is not there",
    "nan-samples": "a sample is marked invalid or is not a number",
    "path-traversal": "a file is named that lies outside the record's own folder",
    "repeated-lead": "a lead is named twice, by the file or by lead_names",
    "too-short": "shorter than the recipe's minimum_seconds",
    "truncated-signal": "the signal file ends before the stated number of samples",
    "unknown-label": "a label code that is not in the source's vocabulary",
    "unreadable-file": "the operating system does not let a file be read",
    "unreadable-header": "the header is missing, malformed or in a format that is not read",
    "wrong-rate": "the sampling rate is absent, impossible, or contradicts the signal's length",
}
"""Why a record is quarantined, in kebab-case, and what each reason means."""

PATIENT_METADATA = "patient_metadata.csv"
"""Optional table beside a source: `patient_id` and columns of `CLINICAL_FIELDS`."""

OLDEST = 90.0
"""Age that stands for every age above 89, which publishers hide."""


class QuarantineError(Exception):
    """One record cannot be used; the others can.

    Parameters
    ----------
    reason
        A key of `REASONS`.
    detail
        What was found, naming the file, field or code.
    """

    def __init__(self, reason: str, detail: str) -> None:
        if reason not in REASONS:
            raise ValueError(f"{reason!r} is not a quarantine reason")
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class SourceOptions(BaseModel, extra="forbid", frozen=True):
    """Options that every source has; unknown names are an error."""

    flat_leads: Literal["quarantine", "keep"] = "quarantine"
    """What happens to a record with a flat lead; a kept one says so in its notes."""


@dataclass(frozen=True)
class Ref:
    """Where one record is found; cheap, and picklable, so that workers can read it.

    Attributes
    ----------
    record_id
        Unique within the source, unless the source repeats a record.
    """

    record_id: str


@dataclass(frozen=True)
class Decoded:
    """What a file of signals holds: shape (lead, time) in mV, float32; NaN: nothing recorded.

    `gains` are the steps per mV that the file states for each lead, where it states them.
    """

    signal: npt.NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    notes: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()


R = TypeVar("R", bound=Ref)


class Source(Generic[R]):
    """A data set in its published layout.

    Parameters
    ----------
    root
        The folder as published.
    namespace
        Prefix of patient ids; sources that share patients share it.
    options
        The source's own options, checked against `Options`.

    Attributes
    ----------
    Options
        The typed options.
    leads
        The leads that every record has, where those are fewer than the standard 12 (a patch, a
        Holter); None for all that the recipe asks for. Other leads of a recipe are read as zero.
    title, licence, access, unit, patient_key, citation, url
        What it is, how it may be used ("open", "registered" or "credentialed" access), the unit
        of its signals, which published field identifies a patient, and where it comes from.

    Raises
    ------
    BadInputError
        If an option is unknown or out of range.
    """

    Options: ClassVar[type[SourceOptions]] = SourceOptions
    leads: tuple[str, ...] | None = None
    title: ClassVar[str]
    licence: ClassVar[str]
    access: ClassVar[Literal["open", "registered", "credentialed"]]
    unit: ClassVar[str]
    patient_key: ClassVar[str]
    citation: ClassVar[str]
    url: ClassVar[str]

    def __init__(self, root: Path, namespace: str, options: dict[str, Any] | None = None) -> None:
        self.root = Path(root)
        self.namespace = namespace
        try:
            self.options: Any = self.Options(**(options or {}))
        except ValidationError as error:
            raise BadInputError(f"options of the source {root}: {first_problem(error)}") from error

    def index(self) -> list[R]:
        """List every record there should be, good or bad, in a fixed order.

        Raises
        ------
        BadInputError
            If the folder is absent, has no records, or lacks a table that all records need.
        """
        raise NotImplementedError

    def read(self, ref: R) -> Record:
        """Read one record, as published, in mV.

        Raises
        ------
        QuarantineError
            If this record cannot be used.
        BadInputError
            If a file that all records share cannot be used.
        """
        raise NotImplementedError

    def load(self, ref: R) -> Record:
        """Read one record; what the operating system refuses counts against the record.

        Raises
        ------
        QuarantineError
            If this record cannot be used.
        """
        try:
            return self.read(ref)
        except OSError as error:
            name = os.path.basename(error.filename or "")
            raise QuarantineError("unreadable-file", f"{name}: {error.strerror}") from error

    def files(self, ref: R) -> list[Path]:
        """Return the files that belong to one record."""
        return []

    def tables(self) -> list[Path]:
        """Return the files that all records share."""
        return []

    def iter_records(
        self, quarantined: dict[str, QuarantineError] | None = None
    ) -> Iterator[Record]:
        """Yield every usable record.

        Parameters
        ----------
        quarantined
            Filled with the bad records, by record id; without it the first one is raised.

        Raises
        ------
        QuarantineError
            At the first bad record, if `quarantined` is not given.
        """
        for ref in self.index():
            try:
                record = self.load(ref)
            except QuarantineError as error:
                if quarantined is None:
                    raise
                quarantined[ref.record_id] = error
            else:
                yield record

    @cached_property
    def clinical(self) -> dict[str, dict[str, float]]:
        """Patient id (without the namespace) to clinical fields; see `read_clinical`."""
        return read_clinical(self.root)

    @property
    def patient_table(self) -> Path:
        """Where the optional ``patient_metadata.csv`` lies."""
        return self.root / PATIENT_METADATA

    def named_file(self, name: str, table: str, others: tuple[str, ...] = ()) -> Path:
        """Return a record's file that a table names.

        Parameters
        ----------
        name, table
            The file's path in the source's folder, and the table.
        others
            Suffixes of files that may be there in its stead: what is wrong then shows on reading.

        Raises
        ------
        QuarantineError
            If it lies outside the source's folder (path-traversal), or is not there
            (missing-signal-file).
        """
        path = self.root / name
        if not is_inside(self.root, path):
            raise QuarantineError("path-traversal", f"{table} names the file {name!r}")
        if not any(each.is_file() for each in (path, *map(path.with_suffix, others))):
            raise QuarantineError("missing-signal-file", f"{name} does not exist")
        return path

    def require_root(self) -> None:
        """Check that the folder is there.

        Raises
        ------
        BadInputError
            If it is not.
        """
        if not self.root.is_dir():
            raise BadInputError(f"source folder {self.root} does not exist")


sources: Registry[Source[Any]] = Registry(
    "source", "ecgscale.datasets", "reader", describer="ecgscale.data.sources.folder"
)


def is_inside(folder: Path, path: Path) -> bool:
    """Whether `path`, with every link followed, lies in `folder` or below it."""
    try:
        return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))
    except ValueError:
        return False


def read_table(
    path: Path, required: tuple[str, ...], delimiter: str = ",", errors: str = "strict"
) -> list[dict[str, str]]:
    """Read a CSV table as rows of text.

    Text, because one bad value must cost one record and not the table; absent values are empty.

    Parameters
    ----------
    path
        The file, UTF-8.
    required
        Columns that must be there.
    delimiter
        What stands between values.
    errors
        What becomes of bytes that are not UTF-8, as in `open`.

    Raises
    ------
    BadInputError
        If the file is missing or not CSV, or a required column is.
    """
    try:
        with path.open(encoding="utf-8-sig", errors=errors, newline="") as file:
            reader = csv.DictReader(file, delimiter=delimiter)
            missing = [name for name in required if name not in (reader.fieldnames or ())]
            if missing:
                raise BadInputError(f"{path} has no column {missing[0]!r}")
            return [{key: row[key] or "" for key in reader.fieldnames or ()} for row in reader]
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(f"{path} cannot be read as CSV: {error}") from error


def read_clinical(root: Path) -> dict[str, dict[str, float]]:
    """Read the optional ``patient_metadata.csv``: patient id to clinical fields.

    Raises
    ------
    BadInputError
        If a column is not a clinical field or a value is not a number.
    """
    path = root / PATIENT_METADATA
    if not path.is_file():
        return {}
    clinical = {}
    for number, row in enumerate(read_table(path, ("patient_id",)), start=2):
        patient = whole_number(row.pop("patient_id"))
        for name, text in row.items():
            if name not in CLINICAL_FIELDS:
                raise BadInputError(f"{path} has an unknown column {name!r}")
            try:
                float(text or "nan")
            except ValueError as error:
                raise BadInputError(f"{path}, line {number}: {name} is {text!r}") from error
        clinical[patient] = {name: float(text) for name, text in row.items() if text}
    return clinical


def whole_number(text: str) -> str:
    """Return an identifier without the ".0" that spreadsheets add to whole numbers."""
    return text.strip().removesuffix(".0")


def parse_number(text: str) -> float | None:
    """Return a number, or None where the text is no finite one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


PRESSURE_RANGE = (20.0, 300.0)
"""mmHg outside which a number is no blood pressure (an assumption of this project)."""


def parse_pressure(text: str) -> float | None:
    """Return a blood pressure in mmHg, or None where the text is none."""
    value = parse_number(text)
    return value if value and PRESSURE_RANGE[0] <= value <= PRESSURE_RANGE[1] else None


def window_starts(samples: int, step: int, windows: int) -> list[int]:
    """Return where whole windows of `step` samples start, one after the other; at least the 0."""
    return [0, *range(step, samples - step + 1, step)][:windows]


def parse_fold(text: str) -> int | None:
    """Return a published fold, or None where there is none.

    Raises
    ------
    QuarantineError
        If it is not a whole number (reason bad-metadata).
    """
    try:
        return int(whole_number(text)) if text.strip() else None
    except ValueError:
        raise QuarantineError("bad-metadata", f"the fold is {text!r}") from None


_NOT_A_DICT = (
    *(ValueError, SyntaxError, AttributeError, TypeError),
    *(OverflowError, MemoryError, RecursionError),
)


def parse_likelihoods(text: str) -> dict[str, float]:
    """Return label codes with their likelihoods from a Python dict written as text.

    Raises
    ------
    QuarantineError
        If it is not one (reason bad-metadata).
    """
    try:
        return {str(code): float(value) for code, value in ast.literal_eval(text).items()}
    except _NOT_A_DICT:
        raise QuarantineError("bad-metadata", f"the labels are {text[:80]!r}") from None


def parse_age(text: str) -> tuple[float | None, tuple[str, ...]]:
    """Return the age in years, or None, and notes on what was assumed.

    PTB-XL writes 300 for every age above 89 (Wagner et al. 2020); it is read as 90.
    """
    text = text.strip()
    if text.lower() in ("", "nan", "unknown"):
        return None, ()
    try:
        age = float(text)
    except ValueError:
        age = math.nan
    if age == 300:
        return OLDEST, ("age 300 stands for above 89 and is read as 90",)
    if 0 <= age <= 120:
        return age, ()
    return None, (f"impossible age {text[:20]!r} left out",)


def parse_sex(text: str) -> Sex | None:
    """Return "F" or "M" for the spellings in use (Female, F, Male, M), else None."""
    return {"f": "F", "female": "F", "m": "M", "male": "M"}.get(text.strip().lower())  # type: ignore[return-value]
