"""Any folder of WFDB records: HEEDB, CinC 2011 and whatever else PhysioNet has.

What is public of HEEDB (bdsp.io/content/heedb, version 4.0, and code that reads it): 10 s at 250 or
500 Hz, 12 leads, one ``.hea`` a record with a MATLAB-4 ``.mat`` file (institution I0001) or a
``.dat`` file (I0006), and a ``metadata.csv`` with the columns FileName and BDSPPatientID::

    table: {path: metadata.csv, record: FileName, patient: BDSPPatientID}

CinC 2011 (its HEADER pages, and code that reads it): ``set-a/`` and ``set-b/`` hold ``.hea``,
``.dat`` and ``.txt`` (the samples as CSV) of 10 s at 500 Hz, and a RECORDS; ``set-a/`` also
RECORDS-acceptable and RECORDS-unacceptable. The last line of a header has age and sex, 0 for an
unknown age, 90 above 89::

    label_lists:
      set-a/RECORDS-acceptable: quality:acceptable
      set-a/RECORDS-unacceptable: quality:unacceptable
    unknown_ages: [0]
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data import wfdb16
from ecgscale.data.record import Record, canonical_lead
from ecgscale.data.sources.base import (
    PATIENT_METADATA,
    QuarantineError,
    Ref,
    Source,
    SourceOptions,
    is_inside,
    parse_age,
    parse_sex,
    read_clinical,
    sources,
)
from ecgscale.data.sources.metadata import (
    Described,
    GroupPattern,
    MetadataTable,
    Row,
    first_group,
    join,
)
from ecgscale.errors import BadInputError

SUFFIXES = (".hea", ".mat", ".dat")
RECORDS = "RECORDS"


class WfdbTreeOptions(SourceOptions):
    """Which records there are, whose they are, and what is known of them."""

    leads: tuple[str, ...] | None = None
    """The leads that every record has, where those are not the standard 12."""
    lead_names: dict[str, str] = Field(default={})
    """Names in the headers to names of standard leads ({"MLII": "II"})."""
    patient_pattern: GroupPattern | None = None
    """Its first group, searched in the record's path without suffix, is the patient."""
    table: MetadataTable | None = None
    """A table with a row a record; rows of records that are not there are passed over."""
    age_pattern: GroupPattern = r"(?i)\bage\W+(\d+(?:\.\d+)?)"
    """Its first group, searched in the header's comments, is the age."""
    sex_pattern: GroupPattern = r"(?i)\b(?:sex|gender)\W+([a-z]+)"
    """Its first group, searched in the header's comments, is the sex."""
    label_pattern: GroupPattern = r"(?im)^#\s*Dx:(.*)$"
    """Its first group, searched in the header's comments, has the label codes."""
    label_separator: str = Field(default=",", min_length=1)
    """What stands between two codes in a comment."""
    label_lists: dict[str, str] = Field(default={})
    """Files that list records (relative to the folder) to the label of those records."""
    unknown_ages: tuple[float, ...] = ()
    """Ages that stand for an unknown age."""
    window_seconds: float = Field(default=10.0, gt=0)
    windows: int = Field(default=1, ge=1)
    """Most windows of a record, one after the other from its start."""


@dataclass(frozen=True)
class WfdbTreeRef(Ref):
    """A window of a record: its path without suffix, its labels from lists, its rows."""

    path: str
    start: int
    labels: tuple[str, ...]
    rows: tuple[Row, ...]


