"""The downstream tasks and how encoders are read out."""

from dataclasses import dataclass
from typing import Any

from pydantic import Field, model_validator

from ecgscale.data.recipe import Recipe
from ecgscale.runs.settings import StudyInfo
from ecgscale.settings import Settings

ENDPOINT_SEPARATOR = "@"
"""Stands between a task and a protocol that is not the study's first."""


class Protocol(Settings):
    """How an encoder is read out: by what, with how many labels, at which depth."""

    readout: str = "linear"
    """Name of a registered readout (`ecgscale.evaluation.readouts`)."""
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training patients whose labels are used, in whole percent."""
    depth: float = Field(default=1.0, gt=0, le=1)
    """Share of the encoder's blocks that are used, in whole percent; 1 for readouts that read no
    other depth."""

    @property
    def name(self) -> str:
        """``<readout>``, then ``-<percent>pct`` and ``-d<percent>`` where they are below 100."""
        fraction, depth = round(100 * self.fraction), round(100 * self.depth)
        return (
            self.readout
            + (f"-{fraction}pct" if fraction < 100 else "")
            + (f"-d{depth}" if depth < 100 else "")
        )

    @model_validator(mode="after")
    def _possible(self) -> "Protocol":
        for name in ("fraction", "depth"):
            percent = 100 * getattr(self, name)
            if abs(percent - round(percent)) > 1e-6 or percent < 1:
                raise ValueError(f"{name} must be a whole number of hundredths")
        return self


class EvaluationSettings(Settings):
    """The downstream tasks and how they are read out."""

    tasks: tuple[str, ...]
    lead: str = "II"
    """The lead given to encoders with one input lead."""
    protocols: tuple[Protocol, ...] = Field(default=(Protocol(),), min_length=1)
    """How every task is read out; the first is the study's primary."""
    readouts: dict[str, dict[str, Any]] = Field(default={})
    """Settings of readouts by their names. The registered class checks them and knows their
    defaults (`ecgscale.evaluation.readouts.base.parse_settings`): reading a study file must not
    import torch."""
    seed: int = 0
    """Seeds label fractions and the readouts that are trained."""
    bootstrap: int = Field(default=1000, ge=0)
    """Patient-level resamples."""
    bootstrap_seed: int = 0
    minimum_positives: int | None = Field(default=None, ge=1)
    """Overrides the tasks' own minimum of test positives."""
    batch_size: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _no_repeats(self) -> "EvaluationSettings":
        names = [protocol.name for protocol in self.protocols]
        if len(set(names)) < len(names):
            raise ValueError("protocols repeats one")
        return self

    def endpoint(self, task: str, protocol: Protocol) -> str:
        """Return the name of a result: the task's, with the protocol's unless it is the first."""
        if protocol == self.protocols[0]:
            return task
        return f"{task}{ENDPOINT_SEPARATOR}{protocol.name}"


class EvaluationConfig(EvaluationSettings):
    """A study's ``evaluation`` section."""

    data: dict[str, str] = Field(default={})
    """Data set of a task (`TaskMetadata.dataset`) to the study's source that holds it; tasks that a
    source declares need no entry."""


@dataclass(frozen=True)
class Evaluation:
    """All that decides what the evaluation of an encoder, or of a baseline, writes.

    Attributes
    ----------
    study
        Name and machine settings.
    recipe
        How the study's signals were prepared.
    settings
        With the settings of the readouts that are used, and no others, defaults included.
    code
        Digest of the code behind it.
    """

    study: StudyInfo
    recipe: Recipe
    settings: EvaluationSettings
    code: str
