"""How a cell is trained."""

from typing import Literal

from pydantic import Field

from ecgscale.settings import Settings


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
