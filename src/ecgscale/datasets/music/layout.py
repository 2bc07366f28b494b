"""MUSIC's layout: short Holter recordings, and a table with what became of the patients."""

from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.layout import Layout, Row, Written, layouts, wfdb_header
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord

FS = 200
UNITS_PER_MV = 200
"""The published gain is not known here."""

CAUSES: dict[str, dict[str, float]] = {
    "3": {"ventricular_premature": 0.7, "infarct_anterior": 0.5, "bigeminy": 0.5},
    "6": {"lbbb": 0.8, "atrial_fibrillation": 0.5},
}
"""Cause of death to what each condition adds to its score when typical (severity 1)."""

AGE_WEIGHT = 0.6
"""What an SD of age above the mean adds to the score of a death that is not cardiac."""

DEADLY = 0.75
"""Score above which a patient dies, of the cause with the highest."""

SCORE_SD = 0.15
"""SD of what neither heart nor age says."""

COLUMNS = (
    *("Patient ID", "Follow-up period from enrollment (days)", "days_4years"),
    *("Exit of the study", "Cause of death", "Age", "Gender (male=1)", "Weight (kg)"),
    *("Height (cm)", "NYHA class", "Diastolic blood  pressure (mmHg)"),
    *("Systolic blood pressure (mmHg)", "Diabetes (yes=1)", "LVEF (%)"),
    *("Hig-resolution ECG available", "ECG rhythm ", "Holter available"),
    *("Holter onset (hh:mm:ss)", "Holter  rhythm "),
)
"""Published columns (of 105) that are written, with their stray spaces."""


class MusicOptions(CohortOptions):
    """A cohort in MUSIC's layout: people with heart failure."""

    rates: ClassVar[tuple[int, ...]] = (FS,)
    recording_seconds: float = Field(default=60.0, ge=40)
    """Length of a recording; the published ones have 8 to 24 hours."""
    age_mean: float = 65.0
    age_sd: float = Field(default=12.0, gt=0)
    male: float = Field(default=0.72, ge=0, le=1)
    prevalence: dict[str, float] = Field(
        default={
            **{"atrial_fibrillation": 0.19, "ventricular_premature": 0.25},
            **{"infarct_anterior": 0.25, "lbbb": 0.25, "bigeminy": 0.05},
        }
    )
    no_holter: float = Field(default=0.056, ge=0, le=1)
    """Fraction of patients without a recording, as published (56 of 992)."""
    two_leads: float = Field(default=0.04, ge=0, le=1)
    """Fraction of recordings without lead Z, and with bytes after the last sample, as published."""
    late_start: float = Field(default=0.05, ge=0, le=1)
    """Fraction of recordings that begin flat, for 15 s."""
    flat: float = Field(default=0.01, ge=0, le=1)
    """Fraction of recordings in which lead Y is flat throughout."""
    lost_signal: float = Field(default=0.005, ge=0, le=1)
    """Fraction of recordings whose signal file is missing."""
    censored: float = Field(default=0.03, ge=0, le=1)
    """Fraction of survivors who were lost to follow-up or transplanted, as published."""
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.02, wander_mv=0.08, lowpass_hz=80.0, resolution_uv=5.0
    )

    @property
    def seconds(self) -> float:
        """Length of a recording."""
        return self.recording_seconds


