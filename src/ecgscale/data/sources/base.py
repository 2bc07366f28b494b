"""What every source of ECG recordings supplies, and how a bad recording is set aside."""

import ast
import csv
import io
import math
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from ecgscale.data.record import CLINICAL_FIELDS, Record
from ecgscale.data.sources.declaration import TaskDeclaration, TaskName
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
    "unexpected-error": "reading failed in a way that no check foresaw; the detail has the error",
    "unknown-label": "a label code that is not in the source's vocabulary",
    "unreadable-file": "the operating system does not let a file be read",
    "unreadable-header": "the header is missing, malformed or in a format that is not read",
    "wrong-rate": "the sampling rate is absent, impossible, or contradicts the signal's length",
}
"""Why a record is quarantined, in kebab-case, and what each reason means."""

PATIENT_METADATA = "patient_metadata.csv"
"""Optional table beside a source: `patient_id` and columns of `CLINICAL_FIELDS`."""


LONGEST_DETAIL = 400
"""Characters of a detail that are kept: a damaged file is not quoted whole."""


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
        detail = detail if len(detail) <= LONGEST_DETAIL else f"{detail[:LONGEST_DETAIL]}…"
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class SourceOptions(BaseModel, extra="forbid", frozen=True):
    """Options that every source has; unknown names are an error."""

    flat_leads: Literal["quarantine", "keep"] = "quarantine"
    """What happens to a record with a flat lead; a kept one says so in its notes."""
    tasks: dict[TaskName, TaskDeclaration] = Field(default={})
    """Downstream tasks on the source's own labels."""


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

    `gains` are the steps per mV that the file states for each lead, where it states them; `gain` is
    as in `ecgscale.data.record.Record`.
    """

    signal: npt.NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    notes: tuple[str, ...] = ()
    gains: tuple[float, ...] = ()
    gain: str = ""


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
        """Read one record; whatever goes wrong with it counts against this record alone.

        Raises
        ------
        QuarantineError
            If this record cannot be used.
        BadInputError
            If a file that all records share cannot be used.
        """
        try:
            return self.read(ref)
        except (QuarantineError, BadInputError):
            raise
        except Exception as error:
            raise unexpected(error, self.file_name(ref)) from error

    def file_name(self, ref: R) -> str:
        """Return what messages call the file of a record: the first of `files`, or the record."""
        with suppress(ValueError):  # a name that no file can have
            for path in self.files(ref)[:1]:
                return path.name
        return ref.record_id

    def listed(self) -> list[R]:
        """List the records as `index` does; an error that it does not foresee is one sentence.

        Raises
        ------
        BadInputError
            If they cannot be listed.
        """
        try:
            return self.index()
        except BadInputError:
            raise
        except Exception as error:
            said = f"{type(error).__name__}: {one_line(error)}"
            raise BadInputError(f"source folder {self.root} cannot be listed: {said}") from error

    @property
    def declared(self) -> dict[str, TaskDeclaration]:
        """The downstream tasks that are declared for it."""
        tasks: dict[str, TaskDeclaration] = self.options.tasks
        return tasks

    def declared_in(self, task: str) -> str:
        """Return where a task is declared, for messages."""
        return f"options of the source {self.root}"

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
        for ref in self.listed():
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


def unexpected(error: Exception, name: str) -> QuarantineError:
    """Return what an error that nobody foresaw means for one record.

    Parameters
    ----------
    name
        Of the record's file.
    """
    if isinstance(error, OSError):
        file = os.path.basename(str(error.filename)) if error.filename else name
        return QuarantineError("unreadable-file", f"{file}: {error.strerror or one_line(error)}")
    detail = f"{name}: {type(error).__name__}: {one_line(error)}"
    return QuarantineError("unexpected-error", detail)


def one_line(error: BaseException) -> str:
    """Return what an error says in one line, shortened."""
    return " ".join(str(error).split())[:200] or "no message"


def read_lines(path: Path, errors: str = "strict", encoding: str = "utf-8-sig") -> list[str]:
    """Read the lines of a list or a table that all records share.

    Parameters
    ----------
    path
        The file.
    errors, encoding
        As in `open`.

    Raises
    ------
    BadInputError
        If the file is missing or cannot be read, or a line (which the message states) is not text
        or a mark that git leaves where two versions conflict.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except OSError as error:
        raise BadInputError(f"{path} cannot be read: {error.strerror}") from error
    try:
        text = data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        at = data.count(b"\n", 0, error.start) + 1
        said = f"line {at} is not UTF-8 text (byte 0x{data[error.start]:02x})"
        raise BadInputError(f"{path} cannot be read: {said}") from error
    lines = list(io.StringIO(text, newline=""))
    for number, line in enumerate(lines, start=1):
        if "\0" in line:
            raise BadInputError(f"{path} cannot be read: line {number} has a NUL byte")
        if line.startswith(_CONFLICTS) or line.strip() == "=======":
            raise BadInputError(f"{path} cannot be read: line {number} is a conflict marker of git")
    return lines


