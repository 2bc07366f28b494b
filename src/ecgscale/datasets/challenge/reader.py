"""PhysioNet/CinC Challenge 2020 and 2021: WFDB headers with SNOMED CT codes."""

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar, Literal

from ecgscale.data.record import Record, Split
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import (
    is_inside,
    parse_patient,
    read_lines,
    read_names,
    read_table,
    whole_number,
)
from ecgscale.data.sources.demographics import read_comments
from ecgscale.data.wfdb import comments, decode, without_suffix
from ecgscale.data.wfdb_header import read_header
from ecgscale.errors import BadInputError

SPLIT_FILES: dict[str, Split] = {
    "chapman_train.csv": "train",
    "chapman_val.csv": "validation",
    "chapman_test.csv": "test",
}
_SIGNAL_SUFFIXES = (".mat", ".dat")
_NOT_LABELS = ("ecg_path", "age", "diagnose")


ONE_RECORD_EACH = re.compile(r"JS[0-9]{5}")
"""Records that are of one patient each: Chapman-Shaoxing and Ningbo publish 45,152 recordings of
45,152 patients (Zheng et al. 2020; PhysioNet ecg-arrhythmia 1.0.0). The other databases have
several records of some patients, or do not say, and the Challenge names no patients."""


class ChallengeOptions(SourceOptions):
    """Published split lists that go with the recordings, and who the patients are."""

    patients: Literal["record"] | Path | None = None
    """Table of the patients, absolute or relative to the source folder: CSV with the columns
    `record` and `patient`, PTB-XL's ``ptbxl_database.csv`` (for ``HR`` records), or INCART's
    ``files-patients-diagnoses.txt`` (for ``I`` records). `record`: every record is of another
    patient. Patients of records that neither this nor `ONE_RECORD_EACH` covers are unknown."""
    split_lists: Path | None = None
    """Folder of ``chapman_{train,val,test}.csv``, absolute or relative to the source folder."""


@dataclass(frozen=True)
class ChallengeRef(Ref):
    """A header's path relative to the source folder, and what the tables say of the record."""

    path: str
    split: Split | None
    split_labels: tuple[str, ...]
    patient: str | None = None
    nobody: bool = False
    """Whether a table says that nobody knows who the patient is."""


