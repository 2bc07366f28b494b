"""The one engine for folders of recordings that need no code: a description says how to read them.

The description lies in the folder (the reader `folder`), or in the YAML file of a data set in
`ecgscale.datasets`, where a reader's options are its keys.
"""

from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError, field_validator

from ecgscale.data.record import LEADS, Record
from ecgscale.data.sources.base import (
    PATIENT_METADATA,
    Decoded,
    QuarantineError,
    Ref,
    Source,
    SourceOptions,
    is_inside,
    parse_patient,
    window_starts,
)
from ecgscale.data.sources.declaration import TaskDeclaration
from ecgscale.data.sources.demographics import Comments, read_comments
from ecgscale.data.sources.description import FolderDescription
from ecgscale.data.sources.formats.arrays import admit_array, read_archive, read_array
from ecgscale.data.sources.formats.dicom import dicom_comments, read_dicom
from ecgscale.data.sources.formats.edf import edf_comments, read_edf
from ecgscale.data.sources.formats.tables import read_csv, read_parquet
from ecgscale.data.sources.metadata import Described, MetadataTable, Row, first_group, join
from ecgscale.data.wfdb import comments, listed, located, read_wfdb
from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem, read_mapping

MOST_RECORDS = 10_000_000
"""Records of one array; a file that claims more is damaged."""


@dataclass(frozen=True)
class FolderRef(Ref):
    """Where a record is, and what tables and lists say of it.

    `recording` is what the record is, or is a window of: the path without suffix, or a name in an
    array. `found` is false where only a row of the table names the file. `position` says which
    record of a file it is (None: the only one, or none of them), `start` where its window starts.
    """

    recording: str
    path: str
    found: bool = True
    position: int | None = None
    start: int | None = None
    labels: tuple[str, ...] = ()
    rows: tuple[Row, ...] = ()


