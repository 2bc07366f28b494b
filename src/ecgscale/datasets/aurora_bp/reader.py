"""Aurora-BP, cuffless blood pressure with lead I, as Microsoft Research hands it out.

``docs/datasets/aurora-bp.md`` says what is known of the layout, from where, and what is assumed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.gate import Channel, admit
from ecgscale.data.record import Record, Sex
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    parse_number,
    parse_patient,
    parse_pressure,
    read_table,
    rows_by_key,
    whole_number,
)
from ecgscale.data.sources.demographics import parse_age, parse_sex
from ecgscale.data.sources.formats.tables import read_columns
from ecgscale.errors import BadInputError

PARTICIPANTS = "participants.tsv"
FEATURES = "features.tsv"
FS = 500.0
"""Hz, of every waveform file."""

BASELINE_AT = ("initial", "Calibration start 1")
"""Phase and name of the measurement that stands for the participant's baseline, as in CLEF."""

CM_PER_INCH = 2.54
KG_PER_POUND = 0.45359237

Protocol = Literal["auscultatory", "oscillometric"]


class AuroraBpOptions(SourceOptions):
    """Which measurements, and which windows of them, are read."""

    protocols: tuple[Protocol, ...] = Field(default=("auscultatory", "oscillometric"), min_length=1)
    """Cuff and stethoscope, or automatic cuff; the tasks need only the first."""
    window_seconds: float = Field(default=10.0, gt=0)
    windows: int = Field(default=1, ge=1)
    """Most windows of a measurement, one after the other from its first number."""


@dataclass(frozen=True)
class AuroraBpRef(Ref):
    """A window of a measurement, with what the tables say of it."""

    patient: str
    path: str
    start: int
    age: float | None
    sex: Sex | None
    clinical: dict[str, float]
    measurements: dict[str, float]
    notes: tuple[str, ...]


@sources.register("aurora-bp")
class AuroraBp(Source[AuroraBpRef]):
    """Lead I at every measurement of blood pressure, in the laboratory and on the move."""

    Options: ClassVar[type[SourceOptions]] = AuroraBpOptions
    leads = ("I",)
    title = "Aurora-BP: wearable tonometry, photoplethysmography and ECG with blood pressure"
    licence = "Aurora-BP data use agreement (application to the data access committee)"
    access = "credentialed"
    unit = "mV"
    patient_key = "pid"
    citation = (
        "Mieloszyk et al., IEEE Journal of Biomedical and Health Informatics 26(7):2864-2875 (2022)"
    )
    url = "https://github.com/microsoft/aurorabp-sample-data"

    def index(self) -> list[AuroraBpRef]:
        """List the windows of every measurement with waveforms, in the order of the tables."""
        self.require_root()
        path = self.root / PARTICIPANTS
        rows = read_table(path, ("pid", "age", "gender", *_BODY), "\t")
        participants = rows_by_key(rows, "pid", path)
        baselines = self._baselines()
        refs = []
        for protocol in self.options.protocols:
            for row in read_table(self.root / _measurements(protocol), _MEASUREMENT_COLUMNS, "\t"):
                if row["waveforms_generated"].strip() in ("1", "1.0"):
                    baseline = baselines.get(whole_number(row["pid"]), {})
                    person = _person(participants.get(whole_number(row["pid"])), baseline)
                    refs += self._windows(row, person, baseline)
        if not refs:
            raise BadInputError(f"source folder {self.root} lists no measurement with waveforms")
        return refs

    def read(self, ref: AuroraBpRef) -> Record:
        """Read one window."""
        patient = parse_patient(ref.patient, f"pid of {ref.record_id}")
        path = self.named_file(ref.path, "a table of measurements")
        ecg, notes = _within_ends(_read_ecg(path), path.name)
        window = ecg[ref.start : ref.start + self._window_samples]
        if not len(window):
            raise QuarantineError("too-short", f"{path.name} has {len(ecg) / FS:g} s of ECG")
        found = admit(path.name, [Channel(self.leads[0], window, FS)])
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.path),
            signal=found.signal,
            gain=found.gain,
            fs=found.fs,
            leads=found.leads,
            age=ref.age,
            sex=ref.sex,
            clinical={**ref.clinical, **self.clinical.get(patient or "", {})},
            measurements=ref.measurements,
            notes=(*ref.notes, *notes, *found.notes),
        )

    def files(self, ref: AuroraBpRef) -> list[Path]:
        """Return the waveform file."""
        return [self.root / ref.path]

    def tables(self) -> list[Path]:
        """Return the tables of participants, measurements, features and patients."""
        measurements = (_measurements(protocol) for protocol in self.options.protocols)
        names = (PARTICIPANTS, *measurements, FEATURES)
        return [*(self.root / name for name in names), self.patient_table]

    @property
    def _window_samples(self) -> int:
        return round(float(self.options.window_seconds) * FS)

    def _baselines(self) -> dict[str, dict[str, float]]:
        """Read the baseline of every participant who has both pressures."""
        columns = ("baseline_sbp", "baseline_dbp")
        baselines: dict[str, dict[str, float]] = {}
        for row in read_table(self.root / FEATURES, ("pid", *columns), "\t"):
            values = {name: parse_pressure(row[name]) for name in columns}
            known = {name: value for name, value in values.items() if value is not None}
            if len(known) == len(columns):
                baselines.setdefault(whole_number(row["pid"]), known)
        return baselines

    def _windows(
        self, row: dict[str, str], person: dict[str, Any], baseline: dict[str, float]
    ) -> list[AuroraBpRef]:
        path = row["waveform_file_path"].strip()
        values = {name: parse_pressure(row[name]) for name in ("sbp", "dbp")}
        measured = {name: value for name, value in values.items() if value is not None}
        notes = tuple(
            f"impossible {name} {row[name][:20]!r} left out"
            for name, value in values.items()
            if value is None and row[name].strip()
        )
        is_baseline = (row["phase"].strip(), row["measurement"].strip()) == BASELINE_AT
        return [
            AuroraBpRef(
                record_id=f"{Path(path).stem}:{start}",
                patient=row["pid"].strip(),
                path=path,
                start=start,
                age=person["age"],
                sex=person["sex"],
                clinical={**measured, **person["clinical"]},
                measurements={**measured, **(baseline if is_baseline else {})},
                notes=(*person["notes"], *notes),
            )
            for start in self._starts(row["duration"])
        ]

    def _starts(self, duration: str) -> list[int]:
        """Return where the windows start; one that has no stated duration has the first."""
        whole = int((parse_number(duration) or 0.0) / self.options.window_seconds)
        count = min(self.options.windows, max(whole, 1))
        return [number * self._window_samples for number in range(count)]


