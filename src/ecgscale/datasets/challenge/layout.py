"""The layout of the PhysioNet Challenges, in the folders of Chapman-Shaoxing-Ningbo."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate import Layout, layouts
from ecgscale.data.simulate.layout import Written, balanced_parts, mat4, table, wfdb_header
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions, RatedOptions
from ecgscale.data.simulate.population import Patient
from ecgscale.data.simulate.records import SimulatedRecord
from ecgscale.datasets.challenge import statements

CSN_SPLITS = {"train": 16546, "val": 1860, "test": 4620}
"""Records in each published split list; simulated cohorts are split in these proportions."""


class ChallengeOptions(RatedOptions):
    """A cohort in the Challenge's layout: one record per patient, other devices and case mix."""

    case_mix: ClassVar[Mapping[str, float]] = statements.case_mix()

    age_mean: float = 58.0
    age_sd: float = Field(default=19.0, gt=0)
    male: float = Field(default=0.56, ge=0, le=1)
    heart_rate: float = Field(default=80.0, gt=0)
    heart_rate_spread: float = Field(default=0.37, ge=0)
    bradycardia_below: float = 60.0
    misplaced: float = Field(default=0.015, ge=0, le=1)
    missing: dict[str, float] = Field(
        default={
            **{"height": 0.3, "weight": 0.3, "sbp": 0.12, "dbp": 0.12, "total_cholesterol": 0.6},
            **{"hdl_cholesterol": 0.65, "smoker": 0.5, "diabetes": 0.2},
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


@layouts.register("challenge")
class ChallengeLayout(Layout):
    """PhysioNet/CinC Challenge 2021 files in the folders of the Chapman-Shaoxing-Ningbo database.

    Zheng et al., Sci. Data 7:48 (2020) and Sci. Rep. 10:2898 (2020); Reyna et al., Challenge 2021.
    """

    Options: ClassVar[type[CohortOptions]] = ChallengeOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the record's name: nobody has two."""
        return f"JS{number:05d}"

    def visits(self, patient: Patient) -> int:
        """Return 1."""
        return 1

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a record."""
        name, fs = f"JS{number:05d}", self.options.fs
        stem = f"WFDBRecords/{(number - 1) // 1000 + 1:02d}/{(number - 1) // 100 + 10:03d}/{name}"
        stated = statements.acronyms(record.reading)
        comments = [
            f"#Age: {math.floor(record.years)}",
            f"#Sex: {'Male' if record.patient.male else 'Female'}",
            f"#Dx: {','.join(dict.fromkeys(map(statements.snomed, stated)))}",
            *("#Rx: Unknown", "#Hx: Unknown", "#Sx: Unknown"),
        ]
        header = wfdb_header(
            *(name, fs, record.signals[fs], LEADS, "1000/mV", ".mat 16+24"),
            comments=comments,
            least=-32768,
        )
        written.save(root, f"{stem}.mat", mat4(record.signals[fs]))
        written.save(root, f"{stem}.hea", header)
        written.rows.append(
            {
                "patient_id": name,
                "stem": stem,
                "ecg_path": f"/chapman/{stem}.mat",
                "age": 12,
                "diagnose": ",".join(stated),
                **statements.split_columns(stated),
            }
        )
        written.codes.append(tuple(stated))

    def tables(self, root: Path, written: Written) -> None:
        """Write RECORDS and the split lists.

        The published lists hold 12 in every row's ``age``; so do these (the headers have the age).
        """
        names = "".join(row["stem"] + "\n" for row in written.rows)
        written.save(root, "RECORDS", names.encode())
        ids = [row["patient_id"] for row in written.rows]
        parts = balanced_parts(ids, written.codes, CSN_SPLITS, self.seed)
        labels = (label["acronym"] for label in statements.csn_labels())
        columns = ("ecg_path", "age", "diagnose", *labels)
        for split in CSN_SPLITS:
            rows = [row for row in written.rows if parts[row["patient_id"]] == split]
            written.save(root, f"csn-split/chapman_{split}.csv", table(columns, rows))
