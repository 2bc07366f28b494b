"""The search of one objective from its first trial to its winner."""

from pathlib import Path

from filelock import FileLock

from ecgscale.pipeline.tuning import storage
from ecgscale.pipeline.tuning.search import Search, Winner
from ecgscale.pipeline.tuning.training import METRIC
from ecgscale.pipeline.tuning.workers import run_trials
from ecgscale.runs import tracking
from ecgscale.study.file import Study


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
        tracking.nest_trials(root)
        return winner


def _write_winner(search: Search, winner: Winner) -> None:
    suggestion = {
        **{f"params.{name}": value for name, value in winner.params.items()},
        **{f"training.{name}": value for name, value in winner.training.items()},
    }
    cell, seed = f"{search.objective}/winner", search.settings.seed
    with search.open_run(search.trainings, cell, suggestion, role="winner", seed=seed) as run:
        counts = {f"trials.{end}": float(count) for end, count in winner.trials.items()}
        run.finish(
            metrics={METRIC: winner.value, "pruned": 0.0, **counts},
            curves={METRIC: [(search.settings.steps, winner.value)]},
            details={
                "winner": {"params": winner.params, "training": winner.training},
                "trial": winner.trial,
                "failures": {str(number): why for number, why in search.failures().items()},
            },
        )
