"""Aurora-BP's layout: lead I of a wearable at measurements of blood pressure."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate.layout import Layout, Row, Written, layouts, table
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord

Protocol = Literal["auscultatory", "oscillometric"]
FS = 500

PARTICIPANTS = "participants.tsv"
PARTICIPANT_COLUMNS = (
    *("pid", "n_meas_inlab", "n_meas_ambulatory", "aurora_size", "fitzpatrick_scale"),
    *("bp_cuff_arm", "in_feature_table", "age", "height", "weight", "gender", "self_report_htn"),
    *("high_blood_pressure", "coronary_artery_disease", "diabetes", "arrythmia"),
    *("previous_heart_attack", "previous_stroke", "heart_failure", "aortic_stenosis"),
    *("valvular_heart_disease", "other_cv_diseases", "cvd_meds"),
)
MEASUREMENT_COLUMNS = (
    *("pid", "phase", "measurement", "date_time", "sbp", "dbp", "duration", "pressure_quality"),
    *("optical_quality", "waveform_file_path", "waveforms_generated"),
)
OBSERVER_COLUMNS = (
    *("primary_systolic", "primary_diastolic", "secondary_systolic", "secondary_diastolic"),
    *("consensus_systolic_error", "consensus_diastolic_error"),
)
"""What the auscultatory table has besides: two people listen."""

FEATURE_COLUMNS = (
    *("pid", "phase", "measurement", "date_time", "sbp", "dbp", "baseline_sbp", "baseline_dbp"),
    *("delta_sbp", "delta_dbp", "hr_ekg"),
)
"""The first of the published 53; of what is derived from sensors the heart rate alone."""

WAVEFORM_COLUMNS = ("t", "ekg", "optical", "pressure", "accel_x", "accel_y", "accel_z")
OTHER_SENSORS = (-5.8e5, 2900.0, -0.89, 0.048, 0.425)
"""Constants in place of what the optical sensor, the tonometer and the accelerometer measure."""

PHASES: dict[Protocol, tuple[tuple[str, str], ...]] = {
    "auscultatory": (
        ("initial", "Calibration start 1"),
        ("initial", "Calibration start 2"),
        ("initial", "Exercise challenge start 1"),
        ("return", "Temporal challenge start 1"),
    ),
    "oscillometric": (
        ("initial", "Sitting arm lap"),
        ("initial", "Supine 1"),
        ("ambulatory", "measurement 23"),
        ("return", "Sitting arm lap"),
    ),
}
"""Some of the published measurements; their order is that of a participant's records."""

CALIBRATIONS = ("Calibration start", "Supine")
"""How the measurements are named whose mean is the baseline."""


class AuroraBpOptions(CohortOptions):
    """A cohort in Aurora-BP's layout: adults balanced by sex, a wearable with dry electrodes."""

    rates: ClassVar[tuple[int, ...]] = (FS,)
    measurement_seconds: float = Field(default=18.0, gt=1)
    """Length of a measurement; published ones have 15 to 30 s."""
    measurements: int = Field(default=4, ge=1, le=4)
    """How many of the measurements of `PHASES` each participant has, the first ones."""
    auscultatory: float = Field(default=0.5, ge=0, le=1)
    """Fraction of participants in the auscultatory protocol."""
    unrecorded: float = Field(default=0.04, ge=0, le=1)
    """Fraction of measurements without waveforms."""
    unfeatured: float = Field(default=0.1, ge=0, le=1)
    """Fraction of participants without rows in ``features.tsv``, and so without a baseline."""
    unmeasured: float = Field(default=0.2, ge=0, le=1)
    """Fraction of ambulatory measurements in which the cuff found no pressure."""
    inaudible: float = Field(default=0.1, ge=0, le=1)
    """Fraction of measurements after exercise with a diastolic pressure of 0."""
    late: float = Field(default=0.05, ge=0, le=1)
    """Fraction of waveforms whose ECG starts late: empty cells."""
    gaps: float = Field(default=0.02, ge=0, le=1)
    """Fraction of waveforms with empty cells in the middle."""
    lost_signal: float = Field(default=0.01, ge=0, le=1)
    """Fraction of waveforms whose file is missing."""
    age_mean: float = 46.0
    age_sd: float = Field(default=13.0, gt=0)
    male: float = Field(default=0.5, ge=0, le=1)
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.03, wander_mv=0.15, mains_hz=60.0, mains_mv=0.008, lowpass_hz=100.0
    )

    @property
    def seconds(self) -> float:
        """Length of a measurement."""
        return self.measurement_seconds


