"""The downstream tasks and how encoders are read out."""

from typing import Literal

from pydantic import Field, model_validator

from ecgscale.settings import Settings


class ProbeConfig(Settings):
    """The linear probe: logistic regression, or ridge regression of a number."""

    penalties: tuple[float, ...] = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    """L2 penalties tried, per training example; the main metric on validation chooses."""
    max_iterations: int = Field(default=100, ge=1)


class KnnConfig(Settings):
    """Nearest neighbours."""

    k: int = Field(default=20, ge=1)
    """Neighbours; all training examples where there are fewer."""


class NetworkConfig(Settings):
    """How a readout is trained by gradient descent (AdamW, warm-up, half a cosine).

    CLEF's public code fine-tunes with Adam, rate 1e-3, batches of 64, at most 100 epochs and a
    patience of 5 (github.com/Nokia-Bell-Labs/ecg-foundation-model). Rate, batch and patience are
    those; fewer epochs, which the cosine ends at.
    """

    epochs: int = Field(default=50, ge=1)
    """Passes over the training examples at most."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation metric after which training ends."""
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Of weights; biases, scales and single vectors have none."""
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    pos_weight: bool = False
    """Multi-label and binary: weigh a label's positives by its negatives per positive."""


class AttentionConfig(NetworkConfig):
    """An attention-pooling head on the tokens of a frozen encoder."""

    heads: int = Field(default=8, ge=1)
    cache_mb: int = Field(default=1024, ge=0)
    """Tokens are kept in memory if they take less than this, else computed in every epoch."""


class FinetuneConfig(NetworkConfig):
    """Training of the whole encoder with a linear head on the embedding."""

    epochs: int = Field(default=30, ge=1)
    """Passes over the training examples at most."""
    layer_decay: float = Field(default=0.75, gt=0, le=1)
    """Factor of the learning rate from each block to the one below it; 1 for one rate."""


ReadoutName = Literal["linear", "knn", "attention", "finetune"]


ENDPOINT_SEPARATOR = "@"
"""Stands between a task and a protocol that is not the study's first."""


class Protocol(Settings):
    """How an encoder is read out: by what, with how many labels, at which depth."""

    readout: ReadoutName = "linear"
    fraction: float = Field(default=1.0, gt=0, le=1)
    """Share of the training patients whose labels are used, in whole percent."""
    depth: float = Field(default=1.0, gt=0, le=1)
    """Share of the encoder's blocks that are used, in whole percent (linear and knn)."""

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
        if self.depth < 1 and self.readout not in ("linear", "knn"):
            raise ValueError(f"depth is for linear and knn; {self.readout} reads the last block")
        return self


class EvaluationConfig(Settings):
    """The downstream tasks and how they are read out."""

    data: dict[str, str]
    """Data set of a task (`TaskMetadata.dataset`) to the study's source that holds it."""
    tasks: tuple[str, ...]
    lead: str = "II"
    """The lead given to encoders with one input lead."""
    protocols: tuple[Protocol, ...] = Field(default=(Protocol(),), min_length=1)
    """How every task is read out; the first is the study's primary."""
    probe: ProbeConfig = ProbeConfig()
    knn: KnnConfig = KnnConfig()
    attention: AttentionConfig = AttentionConfig()
    finetune: FinetuneConfig = FinetuneConfig()
    seed: int = 0
    """Seeds label fractions and the readouts that are trained."""
    bootstrap: int = Field(default=1000, ge=0)
    """Patient-level resamples."""
    bootstrap_seed: int = 0
    minimum_positives: int | None = Field(default=None, ge=1)
    """Overrides the tasks' own minimum of test positives."""
    batch_size: int = Field(default=256, ge=1)

    @model_validator(mode="after")
    def _no_repeats(self) -> "EvaluationConfig":
        names = [protocol.name for protocol in self.protocols]
        if len(set(names)) < len(names):
            raise ValueError("protocols repeats one")
        return self

    def endpoint(self, task: str, protocol: Protocol) -> str:
        """Return the name of a result: the task's, with the protocol's unless it is the first."""
        if protocol == self.protocols[0]:
            return task
        return f"{task}{ENDPOINT_SEPARATOR}{protocol.name}"
