"""How a study names a source of recordings."""

from pathlib import Path
from typing import Any

from pydantic import Field

from ecgscale.settings import Settings


class SourceConfig(Settings):
    """Where one source lies and how it is read."""

    reader: str
    root: Path
    watch: Path
    """What DVC watches for changes: `root` itself, or a file that stands for it."""
    namespace: str = ""
    """Prefix of patient ids; sources that share patients share it. Default: the source's name."""
    max_quarantined: float = Field(default=0.1, ge=0, le=1)
    """Fraction of records in quarantine above which ingest fails."""
    options: dict[str, Any] = Field(default={})
    """The reader's own typed options."""
