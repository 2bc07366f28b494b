"""What every source of ECG recordings supplies, and how a bad recording is set aside."""

import ast
import csv
import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from ecgscale.data.record import (
    CLINICAL_FIELDS,
    CLINICAL_RANGES,
    UNKNOWN_PATIENT,
    Record,
    unknown_patient,
)
from ecgscale.data.sources.declaration import TaskDeclaration, TaskName
from ecgscale.data.sources.demographics import is_unknown
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

        What no person can have is left out with a note, whichever table it came from: clinical
        values and measurements that are not finite or out of `CLINICAL_RANGES`, and a patient
        whose id says that nobody knows.

        Raises
        ------
        QuarantineError
            If this record cannot be used.
        BadInputError
            If a file that all records share cannot be used.
        """
        try:
            return _plausible(self.read(ref), self.namespace)
        except (QuarantineError, BadInputError):
            raise
        except Exception as error:
            raise unexpected(error, self.file_name(ref)) from error

    def patient_id(self, patient: str | None, recording: str) -> str:
        """Return a record's `patient_id`.

        Parameters
        ----------
        patient
            As `parse_patient` returns it; None: nobody knows.
        recording
            What stands for the patient then: all windows of a recording are of one.
        """
        if patient is None:
            return unknown_patient(self.namespace, recording)
        return f"{self.namespace}:{patient}"

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
                float(text) if name != "patient_id" and not is_unknown(text) else None
            except ValueError as error:
                raise BadInputError(f"{path}, line {number}: {name} is {text!r}") from error
    named = [row for row in table if not is_unknown(row["patient_id"])]
    for patient, row in rows_by_key(named, "patient_id", path).items():
        known = {name: text for name, text in row.items() if name in CLINICAL_FIELDS}
        clinical[patient] = {
            name: float(text) for name, text in known.items() if not is_unknown(text)
        }
    return clinical


def _plausible(record: Record, namespace: str) -> Record:
    """Leave out what no person can have; the notes say what."""
    notes = []
    patient, who = record.patient_id, record.patient_id.removeprefix(f"{namespace}:")
    if UNKNOWN_PATIENT not in patient and is_unknown(who):
        patient = unknown_patient(namespace, record.record_id)
        notes.append(f"patient {who!r} is nobody, left out")
    clinical = dict(record.clinical)
    for name, value in record.clinical.items():
        low, high = CLINICAL_RANGES[name]
        if not low <= value <= high or (name in _YES_OR_NO and value not in (0, 1)):
            del clinical[name]
            notes += [] if math.isnan(value) else [f"impossible {name} {value:g} left out"]
    if "sbp" in clinical and "dbp" in clinical and clinical["sbp"] <= clinical["dbp"]:
        told = f"sbp {clinical.pop('sbp'):g} is not above dbp {clinical.pop('dbp'):g}"
        notes.append(f"{told}, both left out")
    measurements = {
        name: value for name, value in record.measurements.items() if math.isfinite(value)
    }
    for name in record.measurements.keys() - measurements.keys():
        value = record.measurements[name]
        notes += [] if math.isnan(value) else [f"impossible {name} {value:g} left out"]
    if (patient, clinical, measurements) == (
        record.patient_id,
        record.clinical,
        record.measurements,
    ):
        return record
    return replace(
        record,
        patient_id=patient,
        clinical=clinical,
        measurements=measurements,
        notes=(*record.notes, *sorted(notes)),
    )


_YES_OR_NO = ("smoker", "diabetes")


def whole_number(text: str) -> str:
    """Return an identifier without the ".0" that spreadsheets add to whole numbers.

    Examples
    --------
    >>> whole_number("7.0"), whole_number("007"), whole_number("1.2.0")
    ('7', '007', '1.2.0')
    """
    text = text.strip()
    return text.partition(".")[0] if _SPREADSHEET.fullmatch(text) else text


_SPREADSHEET = re.compile(r"[-+]?\d+\.0+", re.ASCII)


def parse_patient(text: str, column: str) -> str | None:
    """Return who the patient is, or None where the text says that nobody knows.

    So does a number that a spreadsheet has rounded ("1.23E+15"), since several patients may have
    it, and -1, -9, -99 and the like, which statistics programs write for a missing value.

    Parameters
    ----------
    text
        A cell, or what a pattern found in it.
    column
        Where it stands, for the message.

    Raises
    ------
    QuarantineError
        If it is empty (bad-metadata): the row breaks off.

    Examples
    --------
    >>> parse_patient("7.0", "pid"), parse_patient("007", "pid"), parse_patient("NaN", "pid")
    ('7', '007', None)
    """
    patient = whole_number(text)
    if not patient:
        raise QuarantineError("bad-metadata", f"{column} is empty")
    return None if is_unknown(patient) or _NOBODY.fullmatch(patient) else patient


_NOBODY = re.compile(
    r"-(1|9+)|\d+\.\d*e\+?\d+|\d+e\+\d+|x+|anon(ymous|ymi[sz]ed)?|withheld|redacted|de-?identified",
    re.IGNORECASE,
)


def parse_number(text: str, limits: tuple[float, float] = (-math.inf, math.inf)) -> float | None:
    """Return a number within closed limits, or None where the text is no such finite one."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and limits[0] <= value <= limits[1] else None


