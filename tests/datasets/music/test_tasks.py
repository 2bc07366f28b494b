"""MUSIC's task on records, and on a simulated cohort from files to targets."""

from collections import Counter

import numpy as np
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.music.tasks import split_by_class
from ecgscale.tasks import suite, tasks
from ecgscale.tasks.base import check_patient_disjoint

TASK = tasks.get("music-outcome")
PUBLISHED = {"0": 726, "1": 61, "3": 94, "6": 100, "7": 11}


@pytest.fixture(scope="module")
def records(make_records):
    """As many patients of each cause of death as published, two windows each."""
    causes = [cause for cause, count in PUBLISHED.items() for _ in range(count)]
    rows = [
        {"labels": [f"outcome:{cause}"], "patient_id": f"music:P{number:04d}"}
        for number, cause in enumerate(causes)
        for _ in range(2)
    ]
    return make_records(rows)


def test_the_suite_has_it():
    assert "music-outcome" in suite("chaparral-cls13").available()


def test_both_codes_of_pump_failure_are_one_class(records):
    targets = TASK.targets(records)
    assert targets.y.sum(axis=0).tolist() == [2 * 726, 2 * 61, 2 * 94, 2 * 111]
    assert len(targets.rows) == len(records)


def test_each_class_is_split_in_the_stated_shares(records):
    targets = TASK.targets(records)
    check_patient_disjoint("music-outcome", targets)
    for column, patients in enumerate((726, 61, 94, 111)):
        counts = Counter(targets.split[targets.y[:, column] == 1].tolist())
        assert counts["test"] == 2 * round(0.2 * patients)
        assert counts["validation"] == 2 * round(0.1 * patients)


def test_order_and_namespace_do_not_matter(records):
    targets = TASK.targets(records)
    shuffled = records.sample(frac=1, random_state=0)
    renamed = shuffled.assign(patient_id=shuffled["patient_id"].str.replace("music", "holter"))
    other = TASK.targets(renamed)
    first = dict(zip(targets.patient_id, targets.split, strict=True))
    for patient, split in zip(other.patient_id, other.split, strict=True):
        assert first[patient.replace("holter", "music")] == split


def test_unknown_outcomes_are_left_out(make_records):
    rows = [{"labels": labels} for labels in ([], ["exit:1"], ["outcome:0", "exit:1"])]
    assert TASK.targets(make_records(rows)).rows.tolist() == [2]


def test_a_patient_of_two_classes_stays_in_one_split():
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 40, 200).astype(str)
    y = np.eye(3, dtype=np.float32)[rng.integers(0, 3, 200)]
    split = split_by_class(patients, y, np.ones(200, dtype=bool))
    assert len({*zip(patients, split, strict=True)}) == len({*patients})
    assert set(split) == {"train", "validation", "test"}


def test_a_simulated_cohort_has_outcomes_that_can_be_told_apart(tmp_path):
    """Who dies of pump failure has left bundle branch block: wide complexes in lead X."""
    made = CohortSettings(layout="music", patients=70, options={"recording_seconds": 40})
    simulate(made, tmp_path / "in")
    config = SourceConfig(reader="music", root=tmp_path / "in", watch=tmp_path, max_quarantined=0.2)
    ingest("music", config, Recipe(), tmp_path / "store")
    store = open_store(tmp_path / "store")
    targets = TASK.targets(store.records)
    check_patient_disjoint("music-outcome", targets)
    assert len(targets.rows) == len(store.records)
    assert set(targets.split) == {"train", "validation", "test"}
    signal = store.signals(targets.rows, leads=["I"])[:, 0]
    slope = np.abs(np.diff(signal, axis=1))
    steep = (slope > 0.3 * np.quantile(slope, 0.99, axis=1, keepdims=True)).mean(axis=1)
    survivor, failure = (steep[targets.y[:, column] == 1] for column in (0, 3))
    assert failure.mean() > 1.5 * survivor.mean()
    assert (targets.y.sum(axis=0) > 2).all()
