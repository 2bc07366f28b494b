"""MC-MED's layout: visits to an emergency department with lead II of a bedside monitor."""

import math
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate import Layout, layouts
from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.layout import Row, Written, balanced_parts, table, wfdb_header
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions, RatedOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord
from ecgscale.data.wfdb_formats import FORMATS

VISIT_COLUMNS = (
    *("MRN", "CSN", "Visit_no", "Visits", "Age", "Gender", "Race", "Ethnicity"),
    *("Means_of_arrival", "Triage_Temp", "Triage_HR", "Triage_RR", "Triage_SpO2", "Triage_SBP"),
    *("Triage_DBP", "Triage_acuity", "CC", "ED_dispo", "Hours_to_next_visit"),
    *("Dispo_class_next_visit", "ED_LOS", "Hosp_LOS", "DC_dispo", "Payor_class"),
    *("Admit_service", "Dx_ICD9", "Dx_ICD10", "Dx_name", "Arrival_time", "Roomed_time"),
    *("Dispo_time", "Admit_time", "Departure_time"),
)
"""The columns that public code names; their order is assumed."""

SPLITS: dict[str, int] = {"train": 78, "val": 11, "test": 11}
"""Published shares of the chronological split; those of the random one are 80, 10 and 10."""

ARRIVALS: dict[str, tuple[int, int]] = {"train": (0, 600), "val": (600, 690), "test": (690, 780)}
"""Days after the first arrival in which the visits of each part of the split fall."""

STRAIN: dict[str, float] = {
    **{"st_elevated": 1.5, "injury": 1.5, "st_depressed": 1.0, "atrial_fibrillation": 1.0},
    **{"ventricular_premature": 0.6, "av_block_complete": 1.5, "lbbb": 0.8},
}
"""What each condition adds to a visit's strain when typical (severity 1)."""

ACUITIES = (
    *((2.1, "1-Resuscitation"), (1.2, "2-Emergent"), (0.0, "3-Urgent")),
    *((-0.5, "4-Semi-Urgent"), (-math.inf, "5-Non-Urgent")),
)
ED_DISPOSITIONS = ((2.0, "ICU"), (1.3, "Inpatient"), (0.8, "Observation"), (-math.inf, "Discharge"))
DISCHARGES = (
    *((2.4, "Expired"), (1.9, "Acute Care Hospital"), (1.3, "Skilled Nursing Facility")),
    *((1.1, "Home Health Services"), (-0.4, "Home/Work")),
    *((-0.7, "Inpatient Rehabilitation Facility"), (-math.inf, "No Disposition")),
)
"""Strain above which a visit has each statement, the highest first.

Rare classes are more common than in the published data, so that small cohorts hold some of each.
"""


class McMedOptions(RatedOptions):
    """A cohort in MC-MED's layout: adults in an emergency department, US mains."""

    segment_seconds: float = Field(default=20.0, gt=0)
    """Length of a segment; the published ones last up to hours."""
    age_mean: float = 55.0
    age_sd: float = Field(default=20.0, gt=0)
    male: float = Field(default=0.456, ge=0, le=1)
    heart_rate: float = Field(default=88.0, gt=0)
    heart_rate_spread: float = Field(default=0.22, ge=0)
    extra_record: float = Field(default=0.35, ge=0, lt=1)
    unmonitored: float = Field(default=0.1, ge=0, le=1)
    """Fraction of visits without ECG; of the published ones about three in ten have no waveform."""
    unrecorded: float = Field(default=0.03, ge=0, le=1)
    """Fraction of visits without each of the statements and values of triage."""
    gaps: float = Field(default=0.01, ge=0, le=1)
    """Fraction of segments with missing samples at their start."""
    lost_signal: float = Field(default=0.005, ge=0, le=1)
    """Fraction of segments whose signal file is missing."""
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.025,
        wander_mv=0.08,
        mains_hz=60.0,
        mains_mv=0.008,
        lowpass_hz=40.0,
        resolution_uv=5.0,
    )

    @property
    def seconds(self) -> float:
        """Length of a segment."""
        return self.segment_seconds


