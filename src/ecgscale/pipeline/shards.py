"""Processes of DVC that share the stages of a phase, and end with whoever started them."""

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ecgscale.errors import BadInputError, StageFailedError

_STARTED = re.compile(r"(?:Running stage|Stage) '([^']+)'")
_KILLED = re.compile(r"exited with -(\d+)")
"""What DVC says of a stage that a signal ended."""
PATIENCE = 30.0
"""Seconds that are given to processes of an earlier `repro`, or of a failed one, to end."""


@dataclass(frozen=True)
class Owner:
    """What the processes of a `repro` inherit: so they end with it, and the next waits for them."""

    pipe: int
    lock: int


@dataclass
class Shard:
    """A `dvc repro` process over some stages of a phase, and where its output goes."""

    process: subprocess.Popen[bytes]
    log: Path
    stages: list[str]

    def seen(self) -> int:
        """Return how many of its stages have been begun or skipped."""
        return len(set(_STARTED.findall(self.log.read_text(encoding="utf-8", errors="replace"))))


@contextmanager
def owner_of(root: Path) -> Iterator[Owner]:
    """Hold the project for one `repro`, and for as long as any process of it lives.

    Raises
    ------
    BadInputError
        If processes of another one still run after `PATIENCE`.
    """
    path = root / ".ecgscale" / "repro.lock"
    path.parent.mkdir(exist_ok=True)
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    reading, writing = os.pipe()
    try:
        until = time.monotonic() + PATIENCE
        while not _locked(lock):
            if time.monotonic() > until:
                raise BadInputError(f"another repro is running in {root.resolve()}")
            time.sleep(0.1)
        yield Owner(reading, lock)
    finally:
        for descriptor in (writing, reading, lock):
            os.close(descriptor)


def _locked(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def start(
    stages: list[str],
    root: Path,
    environment: dict[str, str],
    title: str,
    owner: Owner,
    alone: bool = True,
) -> Shard:
    """Start `dvc repro` over some stages, in a process group of its own.

    Parameters
    ----------
    title
        Names its log, ``.ecgscale/log/<title>.log``.
    alone
        Whether these stages alone are run, and none that they depend on.
    """
    log = root / ".ecgscale" / "log" / f"{title}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    leash = [sys.executable, "-m", "ecgscale.pipeline.leash", str(owner.pipe)]
    only = ["-s"] if alone else []
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*leash, sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *only, *stages],
            cwd=root,
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=(owner.pipe, owner.lock),
        )
    return Shard(process, log, stages)


def follow(shards: list[Shard], moved: Callable[[int], None]) -> None:
    """Follow the shards to their end; the first failure, or an interrupt, ends the others too.

    Parameters
    ----------
    moved
        Called with the number of stages that were done since the last call.

    Raises
    ------
    StageFailedError
        If one fails or is killed; the message names the stage, and ends with its last lines.
    """
    seen = 0

    def advance(now: int) -> None:
        nonlocal seen
        moved(now - seen)
        seen = now

    failed: list[Shard] = []
    try:
        while not failed and any(shard.process.poll() is None for shard in shards):
            advance(sum(max(shard.seen() - 1, 0) for shard in shards))
            time.sleep(0.2)
            failed = [shard for shard in shards if shard.process.poll()]
    finally:
        for shard in shards:
            _end(shard)
    failed = failed or [shard for shard in shards if shard.process.returncode]
    if failed:
        raise StageFailedError(_failure(failed[0]))
    advance(sum(len(shard.stages) for shard in shards))


def _end(shard: Shard) -> None:
    """End a shard's whole process group: a process that is killed leaves its children running."""
    if shard.process.poll() == 0:
        return
    with suppress(ProcessLookupError):  # there is no group any more
        os.killpg(shard.process.pid, signal.SIGTERM)
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            shard.process.poll()
            os.killpg(shard.process.pid, 0)  # only asks
            time.sleep(0.1)
        os.killpg(shard.process.pid, signal.SIGKILL)
    shard.process.wait()


def _failure(shard: Shard, count: int = 15) -> str:
    """Say which stage failed, by which signal if one killed it, and its last lines."""
    text = shard.log.read_text(encoding="utf-8", errors="replace")
    begun = _STARTED.findall(text)
    said = _KILLED.search(text)
    status = shard.process.returncode
    number = int(said[1]) if said else status - 128 if status > 0 else -status
    how = "failed"
    if number in {each.value for each in signal.Signals}:
        why = ", perhaps for lack of memory" if number == signal.SIGKILL else ""
        how = f"was killed by {signal.Signals(number).name}{why}"
    stage = f"stage {begun[-1]}" if begun else "a stage"
    return "\n".join([f"{stage} {how} ({shard.log}):", *text.splitlines()[-count:]])
