"""How an objective is made small enough for the toy set of test_every_objective.py."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Toy:
    """Settings with which an objective learns the toy set within 200 steps.

    An objective that needs others than these names them in its own tests, as ``TOY = {...}``.
    """

    params: dict[str, Any] = field(default_factory=dict)
    encoder: dict[str, Any] = field(default_factory=lambda: {"name": "net1d", "size": "tiny"})
    lr: float = 2e-3
    crop: float | None = 3.0
    """Short crops of long records: views that share most samples are told apart by their wander."""
    wander: float = 0.5
    augment: dict[str, float] = field(default_factory=dict)
    gain: float = 0.1
    """By how much kNN accuracy must rise above the random encoder's."""


# A masked objective learns whatever can be told from the steps around: first of all the wander.
PATCHES: dict[str, Any] = {
    "encoder": {"name": "vit1d", "size": "tiny", "patch": 50},
    "lr": 3e-3,
    "crop": None,
    "wander": 0.0,
    "augment": {"noise_prob": 0.0, "wander_prob": 0.0},
}
