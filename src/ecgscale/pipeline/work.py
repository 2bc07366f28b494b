"""What a study computes record by record: what is up to date, what is set aside, what is made.

One stage of DVC holds all cells of an objective with an encoder, since DVC pays for every stage.
Which of its cells have to be computed is decided here, from what each record says that it was made
from. A cell that is no longer current is set aside, not deleted: who takes a change back gets it
from there.
"""

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecgscale.errors import BadInputError
from ecgscale.files import path_digest
from ecgscale.runs.cell import Cell, baseline_reads, evaluation_reads, pretraining_reads
from ecgscale.runs.record import Origin, Phase, read_origin, result_path
from ecgscale.settings import digest_of
from ecgscale.study.cells import study_cells
from ecgscale.study.file import Study

ASIDE = Path(".ecgscale") / "aside"
"""Where cells lie that were current once; it may be deleted at any time."""
BASELINE = "baseline"


@dataclass(frozen=True)
class Task:
    """A record to make.

    Attributes
    ----------
    phase
        "pretrain" or "evaluate".
    name
        Of the cell, or ``baseline/<name>``.
    """

    phase: Phase
    name: str

    @property
    def title(self) -> str:
        """As a user would type it."""
        if self.baseline:
            return f"{BASELINE} {self.baseline}"
        return f"{self.phase} {self.name}"

    @property
    def baseline(self) -> str | None:
        """Its name, if it is one."""
        first, _, rest = self.name.partition("/")
        return rest if first == BASELINE else None

    @property
    def curve(self) -> str:
        """What a stage of DVC holds: ``<objective>/<encoder>``, or the baseline."""
        return self.name if self.baseline else self.name.rpartition("/")[0]

    def made_in(self, root: Path) -> list[Path]:
        """Return the record and, of a pretraining, the encoder directory."""
        model = [root / "models" / self.name] if self.phase == "pretrain" else []
        return [result_path(root / "results", self.phase, self.name), *model]


class Digests:
    """Digests of files and folders of a project, each taken once."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, str] = {}

    def of(self, paths: Iterable[str]) -> dict[str, str]:
        """Return the digest of each that exists."""
        found = {}
        for path in paths:
            if path not in self._known and (self._root / path).exists():
                self._known[path] = path_digest(self._root / path)
            if path in self._known:
                found[path] = self._known[path]
        return found


def study_tasks(study: Study) -> list[Task]:
    """Return every record that a study asks for: pretrainings, evaluations, baselines."""
    cells = [cell.name for cell in study_cells(study)]
    return [
        *(Task("pretrain", name) for name in cells),
        *(Task("evaluate", name) for name in cells),
        *(Task("evaluate", f"{BASELINE}/{name}") for name in study.grid.baselines),
    ]


def reads(task: Task, study: Study) -> list[str]:
    """Return what decides what a task writes, relative to the project."""
    if task.baseline:
        return baseline_reads(task.baseline)
    cell = Cell.parse(task.name)
    if task.phase == "pretrain":
        return pretraining_reads(cell, labelled=cell.objective not in study.grid.objectives)
    return evaluation_reads(cell)


def due(tasks: Sequence[Task], study: Study, root: Path) -> list[Task]:
    """Return the tasks whose records are missing, damaged, or made from something else by now."""
    digests = Digests(root)
    pending = [
        task
        for task in tasks
        if task.phase == "pretrain" and not is_current(task, study, root, digests)
    ]
    renewed = {task.name for task in pending}
    return [
        *pending,
        *(
            task
            for task in tasks
            if task.phase != "pretrain"
            and (task.name in renewed or not is_current(task, study, root, digests))
        ),
    ]


def is_current(task: Task, study: Study, root: Path, digests: Digests) -> bool:
    """Whether a task's record is whole, its files are as it wrote them, and nothing changed since.

    Parameters
    ----------
    digests
        Of what it reads; what it wrote is looked at anew.
    """
    origin = _origin(result_path(root / "results", task.phase, task.name))
    return (
        origin is not None
        and origin.study == study.study.name
        and origin.made_from == digests.of(reads(task, study))
        and set(origin.made_from) == set(reads(task, study))
        and all(_is(root / path, digest) for path, digest in origin.made.items())
    )


def perform(task: Task, study: Study, root: Path) -> bool:
    """Bring a task's record up to date.

    What is no longer current is set aside first, and what was set aside earlier is taken back where
    it was made from just what is there now.

    Returns
    -------
    bool
        Whether there was anything to do.
    """
    if is_current(task, study, root, Digests(root)):
        return False
    set_aside(task, root)
    if take_back(task, study, root):
        return True
    _make(task, study, root)
    return True


def _make(task: Task, study: Study, root: Path) -> None:
    from ecgscale.study.resolve import evaluation, pretraining

    if task.baseline:
        from ecgscale.evaluation.stage import evaluate_baseline

        evaluate_baseline(evaluation(study, task.baseline), task.baseline, root)
        return
    cell = Cell.parse(task.name)
    if task.phase == "pretrain":
        from ecgscale.training.stage import pretrain

        pretrain(pretraining(study, cell), root)
    else:
        from ecgscale.evaluation.stage import evaluate
        from ecgscale.study.cells import cell_axes

        evaluate(evaluation(study), cell, cell_axes(study, cell), root)


def set_aside(task: Task, root: Path) -> None:
    """Move a task's record and files to where they can be taken back from; delete a damaged one."""
    origin = _origin(result_path(root / "results", task.phase, task.name))
    whole = origin is not None and all(_is(root / p, d) for p, d in origin.made.items())
    made = [path for path in task.made_in(root) if path.exists()]
    if origin is None or not whole or not origin.made_from:
        for path in made:
            _remove(path)
        return
    place = _aside(task, origin.made_from, root)
    _remove(place)
    place.mkdir(parents=True)
    for path in reversed(made):  # the record last: with it, all of it is there
        os.replace(path, place / path.name)


def take_back(task: Task, study: Study, root: Path) -> bool:
    """Bring back what was made from just what is there now, if it was set aside."""
    place = _aside(task, Digests(root).of(reads(task, study)), root)
    targets = task.made_in(root)
    if not all((place / target.name).exists() for target in targets):
        return False
    for target in reversed(targets):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(place / target.name, target)
    _remove(place)
    return is_current(task, study, root, Digests(root))


def superseded(study: Study, root: Path) -> list[Task]:
    """Return the tasks whose records lie here and that the study no longer asks for.

    Those of objectives and encoders that it does not know at all stay: no stage of DVC holds them.
    """
    asked = set(study_tasks(study))
    curves = {task.curve for task in asked if not task.baseline}
    found = []
    for phase in ("pretrain", "evaluate"):
        for curve in sorted(curves):
            for path in sorted((root / "results" / phase / curve).glob("*.json")):
                task = Task(phase, f"{curve}/{path.stem}")
                if task not in asked:
                    found.append(task)
    return found


def _aside(task: Task, made_from: dict[str, str], root: Path) -> Path:
    return root / ASIDE / digest_of([task.phase, task.name, made_from])[:32]


def _origin(path: Path) -> Origin | None:
    try:
        return read_origin(path)
    except BadInputError:
        return None


def _is(path: Path, digest: str) -> bool:
    return path.is_file() and path_digest(path) == digest


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
