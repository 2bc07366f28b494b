"""Run the out-of-date stages of a study, several at once, and choose the active study."""

import io
import logging
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from rich.progress import TaskID

from ecgscale.errors import BadInputError
from ecgscale.files import write_whole
from ecgscale.pipeline.shards import follow, owner_of, start
from ecgscale.progress import Bars
from ecgscale.runs import spool
from ecgscale.runs.address import tracking_uri
from ecgscale.runs.lineage import is_saved
from ecgscale.runs.tracking import StoreTroubleError, check_store
from ecgscale.study.file import PARAMS, Grid, Study, TuneConfig, load_study
from ecgscale.study.resolve import validate

log = logging.getLogger(__name__)

PHASES: dict[str, tuple[str, ...]] = {
    "resolve": ("resolve",),
    "simulate": ("simulate",),
    "ingest": ("ingest",),
    "targets": ("targets",),
    "identity": ("identity",),
    "subset": ("subset",),
    "pretrain": ("control", "pretrain", "pretrain-labelled"),
    "evaluate": ("evaluate", "evaluate-labelled", "evaluate-control", "baseline"),
}
"""Stages that may run at the same time, in the order of the pipeline; the report follows."""

OPTIONAL_AXES = ("labelled", "replicates", "controls", "baselines")
"""Axes of the grid that a study may leave out."""

ACTIVATED = Path(".ecgscale") / "activated.yaml"
"""What was last made the active study: while params.yaml is the same, nobody has edited it."""


def repro(study: Study, root: Path, jobs: int) -> None:
    """Bring every stage up to date, up to `jobs` at once, then confirm with one `dvc repro`.

    The stages of one phase do not depend on each other, so several DVC processes can share them.
    Each computes with the study's thread count, on which results depend; so it is the number of
    processes that gives way where threads would outnumber cores (`worker_count`).

    Raises
    ------
    BadInputError
        If the study asks for something that does not exist.
    StageFailedError
        If a stage fails; the message ends with its last lines.
    """
    validate(study)
    try:
        check_store(root)
    except StoreTroubleError as error:
        log.warning("%s; the work goes on, and is carried to it when it can be used", error)
    environment = _environment(study, root)
    stages = _stages(root, environment)
    workers = worker_count(jobs, study.study.threads)
    names = {phase: [s for kind in kinds for s in stages[kind]] for phase, kinds in PHASES.items()}
    with owner_of(root) as owner, Bars() as bars:
        study_bar = bars.bar("study", sum(map(len, names.values())) + 1)
        with spool.carrying(root):
            for number, phase in enumerate(PHASES):
                bar = bars.bar(phase, len(names[phase]))
                shards = [
                    start(part, root, environment, f"{number}-{phase}-{place}", owner)
                    for place, part in enumerate(_parts(names[phase], workers))
                ]
                follow(shards, partial(_advance, bars, (bar, study_bar)))
        bar = bars.bar("report", 1)
        report = start(["report"], root, environment, "report", owner, alone=False)
        follow([report], partial(_advance, bars, (bar, study_bar)))


def _advance(bars: Bars, moved: tuple[TaskID, ...], by: int) -> None:
    for bar in moved:
        bars.advance(bar, by)


def worker_count(jobs: int, threads: int, cores: int | None = None) -> int:
    """Return how many processes of `threads` threads to run at once.

    Threads wait for each other by spinning: two processes with two threads each, on two cores, hold
    each other up (`benchmarks/threads.py`).

    Parameters
    ----------
    jobs
        Most processes.
    threads
        Threads of each.
    cores
        Default: those that this process may use.

    Returns
    -------
    int
        At least 1; `threads` times it is at most `cores` where it is more.
    """
    if cores is None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(jobs, (cores or 1) // threads))


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


def _environment(study: Study, root: Path) -> dict[str, str]:
    threads = str(study.study.threads)
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "MLFLOW_TRACKING_URI": tracking_uri(root),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DVC_NO_ANALYTICS": "1",
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }


def _stages(root: Path, environment: dict[str, str]) -> dict[str, list[str]]:
    """Return DVC's stage names by the part before ``@``."""
    listed = _dvc(root, environment, "stage", "list", "--name-only")
    if listed.returncode != 0:
        raise BadInputError(f"dvc.yaml cannot be read: {listed.stderr.strip().splitlines()[-1]}")
    names: dict[str, list[str]] = defaultdict(list)
    for name in listed.stdout.split():
        names[name.partition("@")[0]].append(name)
    return names


def _parts(names: list[str], jobs: int) -> list[list[str]]:
    return [names[number::jobs] for number in range(min(jobs, len(names)))]


def _dvc(
    root: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )
