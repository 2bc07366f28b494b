"""Settings of the random views; apart from the views, which need torch."""

from pydantic import Field

from ecgscale.settings import Settings


class AugmentConfig(Settings):
    """Random views of a record; probabilities are per view, amplitudes in record SDs."""

    crop_seconds: float | None = 2.5
    """Length of the random crop; None keeps the whole record."""
    noise_prob: float = Field(default=0.5, ge=0, le=1)
    noise_sd: float = Field(default=0.1, ge=0)
    wander_prob: float = Field(default=0.5, ge=0, le=1)
    wander_sd: float = Field(default=0.2, ge=0)
    wander_hz: tuple[float, float] = (0.05, 0.5)
    scale_range: tuple[float, float] = (0.8, 1.25)
    mask_prob: float = Field(default=0.2, ge=0, le=1)
    mask_fraction: tuple[float, float] = (0.1, 0.3)
    lead_drop_prob: float = Field(default=0.1, ge=0, le=1)
    """Probability that a lead is set to zero (encoders with several leads)."""
    same_lead_prob: float = Field(default=0.8, ge=0, le=1)
    """Encoders with one lead: probability that the second view takes the first view's lead."""
