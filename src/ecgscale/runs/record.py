"""The full record of one run as JSON: the source of truth that every tracker mirrors."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, PrivateAttr, ValidationError

from ecgscale.errors import BadInputError
from ecgscale.files import write_whole

Phase = Literal["pretrain", "evaluate", "tune", "literature"]
Scalar = str | int | float | bool | None
Points = dict[str, list[tuple[int, float]]]
"""Name of a curve to its (step, value)."""


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
    """What decided what the run wrote: files and folders, relative to the project, with their
    digests (`ecgscale.files.path_digest`). While they are the same, so is what the run wrote."""
    made: dict[str, str] = {}
    """Files that it wrote beside this record, with their digests."""
    started: str
    ended: str
    _stated: str = PrivateAttr("")
    """The digest of the file that this was read from, which was that of its text."""

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON, 32 hexadecimal characters."""
        return self._stated or _digest(self.to_json())

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, changed: what is changed has a digest of its own."""
        copy = super().model_copy(update=update, deep=deep)
        if update:
            copy._stated = ""
        return copy

    @property
    def identity(self) -> RunIdentity:
        """Whose record it is; records from before work was digested have "" for their work."""
        return RunIdentity(self.phase, self.study, self.cell, self.tags.get(WORK, ""), self.started)

    def to_json(self) -> str:
        """Return canonical JSON: sorted keys, non-finite numbers as null."""
        return json.dumps(self._content(), sort_keys=True, indent=1)

    def _content(self) -> dict[str, Any]:
        # Records of before these keys keep their digest, by which the store knows them.
        held = {"made_from": self.made_from, "made": self.made}
        without = {key for key, value in held.items() if not value}
        content: dict[str, Any] = finite(self.model_dump(mode="python", exclude=without))
        return content

    def write(self, path: Path) -> None:
        """Write atomically, with the record's digest: what is changed afterwards is noticed."""
        content = {**self._content(), "digest": _digest(self.to_json())}
        write_whole(path, json.dumps(content, sort_keys=True, indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record.

        Raises
        ------
        BadInputError
            If the file is missing, not JSON, not a run record, or was changed after it was written.

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
        text, stated = _intact(path)
        try:
            raw = json.loads(text)
        except json.JSONDecodeError as error:
            raise BadInputError(f"{path} is not JSON: {error}") from error
        try:
            raw["metrics"] = {k: math.nan if v is None else v for k, v in raw["metrics"].items()}
            raw["curves"] = {
                name: [(step, math.nan if value is None else value) for step, value in points]
                for name, points in raw.get("curves", {}).items()
            }
            record = cls(**raw)
        except (ValidationError, KeyError, TypeError, AttributeError) as error:
            raise BadInputError(f"{path} is not a run record: {error}") from error
        record._stated = stated
        return record


@dataclass(frozen=True)
class Origin:
    """Of a record, what says whether it is up to date."""

    study: str
    made_from: dict[str, str]
    made: dict[str, str]


def read_origin(path: Path) -> Origin:
    """Read what a record was made from, and leave the megabytes of its numbers alone.

    Raises
    ------
    BadInputError
        If the file is missing, is not as `RunRecord.write` writes it, or was changed afterwards.
    """
    text, _ = _intact(path)
    parts = {"study": "", "made_from": "{}", "made": "{}"}
    parts = {key: _part(text, key) or absent for key, absent in parts.items()}
    try:
        return Origin(**{key: json.loads(part) for key, part in parts.items()})
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not a run record as this version writes them") from error


_DIGEST = re.compile(r'^ "digest": "([0-9a-f]{32})",\n', re.MULTILINE)
"""The line of a record's own digest: what belongs to the record alone is indented by one."""


def _intact(path: Path) -> tuple[str, str]:
    """Return a record's text without its digest, and the digest, which must be that of the text.

    A record from before digests were written has none: "".
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise BadInputError(f"{path} is not JSON: {error}") from error
    stated = _DIGEST.search(text)
    if stated is None:
        return text, ""
    rest = text[: stated.start()] + text[stated.end() :]
    if _digest(rest.removesuffix("\n")) != stated[1]:
        raise BadInputError(
            f"{path} was changed after it was written: `dvc checkout` brings it back, or "
            "delete it, and `repro` makes it again"
        )
    return rest, stated[1]


def _part(text: str, key: str) -> str:
    """Return the value of a key of the record itself, or nothing."""
    found = re.search(rf'^ "{key}": (\{{\}}|\{{.*?^ \}}|".*?"),?$', text, re.MULTILINE | re.DOTALL)
    return found[1] if found else ""


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


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
