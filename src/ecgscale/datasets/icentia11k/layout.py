"""Icentia11k's layout: short segments of one lead, with every beat and rhythm annotated."""

import tempfile
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.data.simulate.layout import Layout, Written, layouts, wfdb_header
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions
from ecgscale.data.simulate.population import Patient, stream
from ecgscale.data.simulate.records import SimulatedRecord

FS = 250

UNITS_PER_MV = 32767 * 6 / (0.9375 * 2820)
"""The published gain, 74.36: full scale is 2,820 mV behind an amplifier of 6, times 0.9375."""

RHYTHM_NOTES = {"sinus": "(N", "atrial_fibrillation": "(AFIB", "atrial_flutter": "(AFL"}
"""Note of each rhythm that technologists marked; others lie in no zone."""

ECTOPIC_RHYTHMS = ("supraventricular_tachycardia", "atrial_tachycardia")
"""Rhythms whose conducted beats are all supraventricular ectopic."""

LONGEST_PR = 0.4
"""Seconds from an ectopic P wave to the beat that it makes."""

Annotation = tuple[int, str, str]
"""Sample, symbol and note; "None" is the note of a beat in the published files."""


class Icentia11kOptions(CohortOptions):
    """A cohort in Icentia11k's layout, rich in the arrhythmias that its tasks ask for."""

    rates: ClassVar[tuple[int, ...]] = (FS,)
    segment_seconds: float = Field(default=30.0, ge=12)
    """Length of a segment; the published ones have 70 minutes."""
    extra_record: float = Field(default=0.75, ge=0, lt=1)
    """Probability of one more segment (applied again after each); published: up to 50."""
    age_mean: float = 62.2
    age_sd: float = Field(default=17.4, gt=0)
    prevalence: dict[str, float] = Field(
        default={
            **{"atrial_fibrillation": 0.2, "atrial_flutter": 0.15, "atrial_tachycardia": 0.15},
            **{"bigeminy": 0.25, "trigeminy": 0.15, "atrial_premature": 0.1, "paced": 0.0},
        }
    )
    undefined: float = Field(default=0.1, ge=0, le=1)
    """Fraction of beats marked Q, undefined; a quarter of the published ones."""
    interrupted: float = Field(default=0.1, ge=0, le=1)
    """Fraction of segments with a zone that ends after one beat, then beats in no zone."""
    unannotated: float = Field(default=0.015, ge=0, le=1)
    """Fraction of segments without an annotation file, as published."""
    detached: float = Field(default=0.01, ge=0, le=1)
    """Fraction of segments that are flat: the electrode is off."""
    lost_signal: float = Field(default=0.005, ge=0, le=1)
    """Fraction of segments whose signal file is missing."""
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.02, wander_mv=0.1, mains_hz=60.0, lowpass_hz=100.0, resolution_uv=13.4
    )

    @property
    def seconds(self) -> float:
        """Length of a segment."""
        return self.segment_seconds


@layouts.register("icentia11k")
class Icentia11kLayout(Layout):
    """Icentia11k 1.0: ``RECORDS`` and a folder a patient, with lead I of the simulated heart.

    A beat is V if it starts in a ventricle, S if an ectopic P wave makes it or the rhythm is an
    atrial or supraventricular tachycardia, else N; some are marked Q instead. The zone of a rhythm
    holds all of a segment's beats.
    """

    Options: ClassVar[type[CohortOptions]] = Icentia11kOptions

    def patient_id(self, patient: Patient, number: int) -> str:
        """Return the name of the patient's folder."""
        return f"p{patient.index:05d}"

    def tables(self, root: Path, written: Written) -> None:
        """Write the list of patients."""
        names = (row["patient_id"] for row in written.clinical)
        text = "".join(f"{name[:3]}/{name}/\n" for name in names)
        written.save(root, "RECORDS", text.encode())

    def save(self, root: Path, written: Written, number: int, record: SimulatedRecord) -> None:
        """Write a segment; with a patient's first one the list of them."""
        patient = self.patient_id(record.patient, number)
        segments = [f"{patient}_s{number:02d}" for number in range(record.patient.records)]
        name = segments[record.number]
        folder = f"{patient[:3]}/{patient}"
        if record.number == 0:
            text = "".join(f"{segment}\n" for segment in segments)
            written.save(root, f"{folder}/RECORDS", text.encode())
        rng = stream(self.seed, 6, record.patient.index, record.number)
        draws = rng.random(4)
        microvolts = record.signals[FS][LEADS.index("I")]
        samples = np.rint(microvolts * (UNITS_PER_MV / 1000)).astype("<i2")
        if draws[0] < self.options.detached:
            samples[:] = 0
        header = wfdb_header(name, FS, samples[None], ["ecg"], f"{UNITS_PER_MV}(0)/mV")
        written.save(root, f"{folder}/{name}.hea", header)
        if draws[1] >= self.options.lost_signal:
            written.save(root, f"{folder}/{name}.dat", samples.tobytes())
        beats = self._beats(record, len(samples), rng)
        if draws[2] >= self.options.unannotated:
            notes = _zones(beats, record.state.rhythm, draws[3] < self.options.interrupted)
            written.save(root, f"{folder}/{name}.atr", annotation_file([*beats, *notes]))
        written.rows.append({"patient_id": patient, "segment": name})
        rhythm = RHYTHM_NOTES.get(record.state.rhythm, "")
        written.codes.append((rhythm,) if rhythm else ())

    def _beats(
        self, record: SimulatedRecord, samples: int, rng: np.random.Generator
    ) -> list[Annotation]:
        """Return the annotated beats of a segment, in order."""
        beats = []
        for seconds, symbol in beat_symbols(record):
            sample = round(seconds * FS)
            if 0 <= sample < samples:
                unknown = rng.random() < self.options.undefined
                beats.append((sample, "Q" if unknown else symbol, "None"))
        return beats


def beat_symbols(record: SimulatedRecord) -> list[tuple[float, str]]:
    """Return the time in seconds and the symbol (N, S or V) of each beat, in order."""
    early = np.asarray(record.beats.ectopic_atrial)
    always = record.state.rhythm in ECTOPIC_RHYTHMS
    found = [(seconds, "V") for seconds in record.beats.ventricular]
    for seconds in record.beats.conducted:
        made = ((early < seconds) & (early > seconds - LONGEST_PR)).any()
        found.append((seconds, "S" if always or made else "N"))
    return sorted(found)


def annotation_file(annotations: list[Annotation]) -> bytes:
    """Return annotations as the content of an ``.atr`` file."""
    import wfdb

    rows = sorted(annotations, key=lambda row: row[0])
    samples, symbols, notes = (list(column) for column in zip(*rows, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        wfdb.wrann("a", "atr", np.array(samples), symbols, aux_note=notes, fs=FS, write_dir=folder)
        return (Path(folder) / "a.atr").read_bytes()


def _zones(beats: list[Annotation], rhythm: str, interrupted: bool) -> list[Annotation]:
    """Return the notes of a segment's rhythm: one zone, or a beat's, a gap, and the rest."""
    note = RHYTHM_NOTES.get(rhythm)
    if note is None or len(beats) < 4:
        return []
    zone = [(beats[2 if interrupted else 0][0], "+", note), (beats[-1][0], "+", ")")]
    return [(beats[0][0], "+", f"{note})"), *zone] if interrupted else zone
