"""CODE-15%'s layout: a table of exams, tracings in HDF5 shards."""

import io
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.simulate.cohort import PATIENTS_PER_BATCH
from ecgscale.data.simulate.layout import Layout, Row, Written, layouts, table
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord
from ecgscale.datasets.ptb_xl.statements import scp_codes

FS = 400
SAMPLES = 4096
COLUMNS = (
    *("exam_id", "age", "is_male", "nn_predicted_age", "1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"),
    *("patient_id", "death", "timey", "normal_ecg", "trace_file"),
)
STATEMENTS = {
    **{"1dAVb": "1AVB", "RBBB": "CRBBB", "LBBB": "CLBBB", "SB": "SBRAD", "ST": "STACH"},
    **{"AF": "AFIB", "normal_ecg": "NORM"},
}
"""Column to the SCP statement that makes it true."""

Tracing = npt.NDArray[np.float32]


class Code15Options(CohortOptions):
    """A cohort in CODE-15%'s layout: Brazilian telehealth, several exams of some patients."""

    rates: ClassVar[tuple[int, ...]] = (FS,)
    extra_record: float = Field(default=0.32, ge=0, lt=1)
    short: float = Field(default=0.3, ge=0, le=1)
    """Fraction of exams of 7 s; the others have 10 s."""
    blank: float = Field(default=0.005, ge=0, le=1)
    """Fraction of exams whose tracing holds only zeros."""
    lost_signal: float = Field(default=0.005, ge=0, le=1)
    """Fraction of exams that their shard lacks."""
    age_mean: float = 53.0
    age_sd: float = Field(default=17.5, gt=0)
    male: float = Field(default=0.4, ge=0, le=1)
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.02, wander_mv=0.15, mains_hz=60.0, mains_mv=0.012, lowpass_hz=100.0
    )


@layouts.register("code-15")
class Code15Layout(Layout):
    """CODE-15% 1.0.0: ``exams.csv`` and a shard for every batch of patients.

    A column is true where the reader states what `STATEMENTS` says.
    """

    Options: ClassVar[type[CohortOptions]] = Code15Options

    def write(self, root: Path, first: int, last: int, first_record: int) -> Written:
        """Simulate and write patients `first` up to `last`, into one shard.

        Raises
        ------
        ValueError
            If the patients are not (the beginning of) one batch: shards would overwrite each other.
        """
        part, place = divmod(first, PATIENTS_PER_BATCH)
        if place or last - first > PATIENTS_PER_BATCH:
            raise ValueError(f"patients {first} to {last} are not a batch of {PATIENTS_PER_BATCH}")
        name = f"exams_part{part}.hdf5"
        written = Written()
        exams: list[int] = []
        tracings: list[Tracing] = []
        for number, record in self.draw(written, first, last, first_record):
            exam = 100 + 13 * number
            row = {**self._row(record, exam), "trace_file": name}
            if not row["lost"]:
                exams.append(exam)
                tracings.append(_tracing(record, row))
            written.rows.append(row)
            written.codes.append(tuple(column for column in STATEMENTS if row[column]))
        written.save(root, name, _shard(exams, tracings))
        return written

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the patient's number."""
        return str(patient.index + 1)

    def tables(self, root: Path, written: Written) -> None:
        """Write the table of exams."""
        written.save(root, "exams.csv", table(COLUMNS, written.rows))

    def _row(self, record: SimulatedRecord, exam: int) -> Row:
        patient, options = record.patient, self.options
        rng = stream(self.seed, 6, patient.index, record.number)
        draws = rng.random(4)
        died = bool(patient.risk + 0.5 * rng.standard_normal() > 2)
        first = record.number == 0
        stated = scp_codes(record.reading)
        return {
            "exam_id": exam,
            "age": int(record.years),
            "is_male": patient.male,
            "nn_predicted_age": round(record.years + 8 * rng.standard_normal(), 5),
            **{column: code in stated for column, code in STATEMENTS.items()},
            "patient_id": patient.index + 1,
            "death": died if first else "",
            "timey": round(float(draws[0] * (2 if died else 4)), 5) if first else "",
            "short": draws[1] < options.short,
            "blank": draws[2] < options.blank,
            "lost": draws[3] < options.lost_signal,
        }


def _tracing(record: SimulatedRecord, row: Row) -> Tracing:
    """Return shape (4096, 12), mV, zeros at both ends."""
    seconds = 7 if row["short"] else 10
    signal = record.signals[FS][:, : seconds * FS].T.astype(np.float32) / 1000
    tracing = np.zeros((SAMPLES, signal.shape[1]), dtype=np.float32)
    if not row["blank"]:
        start = (SAMPLES - len(signal)) // 2
        tracing[start : start + len(signal)] = signal
    return tracing


def _shard(exams: list[int], tracings: list[Tracing]) -> bytes:
    """Return an HDF5 file that ends, as the published ones, with exam 0 and zeros."""
    import h5py

    content = io.BytesIO()
    nothing = np.zeros((SAMPLES, 12), dtype=np.float32)
    with h5py.File(content, "w") as file:
        file.create_dataset("exam_id", data=np.array([*exams, 0], dtype=np.int64))
        file.create_dataset("tracings", data=np.stack([*tracings, nothing]))
    return content.getvalue()
