"""The store: what is written is read, and damage is named."""

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.store import StoreWriter, input_digests, open_store
from ecgscale.errors import BadInputError
from support.stores import finish

RECIPE = Recipe(seconds=0.2, leads=("I", "II", "V1"))


def row(number, **changes):
    return {
        "record_id": f"r{number}",
        "patient_id": f"s:{number}",
        "source": "s",
        "age": float("nan") if number % 2 else 50.0,
        "sex": [None, "F", "M"][number % 3],
        "fold": None if number % 2 else number,
        "split": None if number % 2 else "train",
        "labels": ["NORM", "SR"][: number % 3],
        "likelihoods": [100.0, 0.0][: number % 3],
        "split_labels": [],
        "measurements": ["lvef"][: number % 2],
        "measured": [55.0][: number % 2],
        "unit": "mV",
        "fs_original": 500.0,
        "seconds": 10.0,
        "valid_samples": 20,
        "notes": [],
        "signal_digest": f"d{number}",
        **dict.fromkeys(CLINICAL_FIELDS, float("nan")),
        **changes,
    }


def write_store(folder, samples, shard_bytes=2**20, leads=RECIPE.leads, **changes):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    writer = StoreWriter(folder, leads, RECIPE.n_samples, shard_bytes)
    for number, one in enumerate(samples):
        writer.add(row(number, **changes), one)
    writer.finish(
        [{"record_id": "x", "reason": "too-short", "detail": "1 s"}],
        source="s",
        reader="packed",
        namespace="s",
        recipe=RECIPE,
        records=len(samples) + 1,
        quarantined={"too-short": 1},
        inputs=input_digests([]),
    )
    return open_store(folder)


def random_samples(count, seed=0):
    return np.random.default_rng(seed).integers(-32767, 32768, (count, 3, 20)).astype(np.int16)


def test_leads_of_the_recipe_that_the_source_lacks_are_zero(tmp_path):
    samples = random_samples(3)[:, :1]
    store = write_store(tmp_path, samples, leads=("II",))
    assert store.leads == ("II",)
    np.testing.assert_array_equal(store.raw(leads=("V1", "II"))[:, 1], samples[:, 0])
    assert not store.raw(leads=("V1", "I")).any()
    with pytest.raises(BadInputError, match="V6"):
        store.raw(leads=("V6",))
    whole = write_store(tmp_path / "whole", random_samples(3))
    assert whole.digest != store.digest


@settings(max_examples=40, deadline=None)
@given(data=st.data(), count=st.integers(1, 12), per_shard=st.integers(1, 12))
def test_any_rows_and_leads_of_any_sharding(data, count, per_shard):
    samples = random_samples(count)
    rows = data.draw(st.lists(st.integers(0, count - 1), max_size=20))
    leads = data.draw(st.lists(st.sampled_from(RECIPE.leads), min_size=1, max_size=4))
    columns = [RECIPE.leads.index(lead) for lead in leads]
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(folder, samples, shard_bytes=per_shard * 120)
        assert len(store.manifest.shards) == -(-count // per_shard)
        np.testing.assert_array_equal(store.raw(), samples)
        np.testing.assert_array_equal(store.raw(rows, leads), samples[rows][:, columns])
        got = store.signals(np.array(rows, dtype=np.int32), leads)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, samples[rows][:, columns] / 1000, rtol=1e-6)


def test_attributes_and_records(tmp_path):
    store = write_store(tmp_path / "s", random_samples(5))
    assert (store.source, store.fs, store.leads, store.n_samples) == ("s", 100, RECIPE.leads, 20)
    assert len(store) == 5
    records = store.records
    assert records.record_id.tolist() == ["r0", "r1", "r2", "r3", "r4"]
    assert records.sex.tolist() == [None, "F", "M", None, "F"]
    assert records.split.tolist() == ["train", None, "train", None, "train"]
    assert str(records.fold.dtype) == "Int64"
    assert records.fold.isna().tolist() == [False, True, False, True, False]
    assert records.labels.tolist() == [[], ["NORM"], ["NORM", "SR"], [], ["NORM"]]
    assert records.likelihoods[2] == [100.0, 0.0]
    assert records.age.dtype == np.float64
    assert records.valid_samples.dtype == np.int64
    assert records[list(CLINICAL_FIELDS)].isna().all(axis=None)
    assert store.quarantine.to_dict("records") == [
        {"record_id": "x", "reason": "too-short", "detail": "1 s"}
    ]


def test_records_hold_nothing_but_missing_values_where_all_are_missing(tmp_path):
    store = write_store(tmp_path / "s", random_samples(2), fold=None, split=None, sex=None)
    assert store.records.fold.isna().all()
    assert store.records.sex.tolist() == store.records.split.tolist() == [None, None]


