"""The layout of the PhysioNet Challenges, in the folders of Chapman-Shaoxing-Ningbo."""

import math
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate.labels import csn_labels, snomed, split_columns
from ecgscale.data.simulate.layout import (
    Layout,
    Written,
    balanced_parts,
    clinical_row,
    layouts,
    mat4,
    table,
)
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions, Profile
from ecgscale.data.simulate.records import SimulatedRecord, draw_patients, draw_record

CSN_SPLITS = {"train": 16546, "val": 1860, "test": 4620}
"""Records in each published split list; simulated cohorts are split in these proportions."""


class ChallengeOptions(CohortOptions):
    """A cohort in the Challenge's layout: one record per patient, other devices and case mix."""

    profile: ClassVar[Profile] = "challenge"

    fs: int = Field(default=500, ge=100, le=500)
    """Sampling rate, Hz; the published recordings have 500."""
    age_mean: float = 58.0
    age_sd: float = Field(default=19.0, gt=0)
    male: float = Field(default=0.56, ge=0, le=1)
    heart_rate: float = Field(default=80.0, gt=0)
    heart_rate_spread: float = Field(default=0.37, ge=0)
    bradycardia_below: float = 60.0
    misplaced: float = Field(default=0.015, ge=0, le=1)
    missing: dict[str, float] = Field(
        default={
            "height": 0.3,
            "weight": 0.3,
            "sbp": 0.12,
            "dbp": 0.12,
            "total_cholesterol": 0.6,
            "hdl_cholesterol": 0.65,
            "smoker": 0.5,
            "diabetes": 0.2,
        }
    )
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.018,
        muscle_slope=0.0,
        wander_mv=0.04,
        mains_hz=60.0,
        mains_mv=0.01,
        burst_probability=0.05,
        gain_sd=0.06,
        highpass_hz=0.5,
        lowpass_hz=70.0,
        resolution_uv=4.88,
    )

    @property
    def rates(self) -> tuple[int, ...]:
        """The rate of the recordings."""
        return (self.fs,)


@layouts.register("challenge")
class ChallengeLayout(Layout):
    """PhysioNet/CinC Challenge 2021 files in the folders of the Chapman-Shaoxing-Ningbo database.

    Zheng et al., Sci. Data 7:48 (2020) and Sci. Rep. 10:2898 (2020); Reyna et al., Challenge 2021.
    """

    Options: ClassVar[type[CohortOptions]] = ChallengeOptions

    def prepare(self, root: Path, records: int) -> None:
        """Make the folders that the records go to."""
        for number in range(1, records + 1, 100):
            (root / _challenge_folder(number)).mkdir(parents=True, exist_ok=True)
        (root / _challenge_folder(records)).mkdir(parents=True, exist_ok=True)
        (root / "csn-split").mkdir(exist_ok=True)

    def write(self, root: Path, first: int, last: int, first_record: int) -> Written:
        """Simulate and write patients `first` up to `last`, one record each."""
        written = Written()
        for patient in draw_patients(first, last, self.seed, self.options):
            record = draw_record(patient, 0, self.seed, self.options)
            number = first_record + patient.index - first
            name = f"JS{number:05d}"
            stem = f"{_challenge_folder(number)}/{name}"
            signal = record.signals[self.options.fs]
            written.save(root, f"{stem}.mat", mat4(signal))
            header = _challenge_header(name, self.options.fs, signal, record)
            written.save(root, f"{stem}.hea", header)
            written.clinical.append(clinical_row(name, patient, self.seed, self.options))
            written.rows.append(
                {
                    "patient_id": name,
                    "stem": stem,
                    "ecg_path": f"/chapman/{stem}.mat",
                    "age": 12,
                    "diagnose": ",".join(record.csn),
                    **split_columns(record.csn),
                }
            )
            written.codes.append(tuple(record.csn))
        return written

    def tables(self, root: Path, written: Written) -> None:
        """Write RECORDS and the split lists.

        The published lists hold 12 in every row's ``age``; so do these (the headers have the age).
        """
        names = "".join(row["stem"] + "\n" for row in written.rows)
        written.save(root, "RECORDS", names.encode())
        ids = [row["patient_id"] for row in written.rows]
        parts = balanced_parts(ids, written.codes, CSN_SPLITS, self.seed)
        columns = ("ecg_path", "age", "diagnose", *csn_labels())
        for split in CSN_SPLITS:
            rows = [row for row in written.rows if parts[row["patient_id"]] == split]
            written.save(root, f"csn-split/chapman_{split}.csv", table(columns, rows))


def _challenge_folder(number: int) -> str:
    return f"WFDBRecords/{(number - 1) // 1000 + 1:02d}/{(number - 1) // 100 + 10:03d}"


def _challenge_header(
    name: str, fs: int, signal: npt.NDArray[np.int16], record: SimulatedRecord
) -> bytes:
    lines = [f"{name} {len(LEADS)} {fs} {signal.shape[1]}"]
    for lead, samples in zip(LEADS, signal, strict=True):
        checksum = (int(samples.sum(dtype=np.int64)) + 0x8000) % 0x10000 - 0x8000
        lines.append(f"{name}.mat 16+24 1000/mV 16 0 {samples[0]} {checksum} 0 {lead}")
    codes = dict.fromkeys(snomed(acronym) for acronym in record.csn)
    lines += [
        f"#Age: {math.floor(record.years)}",
        f"#Sex: {'Male' if record.patient.male else 'Female'}",
        f"#Dx: {','.join(codes)}",
        *("#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"),
    ]
    return ("\n".join(lines) + "\n").encode()
