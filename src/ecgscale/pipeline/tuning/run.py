"""The search of one objective from its first trial to its winner."""

from pathlib import Path
from typing import Any

from filelock import FileLock

from ecgscale.pipeline.tuning import storage
from ecgscale.pipeline.tuning.figures import draw
from ecgscale.pipeline.tuning.keep import keep
from ecgscale.pipeline.tuning.search import Search, Winner
from ecgscale.pipeline.tuning.training import METRIC
from ecgscale.pipeline.tuning.transfer import train_best
from ecgscale.pipeline.tuning.workers import run_trials
from ecgscale.runs import tracking
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.study.file import Study


def tune(study: Study, objective: str, root: Path) -> Winner:
    """Search the parameters of one objective; a search that was interrupted goes on.

    Writes ``results/tune/<objective>/winner.json``, a record for each trial and pictures beside it,
    and has DVC keep that folder; every trial is an MLflow run under the winner's. With several
    sizes, the best settings are trained at each (`train_best`).

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
        If the objective has no search space, what a trial reads is missing, or the trials' storage
        cannot be used.
    StageFailedError
        If no trial finishes.
    """
    search = Search(study, objective, root)
    lock = root / ".ecgscale" / f"tune-{objective}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), storage.usable(root):
        run_trials(search)
        winner = search.winner()
        _write_winner(search, winner)
        if len(search.settings.sizes) > 1:
            train_best(search)
        tracking.nest_trials(root)
        keep(root, objective)
        return winner


def _write_winner(search: Search, winner: Winner) -> None:
    suggestion = {
        **{f"params.{name}": value for name, value in winner.params.items()},
        **{f"training.{name}": value for name, value in winner.training.items()},
    }
    cell, seed = f"{search.objective}/winner", search.settings.seed
    details = {
        "winner": {"params": winner.params, "training": winner.training},
        "trial": winner.trial,
        "failures": {str(number): why for number, why in search.failures().items()},
    }
    counts = {f"trials.{end}": float(count) for end, count in winner.trials.items()}
    metrics = {METRIC: winner.value, "pruned": 0.0, **counts}
    if _is_said(result_path(search.root / "results", "tune", cell), search, metrics, details):
        return
    pictures = draw(search, search.root / "results" / "tune" / search.objective / "figures")
    with search.open_run(search.trainings, cell, suggestion, role="winner", seed=seed) as run:
        run.finish(
            metrics=metrics,
            curves={METRIC: [(search.settings.steps, winner.value)]},
            details=details,
            artifacts=[path.relative_to(search.root).as_posix() for path in pictures],
        )


def _is_said(
    path: Path, search: Search, metrics: dict[str, float], details: dict[str, Any]
) -> bool:
    """Return whether a search has had this winner before: the record keeps its bytes then."""
    if not path.is_file():
        return False
    record = RunRecord.read(path)
    same = (record.metrics, record.details) == (metrics, details)
    return (
        same
        and record.tags["search"] == search.name
        and all((search.root / name).is_file() for name in record.artifacts)
    )