def test_pickling_carries_the_path_only(tmp_path):
    store = write_store(tmp_path / "s", random_samples(4))
    store.raw()
    assert len(store.records) == 4
    text = pickle.dumps(store)
    assert len(text) < 1000
    np.testing.assert_array_equal(pickle.loads(text).raw(), store.raw())


def test_digest_is_of_the_content_not_of_the_sharding(tmp_path):
    samples = random_samples(6)
    one = write_store(tmp_path / "a", samples)
    two = write_store(tmp_path / "b", samples, shard_bytes=240)
    assert one.digest == two.digest
    assert write_store(tmp_path / "c", samples, age=51.0).digest != one.digest


def test_digest_is_of_the_samples_that_were_written(tmp_path):
    samples = random_samples(6)
    halved = write_store(tmp_path / "a", samples // 2)
    assert halved.records["signal_digest"].equals(
        write_store(tmp_path / "b", samples).records["signal_digest"]
    )
    assert halved.digest != write_store(tmp_path / "c", samples).digest


@pytest.mark.parametrize("rows", [[-1], [5], [0.5], np.array([True, False])])
def test_rows_that_are_not_there(tmp_path, rows):
    store = write_store(tmp_path / "s", random_samples(5))
    with pytest.raises(IndexError, match="rows must be"):
        store.raw(rows)


def test_a_lead_that_is_not_there(tmp_path):
    store = write_store(tmp_path / "s", random_samples(1))
    with pytest.raises(BadInputError, match="no lead 'V9'"):
        store.signals(leads=["V9"])


@pytest.mark.parametrize(
    "name", ["MANIFEST.json", "signals-000.npy", "records.parquet", "quarantine.parquet"]
)
@pytest.mark.parametrize("damage", ["missing", "short", "changed"])
def test_damage_is_refused_by_name(tmp_path, name, damage):
    write_store(tmp_path / "s", random_samples(4))
    path = tmp_path / "s" / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "short":
        path.write_bytes(content[:-1] if name != "MANIFEST.json" else content[:-9])
    else:
        content[len(content) // 2] ^= 0xFF
        path.write_bytes(content)
    with pytest.raises(BadInputError, match=name):
        open_store(tmp_path / "s").verify()


@pytest.mark.parametrize(
    "change",
    [
        {"format_version": 2},
        {"stored": "many"},
        {"extra": 1},
        {"stored": 3},
        {"shards": [{"name": "signals-000.npy", "records": 1}]},
        {"shards": [{"name": "signals-001.npy", "records": 2}]},
        {"files": {"../x.npy": {"bytes": 1, "sha256": ""}}},
    ],
)
def test_a_manifest_that_is_not_one(tmp_path, change):
    write_store(tmp_path / "s", random_samples(2))
    path = tmp_path / "s" / "MANIFEST.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(BadInputError, match=r"MANIFEST\.json"):
        open_store(tmp_path / "s")


def test_a_shard_of_another_shape(tmp_path):
    store = write_store(tmp_path / "s", random_samples(2))
    path = tmp_path / "s" / "signals-000.npy"
    path.write_bytes(path.read_bytes().replace(b"(2, 3, 20)", b"(3, 2, 20)"))
    with pytest.raises(BadInputError, match=r"signals-000\.npy holds int16 \(3, 2, 20\)"):
        store.raw()


def test_a_folder_that_is_no_store(tmp_path):
    with pytest.raises(BadInputError, match="is not a store"):
        open_store(tmp_path)


def test_input_digests_ignore_order_and_repeats():
    entries = [("a", 3, "x"), ("b", 5, "y")]
    once = input_digests(entries)
    assert once == input_digests([*entries[::-1], entries[0]])
    assert (once.files, once.bytes) == (2, 8)
    assert input_digests([("a", 3, "z"), ("b", 5, "y")]).sha256 != once.sha256


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 12), per_shard=st.integers(1, 5), data=st.data())
def test_what_is_dropped_was_never_there(count, per_shard, data):
    dropped = data.draw(st.sets(st.integers(0, count - 1), max_size=count - 1))
    samples = np.random.default_rng(count).integers(
        -9, 9, (count, len(RECIPE.leads), RECIPE.n_samples), dtype=np.int16
    )
    prints = data.draw(st.sampled_from([[None] * count, list(samples[:, 0, :8].astype(np.int8))]))
    kept = [number for number in range(count) if number not in dropped]
    size = 2 * len(RECIPE.leads) * RECIPE.n_samples * per_shard
    contents = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, numbers, drops in (("a", range(count), dropped), ("b", kept, set())):
            folder = Path(scratch) / name
            folder.mkdir()
            writer = StoreWriter(folder, RECIPE.leads, RECIPE.n_samples, size)
            for number in numbers:
                writer.add(row(number), samples[number], prints[number])
            writer.drop(drops)
            finish(writer, "s", RECIPE)
            contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]
    assert ("fingerprints.npy" in contents[0]) == (prints[0] is not None)
