"""CODE-15%: 12-lead ECGs of telehealth in Minas Gerais, as published on Zenodo.

``docs/datasets/code-15.md`` says what is known of the layout, from where, and what is assumed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ecgscale.data.gate import Channel, admit
from ecgscale.data.record import LEADS, Record, Sex
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    Decoded,
    parse_measurement,
    parse_patient,
    read_table,
    whole_number,
)
from ecgscale.data.sources.demographics import is_unknown, parse_age, parse_sex
from ecgscale.errors import BadInputError

TABLE = "exams.csv"
FS = 400.0
LABELS = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
"""Columns that are true where the exam has the statement; they are its codes."""

IS_MALE: dict[str, Sex] = {"true": "M", "1": "M", "false": "F", "0": "F"}
"""What the column is_male says."""

FOLLOW_UP = (0.0, 120.0)
"""Years that a follow-up can last."""

_COLUMNS = ("exam_id", "age", "is_male", *LABELS, "patient_id", "death", "timey", "trace_file")


class Code15Options(SourceOptions):
    """Which shards are read, and what their numbers mean."""

    parts: tuple[int, ...] | None = None
    """Numbers of the shards to read, where not all were downloaded; default all of the table."""
    millivolts: float = Field(default=1.0, gt=0)
    """mV per unit of the tracings."""


@dataclass(frozen=True)
class Code15Ref(Ref):
    """A row of the table, as text."""

    row: dict[str, str]


@dataclass(frozen=True)
class _Shard:
    """An open shard: its tracings, and the positions of every exam, of which there must be one."""

    tracings: Any
    positions: dict[str, list[int]]


@sources.register("code-15")
class Code15(Source[Code15Ref]):
    """345,779 exams of 7 to 10 s from 233,770 patients (version 1.0.0)."""

    Options: ClassVar[type[SourceOptions]] = Code15Options
    title = "CODE-15%: a large scale annotated dataset of 12-lead ECGs"
    licence = "CC BY 4.0"
    access = "open"
    unit = "mV (in doubt, see the option millivolts)"
    patient_key = "patient_id"
    citation = (
        "Ribeiro et al., CODE-15%, Zenodo (2021), doi:10.5281/zenodo.4916206; Lima et al., Nature "
        "Communications 12:5117 (2021), doi:10.1038/s41467-021-25351-7"
    )
    url = "https://zenodo.org/records/4916206"

    def __init__(self, root: Path, namespace: str, options: dict[str, Any] | None = None) -> None:
        super().__init__(root, namespace, options)
        self._open: dict[str, _Shard | QuarantineError] = {}

    def index(self) -> list[Code15Ref]:
        """List the rows of the table, in its order; no shard is opened."""
        self.require_root()
        rows = read_table(self.root / TABLE, _COLUMNS)
        if self.options.parts is not None:
            wanted = set(self._shards())
            rows = [row for row in rows if row["trace_file"].strip() in wanted]
        if not rows:
            raise BadInputError(f"{self.root / TABLE} lists no exams")
        return [
            Code15Ref(whole_number(row["exam_id"]), {name: row[name] for name in _COLUMNS})
            for row in rows
        ]

    def read(self, ref: Code15Ref) -> Record:
        """Read one exam without the zeros at its ends; a worker opens each shard once."""
        row = ref.row
        patient = parse_patient(row["patient_id"], "patient_id")
        age, age_notes = parse_age(row["age"])
        sex, sex_notes = parse_sex(row["is_male"], IS_MALE)
        labels = {name: 100.0 for name in LABELS if _truth(row, name)}
        measurements, follow_up_notes = _follow_up(row)
        found = self._decoded(ref)
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.record_id),
            signal=found.signal,
            gain=found.gain,
            fs=found.fs,
            leads=found.leads,
            age=age,
            sex=sex,
            labels=labels,
            clinical=self.clinical.get(patient or "", {}),
            measurements=measurements,
            notes=(*found.notes, *age_notes, *sex_notes, *follow_up_notes),
        )

    def tables(self) -> list[Path]:
        """Return the table, the shards and the patient table."""
        return [*(self.root / name for name in (TABLE, *self._shards())), self.patient_table]

    def _shards(self) -> list[str]:
        if self.options.parts is not None:
            return [f"exams_part{number}.hdf5" for number in self.options.parts]
        return sorted(path.name for path in self.root.glob("exams_part*.hdf5"))

    def _decoded(self, ref: Code15Ref) -> Decoded:
        name = ref.row["trace_file"].strip()
        shard = self._shard(name)
        if ref.record_id not in shard.positions:
            raise QuarantineError("missing-signal-file", f"{name} has no exam {ref.record_id}")
        place, *others = shard.positions[ref.record_id]
        if others:
            detail = f"{name} has {1 + len(others)} tracings of exam {ref.record_id}"
            raise QuarantineError("duplicate-record", detail)
        try:
            tracing = np.asarray(shard.tracings[place], dtype=np.float32)
        except OSError as error:
            raise QuarantineError("truncated-signal", f"{name}: {error}") from error
        recorded = np.flatnonzero(tracing.any(axis=1))
        if not len(recorded):
            raise QuarantineError("too-short", f"exam {ref.record_id} of {name} holds only zeros")
        gain = 1 / self.options.millivolts
        signals = tracing[recorded[0] : recorded[-1] + 1].T
        return admit(
            f"exam {ref.record_id} of {name}",
            [Channel(lead, row, FS, gain=gain) for lead, row in zip(LEADS, signals, strict=True)],
        )

    def _shard(self, name: str) -> _Shard:
        if name not in self._open:
            try:
                self._open[name] = _open_shard(self.named_file(name or "..", TABLE))
            except QuarantineError as error:
                self._open[name] = error
        shard = self._open[name]
        if isinstance(shard, QuarantineError):
            raise QuarantineError(shard.reason, shard.detail)
        return shard


def _open_shard(path: Path) -> _Shard:
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise QuarantineError("truncated-signal", f"{path.name}: {error}") from error
    try:
        return _contents(file, path.name)
    except QuarantineError:
        file.close()
        raise


def _contents(file: Any, name: str) -> _Shard:
    try:
        exams, tracings = file["exam_id"][:], file["tracings"]
    except (OSError, KeyError) as error:
        reason = "truncated-signal" if isinstance(error, OSError) else "unreadable-header"
        raise QuarantineError(reason, f"{name}: {error}") from error
    if getattr(tracings, "ndim", 0) != 3 or tracings.shape[::2] != (len(exams), len(LEADS)):
        raise QuarantineError(
            "unreadable-header", f"{name}: {len(exams)} exams, tracings of shape {tracings.shape}"
        )
    positions: dict[str, list[int]] = {}
    for place, exam in enumerate(exams):
        named = exam.decode() if isinstance(exam, bytes) else str(exam)
        if whole_number(named) != "0":
            positions.setdefault(whole_number(named), []).append(place)
    return _Shard(tracings, positions)


def _truth(row: dict[str, str], name: str) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False, "": False}
    text = whole_number(row[name]).lower()
    if text not in known:
        raise QuarantineError("bad-metadata", f"{name} is {row[name]!r}")
    return known[text]


def _follow_up(row: dict[str, str]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return whether the patient died and after how many years, where the exam has both."""
    if is_unknown(row["death"]):
        return {}, ()
    died = float(_truth(row, "death"))
    years, notes = parse_measurement(row["timey"], "timey", FOLLOW_UP)
    return ({} if years is None else {"death": died, "follow_up_years": years}), notes
