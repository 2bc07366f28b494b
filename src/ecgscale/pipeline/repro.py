"""Run what is out of date of a study, several cells at once, and choose the active study."""

import io
import json
import logging
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from ecgscale.code import package_state
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.files import write_whole
from ecgscale.pipeline.cells import Cells, Engine
from ecgscale.pipeline.pool import environment_of, worker_count
from ecgscale.pipeline.shards import Owner, follow, owner_of, start
from ecgscale.pipeline.work import Task
from ecgscale.progress import Bars
from ecgscale.runs import spool
from ecgscale.runs.lineage import is_saved
from ecgscale.runs.store import StoreTroubleError, check_store
from ecgscale.study.file import PARAMS, Grid, Study, TuneConfig, load_study
from ecgscale.study.resolve import RESOLVED, validate, write_resolved

log = logging.getLogger(__name__)

DATA: dict[str, tuple[str, ...]] = {
    "resolve": ("resolve",),
    "simulate": ("simulate",),
    "ingest": ("ingest",),
    "targets": ("targets",),
    "identity": ("identity",),
    "subset": ("subset",),
}
"""Stages that may run at the same time, in the order of the pipeline; the cells follow."""

OPTIONAL_AXES = ("labelled", "replicates", "controls", "baselines")
"""Axes of the grid that a study may leave out."""

ACTIVATED = Path(".ecgscale") / "activated.yaml"
"""What was last made the active study: while params.yaml is the same, nobody has edited it."""


def repro(study: Study, root: Path, engine: Engine) -> None:
    """Bring the whole study up to date, several cells at once.

    DVC runs the stages of the data, those of one phase at the same time. The cells are made by
    processes that stay (`ecgscale.pipeline.pool`) and then committed to DVC, and one `dvc repro`
    confirms all of it and makes the report. Each process computes with the study's thread count, on
    which results depend; so it is the number of processes that gives way where threads would
    outnumber cores (`worker_count`).

    Raises
    ------
    BadInputError
        If the study asks for something that does not exist, or an input of a cell is wrong.
    StageFailedError
        If a stage or a cell fails; the message ends with its last lines.
    """
    code = package_state()
    validate(study, root / RESOLVED)
    try:
        check_store(root)
    except StoreTroubleError as error:
        log.warning("%s; the work goes on, and is carried to it when it can be used", error)
    dvc = Dvc(root, environment_of(study, root))
    stages = dvc.stages()
    names = {phase: [s for kind in kinds for s in stages[kind]] for phase, kinds in DATA.items()}
    workers = worker_count(engine.jobs, study.study.threads)
    with owner_of(root) as owner, Bars() as bars:
        with spool.carrying(root):
            study_bar = bars.bar("study", sum(map(len, names.values())) + 1)
            _prepare(names, dvc, workers, owner, bars, study_bar)
            cells = Cells(study, PARAMS, code, root, dvc.environment)
            tasks = cells.due()
            bars.more(study_bar, len(tasks))
            cells.make(tasks, engine, partial(bars.advance, study_bar), bars)
            dvc.commit(cells.uncommitted())
            cells.committed()
        bar = bars.bar("report", 1)
        report = start(["report"], root, dvc.environment, "report", owner, alone=False)
        follow([report], partial(_advance, bars, (bar, study_bar)))


def dry_run(study: Study, root: Path) -> tuple[list[str], list[Task]]:
    """Return the stages of the data and the tasks of the cells that `repro` would run.

    While a stage of the data is out of date, what follows from it is not known yet: every task
    that reads it is named once it has run.

    Raises
    ------
    BadInputError
        As `repro`.
    """
    write_resolved(study, root / "data" / "resolved", root / RESOLVED)
    dvc = Dvc(root, environment_of(study, root))
    stages = dvc.stages()
    names = [name for kinds in DATA.values() for kind in kinds for name in stages[kind]]
    changed = [name for name in dvc.changed(names) if name != "resolve"]
    return changed, Cells(study, PARAMS, package_state(), root, dvc.environment).due()


def _prepare(
    names: dict[str, list[str]], dvc: "Dvc", workers: int, owner: Owner, bars: Bars, study: TaskID
) -> None:
    """Bring the stages of the data up to date, phase by phase, if any of them is not."""
    for number, (phase, listed) in enumerate(names.items()):
        later = [name for after in list(names)[number:] for name in names[after]]
        if phase != "resolve" and number == 1 and not dvc.changed(later):
            bars.advance(study, len(later))
            return
        bar = bars.bar(phase, len(listed))
        shards = [
            start(part, dvc.root, dvc.environment, f"{number}-{phase}-{place}", owner)
            for place, part in enumerate(_parts(listed, workers))
        ]
        follow(shards, partial(_advance, bars, (bar, study)))


