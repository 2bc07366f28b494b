"""What the analysis declares before any result is seen."""

from pydantic import Field

from ecgscale.settings import Settings

USUAL_SMALLEST_EFFECT = 0.002
"""Of a score between 0 and 1, per doubling: ten doublings then make 0.02."""


class ReportConfig(Settings):
    """The section `report` of a study."""

    primary_task: str
    """Decides, under the first protocol of the evaluation."""
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    """Of every interval; a pre-declared test rejects at one minus it."""
    smallest_effect: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    """Change of the primary metric per doubling from which on an effect is of interest; default
    0.002 of a score between 0 and 1, none of an error in the unit of what is predicted."""
    permutations: int = Field(default=10_000, ge=100)
    """Used only where the exact enumeration is larger."""
    bootstrap: int = Field(default=2000, ge=100)
    """Joint draws of runs and test patients."""
    seed: int = 0
    """Of both."""
