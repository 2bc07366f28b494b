"""MUSIC: what became of people with chronic heart failure, from ten seconds of their Holter ECG.

Classes follow CLEF's public code (`Nokia-Bell-Labs/ecg-foundation-model`, ``MusicDataModule``); the
split does not, see the metadata.
"""

import hashlib

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.tasks.base import Label, Targets, Task, TaskMetadata, multi_hot, select, tasks

VALIDATION, TEST = 0.1, 0.2
"""Shares of the patients of each class, as in CLEF's split by rows."""

SPLIT = "music-outcome-v1"
"""What the patients are dealt for."""


@tasks.register("music-outcome")
class Outcome(Task):
    """Survival, or a death that was not cardiac, sudden cardiac, or of pump failure."""

    metadata = TaskMetadata(
        name="music-outcome",
        version=1,
        title="MUSIC, outcome in chronic heart failure",
        kind="multi-class",
        dataset="music",
        labels=(
            Label(
                name="survivor",
                codes=("outcome:0",),
                description="alive when last seen, up to 5.7 years after the recording",
            ),
            Label(name="non-cardiac", codes=("outcome:1",), description="death, not cardiac"),
            Label(name="sudden", codes=("outcome:3",), description="sudden cardiac death"),
            Label(
                name="pump-failure",
                codes=("outcome:6", "outcome:7"),
                description="death of pump failure",
            ),
        ),
        selection_rule="windows of patients with a known outcome and a Holter recording",
        label_rule="`Cause of death` of the patient; 6 and 7 are both pump failure",
        split_rule=(
            f"of each class, patients in the order of a hash of their id: the first {TEST:.0%} "
            f"test, the next {VALIDATION:.0%} validation, the rest train"
        ),
        patient_key="Patient ID",
        published_counts={},
        counts_source=(
            "nobody has published a split by class. 936 of 992 patients have a Holter recording; "
            "CLEF's split by rows, 70/10/20, gives 655 / 93 / 188 of them. Causes of death of all "
            "992 (subject-info.csv of version 1.0.1): 0: 726, 1: 61, 3: 94, 6: 100, 7: 11"
        ),
        known_issues=(
            "31 of the 726 survivors were lost to follow-up (11) or transplanted (20): nobody "
            "knows their outcome, and CLEF counts them as survivors, as is done here. They have "
            "the code exit:1 or exit:2.",
            "CLEF splits by the order of the rows. Patients were enrolled in turn, so its test "
            "patients are those with the shortest follow-up. Here the split is by class and hash.",
            "Few deaths: about 12 not cardiac, 19 sudden and 22 of pump failure in the test split, "
            "so intervals are wide.",
            "Ten seconds stand for 24 hours. CLEF reads the first 10 s in which lead X is neither "
            "flat nor missing, at the start of the recording, when electrodes settle; so does "
            "the source by default, asking it of X and Y.",
        ),
        licence="ODbL 1.0",
        access="open",
        url="https://physionet.org/content/music-sudden-cardiac-death/1.0.1/",
        citation=(
            "Martin-Yebra, Martínez, Laguna 2024, MUSIC (Sudden Cardiac Death in Chronic Heart "
            "Failure), PhysioNet, doi:10.13026/cec2-9w70; task: CLEF, arXiv:2512.02180"
        ),
    )

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
