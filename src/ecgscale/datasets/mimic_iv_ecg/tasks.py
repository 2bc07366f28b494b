"""MIMIC-IV-ECG: the left ventricular ejection fraction, as a class and as a number."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.datasets import described_tasks
from ecgscale.datasets.mimic_iv_ecg.reader import LVEF_CODES, LVEF_RANGE
from ecgscale.tasks.base import Targets, Task, measurement, multi_hot, patient_split, select, tasks

VALIDATION = TEST = 0.1
"""Expected shares of the patients, as in the split by rows of CLEF."""

SPLIT = "mimic-iv-ecg-lvef-v1"
"""What the patients are dealt for: both tasks share the split."""

METADATA = described_tasks(Path(__file__).with_name("mimic-iv-ecg-tasks.yaml"))


def _split(records: pd.DataFrame) -> npt.NDArray[np.str_]:
    return patient_split(records["patient_id"], SPLIT, VALIDATION, TEST)


@tasks.register("mimic-lvef-binary")
class LowLvef(Task):
    """Whether the ejection fraction is below 50 %."""

    metadata = METADATA["mimic-lvef-binary"]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the recordings with an ejection fraction; see `Task.targets`."""
        columns = {code: column for column, code in enumerate(LVEF_CODES)}
        both = multi_hot(records["labels"], columns, len(LVEF_CODES))
        labelled = np.asarray(both.any(axis=1), dtype=np.bool_)
        return select(records, labelled, _split(records), both[:, :1])


@tasks.register("mimic-lvef")
class Lvef(Task):
    """The ejection fraction in percent."""

    metadata = METADATA["mimic-lvef"]

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the recordings with an ejection fraction; see `Task.targets`."""
        lvef = measurement(records, "lvef")
        plausible = (lvef >= LVEF_RANGE[0]) & (lvef <= LVEF_RANGE[1])
        y = lvef.astype(np.float32)[:, None]
        return select(records, np.asarray(plausible, dtype=np.bool_), _split(records), y)
