"""MC-MED: what became of a visit to the emergency department, and what triage found.

Labels follow CLEF's public code (`Nokia-Bell-Labs/ecg-foundation-model`, ``MCMEDECGDataset``), but
for what the metadata's known issues say.
"""

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.data.record import SPLITS
from ecgscale.datasets.mc_med.reader import LABELS
from ecgscale.tasks.base import (
    Kind,
    Label,
    Targets,
    Task,
    TaskMetadata,
    measurement,
    multi_hot,
    select,
    tasks,
)

ED, DISCHARGE, ACUITY = (
    f"{LABELS[column]}:" for column in ("ED_dispo", "DC_dispo", "Triage_acuity")
)
"""Prefixes of the codes of each statement."""

DISPOSITIONS: dict[str, tuple[str, ...]] = {
    "home": ("Home/Work", "Left Against Medical Advice"),
    "care-facility": (
        *("Home Health Services", "Skilled Nursing Facility", "Residential Care Facility"),
        "Custodial or Supportive Care Facility",
    ),
    "hospital-transfer": (
        *("Acute Care Hospital", "Long Term Care Hospital", "Federal Hospital"),
        *("Lucile Packard Children's Hospital", "Stanford Children's Hospital"),
        *("Critical Access Hospital", "Planned inpatient readmission", "Stanford Acute Care"),
    ),
    "end-of-life": ("Expired", "Hospice", "Organ Harvest", "Donor"),
    "psychiatric-or-rehabilitation": (
        *("Psychiatric Hospital", "Stanford Psych", "Inpatient Rehabilitation Facility"),
    ),
    "other": ("",),
}
"""Class of a discharge disposition to phrases of it; the first class with one that occurs is the
record's, and the empty phrase occurs in all."""

_MEANING = {
    "home": "home or self-care, against medical advice too",
    "care-facility": "home health services, a nursing or another care facility",
    "hospital-transfer": "another hospital",
    "end-of-life": "death, hospice or organ donation",
    "psychiatric-or-rehabilitation": "a psychiatric hospital or inpatient rehabilitation",
    "other": "any other statement, that there is no disposition too",
}

_SPLIT_ISSUES = (
    "CLEF's loader takes a random 2,500 of the first 5,000 samples of the first segment of lead "
    "II, in the test split too, so its results vary from run to run; here the window is fixed.",
    "The first seconds of a segment may be noisy or flat: the electrodes are being put on. Flat "
    "ones are quarantined, where CLEF keeps them.",
    "The counts in CLEF's code are not by split, and sum to about the visits with any waveform "
    "(83,623), not to those with lead II.",
)


def _metadata(
    name: str,
    title: str,
    labels: tuple[Label, ...],
    label_rule: str,
    known: str,
    issues: tuple[str, ...] = (),
    kind: Kind = "multi-class",
) -> TaskMetadata:
    regression = kind == "regression"
    return TaskMetadata(
        name=name,
        version=1,
        title=title,
        kind=kind,
        dataset="mc-med",
        labels=labels,
        unit="mmHg" if regression else None,
        selection_rule="windows of visits in the published split that have the statement or value",
        label_rule=label_rule,
        split_rule=(
            "the published chronological split of visits (about 78/11/11 %): validation after "
            "train, test after validation, every patient in one part"
        ),
        patient_key="MRN",
        published_counts={},
        counts_source=f"not published by split and task (credentialed data). {known}",
        known_issues=(*issues, *_SPLIT_ISSUES),
        licence="PhysioNet Credentialed Health Data License 1.5.0",
        access="credentialed",
        url="https://physionet.org/content/mc-med/1.0.1/",
        citation=(
            "Kansal et al. 2025, MC-MED, multimodal clinical monitoring in the emergency "
            "department, Scientific Data 12:1094, doi:10.1038/s41597-025-05419-5; task: CLEF, "
            "arXiv:2512.02180"
        ),
    )


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

    metadata = _metadata(
        "mc-med-ed-disposition",
        "MC-MED, disposition from the emergency department",
        tuple(
            Label(name=name.lower(), codes=(f"{ED}{name}",), description=meaning)
            for name, meaning in (
                ("Discharge", "discharged from the emergency department"),
                ("Inpatient", "admitted to a ward"),
                ("Observation", "kept under observation"),
                ("ICU", "admitted to intensive care"),
            )
        ),
        "`ED_dispo` is the class's word",
        "CLEF's code notes 45,119 / 23,576 / 12,626 / 2,269 visits in the order of the labels",
        ("CLEF's code counts any other ED_dispo as Discharge; here such a visit is left out.",),
    )