_CONFLICTS = ("<<<<<<< ", ">>>>>>> ", "||||||| ")


def read_names(path: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Read a list of records or folders, one a line.

    Names that are not UTF-8 are read as Latin-1 if each of them is then there; else nobody can say
    which records the list means.

    Parameters
    ----------
    suffixes
        What may follow a name for it to be a file.

    Raises
    ------
    BadInputError
        As `read_lines`.
    """
    try:
        lines = read_lines(path)
    except BadInputError:
        lines = read_lines(path, encoding="latin-1")
        strange = [line.strip() for line in lines if not line.isascii()]
        if not strange or not all(
            any(os.path.exists(path.parent / f"{name}{end}") for end in ("", *suffixes))
            for name in strange
        ):
            raise
    return [line.strip() for line in lines if line.strip()]


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
        If the file is missing or not CSV, a required column is missing, a column is named twice, or
        a row has not as many values as there are columns.
    """
    reader = csv.reader(read_lines(path, errors), delimiter=delimiter, strict=True)
    rows = []
    try:
        columns = next(reader, [])
        if not columns:
            raise BadInputError(f"{path} is empty")
        missing = [name for name in required if name not in columns]
        if missing:
            raise BadInputError(f"{path} has no column {missing[0]!r}")
        for name in columns:
            if columns.count(name) > 1 and (name or name in required):
                raise BadInputError(f"{path} names the column {name!r} twice")
        for row in reader:
            if not "".join(row).strip() and len(row) <= 1:
                continue
            if len(row) < len(columns) or any(row[len(columns) :]):
                told = f"line {reader.line_num} has {len(row)} values for {len(columns)} columns"
                raise BadInputError(f"{path} cannot be read as CSV: {told}")
            rows.append(dict(zip(columns, row, strict=False)))
    except csv.Error as error:
        raise BadInputError(
            f"{path} cannot be read as CSV: line {reader.line_num}: {error}"
        ) from error
    return rows


def rows_by_key(rows: list[dict[str, str]], column: str, path: Path) -> dict[str, dict[str, str]]:
    """Return the rows of a table by the identifier in a column.

    Raises
    ------
    BadInputError
        If two different rows have one identifier.
    """
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        key = whole_number(row[column])
        if found.setdefault(key, row) != row:
            raise BadInputError(f"{path} has two different rows with the {column} {key!r}")
    return found


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
    table = read_table(path, ("patient_id",))
    for number, row in enumerate(table, start=2):
        for name, text in row.items():
            if name not in ("patient_id", *CLINICAL_FIELDS):
                raise BadInputError(f"{path} has an unknown column {name!r}")
            try:
                float(text or "nan") if name != "patient_id" else None
            except ValueError as error:
                raise BadInputError(f"{path}, line {number}: {name} is {text!r}") from error
    for patient, row in rows_by_key(table, "patient_id", path).items():
        known = {name: text for name, text in row.items() if text and name != "patient_id"}
        clinical[patient] = {name: float(text) for name, text in known.items()}
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
