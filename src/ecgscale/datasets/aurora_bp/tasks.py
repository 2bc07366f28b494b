"""Aurora-BP: a participant's resting blood pressure from one lead.

Which recording and which pressure follow CLEF's public code
(`Nokia-Bell-Labs/ecg-foundation-model`, ``AuroraBPECG_reg_Dataset``), but for what the metadata's
known issues say.
"""

import numpy as np
import pandas as pd

from ecgscale.tasks.base import (
    Label,
    Targets,
    Task,
    TaskMetadata,
    measurement,
    patient_split,
    select,
    tasks,
)

VALIDATION_SHARE, TEST_SHARE = 0.15, 0.15
"""Shares of the participants, as in CLEF."""

_KNOWN_ISSUES = (
    "CLEF's loader lists the recording once for every row that a participant has in features.tsv "
    "(dozens of times), so its errors weigh participants by their measurements; here it counts "
    "once.",
    "CLEF splits the participants with scikit-learn's train_test_split, seed 42, in the order of "
    "the table, oscillometric ones included, who have no such recording; here a hash of the pid "
    "decides, so the split depends on neither order nor other participants.",
    "CLEF takes a random 10 s of the recording in the test split too and drops missing samples, "
    "which joins what is apart; here the first 10 s are taken, and a gap sends a recording to "
    "quarantine.",
    "CLEF scales the target to mean 0 and SD 1; here the error is in mmHg.",
    "The baseline is the mean of up to three calibration measurements; the ECG is that of the "
    "first.",
    "One lead says little of the pressure; age and sex are the baseline to beat.",
)


def _metadata(name: str, code: str, title: str) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        version=1,
        title=f"Aurora-BP, {title} blood pressure at rest",
        kind="regression",
        dataset="aurora-bp",
        labels=(
            Label(
                name=code.removeprefix("baseline_"),
                codes=(code,),
                description=f"{title} blood pressure at rest (supine calibration), mmHg",
            ),
        ),
        unit="mmHg",
        selection_rule=(
            "the measurement `Calibration start 1` of the initial visit, auscultatory protocol, of "
            "participants with both baseline pressures in features.tsv"
        ),
        label_rule=f"`{code}` in mmHg, not standardised",
        split_rule=(
            "70/15/15 % of the participants by a hash of the pid; nobody publishes a split"
        ),
        patient_key="pid",
        published_counts={},
        counts_source=(
            "not published; the data are handed out on application, and neither the data set's "
            "documentation nor CLEF states how many participants have the recording and a baseline"
        ),
        known_issues=_KNOWN_ISSUES,
        licence="Aurora-BP data use agreement (application to the data access committee)",
        access="restricted",
        url="https://github.com/microsoft/aurorabp-sample-data",
        citation=(
            "Mieloszyk et al. 2022, A Comparison of Wearable Tonometry, Photoplethysmography, and "
            "Electrocardiography for Cuffless Measurement of Blood Pressure in an Ambulatory "
            "Setting, IEEE JBHI 26(7):2864-2875; task: CLEF, arXiv:2512.02180"
        ),
    )


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

    metadata = _metadata("aurora-bp-sbp", "baseline_sbp", "systolic")


@tasks.register("aurora-bp-dbp")
class Dbp(AuroraBpPressure):
    """Diastolic blood pressure at rest, mmHg."""

    metadata = _metadata("aurora-bp-dbp", "baseline_dbp", "diastolic")
