"""The preprocessing recipe: from a source's signal to the tensor an encoder sees."""

from typing import Literal

from pydantic import Field

from ecgscale.data.record import LEADS
from ecgscale.settings import Settings, digest_of


class Recipe(Settings):
    """Preprocessing, from a source's signal to the tensor an encoder sees."""

    fs: float = Field(default=100.0, gt=0)
    """Sampling rate after resampling, Hz."""
    seconds: float = Field(default=10.0, gt=0)
    """Length of every stored record; longer ones are cut, shorter ones padded with zeros."""
    minimum_seconds: float = Field(default=5.0, gt=0)
    """Shorter recordings are quarantined."""
    band: tuple[float, float] = (0.5, 40.0)
    """Pass band, Hz (zero-phase Butterworth)."""
    leads: tuple[str, ...] = LEADS
    """Leads given to the encoder, in this order."""
    normalise: Literal["zscore", "none"] = "zscore"
    """Per record and lead, over time, on the device."""

    @property
    def n_samples(self) -> int:
        """Samples per stored record."""
        return round(self.fs * self.seconds)

    @property
    def digest(self) -> str:
        """SHA-256 of the settings, 16 hexadecimal characters."""
        return digest_of(self.model_dump(mode="json"))[:16]