_BODY = ("height", "weight", "diabetes")
_MEASUREMENT_COLUMNS = (
    *("pid", "phase", "measurement", "sbp", "dbp", "duration"),
    *("waveform_file_path", "waveforms_generated"),
)


def _measurements(protocol: Protocol) -> str:
    return f"measurements_{protocol}.tsv"


def _person(row: dict[str, str] | None, baseline: dict[str, float]) -> dict[str, Any]:
    """Return what ``participants.tsv`` and the baseline say of a participant."""
    resting = {name.removeprefix("baseline_"): value for name, value in baseline.items()}
    if row is None:
        notes: tuple[str, ...] = (f"not in {PARTICIPANTS}",)
        return {"age": None, "sex": None, "clinical": resting, "notes": notes}
    age, age_notes = parse_age(row["age"])
    sex, sex_notes = parse_sex(row["gender"])
    height, weight, diabetes = (parse_number(row[name]) for name in _BODY)
    clinical = dict(resting)
    if height:
        clinical["height"] = height * CM_PER_INCH
    if weight:
        clinical["weight"] = weight * KG_PER_POUND
    if diabetes in (0, 1):
        clinical["diabetes"] = diabetes
    return {"age": age, "sex": sex, "clinical": clinical, "notes": (*age_notes, *sex_notes)}


def _read_ecg(path: Path) -> npt.NDArray[np.float64]:
    """Read shape (time,), mV, NaN where a cell is empty.

    Raises
    ------
    QuarantineError
        With reason missing-lead, nan-samples (a cell is no number), truncated-signal or wrong-rate.
    """
    cells = read_columns(path, ("t", "ekg"), delimiter="\t")
    time, ecg = cells[:, 0], cells[:, 1]
    if len(time) < 2:
        raise QuarantineError("truncated-signal", f"{path.name} has {len(time)} samples")
    seconds = time[-1] - time[0]
    if not seconds > 0 or abs((len(time) - 1) / seconds / FS - 1) > 0.01:
        raise QuarantineError(
            "wrong-rate", f"{path.name} has {len(time)} samples in {seconds:g} s, not {FS:g} Hz"
        )
    return ecg


def _within_ends(
    ecg: npt.NDArray[np.float64], name: str
) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
    """Cut off the ends without numbers."""
    known = np.flatnonzero(np.isfinite(ecg))
    if not len(known):
        raise QuarantineError("nan-samples", f"{name} has no ECG")
    first, stop = int(known[0]), int(known[-1]) + 1
    cut = len(ecg) - (stop - first)
    notes = (f"{cut} empty samples at the ends left out",) if cut else ()
    return ecg[first:stop], notes
