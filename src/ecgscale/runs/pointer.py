"""What MLflow holds of an encoder: where DVC keeps it, and by which digests it is known again."""

from pathlib import Path

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
