"""Run the out-of-date stages of a study, several at once, and choose the active study."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from rich.progress import TaskID

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.progress import Bars
from ecgscale.runs.lineage import is_saved
from ecgscale.runs.tracking import check_store, sync, tracking_uri
from ecgscale.study.file import PARAMS, Study, load_study
from ecgscale.study.resolve import validate

PHASES: dict[str, tuple[str, ...]] = {
    "resolve": ("resolve",),
    "simulate": ("simulate",),
    "ingest": ("ingest",),
    "targets": ("targets",),
    "identity": ("identity",),
    "subset": ("subset",),
    "pretrain": ("control", "pretrain"),
    "evaluate": ("evaluate", "evaluate-control", "baseline"),
}
"""Stages that may run at the same time, in the order of the pipeline; the report follows."""

_STARTED = re.compile(r"(?:Running stage|Stage) '([^']+)'")


@dataclass
class _Shard:
    """A `dvc repro` process over some stages of a phase, and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path
    stages: list[str]

    def seen(self) -> int:
        """Return how many of its stages have been begun or skipped."""
        return len(set(_STARTED.findall(self.log.read_text(encoding="utf-8", errors="replace"))))


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
    check_store(root)
    environment = _environment(study, root)
    stages = _stages(root, environment)
    workers = worker_count(jobs, study.study.threads)
    names = {phase: [s for kind in kinds for s in stages[kind]] for phase, kinds in PHASES.items()}
    with Bars() as bars:
        study_bar = bars.bar("study", sum(map(len, names.values())) + 1)
        for number, phase in enumerate(PHASES):
            bar = bars.bar(phase, len(names[phase]))
            logs = root / ".ecgscale" / "log"
            shards = _start(names[phase], workers, root, environment, logs, f"{number}-{phase}")
            _wait(shards, bars, (bar, study_bar))
            if phase == "pretrain":
                sync(root / "results", root)  # so that they can be looked at meanwhile
        report = bars.bar("report", 1)
        _confirm(root, environment)
        bars.advance(report)
        bars.advance(study_bar)


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


def activate(source: Path, root: Path) -> None:
    """Make a study file the active one, ``params.yaml``.

    Raises
    ------
    BadInputError
        If the file is not a valid study, or params.yaml holds edits that are saved nowhere else.
    """
    load_study(source)
    target = root / PARAMS
    if target.is_file() and target.read_bytes() != source.read_bytes():
        studies = [path.read_bytes() for path in (root / "studies").glob("*.yaml")]
        if target.read_bytes() not in studies and not is_saved(root, target):
            raise BadInputError(
                f"{PARAMS} has edits that neither a commit nor a file in studies/ holds: save them "
                f"there, then ask for {source} again"
            )
    if source.resolve() != target.resolve():
        shutil.copyfile(source, target)


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


def _start(
    names: list[str], jobs: int, root: Path, environment: dict[str, str], logs: Path, title: str
) -> list[_Shard]:
    logs.mkdir(parents=True, exist_ok=True)
    shards = []
    for number in range(min(jobs, len(names))):
        part = names[number::jobs]
        log = logs / f"{title}-{number}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "-s", *part],
                cwd=root,
                env=environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        shards.append(_Shard(process, log, part))
    return shards


def _wait(shards: list[_Shard], bars: Bars, moved: tuple[TaskID, ...]) -> None:
    """Follow the shards to their end; the first failure, or an interrupt, ends the others too."""
    seen = 0

    def advance(now: int) -> None:
        nonlocal seen
        for bar in moved:
            bars.advance(bar, now - seen)
        seen = now

    try:
        while any(shard.process.poll() is None for shard in shards):
            if any(shard.process.poll() not in (None, 0) for shard in shards):
                break
            advance(sum(max(shard.seen() - 1, 0) for shard in shards))
            time.sleep(0.2)
    finally:
        for shard in shards:
            _end(shard)
    failed = [shard for shard in shards if shard.process.returncode > 0]
    if failed:
        raise StageFailedError(_last_lines(failed[0].log))
    advance(sum(len(shard.stages) for shard in shards))


def _end(shard: _Shard) -> None:
    """End a shard's whole process group: DVC leaves its stage running when it is killed alone."""
    if shard.process.poll() is None:
        os.killpg(shard.process.pid, signal.SIGTERM)
        shard.process.wait(timeout=30)


def _confirm(root: Path, environment: dict[str, str]) -> None:
    done = _dvc(root, environment, "--wait-for-lock", "repro", "report")
    if done.returncode != 0:
        raise StageFailedError(f"{done.stdout}\n{done.stderr}"[-3000:])


def _dvc(
    root: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=False
    )


def _last_lines(log: Path, count: int = 15) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"a stage failed ({log}):", *lines[-count:]])
