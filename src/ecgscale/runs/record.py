"""The full record of one run as JSON: the source of truth that every tracker mirrors."""

import hashlib
import json
import math
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ecgscale.errors import BadInputError
from ecgscale.files import write_whole

Phase = Literal["pretrain", "evaluate", "tune"]
Scalar = str | int | float | bool | None


WORK = "work_digest"
"""Tag of a record: digest of all that decided what the run wrote (inputs, settings, code)."""


@dataclass(frozen=True)
class RunIdentity:
    """What makes a run this one and no other: its work, and when it was begun.

    A run that is killed and continued stays the same; the same work begun again is another.
    """

    phase: Phase
    study: str
    cell: str
    work: str
    """Digest of all that decides what the run writes."""
    started: str

    @property
    def attempt(self) -> str:
        """SHA-256 of it all, 32 hexadecimal characters."""
        return hashlib.sha256(json.dumps(astuple(self)).encode()).hexdigest()[:32]


class DatasetInput(BaseModel):
    """A data set that a run read."""

    model_config = ConfigDict(extra="forbid")

    name: str
    digest: str
    context: str
    """"pretraining", "training", "validation" or "test"."""
    source: str
    """Path relative to the project."""


class RunRecord(BaseModel):
    """All that one run logged."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal[1] = 1
    phase: Phase
    study: str
    cell: str
    """``<objective>/<encoder>/n<size>-o<order>-s<seed>``, or ``baseline/<name>``."""
    axes: dict[str, Scalar]
    """The cell's coordinates: objective (the study's name for it), kind (the registered objective),
    encoder, size (patients), order, seed, regime, role ("objective", "control" or "baseline")."""
    params: dict[str, Scalar]
    """Flat, dotted names."""
    metrics: dict[str, float]
    """Final values; NaN is written as null and read back as NaN."""
    curves: dict[str, list[tuple[int, float]]] = {}
    """Name to a list of [step, value]."""
    tags: dict[str, str] = {}
    """Lineage: git commit, dirty flag, DVC digests, subset digest, model digest, environment."""
    inputs: list[DatasetInput] = []
    details: dict[str, Any] = {}
    """What the report needs beyond scalars (per-label tables, bootstrap replicates)."""
    artifacts: list[str] = []
    """Files that belong to the run, relative to the project."""
    made_from: dict[str, str] = {}
    """Path, relative to the project, to the digest of every file or folder that decided what the
    run wrote."""
    started: str
    ended: str

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 32 hexadecimal characters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:32]

    @property
    def identity(self) -> RunIdentity:
        """Whose record it is; records from before work was digested have "" for their work."""
        return RunIdentity(self.phase, self.study, self.cell, self.tags.get(WORK, ""), self.started)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, non-finite numbers as null."""
        # Records of before `made_from` keep their digest, by which the store knows them.
        without = None if self.made_from else {"made_from"}
        content = finite(self.model_dump(mode="python", exclude=without))
        return json.dumps(content, sort_keys=True, indent=1)

    def write(self, path: Path) -> None:
        """Write atomically: a reader sees the old file or the new one, never a part."""
        write_whole(path, self.to_json() + "\n")

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record.

        Raises
        ------
        BadInputError
            If the file is missing, not JSON, or not a run record.

        Examples
        --------
        >>> import tempfile
        >>> path = result_path(Path(tempfile.mkdtemp()), "evaluate", "baseline/age-sex")
        >>> RunRecord(
        ...     phase="evaluate",
        ...     study="mine",
        ...     cell="baseline/age-sex",
        ...     axes={"role": "baseline"},
        ...     params={},
        ...     metrics={"chapman-38.macro_auroc": 0.7},
        ...     started="2026-01-01T00:00:00Z",
        ...     ended="2026-01-01T00:01:00Z",
        ... ).write(path)
        >>> RunRecord.read(path).metrics
        {'chapman-38.macro_auroc': 0.7}
        """
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise BadInputError(f"{path} does not exist") from error
        except json.JSONDecodeError as error:
            raise BadInputError(f"{path} is not JSON: {error}") from error
        try:
            raw["metrics"] = {k: math.nan if v is None else v for k, v in raw["metrics"].items()}
            raw["curves"] = {
                name: [(step, math.nan if value is None else value) for step, value in points]
                for name, points in raw.get("curves", {}).items()
            }
            return cls(**raw)
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise BadInputError(f"{path} is not a run record: {error}") from error


def result_path(results: Path, phase: Phase, cell: str) -> Path:
    """Return where the record of a cell lives: ``<results>/<phase>/<cell>.json``."""
    return results / phase / f"{cell}.json"


def read_results(results: Path, phase: Phase) -> list[RunRecord]:
    """Read every record of a phase, sorted by cell."""
    return [RunRecord.read(path) for path in sorted((results / phase).rglob("*.json"))]


def finite(value: Any) -> Any:
    """Return JSON content with null for what is not finite, which JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return value
