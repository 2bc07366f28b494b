"""The trials of one search: what is suggested, when a trial ends early, how many are left."""

import logging
import os
from collections.abc import Collection
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.files import is_full
from ecgscale.objectives.search_space import Choice, FloatRange, IntRange, SearchSpace
from ecgscale.pipeline.tuning import storage
from ecgscale.pipeline.tuning.training import METRIC, Suggestion, Trainings, split
from ecgscale.runs import spool
from ecgscale.runs.cell import subset_name
from ecgscale.runs.protocol import ActiveRun, open_run
from ecgscale.runs.record import DatasetInput, RunRecord, Scalar, result_path
from ecgscale.settings import digest_of
from ecgscale.study.file import Study
from ecgscale.study.resolve import tuning

if TYPE_CHECKING:
    import optuna
    from optuna import Trial
    from optuna.trial import FrozenTrial

log = logging.getLogger(__name__)

SEEDS_PER_STUDY = 10_000
OWNER, FAILURE = "ecgscale.owner", "ecgscale.failure"
"""What is noted of a trial: project and process that run it, and why it failed."""


class _TrialFailedError(Exception):
    """A trial that ended without a value, and is counted."""


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
    """Trials by how they ended."""

    def describe(self) -> str:
        """Return one line for people."""
        chosen = {**self.params, **{f"training.{k}": v for k, v in self.training.items()}}
        values = ", ".join(
            f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
            for key, value in chosen.items()
        )
        return (
            f"validation macro AUROC {self.value:.4f} with {values} "
            f"(trials: {_counted(self.trials)})"
        )


