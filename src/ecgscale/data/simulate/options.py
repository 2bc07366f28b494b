"""The typed options of a simulated cohort: what a published layout's profile may be changed to."""

from typing import Any

from pydantic import Field, ValidationError, model_validator

from ecgscale.config import CohortRecipe, Settings, first_problem
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.simulate.conditions import CONDITIONS
from ecgscale.errors import BadInputError


class NoiseOptions(Settings):
    """The recording device: typical noise of an electrode, mains, filters and resolution."""

    muscle_mv: float = Field(default=0.012, ge=0)
    """Median SD of broad-band noise at an electrode; records vary log-normally around it."""
    muscle_slope: float = Field(default=0.5, ge=0)
    """Colour of that noise: amplitude falls as frequency to this power (0 is white)."""
    wander_mv: float = Field(default=0.06, ge=0)
    """Median SD of baseline wander (below 0.6 Hz) at an electrode."""
    mains_hz: float = Field(default=50.0, gt=0)
    mains_mv: float = Field(default=0.006, ge=0)
    """Median amplitude of mains interference left by the device's own filter."""
    burst_probability: float = Field(default=0.08, ge=0, le=1)
    """Records with a burst of movement artefact at one electrode."""
    gain_sd: float = Field(default=0.03, ge=0)
    """SD of a record's relative gain error."""
    highpass_hz: float = Field(default=0.05, ge=0)
    lowpass_hz: float = Field(default=150.0, gt=0)
    resolution_uv: float = Field(default=1.0, gt=0)
    """Step of the device's converter."""


class CohortOptions(Settings):
    """What every layout's cohort can be changed to."""

    difficulty: float = Field(default=1.0, ge=0, le=3)
    """Scales noise, sub-threshold disease and label noise together; 0 is clean and crisp."""
    label_noise: float = Field(default=0.25, ge=0)
    """SD of the reader's assessment, in SDs of a condition's liability (times `difficulty`)."""
    missed: float = Field(default=0.03, ge=0, le=1)
    """Fraction of statements that the reader leaves out (times `difficulty`)."""
    prevalence: dict[str, float] = Field(default={})
    """Overrides of the fraction of records with a condition, by condition name."""
    age_mean: float = 60.0
    age_sd: float = Field(default=17.0, gt=0)
    male: float = Field(default=0.52, ge=0, le=1)
    """Fraction of male patients."""
    heart_rate: float = Field(default=72.0, gt=0)
    """Median sinus rate, beats per minute."""
    heart_rate_spread: float = Field(default=0.17, ge=0)
    """SD of the logarithm of the sinus rate."""
    bradycardia_below: float = 53.0
    """Sinus rate under which the cohort's readers say bradycardia."""
    misplaced: float = Field(default=0.01, ge=0, le=1)
    """Records with exchanged electrodes."""
    extra_record: float = Field(default=0.0, ge=0, lt=1)
    """Probability that a patient has one more record (applied again after each)."""
    missing: dict[str, float] = Field(default={})
    """Fraction of patients without a clinical value, by field; unnamed fields 0.2."""
    noise: NoiseOptions = NoiseOptions()

    @model_validator(mode="after")
    def _names_exist(self) -> "CohortOptions":
        known = {condition.name for condition in CONDITIONS}
        for key, names, allowed in (
            ("prevalence", self.prevalence, known),
            ("missing", self.missing, set(CLINICAL_FIELDS)),
        ):
            for name, value in names.items():
                if name not in allowed:
                    raise ValueError(f"{key} names {name!r}; it can name {sorted(allowed)}")
                if not 0 <= value <= 1:
                    raise ValueError(f"{key}.{name} is {value}, not a fraction")
        return self


class PtbXlOptions(CohortOptions):
    """A cohort in PTB-XL's layout: several records for some patients, German 50 Hz devices."""

    records500: bool = False
    """Also write records500/ (500 Hz); records100/ is then its band-limited down-sampling."""
    extra_record: float = Field(default=0.135, ge=0, lt=1)
    missing: dict[str, float] = Field(
        default={
            "height": 0.55,
            "weight": 0.45,
            "sbp": 0.25,
            "dbp": 0.25,
            "total_cholesterol": 0.45,
            "hdl_cholesterol": 0.5,
            "smoker": 0.3,
            "diabetes": 0.15,
        }
    )


class ChallengeOptions(CohortOptions):
    """A cohort in the Challenge's layout: one record per patient, other devices and case mix."""

    fs: int = Field(default=500, ge=100, le=500)
    """Sampling rate, Hz; the published recordings have 500."""
    age_mean: float = 58.0
    age_sd: float = Field(default=19.0, gt=0)
    male: float = Field(default=0.56, ge=0, le=1)
    heart_rate: float = Field(default=80.0, gt=0)
    heart_rate_spread: float = Field(default=0.37, ge=0)
    bradycardia_below: float = 60.0
    misplaced: float = Field(default=0.015, ge=0, le=1)
    missing: dict[str, float] = Field(
        default={
            "height": 0.3,
            "weight": 0.3,
            "sbp": 0.12,
            "dbp": 0.12,
            "total_cholesterol": 0.6,
            "hdl_cholesterol": 0.65,
            "smoker": 0.5,
            "diabetes": 0.2,
        }
    )
    noise: NoiseOptions = NoiseOptions(
        muscle_mv=0.018,
        muscle_slope=0.0,
        wander_mv=0.04,
        mains_hz=60.0,
        mains_mv=0.01,
        burst_probability=0.05,
        gain_sd=0.06,
        highpass_hz=0.5,
        lowpass_hz=70.0,
        resolution_uv=4.88,
    )


LAYOUT_OPTIONS: dict[str, type[PtbXlOptions] | type[ChallengeOptions]] = {
    "ptb-xl": PtbXlOptions,
    "challenge": ChallengeOptions,
}


def cohort_options(recipe: CohortRecipe) -> PtbXlOptions | ChallengeOptions:
    """Return a recipe's options: its layout's profile with the recipe's changes.

    A change of part of `prevalence`, `missing` or `noise` leaves the rest of it as it is.

    Raises
    ------
    BadInputError
        If an option is unknown or out of range; the message names it.
    """
    kind = LAYOUT_OPTIONS[recipe.layout]
    merged: dict[str, Any] = dict(recipe.options)
    for key in ("missing", "noise"):
        if isinstance(merged.get(key), dict):
            merged[key] = {**_plain(getattr(kind(), key)), **merged[key]}
    try:
        return kind(**merged)
    except ValidationError as error:
        problem = first_problem(error)
        raise BadInputError(f"simulate options of layout {recipe.layout}: {problem}") from error


def _plain(value: Any) -> dict[str, Any]:
    return value.model_dump() if isinstance(value, Settings) else dict(value)
