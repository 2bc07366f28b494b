"""When the atria and the ventricles beat."""

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ecgscale.data.simulate.population import State

Floats = npt.NDArray[np.float64]

LEAD_IN = 2.5
"""Seconds of rhythm before the record's first sample (the longest pause, and then some)."""

TAIL = 1.5
"""Seconds of rhythm after the record's last sample."""


@dataclass
class Beats:
    """The events of one record, in seconds from its first sample.

    Attributes
    ----------
    conducted, ventricular
        R peaks of beats that take the heart's normal way, and of ectopic or escape beats.
    atrial, ectopic_atrial
        Starts of P waves from the sinus node, and from elsewhere.
    flutter
        Atrial cycle length in seconds, 0 unless in flutter.
    fibrillation
        Whether the atria fibrillate.
    """

    conducted: list[float] = field(default_factory=list)
    ventricular: list[float] = field(default_factory=list)
    atrial: list[float] = field(default_factory=list)
    ectopic_atrial: list[float] = field(default_factory=list)
    flutter: float = 0.0
    fibrillation: bool = False


@dataclass(frozen=True)
class Pace:
    """What sets the rhythm of a record besides its conditions.

    Attributes
    ----------
    rr
        Mean interval of the sinus node, seconds.
    pr
        Start of P to R peak, seconds.
    respiratory
        Amplitude of respiratory sinus arrhythmia, relative to `rr`.
    respiration_hz, phase
        Frequency and phase of respiration.
    jitter
        SD of the other beat-to-beat variation, relative to `rr`.
    """

    rr: float
    pr: float
    respiratory: float
    respiration_hz: float
    phase: float
    jitter: float


def draw_beats(
    state: State, pace: Pace, seconds: float, variant: float, rng: np.random.Generator
) -> Beats:
    """Draw the events of a record.

    Parameters
    ----------
    variant
        Uniform in [0, 1), the patient's: which form a rhythm takes.
    """
    end = seconds + TAIL
    if state.rhythm == "atrial_fibrillation":
        return _fibrillation(end, variant, rng)
    if state.rhythm == "atrial_flutter":
        return _flutter(end, variant, rng)
    if state.rhythm == "supraventricular_tachycardia":
        return _supraventricular_tachycardia(end, rng)
    if state.rhythm == "atrial_tachycardia":
        return _atrial_tachycardia(end, pace, rng)
    if state.rhythm == "paced":
        return _paced(end, variant, rng)
    if state.has("av_block_complete"):
        return _complete_block(end, pace, variant, rng)
    if state.has("av_block_2_type_1") or state.has("av_block_2_type_2"):
        return _second_degree(end, pace, state.has("av_block_2_type_1"), rng)
    return _sinus(end, pace, _ectopy(state, pace, seconds, rng), rng)


def repolarisation_stretch(times: Floats) -> Floats:
    """Return Bazett's factor for each beat: the square root of the preceding RR interval.

    The preceding and the mean interval are mixed, as repolarisation adapts over several beats.
    """
    if len(times) < 2:
        return np.full(len(times), 0.9)
    rr = np.diff(times, prepend=2 * times[0] - times[1])
    smooth = 0.6 * rr + 0.4 * np.mean(rr)
    stretch: Floats = np.sqrt(np.clip(smooth, 0.25, 1.6))
    return stretch


def _interval(t: float, pace: Pace, rng: np.random.Generator) -> float:
    breath = pace.respiratory * math.sin(2 * math.pi * pace.respiration_hz * t + pace.phase)
    return max(0.3, pace.rr * (1 + breath + pace.jitter * rng.standard_normal()))