class Folder(Source[FolderRef]):
    """A folder of recordings that a description explains.

    Attributes
    ----------
    written_in
        The data set's YAML file.
    defaults
        Keys of the description that options add to, or change.
    described_in
        The file in the folder that holds the description instead; None where there is none.
    """

    Options: ClassVar[type[SourceOptions]] = FolderDescription
    written_in: ClassVar[Path]
    defaults: ClassVar[dict[str, Any]] = {}
    described_in: ClassVar[str | None] = None

    def __init__(self, root: Path, namespace: str, options: dict[str, Any] | None = None) -> None:
        super().__init__(root, namespace, _merged(self.defaults, options or {}))
        if self.described_in is None or (self.root / self.described_in).is_file():
            leads = self.description.standard_leads
            self.leads = None if set(LEADS) <= set(leads or LEADS) else leads

    @cached_property
    def description(self) -> FolderDescription:
        """How the files are read.

        Raises
        ------
        BadInputError
            If its file is missing, is not YAML, or has an unknown, missing or impossible key.
        """
        if self.described_in is None:
            stated: FolderDescription = self.options
            return stated
        path = self.root / self.described_in
        if not path.is_file():
            raise BadInputError(f"{path} does not exist; it says how the files are read")
        found = _checked(path, FolderDescription)
        if found.patient_pattern and found.table and found.table.patient and not found.signals:
            # In a data set's own YAML the pattern may be an option over a table's column.
            raise BadInputError(
                f"{path}: patient_pattern and table.patient both say who the patient is"
            )
        return found

    @property
    def declared(self) -> dict[str, TaskDeclaration]:
        """The downstream tasks that are declared in the description, and in the options."""
        return {**self.description.tasks, **self.options.tasks}

    def declared_in(self, task: str) -> str:
        """Return where a task is declared, for messages."""
        if self.described_in is None or task in self.options.tasks:
            of_data_set = task in self.defaults.get("tasks", {})
            return str(self.written_in) if of_data_set else super().declared_in(task)
        return str(self.root / self.described_in)

    def index(self) -> list[FolderRef]:
        """List the records of the files, then rows of the table without a file.

        The order is that of `records`, or of the paths; with `signals` that of the table, and then
        come entries of the array without a row. Headers are only read if more than one window of a
        recording is asked for.
        """
        self.require_root()
        stated = self.description
        if stated.table is not None and stated.signals is not None:
            return self._entries(stated.table, stated.signals)
        return self._recordings()

    def read(self, ref: FolderRef) -> Record:
        """Read one record."""
        stated = self.description
        if stated.signals and ref.rows and ref.position is None:
            raise QuarantineError("missing-signal-file", f"no entry in {stated.signals}")
        whole = stated.patient_pattern if stated.signals else None
        known = stated.table.describe(ref.rows, whole) if stated.table else Described()
        found = self._decoded(ref)
        _check_length(known, found)
        said = self._comments(ref)
        age = said.age if known.age is None else known.age
        patient = self._patient(ref, known)
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.recording),
            signal=found.signal,
            fs=found.fs,
            leads=found.leads,
            age=None if age in stated.unknown_ages else age,
            sex=known.sex or said.sex,
            labels={**dict.fromkeys((*said.labels, *ref.labels), 100.0), **known.labels},
            fold=known.fold,
            split=known.split,
            clinical=self.clinical.get(patient or ("" if self._keyed else ref.recording), {}),
            measurements=known.measurements,
            columns={name: ref.rows[0].get(name, "").strip() for name in self.asked},
            unit=known.unit,
            gain=found.gain,
            notes=(*found.notes, *known.notes, *said.notes),
        )

    def files(self, ref: FolderRef) -> list[Path]:
        """Return the record's file, for wfdb with the signal files of its name."""
        path = self.root / ref.path
        if self.description.signals:
            return []  # all records share it
        return [path, *(path.with_suffix(suffix) for suffix in self.description.suffixes[1:])]

    def tables(self) -> list[Path]:
        """Return the description, the lists and the tables, and the array of all records."""
        stated = self.description
        own = [stated.table.path] if stated.table else []
        shared = (self.described_in, stated.records, stated.signals, *stated.label_lists, *own)
        return [self.root / name for name in (*shared, PATIENT_METADATA) if name]

    @cached_property
    def _archive(self) -> tuple[list[str], npt.NDArray[np.int16]]:
        """The names of the records in the array of all, and the array."""
        stated = self.description
        path = self.root / str(stated.signals)
        return read_archive(path, str(stated.uids), len(stated.leads or ()))

    @cached_property
    def _repeated(self) -> frozenset[str]:
        """Names that several entries of that array have."""
        return frozenset(uid for uid, count in Counter(self._archive[0]).items() if count > 1)

    @cached_property
    def asked(self) -> tuple[str, ...]:
        """The columns that the declared tasks read, in order."""
        return tuple(dict.fromkeys(name for task in self.declared.values() for name in task.asked))

    def _rows(self, table: MetadataTable) -> list[Row]:
        rows = table.rows(self.root, self.asked)
        for task, stated in self.declared.items():
            for column, key in stated.asked.items():
                if rows and column not in rows[0]:
                    where = f"{self.declared_in(task)}: tasks.{task}.{key}"
                    raise BadInputError(f"{where}: {self.root / table.path} has no {column!r}")
        return rows

    def _entries(self, table: MetadataTable, signals: str) -> list[FolderRef]:
        """List the rows of the table, then entries of the array that have no row."""
        rows = self._rows(table)
        uids, _ = self._archive
        positions = {uid: position for position, uid in enumerate(uids)}
        named = {row[table.record] for row in rows}
        own: list[tuple[str, tuple[Row, ...]]] = [(row[table.record], (row,)) for row in rows]
        own += [(uid, ()) for uid in uids if uid not in named]
        if not own:
            raise BadInputError(f"{self.root / table.path} lists no records")
        return [
            FolderRef(uid, uid, signals, position=positions.get(uid), rows=row) for uid, row in own
        ]

    def _recordings(self) -> list[FolderRef]:
        stated = self.description
        suffix = stated.suffixes[0]
        places: dict[str, tuple[str, int | None]] = {}
        for stem, name in self._files():
            for position in self._positions(name):
                places[stem if position is None else f"{stem}:{position}"] = name, position
        labels: dict[str, list[str]] = {}
        for name, label in stated.label_lists.items():
            for recording in listed(self.root, name, suffix):
                labels.setdefault(recording, []).append(label)
        if not places:
            what = "WFDB records (.hea)" if stated.format == "wfdb" else f"files {stated.glob}"
            raise BadInputError(f"source folder {self.root} has no {what}")
        joined: dict[str, tuple[Row, ...]] = dict.fromkeys(places, ())
        if stated.table is not None:
            rows = self._rows(stated.table)
            joined = join(rows, stated.table.record, places, stated.suffixes)
        elif self.asked:
            task, key = next((t, k) for t, x in self.declared.items() for k in x.asked.values())
            where = f"{self.declared_in(task)}: tasks.{task}.{key}"
            raise BadInputError(f"{where} needs a table to read it from (the key table)")
        refs = []
        for recording, own in joined.items():
            found = recording in places
            if not found and stated.partial:
                continue
            path, position = places.get(recording, (recording + suffix, None))
            marks = tuple(labels.get(recording, ()))
            for start in self._starts(path):
                name = recording if start is None else f"{recording}:{start}"
                refs.append(FolderRef(name, recording, path, found, position, start, marks, own))
        return refs

    def _files(self) -> list[tuple[str, str]]:
        """Return the path of every record without its suffix, and with it."""
        stated = self.description
        suffix = stated.suffixes[0]
        if stated.records is not None and (self.root / stated.records).is_file():
            return [(stem, stem + suffix) for stem in listed(self.root, stated.records, suffix)]
        try:
            found = sorted(self.root.glob(stated.glob))
        except (ValueError, NotImplementedError) as error:
            where = self.root / (self.described_in or "")
            raise BadInputError(f"{where}: files: {stated.glob!r}: {error}") from error
        tables = self.tables()
        if stated.records is None:  # in a tree, a header that links to nowhere is a bad record
            found = [path for path in found if path.is_file()]
        paths = (path for path in found if not path.is_dir() and path not in tables)
        names = (path.relative_to(self.root).as_posix() for path in paths)
        pairs = [(name.removesuffix(suffix), name) for name in names]
        return sorted(pairs) if stated.records else pairs  # as a list would be sorted, not a tree

    def _positions(self, name: str) -> range | tuple[None]:
        """Return the positions of an npy file of many records; of any other file, one None."""
        if self.description.format == "npy" and is_inside(self.root, self.root / name):
            with suppress(QuarantineError):
                samples = read_array(self.root / name)
                if samples.ndim == 3 and samples.size and len(samples) <= MOST_RECORDS:
                    return range(len(samples))
        return (None,)

    def _starts(self, path: str) -> list[int] | list[None]:
        """List where the windows of a recording start; of one that cannot be read, the first."""
        seconds, windows = self.description.window_seconds, self.description.windows
        if seconds is None:
            return [None]
        if windows > 1:
            with suppress(QuarantineError):
                header = located(self.root, self.root / path)
                return window_starts(header.n_samples or 0, round(seconds * header.fs), windows)
        return [0]

    def _decoded(self, ref: FolderRef) -> Decoded:
        stated = self.description
        path = self.root / ref.path
        if stated.signals:
            if ref.recording in self._repeated:
                detail = f"{stated.signals} has several entries named {ref.recording!r}"
                raise QuarantineError("duplicate-record", detail)
            return admit_array(self._archive[1][ref.position], stated, path.name)
        if not (ref.found and stated.format == "wfdb"):  # which says itself what is missing
            if not is_inside(self.root, path):
                raise QuarantineError("path-traversal", f"{ref.path!r} lies outside the folder")
            if not path.is_file():
                raise QuarantineError("missing-signal-file", f"{ref.path} does not exist")
        if stated.format == "wfdb":
            start, seconds = ref.start or 0, stated.window_seconds
            return read_wfdb(self.root, path, start, seconds, stated.lead_names)
        if stated.format == "npy":
            samples = read_array(path)
            samples = samples if ref.position is None else samples[ref.position]
            return admit_array(samples, stated, path.name)
        if stated.format == "csv":
            return read_csv(path, stated)
        if stated.format == "parquet":
            return read_parquet(path, stated)
        read = read_edf if stated.format == "edf" else read_dicom
        return read(path, stated.lead_names, stated.standard_leads)

    def _comments(self, ref: FolderRef) -> Comments:
        stated = self.description
        if not stated.comments:
            return Comments()
        if stated.format == "edf":
            return read_comments(edf_comments(self.root / ref.path))
        if stated.format == "dicom":
            return read_comments(dicom_comments(self.root / ref.path))
        patterns = (stated.age_pattern, stated.sex_pattern, stated.label_pattern)
        return read_comments(comments(self.root / ref.path), *patterns, stated.label_separator)

    def _patient(self, ref: FolderRef, known: Described) -> str | None:
        """Return who the patient is, or None where nothing says it."""
        if known.patient is not None or (self._keyed and self.description.signals):
            return known.patient
        if self.description.patient_pattern is None:
            return ref.recording if self.description.patients == "record" else None
        patient = first_group(self.description.patient_pattern, ref.recording)
        if not patient:
            detail = f"patient_pattern finds nobody in {ref.recording!r}"
            raise QuarantineError("bad-metadata", detail)
        return parse_patient(patient, "patient_pattern")

    @property
    def _keyed(self) -> bool:
        """Whether a table says who the patients are."""
        return bool(self.description.table and self.description.table.patient)


