"""Who is held out: the validation and test patients of the downstream tasks."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from ecgscale.data.record import SPLITS, Split
from ecgscale.errors import BadInputError

HELD_OUT: tuple[Split, ...] = ("validation", "test")
"""Splits whose patients pretraining never sees."""


def held_out_patients(tasks_dir: Path) -> set[str]:
    """Return the validation and test patients of every task.

    A patient held out by one task is held out for all, whatever another task says.

    Parameters
    ----------
    tasks_dir
        Output of the tasks stage: ``<task>.parquet`` files and ``manifest.json``.

    Raises
    ------
    BadInputError
        If the manifest or a task it lists is missing or cannot be read, a task has no held-out
        patient, or a row has another split than train, validation or test.
    """
    held_out: set[str] = set()
    for _, patients in _held_out_by_task(tasks_dir):
        held_out |= patients
    return held_out


def assert_disjoint(subset_patients: Iterable[str], tasks_dir: Path) -> None:
    """Check that no patient of a subset is held out by a task.

    Raises
    ------
    BadInputError
        If one is (the message names the first such patient and the task), or as
        `held_out_patients`.
    """
    subset = set(subset_patients)
    for task, patients in _held_out_by_task(tasks_dir):
        overlap = subset & patients
        if overlap:
            raise BadInputError(
                f"patient {min(overlap)} is in the pretraining subset and held out by task {task} "
                f"({len(overlap)} such patients)"
            )


def _held_out_by_task(tasks_dir: Path) -> Iterator[tuple[str, set[str]]]:
    for task in _task_names(tasks_dir):
        path = tasks_dir / f"{task}.parquet"
        try:
            rows = pd.read_parquet(path, columns=["patient_id", "split"])
        except FileNotFoundError as error:
            raise BadInputError(f"{tasks_dir / 'manifest.json'} lists {task}, not found") from error
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path} is not a table of task {task}: {error}") from error
        unknown = rows.loc[~rows["split"].isin(SPLITS), "split"]
        if len(unknown):
            raise BadInputError(f"{path} has the split {unknown.iloc[0]!r}, none of {SPLITS}")
        patients = rows.loc[rows["split"].isin(HELD_OUT), "patient_id"]
        if patients.isna().any():
            raise BadInputError(f"{path} has a held-out row without a patient_id")
        if patients.empty:
            raise BadInputError(f"{path} holds out no patient")
        yield task, set(patients)


def _task_names(tasks_dir: Path) -> list[str]:
    """Return the tasks that the manifest or a file names, so that neither can be forgotten."""
    path = tasks_dir / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist: run the tasks stage first") from error
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not JSON: {error}") from error
    if not isinstance(manifest, dict) or not manifest:
        raise BadInputError(f"{path} lists no task")
    return sorted({*manifest, *(file.stem for file in tasks_dir.glob("*.parquet"))})
