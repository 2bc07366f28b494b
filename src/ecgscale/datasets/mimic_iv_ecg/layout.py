"""MIMIC-IV-ECG's layout, with the tables that its readers join to it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.layout import Layout, Row, Written, layouts, table, wfdb_header
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions, RatedOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord
from ecgscale.data.wfdb_formats import FORMATS
from ecgscale.datasets.ptb_xl.statements import heart_axis, scp_codes

MIMIC_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
"""The order of MIMIC-IV-ECG: aVF before aVL."""

UNITS_PER_MV = 200

UNMEASURED = 29_999
"""What ``machine_measurements.csv`` holds where the machine found no such wave."""

REPORTS = tuple(f"report_{number}" for number in range(18))
RECORD_COLUMNS = ("subject_id", "study_id", "file_name", "ecg_time", "path")
MACHINE_COLUMNS = (
    *("subject_id", "study_id", "cart_id", "ecg_time", *REPORTS, "bandwidth", "filtering"),
    *("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end"),
    *("p_axis", "qrs_axis", "t_axis"),
)
LVEF_COLUMNS = ("subject_id", "waveform_path", "LVEF", "class")
PATIENT_COLUMNS = ("subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group", "dod")

QRS_AXIS = {"LAD": -40, "ALAD": -50, "RAD": 100, "ARAD": 120}
"""Degrees that the machine writes for an axis that is not normal."""

LVEF_NORMAL = 63.0
LVEF_LOSS: dict[str, float] = {
    **{"lbbb": 20.0, "infarct_anterior": 20.0, "infarct_inferior": 12.0, "conduction_delay": 12.0},
    **{"ventricular_premature": 10.0, "atrial_fibrillation": 8.0, "lvh": 5.0},
}
"""Percent of ejection fraction that each condition costs when typical (severity 1)."""

LVEF_SD = 4.0
"""SD, in percent, of what the electrocardiogram does not say."""


class MimicIvEcgOptions(RatedOptions):
    """A cohort in MIMIC-IV-ECG's layout: a hospital's patients, several recordings for most."""

    age_mean: float = 63.0
    male: float = Field(default=0.5, ge=0, le=1)
    heart_rate: float = Field(default=80.0, gt=0)
    heart_rate_spread: float = Field(default=0.22, ge=0)
    extra_record: float = Field(default=0.5, ge=0, lt=1)
    echo: float = Field(default=0.7, ge=0, le=1)
    """Fraction of recordings with an ejection fraction."""
    impossible_lvef: float = Field(default=0.01, ge=0, le=1)
    """Fraction of ejection fractions that the extraction got wrong: a hundredth, or a hundredfold,
    of the value."""
    unknown_patients: float = Field(default=0.05, ge=0, le=1)
    """Fraction of patients that ``patients.csv`` does not have."""
    nan_lead: float = Field(default=0.01, ge=0, le=1)
    """Fraction of recordings with a lead that was not recorded."""
    lost_signal: float = Field(default=0.005, ge=0, le=1)
    """Fraction of recordings whose signal file is missing."""
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.015, mains_hz=60.0, mains_mv=0.008, resolution_uv=5.0
    )


@layouts.register("mimic-iv-ecg")
class MimicIvEcgLayout(Layout):
    """MIMIC-IV-ECG 1.0, with ``LVEF.csv`` of ECGFounder and ``patients.csv`` of MIMIC-IV.

    The ejection fraction follows from the simulated heart: `LVEF_NORMAL`, less `LVEF_LOSS` times
    the severity of each condition, plus noise of `LVEF_SD`, between 8 and 78 %.
    """

    Options: ClassVar[type[CohortOptions]] = MimicIvEcgOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return an id that spreads patients over the folders p1000 to p1999."""
        return str(10_000_000 + 10_007 * (patient.index + 1) % 10_000_000)

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a study."""
        scp = scp_codes(record.reading)
        row = self._row(record, number, scp)
        fs, study = self.options.fs, row["study_id"]
        samples = np.rint(record.signals[fs] * (UNITS_PER_MV / 1000)).astype(np.int16)
        samples = samples[[LEADS.index(lead) for lead in MIMIC_LEADS]]
        if row["nan_lead"] is not None:
            samples[row["nan_lead"]] = FORMATS["16"].invalid
        header = wfdb_header(
            *(study, fs, samples, MIMIC_LEADS, f"{UNITS_PER_MV}.0(0)/mV"),
            started=row["time"].strftime("%H:%M:%S %d/%m/%Y"),
            comments=[f"# <subject_id>: {row['subject_id']}"],
        )
        written.save(root, f"{row['path']}.hea", header)
        if not row["lost"]:
            written.save(root, f"{row['path']}.dat", samples.T.astype("<i2").tobytes())
        written.rows.append(row)
        written.codes.append(tuple(scp))

    def tables(self, root: Path, written: Written) -> None:
        """Write the record list, the machine's measurements, ejection fractions and patients."""
        rows = sorted(written.rows, key=lambda row: (int(row["subject_id"]), row["ecg_time"]))
        written.save(root, "record_list.csv", table(RECORD_COLUMNS, rows))
        written.save(root, "machine_measurements.csv", table(MACHINE_COLUMNS, rows))
        echoes = [row for row in rows if row["LVEF"] is not None]
        written.save(root, "LVEF.csv", table(LVEF_COLUMNS, echoes))
        known = {row["subject_id"]: row for row in rows if row["known"]}
        written.save(root, "patients.csv", table(PATIENT_COLUMNS, known.values()))

    def _row(self, record: SimulatedRecord, number: int, scp: dict[str, float]) -> Row:
        patient = record.patient
        person = stream(self.seed, 6, patient.index)
        rng = stream(self.seed, 7, patient.index, record.number)
        year = int(person.integers(2110, 2190))
        known = bool(person.random() >= self.options.unknown_patients)
        recorded = datetime(year + int(record.years) - int(patient.age), 1, 1)
        time = recorded + timedelta(seconds=int(rng.integers(0, 31_000_000)))
        subject = self.patient_id(patient, number)
        study = str(40_000_000 + 7_919 * number % 10_000_000)
        path = f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
        draws = rng.random(4)
        lvef = ejection_fraction(record, rng)
        written = _as_extracted(lvef, draws[1], self.options.impossible_lvef)
        return {
            "subject_id": subject,
            "study_id": study,
            "file_name": study,
            "ecg_time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "path": path,
            "time": time,
            "waveform_path": path,
            "LVEF": written if draws[0] < self.options.echo else None,
            "class": int(written >= 50),
            "nan_lead": int(rng.integers(12)) if draws[2] < self.options.nan_lead else None,
            "lost": draws[3] < self.options.lost_signal,
            "known": known,
            "gender": "M" if patient.male else "F",
            "anchor_age": 91 if patient.age >= 90 else int(patient.age),
            "anchor_year": year,
            "anchor_year_group": "2014 - 2016",
            "dod": "",
            **_machine(record, scp, rng),
        }


