"""Optuna, and nothing else of the project imports it: hyper-parameters chosen on validation data.

A trial pretrains the objective on one subset and reads the linear probe on a task's validation
split several times on the way; the pruner may end it there. The test split is never read.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from filelock import FileLock

from ecgscale.errors import BadInputError
from ecgscale.objectives.search_space import Choice, FloatRange, IntRange, SearchSpace
from ecgscale.runs import tracking
from ecgscale.runs.cell import Cell, subset_name, subset_place
from ecgscale.runs.protocol import ActiveRun, open_run
from ecgscale.runs.record import DatasetInput, RunRecord, result_path
from ecgscale.settings import digest_of
from ecgscale.study.file import Study
from ecgscale.study.resolve import pretraining, tuning
from ecgscale.training.settings import Pretraining

if TYPE_CHECKING:
    import optuna
    from optuna import Trial

    from ecgscale.data.store import Store
    from ecgscale.encoders.base import Encoder
    from ecgscale.tasks.targets import TaskTable
    from ecgscale.training.data import TrainingData
    from ecgscale.training.loop import Curves

STORAGE = "optuna.db"
METRIC = "validation_macro_auroc"
SEEDS_PER_STUDY = 10_000

Suggestion = dict[str, str | int | float | bool]


@dataclass(frozen=True)
class Winner:
    """The best finished trial of a search."""

    objective: str
    trial: int
    value: float
    """Validation macro AUROC of its linear probe."""
    params: dict[str, Any]
    training: dict[str, Any]
    """Overrides for the objective's parameters and for its training settings."""
    trials: dict[str, int]
    """Trials by final state."""

    def describe(self) -> str:
        """Return one line for people."""
        chosen = {**self.params, **{f"training.{k}": v for k, v in self.training.items()}}
        values = ", ".join(
            f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in chosen.items()
        )
        states = ", ".join(f"{count} {state}" for state, count in sorted(self.trials.items()))
        return f"validation macro AUROC {self.value:.4f} with {values} (trials: {states})"


def tune(study: Study, objective: str, root: Path) -> Winner:
    """Search the parameters of one objective; a search that was interrupted goes on.

    Writes ``results/tune/<objective>/winner.json`` and a record for each trial beside it; every
    trial is an MLflow run under the winner's.

    Parameters
    ----------
    study
        Its `tune` section says on which subset, for how many trials and steps, and which task
        decides.
    objective
        A name of the study's `objectives`.
    root
        The project.

    Raises
    ------
    BadInputError
        If the objective has no search space, or what a trial reads is missing.
    """
    search = _Search(study, objective, root)
    search.check()
    with search.alone():
        search.settle_lost_trials()
        if search.left():
            _run_workers(search)
        return search.finish()


def worker(study: Study, objective: str, root: Path, number: int) -> None:
    """Run trials until the search has as many as it asks for (one process of several)."""
    search = _Search(study, objective, root)
    while search.left():
        search.run_one(number)


def _run_workers(search: "_Search") -> None:
    count = min(search.settings.workers, search.left())
    if count == 1:
        worker(search.study, search.objective, search.root, 0)
        return
    # Spawned, not forked: a fork of a process whose torch has run threads can hang.
    with ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool:
        arguments = (search.study, search.objective, search.root)
        for done in [pool.submit(worker, *arguments, number) for number in range(count)]:
            done.result()


