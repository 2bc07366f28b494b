"""From a heart to the twelve leads that a device stores."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import INDEPENDENT_LEADS, LEADS
from ecgscale.data.simulate.options import NoiseOptions
from ecgscale.data.simulate.pathology import Heart
from ecgscale.data.simulate.rhythm import Beats, repolarisation_stretch
from ecgscale.data.simulate.vectors import place, project, render

Floats = npt.NDArray[np.float64]

MARGIN = 1.0
"""Seconds made before and after the record, so that filters do not wrap into it."""


@dataclass(frozen=True)
class Quality:
    """What went wrong at the electrodes of one record.

    Attributes
    ----------
    wander_mv, muscle_mv
        The record's baseline wander and muscle noise.
    burst
        Position in `LEADS` of the electrode lead with a burst of movement, or None.
    misplaced
        Electrodes that were exchanged, or None.
    """

    wander_mv: float
    muscle_mv: float
    burst: int | None
    misplaced: tuple[int, int] | None


def clean_leads(
    heart: Heart, beats: Beats, fs: float, seconds: float, rng: np.random.Generator
) -> Floats:
    """Return the eight independent leads without noise, margins included.

    Returns
    -------
    Shape (independent lead, time), mV, at `fs` from -`MARGIN` to `seconds` + `MARGIN`.
    """
    samples = round((seconds + 2 * MARGIN) * fs)
    parts = []
    for waves, times, shift in (
        (heart.ventricles, beats.conducted, heart.shift),
        (heart.ectopic, beats.ventricular, heart.ectopic_shift),
        (heart.atria, beats.atrial, 0.0),
        (heart.ectopic_atria, beats.ectopic_atrial, 0.0),
    ):
        if len(times):
            at = np.sort(np.asarray(times))
            stretch = heart.qt * repolarisation_stretch(at)
            breath = np.sin(2 * math.pi * heart.pace.respiration_hz * at + heart.pace.phase)
            amplitude = 1 + 0.035 * breath + rng.normal(0, 0.015, len(at))
            parts.append(place(waves, at, stretch, amplitude, shift))
    centre, width, vector = (np.concatenate(group) for group in zip(*parts, strict=True))
    dipole = render(centre, width, vector, -MARGIN, fs, samples)
    time = np.arange(samples) / fs - MARGIN
    if beats.fibrillation:
        dipole += _fibrillatory(time, heart.fibrillation_mv, rng)
    if beats.flutter:
        dipole += _sawtooth(time, beats.flutter, heart.flutter_mv)
    return project(dipole, heart.leads)


def draw_quality(
    options: NoiseOptions, misplaced: float, difficulty: float, rng: np.random.Generator
) -> Quality:
    """Draw how well a record was taken."""
    wander = options.wander_mv * difficulty * math.exp(rng.normal(0, 0.6))
    muscle = options.muscle_mv * difficulty * math.exp(rng.normal(0, 0.5))
    burst = int(rng.integers(9)) if rng.random() < options.burst_probability * difficulty else None
    wrong = rng.random() < misplaced
    pairs = ((0, 1), (3, 4), (0, 2))
    swap = pairs[int(rng.choice(3, p=(0.55, 0.3, 0.15)))]
    return Quality(wander, muscle, burst, swap if wrong else None)


def record_leads(
    clean: Floats,
    fs: float,
    options: NoiseOptions,
    quality: Quality,
    difficulty: float,
    rng: np.random.Generator,
) -> Floats:
    """Pass clean leads through electrodes, cable and device.

    Noise is added to the potential of each electrode, so it reaches the leads as it does at the
    bedside, and Einthoven's law holds for it too.

    Parameters
    ----------
    clean
        Shape (independent lead, time), mV, with margins.

    Returns
    -------
    Same shape, mV, filtered and with the device's gain error.
    """
    electrodes = _electrodes(clean)
    if quality.misplaced:
        first, second = quality.misplaced
        electrodes[[first, second]] = electrodes[[second, first]]
    electrodes += _noise(electrodes.shape, fs, options, quality, difficulty, rng)
    leads = _leads(electrodes)
    gain = 1 + difficulty * options.gain_sd * rng.standard_normal()
    return gain * _filtered(leads, fs, options)


def resample(leads: Floats, factor: int) -> Floats:
    """Down-sample (..., time) by an integer factor with an ideal low-pass at the new Nyquist."""
    samples = leads.shape[-1] // factor
    spectrum = np.fft.rfft(leads)[..., : samples // 2 + 1]
    return np.fft.irfft(spectrum, samples) / factor


def digitise(leads: Floats, fs: float, resolution_uv: float) -> npt.NDArray[np.int16]:
    """Cut the margins off, quantise, and derive the other four leads.

    The eight measured leads are rounded to the device's step and then to 1 uV; III, aVR, aVL and
    aVF follow from I and II to the last microvolt's rounding (Einthoven, Goldberger).

    Returns
    -------
    Shape (lead, time) in the order of `LEADS`, uV.
    """
    margin = round(MARGIN * fs)
    microvolts = 1000.0 * leads[:, margin : leads.shape[1] - margin]
    measured = np.rint(np.rint(microvolts / resolution_uv) * resolution_uv)
    by_name = dict(zip(INDEPENDENT_LEADS, measured, strict=True))
    one, two = by_name["I"], by_name["II"]
    by_name |= {
        "III": two - one,
        "aVR": np.rint(-(one + two) / 2),
        "aVL": np.rint(one - two / 2),
        "aVF": np.rint(two - one / 2),
    }
    table = np.stack([by_name[name] for name in LEADS])
    stored: npt.NDArray[np.int16] = np.clip(table, -32767, 32767).astype(np.int16)
    return stored


def _electrodes(leads: Floats) -> Floats:
    """Return potentials against the right arm, rows RA, LA, LL, V1..V6."""
    one, two = leads[0], leads[1]
    central = (one + two) / 3
    return np.concatenate([np.zeros((1, leads.shape[1])), leads[:2], leads[2:] + central])


def _leads(electrodes: Floats) -> Floats:
    """Return I, II, V1..V6 from rows RA, LA, LL, V1..V6."""
    central = electrodes[:3].mean(axis=0)
    limb = electrodes[1:3] - electrodes[0]
    return np.concatenate([limb, electrodes[3:] - central])


def _noise(
    shape: tuple[int, ...],
    fs: float,
    options: NoiseOptions,
    quality: Quality,
    difficulty: float,
    rng: np.random.Generator,
) -> Floats:
    electrodes, samples = shape
    frequency = np.fft.rfftfreq(samples, 1 / fs)
    time = np.arange(samples) / fs
    muscle = np.maximum(frequency, 1.0) ** -options.muscle_slope
    muscle *= 1 / (1 + (frequency / 120.0) ** 4)
    wander = np.where(frequency < 0.6, 1 / np.maximum(frequency, 0.1), 0.0)
    wander[0] = 0.0
    noise = _coloured(rng, electrodes, samples, muscle) * quality.muscle_mv
    noise += _coloured(rng, electrodes, samples, wander) * quality.wander_mv
    mains = options.mains_mv * difficulty * np.exp(rng.normal(0, 0.7, (electrodes, 1)))
    phase = rng.uniform(0, 2 * math.pi)
    if options.mains_hz < fs / 2:
        noise += mains * np.sin(2 * math.pi * options.mains_hz * time + phase)
    if quality.burst is not None:
        centre, width = (
            rng.uniform(1, samples / fs - 2 * MARGIN - 1) + MARGIN,
            rng.uniform(0.15, 0.6),
        )
        envelope = np.exp(-0.5 * ((time - centre) / width) ** 2)
        shape_ = _coloured(rng, 1, samples, np.exp(-0.5 * (frequency / 6.0) ** 2))[0]
        noise[quality.burst] += 0.35 * difficulty * envelope * shape_
    return noise


def _coloured(rng: np.random.Generator, rows: int, samples: int, amplitude: Floats) -> Floats:
    """Return Gaussian noise of unit SD whose spectrum has this shape, shape (rows, samples)."""
    spectrum = rng.standard_normal((rows, len(amplitude), 2)).view(np.complex128)[..., 0]
    signal = np.fft.irfft(spectrum * amplitude, samples)
    expected = math.sqrt(2 * float(np.sum(2 * amplitude**2))) / samples
    return signal / expected


def _filtered(leads: Floats, fs: float, options: NoiseOptions) -> Floats:
    """Apply the device's pass band: first-order high-pass, third-order low-pass, no phase shift."""
    samples = leads.shape[1]
    frequency = np.fft.rfftfreq(samples, 1 / fs)
    response = 1 / np.sqrt(1 + (frequency / options.lowpass_hz) ** 6)
    if options.highpass_hz:
        ratio = frequency / options.highpass_hz
        response *= ratio / np.sqrt(1 + ratio**2)
    return np.fft.irfft(np.fft.rfft(leads) * response, samples)


