"""Processes that stay: each makes one record after another, on a device of its own."""

import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline.work import Task
from ecgscale.runs.address import tracking_uri
from ecgscale.study.file import Study

MODULE = "ecgscale.pipeline.worker"

GPUS = Path("/proc/driver/nvidia/gpus")
"""Where the driver lists its devices: to ask torch would import it where nothing is trained."""

Done = Callable[[Task, float], None]
"""Called with every task that is done and the seconds that it took."""


@dataclass
class Worker:
    """A process of `ecgscale.pipeline.worker`."""

    process: subprocess.Popen[str]
    replies: int
    """The reading end of the pipe that it writes about every task to."""
    log: Path
    begun: int
    """Bytes of its log before this start."""
    waiting: list[Task] = field(default_factory=list)
    """The tasks that it has been given; the first one is under way."""
    heard: bytes = b""
    """What of a reply has come."""

    def give(self, task: Task) -> None:
        """Ask for one more record."""
        self.waiting.append(task)
        with suppress(BrokenPipeError):  # it died: its replies end, which is where that is seen
            assert self.process.stdin is not None
            self.process.stdin.write(json.dumps(vars(task)) + "\n")
            self.process.stdin.flush()


def environment_of(study: Study, root: Path) -> dict[str, str]:
    """Return the environment in which a study is computed: its threads, its tracking store."""
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


def worker_count(jobs: int | None, threads: int, cores: int | None = None) -> int:
    """Return how many processes of `threads` threads to run at once.

    Threads wait for each other by spinning: two processes with two threads each, on two cores, hold
    each other up (`benchmarks/threads.py`).

    Parameters
    ----------
    jobs
        Most processes; None for as many as there are cores for.
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
    room = (cores or 1) // threads
    return max(1, room if jobs is None else min(jobs, room))


def chains(tasks: Sequence[Task]) -> list[list[Task]]:
    """Return the tasks that wait for one another together: of a cell, first what trains it."""
    found: dict[str, list[Task]] = {}
    for task in tasks:
        found.setdefault(task.name, []).append(task)
    return list(found.values())


def devices(device: str, environment: Mapping[str, str]) -> list[str]:
    """Return the CUDA devices to spread workers over; none on a machine without, or told not to.

    Parameters
    ----------
    device
        The study's: "auto", "cpu", "cuda", or one device (``cuda:1``), which all share.
    """
    if device not in ("auto", "cuda"):
        return []
    if "CUDA_VISIBLE_DEVICES" in environment:
        return [name for name in environment["CUDA_VISIBLE_DEVICES"].split(",") if name]
    return [str(number) for number in range(len(list(GPUS.iterdir())))] if GPUS.is_dir() else []


def run(
    tasks: Sequence[Task],
    study: Path,
    code: str,
    root: Path,
    environment: Mapping[str, str],
    done: Done,
    count: int,
    gpus: Sequence[str] = (),
) -> None:
    """Have all tasks done by up to `count` processes; the first failure ends them all.

    A cell's evaluation follows its pretraining in the same process. What is finished is kept, so
    the same call continues.

    Parameters
    ----------
    tasks
        A cell's pretraining before its evaluation.
    study
        The study file, relative to the project.
    code
        The state of the package that the study was begun with (`ecgscale.code.package_state`).
    environment
        Of the processes.
    count
        Most processes.
    gpus
        Devices to give them in turn, one each.

    Raises
    ------
    BadInputError
        If an input of a task is wrong; the message names the task.
    StageFailedError
        If a task fails or its process is killed; the message names the task, and ends with its last
        lines.
    """
    left = chains(tasks)[::-1]
    watched = selectors.DefaultSelector()
    workers = []
    try:
        for place in range(min(count, len(left))):
            own = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
            worker = _start(place, study, code, root, {**environment, **own})
            workers.append(worker)
            watched.register(worker.replies, selectors.EVENT_READ, worker)
            _feed(worker, left)
        while any(worker.waiting for worker in workers):
            for key, _ in watched.select():
                _hear(key.data, done)
                if not key.data.waiting:
                    _feed(key.data, left)
                if not key.data.waiting:
                    watched.unregister(key.data.replies)
    finally:
        watched.close()
        for worker in workers:
            _end(worker)


def _feed(worker: Worker, left: list[list[Task]]) -> None:
    for task in left.pop() if left else ():
        worker.give(task)


def _hear(worker: Worker, done: Done) -> None:
    """Take what a process says; one that has ended says nothing."""
    heard = os.read(worker.replies, 65536)
    if not heard:
        raise StageFailedError(_death(worker, worker.waiting[0]))
    *lines, worker.heard = (worker.heard + heard).split(b"\n")
    for line in lines:
        task, said = worker.waiting[0], json.loads(line)
        if "bad" in said:
            raise BadInputError(f"{task.title}: {said['bad']}")
        if "failed" in said:
            raise StageFailedError(f"{task.title} failed ({worker.log}):\n{said['failed']}")
        worker.waiting.pop(0)
        done(task, said["seconds"])


def _death(worker: Worker, task: Task) -> str:
    status = worker.process.wait()
    how = f"ended with status {status}"
    if status < 0:
        why = ", perhaps for lack of memory" if status == -signal.SIGKILL else ""
        how = f"was killed by {signal.Signals(-status).name}{why}"
    return f"{task.title}: its process {how} ({worker.log}):\n{_tail(worker)}"


def _tail(worker: Worker, count: int = 15) -> str:
    text = worker.log.read_bytes()[worker.begun :].decode(errors="replace")
    return "\n".join(text.splitlines()[-count:])


def _start(
    place: int, study: Path, code: str, root: Path, environment: Mapping[str, str]
) -> Worker:
    """Start a process, in a group of its own so that Ctrl-C reaches it through its owner alone."""
    log = root / ".ecgscale" / "log" / f"worker-{place}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    reading, writing = os.pipe()
    with log.open("ab") as file:
        begun = file.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", MODULE, str(study), code, str(writing)],
            cwd=root,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            pass_fds=(writing,),
        )
    os.close(writing)
    return Worker(process, reading, log, begun)


def _end(worker: Worker) -> None:
    """End a process at once: what it was at continues from its checkpoint."""
    worker.process.kill()
    worker.process.wait()
    with suppress(BrokenPipeError):
        worker.process.stdin.close()  # type: ignore[union-attr]
    os.close(worker.replies)