class _Search:
    """One search: its Optuna study, its settings, and what its trials share."""

    def __init__(self, study: Study, objective: str, root: Path) -> None:
        self.study = study
        self.settings = study.search
        self.objective = objective
        self.root = root

    @cached_property
    def search_space(self) -> SearchSpace:
        from ecgscale.objectives.base import objectives

        return objectives.get(self.study.objectives[self.objective].kind).search_space()

    @cached_property
    def name(self) -> str:
        """Name of the Optuna study: other settings are another search."""
        decides = tuning(self.study, self.objective)
        ignored = {"objectives", "trials", "workers"}
        tune = self.settings.model_dump(mode="json", exclude=ignored)
        inputs = {
            **decides,
            "settings": {**decides["settings"], "tune": tune},
            "search_space": repr(self.search_space),
            "subset": self.subset_digest,
            "task": self.table.digest,
        }
        return f"{self.study.study.name}/{self.objective}/{digest_of(inputs)[:16]}"

    @cached_property
    def subset_digest(self) -> str:
        from ecgscale.data.subsets import read_subset

        return read_subset(self.subset)[1].digest

    @property
    def subset(self) -> Path:
        return self.root / subset_place(self.settings.size, self.settings.order)

    @cached_property
    def table(self) -> "TaskTable":
        from ecgscale.tasks.targets import read_targets

        return read_targets(self.root / "data" / "tasks", self.settings.task)

    @cached_property
    def store(self) -> "Store":
        from ecgscale.data.store import open_store

        return open_store(self.root / "data" / "store" / self.table.source)

    @cached_property
    def data(self) -> "TrainingData":
        import torch

        from ecgscale.device import study_device
        from ecgscale.training.trainer import subset_data

        torch.set_num_threads(self.study.study.threads)
        device = study_device(self.study.study.device)
        return subset_data(self.subset, self.root, self.study.recipe, device)

    @cached_property
    def optuna(self) -> "optuna.Study":
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with FileLock(self.root / ".ecgscale" / "optuna.lock"):  # first use makes the tables
            return optuna.create_study(
                study_name=self.name,
                storage=f"sqlite:///{self.root.resolve() / STORAGE}",
                direction="maximize",
                pruner=optuna.pruners.MedianPruner(self.settings.startup_trials),
                load_if_exists=True,
            )

    def check(self) -> None:
        if self.objective not in self.study.objectives:
            raise BadInputError(f"tune: the study has no objective {self.objective!r}")
        if not self.search_space:
            raise BadInputError(f"tune: objective {self.objective!r} has nothing to search")

    @contextmanager
    def alone(self) -> Iterator[None]:
        lock = self.root / ".ecgscale" / f"tune-{self.objective}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            yield

    def settle_lost_trials(self) -> None:
        """Settle the trials of a killed process: nobody else can be running them.

        One that had written its record is over; any other goes back into the queue.
        """
        from optuna.trial import TrialState

        for trial in self.optuna.get_trials(states=(TrialState.RUNNING,)):
            path = result_path(self.root / "results", "tune", self._cell(trial.number))
            if not path.is_file():
                self.optuna.tell(trial.number, state=TrialState.FAIL)
                self.optuna.enqueue_trial(trial.params)
                continue
            metrics = RunRecord.read(path).metrics
            if metrics["pruned"]:
                self.optuna.tell(trial.number, state=TrialState.PRUNED)
            else:
                self.optuna.tell(trial.number, metrics[METRIC])

    def _cell(self, number: int) -> str:
        return f"{self.objective}/trial-{number:03d}"

    def left(self) -> int:
        """Return how many trials are still to be begun."""
        from optuna.trial import TrialState

        states = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
        return max(self.settings.trials - len(self.optuna.get_trials(states=states)), 0)

    def run_one(self, number: int) -> None:
        """Run the next trial.

        The sampler is seeded anew for each trial from how many there are, so that a search that
        was interrupted suggests what an uninterrupted one would have.
        """
        import optuna

        known = len(self.optuna.get_trials(deepcopy=False))
        self.optuna.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self.settings.startup_trials,
            seed=(self.settings.seed * SEEDS_PER_STUDY + known) * 64 + number,
            constant_liar=self.settings.workers > 1,
        )
        self.optuna.optimize(self._trial, n_trials=1)

    def _trial(self, trial: "Trial") -> float:
        import optuna

        suggestion = {key: _suggest(trial, key, span) for key, span in self.search_space.items()}
        values: list[tuple[int, float]] = []
        with self._run(self._cell(trial.number), suggestion) as run:
            pruned = False
            try:
                self._train(trial, self._plan(suggestion), values, run.log_points)
            except optuna.TrialPruned:
                pruned = True
            run.finish(metrics=_metrics(values[-1][1], pruned), curves={METRIC: values})
        if pruned:
            raise optuna.TrialPruned
        return values[-1][1]

    def _train(
        self,
        trial: "Trial",
        plan: Pretraining,
        values: list[tuple[int, float]],
        report: "Callable[[Curves], None]",
    ) -> None:
        """Pretrain as planned; append (step, validation AUROC) at every rung."""
        import optuna

        from ecgscale.training.loop import Monitor
        from ecgscale.training.stage import initial_encoder
        from ecgscale.training.trainer import train_cell

        settings = self.settings

        def observe(step: int, encoder: "Encoder") -> dict[str, float]:
            value = self._validation_auroc(encoder)
            values.append((step, value))
            trial.report(value, step)
            if step < settings.steps and trial.should_prune():
                raise optuna.TrialPruned
            return {METRIC: value}

        train_cell(
            plan,
            initial_encoder(plan.encoder, plan.cell.seed),
            self.data,
            monitors=[Monitor(max(settings.steps // settings.rungs, 1), observe)],
            report=report,
            title=f"{self.objective} trial {trial.number}",
        )

    def _plan(self, suggestion: Suggestion) -> Pretraining:
        """Return the search's cell with the suggested values, trained for the search's steps.

        What an earlier search found is not part of it.
        """
        settings = self.settings
        parts = _split(suggestion)
        config = self.study.objectives[self.objective]
        steps = {"regime": "fixed_steps", "steps": settings.steps}
        changed = config.model_copy(
            update={
                "params": {**config.params, **parts["params"]},
                "training": {**config.training, **parts["training"], **steps},
                "tuned": None,
            }
        )
        objectives = {**self.study.objectives, self.objective: changed}
        return pretraining(
            self.study.model_copy(update={"objectives": objectives}),
            Cell(self.objective, settings.encoder, settings.size, settings.order, settings.seed),
        )

    def _validation_auroc(self, encoder: "Encoder") -> float:
        """Return the probe's macro AUROC on the validation split, at the best penalty."""
        from ecgscale.evaluation.embed import embed_store
        from ecgscale.evaluation.metrics.macro_auroc import selection_auroc
        from ecgscale.evaluation.probe import fit_linear_probes
        from ecgscale.evaluation.readouts.linear import Linear

        config, table = self.study.evaluation, self.table
        rows = table.frame["row"].to_numpy(np.int64)
        split = {
            name: (
                embed_store(
                    encoder,
                    self.store,
                    rows[table.where(name)],
                    self.study.recipe,
                    config.lead,
                    config.batch_size,
                    self.data.device,
                ),
                table.y[table.where(name)],
            )
            for name in ("train", "validation")
        }
        encoder.train()
        linear = Linear.Settings(**config.readouts.get("linear", {}))
        probes = fit_linear_probes(
            *split["train"], linear.penalties, max_iterations=linear.max_iterations
        )
        minimum = config.minimum_positives or table.minimum_positives
        x, y = split["validation"]
        return max(selection_auroc(y, probe.scores(x), minimum) for probe in probes)

    def finish(self) -> Winner:
        """Write the winner and return it."""
        states = Counter(trial.state.name.lower() for trial in self.optuna.get_trials())
        if not states["complete"]:
            raise BadInputError(f"tune: no trial of {self.objective} was completed: raise trials")
        best = self.optuna.best_trial
        suggestion = {key: best.params[key] for key in self.search_space}
        winner = Winner(
            objective=self.objective,
            trial=best.number,
            value=float(best.value or 0.0),
            trials=dict(states),
            **_split(suggestion),
        )
        with self._run(f"{self.objective}/winner", suggestion) as run:
            counts = {f"trials.{state}": float(count) for state, count in winner.trials.items()}
            run.finish(
                metrics={**_metrics(winner.value, pruned=False), **counts},
                curves={METRIC: [(self.settings.steps, winner.value)]},
                details={"winner": {"params": winner.params, "training": winner.training}},
            )
        tracking.nest_trials(self.root)
        return winner

    def _run(self, cell: str, suggestion: Suggestion) -> AbstractContextManager[ActiveRun]:
        """Open the run of a trial or of the winner; what is killed is begun anew as another."""
        settings = self.settings
        subset = self.subset.relative_to(self.root).as_posix()
        return open_run(
            "tune",
            # Whoever tunes watches: a trial shows in the store from its beginning.
            self.study.study.model_copy(update={"live_tracking_after": 0.0}),
            cell,
            self.root,
            axes={
                "objective": self.objective,
                **settings.model_dump(include={"encoder", "size", "order", "seed"}),
                "role": "winner" if cell.endswith("/winner") else "trial",
            },
            params={"task": settings.task, "steps": settings.steps, **suggestion},
            tags={"search": self.name},
            inputs=[
                DatasetInput(
                    name=subset_name(settings.size, settings.order),
                    digest=self.subset_digest,
                    context="pretraining",
                    source=subset,
                ),
                DatasetInput(
                    name=settings.task,
                    digest=self.table.digest,
                    context="validation",
                    source="data/tasks",
                ),
            ],
            reads=[subset, "data/tasks"],
        )


def _suggest(
    trial: "Trial", key: str, span: FloatRange | IntRange | Choice
) -> str | int | float | bool:
    if isinstance(span, FloatRange):
        return trial.suggest_float(key, span.low, span.high, log=span.log)
    if isinstance(span, IntRange):
        return trial.suggest_int(key, span.low, span.high, log=span.log)
    chosen: str | int | float | bool = trial.suggest_categorical(key, span.options)  # type: ignore[assignment]
    return chosen


def _metrics(value: float, pruned: bool) -> dict[str, float]:
    return {METRIC: value, "pruned": float(pruned)}


def _split(suggestion: Suggestion) -> dict[str, dict[str, Any]]:
    """Sort ``params.<name>`` and ``training.<name>`` into two dictionaries."""
    parts: dict[str, dict[str, Any]] = {"params": {}, "training": {}}
    for key, value in suggestion.items():
        section, _, name = key.partition(".")
        parts[section][name] = value
    return parts
