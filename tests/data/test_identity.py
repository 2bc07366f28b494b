"""The same recording is found whatever its name; different recordings never are."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from scipy.signal import butter, resample_poly, sosfiltfilt

from ecgscale.data.copies import (
    check_identity,
    find_copies,
    read_identity,
    same_people,
)
from ecgscale.data.fingerprint import fingerprint_length, fingerprints
from ecgscale.data.identity import propose
from ecgscale.data.ingest import ingest
from ecgscale.data.pool import PoolSource
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS, LEADS
from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import StoreWriter, open_store
from ecgscale.data.subsets import build_subsets
from ecgscale.errors import BadInputError
from support.stores import finish

FS = 100


def recording(seed, jitter=0.06, noise=0.02, seconds=10.0, fs=FS):
    """Return shape (12, time), mV: QRS and T waves at beats that vary, in leads of their own."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * fs)) / fs
    beats = np.cumsum(rng.uniform(0.6, 1.1) * np.exp(jitter * rng.normal(size=30))) - 0.5
    sizes = 1 + 2 * jitter * rng.normal(size=30)
    waves = [(0.012, 0.0, 1.0), (0.02, -0.03, -0.3), (0.05, 0.3, 0.2)]
    leads = rng.normal(size=(12, 3)) + np.sign(rng.normal(size=(12, 1)))
    signal = np.zeros((12, len(time)))
    for number, (width, delay, size) in enumerate(waves):
        shape = np.exp(-(((time - beats[:, None] - delay) / width) ** 2) / 2)
        signal += size * leads[:, number : number + 1] * (sizes @ shape)
    return signal + noise * rng.normal(size=signal.shape)


def store_of(folder, signals, prefix, valid=None, fs=FS, patients=None, fingerprinted=True):
    """Write signals (record, lead, time) in mV as a store."""
    samples = np.rint(np.asarray(signals) * 1000).clip(-32767, 32767).astype(np.int16)
    recipe = Recipe(fs=fs, leads=LEADS[: samples.shape[1]], seconds=samples.shape[2] / fs)
    folder.mkdir(parents=True)
    writer = StoreWriter(folder, recipe.leads, recipe.n_samples)
    valid = recipe.n_samples if valid is None else valid
    prints = fingerprints(samples, fs, valid)
    for number, (one, print_) in enumerate(zip(samples, prints, strict=True)):
        row = {name: float("nan") for name in ("age", *CLINICAL_FIELDS)}
        row |= {"record_id": f"{prefix}{number}", "valid_samples": valid, "signal_digest": prefix}
        row["patient_id"] = patients[number] if patients else f"{prefix}:{number}"
        writer.add(row, one, print_ if fingerprinted else None)
    finish(writer, prefix, recipe)
    return open_store(folder)


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """Eighty recordings, and their store."""
    signals = np.stack([recording(seed) for seed in range(80)])
    return signals, store_of(tmp_path_factory.mktemp("many") / "store", signals, "a")


