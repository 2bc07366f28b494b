"""A study file (params.yaml) as typed, validated settings; nothing else reads the file."""

import re
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.pool import PoolSource
from ecgscale.data.recipe import Recipe
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.errors import BadInputError
from ecgscale.evaluation.settings import EvaluationConfig
from ecgscale.runs.settings import StudyInfo
from ecgscale.scaling.settings import ReportConfig
from ecgscale.settings import Settings, first_problem, read_mapping
from ecgscale.training.settings import DataConfig, TrainingConfig

S = TypeVar("S", bound=Settings)
PARAMS = Path("params.yaml")
RESERVED = ("baseline", "external")
"""Folders of results beside those of the objectives."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Replicate(Settings):
    """A repetition of the study: one run at every size, of every objective and encoder."""

    order: int = Field(ge=0)
    """Seed of the nesting order."""
    seed: int = Field(ge=0)
    """Seed of weights, batches and augmentation."""


class Grid(Settings):
    """The cells of a study: the product of its axes."""

    objectives: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    """Objectives that learn the tasks' labels on the records of every subset."""
    encoders: tuple[str, ...]
    sizes: tuple[int, ...]
    """Pretraining patients."""
    replicates: tuple[Replicate, ...] = (Replicate(order=0, seed=0),)
    """Best each with an order and a seed of its own; every order with every seed may be written
    out too."""
    controls: tuple[str, ...] = ("random", "supervised")
    """Objectives without a subset: untrained, or trained on all labels."""
    baselines: tuple[str, ...] = ("age-sex", "ecg-features", "prevalence")

    @model_validator(mode="before")
    @classmethod
    def _one_list(cls, given: Any) -> Any:
        """Refuse the two keys that the list of replicates stands for now."""
        old = [key for key in ("orders", "seeds") if isinstance(given, dict) and key in given]
        if old:
            axes = (given.get(key, [0]) for key in ("orders", "seeds"))
            crossed = product(
                *(axis if isinstance(axis, (list, tuple)) else [axis] for axis in axes)
            )
            listed = ", ".join(f"{{order: {order}, seed: {seed}}}" for order, seed in crossed)
            raise ValueError(
                f"grid.{' and grid.'.join(old)}: replicates are one list now, for instance "
                f"replicates: [{listed}]"
            )
        return given

    @model_validator(mode="after")
    def _no_repeats(self) -> "Grid":
        axes = (
            *("objectives", "labelled", "encoders", "sizes", "replicates"),
            *("controls", "baselines"),
        )
        for axis in axes:
            values = getattr(self, axis)
            if len(set(values)) != len(values):
                raise ValueError(f"grid.{axis} repeats a value")
        names = (*self.scaled, *self.controls)
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"grid names {name} in two of objectives, labelled and controls")
        stages = [f"{name}-{encoder}" for name, encoder in product(names, self.encoders)]
        for stage in stages:
            if stages.count(stage) > 1:
                raise ValueError(
                    f"grid: two pairs of an objective and an encoder are both called {stage}: give "
                    "one of them another name"
                )
        if any(size < 1 for size in self.sizes):
            raise ValueError("grid.sizes must be positive")
        return self

    @model_validator(mode="after")
    def _regular(self) -> "Grid":
        count, orders = len(self.blocks), len(self.orders)
        seeds = len({seed for _, seed in self.blocks})
        if not count:
            raise ValueError("grid.replicates is empty: a study has one at least")
        if count != orders * seeds and not count == orders == seeds:
            raise ValueError(
                "grid.replicates must have an order and a seed of its own in each, or every order "
                f"with every seed; here {count} replicates have {orders} orders and {seeds} seeds"
            )
        return self

    @property
    def scaled(self) -> tuple[str, ...]:
        """Every objective that is trained at every size."""
        return (*self.objectives, *self.labelled)

    @property
    def blocks(self) -> tuple[tuple[int, int], ...]:
        """(order, seed) of every replicate."""
        return tuple((replicate.order, replicate.seed) for replicate in self.replicates)

    @property
    def orders(self) -> tuple[int, ...]:
        """The different nesting orders."""
        return tuple(dict.fromkeys(order for order, _ in self.blocks))


class EncoderConfig(Settings):
    """An encoder under the name the study gives it."""

    kind: str
    params: dict[str, Any] = Field(default={})


