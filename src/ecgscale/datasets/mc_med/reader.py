"""MC-MED, emergency department visits with bedside monitoring, as published on PhysioNet.

Known of release 1.0.1 from its abstract and from public code that reads it (preparation scripts and
downstream data loader of CLEF, Nokia Bell Labs; SignalMC-MED, Gustafsson et al. 2026), below
``data/``:

- ``visits.csv``: a row a visit, with the columns used below;
- ``waveform_summary.csv``: CSN, Type, Segments, Duration;
- ``split_chrono_{train,val,test}.csv``, ``split_random_*.csv``: a visit's CSN a line, no header;
- ``waveforms/<last 3 digits of CSN>/<CSN>/<type>/<CSN>_<segment>``: WFDB records of one signal,
  segments counted from 1; type II is ECG lead II at 500 Hz.

Assumed, since the data are credentialed: the header's gain and unit are right, and missing samples
are what WFDB marks as missing. The sample format does not matter: `wfdb` reads them all, and only
the window that is asked for. It takes a gain of 0 for 200/mV; ingest checks the amplitude.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.record import Record, Sex, Split
from ecgscale.data.sources.base import (
    PATIENT_METADATA,
    QuarantineError,
    Ref,
    Source,
    SourceOptions,
    is_inside,
    parse_age,
    parse_sex,
    read_clinical,
    read_table,
    sources,
    whole_number,
)
from ecgscale.data.wfdb16 import GAINS, MILLIVOLTS, RATES
from ecgscale.errors import BadInputError

VISITS = "visits.csv"
SUMMARY = "waveform_summary.csv"
WAVEFORMS = "waveforms"
LEAD = "II"

SPLIT_NAMES: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}

LABELS = {
    "ED_dispo": "ed-disposition",
    "DC_dispo": "discharge-disposition",
    "Triage_acuity": "acuity",
}
"""Column of a visit's statement to the prefix of its code: "ed-disposition:Discharge"."""

PRESSURES = {"Triage_SBP": "sbp", "Triage_DBP": "dbp"}
"""Column of a blood pressure at triage to its name in the record, mmHg."""

PRESSURE_RANGE = (20.0, 300.0)
"""mmHg outside which a number is no blood pressure (an assumption of this reader)."""


class McMedOptions(SourceOptions):
    """Which windows of the recordings are read, and which published split goes with them."""

    split: Literal["chrono", "random"] = "chrono"
    """By date, as CLEF uses it, or at random; both keep a patient in one part."""
    window_seconds: float = Field(default=10.0, gt=0)
    windows: int = Field(default=1, ge=1)
    """Most windows of a segment, one after the other from its start; CLEF reads the first 10 s."""
    segments: int = Field(default=1, ge=1)
    """Most segments of a visit, from its first."""


@dataclass(frozen=True)
class McMedRef(Ref):
    """A window of a visit's recording, with what the tables say of the visit."""

    patient: str
    path: str
    start: int
    age: float | None
    sex: Sex | None
    labels: dict[str, float]
    measurements: dict[str, float]
    split: Split | None
    clinical: dict[str, float]
    notes: tuple[str, ...]


