"""Icentia11k, two weeks of one lead from 11,000 people, in windows.

``docs/datasets/icentia11k.md`` says what is known of the layout, from where, and what is assumed.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ecgscale.data.gate import admit
from ecgscale.data.record import Record
from ecgscale.data.sources import QuarantineError, Ref, Source, SourceOptions, sources
from ecgscale.data.sources.base import read_names
from ecgscale.data.wfdb import channels, recording
from ecgscale.errors import BadInputError

RECORDS = "RECORDS"
SYMBOLS = {1: "N", 5: "V", 9: "S", 13: "Q"}
"""Code of a beat to its symbol: normal, ventricular and supraventricular ectopic, undefined."""

SKIP, AUX = 59, 63
"""Codes of a long interval (the next two words) and of a note (its text follows)."""

RHYTHMS = ("N", "AFIB", "AFL")
"""Normal sinus rhythm, atrial fibrillation, atrial flutter."""

REACH = 1.0
"""Seconds: a beat that is farther from a window's middle does not name it."""

NOTE = "patch electrode (modified lead I) read as I"


class Icentia11kOptions(SourceOptions):
    """Which windows of the segments are read."""

    window_seconds: float = Field(default=10.0, gt=0)
    """Length of a window, as in CLEF; a recipe's `seconds` at most."""
    windows: int = Field(default=1, ge=1)
    """Windows of a segment: one in the middle of each of so many equal parts."""
    segments: int = Field(default=50, ge=1)
    """Most segments of a patient, from the first; there are up to 50."""


@dataclass(frozen=True)
class Icentia11kRef(Ref):
    """A window by its middle, a sample of the segment `path` (no suffix) of a patient."""

    patient: str
    path: str
    middle: int


@dataclass(frozen=True)
class Annotations:
    """Beats and rhythms of a segment.

    Attributes
    ----------
    beats
        Shape (beat,), samples.
    symbols
        One of `SYMBOLS` for each.
    rhythms
        First and last sample of each zone, and its name.
    """

    beats: npt.NDArray[np.int64]
    symbols: tuple[str, ...]
    rhythms: tuple[tuple[int, int, str], ...]