@layouts.register("music")
class MusicLayout(Layout):
    """MUSIC 1.0.1: ``subject-info.csv`` and ``Holter_ECG/``, with leads I, aVF and V2 as X, Y, Z.

    The outcome follows from the simulated heart: a cause's score is the sum of `CAUSES` times the
    severity of each condition, that of a death that is not cardiac `AGE_WEIGHT` times the age in
    SDs, each with noise of `SCORE_SD`; the highest score above `DEADLY` is the cause.
    """

    Options: ClassVar[type[CohortOptions]] = MusicOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the patient's number in the study."""
        return f"P{patient.index + 1:04d}"

    def visits(self, patient: Patient) -> int:
        """Return 1."""
        return 1

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a patient's recording, if there is one."""
        name = self.patient_id(record.patient, number)
        rng = stream(self.seed, 6, record.patient.index)
        row = self._row(name, record, written.clinical[-1], rng)
        if row["Holter available"]:
            self._holter(root, written, name, record, rng)
        written.rows.append(row)
        written.codes.append((f"outcome:{row['Cause of death']}",))

    def tables(self, root: Path, written: Written) -> None:
        """Write the table of subjects."""
        lines = [";".join(COLUMNS)]
        lines += [";".join(str(row[name]) for name in COLUMNS) for row in written.rows]
        written.save(root, "subject-info.csv", ("\r\n".join(lines) + "\r\n").encode())

    def _holter(
        self,
        root: Path,
        written: Written,
        name: str,
        record: SimulatedRecord,
        rng: np.random.Generator,
    ) -> None:
        draws = rng.random(4)
        two = draws[0] < self.options.two_leads
        leads = [LEADS.index(lead) for lead in ("I", "aVF", "V2")[: 2 if two else 3]]
        samples = np.rint(record.signals[FS][leads] * (UNITS_PER_MV / 1000)).astype("<i2")
        if draws[1] < self.options.late_start:
            samples[:, : 15 * FS] = 0
        if draws[2] < self.options.flat:
            samples[1] = 0
        stem = f"Holter_ECG/{name}"
        header = wfdb_header(name, FS, samples, "XYZ"[: len(samples)], f"{UNITS_PER_MV}(0)/mV")
        written.save(root, f"{stem}.hea", header)
        if draws[3] >= self.options.lost_signal:
            rest = bytes(396) if two else b""
            written.save(root, f"{stem}.dat", samples.T.tobytes() + rest)

    def _row(
        self, name: str, record: SimulatedRecord, clinical: Row, rng: np.random.Generator
    ) -> Row:
        cause = cause_of_death(record, self.options, rng)
        draws = rng.random(3)
        censored = cause == "0" and draws[0] < self.options.censored
        exits = ("1" if draws[1] < 0.35 else "2") if censored else ""
        days = int(rng.integers(1500, 2065) if cause == "0" and not exits else rng.gamma(2, 400))
        rhythm = 1 if record.state.rhythm == "atrial_fibrillation" else 0
        years = int(record.years)
        return {
            **dict.fromkeys(COLUMNS, ""),
            "Patient ID": name,
            "Follow-up period from enrollment (days)": days,
            "days_4years": min(days, 1460),
            "Exit of the study": exits if cause == "0" else "3",
            "Cause of death": cause,
            "Age": ">89" if years > 89 else years,
            "Gender (male=1)": int(record.patient.male),
            "Weight (kg)": str(clinical["weight"]).replace(".", ","),
            "Height (cm)": str(clinical["height"]).replace(".", ","),
            "Diastolic blood  pressure (mmHg)": clinical["dbp"],
            "Systolic blood pressure (mmHg)": clinical["sbp"],
            "Diabetes (yes=1)": clinical["diabetes"] if clinical["diabetes"] != "" else "NA",
            "Hig-resolution ECG available": 0,
            "ECG rhythm ": rhythm,
            "Holter available": int(draws[2] >= self.options.no_holter),
            "Holter onset (hh:mm:ss)": "'11:38:43'",
            "Holter  rhythm ": rhythm,
        }


def cause_of_death(
    record: SimulatedRecord, options: CohortOptions, rng: np.random.Generator
) -> str:
    """Return the published code of what became of a patient: 0, 1, 3, 6 or 7 (as 6)."""
    severity = record.state.severity
    scores = {"1": AGE_WEIGHT * (record.patient.age - options.age_mean) / options.age_sd}
    for cause, weights in CAUSES.items():
        scores[cause] = sum(w * severity[INDEX[name]] for name, w in weights.items())
    noisy = {cause: score + SCORE_SD * rng.standard_normal() for cause, score in scores.items()}
    worst = max(noisy, key=lambda cause: noisy[cause])
    if noisy[worst] < DEADLY:
        return "0"
    return "7" if worst == "6" and rng.random() < 0.1 else worst