@tasks.register("mc-med-discharge-disposition")
class DischargeDisposition(McMedClasses):
    """Where the patient went from the hospital."""

    metadata = _metadata(
        "mc-med-discharge-disposition",
        "MC-MED, disposition at discharge",
        tuple(
            Label(
                name=name,
                codes=tuple(f"{DISCHARGE}{phrase}" for phrase in phrases),
                description=_MEANING[name],
            )
            for name, phrases in DISPOSITIONS.items()
        ),
        (
            "the first label, in this order, of which a phrase occurs in `DC_dispo`; the phrases "
            "are the codes without their prefix, and the last label's is in every statement"
        ),
        (
            "From the counts of statements in CLEF's code follow 69,507 / 8,173 / 273 / 1,388 / "
            "382 / 3,848 visits in the order of the labels"
        ),
        (
            "Home with home health services counts as a care facility, and leaving against "
            "medical advice as home, as in CLEF's code.",
            "The class `other` holds visits without a disposition (3,704 of 3,848).",
            "Three classes have fewer than 1,400 visits of 83,571, so few are in the test split.",
        ),
    )

    @classmethod
    def column(cls, code: str) -> int | None:
        """Return the column of the first class with a phrase that occurs in the statement."""
        if not code.startswith(DISCHARGE):
            return None
        statement = code.removeprefix(DISCHARGE)
        classes = enumerate(DISPOSITIONS.values())
        return next(
            column for column, phrases in classes if any(phrase in statement for phrase in phrases)
        )


@tasks.register("mc-med-acuity")
class Acuity(McMedClasses):
    """The urgency that triage assigned."""

    metadata = _metadata(
        "mc-med-acuity",
        "MC-MED, acuity at triage",
        tuple(
            Label(
                name=f"{level}-{name}",
                codes=(f"{ACUITY}{level}",),
                description=f"triage acuity {level}, {name.replace('-', ' ')}",
            )
            for level, name in enumerate(
                ("resuscitation", "emergent", "urgent", "semi-urgent", "non-urgent"), start=1
            )
        ),
        'the number before the hyphen of `Triage_acuity` ("2-Emergent")',
        "CLEF's code notes 875 / 22,179 / 56,529 / 3,505 / 150 visits in the order of the labels",
        (
            "The class 5 has 150 visits of 83,238: about 16 in the test split, around the minimum "
            "for an AUROC.",
        ),
    )


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


def _pressure(name: str, code: str, title: str, column: str) -> TaskMetadata:
    return _metadata(
        name,
        f"MC-MED, {title} blood pressure at triage",
        (Label(name=code, codes=(code,), description=f"{title} blood pressure, mmHg"),),
        f"`{column}` in mmHg, not standardised; implausible values (outside 20-300) left out",
        "No counts of visits with a blood pressure are known",
        (
            "The pressure was taken at triage, the ECG when monitoring began: time lies between "
            "them.",
            "One lead says little of the pressure; age and sex are the baseline to beat.",
        ),
        kind="regression",
    )


@tasks.register("mc-med-sbp")
class Sbp(McMedPressure):
    """Systolic blood pressure, mmHg."""

    metadata = _pressure("mc-med-sbp", "sbp", "systolic", "Triage_SBP")


@tasks.register("mc-med-dbp")
class Dbp(McMedPressure):
    """Diastolic blood pressure, mmHg."""

    metadata = _pressure("mc-med-dbp", "dbp", "diastolic", "Triage_DBP")
