"""PTB-XL as published on PhysioNet."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from ecgscale.data.record import Record, Sex
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    parse_fold,
    parse_likelihoods,
    parse_measurement,
    parse_patient,
    read_table,
    whole_number,
)
from ecgscale.data.sources.demographics import parse_age, parse_sex
from ecgscale.data.wfdb import decode
from ecgscale.data.wfdb_header import read_header
from ecgscale.errors import BadInputError

TABLE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
_FILE_COLUMN = {100: "filename_lr", 500: "filename_hr"}
_SEX: dict[str, Sex] = {"0": "M", "1": "F"}
"""PTB-XL codes male as 0 and female as 1 (Wagner et al. 2020, table 2)."""


class PtbXlOptions(SourceOptions):
    """Which of the two published rates is read."""

    rate: Literal[100, 500] = 100


@dataclass(frozen=True)
class PtbXlRef(Ref):
    """One row of the table, as text."""

    path: str
    row: dict[str, str]


@sources.register("ptb-xl")
class PtbXl(Source[PtbXlRef]):
    """21,799 recordings of 10 s from 18,869 patients (version 1.0.3)."""

    Options: ClassVar[type[SourceOptions]] = PtbXlOptions
    title = "PTB-XL, a large publicly available electrocardiography dataset"
    licence = "CC BY 4.0"
    access = "open"
    unit = "mV"
    patient_key = "patient_id"
    citation = "Wagner et al., Scientific Data 7:154 (2020), doi:10.1038/s41597-020-0495-6"
    url = "https://physionet.org/content/ptb-xl/"

    def index(self) -> list[PtbXlRef]:
        """List the rows of the table, in its order."""
        self.require_root()
        column = _FILE_COLUMN[self.options.rate]
        wanted = ("ecg_id", "patient_id", "age", "sex", "scp_codes", "strat_fold", column)
        rows = read_table(self.root / TABLE, wanted)
        if not rows:
            raise BadInputError(f"{self.root / TABLE} lists no records")
        keep = {*wanted, "height", "weight", "device"}
        return [
            PtbXlRef(
                record_id=whole_number(row["ecg_id"]),
                path=row[column] + ".hea",
                row={name: value for name, value in row.items() if name in keep},
            )
            for row in rows
        ]

    def read(self, ref: PtbXlRef) -> Record:
        """Read one record at the chosen rate."""
        row = ref.row
        age, age_notes = parse_age(row["age"])
        sex, sex_notes = parse_sex(row["sex"], _SEX)
        labels, label_notes = self._labels(row["scp_codes"])
        body, body_notes = _body(row)
        path = self.named_file(ref.path, TABLE, (".dat",))
        found = decode(path.parent, read_header(path))
        if found.fs != self.options.rate:
            raise QuarantineError(
                "wrong-rate", f"{ref.path} states {found.fs:g} Hz, not {self.options.rate}"
            )
        patient = parse_patient(row["patient_id"], "patient_id")
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.record_id),
            signal=found.signal,
            gain=found.gain,
            fs=found.fs,
            leads=found.leads,
            age=age,
            sex=sex,
            labels=labels,
            fold=parse_fold(row["strat_fold"]),
            clinical={**body, **self.clinical.get(patient or "", {})},
            device=row.get("device", "").strip(),
            notes=(*found.notes, *age_notes, *sex_notes, *label_notes, *body_notes),
        )

    def files(self, ref: PtbXlRef) -> list[Path]:
        """Return the header and the signal file."""
        path = self.root / ref.path
        return [path, path.with_suffix(".dat")]

    def tables(self) -> list[Path]:
        """Return the record table, the statements and the patient table."""
        return [self.root / TABLE, self.root / STATEMENTS, self.patient_table]

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """The SCP codes that the source's own ``scp_statements.csv`` defines."""
        rows = read_table(self.root / STATEMENTS, ("",))
        return frozenset(row[""] for row in rows)

    def _labels(self, text: str) -> tuple[dict[str, float], tuple[str, ...]]:
        labels, notes = parse_likelihoods(text)
        unknown = sorted(set(labels) - self.vocabulary)
        if unknown:
            raise QuarantineError("unknown-label", f"{unknown[0]!r} is not in {STATEMENTS}")
        return labels, notes


def _body(row: dict[str, str]) -> tuple[dict[str, float], tuple[str, ...]]:
    body: dict[str, float] = {}
    notes: list[str] = []
    for name in ("height", "weight"):
        value, more = parse_measurement(row.get(name, ""), name)
        notes += more
        if value:
            body[name] = value
    return body, tuple(notes)