class ObjectiveConfig(Settings):
    """An objective, or a variant of one, under the name the study gives it."""

    kind: str
    role: Literal["positive-control", "negative-control"] | None = None
    """A positive control must gain from more patients, a negative one learns from records that
    hold nothing to gain: what a study can see is judged by both."""
    control_of: str | None = None
    """The objective that this variant is a control for."""
    arm_of: str | None = None
    """The objective that this one repeats under another training, or without some sources."""
    data: DataConfig = DataConfig()
    """What is changed of the records that it learns from."""
    params: dict[str, Any] = Field(default={})
    training: dict[str, Any] = Field(default={})
    """Overrides of the study's training settings."""
    augment: dict[str, Any] = Field(default={})
    """Overrides of the study's augmentation settings."""
    tuned: Path | None = None
    """A winner to take (results/tune/<name>/winner.json); `params` still override it."""

    @model_validator(mode="after")
    def _role_fits(self) -> "ObjectiveConfig":
        if self.role == "negative-control" and not self.control_of:
            raise ValueError(
                "a negative control needs control_of: the objective it is a variant of"
            )
        if self.role == "positive-control" and self.control_of:
            raise ValueError("a positive control is no variant: it has no control_of")
        if self.arm_of and (self.role or self.control_of):
            raise ValueError("an arm is no control: it has neither role nor control_of")
        if self.data.without and not self.arm_of:
            raise ValueError("data.without needs arm_of: the objective that has all sources")
        if self.data.is_changed and self.role != "negative-control":
            raise ValueError(
                "what learns from changed data is a negative control: give it that role"
            )
        return self


def _keys(value: Any) -> Any:
    return tuple(value) if isinstance(value, dict) else value


class TuneConfig(Settings):
    """A hyper-parameter search on validation data."""

    objectives: Annotated[tuple[str, ...], BeforeValidator(_keys)] = ("clef",)
    """A list, or a set {clef, simclr}."""
    encoder: str
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    """Patients. The search runs at the smallest; its best settings are trained at all of them."""
    order: int = 0
    seed: int = 0
    trials: int = Field(default=8, ge=1)
    steps: int = Field(default=100, ge=1)
    rungs: int = Field(default=3, ge=1)
    """How often the validation probe is read (and a trial may be pruned)."""
    startup_trials: int = Field(default=4, ge=1)
    workers: int = Field(default=1, ge=1)
    transfer: int = Field(default=5, ge=2)
    """How many of the best settings are trained at every size, beside the study's own; only where
    there are several sizes."""
    transfer_seeds: int = Field(default=1, ge=1)
    """How often each of these, with other seeds than the search's."""
    task: str
    """Its validation split decides; its test split is never read."""

    @model_validator(mode="before")
    @classmethod
    def _several_sizes(cls, given: Any) -> Any:
        """Refuse the key that the list of sizes stands for now."""
        if isinstance(given, dict) and "size" in given:
            size = given["size"]
            raise ValueError(
                f"tune.size: sizes are one list now, for instance sizes: [{size}], or with a "
                "larger one to see whether what wins at the smallest wins there too"
            )
        return given

    @property
    def smallest(self) -> int:
        """The size that the search runs at."""
        return min(self.sizes)


