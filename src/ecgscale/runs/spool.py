"""What a run says while it is at work, kept on disk until the tracking store has it.

A run under way appends to ``.ecgscale/spool/<attempt>.jsonl`` and waits for nobody. A process of
its own, the courier (`ecgscale.runs.courier`), carries what lies there to the store. A file is
removed when the store has all of it, so the folder is the list of what is still to be delivered.
"""

import fcntl
import json
import logging
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from ecgscale.files import write_whole
from ecgscale.runs.address import redacted, sqlite_file, tracking_uri
from ecgscale.runs.record import Phase, RunIdentity

log = logging.getLogger(__name__)

Event = dict[str, Any]
OPENED, ENDED = "opened", "ended"
"""Keys of the first event of a file, and of the last."""
PAUSE = 60.0
"""Seconds after which a stage starts another courier for what others left behind."""
GRIP = 2.0
"""Seconds to wait for a file; a courier holds one for a moment."""
LAST_MINUTE = 60.0
"""Seconds that a courier may go on after what it was started for."""


@dataclass(frozen=True)
class Opened:
    """The first event: whose run it is, and where and when it is to be shown."""

    phase: Phase
    study: str
    cell: str
    work: str
    started: str
    store: str
    """Address of the tracking store, without credentials."""
    live_from: float
    """Time (seconds since 1970) from which the run is shown while it is under way."""
    source: str
    """The command that does the work."""

    @property
    def identity(self) -> RunIdentity:
        """Whose run it is."""
        return RunIdentity(self.phase, self.study, self.cell, self.work, self.started)


@dataclass
class Entry:
    """A file of the spool, as read."""

    path: Path
    opened: Opened
    events: list[Event]
    is_alive: bool
    """Whether the process that writes it was there before it was read."""
    size: int
    """Bytes that were there then."""

    @property
    def ended(self) -> Event | None:
        """How the run ended; None if it is under way, or was killed."""
        return self.events[-1][ENDED] if self.events and ENDED in self.events[-1] else None

    def remove(self) -> None:
        """Remove the file, unless a process has continued the run since it was read."""
        with suppress(FileNotFoundError), self.path.open("rb") as file:
            if _is_free(file) and os.fstat(file.fileno()).st_size == self.size:
                self.path.unlink()