@layouts.register("aurora-bp")
class AuroraBpLayout(Layout):
    """Aurora-BP: tables of participants, measurements and features, a TSV file a measurement.

    The blood pressure of a measurement is the patient's, plus what left ventricular hypertrophy
    and the heart rate add; the baseline is the mean of the calibrations.
    """

    Options: ClassVar[type[CohortOptions]] = AuroraBpOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the participant's pid."""
        pid: str = self._person(patient)["pid"]
        return pid

    def visits(self, patient: Patient) -> int:
        """Return how many measurements there are."""
        return int(self.options.measurements)

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a measurement."""
        person = self._person(record.patient)
        row = self._row(record, person, *PHASES[person["protocol"]][record.number])
        if row["waveforms_generated"] and not row["lost"]:
            written.save(root, row["waveform_file_path"], self._waveforms(record, row))
        written.rows.append(row)
        written.codes.append((person["protocol"],))

    def tables(self, root: Path, written: Written) -> None:
        """Write the tables of participants, of both protocols' measurements and of features."""
        people = {row["pid"]: row["person"] for row in written.rows}
        written.save(root, PARTICIPANTS, table(PARTICIPANT_COLUMNS, people.values(), "\t"))
        for protocol in PHASES:
            observers = OBSERVER_COLUMNS if protocol == "auscultatory" else ()
            rows = [row for row in written.rows if row["person"]["protocol"] == protocol]
            name = f"measurements_{protocol}.tsv"
            written.save(root, name, table((*MEASUREMENT_COLUMNS, *observers), rows, "\t"))
        written.save(root, "features.tsv", table(FEATURE_COLUMNS, _features(written.rows), "\t"))

    def _person(self, patient: Patient) -> Row:
        rng = stream(self.seed, 6, patient.index)
        listened = rng.random() < self.options.auscultatory
        protocol: Protocol = "auscultatory" if listened else "oscillometric"
        phases = [phase for phase, _ in PHASES[protocol][: self.options.measurements]]
        clinical = patient.clinical
        high = int(clinical["sbp"] >= 140)
        return {
            "protocol": protocol,
            "pid": f"{'a' if listened else 'o'}{patient.index:04d}",
            "n_meas_inlab": len(phases) - phases.count("ambulatory"),
            "n_meas_ambulatory": "" if listened else float(phases.count("ambulatory")),
            "aurora_size": "SML"[int(rng.integers(0, 3))],
            "fitzpatrick_scale": int(rng.integers(1, 7)),
            "bp_cuff_arm": "LR"[int(rng.integers(0, 2))],
            "in_feature_table": int(rng.random() >= self.options.unfeatured),
            "age": float(int(patient.age)),
            "height": float(round(clinical["height"] / 2.54)),
            "weight": float(round(clinical["weight"] / 0.45359237)),
            "gender": "M" if patient.male else "F",
            "self_report_htn": "unmanaged" if high else "norm",
            "high_blood_pressure": high,
            **dict.fromkeys(PARTICIPANT_COLUMNS[13:], 0),
            "diabetes": int(clinical["diabetes"]),
        }

    def _row(self, record: SimulatedRecord, person: Row, phase: str, measurement: str) -> Row:
        options = self.options
        rng = stream(self.seed, 7, record.patient.index, record.number)
        systolic, diastolic = record.pressures(rng)
        diastolic = min(diastolic, systolic - 10)
        draws = rng.random(6)
        sbp, dbp, observers = _read_off(systolic, diastolic, rng)
        if person["protocol"] == "oscillometric":
            sbp, dbp, observers = float(round(systolic)), float(round(diastolic)), {}
        if "Exercise" in measurement and draws[0] < options.inaudible:
            dbp = 0.0
        unmeasured = phase == "ambulatory" and draws[1] < options.unmeasured
        recorded = draws[2] >= options.unrecorded
        pid = person["pid"]
        stem = f"{pid}.{phase}.{measurement.replace(' ', '_')}"
        folder = f"measurements_{person['protocol']}/{pid}"
        days = record.number if phase == "return" else 0
        time = datetime(2018, 1, 1, 9) + timedelta(days=days, minutes=2 * record.number)
        return {
            "person": person,
            "pid": pid,
            "phase": phase,
            "measurement": measurement,
            "date_time": time.strftime("%Y-%m-%d %H:%M:%S"),
            "sbp": "" if unmeasured else sbp,
            "dbp": "" if unmeasured else dbp,
            "duration": options.seconds if recorded else 0.0,
            "pressure_quality": 1.0 if recorded else -1.0,
            "optical_quality": 0.95 if recorded else -1.0,
            "waveform_file_path": f"{folder}/{stem}.tsv" if recorded else "",
            "waveforms_generated": int(recorded),
            **observers,
            "hr_ekg": record.rate,
            "late": draws[3] < options.late,
            "gap": draws[4] < options.gaps,
            "lost": draws[5] < options.lost_signal,
        }

    def _waveforms(self, record: SimulatedRecord, row: Row) -> bytes:
        ecg = record.signals[FS][LEADS.index("I")] / 1000
        rng = stream(self.seed, 8, record.patient.index, record.number)
        start, end = rng.normal(0, 3, 2).tolist()
        ecg = ecg + np.linspace(start, end, len(ecg))
        if row["late"]:
            ecg[: FS // 5] = np.nan
        if row["gap"]:
            ecg[FS : FS + FS // 10] = np.nan
        return _waveforms(ecg)


def _read_off(
    systolic: float, diastolic: float, rng: np.random.Generator
) -> tuple[float, float, Row]:
    """Return what two observers read off a scale in steps of 2 mmHg: the means, and each."""
    first = [2.0 * round(value / 2) for value in (systolic, diastolic)]
    errors = 2.0 * rng.integers(0, 3, 2)
    second = [value - float(error) for value, error in zip(first, errors, strict=True)]
    values = (*first, *second, *(float(error) for error in errors))
    return (
        (first[0] + second[0]) / 2,
        (first[1] + second[1]) / 2,
        dict(zip(OBSERVER_COLUMNS, values, strict=True)),
    )


def _features(rows: list[Row]) -> list[Row]:
    """Return a row for each measurement and baseline of who was featurised and has a baseline."""
    by_person: dict[str, list[Row]] = {}
    for row in rows:
        if row["person"]["in_feature_table"]:
            by_person.setdefault(row["pid"], []).append(row)
    features = []
    for pid, own in by_person.items():
        resting = [row for row in own if row["measurement"].startswith(CALIBRATIONS)]
        if not resting:
            continue
        baseline = {name: float(np.mean([row[name] for row in resting])) for name in ("sbp", "dbp")}
        average = {
            **{"pid": pid, "phase": "synthetic", "measurement": "Calibration average values"},
            **baseline,
        }
        for row in (*own, average):
            known = {name: row[name] for name in baseline if row[name] != ""}
            features.append(
                {
                    **row,
                    **{f"baseline_{name}": value for name, value in baseline.items()},
                    **{f"delta_{name}": value - baseline[name] for name, value in known.items()},
                }
            )
    return features


def _waveforms(ecg: npt.NDArray[np.float64]) -> bytes:
    """Return a waveform file of one ECG, mV, at `FS`; five significant digits as published."""
    time = np.arange(len(ecg)) / FS
    time[0] = 1.1369e-13
    rest = "\t".join(f"{value:.5g}" for value in OTHER_SENSORS)
    lines = ["\t".join(WAVEFORM_COLUMNS)]
    for t, value in zip(time.tolist(), ecg.tolist(), strict=True):
        cell = "" if np.isnan(value) else f"{value:.5g}"
        lines.append(f"{t:.5g}\t{cell}\t{rest}")
    return ("\n".join(lines) + "\n").encode()
