"""What age, sex, habitus and every condition do to the shape of a beat."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.population import Patient, State
from ecgscale.data.simulate.rhythm import Pace
from ecgscale.data.simulate.vectors import (
    ANTERIOR,
    BASAL,
    DOWER,
    EARLY,
    LATE,
    LEFT_ATRIUM,
    MAIN,
    QRS,
    RIGHT_ATRIUM,
    SEPTAL,
    ST,
    ST1,
    ST2,
    ST3,
    T1,
    T2,
    T,
    U,
    Waves,
    frontal,
    horizontal,
    normal_atria,
    normal_ventricles,
    project,
    rotate,
)

Floats = npt.NDArray[np.float64]

REGIONS: dict[str, tuple[float, float, float]] = {
    "anteroseptal": (-0.25, 0.0, -0.97),
    "anterior": (0.35, 0.0, -0.94),
    "anterolateral": (0.85, 0.0, -0.53),
    "lateral": (1.0, -0.1, 0.1),
    "inferolateral": (0.7, 0.75, 0.1),
    "inferior": (-0.05, 1.0, 0.1),
}
"""Directions (x left, y foot, z back) towards the walls of the left ventricle."""


def region(variant: float, *names: str) -> str:
    """Return the one of `names` that a patient's variant, uniform in [0, 1), picks."""
    return names[int(variant * len(names))]


@dataclass
class Heart:
    """One record's heart: the shape of its beats and what sets its rhythm.

    Attributes
    ----------
    ventricles, ectopic
        A conducted beat, and one that starts in (or is paced from) the ventricles.
    atria, ectopic_atria
        A sinus P wave, and one from elsewhere.
    leads
        Shape (independent lead, axis), the patient's lead vectors.
    pace
        What sets the sinus rhythm.
    shift, ectopic_shift
        Seconds by which a wide QRS delays repolarisation.
    qt
        Factor on the times of repolarisation.
    fibrillation_mv, flutter_mv
        Size of atrial activity in fibrillation and flutter.
    """

    ventricles: Waves
    ectopic: Waves
    atria: Waves
    ectopic_atria: Waves
    leads: Floats
    pace: Pace
    shift: float = 0.0
    ectopic_shift: float = 0.07
    qt: float = 1.0
    fibrillation_mv: float = 0.06
    flutter_mv: float = 0.15


def build_heart(
    patient: Patient,
    state: State,
    options: CohortOptions,
    anatomy: np.random.Generator,
    day: np.random.Generator,
) -> Heart:
    """Return the heart that a record sees.

    Parameters
    ----------
    anatomy
        The patient's stream, fresh: the same anatomy comes out for every record.
    day
        The record's stream.
    """
    heart = _constitution(patient, options, anatomy, day)
    for name, effect in EFFECTS.items():
        severity = float(state.severity[INDEX[name]])
        if severity > 0 and not (name in ALL_OR_NONE and not state.has(name)):
            effect(heart, severity, float(patient.variant[INDEX[name]]))
    return heart


def frontal_axis(heart: Heart) -> float:
    """Return the QRS axis in the frontal plane, degrees (0 left, 90 foot), from leads I and aVF."""
    area = np.einsum("w,wa->a", heart.ventricles.width[QRS], heart.ventricles.vector[QRS])
    one, two = project(area[:, None], heart.leads[:2])[:, 0]
    return math.degrees(math.atan2(2 * two - one, math.sqrt(3) * one))


