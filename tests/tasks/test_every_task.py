"""What every registered task must hold, found through the registry."""

import csv
from importlib.resources import files

import numpy as np
import pytest

from ecgscale.data.record import SPLITS
from ecgscale.evaluation.metrics import main_metric
from ecgscale.tasks.base import check_patient_disjoint, tasks

EVERY = tasks.names()


VOCABULARIES = {
    "ptb-xl": ("ptb_xl/scp_statements.csv", ""),
    "chapman-shaoxing-ningbo": ("challenge/csn_labels.csv", "snomed"),
}


def known_codes(dataset: str) -> set[str]:
    table, column = VOCABULARIES[dataset]
    text = files("ecgscale.datasets").joinpath(table).read_text(encoding="utf-8")
    return {row[column] for row in csv.DictReader(text.splitlines())}


def test_the_tasks_of_this_version_are_found():
    assert len([name for name in EVERY if name.startswith("ptb-xl-")]) == 5
    assert "chapman-38" in EVERY


@pytest.mark.parametrize("name", EVERY)
def test_metadata_is_complete(name):
    metadata = tasks.get(name).metadata
    assert metadata.name == name
    for field in (
        "title",
        "selection_rule",
        "label_rule",
        "split_rule",
        "patient_key",
        "counts_source",
        "licence",
        "citation",
    ):
        assert getattr(metadata, field).strip(), field
    assert metadata.url.startswith("https://")
    metric = main_metric(metadata.main_metric, metadata.unit or "")
    assert metadata.kind in metric.kinds
    assert all(count > 0 for count in metadata.published_counts.values())


@pytest.mark.parametrize("name", EVERY)
def test_labels_are_unique_and_their_codes_known(name):
    metadata = tasks.get(name).metadata
    assert len(set(metadata.label_names)) == len(metadata.labels)
    codes = [code for label in metadata.labels for code in label.codes]
    assert len(set(codes)) == len(codes)
    if metadata.dataset in VOCABULARIES:
        assert set(codes) <= known_codes(metadata.dataset)


@pytest.mark.parametrize("name", EVERY)
def test_targets_are_aligned_and_deterministic(name, random_records):
    task = tasks.get(name)
    records = random_records(task.metadata)
    first, second = task.targets(records), task.targets(records.copy())
    assert first.y.shape == (len(first.rows), len(task.metadata.labels))
    assert first.y.dtype == np.float32
    if task.metadata.kind == "regression":
        assert np.isfinite(first.y).all()
    else:
        assert set(np.unique(first.y)) <= {0.0, 1.0}
    if task.metadata.kind == "multi-class":
        assert (first.y.sum(axis=1) == 1).all()
    assert np.all(np.diff(first.rows) > 0)
    assert set(first.split) == set(SPLITS)
    assert list(first.patient_id) == list(records["patient_id"].iloc[first.rows])
    for field in ("rows", "split", "y", "patient_id"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize("name", EVERY)
def test_splits_are_patient_disjoint_when_the_source_keeps_patients_together(name, random_records):
    task = tasks.get(name)
    check_patient_disjoint(name, task.targets(random_records(task.metadata, seed=1)))