@sources.register("challenge")
class Challenge(Source[ChallengeRef]):
    """Chapman-Shaoxing, Ningbo, Georgia, CPSC 2018, PTB and others, in one layout."""

    Options: ClassVar[type[SourceOptions]] = ChallengeOptions
    title = "PhysioNet/Computing in Cardiology Challenge 2020 and 2021"
    licence = "CC BY 4.0"
    access = "open"
    unit = "mV"
    patient_key = "the record in Chapman-Shaoxing and Ningbo; else the table in the option patients"
    citation = (
        "Perez Alday et al., Physiological Measurement 41:124003 (2020), "
        "doi:10.1088/1361-6579/abc960; Reyna et al., Computing in Cardiology 48 (2021), "
        "doi:10.23919/CinC53138.2021.9662687"
    )
    url = "https://physionet.org/content/challenge-2021/"

    def index(self) -> list[ChallengeRef]:
        """List every record found in the folder or named by a RECORDS file, sorted by path."""
        self.require_root()
        paths = self._paths()
        if not paths:
            raise BadInputError(f"source folder {self.root} has no WFDB records (.hea, .mat)")
        splits = self._splits()
        patients = self._patients()
        refs = []
        for path in paths:
            name = PurePosixPath(path).stem
            split, labels = splits.get(name, (None, ()))
            own = self.options.patients == "record" or ONE_RECORD_EACH.fullmatch(name)
            patient = patients.get(name, name if own else None)
            nobody = name in patients and patient is None
            refs.append(ChallengeRef(name, path, split, labels, patient, nobody))
        return refs

    def read(self, ref: ChallengeRef) -> Record:
        """Read one record."""
        path = self.root / ref.path
        if not is_inside(self.root, path.parent):
            raise QuarantineError("path-traversal", f"RECORDS names {ref.path!r}")
        header = read_header(path)
        said = read_comments(comments(path))
        for code in said.labels:
            if not is_sctid(code):
                raise QuarantineError("unknown-label", f"{code!r} is not a SNOMED CT code")
        without = "empty #Dx in the header" if said.label_lines else "no #Dx in the header"
        found = decode(path.parent, header)
        return Record(
            record_id=ref.record_id,
            patient_id=self.patient_id(ref.patient, ref.record_id),
            signal=found.signal,
            fs=found.fs,
            leads=found.leads,
            age=said.age,
            sex=said.sex,
            labels=dict.fromkeys(said.labels, 100.0),
            split=ref.split,
            split_labels=ref.split_labels,
            clinical=self.clinical.get(ref.patient or ("" if ref.nobody else ref.record_id), {}),
            gain=found.gain,
            notes=(*found.notes, *said.notes, *(() if said.labels else (without,))),
        )

    def files(self, ref: ChallengeRef) -> list[Path]:
        """Return the header and the signal file of the same name."""
        path = self.root / ref.path
        return [path, *(path.with_suffix(suffix) for suffix in _SIGNAL_SUFFIXES)]

    def tables(self) -> list[Path]:
        """Return the split lists and the patient table."""
        lists = self._split_folder()
        names = [lists / name for name in SPLIT_FILES] if lists else []
        own = self._patient_file()
        return [self.patient_table, *names, *([own] if own else [])]

    def _paths(self) -> list[str]:
        found = set()
        for folder, _, names in os.walk(self.root):
            below = Path(folder).relative_to(self.root)
            for name in names:
                path = below / name
                if path.suffix in (".hea", *_SIGNAL_SUFFIXES):
                    found.add(path.with_suffix(".hea").as_posix())
                elif name == "RECORDS":
                    if not is_inside(self.root, self.root / path):
                        raise BadInputError(f"{path} lies outside the source folder {self.root}")
                    found |= {(below / line).as_posix() for line in _listed(Path(folder) / name)}
        return sorted(found)

    def _split_folder(self) -> Path | None:
        lists = self.options.split_lists
        return self.root / lists if lists else None

    def _patient_file(self) -> Path | None:
        named = self.options.patients
        return self.root / named if isinstance(named, Path) else None

    def _patients(self) -> dict[str, str | None]:
        """Read who the patients are; None where the table says that nobody knows."""
        path = self._patient_file()
        if path is None:
            return {}
        if path.suffix == ".txt":
            return {**_incart_patients(path)}
        rows = read_table(path, ())
        if rows and {"ecg_id", "patient_id"} <= rows[0].keys():
            named = [
                ("HR" + whole_number(row["ecg_id"]).zfill(5), row["patient_id"]) for row in rows
            ]
        else:
            rows = read_table(path, ("record", "patient"))
            named = [(row["record"].strip(), row["patient"]) for row in rows]
        patients: dict[str, str | None] = {}
        for record, text in named:
            if not text.strip():
                raise BadInputError(f"{path} names no patient for the record {record!r}")
            patient = parse_patient(text, "patient")
            if patients.setdefault(record, patient) != patient:
                raise BadInputError(f"{path} names several patients for the record {record!r}")
        return patients

    def _splits(self) -> dict[str, tuple[Split, tuple[str, ...]]]:
        folder = self._split_folder()
        splits: dict[str, tuple[Split, tuple[str, ...]]] = {}
        if folder is None:
            return splits
        for name, split in SPLIT_FILES.items():
            for row in read_table(folder / name, ("ecg_path",)):
                record = PurePosixPath(row["ecg_path"]).stem
                known = splits.get(record, (split, ()))[0]
                if known != split:
                    raise BadInputError(f"{folder} lists {record} in both {known} and {split}")
                labels = (key for key, value in row.items() if value == "1")
                splits[record] = split, tuple(key for key in labels if key not in _NOT_LABELS)
        return splits


def _incart_patients(path: Path) -> dict[str, str]:
    """Read INCART's list: a line "patient <number>", then a line with that patient's records."""
    patients: dict[str, str] = {}
    patient = None
    for number, line in enumerate(read_lines(path, encoding="latin-1"), start=1):
        heading = re.match(r"\s*patient\s+([0-9]+)", line, flags=re.IGNORECASE)
        names = re.findall(r"\bI([0-9]{2,4})\b", line)
        if heading:
            patient = f"incart-{heading[1]}"
        elif names and patient is None:
            raise BadInputError(f"{path}, line {number}: records before the first patient")
        for name in names:
            if patients.setdefault(f"I{int(name):04d}", str(patient)) != patient:
                raise BadInputError(f"{path}, line {number}: I{name} is of two patients")
    if not patients:
        raise BadInputError(f"{path} has no lines with a patient and records")
    return patients


def _listed(path: Path) -> list[str]:
    names = read_names(path, (".hea", *_SIGNAL_SUFFIXES))
    return [f"{without_suffix(name, path.parent)}.hea" for name in names if name[-1] != "/"]


_VERHOEFF_STEP = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)


def is_sctid(code: str) -> bool:
    """Whether a text is a SNOMED CT identifier: 6 to 18 digits, the last a Verhoeff check digit.

    Reference: SNOMED CT Technical Implementation Guide, "Check-digit" (Verhoeff 1969, dihedral).
    """
    if not re.fullmatch(r"[1-9][0-9]{5,17}", code, flags=re.ASCII):
        return False
    check = 0
    for position, digit in enumerate(map(int, reversed(code))):
        for _ in range(position % 8):
            digit = _VERHOEFF_STEP[digit]
        check = _dihedral(check, digit)
    return check == 0


def _dihedral(a: int, b: int) -> int:
    """Multiply in the dihedral group of order ten: 0-4 are rotations, 5-9 reflections."""
    turn = a % 5 + (b % 5 if a < 5 else -(b % 5))
    return turn % 5 + 5 * ((a < 5) != (b < 5))