@sources.register("mc-med")
class McMed(Source[McMedRef]):
    """118,385 visits of 70,545 patients, 83,623 visits of 53,123 with waveforms (version 1.0.1)."""

    Options: ClassVar[type[SourceOptions]] = McMedOptions
    leads = (LEAD,)
    title = "Multimodal Clinical Monitoring in the Emergency Department (MC-MED)"
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    access = "credentialed"
    unit = "mV"
    patient_key = "MRN"
    citation = "Kansal et al., Scientific Data 12:1094 (2025), doi:10.1038/s41597-025-05419-5"
    url = "https://physionet.org/content/mc-med/1.0.1/"

    @property
    def data(self) -> Path:
        """The folder with ``visits.csv``: the source folder, or ``data`` in it as published."""
        return self.root / "data" if (self.root / "data" / VISITS).is_file() else self.root

    def index(self) -> list[McMedRef]:
        """List the windows of every visit with ECG, in the order of ``visits.csv``.

        Headers are only read if more than one window of a segment is asked for.
        """
        self.require_root()
        wanted = ("MRN", "CSN", "Age", "Gender", *LABELS, *PRESSURES)
        rows = read_table(self.data / VISITS, wanted)
        segments = self._segments()
        splits = self._splits()
        clinical = read_clinical(self.root)
        refs = []
        for row in rows:
            visit = whole_number(row["CSN"])
            known = _visit(row, splits.get(visit), clinical)
            for segment in range(1, min(segments.get(visit, 0), self.options.segments) + 1):
                path = f"{WAVEFORMS}/{visit[-3:]}/{visit}/{LEAD}/{visit}_{segment}"
                refs += self._windows(path, known)
        if not refs:
            raise BadInputError(f"{self.data / VISITS} and {SUMMARY} list no visit with ECG")
        return refs

    def read(self, ref: McMedRef) -> Record:
        """Read one window."""
        if not ref.patient:
            raise QuarantineError("bad-metadata", f"{VISITS} has no MRN for {ref.record_id}")
        stem = self.data / ref.path
        header = _header(self.data, stem)
        stop = min(ref.start + self._window_samples(header.fs), header.sig_len)
        return Record(
            record_id=ref.record_id,
            patient_id=f"{self.namespace}:{ref.patient}",
            signal=_millivolts(stem, header, ref.start, stop),
            fs=float(header.fs),
            leads=self.leads,
            age=ref.age,
            sex=ref.sex,
            labels=ref.labels,
            split=ref.split,
            measurements=ref.measurements,
            clinical=ref.clinical,
            notes=ref.notes,
        )

    def files(self, ref: McMedRef) -> list[Path]:
        """Return the header: it has the checksum of the signal file, which holds hours."""
        return [self.data / f"{ref.path}.hea"]

    def tables(self) -> list[Path]:
        """Return the tables of visits, waveforms, splits and patients."""
        names = (VISITS, SUMMARY, *(self._split_file(part) for part in SPLIT_NAMES))
        return [*(self.data / name for name in names), self.root / PATIENT_METADATA]

    def _segments(self) -> dict[str, int]:
        """Read how many segments of lead II each visit has."""
        path = self.data / SUMMARY
        segments = {}
        for number, row in enumerate(read_table(path, ("CSN", "Type", "Segments")), start=2):
            if row["Type"].strip() == LEAD:
                try:
                    segments[whole_number(row["CSN"])] = int(whole_number(row["Segments"]))
                except ValueError as error:
                    text = row["Segments"]
                    raise BadInputError(f"{path}, line {number}: Segments is {text!r}") from error
        return segments

    def _split_file(self, part: str) -> str:
        return f"split_{self.options.split}_{part}.csv"

    def _splits(self) -> dict[str, Split]:
        splits: dict[str, Split] = {}
        for part, split in SPLIT_NAMES.items():
            path = self.data / self._split_file(part)
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except FileNotFoundError as error:
                raise BadInputError(f"{path} does not exist") from error
            for visit in (whole_number(line.split(",")[0]) for line in lines if line.strip()):
                if splits.setdefault(visit, split) != split:
                    raise BadInputError(f"{path} lists visit {visit}, and so does another split")
        return splits

    def _window_samples(self, fs: float) -> int:
        samples: int = round(self.options.window_seconds * fs)
        return samples

    def _windows(self, path: str, known: dict[str, Any]) -> list[McMedRef]:
        """List the windows of a segment; of one that cannot be read, the first."""
        starts = [0]
        if self.options.windows > 1:
            with suppress(QuarantineError):
                header = _header(self.data, self.data / path)
                step = self._window_samples(header.fs)
                starts = [0, *range(step, header.sig_len - step + 1, step)][: self.options.windows]
        name = path.rsplit("/", 1)[1]
        return [McMedRef(record_id=f"{name}:{n}", path=path, start=n, **known) for n in starts]


