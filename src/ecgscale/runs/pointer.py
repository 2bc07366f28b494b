"""What MLflow holds of an encoder: where it lies, by what it is known again, and an example."""

import json
import math
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ecgscale.errors import BadInputError
from ecgscale.runs.record import RunRecord
from ecgscale.settings import first_problem

POINTER = "pointer.json"


class Pointer(BaseModel):
    """An encoder directory of a project, named by its content."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    """Of the directory, relative to the project."""
    model_digest: str
    """Of its weights and the encoder's settings."""
    recipe_digest: str
    """Of the preprocessing that its inputs must have had."""
    lead: str
    """What an encoder of one lead sees."""
    git_commit: str
    """The checkout whose ``dvc.lock`` names these weights, or a later one."""

    @classmethod
    def of(cls, record: RunRecord) -> "Pointer":
        """Return the pointer to the encoder of a pretraining record."""
        tags = record.tags
        return cls(
            path=f"models/{record.cell}",
            model_digest=tags.get("model_digest", ""),
            recipe_digest=tags.get("recipe_digest", ""),
            lead=str(record.params.get("lead", "")),
            git_commit=tags.get("git_commit", "unknown"),
        )

    @classmethod
    def read(cls, path: Path) -> "Pointer":
        """Read a pointer.

        Raises
        ------
        BadInputError
            If the file is not as `to_json` gives it.
        """
        try:
            return cls.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError as error:
            raise BadInputError(f"{path}: {first_problem(error)}") from error

    def to_json(self) -> str:
        """Return the content of the file."""
        return self.model_dump_json(indent=1) + "\n"


def example_input(record: RunRecord) -> dict[str, Any]:
    """Return one made-up recording: 100 Hz, a few of an encoder's leads, in no standard order.

    A table as pandas reads it, orientation "split".
    """
    leads = json.loads(str(record.params.get("recipe.leads", '["I"]')))
    chosen = [name for name in ("V5", "II", "I") if name in leads] or leads[:1]
    seconds = float(record.params.get("recipe.minimum_seconds") or 5.0)
    beat = [_beat(step / 100 % 0.8) for step in range(round(100 * seconds))]
    signal = [[round(scale * x, 2) for x in beat] for scale in (1.0, 0.9, 0.7)[: len(chosen)]]
    return {"columns": ["signal", "fs", "leads"], "index": [0], "data": [[signal, 100.0, chosen]]}


def _beat(second: float) -> float:
    """Return mV of a made-up beat: P, QRS and T as bells (centre, width in s, height in mV)."""
    bells = (
        *((0.1, 0.02, 0.12), (0.27, 0.008, -0.1), (0.3, 0.011, 1.1)),
        *((0.33, 0.01, -0.25), (0.55, 0.04, 0.3)),
    )
    return sum(height * math.exp(-(((second - at) / wide) ** 2) / 2) for at, wide, height in bells)