def _constitution(
    patient: Patient, options: CohortOptions, anatomy: np.random.Generator, day: np.random.Generator
) -> Heart:
    """Draw the heart without its conditions: anatomy, age, sex, habitus and latent risk."""
    z_age = (patient.age - 60) / 17
    bmi = patient.clinical["weight"] / (patient.clinical["height"] / 100) ** 2
    z_bmi = (bmi - 26) / 4
    male = 1.0 if patient.male else 0.0
    waves, atria = normal_ventricles(), normal_atria()
    for beat in (waves, atria):
        size = np.exp(anatomy.normal(0, 0.14, (len(beat.centre), 1)))
        beat.vector *= size * np.exp(anatomy.normal(0, 0.08, beat.vector.shape))
        beat.width *= np.exp(anatomy.normal(0, 0.06, len(beat.width)))
    axis = anatomy.normal(-4 - 9 * z_age - 6 * z_bmi, 13)
    turn = anatomy.normal(0, 7)
    waves.vector[QRS] = rotate(waves.vector[QRS], frontal(axis) @ horizontal(turn))
    waves.vector[T] = rotate(
        waves.vector[T], frontal(0.5 * axis) @ horizontal(anatomy.normal(0, 8))
    )
    voltage = np.exp(
        anatomy.normal(0.07 * (2 * male - 1) - 0.05 * z_bmi + 0.035 * patient.risk, 0.13)
    )
    waves.vector[QRS] *= voltage * np.exp(day.normal(0, 0.04))
    waves.width[QRS] *= 1 + 0.02 * (2 * male - 1)
    t_size = 1.05 + 0.14 * male - 0.09 * z_age - 0.08 * patient.risk
    waves.vector[T] *= max(0.45, t_size) * np.exp(day.normal(0, 0.06))
    waves.vector[ST] *= 0.5 + 1.2 * male * max(0.2, 1 - 0.3 * z_age)
    waves.vector[ST] += day.normal(0, 0.006, 3)
    atria.vector *= np.exp(anatomy.normal(0.04 * patient.risk, 0.12))
    matrix = DOWER * (1 + anatomy.normal(0, 0.07, DOWER.shape))
    matrix[2:] *= 1 + day.normal(0, 0.04, (6, 1))
    pr = anatomy.normal(0.152 + 0.007 * z_age + 0.003 * patient.risk, 0.014)
    drift = 0.75 * anatomy.standard_normal() + 0.66 * day.standard_normal()
    log_rate = math.log(options.heart_rate) + options.heart_rate_spread * drift
    log_rate += 0.03 * patient.risk + 0.02 * (1 - 2 * male)
    rate = float(np.clip(math.exp(log_rate), 36, 165))
    breath = 0.035 * math.exp(-0.55 * z_age - 0.2 * patient.risk + 0.4 * day.standard_normal())
    pace = Pace(
        rr=60 / rate,
        pr=float(np.clip(pr * (1 + 0.1 * (60 / rate - 0.85)), 0.115, 0.192)),
        respiratory=float(min(breath * (72 / rate), 0.06)),
        respiration_hz=float(day.uniform(0.18, 0.33)),
        phase=float(day.uniform(0, 2 * math.pi)),
        jitter=0.012 * math.exp(-0.3 * z_age),
    )
    qt = 1.0 + 0.018 * (1 - 2 * male) + 0.012 * patient.risk + anatomy.normal(0, 0.022)
    ectopic = _ectopic_beat(anatomy)
    return Heart(
        ventricles=waves,
        ectopic=ectopic,
        atria=atria,
        ectopic_atria=_ectopic_p(atria, anatomy),
        leads=matrix,
        pace=pace,
        qt=float(qt),
        fibrillation_mv=float(np.exp(anatomy.normal(math.log(0.055), 0.3))),
        flutter_mv=float(np.exp(anatomy.normal(math.log(0.16), 0.25))),
    )


def _ectopic_beat(rng: np.random.Generator) -> Waves:
    """Return a wide beat from either ventricle, with its ST and T against the QRS."""
    beat = normal_ventricles()
    from_right = rng.random() < 0.6
    sideways = (0.75 if from_right else -0.75) * rng.uniform(0.7, 1.2)
    along = rng.choice([-1.0, 1.0]) * rng.uniform(0.3, 1.0)
    depth = (0.75 if from_right else -0.7) * rng.uniform(0.6, 1.2)
    direction = np.array([sideways, along, depth])
    beat.vector[:] = 0.0
    beat.vector[[SEPTAL, MAIN, LATE]] = np.array([[0.25], [0.85], [0.75]]) * direction
    beat.centre[[SEPTAL, MAIN, LATE]] = (-0.040, 0.0, 0.045)
    beat.width[[SEPTAL, MAIN, LATE]] = (0.020, 0.022, 0.024)
    beat.vector[ST] = -0.10 * direction
    beat.vector[[T1, T2]] = np.array([[0.26], [0.22]]) * -direction
    return beat


def _ectopic_p(atria: Waves, rng: np.random.Generator) -> Waves:
    """Return a P wave from another place in the atria: another axis, often upside down."""
    turn = frontal(rng.uniform(70, 190) * rng.choice([-1, 1]))
    beat = atria.copy()
    beat.vector[:] = rotate(beat.vector, turn) * rng.uniform(0.8, 1.2)
    beat.centre[LEFT_ATRIUM] -= 0.012
    return beat


