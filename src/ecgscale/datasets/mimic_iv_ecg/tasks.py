"""MIMIC-IV-ECG: the left ventricular ejection fraction, as a class and as a number.

Labels and threshold follow ECGFounder's label table and CLEF's public code
(`Nokia-Bell-Labs/ecg-foundation-model`, ``LVEF_*_Dataset``); the split does not, see the metadata.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.datasets.mimic_iv_ecg.reader import LOW_LVEF, LVEF_CODES, LVEF_RANGE
from ecgscale.tasks.base import (
    Kind,
    Label,
    Targets,
    Task,
    TaskMetadata,
    measurement,
    multi_hot,
    patient_split,
    select,
    tasks,
)

VALIDATION = TEST = 0.1
"""Expected shares of the patients, as in the split by rows of CLEF."""

SPLIT = "mimic-iv-ecg-lvef-v1"
"""What the patients are dealt for: both tasks share the split."""

_ISSUES = (
    "The ejection fractions were extracted from the text of discharge notes. Nothing but the "
    "admission ties a recording to the echocardiogram: days may lie between them.",
    "Every recording of an admission has the admission's value, so recordings of one patient are "
    "not independent.",
    f"The published table also holds values of 0-5 and above 100 (up to 7,065). CLEF's code keeps "
    f"them; here only {LVEF_RANGE[0]:g}-{LVEF_RANGE[1]:g} % are taken.",
    "ECGFounder and CLEF split the table by the order of its rows (sorted by patient), which lets "
    "one patient lie on each of two borders, and ECGFounder's templates select the checkpoint on "
    "the test rows. Their results are not comparable record by record.",
    "CLEF reads missing samples (NaN) as 0; here a recording with one in any of the recipe's leads "
    "is quarantined.",
    "CLEF pretrains on MIMIC-IV-ECG; whether it leaves the test patients out cannot be checked. "
    "Here they are never in a pretraining subset.",
)


def _metadata(name: str, title: str, kind: Kind, label: Label, label_rule: str) -> TaskMetadata:
    regression = kind == "regression"
    return TaskMetadata(
        name=name,
        version=1,
        title=title,
        kind=kind,
        dataset="mimic-iv-ecg",
        labels=(label,),
        unit="%" if regression else None,
        selection_rule=(
            f"recordings whose study has an ejection fraction of "
            f"{LVEF_RANGE[0]:g}-{LVEF_RANGE[1]:g} %"
        ),
        label_rule=label_rule,
        split_rule=(
            f"patients dealt by a hash of their id: about {1 - VALIDATION - TEST:.0%} train, "
            f"{VALIDATION:.0%} validation, {TEST:.0%} test; both LVEF tasks share it"
        ),
        patient_key="subject_id",
        published_counts={},
        counts_source=(
            "nobody has published a split by patient. The label table has 75,412 recordings of "
            "19,486 patients; split 80/10/10 by rows, as ECGFounder and CLEF do, it gives about "
            "60,330 / 7,540 / 7,540 (third parties' counts of the published table; ECGFounder's "
            "table S5 has 60,333 / 7,539 / 7,541)"
        ),
        known_issues=_ISSUES,
        licence=(
            "signals: ODbL 1.0; ejection fractions: taken from MIMIC-IV-Note (PhysioNet "
            "Credentialed Health Data License 1.5.0)"
        ),
        access="credentialed",
        url="https://physionet.org/content/mimic-iv-ecg/1.0/",
        citation=(
            "Gow et al. 2023, MIMIC-IV-ECG: Diagnostic Electrocardiogram Matched Subset, "
            "PhysioNet, doi:10.13026/4nqg-sb35; labels: Li et al. 2025, An Electrocardiogram "
            "Foundation Model Built on over 10 Million Recordings, NEJM AI, arXiv:2410.04133; "
            "task: CLEF, arXiv:2512.02180"
        ),
    )


def _split(records: pd.DataFrame) -> npt.NDArray[np.str_]:
    return patient_split(records["patient_id"], SPLIT, VALIDATION, TEST)


@tasks.register("mimic-lvef-binary")
class LowLvef(Task):
    """Whether the ejection fraction is below 50 %."""

    metadata = _metadata(
        "mimic-lvef-binary",
        "MIMIC-IV-ECG, low left ventricular ejection fraction",
        "binary",
        Label(
            name="low-lvef",
            codes=(LVEF_CODES[0],),
            description=f"left ventricular ejection fraction below {LOW_LVEF:g} %",
        ),
        f"LVEF below {LOW_LVEF:g} % is positive. The published table's `class` is the other way "
        f"round (1 is normal); the AUROC is the same",
    )

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

    metadata = _metadata(
        "mimic-lvef",
        "MIMIC-IV-ECG, left ventricular ejection fraction",
        "regression",
        Label(
            name="lvef",
            codes=("lvef",),
            description="left ventricular ejection fraction, percent",
        ),
        "the value of the label table in percent, not standardised",
    )

    @classmethod
    def targets(cls, records: pd.DataFrame) -> Targets:
        """Select and label the recordings with an ejection fraction; see `Task.targets`."""
        lvef = measurement(records, "lvef")
        plausible = (lvef >= LVEF_RANGE[0]) & (lvef <= LVEF_RANGE[1])
        y = lvef.astype(np.float32)[:, None]
        return select(records, np.asarray(plausible, dtype=np.bool_), _split(records), y)
