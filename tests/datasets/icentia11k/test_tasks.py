"""Icentia11k's tasks on records, and on a simulated cohort from files to targets."""

from collections import Counter

import numpy as np
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import SPLITS
from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.tasks import suite, tasks
from ecgscale.tasks.base import check_patient_disjoint

NAMES = ("icentia11k-beat", "icentia11k-rhythm")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("icentia11k")
    options = {"segment_seconds": 20, "extra_record": 0.6}
    simulate(CohortSettings(layout="icentia11k", patients=40, seed=2, options=options), root / "in")
    config = SourceConfig(
        reader="icentia11k",
        root=root / "in",
        watch=root,
        max_quarantined=0.2,
        options={"windows": 3, "window_seconds": 5.0},
    )
    ingest("icentia", config, Recipe(seconds=5), root / "store")
    return open_store(root / "store")


def test_the_suite_has_them():
    assert set(NAMES) <= set(suite("chaparral-cls13").available())


@pytest.mark.parametrize("name", NAMES)
def test_the_first_window_of_each_class_and_patient(name, store):
    targets = tasks.get(name).targets(store.records)
    prefix = name.removeprefix("icentia11k-")
    seen, expected = set(), []
    for row, record in enumerate(store.records.itertuples()):
        for position, label in enumerate(tasks.get(name).metadata.label_names):
            key = (record.patient_id, label)
            if f"{prefix}:{label}" in record.labels and key not in seen:
                seen.add(key)
                expected.append((row, position))
    assert list(zip(targets.rows, targets.y.argmax(axis=1), strict=True)) == expected
    assert (targets.y.sum(axis=0) > 0).all()


def test_undefined_beats_and_records_without_labels_are_left_out(make_records):
    records = make_records([{"labels": labels} for labels in (["beat:Q"], [], ["rhythm:N"])])
    assert len(tasks.get("icentia11k-beat").targets(records).rows) == 0
    assert tasks.get("icentia11k-rhythm").targets(records).rows.tolist() == [2]


def test_splits_are_shared_disjoint_and_of_the_stated_size(make_records):
    rows = [
        {"labels": ["beat:N", "rhythm:N"], "patient_id": f"study:p{number:05d}"}
        for number in range(3000)
    ]
    beat, rhythm = (tasks.get(name).targets(make_records(rows)) for name in NAMES)
    np.testing.assert_array_equal(beat.split, rhythm.split)
    counts = Counter(beat.split.tolist())
    for split, share in zip(SPLITS, (0.7, 0.15, 0.15), strict=True):
        assert counts[split] / 3000 == pytest.approx(share, abs=0.025)


def test_the_split_does_not_depend_on_what_a_study_calls_the_source(make_records):
    def split(namespace):
        rows = [
            {"labels": ["beat:N"], "patient_id": f"{namespace}:p{number:05d}"}
            for number in range(50)
        ]
        return tasks.get(NAMES[0]).targets(make_records(rows)).split.tolist()

    assert split("icentia11k") == split("patches")


@pytest.mark.parametrize("name", NAMES)
def test_patients_are_disjoint(name, store):
    check_patient_disjoint(name, tasks.get(name).targets(store.records))


def test_beats_can_be_told_apart(store):
    """The complex in the middle of the window is wider when it starts in a ventricle."""
    targets = tasks.get("icentia11k-beat").targets(store.records)
    signal = store.signals(targets.rows, leads=["I"])[:, 0]
    fs, middle = 100, signal.shape[1] // 2
    near = np.abs(signal[:, middle - fs // 4 : middle + fs // 4])
    width = (near > 0.3 * near.max(axis=1, keepdims=True)).mean(axis=1)
    normal, _, ventricular = (width[targets.y[:, column] == 1] for column in range(3))
    assert ventricular.mean() > normal.mean() + 0.1


def test_rhythms_can_be_told_apart(store):
    """Beats are irregular in fibrillation: the spectrum of the slope's energy has no sharp peak."""
    targets = tasks.get("icentia11k-rhythm").targets(store.records)
    signal = store.signals(targets.rows, leads=["I"])[:, 0]
    energy = np.diff(signal, axis=1) ** 2
    spectrum = np.abs(np.fft.rfft(energy - energy.mean(axis=1, keepdims=True), axis=1))[:, 2:100]
    peak = spectrum.max(axis=1) / spectrum.mean(axis=1)
    normal, fibrillation, _ = (peak[targets.y[:, column] == 1] for column in range(3))
    assert normal.mean() > 1.15 * fibrillation.mean()
