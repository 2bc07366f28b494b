"""What every published layout supplies, and what layouts share."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord, draw_patients, draw_record
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.errors import BadInputError
from ecgscale.registry import Registry
from ecgscale.settings import Settings, first_problem

Row = dict[str, Any]
CLINICAL_TABLE = "patient_metadata.csv"
"""Our extension of the layouts: clinical fields by patient id, an empty cell where unknown."""


@dataclass
class Written:
    """What was written for some patients: digests by relative path, and rows for the tables.

    Attributes
    ----------
    rows
        One per record.
    clinical
        One per patient.
    codes
        For each row the codes that balance the folds and are counted.
    """

    files: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    clinical: list[Row] = field(default_factory=list)
    codes: list[tuple[str, ...]] = field(default_factory=list)

    def save(self, root: Path, name: str, content: bytes) -> None:
        """Write one file under `root`, make the folders that it lies in, and keep its digest."""
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        self.files[name] = hashlib.sha256(content).hexdigest()

    def extend(self, other: "Written") -> None:
        """Append what was written for later patients."""
        self.files |= other.files
        self.rows += other.rows
        self.clinical += other.clinical
        self.codes += other.codes


class Layout:
    """The files and tables of one published data set.

    Parameters
    ----------
    options
        Of type `Options`.
    seed
        Seed of all streams.

    Attributes
    ----------
    Options
        The typed options of a cohort in this layout, with the data set's profile as defaults.
    """

    Options: ClassVar[type[CohortOptions]] = CohortOptions

    def __init__(self, options: Any, seed: int) -> None:
        self.options = options
        self.seed = seed

    def write(self, root: Path, first: int, last: int, first_record: int) -> Written:
        """Simulate and write patients `first` up to, not including, `last`.

        Their records are numbered from `first_record`, which is 1 in all.
        """
        written = Written()
        for number, record in self.draw(written, first, last, first_record):
            self.save(root, written, number, record)
        return written

    def draw(
        self, written: Written, first: int, last: int, first_record: int
    ) -> Iterator[tuple[int, SimulatedRecord]]:
        """Iterate over numbers and records of some patients; note each one's clinical row."""
        number = first_record
        for patient in draw_patients(first, last, self.seed, self.options):
            name = self.patient_id(patient, number)
            written.clinical.append(clinical_row(name, patient, self.seed, self.options))
            for visit in range(self.visits(patient)):
                yield number, draw_record(patient, visit, self.seed, self.options)
                number += 1

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return a patient's id, given the number of the patient's first record."""
        raise NotImplementedError

    def visits(self, patient: Patient) -> int:
        """Return how many records of a patient are written."""
        return patient.records

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write the files of a record, and note its row and its codes."""
        raise NotImplementedError

    def tables(self, root: Path, written: Written) -> None:
        """Write the tables of the whole cohort."""


layouts: Registry[Layout] = Registry("layout", "ecgscale.datasets", "layout")


def cohort_options(recipe: CohortSettings) -> Any:
    """Return a recipe's options: its layout's profile with the recipe's changes.

    A change of part of `prevalence`, `missing` or `noise` leaves the rest of it as it is.

    Raises
    ------
    BadInputError
        If the layout does not exist, or an option is unknown or out of range; the message names it.
    """
    kind = layouts.get(recipe.layout).Options
    merged: dict[str, Any] = dict(recipe.options)
    for key in ("missing", "noise"):
        if isinstance(merged.get(key), dict):
            merged[key] = {**_plain(getattr(kind(), key)), **merged[key]}
    try:
        return kind(**merged)
    except ValidationError as error:
        problem = first_problem(error)
        raise BadInputError(f"simulate options of layout {recipe.layout}: {problem}") from error


def clinical_row(patient_id: str, patient: Patient, seed: int, options: CohortOptions) -> Row:
    """Return a patient's row of the clinical table, with gaps as the cohort has them."""
    draws = stream(seed, 4, patient.index).random(len(CLINICAL_FIELDS))
    row: Row = {"patient_id": patient_id}
    for name, draw in zip(CLINICAL_FIELDS, draws, strict=True):
        missing = draw < options.missing.get(name, 0.2)
        row[name] = "" if missing else patient.clinical[name]
    return row


