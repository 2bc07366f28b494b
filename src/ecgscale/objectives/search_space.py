"""Typed search spaces, kept beside the objective they belong to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class FloatRange:
    """Real numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool = False
    """Whether equal ratios are equally likely, not equal differences."""


@dataclass(frozen=True)
class IntRange:
    """Whole numbers from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of some values without order."""

    options: tuple[str | int | float | bool, ...]


SearchSpace = dict[str, FloatRange | IntRange | Choice]
"""``params.<name>`` or ``training.<name>`` to the values tried."""

TRAINING_SPACE: SearchSpace = {
    "training.lr": FloatRange(1e-4, 1e-2, log=True),
    "training.weight_decay": FloatRange(1e-5, 1e-1, log=True),
}
"""What every trained objective searches besides its own parameters."""