@sources.register("wfdb-tree")
class WfdbTree(Source[WfdbTreeRef]):
    """Records named by the folder's RECORDS, or else every header below it."""

    Options: ClassVar[type[SourceOptions]] = WfdbTreeOptions
    title = "Folder of WFDB records"
    licence = "as the publisher of the records says"
    access = "open"
    unit = "mV"
    patient_key = "the option patient_pattern or table.patient; else every record is its own"
    citation = "as the publisher of the records says; format: Goldberger et al., Circulation (2000)"
    url = "https://physionet.org/physiotools/wag/header-5.htm"

    def __init__(self, root: Path, namespace: str, options: dict[str, Any] | None = None) -> None:
        super().__init__(root, namespace, options)
        self.leads = self.options.leads

    def index(self) -> list[WfdbTreeRef]:
        """List the windows of every record, in the order of RECORDS or sorted by path.

        Headers are only read if more than one window of a record is asked for.
        """
        self.require_root()
        listed = (self.root / RECORDS).is_file()
        paths = _listed(self.root, RECORDS) if listed else _found(self.root)
        labels: dict[str, list[str]] = {}
        for name, label in self.options.label_lists.items():
            for path in _listed(self.root, name):
                labels.setdefault(path, []).append(label)
        rows = self._rows(paths)
        if not rows:
            raise BadInputError(f"source folder {self.root} has no WFDB records (.hea)")
        return [
            WfdbTreeRef(f"{path}:{start}", path, start, tuple(labels.get(path, ())), own)
            for path, own in rows.items()
            for start in self._starts(path)
        ]

    def read(self, ref: WfdbTreeRef) -> Record:
        """Read one window."""
        table = self.options.table
        known = table.describe(ref.rows) if table else Described()
        header = self.root / f"{ref.path}.hea"
        found = read_wfdb(self.root, header, ref.start, self.options.window_seconds)
        text = _comments(header)
        age, age_notes = self._age(text, known)
        patient = self._patient(ref.path, known)
        return Record(
            record_id=ref.record_id,
            patient_id=f"{self.namespace}:{patient}",
            signal=found.signal,
            fs=found.fs,
            leads=tuple(self._lead(name) for name in found.leads),
            age=age,
            sex=known.sex or parse_sex(first_group(self.options.sex_pattern, text)),
            labels=self._labels(text, ref, known),
            split=known.split,
            clinical=self._clinical.get(patient, {}),
            measurements=known.measurements or {},
            notes=(*found.notes, *age_notes),
        )

    def files(self, ref: WfdbTreeRef) -> list[Path]:
        """Return the header and the signal files of the same name."""
        return [self.root / f"{ref.path}{suffix}" for suffix in SUFFIXES]

    def tables(self) -> list[Path]:
        """Return the lists and tables."""
        own = [self.options.table.path] if self.options.table else []
        names = (RECORDS, *self.options.label_lists, *own, PATIENT_METADATA)
        return [self.root / name for name in names]

    @cached_property
    def _clinical(self) -> dict[str, dict[str, float]]:
        return read_clinical(self.root)

    def _rows(self, paths: list[str]) -> dict[str, tuple[Row, ...]]:
        table = self.options.table
        if table is None:
            return dict.fromkeys(paths, ())
        joined = join(table.rows(self.root), table.record, paths, SUFFIXES)
        return {path: joined[path] for path in paths}

    def _starts(self, path: str) -> list[int]:
        """List where the windows of a record start; of one that cannot be read, the first."""
        if self.options.windows > 1:
            with suppress(QuarantineError):
                fs, samples = wfdb_length(self.root, self.root / f"{path}.hea")
                step = round(self.options.window_seconds * fs)
                return [0, *range(step, samples - step + 1, step)][: self.options.windows]
        return [0]

    def _lead(self, name: str) -> str:
        return canonical_lead(self.options.lead_names.get(name, name))

    def _patient(self, path: str, known: Described) -> str:
        if known.patient is not None:
            return known.patient
        if self.options.patient_pattern is None:
            return path
        patient = first_group(self.options.patient_pattern, path)
        if not patient:
            raise QuarantineError("bad-metadata", f"patient_pattern finds nobody in {path!r}")
        return patient

    def _age(self, text: str, known: Described) -> tuple[float | None, tuple[str, ...]]:
        age, notes = known.age, known.notes
        if age is None:
            age, more = parse_age(first_group(self.options.age_pattern, text))
            notes = (*notes, *more)
        return (None if age in self.options.unknown_ages else age), notes

    def _labels(self, text: str, ref: WfdbTreeRef, known: Described) -> dict[str, float]:
        codes = first_group(self.options.label_pattern, text).split(self.options.label_separator)
        stated = {code.strip(): 100.0 for code in codes if code.strip()}
        return {**stated, **dict.fromkeys(ref.labels, 100.0), **(known.labels or {})}


@dataclass(frozen=True)
class WfdbSignal:
    """Shape (lead, time) in mV, float32; NaN where nothing was recorded."""

    signal: npt.NDArray[np.float32]
    fs: float
    leads: tuple[str, ...]
    notes: tuple[str, ...] = ()


def read_wfdb(root: Path, path: Path, start: int = 0, seconds: float | None = None) -> WfdbSignal:
    """Read a record: format 16 in one file with `ecgscale.data.wfdb16`, the rest with `wfdb`.

    Parameters
    ----------
    root
        Files outside of it are not read.
    path
        The header.
    start, seconds
        First sample, and how much to read from there; None for all.

    Raises
    ------
    QuarantineError
        If the record cannot be read, or ends before `start` (too-short).
    """
    if not is_inside(root, path.parent):
        raise QuarantineError("path-traversal", f"{path.name} lies outside the source's folder")
    try:
        header = wfdb16.read_header(path)
    except QuarantineError as error:
        if error.reason != "unreadable-header" or not path.is_file():
            raise
        return _read_with_wfdb(path, start, seconds)
    samples = wfdb16.read_samples(path.parent, header)
    stop = len(samples) if seconds is None else start + round(seconds * header.fs)
    _check_start(path, start, len(samples), header.fs)
    signal = wfdb16.to_millivolts(samples[start:stop], header)
    return WfdbSignal(signal, header.fs, header.leads)