def clinical_table(root: Path, written: Written) -> None:
    """Write the clinical table of the cohort."""
    written.save(root, CLINICAL_TABLE, table(("patient_id", *CLINICAL_FIELDS), written.clinical))


def balanced_parts(
    patients: Sequence[Any], codes: Sequence[tuple[str, ...]], parts: dict[Any, int], seed: int
) -> dict[Any, Any]:
    """Deal patients into parts (folds, splits) of given sizes so that every code is spread evenly.

    Patients with the rarest codes go first, each to the part that lacks the patient's codes most,
    of the parts that are behind their share (after the iterative stratification of Sechidis et
    al., ECML PKDD 2011).

    Parameters
    ----------
    patients, codes
        For each record its patient and its codes.
    parts
        Part to its relative size.

    Returns
    -------
    Patient to part.
    """
    own: dict[Any, dict[str, None]] = {}
    for patient, record in zip(patients, codes, strict=True):
        own.setdefault(patient, {}).update(dict.fromkeys(record))
    frequency = Counter(code for names in own.values() for code in names)
    order = list(own)
    stream(seed, 5).shuffle(order)
    order.sort(key=lambda patient: min((frequency[code] for code in own[patient]), default=0))
    names = list(parts)
    share = np.array([parts[name] for name in names]) / sum(parts.values())
    dealt = np.zeros(len(names))
    lack = {code: np.zeros(len(names)) for code in frequency}
    result = {}
    for turn, patient in enumerate(order, start=1):
        behind = share * turn - dealt
        need = 1e-6 * behind
        for code in own[patient]:
            lack[code] += share
            need += lack[code] / frequency[code]
        part = int(np.argmax(np.where(behind > 0, need, -np.inf)))
        dealt[part] += 1
        for code in own[patient]:
            lack[code][part] -= 1
        result[patient] = names[part]
    return result


def wfdb_header(
    name: str,
    fs: int,
    samples: npt.NDArray[np.int16],
    leads: Iterable[str],
    gain: str,
    file: str = ".dat 16",
    started: str = "",
    comments: Iterable[str] = (),
    least: int = 0,
) -> bytes:
    """Return the header of a record in one signal file.

    Parameters
    ----------
    samples
        Shape (lead, time).
    gain
        Units per mV, with baseline and unit, as the publisher writes it ("1000.0(0)/mV").
    file
        Suffix of the signal file and its format.
    started
        Time and date on the record line, where there is one.
    least
        The smallest checksum of 16 bits: 0, or -32768 where a publisher writes them with a sign.
    """
    lines = [" ".join(filter(None, (f"{name} {len(samples)} {fs} {samples.shape[1]}", started)))]
    for lead, row in zip(leads, samples, strict=True):
        checksum = (int(row.sum(dtype=np.int64)) - least) % 65536 + least
        lines.append(f"{name}{file} {gain} 16 0 {row[0]} {checksum} 0 {lead}")
    return ("\n".join([*lines, *comments]) + "\n").encode()


def mat4(signal: npt.NDArray[np.int16]) -> bytes:
    """Return a MATLAB 4 file with one int16 matrix `val` (lead, time): 24 bytes, then data."""
    header = np.array([30, *signal.shape, 0, 4], dtype="<i4").tobytes() + b"val\0"
    return header + signal.T.astype("<i2").tobytes()


def table(columns: Iterable[str], rows: Iterable[Row], delimiter: str = ",") -> bytes:
    """Return a CSV file of rows, in this order of columns; what a row has besides is left out."""
    text = io.StringIO()
    writer = csv.DictWriter(
        text, list(columns), extrasaction="ignore", lineterminator="\n", delimiter=delimiter
    )
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _plain(value: Any) -> dict[str, Any]:
    return value.model_dump() if isinstance(value, Settings) else dict(value)
