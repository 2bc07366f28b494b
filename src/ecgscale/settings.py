"""What all settings share: strictness, one-line problems, and digests."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from ecgscale.errors import BadInputError


class Settings(BaseModel):
    """Base of all settings: unknown keys are an error, values do not change after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a YAML file of keys and values.

    Raises
    ------
    BadInputError
        If the file is missing, cannot be read, is not YAML, or has no keys.
    """
    import yaml

    try:
        stated = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{path} cannot be read as YAML: {reason}") from error
    if not isinstance(stated, dict):
        raise BadInputError(f"{path} is not a mapping of keys to values")
    return stated


def first_problem(error: ValidationError) -> str:
    """Return the first problem of a validation error as one line: key, then what is wrong."""
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{key}: {message}" if key else message


def digest_of(value: Any) -> str:
    """Return the SHA-256 of a JSON-serialisable value, whatever the order of its keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()
