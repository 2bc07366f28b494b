import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ecgscale.data.record import SPLITS
from ecgscale.data.splits import assert_disjoint, held_out_patients
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from ecgscale.tasks.base import tasks
from ecgscale.tasks.targets import label_space, read_targets, training_targets, write_targets
from support.full_disk import no_room

SUPER, RHYTHM, CHAPMAN = "ptb-xl-superdiagnostic", "ptb-xl-rhythm", "chapman-38"
SOURCE_OF = {SUPER: "berlin", RHYTHM: "berlin", CHAPMAN: "shaoxing"}


DATA = {"ptb-xl": "berlin", "chapman-shaoxing-ningbo": "shaoxing"}


@pytest.fixture
def stores(tmp_path, write_store, random_records) -> Path:
    write_store(tmp_path / "store", "berlin", random_records(tasks.get(SUPER).metadata))
    write_store(tmp_path / "store", "shaoxing", random_records(tasks.get(CHAPMAN).metadata))
    return tmp_path / "store"


@pytest.fixture
def one_store(tmp_path, write_store, make_records) -> Callable[[list[dict]], Path]:
    def build(rows: list[dict]) -> Path:
        write_store(tmp_path / "store", "berlin", make_records(rows))
        return tmp_path / "store"

    return build


def in_every_fold(**row) -> list[dict]:
    return [{**row, "fold": fold, "patient_id": f"p:{fold}"} for fold in (1, 9, 10)]


def test_tables_hold_the_targets_of_the_stores(stores, tmp_path):
    out = tmp_path / "tasks"
    manifest = write_targets([SUPER, CHAPMAN], DATA, stores, out)
    assert json.loads((out / "manifest.json").read_text()) == manifest
    assert sorted(manifest) == sorted([SUPER, CHAPMAN])
    for name in manifest:
        store = open_store(stores / SOURCE_OF[name])
        targets = tasks.get(name).targets(store.records)
        table = read_targets(out, name)
        assert (table.task, table.source) == (name, SOURCE_OF[name])
        assert table.store_digest == store.digest == manifest[name]["store_digest"]
        assert table.labels == tasks.get(name).metadata.label_names
        assert table.digest == manifest[name]["digest"]
        np.testing.assert_array_equal(table.y, targets.y)
        np.testing.assert_array_equal(table.frame["row"], targets.rows)
        assert list(table.frame["split"]) == list(targets.split)
        chosen = store.records.iloc[targets.rows]
        for column in ("record_id", "patient_id"):
            assert list(table.frame[column]) == list(chosen[column])
        np.testing.assert_array_equal(table.frame["age"], chosen["age"])
        known = chosen["sex"].notna().to_numpy()
        assert list(table.frame["sex"][known]) == list(chosen["sex"][known])
        assert table.frame["sex"][~known].isna().all()


def test_the_manifest_counts_examples_and_positives(stores, tmp_path):
    manifest = write_targets([CHAPMAN], DATA, stores, tmp_path / "tasks")[CHAPMAN]
    table = read_targets(tmp_path / "tasks", CHAPMAN)
    for split in SPLITS:
        assert manifest["counts"][split] == table.where(split).sum()
        for column, label in enumerate(table.labels):
            expected = int(table.y[table.where(split), column].sum())
            assert manifest["positives"][label][split] == expected
    assert manifest["dataset"] == "chapman-shaoxing-ningbo"


def test_the_same_stores_give_the_same_bytes(stores, tmp_path):
    for out in ("first", "second"):
        write_targets([SUPER, CHAPMAN], DATA, stores, tmp_path / out)
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == sorted(["manifest.json", f"{SUPER}.parquet", f"{CHAPMAN}.parquet"])
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_a_changed_label_changes_the_digest(one_store, tmp_path):
    digests = []
    for label in ("NORM", "IMI"):
        stores = one_store([*in_every_fold(labels=["NORM"]), {"labels": [label], "fold": 2}])
        digests.append(write_targets([SUPER], DATA, stores, tmp_path / "tasks")[SUPER]["digest"])
    assert digests[0] != digests[1]


def test_tables_of_tasks_no_longer_asked_for_are_removed(stores, tmp_path):
    out = tmp_path / "tasks"
    write_targets([SUPER, CHAPMAN], DATA, stores, out)
    write_targets([SUPER], DATA, stores, out)
    assert not (out / f"{CHAPMAN}.parquet").exists()
    with pytest.raises(BadInputError, match=f"has no task '{CHAPMAN}'"):
        read_targets(out, CHAPMAN)


def test_a_patient_in_two_splits_is_named(one_store, tmp_path):
    rows = [*in_every_fold(labels=["NORM"]), {"labels": ["MI"], "fold": 1, "patient_id": "p:10"}]
    rows[-1]["labels"] = ["IMI"]
    with pytest.raises(BadInputError, match=rf"task {SUPER}: patient p:10 is in the test and the "):
        write_targets([SUPER], DATA, one_store(rows), tmp_path / "tasks")


def test_records_of_patients_that_nobody_knows_are_no_examples(one_store, tmp_path):
    known = [
        {**row, "fold": fold} for row in in_every_fold(labels=["NORM"]) for fold in range(1, 11)
    ]
    known = [{**row, "patient_id": f"p:{place}"} for place, row in enumerate(known)]
    stores = one_store([*known, {**known[0], "patient_id": "p:?r30"}])
    entry = write_targets([SUPER], DATA, stores, tmp_path / "tasks")[SUPER]
    assert entry["left_out"] == {"of unknown patients": 1}
    patients = read_targets(tmp_path / "tasks", SUPER).frame["patient_id"]
    assert sorted(patients) == sorted(row["patient_id"] for row in known)