@sources.register("icentia11k")
class Icentia11k(Source[Icentia11kRef]):
    """541,794 annotated segments of 70 minutes from 11,000 patients (version 1.0).

    A window is moved by at most `REACH` so that the beat nearest its middle lies in its middle, and
    has that beat's code ("beat:V"); so CLEF's windows lie about a beat. It has the code of a rhythm
    ("rhythm:AFIB") if one zone holds all of its beats, and it has two of them or more. The id of a
    record is the segment and the first sample of the window before it was moved.
    """

    Options: ClassVar[type[SourceOptions]] = Icentia11kOptions
    leads = ("I",)
    title = "Icentia11k Single Lead Continuous Raw Electrocardiogram Dataset"
    licence = "CC BY-NC-SA 4.0"
    access = "open"
    unit = "mV"
    patient_key = "folder of the patient"
    citation = (
        "Tan et al., Icentia11k: An Unsupervised Representation Learning Dataset for Arrhythmia "
        "Subtype Discovery, Computing in Cardiology 48 (2021), doi:10.13026/kk0v-r952"
    )
    url = "https://physionet.org/content/icentia11k-continuous-ecg/1.0/"

    def index(self) -> list[Icentia11kRef]:
        """List the windows of the patients whose folders are there, by patient and segment.

        No segment is opened. One whose signal file is missing is listed with one window.
        """
        self.require_root()
        refs = []
        for folder in self._patients():
            below = folder.relative_to(self.root).as_posix()
            names = read_names(folder / RECORDS, (".hea", ".dat"))
            for name in names[: self.options.segments]:
                path = f"{below}/{name}"
                refs += [
                    Icentia11kRef(
                        record_id=f"{name}:{max(middle - self._half(), 0)}",
                        patient=folder.name,
                        path=path,
                        middle=middle,
                    )
                    for middle in self._middles(self.root / f"{path}.dat")
                ]
        if not refs:
            raise BadInputError(f"source folder {self.root} has no patient folders (p00/p00000)")
        return refs

    def read(self, ref: Icentia11kRef) -> Record:
        """Read one window and what its segment's annotations say of it."""
        stem = self.root / ref.path
        header = recording(self.root, stem)
        if [(each.format, each.per_frame) for each in header.signals] != [("16", 1)]:
            raise QuarantineError("unreadable-header", f"{header.name} is not of one signal as 16")
        middle, beat, notes = ref.middle, None, [NOTE]
        found = self._annotations(stem, notes)
        if found is not None:
            middle, beat = _nearest(found, middle, round(REACH * header.fs))
        half = self._half(header.fs)
        last = middle if header.n_samples is None else header.n_samples - 2 * half
        start = max(min(middle - half, last), 0)
        read, stated = channels(stem.parent, header, start, start + 2 * half, summed=False)
        window = admit(header.name, [replace(read[0], name=self.leads[0])])
        labels = {f"beat:{beat}": 100.0} if beat else {}
        rhythm = (
            _rhythm(found, start, start + window.signal.shape[1]) if found is not None else None
        )
        return Record(
            record_id=ref.record_id,
            patient_id=f"{self.namespace}:{ref.patient}",
            signal=window.signal,
            gain=window.gain,
            fs=window.fs,
            leads=self.leads,
            labels={**labels, **({f"rhythm:{rhythm}": 100.0} if rhythm else {})},
            clinical=self.clinical.get(ref.patient, {}),
            notes=(*notes, *stated, *window.notes),
        )

    def files(self, ref: Icentia11kRef) -> list[Path]:
        """Return header and annotations; the header has the checksum of the signal file (2 MB)."""
        return [self.root / f"{ref.path}{suffix}" for suffix in (".hea", ".atr")]

    def tables(self) -> list[Path]:
        """Return the lists of segments and the patient table."""
        lists = [folder / RECORDS for folder in self._patients()]
        return [self.root / RECORDS, self.patient_table, *lists]

    def _patients(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob(f"p[0-9]*/p[0-9]*/{RECORDS}"))

    def _half(self, fs: float = 250.0) -> int:
        return round(float(self.options.window_seconds) * fs / 2)

    def _middles(self, path: Path) -> list[int]:
        samples = path.stat().st_size // 2 if os.path.isfile(path) else 0
        parts = self.options.windows if samples else 1
        return [(2 * part + 1) * samples // (2 * parts) for part in range(parts)]

    @cached_property
    def _remembered(self) -> Callable[[Path], Annotations]:
        """The last few segments' annotations: windows of a segment come one after the other."""
        return lru_cache(maxsize=4)(read_annotations)

    def _annotations(self, stem: Path, notes: list[str]) -> Annotations | None:
        if not stem.with_name(f"{stem.name}.atr").is_file():
            notes.append("no annotations")
            return None
        try:
            return self._remembered(stem)
        except ValueError as error:
            raise QuarantineError("bad-metadata", f"{stem.name}.atr: {error}") from error


def read_annotations(stem: Path) -> Annotations:
    """Read ``<stem>.atr``.

    Own code, where `wfdb.rdann` would be the first choice: a damaged file can send that into an
    endless loop, and a published one costs it 50 ms. The tests compare the two.

    Raises
    ------
    ValueError
        If the file breaks off.
    """
    beats, symbols, zones = [], [], []
    start, name = 0, ""
    for sample, code, text in _walk(stem.with_name(f"{stem.name}.atr").read_bytes()):
        if code in SYMBOLS:
            beats.append(sample)
            symbols.append(SYMBOLS[code])
        elif text.startswith("("):
            start, name = sample, text.strip("()")
        if text.endswith(")") and name in RHYTHMS:
            zones.append((start, sample, name))
            name = ""
    return Annotations(np.array(beats, dtype=np.int64), tuple(symbols), tuple(zones))


def _walk(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Yield sample, code and "" of each annotation, and sample, `AUX` and text of each note.

    Words of 16 bits hold a code (6 bits) and samples since the annotation before (10 bits), or a
    field of the annotation before. Reference: https://physionet.org/physiotools/wag/annot-5.htm
    """
    words = np.frombuffer(data[: len(data) // 2 * 2], dtype="<u2").tolist()
    at = sample = 0
    while at < len(words):
        code, value = words[at] >> 10, words[at] & 1023
        at += 1
        if code == SKIP:
            if at + 2 > len(words):
                break
            high, low = words[at : at + 2]
            sample += (high << 16 | low) - (high >> 15 << 32)
            at += 2
        elif code == AUX:
            yield sample, AUX, data[2 * at : 2 * at + value].decode("latin-1").rstrip("\0")
            at += (value + 1) // 2
        elif code == value == 0:
            return
        elif code < SKIP:
            sample += value
            yield sample, code, ""
    raise ValueError("the file breaks off")


def _nearest(found: Annotations, middle: int, reach: int) -> tuple[int, str | None]:
    """Return the sample and symbol of the nearest beat; the middle and None if all are too far."""
    if len(found.beats):
        at = int(np.abs(found.beats - middle).argmin())
        if abs(int(found.beats[at]) - middle) <= reach:
            return int(found.beats[at]), found.symbols[at]
    return middle, None


def _rhythm(found: Annotations, start: int, stop: int) -> str | None:
    inside = found.beats[(found.beats >= start) & (found.beats < stop)]
    if len(inside) < 2:
        return None
    first, last = int(inside.min()), int(inside.max())
    return next((name for a, b, name in found.rhythms if a <= first and last <= b), None)
