"""Patients: who they are, what ails them, and how their readers see it."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.simulate.conditions import CONDITIONS, INDEX
from ecgscale.data.simulate.options import CohortOptions

Floats = npt.NDArray[np.float64]

RHYTHMS = (
    "atrial_fibrillation",
    "atrial_flutter",
    "supraventricular_tachycardia",
    "atrial_tachycardia",
    "paced",
)
"""Rhythms other than sinus; the first one present wins."""

AV_BLOCKS = ("av_block_1", "pr_prolonged", "av_block_2_type_1", "av_block_2_type_2")
NEEDS_SINUS = (
    *AV_BLOCKS,
    *("av_block_complete", "preexcitation", "sinus_arrhythmia", "atrial_premature"),
    *("left_atrial", "right_atrial", "p_wave_change", "bigeminy", "trigeminy"),
    *("ventricular_escape", "junctional_escape"),
)
"""Conditions that are not seen (or not drawn here) without sinus rhythm."""

AT_MOST_ONE = (
    ("paced", "lbbb", "rbbb", "preexcitation"),
    (*AV_BLOCKS, "av_block_complete", "preexcitation"),
    ("av_block_2_type_1", "av_block_2_type_2", "av_block_complete", "sinus_arrhythmia"),
    ("bigeminy", "trigeminy", "ventricular_escape", "junctional_escape", "sinus_arrhythmia"),
    ("bigeminy", "trigeminy", "atrial_premature"),
    ("bigeminy", "trigeminy", "av_block_2_type_1", "av_block_2_type_2", "av_block_complete"),
    ("left_anterior_fascicular", "left_posterior_fascicular", "left_axis", "right_axis"),
    ("lbbb", "lbbb_incomplete", "conduction_delay"),
    ("rbbb", "rbbb_incomplete", "conduction_delay"),
    ("lvh", "low_voltage"),
    ("rvh", "low_voltage"),
    ("rvh", "left_anterior_fascicular"),
    ("high_voltage", "low_voltage"),
    ("clockwise", "counterclockwise"),
    ("early_repolarization", "st_elevated", "st_depressed", "injury", "st_upsloping"),
    ("infarct_anterior", "infarct_inferior", "infarct_lateral", "infarct_posterior"),
    ("t_change", "t_inverted", "t_low"),
)
"""Groups of which a record shows only the one with the largest margin."""

HIDDEN_BY_WIDE_QRS = (
    *("rbbb_incomplete", "lbbb_incomplete", "left_anterior_fascicular", "left_axis"),
    *("left_posterior_fascicular", "right_axis", "conduction_delay", "lvh", "rvh"),
    *("infarct_anterior", "infarct_inferior", "infarct_lateral", "infarct_posterior"),
    *("early_repolarization", "t_inverted", "t_low", "t_change", "st_change"),
)
"""Conditions not read from a paced, left bundle branch block or pre-excited QRS."""

ABSENT = -1.5
"""Margin, in SDs of liability, given to a condition that another one excludes."""

CRISP = (*RHYTHMS, "lbbb", "rbbb", "ventricular_premature", "atrial_premature", "bigeminy")
"""Conditions that readers seldom disagree on: 0.3 of the label noise."""

_NORMAL = NormalDist()


@dataclass(frozen=True)
class Patient:
    """One simulated person; all that stays the same from record to record.

    Attributes
    ----------
    age
        Years at the first record.
    risk
        Latent cardiovascular risk, in SDs of the cohort.
    clinical
        Every field of `CLINICAL_FIELDS`, nothing missing.
    liability
        Shape (condition,), unit variance each.
    variant
        Shape (condition,), uniform in [0, 1): which form the condition takes (region, type).
    records
        How many records the patient has.
    """

    index: int
    age: float
    male: bool
    risk: float
    clinical: dict[str, float]
    liability: Floats
    variant: Floats
    records: int


@dataclass(frozen=True)
class State:
    """The heart at the time of one record, and the reader's view of it.

    Attributes
    ----------
    margin
        Shape (condition,), liability above the threshold, in SDs; positive where present.
    severity
        Shape (condition,), what the signal expresses: 0 none, 0.6 at the threshold, 1 typical;
        just under the threshold a condition shows weakly.
    assessed
        Shape (condition,), the margin as the reader sees it.
    rhythm
        "sinus" or one of `RHYTHMS`.
    """

    margin: Floats
    severity: Floats
    assessed: Floats
    rhythm: str

    def has(self, name: str) -> bool:
        """Return whether the condition is present (not: whether it is read)."""
        return bool(self.margin[INDEX[name]] > 0)


def stream(seed: int, *key: int) -> np.random.Generator:
    """Return the random stream of one thing: the same whatever else is drawn, and in any order."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=key)))


def draw_patient(index: int, seed: int, options: CohortOptions) -> Patient:
    """Draw patient number `index` of the cohort with this seed."""
    rng = stream(seed, 0, index)
    male = bool(rng.random() < options.male)
    age = float(np.clip(rng.normal(options.age_mean, options.age_sd), 18, 97))
    z_age = (age - options.age_mean) / options.age_sd
    risk = 0.55 * z_age + 0.3 * (1 if male else -1) + 0.78 * rng.standard_normal()
    records = 1
    while rng.random() < options.extra_record and records < 10:
        records += 1
    return Patient(
        index=index,
        age=age,
        male=male,
        risk=float(risk),
        clinical=_clinical(rng, male, z_age, float(risk)),
        liability=_liability(rng, male, z_age, float(risk)),
        variant=rng.random(len(CONDITIONS)),
        records=records,
    )


