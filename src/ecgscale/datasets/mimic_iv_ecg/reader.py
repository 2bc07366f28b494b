"""MIMIC-IV-ECG as published on PhysioNet, with ejection fractions joined by study.

``docs/datasets/mimic-iv-ecg.md`` says what is known of the layout, from where, and what is assumed.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

from ecgscale.data.record import Record, Sex
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    parse_number,
    parse_patient,
    read_table,
    rows_by_key,
    whole_number,
)
from ecgscale.data.sources.demographics import OLDEST, parse_age, parse_sex
from ecgscale.data.wfdb import decode
from ecgscale.data.wfdb_header import read_header
from ecgscale.errors import BadInputError

TABLE = "record_list.csv"
LVEF_TABLE = "LVEF.csv"
PATIENTS = "patients.csv"

LOW_LVEF = 50.0
"""Percent under which an ejection fraction is low: `class` 0 of the published label table."""

LVEF_CODES = (f"lvef:<{LOW_LVEF:g}", f"lvef:>={LOW_LVEF:g}")
"""Labels of records with a low and with a normal ejection fraction."""

LVEF_RANGE = (5.0, 100.0)
"""Percent; the published table also holds values of 0-5 and of up to 7,065, which are not used."""


class MimicIvEcgOptions(SourceOptions):
    """Where the tables lie that are not part of the release."""

    lvef_table: Path | None = None
    """Table with `LVEF` in percent and `study_id` or `waveform_path`, absolute or relative to the
    source folder; None: ``LVEF.csv`` in it, if it is there."""
    patients: Path | None = None
    """``patients.csv`` of MIMIC-IV, unpacked, absolute or relative to the source folder; None: the
    one in it, if it is there."""


@dataclass(frozen=True)
class MimicIvEcgRef(Ref):
    """One row of the record list, with what the other tables say of it."""

    patient: str
    path: str
    age: float | None
    sex: Sex | None
    lvef: float | None
    notes: tuple[str, ...]


@sources.register("mimic-iv-ecg")
class MimicIvEcg(Source[MimicIvEcgRef]):
    """800,035 recordings of 10 s from 161,352 patients (version 1.0)."""

    Options: ClassVar[type[SourceOptions]] = MimicIvEcgOptions
    title = "MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset"
    licence = "ODbL 1.0"
    access = "open"
    unit = "mV"
    patient_key = "subject_id"
    citation = "Gow et al. 2023, MIMIC-IV-ECG (version 1.0), PhysioNet, doi:10.13026/4nqg-sb35"
    url = "https://physionet.org/content/mimic-iv-ecg/1.0/"

    def index(self) -> list[MimicIvEcgRef]:
        """List the rows of the record list, in its order."""
        self.require_root()
        rows = read_table(self.root / TABLE, ("subject_id", "study_id", "ecg_time", "path"))
        if not rows:
            raise BadInputError(f"{self.root / TABLE} lists no records")
        patients = self._patients()
        lvef = self._lvef()
        return [self._ref(row, patients, lvef) for row in rows]

    def read(self, ref: MimicIvEcgRef) -> Record:
        """Read one record."""
        patient = parse_patient(ref.patient, f"{TABLE}: subject_id of {ref.path}")
        path = self.named_file(f"{ref.path}.hea", TABLE, (".dat",))
        header = read_header(path)
        stated = header.comments.get("<subject_id>", ref.patient)
        if stated != ref.patient:
            raise QuarantineError(
                "bad-metadata", f"the header is of patient {stated}, {TABLE} says {ref.patient}"
            )
        found = decode(path.parent, header)
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(patient, ref.record_id),
            signal=found.signal,
            gain=found.gain,
            fs=found.fs,
            leads=found.leads,
            age=ref.age,
            sex=ref.sex,
            labels=_lvef_label(ref.lvef),
            measurements={} if ref.lvef is None else {"lvef": ref.lvef},
            clinical=self.clinical.get(patient or "", {}),
            notes=(*found.notes, *ref.notes),
        )

    def files(self, ref: MimicIvEcgRef) -> list[Path]:
        """Return the header and the signal file."""
        header = self.root / f"{ref.path}.hea"
        return [header, header.with_suffix(".dat")]

    def tables(self) -> list[Path]:
        """Return the record list and the tables joined to it."""
        joined = (self._lvef_table(), self._patient_table())
        return [self.root / TABLE, self.patient_table, *(path for path in joined if path)]

    def _ref(
        self,
        row: dict[str, str],
        patients: dict[str, dict[str, str]],
        lvef: dict[str, float | None],
    ) -> MimicIvEcgRef:
        patient, study = whole_number(row["subject_id"]), whole_number(row["study_id"])
        person = patients.get(patient, {})
        age, age_notes = _age(person, row["ecg_time"]) if person else (None, ())
        sex, sex_notes = parse_sex(person.get("gender", ""))
        unread = study in lvef and lvef[study] is None
        return MimicIvEcgRef(
            record_id=study,
            patient=patient,
            path=row["path"],
            age=age,
            sex=sex,
            lvef=lvef.get(study),
            notes=(
                *age_notes,
                *sex_notes,
                *(("LVEF that is not one number left out",) if unread else ()),
            ),
        )

    def _lvef_table(self) -> Path | None:
        return self._joined(self.options.lvef_table, LVEF_TABLE)

    def _patient_table(self) -> Path | None:
        return self._joined(self.options.patients, PATIENTS)

    def _joined(self, option: Path | None, default: str) -> Path | None:
        if option is not None:
            return self.root / option
        return self.root / default if (self.root / default).is_file() else None

    def _lvef(self) -> dict[str, float | None]:
        """Read study to ejection fraction, None where the table has no number, or several."""
        path = self._lvef_table()
        if path is None:
            return {}
        rows = read_table(path, ("LVEF",))
        key = next((name for name in ("study_id", "waveform_path") if rows and name in rows[0]), "")
        if rows and not key:
            raise BadInputError(f"{path} has neither a column 'study_id' nor 'waveform_path'")
        known: dict[str, float | None] = {}
        for row in rows:
            study, value = whole_number(PurePosixPath(row[key]).name), parse_number(row["LVEF"])
            known[study] = value if known.setdefault(study, value) == value else None
        return known

    def _patients(self) -> dict[str, dict[str, str]]:
        path = self._patient_table()
        if path is None:
            return {}
        rows = read_table(path, ("subject_id", "gender", "anchor_age", "anchor_year"))
        return rows_by_key(rows, "subject_id", path)


def _age(person: dict[str, str], ecg_time: str) -> tuple[float | None, tuple[str, ...]]:
    """Return the age in years at the recording, and notes on what was assumed.

    The age is known at the patient's anchor year; MIMIC-IV writes 91 for every one above 89.
    """
    anchor, notes = parse_age(person["anchor_age"])
    year, recorded = parse_number(person["anchor_year"]), parse_number(ecg_time[:4])
    if anchor is None or year is None or recorded is None:
        return None, notes
    age = anchor + recorded - year
    if anchor > 89 or age > 89:
        return OLDEST, (f"age {age:g} is above 89 and read as {OLDEST:g}",)
    return parse_age(f"{age:g}")


def _lvef_label(lvef: float | None) -> dict[str, float]:
    if lvef is None or not LVEF_RANGE[0] <= lvef <= LVEF_RANGE[1]:
        return {}
    return {LVEF_CODES[0 if lvef < LOW_LVEF else 1]: 100.0}
