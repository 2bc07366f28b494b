"""The typed options of a simulated cohort: what a published layout's profile may be changed to."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, model_validator

from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.simulate.conditions import CONDITIONS
from ecgscale.settings import Settings


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

    case_mix: ClassVar[Mapping[str, float]] = {}
    """A layout's own prevalences, by condition name; the others are those of `CONDITIONS`."""
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

    @property
    def rates(self) -> tuple[int, ...]:
        """Sampling rates of a record, Hz: the device's, then others that divide it."""
        return (500,)

    @property
    def seconds(self) -> float:
        """Length of a record."""
        return 10.0

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


class RatedOptions(CohortOptions):
    """A cohort whose recordings may have another rate than the published ones."""

    fs: int = Field(default=500, ge=100, le=500)
    """Sampling rate, Hz; the published recordings have 500."""

    @property
    def rates(self) -> tuple[int, ...]:
        """The rate of the recordings."""
        return (self.fs,)