def band(signal, low, high):
    return sosfiltfilt(butter(3, (low, high), "band", fs=FS, output="sos"), signal, axis=-1)


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    which=st.integers(0, 79),
    shift=st.integers(0, 25),
    low=st.sampled_from([0.05, 0.5, 1.0]),
    high=st.sampled_from([30, 40, 49]),
    gain=st.floats(0.1, 20),
    order=st.permutations(range(12)),
    missing=st.integers(0, 1),
    sign=st.sampled_from([1, -1]),
    z=st.booleans(),
    fs=st.sampled_from([100, 125, 250]),
)
def test_a_changed_copy_is_found_and_nothing_else(
    many, tmp_path_factory, which, shift, low, high, gain, order, missing, sign, z, fs
):
    signals, store = many
    copy = sign * gain * band(signals[which], low, high)[order[missing:], shift:]
    copy = copy / copy.std(axis=-1, keepdims=True) if z else copy
    copy = resample_poly(copy, fs // 25, FS // 25, axis=-1)
    changed = store_of(tmp_path_factory.mktemp("copy") / "store", copy[None], "b", fs=fs)
    matches, manifest = find_copies({"a": store, "b": changed}, {f"a:{which}"})
    assert matches[
        ["source", "record_id", "other_source", "other_record_id"]
    ].to_numpy().tolist() == [["a", f"a{which}", "b", "b0"]]
    assert matches["lag"].item() == pytest.approx(-shift / FS, abs=0.005)
    assert [(check.source, check.held_out, check.records) for check in manifest.held_out] == [
        ("b", "a", 1)
    ]


def test_of_distant_parts_more_is_asked(tmp_path):
    """Where less of two recordings overlaps, and beats have more ways to meet, noise costs more."""
    whole = np.stack([recording(seed, seconds=13.0, noise=0.005) for seed in range(30)])
    noise = np.random.default_rng(0).normal(size=(30, 12, 1000))
    first = store_of(tmp_path / "first", whole[..., :1000], "a")
    found = {}
    for shift in (20, 200):
        for level in (0.0, 0.1):
            other = whole[..., shift : shift + 1000] + level * noise
            store = store_of(tmp_path / f"{shift}-{level}", other, "b")
            matches, _ = find_copies({"a": first, "b": store}, set())
            assert (matches["correlation"] >= (0.97 if shift < 150 else 0.985)).all()
            found[shift, level] = len(matches)
    assert found[20, 0.0] == 30
    assert found[200, 0.0] >= 28  # few beats of a record have their surroundings in both
    assert found[20, 0.1] > found[200, 0.1]


@settings(max_examples=8, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(1000, 10**6),
    jitter=st.sampled_from([0.0, 0.02, 0.1, 0.3]),
    noise=st.sampled_from([0.0, 0.01, 0.1]),
)
def test_different_recordings_are_not_copies(many, tmp_path_factory, seed, jitter, noise):
    _, store = many
    others = np.stack([recording(seed + number, jitter, noise) for number in range(12)])
    other = store_of(tmp_path_factory.mktemp("other") / "store", others, "b")
    matches, manifest = find_copies({"a": store, "b": other}, set())
    assert not len(matches)
    assert manifest.sources["b"].records == 12


def test_what_has_no_identity_is_said_not_to_be_compared(many, tmp_path):
    time = np.arange(1000) / FS
    pacemaker = np.sum([np.exp(-(((time - t) / 0.02) ** 2)) for t in np.arange(0.3, 11, 0.8)], 0)
    flat, same = np.zeros((30, 12, 1000)), np.broadcast_to(pacemaker, (30, 12, 1000))
    stores = {
        "flat": store_of(tmp_path / "flat", flat, "f"),
        "paced": store_of(tmp_path / "paced", same, "p"),
        "short": store_of(tmp_path / "short", many[0][:5, :, :500], "s"),
        "padded": store_of(tmp_path / "padded", many[0][:5], "d", valid=600),
    }
    matches, manifest = find_copies(stores, set())
    assert not len(matches)
    assert {name: check.unchecked for name, check in manifest.sources.items()} == {
        "flat": {"no beats": 30},
        "paced": {"repeats itself": 30},
        "short": {"short": 5},
        "padded": {"short": 5},
    }
    assert {check.checked for check in manifest.sources.values()} == {0}


def test_regular_rhythms_of_one_rate_are_not_one_recording(tmp_path):
    """Same interval, same beats: only their noise differs."""
    rng = np.random.default_rng(0)
    clean = recording(3, jitter=0.0, noise=0.0)
    alike = np.stack([clean + 0.03 * rng.normal(size=clean.shape) for _ in range(60)])
    matches, _ = find_copies({"a": store_of(tmp_path / "a", alike, "a")}, set())
    assert not len(matches)


def test_copies_within_a_source_and_in_windows_that_overlap_are_found(tmp_path):
    long = np.stack([recording(seed, seconds=14) for seed in range(20)])
    windows = np.concatenate([long[..., :1000], long[:6, :, 100:1100]])
    matches, manifest = find_copies({"a": store_of(tmp_path / "a", windows, "a")}, set())
    found = {(row.record_id, row.other_record_id) for row in matches.itertuples()}
    assert found == {(f"a{number}", f"a{20 + number}") for number in range(6)}
    assert matches["lag"].tolist() == pytest.approx([-1.0] * 6, abs=0.003)
    assert [pair.copies for pair in manifest.pairs] == [6]


def test_no_rows_and_no_signal_propose_nothing():
    for shape in ((0, 230), (0, 0), (3, 230)):
        pairs = propose(np.zeros(shape, np.int8), np.full(shape[0], shape[1]))
        assert len(pairs.first) == 0
    assert fingerprint_length(10, 100) == 0
    assert fingerprints(np.ones((2, 1, 10)), 100, 10).shape == (2, 0)


def test_ingest_stores_what_a_store_without_it_computes(tmp_path):
    raw = tmp_path / "raw"
    simulate(CohortSettings(layout="challenge", patients=12, options={"fs": 100}), raw)
    config = SourceConfig(reader="challenge", root=raw, watch=raw)
    ingest("one", config, Recipe(), tmp_path / "one")
    store = open_store(tmp_path / "one")
    stored = store.fingerprints().copy()
    assert stored.shape == (len(store), 230)
    store.verify()
    path = tmp_path / "one" / "MANIFEST.json"
    manifest = json.loads(path.read_text())
    del manifest["files"]["fingerprints.npy"]
    path.write_text(json.dumps(manifest))
    (tmp_path / "one" / "fingerprints.npy").unlink()
    np.testing.assert_array_equal(open_store(tmp_path / "one").fingerprints(), stored)


def test_people_are_followed_along_chains_of_recordings():
    matches = pd.DataFrame(
        [("b", "a"), ("b", "c"), ("x", "y")], columns=["patient_id", "other_patient_id"]
    )
    assert same_people(matches, {"a"}) == {"a", "b", "c"}
    assert same_people(matches, {"z"}) == {"z"}


@pytest.fixture
def study(many, tmp_path):
    """A pool under new names that holds three of a held-out source's recordings."""
    signals, _ = many
    patients = [f"new:{number // 2}" for number in range(20)]
    pool = np.concatenate([signals[:3, :, 7:] * 5, signals[40:57, :, 7:]])
    store_of(tmp_path / "stores" / "tested", signals[:30], "t")
    store_of(tmp_path / "stores" / "pool", pool, "n", patients=patients)
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    rows = [(f"t:{number}", "test" if number < 2 else "train") for number in range(30)]
    pd.DataFrame(rows, columns=["patient_id", "split"]).to_parquet(tasks / "form.parquet")
    (tasks / "manifest.json").write_text('{"form": {}}')
    return tmp_path


def draw(root, size):
    folders = root / "stores", root / "tasks", root / f"n{size}", root / "identity"
    return build_subsets({"pool": PoolSource()}, size, [0], None, *folders).subsets[0]


def test_held_out_patients_under_another_name_are_left_out(study):
    manifest = check_identity(
        ["pool", "tested"], study / "stores", study / "tasks", study / "identity"
    )
    # Records 0 and 1 are of one new patient and of held-out t:0 and t:1; record 2 is of t:2.
    assert [vars(check) for check in manifest.held_out] == [
        {"source": "pool", "held_out": "tested", "records": 2, "patients": 1}
    ]
    copies = {(pair.source, pair.other): pair.copies for pair in manifest.pairs}
    assert copies == {("pool", "pool"): 0, ("pool", "tested"): 3, ("tested", "tested"): 0}
    assert read_identity(study / "identity")[1] == manifest
    subset = draw(study, 9)
    assert (subset.pool_patients, subset.excluded_copies, subset.pool_copies) == (9, {"pool": 1}, 0)
    assert subset.unchecked == {"pool": {}}
    kept = pd.read_parquet(study / "n9" / "o0" / "records.parquet")["patient_id"]
    assert "new:0" not in set(kept)
    assert "new:1" in set(kept)
    with pytest.raises(BadInputError, match="the pool has 9"):
        draw(study, 10)


def test_an_identity_of_other_stores_or_none_is_refused(study):
    with pytest.raises(BadInputError, match="run `python -m ecgscale identity`"):
        draw(study, 2)
    check_identity(["tested"], study / "stores", study / "tasks", study / "identity")
    with pytest.raises(BadInputError, match="did not compare the store of pool"):
        draw(study, 2)
    (study / "identity" / "manifest.json").write_text("{}")
    with pytest.raises(BadInputError, match=r"manifest.json is not what was written: sources"):
        draw(study, 2)