def _fibrillatory(time: Floats, size: float, rng: np.random.Generator) -> Floats:
    """Return f waves: two wandering oscillations of 4 to 9 Hz, largest towards V1."""
    waves = np.zeros((3, len(time)))
    for share in (0.75, 0.45):
        rate = rng.uniform(4.5, 8.5)
        wobble = rng.uniform(0.5, 1.2) * np.sin(
            2 * math.pi * rng.uniform(0.2, 0.7) * time + rng.uniform(0, 6)
        )
        swell = 1 + 0.45 * np.sin(2 * math.pi * rng.uniform(0.15, 0.5) * time + rng.uniform(0, 6))
        phase = 2 * math.pi * rate * time + 1.5 * wobble + rng.uniform(0, 6)
        direction = np.array([0.25, 0.75, -0.85]) * np.exp(rng.normal(0, 0.3, 3))
        waves += (
            share * size * direction[:, None] * swell * (np.sin(phase) + 0.25 * np.sin(2 * phase))
        )
    return waves


def _sawtooth(time: Floats, cycle: float, size: float) -> Floats:
    """Return F waves: a sawtooth of five harmonics, negative in the inferior leads."""
    wave = sum(np.sin(2 * math.pi * k * time / cycle) / k for k in range(1, 6))
    direction = np.array([0.1, 0.75, -0.45])
    result: Floats = 0.7 * size * direction[:, None] * wave
    return result
