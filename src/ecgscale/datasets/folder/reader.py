"""Your own recordings in a folder, described by a small ``source.yaml`` in it.

CSV files of seven columns, patients in a table::

    format: csv
    fs: 500
    units: uV
    leads: [I, II, V1, V2, V3, V4, V5]
    table:
      path: patients.csv
      record: file
      patient: pid
      age: age
      sex: sex
      labels: diagnoses
      label_separator: "|"
      split: split
      measurements: [lvef]
"""

import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgscale.data.record import LEADS, Record, canonical_lead
from ecgscale.data.sources.base import (
    PATIENT_METADATA,
    QuarantineError,
    Ref,
    Source,
    is_inside,
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
from ecgscale.datasets.wfdb_tree.reader import read_wfdb
from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem

DESCRIPTION = "source.yaml"

Format = Literal["wfdb", "csv", "npy", "parquet"]
SUFFIXES: dict[Format, str] = {"wfdb": ".hea", "csv": ".csv", "npy": ".npy", "parquet": ".parquet"}
PER_MILLIVOLT = {"mV": 1.0, "uV": 1e3, "V": 1e-3}
"""Units in one mV."""


class FolderDescription(BaseModel):
    """The keys of ``source.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format
    """wfdb: headers (fs, units and leads are theirs). csv, parquet: a file a record, a column a
    lead. npy: a file a record (lead, time) or (time, lead), or many records in one file, first
    axis the record."""
    files: str | None = None
    """Which files, as a glob below the folder; default every one with the format's suffix."""
    fs: float | None = Field(default=None, gt=0)
    """Sampling rate, Hz."""
    units: Literal["mV", "uV", "V", "adu"] | None = None
    """Of the samples; adu are steps of a converter, with `gain`."""
    gain: float | None = Field(default=None, gt=0)
    """Steps per mV."""
    leads: tuple[str, ...] | None = Field(default=None, min_length=1)
    """In the files' order; for wfdb those that every record has, where not the standard 12."""
    header: bool = True
    """Whether the first line of a csv file names its columns."""
    columns: tuple[str, ...] | None = None
    """Names of the columns of the leads, in the order of `leads`; default every column."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    """Between the columns of a csv file."""
    decimal: Literal[".", ","] = "."
    """Decimal point of a csv file."""
    patient_pattern: GroupPattern | None = None
    """Its first group, searched in the record's id (its path without suffix), is the patient."""
    table: MetadataTable | None = None
    """A table with a row a record."""

    @model_validator(mode="after")
    def _consistent(self) -> "FolderDescription":
        needed = ("fs", "units") if self.format == "wfdb" else ()
        for key in needed:
            if getattr(self, key) is not None:
                raise ValueError(f"{key} is in the headers of wfdb files; leave it out")
        for key in ("fs", "units", "leads") if self.format != "wfdb" else ():
            if getattr(self, key) is None:
                raise ValueError(f"{key} is missing, and {self.format} files do not say it")
        if (self.gain is not None) != (self.units == "adu"):
            raise ValueError("gain goes with units: adu, and only with it")
        leads = [canonical_lead(lead) for lead in self.leads or ()]
        if len(set(leads)) < len(leads):
            raise ValueError("leads names a lead twice")
        if self.columns is not None:
            if self.format not in ("csv", "parquet") or not self.header:
                raise ValueError("columns needs csv files with a header, or parquet")
            if len(self.columns) != len(leads):
                raise ValueError(f"columns has {len(self.columns)} names for {len(leads)} leads")
        if self.patient_pattern and self.table and self.table.patient:
            raise ValueError("patient_pattern and table.patient both say who the patient is")
        return self

    @property
    def glob(self) -> str:
        """Which files."""
        return self.files or f"**/*{SUFFIXES[self.format]}"


@dataclass(frozen=True)
class FolderRef(Ref):
    """A file, for npy files of many records the position in it, and the record's rows."""

    path: str
    position: int | None
    rows: tuple[Row, ...]


@sources.register("folder")
class Folder(Source[FolderRef]):
    """WFDB, CSV, NPY or Parquet files, with a ``source.yaml`` that describes them."""

    title = "Folder described by source.yaml"
    licence = "your own"
    access = "open"
    unit = "mV, uV, V or steps of a converter, as source.yaml says"
    patient_key = "table.patient or patient_pattern in source.yaml; else every record is its own"
    citation = "your own"
    url = "https://yaml.org/"

    def __init__(self, root: Path, namespace: str, options: dict[str, Any] | None = None) -> None:
        super().__init__(root, namespace, options)
        if (self.root / DESCRIPTION).is_file() and self.description.leads:
            leads = tuple(canonical_lead(lead) for lead in self.description.leads)
            self.leads = None if set(LEADS) <= set(leads) else leads

    @cached_property
    def description(self) -> FolderDescription:
        """What ``source.yaml`` says.

        Raises
        ------
        BadInputError
            If it is missing, is not YAML, or has an unknown, missing or impossible key.
        """
        path = self.root / DESCRIPTION
        try:
            stated = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInputError(f"{path} does not exist; it says how the files are read") from error
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())
            raise BadInputError(f"{path} cannot be read as YAML: {reason}") from error
        if not isinstance(stated, dict):
            raise BadInputError(f"{path} is not a mapping of keys to values")
        try:
            return FolderDescription(**stated)
        except (ValidationError, TypeError) as error:
            problem = first_problem(error) if isinstance(error, ValidationError) else str(error)
            raise BadInputError(f"{path}: {problem}") from error

    def index(self) -> list[FolderRef]:
        """List the records of the files, sorted by path, then rows of the table without a file."""
        self.require_root()
        suffix = SUFFIXES[self.description.format]
        places: dict[str, tuple[str, int | None]] = {}
        for path in self._files():
            name = path.relative_to(self.root).as_posix()
            stem = name.removesuffix(suffix)
            positions = self._positions(path)
            for position in positions:
                places[stem if position is None else f"{stem}:{position}"] = name, position
        if not places:
            raise BadInputError(f"source folder {self.root} has no files {self.description.glob}")
        table = self.description.table
        joined: dict[str, tuple[Row, ...]] = dict.fromkeys(places, ())
        if table is not None:
            joined = join(table.rows(self.root), table.record, places, (suffix,))
        return [
            FolderRef(record, *places.get(record, (record + suffix, None)), rows)
            for record, rows in joined.items()
        ]

    def read(self, ref: FolderRef) -> Record:
        """Read one record."""
        table = self.description.table
        known = table.describe(ref.rows) if table else Described()
        path = self.root / ref.path
        if not is_inside(self.root, path):
            raise QuarantineError("path-traversal", f"{ref.path!r} lies outside the folder")
        if not path.is_file():
            raise QuarantineError("missing-signal-file", f"{ref.path} does not exist")
        signal, fs, leads, notes = self._signal(path, ref.position)
        patient = self._patient(ref.record_id, known)
        return Record(
            record_id=ref.record_id,
            patient_id=f"{self.namespace}:{patient}",
            signal=signal,
            fs=fs,
            leads=leads,
            age=known.age,
            sex=known.sex,
            labels=known.labels or {},
            split=known.split,
            clinical=self._clinical.get(patient, {}),
            measurements=known.measurements or {},
            notes=(*known.notes, *notes),
        )

    def files(self, ref: FolderRef) -> list[Path]:
        """Return the file, for wfdb with the signal files of its name."""
        path = self.root / ref.path
        others = (".dat", ".mat") if self.description.format == "wfdb" else ()
        return [path, *(path.with_suffix(suffix) for suffix in others)]

    def tables(self) -> list[Path]:
        """Return the description and the tables."""
        table = self.description.table
        own = [self.root / table.path] if table else []
        return [self.root / DESCRIPTION, *own, self.root / PATIENT_METADATA]

    @cached_property
    def _clinical(self) -> dict[str, dict[str, float]]:
        return read_clinical(self.root)

    def _files(self) -> list[Path]:
        try:
            found = sorted(self.root.glob(self.description.glob))
        except (ValueError, NotImplementedError) as error:
            glob = self.description.glob
            raise BadInputError(f"{self.root / DESCRIPTION}: files: {glob!r}: {error}") from error
        tables = self.tables()
        return [path for path in found if path.is_file() and path not in tables]

    def _positions(self, path: Path) -> range | tuple[None]:
        """Return the positions of an npy file of many records; of any other file, one None."""
        if self.description.format != "npy":
            return (None,)
        try:
            shape = _load(path).shape
        except QuarantineError:
            return (None,)
        return range(shape[0]) if len(shape) == 3 else (None,)

    def _patient(self, record: str, known: Described) -> str:
        if known.patient is not None:
            return known.patient
        if self.description.patient_pattern is None:
            return record
        patient = first_group(self.description.patient_pattern, record)
        if not patient:
            raise QuarantineError("bad-metadata", f"patient_pattern finds nobody in {record!r}")
        return patient

    def _signal(
        self, path: Path, position: int | None
    ) -> tuple[npt.NDArray[np.float32], float, tuple[str, ...], tuple[str, ...]]:
        """Return shape (lead, time) in mV, the rate, the leads and notes."""
        stated = self.description
        if stated.format == "wfdb":
            found = read_wfdb(self.root, path)
            return found.signal, found.fs, tuple(map(canonical_lead, found.leads)), found.notes
        leads = tuple(canonical_lead(lead) for lead in stated.leads or ())
        if stated.format == "npy":
            samples = _load(path)
            samples = samples if position is None else samples[position]
        else:
            samples = self._table_file(path)
        scale = stated.gain if stated.units == "adu" else PER_MILLIVOLT[stated.units or "mV"]
        signal = _oriented(samples, len(leads), path.name).astype(np.float64) / (scale or 1.0)
        return signal.astype(np.float32), float(stated.fs or 0.0), leads, ()

    def _table_file(self, path: Path) -> npt.NDArray[np.float64]:
        """Read shape (time, column) from a csv or parquet file; NaN where a cell is empty."""
        import pyarrow as pa
        from pyarrow import csv, parquet

        stated = self.description
        try:
            if stated.format == "parquet":
                table = parquet.read_table(path, use_threads=False)
            else:
                table = csv.read_csv(
                    path,
                    csv.ReadOptions(use_threads=False, autogenerate_column_names=not stated.header),
                    csv.ParseOptions(delimiter=stated.delimiter),
                    csv.ConvertOptions(decimal_point=stated.decimal),
                )
            names = stated.columns or tuple(table.column_names)
            missing = [name for name in names if name not in table.column_names]
            if missing:
                raise QuarantineError("missing-lead", f"{path.name} has no column {missing[0]!r}")
            columns = [table[name].cast(pa.float64()).to_numpy() for name in names]
        except pa.ArrowInvalid as error:
            text = str(error).splitlines()[0]
            reason = "nan-samples" if "Failed to parse" in text else "truncated-signal"
            raise QuarantineError(reason, f"{path.name}: {text}") from error
        except pa.ArrowNotImplementedError as error:
            raise QuarantineError("nan-samples", f"{path.name}: {error}") from error
        return np.stack(columns, axis=1)


def _load(path: Path) -> npt.NDArray[Any]:
    try:
        samples = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile) as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error
    if not isinstance(samples, np.ndarray) or samples.dtype.kind not in "iuf":
        raise QuarantineError("unreadable-header", f"{path.name} is no array of numbers")
    return samples


def _oriented(samples: npt.NDArray[Any], leads: int, name: str) -> npt.NDArray[Any]:
    """Return shape (lead, time): the axis with as many entries as there are leads comes first."""
    if samples.ndim == 1 and leads == 1:
        return samples[None]
    if samples.ndim != 2 or leads not in samples.shape:
        raise QuarantineError(
            "missing-lead", f"{name} has the shape {samples.shape}, {leads} leads"
        )
    return samples if samples.shape[0] == leads else samples.T
