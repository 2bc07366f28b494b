"""Aurora-BP: a participant's resting blood pressure from one lead."""

from pathlib import Path

import numpy as np
import pandas as pd

from ecgscale.datasets import described_tasks
from ecgscale.tasks.base import Targets, Task, measurement, patient_split, select, tasks

VALIDATION_SHARE, TEST_SHARE = 0.15, 0.15
"""Shares of the participants, as in CLEF."""

METADATA = described_tasks(Path(__file__).with_name("aurora-bp-tasks.yaml"))


class AuroraBpPressure(Task):
    """A baseline blood pressure."""

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select the records with the baseline; see `Task.targets`."""
        (label,) = cls.metadata.labels
        value = measurement(records, label.codes[0])
        split = patient_split(records["patient_id"], "aurora-bp", VALIDATION_SHARE, TEST_SHARE)
        return select(records, np.isfinite(value), split, value.astype(np.float32)[:, None])


@tasks.register("aurora-bp-sbp")
class Sbp(AuroraBpPressure):
    """Systolic blood pressure at rest, mmHg."""

    metadata = METADATA["aurora-bp-sbp"]


@tasks.register("aurora-bp-dbp")
class Dbp(AuroraBpPressure):
    """Diastolic blood pressure at rest, mmHg."""

    metadata = METADATA["aurora-bp-dbp"]
