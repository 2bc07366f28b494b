"""Icentia11k: the kind of a beat, and the rhythm."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgscale.datasets import described_tasks
from ecgscale.tasks.base import Targets, Task, multi_hot, patient_split, select, tasks

VALIDATION = TEST = 0.15
"""Expected shares of the patients, as in CLEF."""

SPLIT = "icentia11k-v1"
"""What the patients are dealt for: both tasks share the split."""

METADATA = described_tasks(Path(__file__).with_name("icentia11k-tasks.yaml"))


class Icentia11kTask(Task):
    """A class of each window, the first of each class and patient."""

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the first window of each class and patient; see `Task.targets`."""
        labels = cls.metadata.labels
        columns = {code: column for column, label in enumerate(labels) for code in label.codes}
        y = multi_hot(records["labels"], columns, len(labels))
        classes = np.where(y.any(axis=1), y.argmax(axis=1), -1)
        windows = pd.DataFrame({"patient": records["patient_id"].to_numpy(), "class": classes})
        keep = (classes >= 0) & ~windows.duplicated().to_numpy()
        patients = records["patient_id"].str.partition(":")[2]
        return select(records, keep, patient_split(patients, SPLIT, VALIDATION, TEST), y)


@tasks.register("icentia11k-beat")
class Beat(Icentia11kTask):
    """Normal, supraventricular or ventricular ectopic beat."""

    metadata = METADATA["icentia11k-beat"]


@tasks.register("icentia11k-rhythm")
class Rhythm(Icentia11kTask):
    """Normal sinus rhythm, atrial fibrillation or atrial flutter."""

    metadata = METADATA["icentia11k-rhythm"]
