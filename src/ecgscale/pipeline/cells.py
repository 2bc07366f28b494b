"""The cells of a study, as `repro` and the stages of DVC have them made."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgscale.code import package_state
from ecgscale.errors import BadInputError
from ecgscale.files import write_whole
from ecgscale.pipeline import pool
from ecgscale.pipeline.work import Task, due, set_aside, study_tasks, superseded
from ecgscale.progress import Bars
from ecgscale.runs.record import Phase
from ecgscale.study.file import Study, load_study

UNCOMMITTED = Path(".ecgscale") / "uncommitted.json"
"""Stages of which a record was made, or set aside, and that DVC has not been told of yet."""


@dataclass(frozen=True)
class Engine:
    """What computes the cells.

    Attributes
    ----------
    jobs
        Most processes on this machine; None for one a GPU, or else as many as there are cores for.
    on_ray
        Whether a Ray cluster does it instead.
    gpus_per_cell
        What a cell asks the cluster for.
    """

    jobs: int | None = None
    on_ray: bool = False
    gpus_per_cell: float = 0.0


class Cells:
    """What is to be computed of a study.

    Parameters
    ----------
    study, path
        The study, and its file relative to the project.
    code
        The state of the package that it was begun with (`ecgscale.code.package_state`).
    root
        The project.
    environment
        Of the processes that compute.
    """

    def __init__(
        self, study: Study, path: Path, code: str, root: Path, environment: dict[str, str]
    ) -> None:
        self._study, self._path, self._code = study, path, code
        self._root, self._environment = root, environment

    def due(self, phase: Phase | None = None, curve: str | None = None) -> list[Task]:
        """Return the tasks that are not up to date, of a phase and a curve or of all.

        Raises
        ------
        BadInputError
            If the study has no such curve.
        """
        asked = [
            task
            for task in study_tasks(self._study)
            if (phase is None or task.phase == phase) and (curve is None or task.curve == curve)
        ]
        if not asked:
            raise BadInputError(f"the study's grid has no cells of {curve}")
        return due(asked, self._study, self._root)

    def make(
        self, tasks: Sequence[Task], engine: "Engine", moved: Callable[[int], None], bars: Bars
    ) -> None:
        """Make the records of some tasks.

        Records that the study no longer asks for are set aside first.

        Parameters
        ----------
        engine
            By what they are computed.
        moved
            Called with the number of tasks that were done since the last call.

        Raises
        ------
        BadInputError, StageFailedError
            As `ecgscale.pipeline.pool.run` or `ecgscale.pipeline.ray_engine.run`.
        """
        old = superseded(self._study, self._root)
        self._note([*tasks, *old])
        for task in old:
            set_aside(task, self._root)
        if not tasks:
            return
        shown = {phase: sum(task.phase == phase for task in tasks) for phase in _PHASES}
        by_phase = {phase: bars.bar(phase, count) for phase, count in shown.items() if count}
        begun, finished = time.monotonic(), 0

        def done(task: Task, seconds: float) -> None:
            nonlocal finished
            finished += 1
            bars.advance(by_phase[task.phase])
            moved(1)
            left = (time.monotonic() - begun) / finished * (len(tasks) - finished)
            bars.line(
                f"{task.title}  {seconds:.1f} s  ({finished} of {len(tasks)}, "
                f"about {_minutes(left)} left)"
            )

        settings = self._study.study
        given = (tasks, self._path, self._code, self._root, self._environment, done)
        if engine.on_ray:
            from ecgscale.pipeline import ray_engine

            ray_engine.run(*given, threads=settings.threads, gpus=engine.gpus_per_cell)
        else:
            gpus = pool.devices(settings.device, self._environment)
            count = pool.worker_count(engine.jobs or len(gpus) or None, settings.threads)
            pool.run(*given, count=count, gpus=gpus)

    def uncommitted(self) -> list[str]:
        """Return the stages of DVC that it has to be told of."""
        path = self._root / UNCOMMITTED
        return list(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else []

    def committed(self) -> None:
        """Take note that DVC has been told of all of them."""
        (self._root / UNCOMMITTED).unlink(missing_ok=True)

    def _note(self, tasks: Sequence[Task]) -> None:
        names = {*self.uncommitted(), *(self._stage(task) for task in tasks)}
        write_whole(self._root / UNCOMMITTED, json.dumps(sorted(names)))

    def _stage(self, task: Task) -> str:
        """Return the name that ``dvc.yaml`` gives the stage of a task."""
        if task.baseline:
            return f"baseline@{task.baseline}"
        objective, encoder = task.curve.split("/")
        kinds = {"pretrain": "control", "evaluate": "evaluate-control"}
        if objective in self._study.grid.objectives:
            kinds = {"pretrain": "pretrain", "evaluate": "evaluate"}
        elif objective in self._study.grid.labelled:
            kinds = {"pretrain": "pretrain-labelled", "evaluate": "evaluate-labelled"}
        return f"{kinds[task.phase]}@{objective}-{encoder}"


_PHASES: tuple[Phase, ...] = ("pretrain", "evaluate")


def make_curve(phase: Phase, curve: str, path: Path, root: Path, jobs: int | None) -> int:
    """Bring all cells of an objective with an encoder up to date: a stage of DVC.

    Parameters
    ----------
    phase
        "pretrain" or "evaluate".
    curve
        ``<objective>/<encoder>``.
    path
        The study file.

    Returns
    -------
    int
        How many records were made; the others were up to date.

    Raises
    ------
    BadInputError, StageFailedError
        As `ecgscale.pipeline.pool.run`.
    """
    study = load_study(path)
    environment = pool.environment_of(study, root)
    cells = Cells(study, path, package_state(), root, environment)
    tasks = cells.due(phase, curve)
    with Bars() as bars:
        cells.make(tasks, Engine(jobs), lambda _: None, bars)
    return len(tasks)


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