def ejection_fraction(record: SimulatedRecord, rng: np.random.Generator) -> float:
    """Return the left ventricular ejection fraction in percent that goes with a record's heart."""
    loss = sum(cost * record.state.severity[INDEX[name]] for name, cost in LVEF_LOSS.items())
    return float(np.clip(LVEF_NORMAL - loss + LVEF_SD * rng.standard_normal(), 8, 78))


def _as_extracted(lvef: float, draw: float, impossible: float) -> float:
    """Return the value as a text search finds it: now and then a fraction, or without its dot."""
    if draw < impossible / 2:
        return round(lvef / 100, 2)
    return float(round(100 * lvef) if draw < impossible else round(lvef))


def _machine(record: SimulatedRecord, scp: dict[str, float], rng: np.random.Generator) -> Row:
    """Return the machine's reading: times in ms from the start of its median beat, axes in deg."""
    p_wave = bool(record.beats.atrial)
    qrs = int(rng.integers(395, 405))
    reports = [" ".join(scp), "Simulated ECG"]
    return {
        "cart_id": int(rng.integers(6_000_000, 7_000_000)),
        **dict(zip(REPORTS, [*reports, *[""] * (18 - len(reports))], strict=True)),
        "bandwidth": "0.005-150 Hz",
        "filtering": "60 Hz notch Baseline filter",
        "rr_interval": int(1000 * np.median(record.intervals)),
        "p_onset": qrs - 160 if p_wave else UNMEASURED,
        "p_end": qrs - 50 if p_wave else UNMEASURED,
        "qrs_onset": qrs,
        "qrs_end": qrs + 95,
        "t_end": qrs + 380,
        "p_axis": 45 if p_wave else UNMEASURED,
        "qrs_axis": QRS_AXIS.get(heart_axis(record.axis), 30),
        "t_axis": 40,
    }
