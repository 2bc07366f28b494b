"""A project that was moved or copied with its store, which names absolute places."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow that hold absolute places of artifacts."""


def follow(root: Path, experiments: Sequence[str]) -> None:
    """Let the project's own store name the folder that the project is in, moved or copied.

    MLflow keeps absolute places alone, so that a copy would read, and write, the old folder's.

    Parameters
    ----------
    root
        The project; its store is ``mlflow.db``.
    experiments
        Names of its experiments, whose artifacts lie in ``mlartifacts``.
    """
    path = root.resolve() / "mlflow.db"
    if not path.is_file() or not path.stat().st_size:
        return
    now = root.resolve().as_uri() + "/"
    with closing(sqlite3.connect(path, timeout=5)) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        before = {
            row[0].removesuffix("mlartifacts/" + name.removeprefix("ecgscale-"))
            for name in experiments
            for row in database.execute(
                "SELECT artifact_location FROM experiments WHERE name = ?", (name,)
            )
        } - {now}
        for place in sorted(before):
            for table, column in _PLACES:
                if table in tables:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (now, len(place) + 1, len(place), place),
                    )
        database.commit()
