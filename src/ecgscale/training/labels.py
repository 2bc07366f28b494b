"""The labels of a cell that learns the tasks' labels: on all training records, or on a subset."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ecgscale.errors import BadInputError
from ecgscale.runs.record import DatasetInput
from ecgscale.tasks.targets import part_of, read_manifest, training_targets

TASKS = Path("data/tasks")


def all_labelled(root: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the training records of some tasks with their targets, as `training_targets`."""
    return training_targets(root / TASKS, tasks)


def with_labels(rows: pd.DataFrame, root: Path, tasks: Sequence[str]) -> pd.DataFrame:
    """Return the records of a subset with their targets of some tasks.

    Parameters
    ----------
    rows
        A row per record: source and record_id.
    root
        The project: ``data/tasks`` is read.
    tasks
        Names of tasks. Labels are those of their training records.

    Returns
    -------
    DataFrame
        `rows` with a column `y`: float32 vectors over all labels of the tasks, NaN for those of
        tasks that do not hold the record.

    Raises
    ------
    BadInputError
        If no record has a label.
    """
    known = training_targets(root / TASKS, tasks)
    keys = list(zip(known["source"], known["record_id"], strict=True))
    targets = dict(zip(keys, known["y"], strict=True))
    wanted = list(zip(rows["source"], rows["record_id"], strict=True))
    if not any(key in targets for key in wanted):
        raise BadInputError(
            f"none of the {len(rows)} records of the subset is a training record of a task of the "
            f"study: {', '.join(sorted(set(rows['source'])))} can teach no labels"
        )
    none = np.full(len(known["y"].iloc[0]), np.nan, dtype=np.float32)
    return rows.assign(y=[targets.get(key, none) for key in wanted])


def tables(root: Path, tasks: Sequence[str]) -> tuple[DatasetInput, ...]:
    """Return the tables that labels are taken from, as a record names them."""
    manifest = read_manifest(root / TASKS)
    return tuple(part_of(task, manifest[task]["digest"], "training") for task in tasks)


def shuffled(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Return records with the labels of another patient, for as many as there are of each.

    The labelled patients of each source are permuted. The records of a patient, in the order of
    their ids, get the labels of the other patient's records in turn, so that a patient's records
    still agree as one patient's do. Records without labels keep none.

    Parameters
    ----------
    rows
        A row per record: source, record_id, patient_id and y.
    rng
        Draws the permutations.
    """
    ordered = rows.sort_values(["source", "patient_id", "record_id"])
    labelled = ordered[[not np.isnan(y).all() for y in ordered["y"]]]
    dealt = dict(rows["y"].items())
    for _, records in labelled.groupby("source", sort=True):
        places = list(records.groupby("patient_id", sort=True).groups.values())
        for own, other in zip(places, rng.permutation(len(places)), strict=True):
            given = places[other]
            for turn, place in enumerate(own):
                dealt[place] = rows.at[given[turn % len(given)], "y"]
    return rows.assign(y=list(dealt.values()))
