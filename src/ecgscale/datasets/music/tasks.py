"""MUSIC: what became of people with chronic heart failure, from ten seconds of their Holter ECG."""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.datasets import described_tasks
from ecgscale.tasks.base import Targets, Task, multi_hot, select, tasks

VALIDATION, TEST = 0.1, 0.2
"""Shares of the patients of each class, as in CLEF's split by rows."""

SPLIT = "music-outcome-v1"
"""What the patients are dealt for."""


@tasks.register("music-outcome")
class Outcome(Task):
    """Survival, or a death that was not cardiac, sudden cardiac, or of pump failure."""

    metadata = described_tasks(Path(__file__).with_name("music-tasks.yaml"))["music-outcome"]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the windows with a known outcome; see `Task.targets`."""
        labels = cls.metadata.labels
        columns = {code: column for column, label in enumerate(labels) for code in label.codes}
        y = multi_hot(records["labels"], columns, len(labels))
        keep = np.asarray(y.any(axis=1), dtype=np.bool_)
        patients = records["patient_id"].str.partition(":")[2].to_numpy(dtype=np.str_)
        return select(records, keep, split_by_class(patients, y, keep), y)


def split_by_class(
    patients: npt.NDArray[np.str_], y: npt.NDArray[np.float32], keep: npt.NDArray[np.bool_]
) -> npt.NDArray[np.str_]:
    """Deal the patients of each class into splits, so that the rarest has test patients.

    Parameters
    ----------
    patients
        Shape (record,). A patient with records of several classes counts for the first.
    y
        Shape (record, class), one-hot.
    keep
        Shape (record,): records to deal; the others are "train".

    Returns
    -------
    array
        Shape (record,), "train", "validation" or "test".
    """
    home: dict[str, int] = {}
    for patient, column in zip(patients[keep], y[keep].argmax(axis=1).tolist(), strict=True):
        home.setdefault(patient, column)
    dealt: dict[str, str] = {}
    for column in range(y.shape[1]):
        members = sorted((patient for patient in home if home[patient] == column), key=_hash)
        test = round(TEST * len(members))
        validation = test + round(VALIDATION * len(members))
        dealt |= dict.fromkeys(members[:test], "test")
        dealt |= dict.fromkeys(members[test:validation], "validation")
    return np.array([dealt.get(patient, "train") for patient in patients], dtype=np.str_)


def _hash(patient: str) -> str:
    return hashlib.sha256(f"{SPLIT}\0{patient}".encode()).hexdigest()