class Spool:
    """The file of one run under way; trouble with it is told once and ends nothing."""

    def __init__(self, root: Path, identity: RunIdentity, live_from: float) -> None:
        self._file: IO[str] | None = None
        path = folder(root) / f"{identity.attempt}.jsonl"
        opened = Opened(
            **asdict(identity),
            store=_store(root),
            live_from=live_from,
            source=" ".join(["python -m ecgscale", *sys.argv[1:3]]),
        )
        with self._noting_trouble():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = _locked(path)
        self.write(OPENED, asdict(opened))

    def write(self, kind: str, value: Any) -> None:
        """Append an event, with the time."""
        if self._file is None:
            return
        with self._noting_trouble():
            event = {kind: value, "at": int(time.time() * 1000)}
            self._file.write(json.dumps(event) + "\n")
            self._file.flush()

    def end(self, **how: str) -> None:
        """Append how the run ended, and leave the file to the courier."""
        self.write(ENDED, how)
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None

    @contextmanager
    def _noting_trouble(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            log.warning("the run is not shown while it is under way: %s", error)
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()
            self._file = None


def _locked(path: Path) -> IO[str]:
    """Open a file to append to, and hold it; what a kill left of a line is ended.

    Raises
    ------
    OSError
        If another process holds it for longer than a courier does.
    """
    until = time.monotonic() + GRIP
    while True:
        file = path.open("a+", encoding="utf-8")
        # The courier may have removed it in between.
        with suppress(FileNotFoundError):
            if _is_free(file) and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                file.write("\n")
                return file
        file.close()
        if time.monotonic() > until:
            raise OSError(f"another process shows it ({path})")
        time.sleep(0.01)


def _is_free(file: IO[Any]) -> bool:
    """Take hold of a file; return whether no other process had it."""
    with suppress(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def folder(root: Path) -> Path:
    """Return where the spool lies."""
    return root / ".ecgscale" / "spool"


def entries(root: Path, known: dict[Path, Entry] | None = None) -> list[Entry]:
    """Return what waits for the project's present store, oldest first, without damaged lines.

    Parameters
    ----------
    known
        What was read before; files that have not grown since are not read again.
    """
    found = [_read(path, known) for path in sorted(folder(root).glob("*.jsonl"))]
    here = _store(root)
    mine = [entry for entry in found if entry is not None and entry.opened.store == here]
    return sorted(mine, key=lambda entry: entry.opened.started)


def is_waiting(root: Path) -> bool:
    """Return whether anything waits for the project's present store."""
    here = f'"store": {json.dumps(_store(root))}'
    return any(here in _beginning(path) for path in folder(root).glob("*.jsonl"))


def _beginning(path: Path) -> str:
    with suppress(FileNotFoundError), path.open(encoding="utf-8", errors="replace") as file:
        return file.read(4096)
    return ""


def _store(root: Path) -> str:
    """Return the present store as the spool names it: "" for the project's own, moved or not."""
    uri = tracking_uri(root)
    return "" if sqlite_file(uri) == root.resolve() / "mlflow.db" else redacted(uri)


def _read(path: Path, known: dict[Path, Entry] | None) -> Entry | None:
    opened: Opened | None = None
    events: list[Event] = []
    is_alive, size = False, 0
    with suppress(FileNotFoundError):
        with path.open("rb") as file:
            is_alive, size = not _is_free(file), os.fstat(file.fileno()).st_size
        if known and path in known and known[path].size == size:
            return replace(known[path], is_alive=is_alive)
        content = path.read_bytes()[:size]
        for line in content.decode(errors="replace").splitlines():
            with suppress(ValueError, TypeError):
                event = json.loads(line)
                if OPENED in event:
                    opened = Opened(**event[OPENED])
                    # The run goes on: it has not ended.
                    events = [each for each in events if ENDED not in each]
                else:
                    events.append(event)
    if opened is None:
        return None
    entry = Entry(path, opened, events, is_alive, size)
    if known is not None:
        known[path] = entry
    return entry


def project_id(root: Path) -> str:
    """Return what tells this project's runs from others' in a shared store.

    A moved project keeps it; a copy gets its own, and so does a project on another machine.
    """
    path = root / ".ecgscale" / "project.json"
    place = {"root": str(root.resolve()), "host": os.uname().nodename}
    kept: dict[str, str] = {}
    with suppress(OSError, ValueError):
        kept = json.loads(path.read_text(encoding="utf-8"))
    is_copy = kept.get("host") != place["host"] or (
        kept.get("root") != place["root"] and _is_project(Path(kept.get("root", "")), kept)
    )
    if "id" not in kept or is_copy:
        kept = {"id": uuid.uuid4().hex}
    if kept != {**kept, **place}:
        kept = {**kept, **place}
        write_whole(path, json.dumps(kept))
    return kept["id"]


def _is_project(root: Path, kept: dict[str, str]) -> bool:
    with suppress(OSError, ValueError):
        there = json.loads((root / ".ecgscale" / "project.json").read_text(encoding="utf-8"))
        return bool(there.get("id") == kept.get("id"))
    return False


@contextmanager
def writing(root: Path, patience: float = -1) -> Iterator[None]:
    """Be the one process of the project that writes to the store.

    Parameters
    ----------
    patience
        Seconds to wait for another one to end; negative to wait as long as it takes.

    Raises
    ------
    filelock.Timeout
        If it has not ended by then.
    """
    with _lock(root, "writer").acquire(timeout=patience):
        yield


@contextmanager
def courier_of(root: Path, patience: float = 0) -> Iterator[bool]:
    """Be the project's courier; gives False where there is one, and still is after some seconds."""
    lock = _lock(root, "courier")
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def start_courier(root: Path, hurry: bool = True) -> None:
    """Start a courier if anything waits and none is under way; return at once.

    It ends a little after this process. ``ECGSCALE_COURIER=off`` leaves all to ``sync``.

    Parameters
    ----------
    hurry
        Whether it is worth a process now; one that is not is started once in `PAUSE` seconds.
    """
    if is_waiting(root) and (hurry or _is_long_ago(_courier_log(root))):
        with courier_of(root) as is_free:
            pass
        if is_free:
            _start(root)


@contextmanager
def carrying(root: Path) -> Iterator[None]:
    """Have a courier for the length of a block, and let it end its work after it.

    What it does not get done in `LAST_MINUTE` seconds is left; after an error nobody waits.
    """
    courier = _start(root)
    try:
        yield
    except BaseException:
        if courier and courier.stdin:
            courier.stdin.close()
        raise
    if courier and courier.stdin:
        courier.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            courier.wait(LAST_MINUTE)


def _start(root: Path) -> "subprocess.Popen[bytes] | None":
    if os.environ.get("ECGSCALE_COURIER") == "off":
        return None
    try:
        _courier_log(root).parent.mkdir(parents=True, exist_ok=True)
        with _courier_log(root).open("ab") as file:
            os.utime(file.fileno())
            courier = subprocess.Popen(
                [sys.executable, "-m", "ecgscale.runs.courier", str(root.resolve())],
                stdin=subprocess.PIPE,  # closed by the system when this process ends
                stdout=file,
                stderr=file,
            )
    except OSError as error:
        log.warning("nothing is carried to the tracking store now: %s", error)
        return None
    _started.append(courier)
    return courier


def _courier_log(root: Path) -> Path:
    return root / ".ecgscale" / "log" / "courier.log"


def _is_long_ago(path: Path) -> bool:
    return not path.is_file() or time.time() - path.stat().st_mtime > PAUSE


_started: list["subprocess.Popen[bytes]"] = []
"""Couriers of this process: one that is forgotten would lose its pipe, and end."""


def _lock(root: Path, name: str) -> FileLock:
    path = root / ".ecgscale" / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path)
