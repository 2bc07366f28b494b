"""MUSIC, 24-hour recordings of people with chronic heart failure and what became of them.

``docs/datasets/music.md`` says what is known of the layout, from where, and what is assumed.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.gate import admit
from ecgscale.data.record import Record, Sex, canonical_lead
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import Decoded, parse_patient, read_table, whole_number
from ecgscale.data.sources.demographics import is_unknown, parse_age, parse_sex
from ecgscale.data.wfdb import channels, recording
from ecgscale.data.wfdb_header import Header
from ecgscale.errors import BadInputError

TABLE = "subject-info.csv"
HOLTER = "Holter_ECG"

PATIENT, AGE, MALE = "Patient ID", "Age", "Gender (male=1)"
AVAILABLE = "Holter available"
STATEMENTS = {"Cause of death": "outcome", "Exit of the study": "exit"}
"""Column to the prefix of its code: "outcome:3"."""

CLINICAL = {
    "Height (cm)": "height",
    "Weight (kg)": "weight",
    "Systolic blood pressure (mmHg)": "sbp",
    "Diastolic blood  pressure (mmHg)": "dbp",
    "Diabetes (yes=1)": "diabetes",
}
"""Column to clinical field."""

ORTHOGONAL = {"X": "I", "Y": "aVF"}
"""Orthogonal lead to the nearest standard one: to the left, and downwards."""

NOTE = "orthogonal leads X and Y read as I and aVF"

TRIES, STEP_SECONDS = 10, 25.0
"""Windows that are looked at, and how far apart, until one is usable (as in CLEF's code)."""

FLAT_SD, ZERO_SHARE = 0.01, 0.1
"""A lead with a smaller SD in mV, or as many zeros, is not usable (as in CLEF's code)."""


class MusicOptions(SourceOptions):
    """Which windows of the recordings are read."""

    window_seconds: float = Field(default=10.0, gt=0)
    """Length of a window, as in CLEF; a recipe's `seconds` at most."""
    windows: int = Field(default=1, ge=1)
    """Windows of a recording, one at the start of each of so many equal parts; CLEF reads the
    first 10 s."""


@dataclass(frozen=True)
class MusicRef(Ref):
    """A window of a patient's recording, and the patient's row."""

    patient: str
    start: int
    row: dict[str, str]


@sources.register("music")
class Music(Source[MusicRef]):
    """936 Holter recordings of 8 to 24 hours from 936 of 992 patients (version 1.0.1).

    A window that is flat or has missing samples gives way to the next usable one, up to
    `TRIES` windows `STEP_SECONDS` apart, as in CLEF; the record's id keeps the first sample of the
    window asked for, and a note says how far it was moved.
    """

    Options: ClassVar[type[SourceOptions]] = MusicOptions
    leads = tuple(ORTHOGONAL.values())
    title = "MUSIC (Sudden Cardiac Death in Chronic Heart Failure)"
    licence = "ODbL 1.0"
    access = "open"
    unit = "mV"
    patient_key = PATIENT
    citation = (
        "Martin-Yebra, Martínez, Laguna 2024, MUSIC (Sudden Cardiac Death in Chronic Heart "
        "Failure), PhysioNet, doi:10.13026/cec2-9w70; Vazquez et al., European Heart Journal "
        "30:1088 (2009), doi:10.1093/eurheartj/ehp032"
    )
    url = "https://physionet.org/content/music-sudden-cardiac-death/1.0.1/"

    def index(self) -> list[MusicRef]:
        """List the windows of the patients with a Holter recording, in the order of the table.

        Headers are only read if more than one window of a recording is asked for.
        """
        self.require_root()
        rows = read_table(
            self.root / TABLE,
            (PATIENT, AGE, MALE, AVAILABLE, *STATEMENTS),
            delimiter=";",
            errors="replace",
        )
        refs = []
        for row in rows:
            if whole_number(row[AVAILABLE]) == "1":
                patient = row[PATIENT].strip()
                refs += [
                    MusicRef(f"{patient}:{start}", patient, start, row)
                    for start in self._starts(patient)
                ]
        if not refs:
            raise BadInputError(f"{self.root / TABLE} lists no Holter recordings")
        return refs

    def read(self, ref: MusicRef) -> Record:
        """Read the first usable window."""
        stem = self._stem(ref.patient)
        header = recording(self.root, stem)
        missing = [lead for lead in ORTHOGONAL if lead not in header.leads]
        if missing:
            raise QuarantineError("missing-lead", f"no lead {', '.join(missing)}")
        patient = parse_patient(ref.patient, PATIENT)
        age, age_notes = parse_age(ref.row[AGE])
        sex, sex_notes = parse_sex(ref.row[MALE], _SEX)
        window, moved = self._usable(stem, header, ref.start)
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.patient),
            signal=window.signal,
            gain=window.gain,
            fs=window.fs,
            leads=self.leads,
            age=age,
            sex=sex,
            labels=_labels(ref.row),
            clinical={**_clinical(ref.row), **self.clinical.get(patient or "", {})},
            notes=(NOTE, *age_notes, *sex_notes, *window.notes, *moved),
        )

    def files(self, ref: MusicRef) -> list[Path]:
        """Return the header: it has the checksum of the signal file, which holds hours."""
        return [self.root / HOLTER / f"{ref.patient}.hea"]

    def tables(self) -> list[Path]:
        """Return the table of subjects and the patient table."""
        return [self.root / TABLE, self.patient_table]

    def _stem(self, patient: str) -> Path:
        return self.root / HOLTER / patient

    def _starts(self, patient: str) -> list[int]:
        """Return the first samples of the windows; of a recording that cannot be read, 0."""
        parts = self.options.windows
        if parts > 1:
            with suppress(QuarantineError):
                samples = recording(self.root, self._stem(patient)).n_samples or 0
                return sorted({part * samples // parts for part in range(parts)})
        return [0]

    def _usable(self, stem: Path, header: Header, start: int) -> tuple[Decoded, tuple[str, ...]]:
        samples = round(self.options.window_seconds * header.fs)
        problems = []
        for turn in range(TRIES):
            at = start + round(turn * STEP_SECONDS * header.fs)
            try:
                window = _window(stem, header, at, at + samples)
            except QuarantineError as problem:
                problems.append(problem)
                continue
            if _is_usable(window.signal):
                note = f"window moved by {turn * STEP_SECONDS:g} s: flat or invalid before"
                return window, (note,) if turn else ()
            problems.append(QuarantineError("flat-lead", f"{stem.name} is flat after {at}"))
        raise problems[0]


def _window(stem: Path, header: Header, start: int, stop: int) -> Decoded:
    """Read the orthogonal leads; published files go on after the last stated sample."""
    found, notes = channels(stem.parent, header, start, stop, summed=False, surplus=True)
    own = [channel for channel in found if canonical_lead(channel.name) in ORTHOGONAL]
    window = admit(header.name, own, ORTHOGONAL)
    rows = [window.leads.index(lead) for lead in ORTHOGONAL.values()]
    return replace(window, signal=window.signal[rows], notes=(*notes, *window.notes))


_SEX: dict[str, Sex] = {"1": "M", "0": "F"}


def _is_usable(signal: npt.NDArray[np.float32]) -> bool:
    varied = (signal.std(axis=1) >= FLAT_SD).all()
    return bool(varied and ((signal == 0).mean(axis=1) < ZERO_SHARE).all())


def _labels(row: dict[str, str]) -> dict[str, float]:
    codes = {prefix: whole_number(row[column]) for column, prefix in STATEMENTS.items()}
    return {f"{key}:{code}": 100.0 for key, code in codes.items() if not is_unknown(code)}


def _clinical(row: dict[str, str]) -> dict[str, float]:
    values = {}
    for column, name in CLINICAL.items():
        with suppress(ValueError):
            value = float(row.get(column, "").strip().replace(",", "."))
            if np.isfinite(value) and (value > 0 or name == "diabetes"):
                values[name] = value
    return values
