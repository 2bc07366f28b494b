"""MC-MED: what became of a visit to the emergency department, and what triage found."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.data.record import SPLITS
from ecgscale.datasets import described_tasks
from ecgscale.datasets.mc_med.reader import LABELS
from ecgscale.tasks.base import Targets, Task, measurement, multi_hot, select, tasks

DISCHARGE = f"{LABELS['DC_dispo']}:"
"""Prefix of the codes of a disposition at discharge."""

METADATA = described_tasks(Path(__file__).with_name("mc-med-tasks.yaml"))


def _published_split(records: pd.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.str_]]:
    """Return which records are in the published split, and in which part."""
    listed = records["split"].isin(SPLITS).to_numpy(dtype=np.bool_)
    return listed, np.where(listed, records["split"], "").astype(np.str_)


class McMedClasses(Task):
    """A statement on the visit that is one of several classes."""

    @classmethod
    def column(cls, code: str) -> int | None:
        """Return the column of a code, None if it is not of this task."""
        labels = enumerate(cls.metadata.labels)
        return next((column for column, label in labels if code in label.codes), None)

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the records of the split with a class; see `Task.targets`."""
        codes = {code for row in records["labels"] for code in row}
        known = {code: column for code in codes if (column := cls.column(code)) is not None}
        y = multi_hot(records["labels"], known, len(cls.metadata.labels))
        listed, split = _published_split(records)
        return select(records, listed & np.asarray(y.any(axis=1), dtype=np.bool_), split, y)


@tasks.register("mc-med-ed-disposition")
class EdDisposition(McMedClasses):
    """Where the patient went from the emergency department."""

    metadata = METADATA["mc-med-ed-disposition"]


@tasks.register("mc-med-discharge-disposition")
class DischargeDisposition(McMedClasses):
    """Where the patient went from the hospital."""

    metadata = METADATA["mc-med-discharge-disposition"]

    @classmethod
    def column(cls, code: str) -> int | None:
        """Return the column of the first class with a phrase that occurs in the statement."""
        if not code.startswith(DISCHARGE):
            return None
        statement = code.removeprefix(DISCHARGE)
        return next(
            column
            for column, label in enumerate(cls.metadata.labels)
            if any(phrase.removeprefix(DISCHARGE) in statement for phrase in label.codes)
        )


@tasks.register("mc-med-acuity")
class Acuity(McMedClasses):
    """The urgency that triage assigned."""

    metadata = METADATA["mc-med-acuity"]


class McMedPressure(Task):
    """A blood pressure at triage."""

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select the records of the split with the value; see `Task.targets`."""
        (label,) = cls.metadata.labels
        value = measurement(records, label.codes[0])
        listed, split = _published_split(records)
        y = value.astype(np.float32)[:, None]
        return select(records, listed & np.isfinite(value), split, y)


@tasks.register("mc-med-sbp")
class Sbp(McMedPressure):
    """Systolic blood pressure, mmHg."""

    metadata = METADATA["mc-med-sbp"]


@tasks.register("mc-med-dbp")
class Dbp(McMedPressure):
    """Diastolic blood pressure, mmHg."""

    metadata = METADATA["mc-med-dbp"]
