"""Work directories: where an unfinished run keeps what it would lose if it were killed."""

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from ecgscale.files import write_whole

log = logging.getLogger(__name__)


@contextmanager
def alone(work: Path) -> Iterator[None]:
    """Make a work directory and hold it: a killed pipeline may have left a process that runs on.

    Parameters
    ----------
    work
        ``<project>/.ecgscale/work/<digest of all inputs>``.
    """
    # Outside of the directory, which is removed when the run is done.
    path = work.parents[1] / "locks" / work.name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process is at work on this cell; waiting for it to end")
        lock.acquire()
    try:
        work.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        lock.release()


def started(work: Path) -> str:
    """Return when a run was first begun, as `now` gives it."""
    path = work / "started"
    if not path.is_file():
        write_whole(path, now())
    return path.read_text(encoding="utf-8")


def remove(work: Path) -> None:
    """Remove a work directory so that no part of it can be continued from."""
    done = work.with_name(f"{work.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    work.rename(done)
    shutil.rmtree(done)


def now() -> str:
    """Return the time as runs state it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
