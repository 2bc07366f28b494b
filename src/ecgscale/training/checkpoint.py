"""Work checkpoints: what a killed run continues from."""

import hashlib
import io
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from ecgscale.files import write_whole

KEPT = 2
"""Checkpoints kept: the newest, and one to fall back to if the disk has damaged that."""

_NAME = re.compile(r"step-(?P<step>\d{9})-(?P<digest>[0-9a-f]{16})\.pt")


class CheckpointDirectory:
    """Numbered checkpoints in one directory.

    A checkpoint is complete or absent: it is written aside, flushed to the disk and renamed. Its
    name carries the digest of its content, so damage of any kind is noticed when it is read.

    Parameters
    ----------
    path
        Made when the first checkpoint is saved.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def save(self, step: int, state: dict[str, Any]) -> Path:
        """Write a checkpoint after `step` optimizer steps, then delete all but the newest `KEPT`.

        The state is tensors, numbers, strings and containers of them (what ``weights_only`` loads).
        """
        # To memory first: the name carries the digest of what was meant, not of what was written.
        buffer = io.BytesIO()
        torch.save(state, buffer)
        content = buffer.getvalue()
        path = self.path / f"step-{step:09d}-{_digest(content)}.pt"
        write_whole(path, content, durable=True)
        self._prune()
        return path

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """Return the newest undamaged checkpoint, its tensors on a device, or None.

        A damaged one is warned of.
        """
        for path in reversed(self._files()):
            content = path.read_bytes()
            if _digest(content) == _NAME.fullmatch(path.name)["digest"]:  # type: ignore[index]
                state: dict[str, Any] = torch.load(
                    io.BytesIO(content), map_location=device, weights_only=True
                )
                return state
            warnings.warn(f"checkpoint {path} is damaged and is passed over", stacklevel=2)
        return None

    def _files(self) -> list[Path]:
        """Return the checkpoints, oldest first."""
        if not self.path.is_dir():
            return []
        return sorted(path for path in self.path.iterdir() if _NAME.fullmatch(path.name))

    def _prune(self) -> None:
        # Only now that the new one is on the disk. Hidden files are what killed writes have left.
        for path in [*self._files()[:-KEPT], *self.path.glob(".*")]:
            path.unlink()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]