def _lbbb(heart: Heart, s: float, variant: float) -> None:
    w, k = heart.ventricles, min(s, 1.0)
    w.vector[SEPTAL] = (1 - k) * w.vector[SEPTAL] + k * np.array([0.16, 0.04, 0.10])
    w.vector[ANTERIOR] *= 1 - 0.8 * k
    w.vector[BASAL] *= 1 - 0.9 * k
    w.vector[MAIN] = w.vector[MAIN] * (1 - 0.25 * k) + k * np.array([0.05, -0.2 * variant, 0.15])
    w.width[MAIN] *= 1 + 0.75 * k
    w.vector[LATE] += k * np.array([0.75, 0.25 - 0.5 * variant, 0.80])
    w.centre[LATE], w.width[LATE] = 0.012 + 0.045 * min(s, 1.3), 0.015 + 0.007 * k
    w.vector[ST] = (1 - k) * w.vector[ST] + k * np.array([-0.05, -0.01, -0.10])
    w.vector[T] = (1 - k) * w.vector[T] + k * np.array([-0.15, -0.02, -0.22])
    heart.shift += 0.045 * k


def _lbbb_incomplete(heart: Heart, s: float, variant: float) -> None:
    _lbbb(heart, 0.45 * s, variant)


def _rbbb(heart: Heart, s: float, variant: float) -> None:
    w, k = heart.ventricles, min(s, 1.2)
    w.vector[BASAL] *= max(0.0, 1 - 0.7 * k)
    w.vector[LATE] += k * np.array([-0.42, 0.05 * (variant - 0.5), -0.55])
    w.centre[LATE], w.width[LATE] = 0.030 + 0.034 * k, 0.012 + 0.009 * k
    w.vector[T] += k * np.array([0.05, 0.0, 0.17])
    heart.shift += 0.04 * k


def _rbbb_incomplete(heart: Heart, s: float, variant: float) -> None:
    w, k = heart.ventricles, min(s, 1.3)
    w.vector[LATE] += k * np.array([-0.20, 0.0, -0.30])
    w.centre[LATE], w.width[LATE] = 0.040, 0.010
    w.vector[BASAL] *= max(0.2, 1 - 0.4 * k)
    heart.shift += 0.008 * k


