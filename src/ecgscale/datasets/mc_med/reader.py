"""MC-MED, emergency department visits with bedside monitoring, as published on PhysioNet.

``docs/datasets/mc-med.md`` says what is known of the layout, from where, and what is assumed.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from ecgscale.data.gate import admit
from ecgscale.data.record import LEADS, Record, Split, canonical_lead
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    Decoded,
    parse_patient,
    parse_pressure,
    read_lines,
    read_table,
    whole_number,
    window_starts,
)
from ecgscale.data.sources.demographics import parse_age, parse_labels, parse_sex
from ecgscale.data.sources.metadata import Described
from ecgscale.data.wfdb import channels, located
from ecgscale.data.wfdb_header import Header
from ecgscale.errors import BadInputError

VISITS = "visits.csv"
SUMMARY = "waveform_summary.csv"
WAVEFORMS = "waveforms"
LEAD = "II"

SPLIT_NAMES: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}

LABELS = {
    "ED_dispo": "ed-disposition",
    "DC_dispo": "discharge-disposition",
    "Triage_acuity": "acuity",
}
"""Column of a visit's statement to the prefix of its code: "ed-disposition:Discharge"."""

PRESSURES = {"Triage_SBP": "sbp", "Triage_DBP": "dbp"}
"""Column of a blood pressure at triage to its name in the record, mmHg."""


class McMedOptions(SourceOptions):
    """Which windows of the recordings are read, and which published split goes with them."""

    split: Literal["chrono", "random"] = "chrono"
    """By date, as CLEF uses it, or at random; both keep a patient in one part."""
    window_seconds: float = Field(default=10.0, gt=0)
    windows: int = Field(default=1, ge=1)
    """Most windows of a segment, one after the other from its start; CLEF reads the first 10 s."""
    segments: int = Field(default=1, ge=1)
    """Most segments of a visit, from its first."""


@dataclass(frozen=True)
class McMedRef(Ref):
    """A window of a visit's recording, with what the tables say of the visit."""

    path: str
    start: int
    visit: Described


