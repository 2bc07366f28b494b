"""Files: written whole or not at all, and told apart by their content."""

import hashlib
import os
import tempfile
from pathlib import Path


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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.chmod(aside, 0o644)  # a temporary file is its owner's alone
        os.replace(aside, path)
        if durable:
            _sync_folder(path.parent)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(path: Path) -> None:
    """Make a rename in a folder survive a power cut: the name lies in the folder, not the file."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
