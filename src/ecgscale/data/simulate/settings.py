"""How a study names a simulated cohort."""

from typing import Any

from pydantic import Field

from ecgscale.settings import Settings


class CohortSettings(Settings):
    """One simulated cohort, written in a published layout by `simulate`."""

    layout: str
    """A registered layout (`ecgscale.data.simulate.layouts`)."""
    patients: int = Field(ge=1)
    seed: int = 0
    options: dict[str, Any] = Field(default={})
    """Overrides of the layout's cohort profile (`ecgscale.data.simulate`)."""