@sources.register("mc-med")
class McMed(Source[McMedRef]):
    """118,385 visits of 70,545 patients, 83,623 visits of 53,123 with waveforms (version 1.0.1)."""

    Options: ClassVar[type[SourceOptions]] = McMedOptions
    leads = (LEAD,)
    title = "Multimodal Clinical Monitoring in the Emergency Department (MC-MED)"
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    access = "credentialed"
    unit = "mV"
    patient_key = "MRN"
    citation = "Kansal et al., Scientific Data 12:1094 (2025), doi:10.1038/s41597-025-05419-5"
    url = "https://physionet.org/content/mc-med/1.0.1/"

    @property
    def data(self) -> Path:
        """The folder with ``visits.csv``: the source folder, or ``data`` in it as published."""
        return self.root / "data" if (self.root / "data" / VISITS).is_file() else self.root

    def index(self) -> list[McMedRef]:
        """List the windows of every visit with ECG, in the order of ``visits.csv``.

        Headers are only read if more than one window of a segment is asked for.
        """
        self.require_root()
        wanted = ("MRN", "CSN", "Age", "Gender", *LABELS, *PRESSURES)
        rows = read_table(self.data / VISITS, wanted)
        segments = self._segments()
        splits = self._splits()
        refs = []
        for row in rows:
            visit = whole_number(row["CSN"])
            known = _visit(row, splits.get(visit))
            for segment in range(1, min(segments.get(visit, 0), self.options.segments) + 1):
                path = f"{WAVEFORMS}/{visit[-3:]}/{visit}/{LEAD}/{visit}_{segment}"
                refs += self._windows(path, known)
        if not refs:
            raise BadInputError(f"{self.data / VISITS} and {SUMMARY} list no visit with ECG")
        return refs

    def read(self, ref: McMedRef) -> Record:
        """Read one window."""
        visit = ref.visit
        patient = parse_patient(visit.patient or "", f"{VISITS}: MRN of {ref.record_id}")
        stem = self.data / ref.path
        header = _header(self.data, stem)
        window = _window(stem, header, ref.start, ref.start + self._window_samples(header.fs))
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.path.rsplit("/", 1)[1]),
            signal=window.signal,
            gain=window.gain,
            fs=window.fs,
            leads=self.leads,
            age=visit.age,
            sex=visit.sex,
            labels=visit.labels,
            split=visit.split,
            measurements=visit.measurements,
            clinical={**self.clinical.get(patient or "", {}), **visit.measurements},
            notes=(*visit.notes, *window.notes),
        )

    def files(self, ref: McMedRef) -> list[Path]:
        """Return the header: it has the checksum of the signal file, which holds hours."""
        return [self.data / f"{ref.path}.hea"]

    def tables(self) -> list[Path]:
        """Return the tables of visits, waveforms, splits and patients."""
        names = (VISITS, SUMMARY, *(self._split_file(part) for part in SPLIT_NAMES))
        return [*(self.data / name for name in names), self.patient_table]

    def _segments(self) -> dict[str, int]:
        """Read how many segments of lead II each visit has."""
        path = self.data / SUMMARY
        segments: dict[str, int] = {}
        for number, row in enumerate(read_table(path, ("CSN", "Type", "Segments")), start=2):
            if row["Type"].strip() == LEAD:
                visit, text = whole_number(row["CSN"]), row["Segments"]
                try:
                    count = int(whole_number(text))
                except ValueError as error:
                    raise BadInputError(f"{path}, line {number}: Segments is {text!r}") from error
                if segments.setdefault(visit, count) != count:
                    raise BadInputError(f"{path}, line {number}: visit {visit} has other Segments")
        return segments

    def _split_file(self, part: str) -> str:
        return f"split_{self.options.split}_{part}.csv"

    def _splits(self) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for part, split in SPLIT_NAMES.items():
            path = self.data / self._split_file(part)
            lines = read_lines(path)
            for visit in (whole_number(line.split(",")[0]) for line in lines if line.strip()):
                if splits.setdefault(visit, split) != split:
                    raise BadInputError(f"{path} lists visit {visit}, and so does another split")
        return splits

    def _window_samples(self, fs: float) -> int:
        return round(float(self.options.window_seconds) * fs)

    def _windows(self, path: str, visit: Described) -> list[McMedRef]:
        """List the windows of a segment; of one that cannot be read, the first."""
        starts = [0]
        if self.options.windows > 1:
            with suppress(QuarantineError):
                header = _header(self.data, self.data / path)
                step = self._window_samples(header.fs)
                starts = window_starts(header.n_samples or 0, step, self.options.windows)
        name = path.rsplit("/", 1)[1]
        return [McMedRef(f"{name}:{start}", path, start, visit) for start in starts]


def _visit(row: dict[str, str], split: Split | None) -> Described:
    """Return what a row of ``visits.csv`` says of all windows of the visit."""
    age, age_notes = parse_age(row["Age"])
    sex, sex_notes = parse_sex(row["Gender"])
    notes = (*age_notes, *sex_notes)
    labels = {}
    for column, prefix in LABELS.items():
        for text in parse_labels(row[column], None)[0]:
            labels[f"{prefix}:{text.split('-')[0] if prefix == 'acuity' else text}"] = 100.0
    measurements = {}
    for column, name in PRESSURES.items():
        value = parse_pressure(row[column])
        if value is not None:
            measurements[name] = value
        elif row[column].strip():
            notes = (*notes, f"impossible {column} {row[column][:20]!r} left out")
    patient = whole_number(row["MRN"])
    return Described(patient, age, sex, labels, split, measurements=measurements, notes=notes)


def _header(root: Path, stem: Path) -> Header:
    """Read and check the header of a recording of one signal.

    Raises
    ------
    QuarantineError
        With reason unreadable-header, or as `ecgscale.data.wfdb.located`.
    """
    header = located(root, stem.with_name(f"{stem.name}.hea"))
    if len(header.signals) != 1:
        raise QuarantineError("unreadable-header", f"{header.name} is not of one signal")
    return header


def _window(stem: Path, header: Header, start: int, stop: int) -> Decoded:
    """Read a window, whose signal is lead II unless it is named as another one."""
    length = header.n_samples or 0
    if start >= length:
        seconds = length / header.fs
        raise QuarantineError("too-short", f"{stem.name} has {seconds:g} s, none of the window")
    (found,), notes = channels(stem.parent, header, start, stop, summed=False)
    if canonical_lead(found.name) in {*LEADS} - {LEAD}:
        raise QuarantineError("missing-lead", f"{header.name} is of lead {found.name}, not {LEAD}")
    window = admit(header.name, [replace(found, name=LEAD)])
    return replace(window, notes=(*notes, *window.notes))
