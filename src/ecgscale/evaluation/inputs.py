"""What an evaluation reads: the stores behind the tasks, checked to belong together."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ecgscale.data.recipe import Recipe
from ecgscale.data.store import Store, open_store
from ecgscale.encoders.base import read_config
from ecgscale.errors import BadInputError
from ecgscale.evaluation.result import check_table
from ecgscale.tasks.targets import TaskTable


def stores_of(tables: Sequence[TaskTable], root: Path) -> dict[str, Store]:
    """Open the store of every source of some tasks, in the project `root`."""
    return {s: open_store(root / "data/store" / s) for s in sorted({t.source for t in tables})}


def rows_of(tables: Sequence[TaskTable], source: str) -> npt.NDArray[np.int64]:
    """Return the sorted rows that the tasks of a source need, each once."""
    return np.unique(
        np.concatenate([t.frame["row"].to_numpy(np.int64) for t in tables if t.source == source])
    )


def check_store(table: TaskTable, store: Store) -> None:
    """Check that a task can be evaluated and was made from the store as it is.

    Raises
    ------
    BadInputError
        If not.
    """
    check_table(table)
    if table.store_digest != store.digest:
        raise BadInputError(
            f"task {table.task} was made from another state of {store.path}: "
            "run the tasks stage again"
        )


def check_recipe(directory: Path, recipe: Recipe, whose: str) -> None:
    """Check that an encoder was trained on signals of a recipe.

    Raises
    ------
    BadInputError
        If not; the message names the setting.
    """
    found = read_config(directory)["recipe"]
    for key, value in recipe.model_dump(mode="json").items():
        if found.get(key) != value:
            raise BadInputError(
                f"{directory} was trained on signals with recipe.{key} {found.get(key)}, "
                f"{whose} has {value}"
            )