def _left_anterior(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    rows = [ANTERIOR, MAIN, BASAL]
    w.vector[rows] = rotate(w.vector[rows], frontal(-(58 + 22 * variant) * min(s, 1.2)))
    w.vector[SEPTAL] += s * np.array([-0.03, 0.17, 0.0])
    w.centre[MAIN] += 0.006 * s
    heart.shift += 0.006 * s


def _left_posterior(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    rows = [ANTERIOR, MAIN, BASAL]
    w.vector[rows] = rotate(w.vector[rows], frontal((58 + 20 * variant) * min(s, 1.2)))
    w.vector[SEPTAL] += s * np.array([0.08, -0.16, 0.0])


def _left_axis(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[QRS] = rotate(w.vector[QRS], frontal(-(45 + 25 * variant) * min(s, 1.3)))


def _right_axis(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[QRS] = rotate(w.vector[QRS], frontal((50 + 25 * variant) * min(s, 1.3)))


def _conduction_delay(heart: Heart, s: float, variant: float) -> None:
    w, angle = heart.ventricles, 2 * math.pi * variant
    w.width[QRS] *= 1 + 0.28 * s
    w.vector[LATE] += 0.3 * s * np.array([math.cos(angle), math.sin(angle), 0.4])
    w.centre[LATE] = 0.050
    heart.shift += 0.02 * s


def _clockwise(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[QRS] = rotate(w.vector[QRS], horizontal((22 + 10 * variant) * s))


def _counterclockwise(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[QRS] = rotate(w.vector[QRS], horizontal(-(24 + 10 * variant) * s))


def _preexcitation(heart: Heart, s: float, variant: float) -> None:
    w, k = heart.ventricles, min(s, 1.2)
    side = np.array([0.30, 0.18, 0.10]) if variant < 0.5 else np.array([0.10, 0.15, -0.35])
    w.vector[SEPTAL] *= 1 - 0.8 * k / 1.2
    w.vector[EARLY] += 1.1 * k * side
    w.centre[EARLY], w.width[EARLY] = -0.042, 0.017
    w.vector[ST] -= 0.10 * k * side
    w.vector[T] -= 0.55 * k * side
    heart.pace = replace(heart.pace, pr=0.125)


def _lvh(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[MAIN] = w.vector[MAIN] * (1 + 0.42 * s) + s * np.array([0.28, -0.06, 0.34])
    w.vector[BASAL] *= 1 + 0.3 * s
    strain = s * (0.5 + 0.7 * variant)
    w.vector[ST] += strain * np.array([-0.045, -0.02, 0.02])
    w.vector[T] += strain * np.array([-0.19, -0.07, -0.04])
    w.width[MAIN] *= 1 + 0.1 * s


def _rvh(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[MAIN] = w.vector[MAIN] * (1 - 0.3 * s) + s * np.array([-0.50, 0.18, -0.70])
    w.vector[BASAL] += s * np.array([-0.25, 0.0, -0.12])
    w.vector[T] += s * np.array([0.04, -0.07, 0.18])
    w.vector[ST] += s * np.array([0.0, -0.02, 0.03])


def _left_atrial(heart: Heart, s: float, variant: float) -> None:
    p = heart.atria
    p.vector[LEFT_ATRIUM] = p.vector[LEFT_ATRIUM] * (1 + 0.35 * s) + s * np.array([0.01, 0, 0.045])
    p.centre[LEFT_ATRIUM] += 0.020 * s
    p.width[LEFT_ATRIUM] *= 1 + 0.1 * s


def _right_atrial(heart: Heart, s: float, variant: float) -> None:
    p = heart.atria
    p.vector[RIGHT_ATRIUM] += s * np.array([-0.01, 0.14, -0.05])


def _p_wave_change(heart: Heart, s: float, variant: float) -> None:
    p = heart.atria
    p.vector[:] = rotate(p.vector, frontal(-(60 + 100 * variant) * min(s, 1.2)))


def _septal_hypertrophy(heart: Heart, s: float, variant: float) -> None:
    heart.ventricles.vector[SEPTAL] *= 1 + 1.6 * s


def _low_voltage(heart: Heart, s: float, variant: float) -> None:
    heart.ventricles.vector[QRS] *= 1 - 0.48 * min(s, 1.4)
    heart.atria.vector[:] *= 1 - 0.2 * min(s, 1.4)


def _high_voltage(heart: Heart, s: float, variant: float) -> None:
    heart.ventricles.vector[QRS] *= 1 + 0.45 * s


def _necrosis(
    heart: Heart, s: float, variant: float, wall: tuple[float, float, float], q: float
) -> None:
    """Turn early forces away from a wall; acute by a tenth, else with a coronary T."""
    w, towards = heart.ventricles, np.array(wall)
    lost = w.vector[[SEPTAL, ANTERIOR, MAIN]] @ towards
    keep = np.array([0.9, 0.75, 0.3]) * min(s, 1.3)
    w.vector[[SEPTAL, ANTERIOR, MAIN]] -= (np.maximum(lost, 0) * keep)[:, None] * towards
    w.vector[EARLY] -= q * s * towards
    w.centre[EARLY], w.width[EARLY] = -0.024, 0.0125
    acute = variant % 0.1 < 0.018
    w.vector[ST] += (0.17 if acute else 0.018) * s * towards
    w.vector[T] -= (-0.08 if acute else 0.17) * s * towards


def _infarct_anterior(heart: Heart, s: float, variant: float) -> None:
    _necrosis(heart, s, variant, REGIONS[anterior_infarct(variant)], 0.38)


def _infarct_inferior(heart: Heart, s: float, variant: float) -> None:
    name = "inferolateral" if inferior_infarct(variant) == "inferolateral" else "inferior"
    _necrosis(heart, s, variant, REGIONS[name], 0.42)
    if inferior_infarct(variant) in ("inferoposterior", "inferoposterolateral"):
        _infarct_posterior(heart, s, variant)


def _infarct_lateral(heart: Heart, s: float, variant: float) -> None:
    _necrosis(heart, s, variant, REGIONS["lateral"], 0.38)


def _infarct_posterior(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[MAIN] += s * np.array([0.0, 0.0, -0.40])
    w.vector[BASAL] += s * np.array([0.0, 0.0, -0.2])
    w.vector[ST] += s * np.array([0.0, 0.0, 0.04])
    w.vector[T] += s * np.array([0.0, 0.0, -0.08])


def anterior_infarct(variant: float) -> str:
    """Return the extent of an anterior infarct: anteroseptal, anterior or anterolateral."""
    return "anteroseptal" if variant < 0.8 else "anterior" if variant < 0.91 else "anterolateral"


def inferior_infarct(variant: float) -> str:
    """Return the extent of an inferior infarct."""
    if variant < 0.80:
        return "inferior"
    if variant < 0.95:
        return "inferolateral"
    return "inferoposterolateral" if variant < 0.98 else "inferoposterior"


def injury_region(variant: float) -> str:
    """Return where subendocardial injury lies."""
    names = ("anteroseptal", "anterolateral", "anterolateral", "anteroseptal", "inferior")
    if variant > 0.9:
        return "lateral" if variant > 0.95 else "inferolateral"
    return region(variant / 0.9001, *names)


def ischaemia_region(variant: float) -> str | None:
    """Return where ischaemia lies; None where the reader names no region."""
    if variant < 0.45:
        return None
    if variant > 0.985:
        return "anterior"
    often = ["anterolateral"] * 5 + ["inferior"] * 2
    names = (*often, "inferolateral", "anteroseptal", "lateral")
    return region((variant - 0.45) / 0.5351, *names)


def _injury(heart: Heart, s: float, variant: float) -> None:
    towards = np.array(REGIONS[injury_region(variant)])
    heart.ventricles.vector[ST] -= 0.13 * s * towards
    heart.ventricles.vector[T] -= 0.10 * s * towards


def _ischaemia(heart: Heart, s: float, variant: float) -> None:
    towards = np.array(REGIONS[ischaemia_region(variant) or "anterolateral"])
    heart.ventricles.vector[ST] -= 0.045 * s * towards
    heart.ventricles.vector[T] -= 0.21 * s * towards


def _st_change(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    towards = np.array(REGIONS[region(variant, *REGIONS)])
    w.vector[ST] -= 0.055 * s * towards
    w.vector[T] *= max(0.2, 1 - 0.4 * s)


def _t_change(heart: Heart, s: float, variant: float) -> None:
    w, angle = heart.ventricles, 2 * math.pi * variant
    w.vector[T] *= max(0.05, 1 - 0.62 * s)
    w.vector[T2] += 0.07 * s * np.array([-abs(math.cos(angle)), math.sin(angle) - 0.4, 0.3])


def _t_inverted(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    w.vector[T] *= 1 - min(1.05 + 0.65 * s, 2.1) if s >= 0.5 else 1 - 1.5 * s


def _t_low(heart: Heart, s: float, variant: float) -> None:
    heart.ventricles.vector[T] *= max(0.1, 1 - 0.7 * s)


def _st_depressed(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    towards = np.array(REGIONS[region(variant, "anterolateral", "inferolateral", "lateral")])
    w.vector[ST] -= 0.085 * s * towards
    w.vector[T] *= max(0.3, 1 - 0.3 * s)


def _st_elevated(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    towards = np.array(REGIONS[region(variant, "anterior", "anteroseptal", "inferolateral")])
    w.vector[ST] += 0.10 * s * towards
    w.vector[T] += 0.06 * s * towards


def _st_upsloping(heart: Heart, s: float, variant: float) -> None:
    w, towards = heart.ventricles, np.array(REGIONS["anterolateral"])
    w.vector[[ST1, ST2, ST3]] += s * np.array([[-0.09], [0.0], [0.11]]) * towards


def _early_repolarization(heart: Heart, s: float, variant: float) -> None:
    w, towards = heart.ventricles, np.array(REGIONS["anterolateral"])
    w.vector[[ST1, ST2, ST3]] += s * np.array([[0.07], [0.06], [0.09]]) * towards
    w.vector[LATE] += s * 0.16 * towards
    w.centre[LATE], w.width[LATE] = 0.048, 0.008
    w.vector[T] *= 1 + 0.35 * s


def _digitalis(heart: Heart, s: float, variant: float) -> None:
    w, towards = heart.ventricles, np.array(REGIONS["inferolateral"])
    w.vector[[ST1, ST2, ST3]] -= s * np.array([[0.04], [0.09], [0.08]]) * towards
    w.vector[T] *= max(0.2, 1 - 0.45 * s)
    heart.qt *= 1 - 0.07 * s


def _qt_prolonged(heart: Heart, s: float, variant: float) -> None:
    heart.qt *= 1 + 0.17 * s


def _u_wave(heart: Heart, s: float, variant: float) -> None:
    heart.ventricles.vector[U] += s * np.array([0.05, 0.05, -0.09])


def _electrolyte(heart: Heart, s: float, variant: float) -> None:
    w = heart.ventricles
    if variant < 0.5:
        w.vector[T] *= 1 + 0.9 * s
        w.width[T] *= 1 - 0.25 * min(s, 1)
    else:
        w.vector[T] *= max(0.1, 1 - 0.6 * s)
        _u_wave(heart, 1.2 * s, variant)


def _aneurysm(heart: Heart, s: float, variant: float) -> None:
    towards = REGIONS["anteroseptal"]
    _necrosis(heart, 0.9 * s, 0.05, towards, 0.38)
    heart.ventricles.vector[ST] += 0.09 * s * np.array(towards)


def _sinus_arrhythmia(heart: Heart, s: float, variant: float) -> None:
    pace = heart.pace
    respiratory = max(pace.respiratory, 0.085 + 0.09 * s)
    heart.pace = replace(pace, rr=max(pace.rr, 0.62), respiratory=respiratory)


def _longer_pr(heart: Heart, s: float, variant: float) -> None:
    pace = heart.pace
    pr = min(0.205 + 0.05 * (s - 0.6) + 0.02 * variant, 0.45 * pace.rr)
    if s < 0.6:
        pr = pace.pr + (0.2 - pace.pr) * s / 0.6
    heart.pace = replace(pace, pr=max(pr, pace.pr))


def _paced(heart: Heart, s: float, variant: float) -> None:
    w = heart.ectopic
    w.vector[:] = 0.0
    direction = np.array([0.55, -0.85, 0.65])
    w.vector[[MAIN, LATE]] = np.array([[0.85], [0.7]]) * direction
    w.centre[[MAIN, LATE]], w.width[[MAIN, LATE]] = (0.0, 0.045), (0.022, 0.024)
    w.vector[EARLY] = (0.25, 0.55, -0.2)
    w.centre[EARLY], w.width[EARLY] = -0.055, 0.0035
    w.vector[ST], w.vector[T] = -0.07 * direction, -0.22 * direction


def _fibrillation(heart: Heart, s: float, variant: float) -> None:
    heart.fibrillation_mv *= 0.7 + 0.4 * s


ALL_OR_NONE = ("preexcitation", "paced", "sinus_arrhythmia", "atrial_fibrillation")
"""Conditions that show nothing below their threshold."""

EFFECTS: dict[str, Callable[[Heart, float, float], None]] = {
    **{"low_voltage": _low_voltage, "high_voltage": _high_voltage},
    **{"septal_hypertrophy": _septal_hypertrophy, "lvh": _lvh, "rvh": _rvh},
    **{"infarct_anterior": _infarct_anterior, "infarct_inferior": _infarct_inferior},
    **{"infarct_lateral": _infarct_lateral, "infarct_posterior": _infarct_posterior},
    **{"left_axis": _left_axis, "right_axis": _right_axis},
    **{"left_anterior_fascicular": _left_anterior, "left_posterior_fascicular": _left_posterior},
    **{"clockwise": _clockwise, "counterclockwise": _counterclockwise},
    **{"conduction_delay": _conduction_delay, "t_change": _t_change, "t_inverted": _t_inverted},
    **{"t_low": _t_low, "electrolyte": _electrolyte, "u_wave": _u_wave},
    **{"early_repolarization": _early_repolarization, "st_change": _st_change},
    **{"st_depressed": _st_depressed, "st_elevated": _st_elevated, "st_upsloping": _st_upsloping},
    **{"ischaemia": _ischaemia, "injury": _injury, "aneurysm": _aneurysm, "digitalis": _digitalis},
    **{"qt_prolonged": _qt_prolonged, "rbbb_incomplete": _rbbb_incomplete, "rbbb": _rbbb},
    **{"lbbb_incomplete": _lbbb_incomplete, "lbbb": _lbbb, "preexcitation": _preexcitation},
    **{"left_atrial": _left_atrial, "right_atrial": _right_atrial, "p_wave_change": _p_wave_change},
    **{"sinus_arrhythmia": _sinus_arrhythmia, "av_block_1": _longer_pr, "pr_prolonged": _longer_pr},
    **{"paced": _paced, "atrial_fibrillation": _fibrillation},
}
"""What each condition does to the heart, in the order it is done."""
