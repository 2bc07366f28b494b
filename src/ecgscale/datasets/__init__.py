"""One folder, or one YAML file, a data set: its reader, tasks, simulated layout and tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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
    ValueError
        If a key is unknown, missing or impossible.
    """
    import yaml

    from ecgscale.tasks.base import TaskMetadata  # here: readers and layouts do without pandas

    stated = yaml.safe_load(path.read_text(encoding="utf-8"))["tasks"]
    own = {name: {"labels": found} for name, found in (labels or {}).items()}
    return {
        name: TaskMetadata(name=name, **fields, **own.get(name, {}))
        for name, fields in stated.items()
    }
