"""What an imported encoder is known to have been trained on, from a table with sources."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from ecgscale.encoders.base import read_config

SEEN = Path(__file__).with_name("seen.yaml")


class Seen(BaseModel, extra="forbid", frozen=True):
    """What a published checkpoint is known to have been pretrained on.

    Attributes
    ----------
    datasets
        As tasks name data sets.
    source
        Where that is said.
    open
        What it leaves open.
    """

    datasets: tuple[str, ...]
    source: str
    open: str

    def sentence(self) -> str:
        """Return all of it in one sentence."""
        return f"Known to have seen: {', '.join(self.datasets)} ({self.source}); {self.open}."


UNKNOWN = "What it has seen is not known."


@cache
def seen_by_format() -> dict[str, Seen]:
    """Return what is known of the checkpoints of each format."""
    table: dict[str, Any] = yaml.safe_load(SEEN.read_text(encoding="utf-8"))
    return {name: Seen(**entry) for name, entry in table.items()}


def seen_by(directory: Path) -> Seen | None:
    """Return what the encoder in a directory is known to have seen; None if nothing is.

    Raises
    ------
    BadInputError
        If it is not an encoder directory.
    """
    return seen_by_format().get(str(read_config(directory).get("imported_as")))