class Study(Settings):
    """A whole study."""

    study: StudyInfo
    recipe: Recipe = Recipe()
    simulate: dict[str, CohortSettings] = Field(default={})
    sources: dict[str, SourceConfig]
    pool: dict[str, PoolSource] = Field(default={})
    """Sources that pretraining draws from; default all, with all their records."""
    grid: Grid
    encoders: dict[str, EncoderConfig]
    objectives: dict[str, ObjectiveConfig]
    training: TrainingConfig = TrainingConfig()
    augment: AugmentConfig = AugmentConfig()
    evaluation: EvaluationConfig
    report: ReportConfig
    """Default: the first task of the evaluation is the primary one."""
    tune: TuneConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, given: Any) -> Any:
        """Fill in what follows from other sections."""
        if not isinstance(given, dict):
            return given
        evaluation, report = given.get("evaluation"), given.get("report", {})
        tasks = evaluation.get("tasks") if isinstance(evaluation, dict) else None
        if isinstance(report, dict) and isinstance(tasks, (list, tuple)) and tasks:
            given = {**given, "report": {"primary_task": tasks[0], **report}}
        if "pool" not in given and isinstance(given.get("sources"), dict):
            given = {**given, "pool": {name: {} for name in given["sources"]}}
        return given

    @model_validator(mode="after")
    def _references_exist(self) -> "Study":
        _known("pool", self.pool, "sources", self.sources)
        _known("evaluation.data", self.evaluation.data.values(), "sources", self.sources)
        _known("grid.encoders", self.grid.encoders, "encoders", self.encoders)
        objectives = (*self.grid.scaled, *self.grid.controls)
        _known("grid", objectives, "objectives", self.objectives)
        for name in (*self.objectives, *self.encoders):
            if name in RESERVED or not _NAME.fullmatch(name):
                raise ValueError(
                    f"objectives and encoders: {name!r} cannot be a name: letters, digits, dots, "
                    f"dashes and underscores, and none of {', '.join(RESERVED)}"
                )
        parents = [o.control_of for o in self.objectives.values() if o.control_of]
        _known("objectives.*.control_of", parents, "objectives", self.objectives)
        for name in objectives:
            self._check_arm(name)
        _known(
            "report.primary_task",
            [self.report.primary_task],
            "evaluation.tasks",
            self.evaluation.tasks,
        )
        if self.tune:
            self._check_tune(self.tune)
        smallest = min(self.grid.sizes, default=self.training.batch_size)
        if smallest < self.training.batch_size:
            raise ValueError(
                f"grid.sizes has {smallest}, below training.batch_size {self.training.batch_size}: "
                "a batch would hold a record twice"
            )
        return self

    def _check_arm(self, name: str) -> None:
        """Hold an arm to one change of one parent in the same list of the grid."""
        arm, grid = self.objectives[name], self.grid
        if arm.arm_of is None:
            return
        listed = grid.labelled if name in grid.labelled else grid.objectives
        where = f"objectives.{name}.arm_of"
        _known(where, [arm.arm_of], "objectives", self.objectives)
        if name in grid.controls or arm.arm_of not in listed:
            raise ValueError(
                f"{where} names {arm.arm_of!r}: list both in grid.objectives, or in grid.labelled"
            )
        parent = self.objectives[arm.arm_of]
        if parent.arm_of or parent.control_of or parent.role:
            raise ValueError(f"{where} names {arm.arm_of!r}, which is itself an arm or a control")
        for key in ("kind", "params", "augment", "tuned"):
            if getattr(arm, key) != getattr(parent, key):
                raise ValueError(
                    f"objectives.{name}.{key} must be that of {arm.arm_of}: an arm differs from "
                    "its parent in training or in data.without alone"
                )
        other = self.training_for(name) != self.training_for(arm.arm_of)
        changes = [other, bool(arm.data.without)]
        if sum(changes) != 1:
            raise ValueError(
                f"objectives.{name} must differ from {arm.arm_of} in training or in data.without, "
                f"and differs in {'both' if all(changes) else 'neither'}"
            )
        _known(f"objectives.{name}.data.without", arm.data.without, "pool", self.pool)
        if not set(self.pool) - set(arm.data.without):
            raise ValueError(f"objectives.{name}.data.without leaves no source of the pool")

    def _check_tune(self, tune: TuneConfig) -> None:
        _known("tune.objectives", tune.objectives, "objectives", self.objectives)
        _known("tune.encoder", [tune.encoder], "encoders", self.encoders)
        _known("tune.task", [tune.task], "evaluation.tasks", self.evaluation.tasks)
        _known("tune.sizes", tune.sizes, "grid.sizes", self.grid.sizes)
        if len(set(tune.sizes)) < len(tune.sizes):
            raise ValueError("tune.sizes repeats a value")
        _known("tune.order", [tune.order], "the orders of grid.replicates", self.grid.orders)
        for name in tune.objectives:
            if name in self.grid.labelled or self.objectives[name].data != DataConfig():
                raise ValueError(
                    f"tune.objectives names {name}, which needs labels or changed data: a search "
                    "trains on the records of a subset alone"
                )

    @property
    def search(self) -> TuneConfig:
        """The section `tune`.

        Raises
        ------
        BadInputError
            If the study has none.
        """
        if self.tune is None:
            raise BadInputError(f"study {self.study.name} has no section tune: it searches nothing")
        return self.tune

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

    def parent_size(self, size: int) -> int | None:
        """Return the next smaller size of the grid, or None for the smallest."""
        return max((other for other in self.grid.sizes if other < size), default=None)

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
        return Study.model_validate(read_mapping(path))
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error


def _known(where: str, names: Any, what: str, allowed: Any) -> None:
    for name in names:
        if name not in allowed:
            raise ValueError(f"{where} names {name!r}, which is not in {what}")


def _override(base: S, changes: dict[str, Any], objective: str, section: str) -> S:
    try:
        return type(base)(**{**base.model_dump(), **changes})
    except ValidationError as error:
        raise BadInputError(f"objectives.{objective}.{section}.{first_problem(error)}") from error