class DataSet(BaseModel, extra="forbid", frozen=True):
    """The keys of a data set's YAML file: what it is, and how its folder is read."""

    about: str
    """What its records are, in a sentence or more."""
    title: str
    licence: str
    access: Literal["open", "registered", "credentialed"]
    unit: str
    patient_key: str
    citation: str
    url: str
    read: dict[str, Any] | str
    """Keys of `FolderDescription`, to which the reader's options are added; or the name of the file
    in the folder that has them."""

    @field_validator("read")
    @classmethod
    def _is_a_description(cls, read: dict[str, Any] | str) -> dict[str, Any] | str:
        if isinstance(read, dict):
            try:
                FolderDescription.model_validate(read)
            except ValidationError as error:
                # What is missing may come with the options; what is stated must be right.
                wrong = [x for x in error.errors() if x["type"] != "missing" or len(x["loc"]) > 2]
                if wrong:
                    key = ".".join(map(str, wrong[0]["loc"]))
                    raise ValueError(f"{key}: {wrong[0]['msg']}") from error
        return read


def described(path: Path) -> type[Folder]:
    """Return the source that a data set's YAML file describes.

    Raises
    ------
    BadInputError
        If the file cannot be read or has an unknown, missing or impossible key.
    """
    stated = _checked(path, DataSet)
    fields = stated.model_dump(exclude={"about", "read"})
    if isinstance(stated.read, str):
        fields |= {"described_in": stated.read, "Options": SourceOptions}
    else:
        fields["defaults"] = stated.read
    fields |= {"__doc__": stated.about, "__module__": __name__, "written_in": path}
    return type(Folder.__name__, (Folder,), fields)


M = TypeVar("M", bound=BaseModel)


def _checked(path: Path, model: type[M]) -> M:
    """Read a YAML file of settings."""
    try:
        return model.model_validate(read_mapping(path))
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error


def _merged(defaults: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Put options over defaults, mappings key by key; a table that is a text is its path."""
    merged = defaults | options
    if isinstance(options.get("table"), str):
        options = {**options, "table": {"path": options["table"]}}
    for key, value in options.items():
        if isinstance(value, dict):
            merged[key] = {**defaults.get(key, {}), **value}
    return merged


def _check_length(known: Described, found: Decoded) -> None:
    seconds = found.signal.shape[-1] / found.fs
    if known.seconds is not None and abs(known.seconds - seconds) > 0.05:
        raise QuarantineError(
            "wrong-rate",
            f"{known.seconds:g} s are stated for the original, the file holds {seconds:g} s",
        )
