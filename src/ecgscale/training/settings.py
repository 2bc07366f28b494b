"""How a cell is trained, and all that decides what its pretraining writes."""

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import Scalar
from ecgscale.runs.settings import StudyInfo
from ecgscale.settings import Settings, digest_of


class TrainingConfig(Settings):
    """How a cell is trained."""

    regime: Literal["fixed_steps", "fixed_epochs"] = "fixed_steps"
    steps: int = Field(default=300, ge=1)
    """Optimizer steps, whatever the size (regime fixed_steps)."""
    epochs: float = Field(default=10.0, gt=0)
    """Passes over the subset (regime fixed_epochs)."""
    batch_size: int = Field(default=64, ge=2)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=5e-4, ge=0)
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    min_lr_fraction: float = Field(default=0.01, ge=0, le=1)
    clip_norm: float = Field(default=1.0, gt=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 autocast on CUDA, fp32 on CPU."""
    cuda_graph: bool = False
    """Take a step as one captured CUDA graph; gives up that two trainings are equal bit by bit."""
    compile: bool = False
    """Pass the loss through ``torch.compile`` (minutes before the first step)."""
    log_every: int = Field(default=10, ge=1)
    monitor_every: int = Field(default=100, ge=1)
    """Steps between collapse monitors (embedding SD, effective rank, kNN)."""
    monitor_records: int = Field(default=256, ge=8)
    checkpoint_seconds: float = Field(default=30.0, ge=0)
    """Least time between two work checkpoints."""


class DataConfig(Settings):
    """What is changed of the records of a subset before an objective learns from them."""

    surrogates: bool = False
    """Phase-randomised surrogates in place of the recordings (`ecgscale.data.surrogate`)."""
    shuffled_labels: bool = False
    """Labels dealt out anew among the patients of each source."""
    without: tuple[str, ...] = ()
    """Sources whose records are dropped once a subset is drawn."""

    @property
    def is_changed(self) -> bool:
        """Whether the records that are left are: to drop a source changes no record."""
        return self.surrogates or self.shuffled_labels


@dataclass(frozen=True)
class ResolvedEncoder:
    """An encoder as a study asks for it."""

    name: str
    kind: str
    """The study's name for it, and the registered encoder."""
    params: dict[str, Any]
    """Every parameter, defaults included."""

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the name, 16 hexadecimal characters."""
        return digest_of([self.kind, self.params])[:16]


@dataclass(frozen=True)
class ResolvedObjective:
    """An objective as a study asks for it."""

    name: str
    kind: str
    """The study's name for it, and the registered objective."""
    control_of: str | None
    """The objective that this one is a control for, or None."""
    params: dict[str, Any]
    """Every parameter: the published default, else the tuned winner's, else the study's."""
    training: TrainingConfig
    augment: AugmentConfig
    data: DataConfig
    """Training and augmentation are the study's settings with the objective's overrides (and the
    tuned winner's)."""

    @property
    def settings(self) -> dict[str, dict[str, Any]]:
        """Parameters, training, augmentation and data settings as plain values, by section."""
        return {
            "params": self.params,
            "training": self.training.model_dump(mode="json"),
            "augment": self.augment.model_dump(mode="json"),
            "data": self.data.model_dump(mode="json"),
        }

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the name, 16 hexadecimal characters."""
        return digest_of([self.kind, self.settings])[:16]


@dataclass(frozen=True)
class Pretraining:
    """All that decides what the pretraining of a cell writes, beside its data."""

    study: StudyInfo
    """Name, threads and device."""
    cell: Cell
    axes: dict[str, Scalar]
    """The cell's coordinates as its record states them."""
    recipe: Recipe
    """How the signals were prepared, and how they are normalised."""
    encoder: ResolvedEncoder
    objective: ResolvedObjective
    lead: str | None
    """The lead that the collapse monitor of a one-lead encoder sees; None for other encoders."""
    tasks: tuple[str, ...]
    """Whose training labels an objective that needs labels learns."""
    code: str
    """Digest of the code and libraries behind it."""