def parse_measurement(
    text: str, name: str, limits: tuple[float, float] = (-math.inf, math.inf)
) -> tuple[float | None, tuple[str, ...]]:
    """Return a number that a table states, and a note where it is left out.

    Parameters
    ----------
    text
        The cell; one that says nothing is None without a note.
    name
        Of the column, for the note.
    limits
        Lowest and highest possible value.

    Raises
    ------
    QuarantineError
        If it is no number (bad-metadata).

    Examples
    --------
    >>> parse_measurement("55", "lvef"), parse_measurement("inf", "lvef")
    ((55.0, ()), (None, ("impossible lvef 'inf' left out",)))
    """
    if is_unknown(text):
        return None, ()
    value = parse_number(text, limits)
    if value is None:
        try:
            float(text)
        except ValueError:
            detail = f"{name} is {text[:40]!r}, not a number"
            raise QuarantineError("bad-metadata", detail) from None
        return None, (f"impossible {name} {text.strip()[:20]!r} left out",)
    return value, ()


def parse_pressure(text: str) -> float | None:
    """Return a blood pressure in mmHg, or None where the text is none."""
    return parse_number(text, CLINICAL_RANGES["sbp"])


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


def parse_likelihoods(text: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return label codes with their likelihoods from a Python dict written as text, and notes.

    Returns
    -------
    Code to percent, and a note on each code that says nothing ("nan"), which is left out.

    Raises
    ------
    QuarantineError
        If it is not one, states a code twice or a likelihood that is not in 0 to 100 (reason
        bad-metadata).
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        if not isinstance(tree, ast.Dict):
            raise TypeError(f"{type(tree).__name__} is no dict")
        stated: dict[Any, Any] = ast.literal_eval(tree)
        codes = [str(code).strip() for code in stated]
        values = [math.nan if isinstance(x, bool) else float(x) for x in stated.values()]
        repeated = len(tree.keys) != len(set(codes))
    except _NOT_A_DICT:
        raise QuarantineError("bad-metadata", f"the labels are {text[:80]!r}") from None
    if repeated:
        raise QuarantineError("bad-metadata", f"a label is stated twice: {text[:80]!r}")
    likelihoods = dict(zip(codes, values, strict=True))
    for code, value in likelihoods.items():
        if not 0 <= value <= 100:
            said = f"the likelihood of {code} is not in 0 to 100: {text[:80]!r}"
            raise QuarantineError("bad-metadata", said)
    left = [code for code in codes if is_unknown(code)]
    known = {code: value for code, value in likelihoods.items() if code not in left}
    return known, tuple(f"label {code!r} left out" for code in left)
