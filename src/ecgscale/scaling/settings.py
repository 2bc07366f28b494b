"""What the analysis declares before any result is seen."""

from pydantic import Field

from ecgscale.settings import Settings


class ReportConfig(Settings):
    """The section `report` of a study."""

    primary_task: str
    """Decides, under the first protocol of the evaluation."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval; a pre-declared test rejects at one minus it."""
    permutations: int = Field(default=10_000, ge=100)
    """Used only where the exact enumeration is larger."""
    bootstrap: int = Field(default=2000, ge=100)
    """Joint draws of runs and test patients."""
    seed: int = 0
    """Of both."""