def wfdb_length(root: Path, path: Path) -> tuple[float, int]:
    """Return a record's rate in Hz and its samples per signal.

    Raises
    ------
    QuarantineError
        If the header cannot be read.
    """
    if not is_inside(root, path.parent):
        raise QuarantineError("path-traversal", f"{path.name} lies outside the source's folder")
    if not path.is_file():
        raise QuarantineError("unreadable-header", f"{path.name} does not exist")
    header = _wfdb_header(path)
    return float(header.fs), int(header.sig_len)


def _check_start(path: Path, start: int, samples: int, fs: float) -> None:
    if start >= samples:
        raise QuarantineError("too-short", f"{path.name} has {samples / fs:g} s")


_WFDB_ERRORS = (ValueError, IndexError, KeyError, TypeError, AttributeError)


def _wfdb_header(path: Path) -> Any:
    import wfdb

    try:
        header = wfdb.rdheader(str(path.with_suffix("")), rd_segments=True)
    except _WFDB_ERRORS as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error
    if not header.fs or not wfdb16.RATES[0] <= header.fs <= wfdb16.RATES[1]:
        raise QuarantineError("wrong-rate", f"{path.name} states a rate of {header.fs} Hz")
    if not header.sig_len:
        raise QuarantineError("unreadable-header", f"{path.name} states no length")
    return header


def _read_with_wfdb(path: Path, start: int, seconds: float | None) -> WfdbSignal:
    import wfdb

    header = _wfdb_header(path)
    for part in getattr(header, "segments", None) or [header]:
        for name in (part and part.file_name) or []:
            _check_file(path.parent, name)
    _check_start(path, start, header.sig_len, header.fs)
    stop = None if seconds is None else min(start + round(seconds * header.fs), header.sig_len)
    try:
        record = wfdb.rdrecord(str(path.with_suffix("")), sampfrom=start, sampto=stop)
    except _WFDB_ERRORS as error:
        reason = "truncated-signal" if isinstance(error, ValueError) else "unreadable-header"
        raise QuarantineError(reason, f"{path.name}: {error}") from error
    scales = [wfdb16.MILLIVOLTS.get(unit.lower()) for unit in record.units]
    kept = [column for column, scale in enumerate(scales) if scale is not None]
    if not kept:
        raise QuarantineError("bad-gain", f"no signal of {path.name} is a voltage")
    left = [name for name, scale in zip(record.sig_name, scales, strict=True) if scale is None]
    factors = np.array([scales[column] for column in kept], dtype=np.float64)[:, None]
    return WfdbSignal(
        signal=(record.p_signal.T[kept] * factors).astype(np.float32),
        fs=float(record.fs),
        leads=tuple(record.sig_name[column] for column in kept),
        notes=(f"not a voltage, left out: {', '.join(left)}",) if left else (),
    )


def _check_file(folder: Path, name: str) -> None:
    path = folder / name
    if name == "~":
        return
    if not is_inside(folder, path):
        raise QuarantineError("path-traversal", f"the header names the signal file {name!r}")
    if not path.is_file():
        raise QuarantineError("missing-signal-file", f"{name} does not exist")


def _comments(path: Path) -> str:
    lines = path.read_bytes().decode("utf-8", errors="replace").splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def _found(root: Path) -> list[str]:
    return sorted(
        (Path(folder).relative_to(root) / name).with_suffix("").as_posix()
        for folder, _, names in os.walk(root)
        for name in names
        if name.endswith(".hea")
    )


def _listed(root: Path, name: str) -> list[str]:
    """Read a list of records and, where it names folders, their RECORDS; each record once."""
    path = root / name
    if not is_inside(root, path):
        raise BadInputError(f"{name} lies outside the source folder {root}")
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path} cannot be read: {error}") from error
    folder = PurePosixPath(name).parent
    records: dict[str, None] = {}
    for line in filter(None, lines):
        entry = (folder / line.removesuffix(".hea")).as_posix()
        if not line.endswith("/"):
            records[entry] = None
        elif entry != folder.as_posix():
            records.update(dict.fromkeys(_listed(root, f"{entry}/{RECORDS}")))
    return list(records)