def _advance(bars: Bars, moved: tuple[TaskID, ...], by: int) -> None:
    for bar in moved:
        bars.advance(bar, by)


def completed(text: str) -> str:
    r"""Return a study file with the defaults that ``dvc.yaml`` reads written into it.

    DVC knows no defaults of its own. A file that has them all is returned as it is.

    Examples
    --------
    >>> completed("sources: {clinic: {reader: folder, root: ecgs}} # mine\n").splitlines()[0]
    'sources: {clinic: {reader: folder, root: ecgs, watch: ecgs}} # mine'
    """

    def change(study: Any) -> bool:
        grid, tune = study.get("grid", {}), study.get("tune") or {}
        read: list[tuple[Any, str, Any]] = [
            *((source, "watch", source["root"]) for source in study.get("sources", {}).values()),
            *((grid, key, _default(key)) for key in OPTIONAL_AXES),
            *([(tune, "order", TuneConfig.model_fields["order"].default)] if tune else []),
        ]
        absent = [(section, key, value) for section, key, value in read if key not in section]
        for section, key, value in absent:
            section[key] = value
        searched = tune.get("objectives", TuneConfig.model_fields["objectives"].default)
        listed = bool(tune) and not isinstance(searched, dict)
        if listed:
            tune["objectives"] = {name: {} for name in searched}
        return listed or bool(absent)

    return edited(text, change)


def edited(text: str, change: Callable[[Any], bool]) -> str:
    """Return a YAML text after a change of what it holds; comments and order stay.

    `change` alters the mapping that it is given and says whether it did.
    """
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    held = yaml.load(text)
    if not change(held):
        return text
    written = io.StringIO()
    yaml.dump(held, written)
    return written.getvalue()


def _default(axis: str) -> list[Any]:
    from pydantic_core import to_jsonable_python

    values: list[Any] = to_jsonable_python(list(Grid.model_fields[axis].default))
    return values


def activate(source: Path, root: Path) -> None:
    """Make a study file the active one, ``params.yaml``, with the defaults that DVC reads.

    The active study itself may be given: it gets the defaults that it lacks.

    Raises
    ------
    BadInputError
        If the file is not a valid study, or params.yaml holds edits that are saved nowhere else.
    """
    load_study(source)
    target = root / PARAMS
    active = target.read_text(encoding="utf-8") if target.is_file() else None
    wanted = completed(source.read_text(encoding="utf-8"))
    is_other = source.resolve() != target.resolve()
    unsaved = active not in (None, wanted, *_saved_studies(root)) and not is_saved(root, target)
    if is_other and unsaved:
        raise BadInputError(
            f"{PARAMS} has edits that neither a commit nor a file in studies/ holds: save them "
            f"there, then ask for {source} again"
        )
    if active != wanted:
        write_whole(target, wanted)
    if is_other:
        write_whole(root / ACTIVATED, wanted)


def _saved_studies(root: Path) -> set[str]:
    """Return texts that are no edits of params.yaml: of studies/ and what was made active last."""
    files = [*(root / "studies").glob("*.yaml"), root / ACTIVATED]
    texts = {path.read_text(encoding="utf-8") for path in files if path.is_file()}
    for text in list(texts):
        with suppress(Exception):  # a file that is no study has only its own text
            texts.add(completed(text))
    return texts


def _parts(names: list[str], jobs: int) -> list[list[str]]:
    return [names[number::jobs] for number in range(min(jobs, len(names)))]


class Dvc:
    """DVC in a project, by its command line.

    Attributes
    ----------
    root, environment
        Where, and with which environment.
    """

    def __init__(self, root: Path, environment: dict[str, str]) -> None:
        self.root, self.environment = root, environment

    def stages(self) -> dict[str, list[str]]:
        """Return the names of stages by the part before ``@``."""
        listed = self._run("stage", "list", "--name-only")
        if listed.returncode != 0:
            raise BadInputError(
                f"dvc.yaml cannot be read: {listed.stderr.strip().splitlines()[-1]}"
            )
        names: dict[str, list[str]] = defaultdict(list)
        for name in listed.stdout.split():
            names[name.partition("@")[0]].append(name)
        return names

    def changed(self, names: list[str]) -> list[str]:
        """Return which of some stages have inputs or outputs that differ from the lock file."""
        done = self._done("status", "--json")  # names cost DVC more than all do
        return sorted(set(json.loads(done.stdout or "{}")) & set(names))

    def commit(self, names: list[str]) -> None:
        """Tell DVC that some stages were run: as their files lie there, they are kept."""
        if names:
            self._done("commit", "--force", *names)

    def _done(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = self._run(*arguments)
        if done.returncode != 0:
            last = done.stderr.strip().splitlines()[-15:]
            raise StageFailedError("\n".join([f"dvc {arguments[0]} failed:", *last]))
        return done

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", *arguments]
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