class Search:
    """One search: its Optuna study, its settings, and what its trials share.

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
        If the study has no such objective or searches nothing.
    """

    def __init__(self, study: Study, objective: str, root: Path) -> None:
        self.study = study
        self.settings = study.search
        self.objective = objective
        self.root = root
        if objective not in study.objectives:
            raise BadInputError(f"tune: the study has no objective {objective!r}")
        self.trainings = Trainings(study, objective, root, self.settings.smallest)

    @cached_property
    def search_space(self) -> SearchSpace:
        """What is varied.

        Raises
        ------
        BadInputError
            If the objective has nothing to search.
        """
        from ecgscale.objectives.base import objectives

        space = objectives.get(self.study.objectives[self.objective].kind).search_space()
        if not space:
            raise BadInputError(f"tune: objective {self.objective!r} has nothing to search")
        return space

    @cached_property
    def name(self) -> str:
        """Name of the Optuna study: other settings are another search."""
        decides = tuning(self.study, self.objective)
        ignored = {"objectives", "trials", "workers", "sizes", "transfer", "transfer_seeds"}
        tune = self.settings.model_dump(mode="json", exclude=ignored)
        inputs = {
            **decides,
            "settings": {
                **decides["settings"],
                "tune": {**tune, "size": self.settings.smallest},
            },
            "search_space": repr(self.search_space),
            "subset": self.trainings.subset_digest,
            "task": self.trainings.table.digest,
        }
        return f"{self.study.study.name}/{self.objective}/{digest_of(inputs)[:16]}"

    @cached_property
    def optuna(self) -> "optuna.Study":
        """The Optuna study."""
        import optuna

        pruner = optuna.pruners.MedianPruner(self.settings.startup_trials)
        return storage.open_study(self.root, self.name, pruner)

    def settle(self, alive: Collection[int]) -> None:
        """Settle the trials that nobody runs any more.

        One that had written its record is over; any other goes back into the queue.

        Parameters
        ----------
        alive
            Process ids of the workers of this project's search.
        """
        from optuna.storages import fail_stale_trials

        fail_stale_trials(self.optuna)
        for trial in self._in_state("RUNNING"):
            if self._is_lost(trial, alive):
                self._settle(trial)

    def _is_lost(self, trial: "FrozenTrial", alive: Collection[int]) -> bool:
        owner: str | None = trial.user_attrs.get(OWNER)
        if owner is None:  # killed before it said whose it is, or just begun by another process
            begun = trial.datetime_start or datetime.min
            is_old = (datetime.now() - begun).total_seconds() > storage.GRACE
            return is_old or not (alive or storage.is_shared(self.root))
        project, _, process = owner.partition(":")
        return project == spool.project_id(self.root) and int(process) not in alive

    def _settle(self, trial: "FrozenTrial") -> None:
        from optuna.trial import TrialState

        path = result_path(self.root / "results", "tune", self.cell(trial.number))
        record = RunRecord.read(path) if path.is_file() else None
        if record is None or record.tags["search"] != self.name:
            self._requeue(trial.number)
        elif record.metrics["pruned"]:
            self.optuna.tell(trial.number, state=TrialState.PRUNED)
        else:
            self.optuna.tell(trial.number, record.metrics[METRIC])

    def _requeue(self, number: int) -> None:
        from optuna.trial import TrialState

        self.optuna.tell(number, state=TrialState.FAIL)
        storage.retry(self.optuna, self._frozen(number))

    def _frozen(self, number: int) -> "FrozenTrial":
        return self.optuna.get_trials(deepcopy=False)[number]

    def cell(self, number: int) -> str:
        """Return the cell of a trial."""
        return f"{self.objective}/trial-{number:03d}"

    def left(self) -> int:
        """Return how many trials are still to be begun; one that failed is not begun again."""
        return max(self.settings.trials - self._taken(), 0)

    def _taken(self) -> int:
        """Return how many trials of the search's number are begun."""
        return sum(len(trials) for end, trials in self.by_end().items() if end != "killed")

    def begun(self) -> int:
        """Return how many trials were ever begun, those that were killed included."""
        return sum(map(len, self.by_end().values()))

    def is_running(self) -> bool:
        """Return whether any trial is under way."""
        return bool(self._in_state("RUNNING"))

    def by_end(self) -> "dict[str, list[FrozenTrial]]":
        """Return the trials that were begun by how they ended.

        Under "complete", "pruned", "failed", "running", and "killed" for those that were begun
        again as another.
        """
        trials = self.optuna.get_trials(deepcopy=False)
        again = {n for trial in trials for n in trial.system_attrs.get("retry_history", ())}
        names = {"COMPLETE": "complete", "PRUNED": "pruned", "RUNNING": "running", "FAIL": "failed"}
        found: dict[str, list[FrozenTrial]] = {
            name: [] for name in ("complete", "pruned", "failed", "running", "killed")
        }
        for trial in trials:
            if trial.state.name in names:
                end = "killed" if trial.number in again else names[trial.state.name]
                found[end].append(trial)
        return found

    def _in_state(self, name: str) -> "list[FrozenTrial]":
        trials = self.optuna.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.name == name]

    def run_one(self, number: int) -> None:
        """Run the next trial, if any is left.

        The sampler is seeded anew for each trial from how many there are, so that a search that
        was interrupted suggests what an uninterrupted one would have.

        Parameters
        ----------
        number
            Of the worker.
        """
        import optuna

        # Until the trial has its values: no two workers begin the last one, or suggest the same.
        self._choosing.acquire()
        try:
            if not self.left():
                return
            self.optuna.sampler = optuna.samplers.TPESampler(
                n_startup_trials=self.settings.startup_trials,
                seed=(self.settings.seed * SEEDS_PER_STUDY + self._taken()) * 64 + number,
                constant_liar=self.settings.workers > 1,
            )
            self.optuna.optimize(self._guarded, n_trials=1, catch=(_TrialFailedError,))
        finally:
            self._choosing.release(force=True)

    @cached_property
    def _choosing(self) -> FileLock:
        return FileLock(self.root / ".ecgscale" / f"suggest-{self.objective}.lock")

    def _guarded(self, trial: "Trial") -> float:
        """Run a trial; one that fails is noted and counted, one that is interrupted begun again."""
        import optuna

        owner = f"{spool.project_id(self.root)}:{os.getpid()}"
        trial.set_user_attr(OWNER, owner)
        try:
            suggestion = {
                key: _suggest(trial, key, span) for key, span in self.search_space.items()
            }
            self._choosing.release(force=True)
            return self._run_trial(trial, suggestion)
        except optuna.TrialPruned:
            raise
        except BaseException as error:
            if not isinstance(error, Exception) or is_full(error) or storage.is_trouble(error):
                with suppress(Exception):  # the storage may be what is away
                    storage.retry(self.optuna, self._frozen(trial.number), most=None)
                raise
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("trial %d of %s failed: %s", trial.number, self.objective, reason)
            trial.set_user_attr(FAILURE, reason)
            raise _TrialFailedError from error

    def _run_trial(self, trial: "Trial", suggestion: Suggestion) -> float:
        import optuna

        values: list[tuple[int, float]] = []

        def judged(step: int, value: float) -> None:
            values.append((step, value))
            trial.report(value, step)
            if step < self.settings.steps and trial.should_prune():
                raise optuna.TrialPruned

        cell, seed = self.cell(trial.number), self.settings.seed
        with self.open_run(self.trainings, cell, suggestion, role="trial", seed=seed) as run:
            pruned = False
            try:
                title = f"{self.objective} trial {trial.number}"
                self.trainings.train(suggestion, seed, judged, run.log_points, title)
            except optuna.TrialPruned:
                pruned = True
            run.finish(
                metrics={METRIC: values[-1][1], "pruned": float(pruned)}, curves={METRIC: values}
            )
        if pruned:
            raise optuna.TrialPruned
        return values[-1][1]

    def winner(self) -> Winner:
        """Return the best trial that finished.

        Raises
        ------
        StageFailedError
            If none did.
        """
        ends = self.by_end()
        counts = {end: len(trials) for end, trials in ends.items() if trials}
        if not ends["complete"]:
            failed = [f"; trial {n}: {reason}" for n, reason in self.failures().items()]
            raise StageFailedError(
                f"tune: no trial of {self.objective} finished ({_counted(counts)})"
                f"{''.join(failed[:1])}; raise tune.trials for more of them"
            )
        best = self.optuna.best_trial
        suggestion = {key: best.params[key] for key in self.search_space}
        value = float(best.value or 0.0)
        return Winner(self.objective, best.number, value, **split(suggestion), trials=counts)

    def failures(self) -> dict[int, str]:
        """Return why trials failed, by their number."""
        lost = f"it was killed {storage.RETRIES + 1} times"
        return {t.number: t.user_attrs.get(FAILURE, lost) for t in self.by_end()["failed"]}

    def open_run(
        self, trainings: Trainings, cell: str, suggestion: Suggestion, role: str, seed: int
    ) -> AbstractContextManager[ActiveRun]:
        """Open the run of a training or of the winner; what is killed is begun anew as another."""
        settings = self.settings
        subset, table = trainings.subset.as_posix(), trainings.table
        axes: dict[str, Scalar] = {
            "objective": self.objective,
            **settings.model_dump(include={"encoder", "order"}),
            **{"size": trainings.size, "seed": seed, "role": role},
        }
        return open_run(
            "tune",
            # Whoever tunes watches: a trial shows in the store from its beginning.
            self.study.study.model_copy(update={"live_tracking_after": 0.0}),
            cell,
            self.root,
            axes=axes,
            params={"task": settings.task, "steps": settings.steps, **suggestion},
            tags={"search": self.name},
            inputs=[
                DatasetInput(
                    name=subset_name(trainings.size, settings.order),
                    digest=trainings.subset_digest,
                    context="pretraining",
                    source=subset,
                ),
                DatasetInput(
                    name=settings.task,
                    digest=table.digest,
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


def _counted(trials: dict[str, int]) -> str:
    return ", ".join(f"{count} {end}" for end, count in sorted(trials.items()))
