"""Icentia11k: the kind of a beat, and the rhythm.

Classes, one window of each a patient, and shares of the splits follow CLEF's public code
(`Nokia-Bell-Labs/ecg-foundation-model`, ``preprocess/preprocess_icentia.py``); for the rest see the
metadata's known issues.
"""

import numpy as np
import pandas as pd

from ecgscale.tasks.base import (
    Label,
    Targets,
    Task,
    TaskMetadata,
    multi_hot,
    patient_split,
    select,
    tasks,
)

VALIDATION = TEST = 0.15
"""Expected shares of the patients, as in CLEF."""

SPLIT = "icentia11k-v1"
"""What the patients are dealt for: both tasks share the split."""

_ISSUES = (
    "Beats and rhythms were marked by a detector and corrected by 20 technologists; a quarter of "
    "the beats (676,364,002 of 2,774,054,987) is undefined (Q). Q is no class here, nor in CLEF.",
    "CLEF draws a beat of each class from a patient's first segment that has one; here the windows "
    "are a regular grid, so rare classes are found in fewer patients unless the source reads many "
    "windows. CLEF draws once, with Python's generator seeded by 42.",
    "CLEF's splits are a shuffle of the list of patients: disjoint, but only with that list and "
    "that Python. Its data module, without the prepared files, shuffles without a seed; then test "
    "patients of one run are training patients of the next.",
)


def _metadata(
    name: str,
    title: str,
    labels: tuple[Label, ...],
    label_rule: str,
    known: str,
    issues: tuple[str, ...],
) -> TaskMetadata:
    return TaskMetadata(
        name=name,
        version=1,
        title=title,
        kind="multi-class",
        dataset="icentia11k",
        labels=labels,
        selection_rule="of each patient the first window of each class, in the order of the store",
        label_rule=label_rule,
        split_rule=(
            f"patients dealt by a hash of their id: about {1 - VALIDATION - TEST:.0%} train, "
            f"{VALIDATION:.0%} validation, {TEST:.0%} test; both Icentia11k tasks share it"
        ),
        patient_key="folder of the patient",
        published_counts={},
        counts_source=(
            f"nobody has published the windows. Counts of the whole release "
            f"(shawntan/icentia-ecg, physionet/counts.txt): {known}"
        ),
        known_issues=(*_ISSUES, *issues),
        licence="CC BY-NC-SA 4.0",
        access="open",
        url="https://physionet.org/content/icentia11k-continuous-ecg/1.0/",
        citation=(
            "Tan et al. 2021, Icentia11k: An Unsupervised Representation Learning Dataset for "
            "Arrhythmia Subtype Discovery, Computing in Cardiology 48, doi:10.13026/kk0v-r952; "
            "task: CLEF, arXiv:2512.02180"
        ),
    )


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

    metadata = _metadata(
        "icentia11k-beat",
        "Icentia11k, kind of the beat",
        (
            Label(name="N", codes=("beat:N",), description="normal beat"),
            Label(
                name="S",
                codes=("beat:S",),
                description="premature or ectopic supraventricular beat",
            ),
            Label(name="V", codes=("beat:V",), description="premature ventricular contraction"),
        ),
        (
            "the symbol of the beat in the middle of the window, whatever the other beats are; "
            "windows whose middle beat is Q, or has none within 1 s, are left out"
        ),
        "beats N 2,061,141,216, S 19,346,728, V 17,203,041, Q 676,364,002",
        (
            "Only the middle beat counts, so a window about a normal beat may hold ectopic ones: "
            "no encoder that averages over time can be right on all of them.",
        ),
    )


@tasks.register("icentia11k-rhythm")
class Rhythm(Icentia11kTask):
    """Normal sinus rhythm, atrial fibrillation or atrial flutter."""

    metadata = _metadata(
        "icentia11k-rhythm",
        "Icentia11k, rhythm",
        (
            Label(name="N", codes=("rhythm:N",), description="normal sinus rhythm"),
            Label(name="AFIB", codes=("rhythm:AFIB",), description="atrial fibrillation"),
            Label(name="AFL", codes=("rhythm:AFL",), description="atrial flutter"),
        ),
        "the rhythm whose zone holds all beats of the window, of which there are two or more",
        ("zones (N 16,074,753, (AFIB 848,238, (AFL 313,076, and of one beat 8,405, 326 and 175"),
        ("CLEF's window begins where a rhythm begins and may outlast it; here it lies within.",),
    )