def test_a_source_that_does_not_know_many_of_its_patients_holds_none_out(one_store, tmp_path):
    """The tables of before stay."""
    rows = in_every_fold(labels=["NORM"])
    out = tmp_path / "tasks"
    write_targets([SUPER], DATA, one_store(rows), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    stores = one_store([*rows, {**rows[0], "patient_id": "p:?r3"}])
    sentence = (
        r"source berlin does not say who the patients of 1 of 4 records are \(r3\), so none can be "
        r"held out; its options patients, table\.patient or patient_pattern say it"
    )
    with pytest.raises(BadInputError, match=sentence):
        write_targets([SUPER], DATA, stores, out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_full_disk_leaves_no_manifest(stores, tmp_path):
    out = tmp_path / "tasks"
    write_targets([SUPER], DATA, stores, out)
    with no_room(1000), pytest.raises(OSError, match="too large") as caught:
        write_targets([SUPER], DATA, stores, out)
    assert is_full(caught.value)
    assert list(out.iterdir()) == []


def test_an_overlap_outside_the_task_is_no_error(one_store, tmp_path):
    rows = [*in_every_fold(labels=["NORM"]), {"labels": ["SR"], "fold": 1, "patient_id": "p:10"}]
    write_targets([SUPER], DATA, one_store(rows), tmp_path / "tasks")


@pytest.mark.parametrize(("fold", "split"), [(1, "train"), (9, "validation"), (10, "test")])
def test_an_empty_split_is_named(one_store, tmp_path, fold, split):
    rows = [row for row in in_every_fold(labels=["NORM"]) if row["fold"] != fold]
    with pytest.raises(BadInputError, match=f"task {SUPER}: source berlin has no {split} records"):
        write_targets([SUPER], DATA, one_store(rows), tmp_path / "tasks")


def test_a_data_set_without_a_source_is_named(stores, tmp_path):
    data = {"ptb-xl": "berlin"}
    with pytest.raises(BadInputError, match=f"'chapman-shaoxing-ningbo' of task {CHAPMAN}"):
        write_targets([SUPER, CHAPMAN], data, stores, tmp_path / "tasks")


def test_an_unknown_task_is_named(stores, tmp_path):
    with pytest.raises(BadInputError, match="no task is named 'nope'"):
        write_targets(["nope"], DATA, stores, tmp_path / "tasks")


def test_reading_before_the_stage_has_run_is_one_clear_error(tmp_path):
    with pytest.raises(BadInputError, match=r"manifest\.json does not exist: run "):
        read_targets(tmp_path, SUPER)


def test_label_space_names_task_and_label(stores, tmp_path):
    write_targets([SUPER, CHAPMAN], DATA, stores, tmp_path / "tasks")
    space = label_space(tmp_path / "tasks", [CHAPMAN, SUPER])
    expected = [(n, label) for n in (CHAPMAN, SUPER) for label in tasks.get(n).metadata.label_names]
    assert list(space) == [f"{name}:{label}" for name, label in expected]


def test_training_targets_are_the_union_over_training_records(one_store, tmp_path):
    held_out = in_every_fold(labels=["NORM", "SR"])
    both = {"labels": ["IMI", "AFIB"], "fold": 3, "record_id": "both"}
    only_rhythm = {"labels": ["SR"], "fold": 4, "record_id": "rhythm"}
    neither = {"labels": ["PVC"], "fold": 5, "record_id": "neither"}
    out = tmp_path / "tasks"
    stores = one_store([both, *held_out, only_rhythm, neither])
    write_targets([SUPER, RHYTHM], DATA, stores, out)

    found = training_targets(out, [SUPER, RHYTHM])

    assert list(found.columns) == ["source", "row", "record_id", "patient_id", "y"]
    assert list(found["row"]) == [0, 1, 4]
    assert list(found["record_id"]) == ["both", "r1", "rhythm"]
    space = label_space(out, [SUPER, RHYTHM])
    y = pd.DataFrame(np.stack(found["y"]), index=found["record_id"], columns=space)
    assert y.dtypes.unique().tolist() == [np.float32]
    assert set(y.columns[y.loc["both"] == 1]) == {f"{SUPER}:MI", f"{RHYTHM}:AFIB"}
    assert y.loc["both"].notna().all()
    assert set(y.columns[y.loc["rhythm"] == 1]) == {f"{RHYTHM}:SR"}
    assert set(y.columns[y.loc["rhythm"].isna()]) == {
        name for name in space if name.startswith(SUPER)
    }


def test_training_targets_leave_out_whom_any_task_holds_out(one_store, tmp_path):
    """A patient may train one task and test another; a network trained on both may not see them."""
    rows = [
        *in_every_fold(labels=["NORM", "SR"]),
        {"labels": ["SR"], "fold": 1, "patient_id": "shared"},
        {"labels": ["NORM"], "fold": 10, "patient_id": "shared"},
    ]
    out = tmp_path / "tasks"
    write_targets([SUPER, RHYTHM], DATA, one_store(rows), out)
    assert "shared" not in set(training_targets(out, [SUPER, RHYTHM])["patient_id"])
    assert "shared" in set(training_targets(out, [RHYTHM])["patient_id"])
    assert_disjoint(training_targets(out, [SUPER, RHYTHM])["patient_id"], out)
    assert held_out_patients(out) == {"p:9", "p:10", "shared"}