@layouts.register("mc-med")
class McMedLayout(Layout):
    """MC-MED 1.0.1: ``data/visits.csv``, waveform summary, splits and lead II as WFDB.

    Statements follow a visit's strain: (heart rate - 75) / 25, plus `STRAIN` times the severity of
    each condition, plus noise of SD 0.15; the thresholds are `ACUITIES`, `ED_DISPOSITIONS` and
    `DISCHARGES`. The blood pressure is the patient's, plus what left ventricular hypertrophy and
    the heart rate add.
    """

    Options: ClassVar[type[CohortOptions]] = McMedOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the patient's medical record number."""
        return str(9_000_000 + patient.index + 1)

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a visit."""
        row = self._row(record, 90_000_000 + number)
        if row["segments"]:
            self._waveform(root, written, record, row)
        written.rows.append(row)
        stated = (row["ED_dispo"], row["DC_dispo"], row["Triage_acuity"])
        written.codes.append(tuple(code for code in stated if code))

    def tables(self, root: Path, written: Written) -> None:
        """Write the visits, the waveform summary and both splits."""
        patients = [row["MRN"] for row in written.rows]
        chrono = balanced_parts(patients, written.codes, SPLITS, self.seed)
        shares = {"train": 80, "val": 10, "test": 10}
        random = balanced_parts(patients, [()] * len(patients), shares, self.seed + 1)
        for row in written.rows:
            row["Arrival_time"] = self._arrival(row, chrono[row["MRN"]])
        rows = sorted(written.rows, key=lambda row: (row["Arrival_time"], row["CSN"]))
        written.save(root, "data/visits.csv", table(VISIT_COLUMNS, rows))
        columns = ("CSN", "Type", "Segments", "Duration")
        summary = (_summary(row, self.options.seconds) for row in rows if row["segments"])
        written.save(root, "data/waveform_summary.csv", table(columns, summary))
        for name, parts in (("chrono", chrono), ("random", random)):
            for part in SPLITS:
                lines = [f"{row['CSN']}\n" for row in rows if parts[row["MRN"]] == part]
                written.save(root, f"data/split_{name}_{part}.csv", "".join(lines).encode())

    def _row(self, record: SimulatedRecord, csn: int) -> Row:
        patient = record.patient
        rng = stream(self.seed, 6, patient.index, record.number)
        strain = strain_of(record, rng)
        systolic, diastolic = map(round, record.pressures(rng))
        stated = {
            "Triage_SBP": systolic,
            "Triage_DBP": diastolic,
            "Triage_acuity": _statement(strain, ACUITIES),
            "ED_dispo": _statement(strain, ED_DISPOSITIONS),
            "DC_dispo": _statement(strain, DISCHARGES),
        }
        missing = rng.random(len(stated)) < self.options.unrecorded
        draws = rng.random(4)
        return {
            "MRN": self.patient_id(patient, csn),
            "CSN": csn,
            "Visit_no": record.number + 1,
            "Visits": patient.records,
            "Age": int(record.years),
            "Gender": "U" if draws[0] < 0.005 else "M" if patient.male else "F",
            "Triage_HR": round(record.rate),
            "CC": "SIMULATED",
            **{
                name: "" if gone else value
                for (name, value), gone in zip(stated.items(), missing, strict=True)
            },
            "segments": 0 if draws[1] < self.options.unmonitored else 1,
            "gap": draws[2] < self.options.gaps,
            "lost": draws[3] < self.options.lost_signal,
        }

    def _arrival(self, row: Row, part: str) -> str:
        """Return a time in the part's days; a patient's visits keep their order."""
        rng = stream(self.seed, 7, int(row["MRN"]), row["Visit_no"])
        first, last = ARRIVALS[part]
        place = (row["Visit_no"] - 1 + rng.random()) / row["Visits"]
        time = datetime(2020, 9, 1) + timedelta(days=first + place * (last - first))
        return time.strftime("%Y-%m-%dT%H:%M:%SZ")

    def _waveform(self, root: Path, written: Written, record: SimulatedRecord, row: Row) -> None:
        name, fs = f"{row['CSN']}_1", self.options.fs
        stem = f"data/waveforms/{str(row['CSN'])[-3:]}/{row['CSN']}/II/{name}"
        microvolts = record.signals[fs][LEADS.index("II")]
        samples, gain, baseline = _as_wfdb_writes(microvolts / 1000)
        if row["gap"]:
            samples[:fs] = FORMATS["16"].invalid
        header = wfdb_header(
            *(name, fs, samples[None], ["II"], f"{gain}({baseline})/mV"),
            started="12:00:00 01/09/2020",
        )
        written.save(root, f"{stem}.hea", header)
        if not row["lost"]:
            written.save(root, f"{stem}.dat", samples.astype("<i2").tobytes())


def strain_of(record: SimulatedRecord, rng: np.random.Generator) -> float:
    """Return how ill a record's heart makes the visit look."""
    severity = record.state.severity
    strain = (record.rate - 75) / 25
    strain += sum(weight * severity[INDEX[name]] for name, weight in STRAIN.items())
    return float(strain + 0.15 * rng.standard_normal())


def _statement(strain: float, thresholds: tuple[tuple[float, str], ...]) -> str:
    return next(name for above, name in thresholds if strain > above)


def _summary(row: Row, seconds: float) -> Row:
    return {"CSN": row["CSN"], "Type": "II", "Segments": row["segments"], "Duration": seconds}


def _as_wfdb_writes(
    millivolts: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int16], float, int]:
    """Digitise as ``wfdb.wrsamp`` does: the signal's own range fills the 16 bits.

    Returns
    -------
    The samples, and the units per mV and the baseline that turn them back.
    """
    low, high = float(millivolts.min()), float(millivolts.max())
    gain = round(65_000 / max(high - low, 1e-3), 4)
    baseline = round(-gain * (low + high) / 2)
    samples = np.rint(millivolts * gain + baseline).astype(np.int16)
    return samples, gain, baseline
