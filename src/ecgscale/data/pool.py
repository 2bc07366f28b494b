"""What pretraining may draw from."""

from typing import Literal

from ecgscale.settings import Settings


class PoolSource(Settings):
    """Which records of a source pretraining may draw from."""

    folds: tuple[int, ...] | None = None
    """Published folds to keep (None: all)."""
    splits: tuple[Literal["train", "validation", "test"], ...] | None = None
    """Published splits to keep (None: all)."""
