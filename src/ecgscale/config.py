"""A study file (params.yaml) as typed, validated settings; nothing else reads the file."""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ecgscale.data.record import LEADS
from ecgscale.errors import BadInputError

S = TypeVar("S", bound="Settings")
PARAMS = Path("params.yaml")


class Settings(BaseModel):
    """Base of all settings: unknown keys are an error, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StudyInfo(Settings):
    """Name and machine settings of a study."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    description: str = ""
    threads: int = Field(default=1, ge=1)
    """Threads of each process. Part of the study: another count gives other rounding."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    live_tracking_after: float = Field(default=0.0, ge=0)
    """Seconds before a run shows in MLflow; shorter ones are written together, by `sync`."""


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


class CohortRecipe(Settings):
    """One simulated cohort, written in a published layout by `simulate`."""

    layout: str
    """A registered layout (`ecgscale.data.simulate.layouts`)."""
    patients: int = Field(ge=1)
    seed: int = 0
    options: dict[str, Any] = {}
    """Overrides of the layout's cohort profile (`ecgscale.data.simulate`)."""


class SourceConfig(Settings):
    """Where one source lies and how it is read."""

    reader: str
    root: Path
    watch: Path
    """What DVC watches for changes: `root` itself, or a file that stands for it."""
    namespace: str = ""
    """Prefix of patient ids; sources that share patients share it. Default: the source's name."""
    max_quarantined: float = Field(default=0.1, ge=0, le=1)
    """Fraction of records in quarantine above which ingest fails."""
    options: dict[str, Any] = {}
    """The reader's own typed options."""


class PoolSource(Settings):
    """Which records of a source pretraining may draw from."""

    folds: tuple[int, ...] | None = None
    """Published folds to keep (None: all)."""
    splits: tuple[Literal["train", "validation", "test"], ...] | None = None
    """Published splits to keep (None: all)."""


class Grid(Settings):
    """The cells of a study: the product of its axes."""

    objectives: tuple[str, ...]
    encoders: tuple[str, ...]
    sizes: tuple[int, ...]
    """Pretraining patients."""
    orders: tuple[int, ...] = (0,)
    """Seeds of the nesting orders."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of weights, batches and augmentation."""
    controls: tuple[str, ...] = ("random", "supervised")

    @model_validator(mode="after")
    def _no_repeats(self) -> "Grid":
        for axis in ("objectives", "encoders", "sizes", "orders", "seeds", "controls"):
            values = getattr(self, axis)
            if len(set(values)) != len(values):
                raise ValueError(f"grid.{axis} repeats a value")
        if any(size < 1 for size in self.sizes):
            raise ValueError("grid.sizes must be positive")
        return self


class EncoderConfig(Settings):
    """An encoder under the name the study gives it."""

    kind: str
    params: dict[str, Any] = {}


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


class ObjectiveConfig(Settings):
    """An objective, or a variant of one, under the name the study gives it."""

    kind: str
    control_of: str | None = None
    """The objective that this variant is a control for."""
    params: dict[str, Any] = {}
    training: dict[str, Any] = {}
    """Overrides of the study's training settings."""
    augment: dict[str, Any] = {}
    """Overrides of the study's augmentation settings."""
    tuned: Path | None = None
    """A winner to take (results/tune/<name>/winner.json); `params` still override it."""


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


class ReportConfig(Settings):
    """What the report declares before looking."""

    primary_task: str
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    permutations: int = Field(default=10_000, ge=100)
    """Used only where the exact enumeration is larger."""
    bootstrap: int = Field(default=2000, ge=100)
    seed: int = 0


class TuneConfig(Settings):
    """A hyper-parameter search on validation data."""

    objectives: tuple[str, ...] = ("clef",)
    encoder: str
    size: int = Field(ge=1)
    order: int = 0
    seed: int = 0
    trials: int = Field(default=8, ge=1)
    steps: int = Field(default=100, ge=1)
    rungs: int = Field(default=3, ge=1)
    """How often the validation probe is read (and a trial may be pruned)."""
    startup_trials: int = Field(default=4, ge=1)
    workers: int = Field(default=1, ge=1)
    task: str
    """Its validation split decides; its test split is never read."""