def _ectopy(state: State, pace: Pace, seconds: float, rng: np.random.Generator) -> dict[int, str]:
    """Choose which beats (counted from the first) are out of turn, and of what kind.

    Never two in a row: that would be a run of tachycardia.
    """
    first = math.ceil((LEAD_IN + 0.7) / pace.rr)
    last = max(first + 1, math.floor((LEAD_IN + seconds - 0.7) / pace.rr))
    if state.has("bigeminy") or state.has("trigeminy"):
        every = 2 if state.has("bigeminy") else 3
        return dict.fromkeys(range(1, last + 4, every), "ventricular")
    plan: dict[int, str] = {}
    kinds = {
        "atrial_premature": "atrial",
        "ventricular_premature": "ventricular",
        "ventricular_escape": "ventricular_escape",
        "junctional_escape": "junctional_escape",
    }
    for name, kind in kinds.items():
        if state.has(name):
            for _ in range(1 + min(rng.poisson(0.8), 3)):
                plan[first + 2 * int(rng.integers((last - first + 1) // 2))] = kind
    return plan


def _sinus(end: float, pace: Pace, ectopy: dict[int, str], rng: np.random.Generator) -> Beats:
    beats = Beats()
    t, number, previous = -LEAD_IN, 0, -LEAD_IN - pace.rr
    while t < end:
        rr = _interval(t, pace, rng)
        kind = ectopy.get(number)
        number += 1
        if kind == "atrial":
            early = previous + rr * rng.uniform(0.58, 0.75)
            beats.ectopic_atrial.append(early)
            beats.conducted.append(early + pace.pr)
            previous, t = early, early + 1.1 * rr
        elif kind == "ventricular":
            beats.ventricular.append(previous + pace.pr + rr * rng.uniform(0.52, 0.66))
            previous, t = t, t + rr
        elif kind in ("ventricular_escape", "junctional_escape"):
            late = t + pace.pr + rr * rng.uniform(0.35, 0.6)
            target = beats.ventricular if kind == "ventricular_escape" else beats.conducted
            target.append(late)
            previous, t = late, late + rr
        else:
            beats.atrial.append(t)
            beats.conducted.append(t + pace.pr + 0.003 * rng.standard_normal())
            previous, t = t, t + rr
    return beats


def _fibrillation(end: float, variant: float, rng: np.random.Generator) -> Beats:
    mean = 60 / (58 + 75 * variant + rng.normal(0, 8))
    beats = Beats(fibrillation=True)
    t = -LEAD_IN
    while t < end:
        beats.conducted.append(t)
        t += max(0.32, mean * math.exp(rng.normal(-0.03, 0.23)))
    return beats


def _flutter(end: float, variant: float, rng: np.random.Generator) -> Beats:
    cycle = 60 / rng.uniform(250, 320)
    usual = 2 if variant < 0.35 else 4 if variant < 0.65 else 3
    beats = Beats(flutter=cycle)
    t = -LEAD_IN
    while t < end:
        beats.conducted.append(t)
        ratio = usual if variant < 0.5 else int(rng.choice([2, 3, 4]))
        t += cycle * ratio
    return beats


def _supraventricular_tachycardia(end: float, rng: np.random.Generator) -> Beats:
    rr = 60 / rng.uniform(145, 205)
    times = np.arange(-LEAD_IN, end, rr) + rng.normal(0, 0.002)
    return Beats(conducted=times.tolist(), ectopic_atrial=(times + 0.06).tolist())


def _atrial_tachycardia(end: float, pace: Pace, rng: np.random.Generator) -> Beats:
    rr = 60 / rng.uniform(105, 155)
    times = np.arange(-LEAD_IN, end, rr)
    times += rng.normal(0, 0.004, len(times))
    return Beats(conducted=(times + 0.8 * pace.pr).tolist(), ectopic_atrial=times.tolist())


def _paced(end: float, variant: float, rng: np.random.Generator) -> Beats:
    times = np.arange(-LEAD_IN + rng.uniform(0, 0.5), end, 60 / rng.uniform(60, 76))
    atrial = (times - 0.2).tolist() if variant < 0.5 else []
    return Beats(ventricular=times.tolist(), atrial=atrial)


def _complete_block(end: float, pace: Pace, variant: float, rng: np.random.Generator) -> Beats:
    atrial = np.arange(-LEAD_IN, end, min(pace.rr, 0.85)).tolist()
    escape = np.arange(-LEAD_IN + rng.uniform(0, 1), end, 60 / rng.uniform(34, 48)).tolist()
    if variant < 0.6:
        return Beats(conducted=escape, atrial=atrial)
    return Beats(ventricular=escape, atrial=atrial)


def _second_degree(end: float, pace: Pace, wenckebach: bool, rng: np.random.Generator) -> Beats:
    beats = Beats()
    cycle = int(rng.integers(3, 5))
    rr = min(pace.rr, 0.95)
    for number, t in enumerate(np.arange(-LEAD_IN, end, rr)):
        beats.atrial.append(float(t))
        step = number % cycle
        if step < cycle - 1:
            delay = 0.07 * step if wenckebach else 0.0
            beats.conducted.append(float(t) + pace.pr + delay)
    return beats