def draw_state(
    patient: Patient, options: CohortOptions, thresholds: Floats, rng: np.random.Generator
) -> State:
    """Draw a patient's state at one record: most of the liability is the patient's, some the day's.

    Parameters
    ----------
    thresholds
        Shape (condition,), see `liability_thresholds`.
    """
    persistence = 0.88
    day = rng.standard_normal(len(CONDITIONS))
    liability = np.sqrt(persistence) * patient.liability + np.sqrt(1 - persistence) * day
    margin = liability - thresholds
    rhythm = _compatible(margin)
    noise = rng.standard_normal(len(CONDITIONS)) * options.label_noise * options.difficulty
    noise[[INDEX[name] for name in CRISP]] *= 0.3
    return State(margin, _severity(margin, options.difficulty), margin + noise, rhythm)


def liability_thresholds(options: CohortOptions) -> Floats:
    """Return, for each condition, the liability that as many exceed as its prevalence says."""
    shares = {c.name: c.prevalence for c in CONDITIONS} | {**options.case_mix, **options.prevalence}
    return np.array([_threshold(shares[condition.name]) for condition in CONDITIONS])


def rhythm_of(margin: Floats) -> str:
    """Return the rhythm that margins (true or assessed) amount to."""
    return next((name for name in RHYTHMS if margin[INDEX[name]] > 0), "sinus")


def _threshold(share: float) -> float:
    if share <= 0:
        return 99.0
    return -99.0 if share >= 1 else _NORMAL.inv_cdf(1 - share)


def _severity(margin: Floats, difficulty: float) -> Floats:
    below = 0.6 * (1 + margin / max(0.5 * difficulty, 1e-9))
    return np.clip(np.where(margin < 0, below, 0.6 + 0.9 * margin), 0.0, 1.6)


def _compatible(margin: Floats) -> str:
    """Push excluded conditions to `ABSENT`, in place; return the rhythm."""
    rhythm = rhythm_of(margin)
    for name in RHYTHMS:
        if name != rhythm:
            _exclude(margin, name)
    if rhythm != "sinus":
        for name in NEEDS_SINUS:
            _exclude(margin, name)
    for group in AT_MOST_ONE:
        strongest = max(group, key=lambda name: margin[INDEX[name]])
        if margin[INDEX[strongest]] > 0:
            for name in group:
                if name != strongest:
                    _exclude(margin, name)
    if any(margin[INDEX[name]] > 0 for name in ("paced", "lbbb", "preexcitation")):
        for name in HIDDEN_BY_WIDE_QRS:
            _exclude(margin, name)
    return rhythm


def _exclude(margin: Floats, name: str) -> None:
    margin[INDEX[name]] = min(margin[INDEX[name]], ABSENT)


def _liability(rng: np.random.Generator, male: bool, z_age: float, risk: float) -> Floats:
    weights = np.array([(c.age, c.male, c.risk) for c in CONDITIONS])
    known = weights @ np.array([z_age, 1.0 if male else -1.0, risk])
    age_risk, male_risk = 0.55, 0.3
    a, m, r = weights.T
    variance = 1 + a**2 + m**2 + r**2 + 2 * a * r * age_risk + 2 * m * r * male_risk
    liability: Floats = (known + rng.standard_normal(len(CONDITIONS))) / np.sqrt(variance)
    return liability


def _clinical(rng: np.random.Generator, male: bool, z_age: float, risk: float) -> dict[str, float]:
    """Draw the clinical fields; all but height carry part of the latent risk."""
    noise = rng.standard_normal(6)
    height = (176 if male else 163) - 1.5 * z_age + 6.5 * noise[0]
    bmi = np.clip(26 + 1.2 * risk + 3.8 * noise[1], 16, 50)
    sbp = 129 + 4 * z_age + 9 * risk + 11 * noise[2]
    dbp = 78 + 0.4 * (sbp - 129) - 2 * z_age + 6 * noise[3]
    ranges = {
        "height": (height, 140, 205),
        "weight": (bmi * (height / 100) ** 2, 38, 170),
        "sbp": (sbp, 85, 220),
        "dbp": (dbp, 45, 125),
        "total_cholesterol": (5.2 + 0.25 * risk + 0.95 * noise[4], 2.5, 10.0),
        "hdl_cholesterol": ((1.2 if male else 1.5) - 0.1 * risk + 0.3 * noise[5], 0.5, 3.0),
        "smoker": (float(rng.random() < _logistic(-1.3 + 0.5 * risk - 0.4 * z_age)), 0, 1),
        "diabetes": (float(rng.random() < _logistic(-2.4 + 0.9 * risk)), 0, 1),
    }
    decimals = {"total_cholesterol": 2, "hdl_cholesterol": 2}
    return {
        name: round(float(np.clip(*ranges[name])), decimals.get(name, 0))
        for name in CLINICAL_FIELDS
    }


def _logistic(x: float) -> float:
    return float(1 / (1 + np.exp(-x)))