class Study(Settings):
    """A whole study."""

    study: StudyInfo
    recipe: Recipe = Recipe()
    simulate: dict[str, CohortRecipe] = {}
    sources: dict[str, SourceConfig]
    pool: dict[str, PoolSource]
    grid: Grid
    encoders: dict[str, EncoderConfig]
    objectives: dict[str, ObjectiveConfig]
    training: TrainingConfig = TrainingConfig()
    augment: AugmentConfig = AugmentConfig()
    evaluation: EvaluationConfig
    report: ReportConfig
    tune: TuneConfig

    @model_validator(mode="after")
    def _references_exist(self) -> "Study":
        _known("pool", self.pool, "sources", self.sources)
        _known("evaluation.data", self.evaluation.data.values(), "sources", self.sources)
        _known("grid.encoders", self.grid.encoders, "encoders", self.encoders)
        objectives = (*self.grid.objectives, *self.grid.controls)
        _known("grid", objectives, "objectives", self.objectives)
        parents = [o.control_of for o in self.objectives.values() if o.control_of]
        _known("objectives.*.control_of", parents, "objectives", self.objectives)
        _known(
            "report.primary_task",
            [self.report.primary_task],
            "evaluation.tasks",
            self.evaluation.tasks,
        )
        _known("tune.objectives", self.tune.objectives, "objectives", self.objectives)
        _known("tune.encoder", [self.tune.encoder], "encoders", self.encoders)
        _known("tune.task", [self.tune.task], "evaluation.tasks", self.evaluation.tasks)
        _known("tune.size", [self.tune.size], "grid.sizes", self.grid.sizes)
        _known("tune.order", [self.tune.order], "grid.orders", self.grid.orders)
        smallest = min(self.grid.sizes, default=self.training.batch_size)
        if smallest < self.training.batch_size:
            raise ValueError(
                f"grid.sizes has {smallest}, below training.batch_size {self.training.batch_size}: "
                "a batch would hold a record twice"
            )
        return self

    def training_for(self, objective: str) -> TrainingConfig:
        """Return the training settings of an objective: the study's, with its overrides."""
        return _override(self.training, self.objectives[objective].training, objective, "training")

    def augment_for(self, objective: str) -> AugmentConfig:
        """Return the augmentation settings of an objective: the study's, with its overrides."""
        return _override(self.augment, self.objectives[objective].augment, objective, "augment")

    def with_overrides(self, objective: str, training: dict[str, Any]) -> "Study":
        """Return the study with other training overrides for one objective."""
        changed = self.objectives[objective].model_copy(update={"training": training})
        return self.model_copy(update={"objectives": {**self.objectives, objective: changed}})

    def namespace(self, source: str) -> str:
        """Return the prefix of a source's patient ids."""
        return self.sources[source].namespace or source


def load_study(path: Path = PARAMS) -> Study:
    """Read and validate a study file.

    Raises
    ------
    BadInputError
        If the file is missing, not YAML, or a key is unknown, missing or out of range; the message
        names the file and the key.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"study file {path} does not exist") from error
    except yaml.YAMLError as error:
        raise BadInputError(f"{path} is not YAML: {error}") from error
    if not isinstance(raw, dict):
        raise BadInputError(f"{path} must be a mapping of settings")
    try:
        return Study(**raw)
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation error as one line: key, then what is wrong."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-serialisable value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _known(where: str, names: Any, what: str, allowed: Any) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{where} names {name!r}, which is not in {what}")


def _override(base: S, changes: dict[str, Any], objective: str, section: str) -> S:
    try:
        return type(base)(**{**base.model_dump(), **changes})
    except ValidationError as error:
        raise BadInputError(f"objectives.{objective}.{section}.{first_problem(error)}") from error
