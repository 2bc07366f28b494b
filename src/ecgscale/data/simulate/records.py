"""One simulated record: signal, statements and circumstances, from its own random streams."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.pathology import Heart, build_heart, frontal_axis
from ecgscale.data.simulate.population import (
    Patient,
    State,
    draw_patient,
    draw_state,
    liability_thresholds,
    stream,
)
from ecgscale.data.simulate.reading import Reading
from ecgscale.data.simulate.rhythm import Beats, draw_beats
from ecgscale.data.simulate.synthesis import (
    Quality,
    clean_leads,
    digitise,
    draw_quality,
    record_leads,
    resample,
)

Signal = npt.NDArray[np.int16]


@dataclass(frozen=True)
class SimulatedRecord:
    """A record before it is written in a layout.

    Attributes
    ----------
    signals
        Sampling rate to signal, shape (lead, time), uV, leads in the standard order.
    years
        Age at the record.
    reading
        What the reader states.
    axis
        Of the QRS in the frontal plane, degrees.
    """

    patient: Patient
    number: int
    years: float
    signals: dict[int, Signal]
    reading: Reading
    state: State
    beats: Beats
    axis: float
    quality: Quality

    @property
    def rate(self) -> float:
        """Mean heart rate, beats per minute."""
        return float(60 / np.mean(self.intervals))

    @property
    def intervals(self) -> npt.NDArray[np.float64]:
        """Seconds from each beat to the next."""
        return np.diff(np.sort([*self.beats.conducted, *self.beats.ventricular]))

    def pressures(self, rng: np.random.Generator) -> tuple[float, float]:
        """Return systolic and diastolic blood pressure in mmHg.

        The patient's own, plus 15 (8) for typical left ventricular hypertrophy, plus 0.35 (0.25)
        for each beat per minute above 75, plus noise of SD 4 (3).
        """
        clinical, extra = self.patient.clinical, self.rate - 75
        hypertrophy = float(self.state.severity[INDEX["lvh"]])
        systolic = clinical["sbp"] + 15 * hypertrophy + 0.35 * extra + 4 * rng.standard_normal()
        diastolic = clinical["dbp"] + 8 * hypertrophy + 0.25 * extra + 3 * rng.standard_normal()
        return systolic, diastolic


def draw_record(
    patient: Patient, number: int, seed: int, options: CohortOptions
) -> SimulatedRecord:
    """Simulate record `number` of a patient (from 0): the same whatever else the cohort holds."""
    rng = stream(seed, 1, patient.index, number)
    state = draw_state(patient, options, liability_thresholds(options), rng)
    heart = build_heart(patient, state, options, stream(seed, 2, patient.index), rng)
    reading = Reading(patient, state, heart, options, rng)
    quality = draw_quality(options.noise, options.misplaced, options.difficulty, rng)
    variant = patient.variant[INDEX[state.rhythm]] if state.rhythm in INDEX else 0.0
    if state.rhythm == "sinus":
        variant = patient.variant[INDEX["av_block_complete"]]
    beats = draw_beats(state, heart.pace, options.seconds, float(variant), rng)
    return SimulatedRecord(
        patient=patient,
        number=number,
        years=min(patient.age + 0.7 * number, 98.0),
        signals=_signals(heart, beats, options, quality, rng),
        reading=reading,
        state=state,
        beats=beats,
        axis=frontal_axis(heart),
        quality=quality,
    )


def draw_patients(first: int, last: int, seed: int, options: CohortOptions) -> list[Patient]:
    """Return patients `first` up to, not including, `last`."""
    return [draw_patient(index, seed, options) for index in range(first, last)]


def _signals(
    heart: Heart, beats: Beats, options: CohortOptions, quality: Quality, rng: np.random.Generator
) -> dict[int, Signal]:
    fs, *others = options.rates
    clean = clean_leads(heart, beats, fs, options.seconds, rng)
    leads = record_leads(clean, fs, options.noise, quality, options.difficulty, rng)
    step = options.noise.resolution_uv
    signals = {fs: digitise(leads, fs, step)}
    for rate in others:
        signals[rate] = digitise(resample(leads, fs // rate), rate, step)
    return signals
