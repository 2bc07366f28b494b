"""How a study names a source of recordings."""

from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from ecgscale.settings import Settings


class SourceConfig(Settings):
    """Where one source lies and how it is read."""

    reader: str
    root: Path
    watch: Path = Path()
    """What DVC watches for changes: `root` itself (default), or a file that stands for it."""
    namespace: str = ""
    """Prefix of patient ids; sources that share patients share it. Default: the source's name."""
    max_quarantined: float = Field(default=0.1, ge=0, le=1)
    """Fraction of records in quarantine above which ingest fails."""
    options: dict[str, Any] = Field(default={})
    """The reader's own typed options."""

    @model_validator(mode="before")
    @classmethod
    def _watch_the_root(cls, given: Any) -> Any:
        if isinstance(given, dict) and "root" in given:
            return {"watch": given["root"], **given}
        return given
