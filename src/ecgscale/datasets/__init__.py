"""One folder, or one YAML file, a data set: its reader, tasks, simulated layout and tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem, read_mapping

if TYPE_CHECKING:
    from ecgscale.tasks.base import Label, TaskMetadata


def described_tasks(
    path: Path, labels: "Mapping[str, tuple[Label, ...]] | None" = None
) -> "dict[str, TaskMetadata]":
    """Return the metadata of a data set's tasks by their names.

    Parameters
    ----------
    path
        YAML; under ``tasks``, the keys of `TaskMetadata` by the name of the task. The file is named
        after the data set (``ptb-xl-tasks.yaml``): it counts as code of all that name it.
    labels
        The labels of each task, where a published table has them and not the file.

    Raises
    ------
    BadInputError
        If the file cannot be read, or a key is unknown, missing or impossible; the message names
        the file and the key.
    """
    from pydantic import ValidationError

    from ecgscale.tasks.base import TaskMetadata  # here: readers and layouts do without pandas

    fields = read_mapping(path).get("tasks")
    if not isinstance(fields, dict) or not all(isinstance(x, dict) for x in fields.values()):
        raise BadInputError(f"{path}: tasks must map the name of a task to its keys")
    described = {}
    for name, given in fields.items():
        own = {"labels": labels[name]} if labels and name in labels else {}
        try:
            described[name] = TaskMetadata.model_validate({**given, **own, "name": name})
        except ValidationError as error:
            raise BadInputError(f"{path}: tasks.{name}.{first_problem(error)}") from error
    return described
