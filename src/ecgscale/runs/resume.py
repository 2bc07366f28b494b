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


def work_directory(root: Path, key: str) -> Path:
    """Return the work directory of a run: ``<project>/.ecgscale/work/<digest of all inputs>``."""
    return root / ".ecgscale" / "work" / key


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make a work directory and hold it: a killed pipeline may have left a process that runs on."""
    # Outside of the directory, which is removed when the run is done.
    path = folder.parents[1] / "locks" / folder.name
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.warning("another process is at work on this cell; waiting for it to end")
        lock.acquire()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        yield
    finally:
        lock.release()


def started(folder: Path) -> str:
    """Return when a run was first begun, as `now` gives it."""
    path = folder / "started"
    if not path.is_file():
        write_whole(path, now())
    return path.read_text(encoding="utf-8")


def remove(folder: Path) -> None:
    """Remove a work directory so that no part of it can be continued from."""
    # Renamed first: half of a directory would look like something to go on with.
    done = folder.with_name(f"{folder.name}.done")
    shutil.rmtree(done, ignore_errors=True)
    folder.rename(done)
    shutil.rmtree(done)


def now() -> str:
    """Return the time as runs state it: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