def _visit(
    row: dict[str, str], split: Split | None, clinical: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """Return what a row of ``visits.csv`` says of all windows of the visit."""
    patient = whole_number(row["MRN"])
    age, notes = parse_age(row["Age"])
    labels = {}
    for column, prefix in LABELS.items():
        text = row[column].strip()
        if text:
            labels[f"{prefix}:{text.split('-')[0] if prefix == 'acuity' else text}"] = 100.0
    measurements = {}
    for column, name in PRESSURES.items():
        value = _pressure(row[column])
        if value is not None:
            measurements[name] = value
        elif row[column].strip():
            notes = (*notes, f"impossible {column} {row[column][:20]!r} left out")
    return {
        "patient": patient,
        "age": age,
        "sex": parse_sex(row["Gender"]),
        "labels": labels,
        "measurements": measurements,
        "split": split,
        "clinical": {**clinical.get(patient, {}), **measurements},
        "notes": notes,
    }


def _pressure(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if PRESSURE_RANGE[0] <= value <= PRESSURE_RANGE[1] else None


def _header(root: Path, stem: Path) -> Any:
    """Read and check the header of a recording of one signal.

    Raises
    ------
    QuarantineError
        With reason unreadable-header, path-traversal, missing-signal-file, wrong-rate or bad-gain.
    """
    import wfdb

    path = stem.with_name(f"{stem.name}.hea")
    if not is_inside(root, path):
        raise QuarantineError("path-traversal", f"{path.name} lies outside the source's folder")
    if not path.is_file():
        raise QuarantineError("unreadable-header", f"{path.name} does not exist")
    try:
        header = wfdb.rdheader(str(stem))
    except (ValueError, IndexError, KeyError, TypeError) as error:
        raise QuarantineError("unreadable-header", f"{path.name}: {error}") from error
    if getattr(header, "n_sig", 0) != 1 or not header.file_name or not header.sig_len:
        raise QuarantineError("unreadable-header", f"{path.name} is not of one signal")
    if not RATES[0] <= header.fs <= RATES[1]:
        raise QuarantineError("wrong-rate", f"{path.name} states a rate of {header.fs} Hz")
    _check_gain(path.name, header)
    _check_file(path.parent, header.file_name[0])
    return header


def _check_gain(name: str, header: Any) -> None:
    unit, gain = header.units[0], header.adc_gain[0]
    scale = MILLIVOLTS.get(unit.lower(), np.nan)
    if not GAINS[0] <= gain / scale <= GAINS[1]:
        raise QuarantineError("bad-gain", f"{name} states a gain of {gain:g}/{unit}")


def _check_file(folder: Path, name: str) -> None:
    path = folder / name
    if not is_inside(folder, path):
        raise QuarantineError("path-traversal", f"the header names the signal file {name!r}")
    if not path.is_file():
        raise QuarantineError("missing-signal-file", f"{name} does not exist")


def _millivolts(stem: Path, header: Any, start: int, stop: int) -> npt.NDArray[np.float32]:
    """Read a window as shape (1, time), float32, mV; NaN where nothing was recorded."""
    import wfdb

    if stop <= start:
        seconds = header.sig_len / header.fs
        raise QuarantineError("too-short", f"{stem.name} has {seconds:g} s, none of the window")
    try:
        record = wfdb.rdrecord(str(stem), sampfrom=start, sampto=stop)
    except (ValueError, IndexError) as error:
        raise QuarantineError("truncated-signal", f"{stem.name}: {error}") from error
    scale = MILLIVOLTS[header.units[0].lower()]
    signal: npt.NDArray[np.float32] = (record.p_signal.T * scale).astype(np.float32)
    return signal
