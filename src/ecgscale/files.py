"""Files: written whole or not at all, and told apart by their content."""

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Errors of the operating system that say that a file cannot grow."""

_FULL_WORDS = ("no space left on device", "disk is full", "disk quota exceeded", "file too large")
"""The same in the words of libraries that hide the number."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; what lies there in the end becomes `path`.

    If the writing fails, `path` is as it was, and nothing is left of the rest.

    Parameters
    ----------
    path
        The file; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        with naming(path):
            yield aside
        os.chmod(aside, 0o644)  # a temporary file is its owner's alone
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system that names no file name `path`."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room for a file."""
    seen: BaseException | None = error
    while seen is not None:
        told = isinstance(seen, OSError) and seen.errno in FULL
        if told or any(words in str(seen).lower() for words in _FULL_WORDS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def write_whole(path: Path, content: str | bytes, durable: bool = False) -> None:
    """Write a file so that a reader sees the old content or the new one, never a part.

    Parameters
    ----------
    path
        The file; its folder is made. A killed write leaves at most a hidden file beside it.
    content
        Text is written as UTF-8.
    durable
        Wait until the disk has it: for what must outlast a power cut.

    Examples
    --------
    >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "notes" / "one.txt"
    >>> write_whole(path, "whole")
    >>> path.read_text()
    'whole'
    """
    with whole_file(path) as aside, aside.open("wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    if durable:
        _sync_folder(path.parent)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content, or of a folder's files, their names and contents.

    Raises
    ------
    FileNotFoundError
        If there is neither.
    """
    if not path.is_dir():
        return file_digest(path)
    files = sorted(each for each in path.rglob("*") if each.is_file())
    listed = "".join(f"{each.relative_to(path).as_posix()}={file_digest(each)}\n" for each in files)
    return hashlib.sha256(listed.encode()).hexdigest()


def _sync_folder(path: Path) -> None:
    """Make a rename in a folder survive a power cut: the name lies in the folder, not the file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
