"""What every run of a study is told: the study's name and the machine's settings."""

from typing import Literal

from pydantic import Field

from ecgscale.settings import Settings


class StudyInfo(Settings):
    """Name and machine settings of a study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    threads: int = Field(default=1, ge=1)
    """Threads of each process. Part of the study: another count gives other rounding."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    live_tracking_after: float = Field(default=0.0, ge=0)
    """Seconds before a run shows in MLflow; shorter ones are written together, by `sync`."""
