"""Nesting, disjointness, determinism and identity of the pretraining subsets."""

import hashlib
import json
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.pool import PoolSource
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.risk import risk_of
from ecgscale.data.store import StoreWriter, open_store
from ecgscale.data.subsets import (
    CONTENT,
    MANIFEST,
    RECORDS,
    SCHEMA,
    build_subsets,
    content_digest,
    draw_subset,
    nested_subset,
    pool_of,
    read_overlaps,
    read_subset,
    without_sources,
    write_subset,
)
from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from support.full_disk import no_room
from support.stores import finish

ALL = PoolSource()
property_test = settings(max_examples=40, deadline=None)

GOLDEN_PATIENTS = ["csn:21", "csn:34", "ptb-xl:25", "ptb-xl:9"]
GOLDEN_DIGEST = "ec93570bbac39d36db0314835616c3f9c5edb8dd3a73cbdc53df754e9103603f"


def make_table(source: str, patients: list[str], **columns) -> pd.DataFrame:
    """Return a source's records, one for each entry of `patients`, as a store has them."""
    n = len(patients)
    table = pd.DataFrame(
        {
            "row": np.arange(n),
            "record_id": [f"{source}-{i:04d}" for i in range(n)],
            "patient_id": pd.Series(patients, dtype=object),
            "source": source,
            "age": 40.0 + np.arange(n) % 50,
            "sex": pd.Series((["F", "M", None] * n)[:n], dtype=object),
            "fold": pd.array(1 + np.arange(n) % 10, dtype="Int64"),
            "split": pd.Series([None] * n, dtype=object),
            **dict.fromkeys(CLINICAL_FIELDS, np.nan),
            "stored_seconds": 10.0,
            "signal_digest": [
                hashlib.sha256(f"{source}{i}".encode()).hexdigest() for i in range(n)
            ],
        }
    )
    return table.assign(sbp=100.0 + np.arange(n), **columns)


def two_sources(n: int = 60) -> dict[str, pd.DataFrame]:
    """Return a source with repeated patients and one with a record each."""
    return {
        "ptb-xl": make_table("ptb-xl", [f"ptb-xl:{i // 2}" for i in range(n)]),
        "chapman": make_table("chapman", [f"csn:{i}" for i in range(n)]),
    }


def pool(n: int = 60, held_out: frozenset[str] = frozenset()) -> pd.DataFrame:
    tables = two_sources(n)
    return pool_of(tables, dict.fromkeys(tables, ALL), held_out).records


@st.composite
def pools(draw):
    """Return any pool: patients with ids of any script and several records in several sources."""
    ids = draw(st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=1, unique=True))
    tables = {}
    for source in ("a", "b"):
        patients = draw(st.lists(st.sampled_from(ids), min_size=1, max_size=30))
        tables[source] = make_table(source, patients)
    return pool_of(tables, dict.fromkeys(tables, ALL), frozenset()).records


def slow_subset(pool: pd.DataFrame, size: int, order: int) -> set[tuple[str, str]]:
    """Return the (source, record) pairs of a subset, as one would write it down."""
    patients = sorted(
        set(pool["patient_id"]),
        key=lambda patient: (
            hashlib.sha256(f"{order}:{patient.replace(':?', ':', 1)}".encode()).digest()[:8],
            patient,
        ),
    )
    rows = pool.to_dict("records")
    return {(r["source"], r["record_id"]) for r in rows if r["patient_id"] in patients[:size]}


def identities(records: pd.DataFrame) -> set[tuple[str, str]]:
    return set(zip(records["source"], records["record_id"], strict=True))


@property_test
@given(pool=pools(), order=st.integers(0, 2**31), data=st.data())
def test_is_the_prefix_of_the_hashed_order(pool, order, data):
    size = data.draw(st.integers(1, pool["patient_id"].nunique()))
    assert identities(nested_subset(pool, size, order)) == slow_subset(pool, size, order)


@property_test
@given(pool=pools(), order=st.integers(0, 2**31), data=st.data())
def test_sizes_of_an_order_are_nested(pool, order, data):
    n = pool["patient_id"].nunique()
    small, large = sorted(data.draw(st.tuples(st.integers(1, n), st.integers(1, n))))
    inner, outer = (nested_subset(pool, size, order) for size in (small, large))
    assert identities(inner) <= identities(outer)
    assert inner["patient_id"].nunique() == small
    assert outer["patient_id"].nunique() == large
    # Drawn from the larger subset alone, the smaller one is the same.
    assert nested_subset(outer, small, order).equals(inner)


@property_test
@given(pool=pools(), data=st.data())
def test_all_records_of_a_chosen_patient(pool, data):
    size = data.draw(st.integers(1, pool["patient_id"].nunique()))
    chosen = nested_subset(pool, size, 0)
    theirs = pool.loc[pool["patient_id"].isin(set(chosen["patient_id"]))]
    assert identities(theirs) == identities(chosen)


@property_test
@given(pool=pools(), data=st.data())
def test_row_order_does_not_matter(pool, data):
    size = data.draw(st.integers(1, pool["patient_id"].nunique()))
    shuffled = pool.iloc[data.draw(st.permutations(range(len(pool))))]
    subset, again = nested_subset(pool, size, 3), nested_subset(shuffled, size, 3)
    assert again.equals(subset)
    assert content_digest(shuffled) == content_digest(pool)


@property_test
@given(data=st.data())
def test_held_out_patients_never_enter(data):
    tables = two_sources()
    everyone = sorted(set(pool()["patient_id"]))
    held_out = frozenset(data.draw(st.sets(st.sampled_from(everyone), max_size=len(everyone) - 1)))
    rest = pool_of(tables, dict.fromkeys(tables, ALL), held_out)
    assert rest.excluded_patients == len(held_out)
    assert set(rest.records["patient_id"]) == set(everyone) - held_out


def test_a_recording_of_an_unknown_patient_may_be_one_of_a_held_out_patient():
    tables = {"a": make_table("a", ["x:1", "x:2", "x:?7"]), "b": make_table("b", ["y:1", "y:?2"])}
    rest = pool_of(tables, dict.fromkeys(tables, ALL), frozenset({"x:1"}))
    assert rest.excluded_patients == 2
    assert set(rest.records["patient_id"]) == {"x:2", "y:1", "y:?2"}


def test_taking_patients_out_does_not_reorder_the_others():
    chosen = set(nested_subset(pool(), 20, 0)["patient_id"])
    gone = frozenset(sorted(chosen)[:5])
    assert chosen - gone <= set(nested_subset(pool(held_out=gone), 20, 0)["patient_id"])


def test_orders_differ():
    subsets = [frozenset(nested_subset(pool(), 30, order)["patient_id"]) for order in range(5)]
    assert len(set(subsets)) == 5


def test_known_order_and_digest():
    # Written down once: another machine, Python or library version must come to the same.
    subset = nested_subset(pool(), 4, 0)
    assert sorted(set(subset["patient_id"])) == GOLDEN_PATIENTS
    assert content_digest(subset) == GOLDEN_DIGEST


def test_subsets_keep_the_mix_of_sources():
    # 30 of 90 patients have two records each in ptb-xl: half of all records.
    everything = pool()
    shares = [
        (nested_subset(everything, 45, order)["source"] == "ptb-xl").mean() for order in range(100)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.02)


def test_each_patient_is_as_likely_as_another():
    everything = pool()
    counts = dict.fromkeys(everything["patient_id"], 0)
    for order in range(200):
        for patient in set(nested_subset(everything, 45, order)["patient_id"]):
            counts[patient] += 1
    # Binomial(200, 1/2): all 90 within 4.5 standard deviations.
    assert np.abs(np.array(list(counts.values())) - 100).max() < 4.5 * np.sqrt(50)


def test_a_size_beyond_the_pool_says_how_many_there_are():
    with pytest.raises(BadInputError, match="n91-o2 asks for 91 patients, but the pool has 90"):
        nested_subset(pool(), 91, 2)


def test_filters_by_fold_and_split():
    tables = two_sources(20)
    tables["chapman"]["split"] = ["train", "test"] * 10
    filters = {"ptb-xl": PoolSource(folds=(1, 2)), "chapman": PoolSource(splits=("train",))}
    kept = pool_of(tables, filters, frozenset()).records
    by_source = kept.groupby("source")["row"].apply(list)
    assert by_source["ptb-xl"] == [0, 1, 10, 11]
    assert by_source["chapman"] == list(range(0, 20, 2))
    both = {"chapman": PoolSource(folds=(1,), splits=("train",))}
    assert pool_of(tables, both, frozenset()).records["row"].tolist() == [0, 10]


def test_a_record_without_a_fold_passes_no_filter_of_folds():
    tables = {"ptb-xl": two_sources(4)["ptb-xl"].assign(fold=pd.array([1, None, 2, None], "Int64"))}
    kept = pool_of(tables, {"ptb-xl": PoolSource(folds=(1, 2))}, frozenset()).records
    assert kept["row"].tolist() == [0, 2]


def test_a_source_that_the_pool_does_not_name_is_left_alone():
    assert set(pool_of(two_sources(), {"chapman": ALL}, frozenset()).records["source"]) == {
        "chapman"
    }


def test_a_filter_that_keeps_nothing_is_refused():
    with pytest.raises(BadInputError, match=r"pool\.ptb-xl keeps none of the source's 60 records"):
        pool_of(two_sources(), {"ptb-xl": PoolSource(folds=(11,))}, frozenset())


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"record_id": "same"}, "record same of chapman occurs twice"),
        ({"patient_id": None}, "record chapman-0000 of chapman has no patient_id"),
    ],
)
def test_records_without_identity_are_refused(change, problem):
    tables = {"chapman": two_sources(3)["chapman"].assign(**change)}
    with pytest.raises(BadInputError, match=problem):
        pool_of(tables, {"chapman": ALL}, frozenset())


def test_the_digest_is_what_its_definition_says():
    subset = nested_subset(pool(), 7, 5).sort_values(["source", "record_id"])
    expected = hashlib.sha256()
    for name in CONTENT:
        values = [None if pd.isna(value) else value for value in subset[name]]
        expected.update(f"{name}:{len(values)}\n".encode())
        if pa.types.is_string(SCHEMA.field(name).type):
            expected.update(json.dumps(values, separators=(",", ":")).encode())
        else:
            # The quiet NaN 0x7ff8000000000000.
            missing = bytes([0, 0, 0, 0, 0, 0, 0xF8, 0x7F])
            for value in values:
                expected.update(missing if value is None else struct.pack("<d", value))
    assert content_digest(subset) == expected.hexdigest()


@pytest.mark.parametrize("name", CONTENT)
def test_the_digest_covers_every_column_of_content(name):
    subset = nested_subset(pool(), 10, 0)
    changed = subset.copy()
    changed[name] = changed[name].astype(object)
    changed.loc[0, name] = "Z" if pa.types.is_string(SCHEMA.field(name).type) else 0.125
    assert content_digest(changed) != content_digest(subset)


@property_test
@given(
    ids=st.sets(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=12),
    block=st.integers(1, 5),
    data=st.data(),
)
def test_texts_of_any_kind_in_parts_of_any_length_give_the_same_digest(ids, block, data):
    names = data.draw(st.permutations(sorted(ids)))
    sources = data.draw(st.lists(st.sampled_from("ab"), min_size=len(ids), max_size=len(ids)))
    table = make_table("x", ["x:0"] * len(ids)).assign(source=sources, record_id=names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ecgscale.data.subsets.BLOCK", block)
        found = content_digest(table)
    ordered = table.sort_values(["source", "record_id"])
    expected = hashlib.sha256()
    for name in CONTENT:
        expected.update(f"{name}:{len(ids)}\n".encode())
        if pa.types.is_string(SCHEMA.field(name).type):
            texts = [None if pd.isna(text) else text for text in ordered[name]]
            expected.update(json.dumps(texts, separators=(",", ":")).encode())
        else:
            numbers = [float(number) for number in ordered[name]]
            expected.update(struct.pack(f"<{len(numbers)}d", *numbers))
    assert found == expected.hexdigest()


def test_the_digest_leaves_out_the_place_in_the_store():
    subset = nested_subset(pool(), 10, 0)
    assert content_digest(subset.assign(row=subset["row"] + 7)) == content_digest(subset)


def test_the_digest_does_not_see_how_missing_is_written():
    subset = nested_subset(pool(), 10, 0)
    same = subset.assign(
        sex=subset["sex"].astype("string"),
        age=subset["age"].astype("Float64"),
        height=pd.array([None] * len(subset), dtype="Float64"),
        sbp=subset["sbp"].where(subset["sbp"] != 0, -0.0),
    )
    assert content_digest(same) == content_digest(subset)


@pytest.fixture
def draw(tmp_path):
    """Draw and write a subset of the two sources; return its folder, records and manifest."""

    def one(size, order=0, tables=None, name="subset", parent=None):
        tables = tables or two_sources()
        pool = pool_of(tables, dict.fromkeys(tables, ALL), frozenset({"csn:0", "csn:1"}))
        stores = dict.fromkeys(tables, "d1")
        records, manifest = draw_subset(pool, size, order, parent, stores)
        write_subset(records, manifest, tmp_path / name)
        return tmp_path / name, records, manifest

    return one


def test_the_manifest_counts_what_is_there(draw):
    tables = two_sources()
    ages = {"csn:5": np.nan, "csn:6": 39.9, "csn:7": 70.0}
    tables["chapman"]["age"] = tables["chapman"]["patient_id"].map(ages).fillna(55.0)
    tables["chapman"].loc[5, "age"] = np.nan
    tables["ptb-xl"]["stored_seconds"] = 7.5
    _, records, manifest = draw(88, tables=tables)
    assert (manifest.size, manifest.order, manifest.patients) == (88, 0, 88)
    assert manifest.name == "n88-o0"
    assert manifest.records == manifest.pool_records == len(records) == 118
    assert manifest.sources == {"chapman": 58, "ptb-xl": 60}
    assert manifest.hours == pytest.approx((58 * 10 + 60 * 7.5) / 3600)
    assert manifest.sex == {"F": 39, "M": 39, "unknown": 40}
    in_chapman = {"30-39": 1, "50-59": 55, "70-79": 1, "unknown": 1}
    in_ptb_xl = {"40-49": 20, "50-59": 10, "60-69": 10, "70-79": 10, "80-89": 10}
    bands = sorted({*in_chapman, *in_ptb_xl})
    assert manifest.age == {b: in_chapman.get(b, 0) + in_ptb_xl.get(b, 0) for b in bands}
    assert manifest.pool_patients == 88
    assert manifest.excluded_patients == 2
    assert manifest.stores == {"chapman": "d1", "ptb-xl": "d1"}


def test_recordings_counted_as_patients_are_stated(draw):
    tables = two_sources()
    tables["chapman"]["patient_id"] = tables["chapman"]["patient_id"].str.replace("csn:", "ge:?")
    folder, records, manifest = draw(40, tables=tables)
    marked = records.loc[records["source"] == "chapman", "patient_id"]
    assert manifest.unknown_patients == marked.nunique() == len(marked) > 0
    assert read_subset(folder)[1].unknown_patients == manifest.unknown_patients
    assert draw(40)[2].unknown_patients == 0


def test_marking_a_patient_as_unknown_moves_nobody():
    known = pool()
    marked = known.assign(patient_id=known["patient_id"].str.replace("csn:", "csn:?"))
    for size in (1, 17, 60):
        assert identities(nested_subset(known, size, 3)) == identities(
            nested_subset(marked, size, 3)
        )


def test_a_full_disk_leaves_no_part_of_a_subset(draw, tmp_path):
    with no_room(1000), pytest.raises(OSError, match="too large") as caught:
        draw(30)
    assert is_full(caught.value)
    assert list((tmp_path / "subset").iterdir()) == []


def test_the_parent_is_a_smaller_subset_of_the_order(draw):
    _, _, small = draw(5, order=1, name="n5")
    _, _, middle = draw(10, order=1, name="n10", parent=5)
    _, _, large = draw(40, order=1, name="n40", parent=10)
    assert small.parent is None
    assert (middle.parent.size, middle.parent.digest) == (5, small.digest)
    assert (large.parent.size, large.parent.digest) == (10, middle.digest)


def test_a_subset_reads_back_as_it_was_written(draw):
    folder, records, manifest = draw(30)
    again, description = read_subset(folder)
    assert description == manifest
    assert list(again.columns) == SCHEMA.names
    assert identities(again) == identities(records)
    assert list(zip(again["source"], again["record_id"], strict=True)) == sorted(identities(again))
    np.testing.assert_array_equal(again["age"], records["age"])
    assert again["sex"].isna().tolist() == records["sex"].isna().tolist()


def test_a_subset_without_a_source_is_counted_anew(draw):
    folder, records, manifest = draw(30)
    assert without_sources(records, manifest, ()) == (records, manifest)
    kept, less = without_sources(*read_subset(folder), ["chapman"])
    expected = records[records["source"] == "ptb-xl"]
    assert identities(kept) == identities(expected)
    assert less.sources == {"ptb-xl": len(expected)}
    assert less.patients == expected["patient_id"].nunique() < manifest.patients
    assert sum(less.age.values()) == sum(less.sex.values()) == less.records == len(expected)
    assert less.digest == content_digest(kept) != manifest.digest
    assert (less.size, less.order) == (30, manifest.order)
    with pytest.raises(BadInputError, match="n30-o0 without chapman, ptb-xl has no records left"):
        without_sources(records, manifest, ["chapman", "ptb-xl"])


def test_the_same_content_gives_the_same_bytes(draw):
    folder, _, manifest = draw(30)
    shuffled = {name: t.sample(frac=1, random_state=1) for name, t in two_sources().items()}
    other, _, twin = draw(30, tables=dict(reversed(shuffled.items())), name="other")
    assert twin.digest == manifest.digest
    for file in (RECORDS, MANIFEST):
        assert (other / file).read_bytes() == (folder / file).read_bytes()


def test_drawing_again_replaces_the_subset(draw):
    draw(30)
    folder, records, _ = draw(5)
    assert identities(read_subset(folder)[0]) == identities(records)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda folder: (folder / MANIFEST).unlink(), r"manifest\.json does not exist"),
        (lambda folder: (folder / RECORDS).unlink(), r"records\.parquet does not exist"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "is not a subset manifest: "),
        (lambda folder: edit_manifest(folder, extra=1), "is not a subset manifest: extra"),
        (lambda folder: (folder / RECORDS).write_bytes(b"PAR1"), "is not a parquet file"),
        (lambda folder: edit_manifest(folder, digest="0"), "describes: digest is "),
        (lambda folder: edit_manifest(folder, size=29), "describes: size is 30"),
        (lambda folder: edit_manifest(folder, hours=1.0), "describes: hours is 0."),
        (lambda folder: edit_records(folder, lambda t: t.slice(1)), "describes: digest is "),
        (lambda folder: edit_records(folder, lambda t: t.drop(["row"])), "the columns of a subset"),
    ],
)
def test_a_damaged_subset_is_refused(draw, damage, problem):
    folder, _, _ = draw(30)
    damage(folder)
    with pytest.raises(BadInputError, match=problem):
        read_subset(folder)


def edit_manifest(folder, **changes):
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    (folder / MANIFEST).write_text(json.dumps(manifest))


def edit_records(folder, change):
    pq.write_table(change(pq.read_table(folder / RECORDS)), folder / RECORDS)


RECIPE = Recipe(fs=100, seconds=10, leads=("II",))


@pytest.fixture
def write_stores(tmp_path):
    """Write each table as a store of flat signals with 8 s of signal a record."""

    def write(tables, name="store"):
        for source, table in tables.items():
            folder = tmp_path / name / source
            folder.mkdir(parents=True)
            writer = StoreWriter(folder, RECIPE.leads, RECIPE.n_samples)
            known = table.drop(columns=["row", "stored_seconds"]).astype(object)
            known = known.where(known.notna(), None)
            fixed = {"unit": "mV", "seconds": 10.0, "fs_original": 500.0, "valid_samples": 800}
            lists = {"labels": [], "likelihoods": [], "split_labels": [], "notes": []}
            for row in known.to_dict("records"):
                writer.add({**row, **fixed, **lists}, np.zeros((1, RECIPE.n_samples), np.int16))
            finish(writer, source, RECIPE)
        return tmp_path / name

    return write


POOL = {"ptb-xl": PoolSource(folds=(1, 2, 3, 4)), "chapman": PoolSource()}


@pytest.fixture
def tasks_dir(tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    rows = [("ptb-xl:0", "train"), ("ptb-xl:1", "test"), ("csn:3", "validation"), ("x:1", "test")]
    pd.DataFrame(rows, columns=["patient_id", "split"]).to_parquet(folder / "form.parquet")
    (folder / "manifest.json").write_text('{"form": {}}')
    return folder


def test_build_subset_from_stores(tasks_dir, write_stores, tmp_path):
    tables = two_sources()
    stores = write_stores(tables)
    folders = [tmp_path / f"n{size}" for size in (8, 16)]
    small, large = (
        build_subsets(POOL, size, [2], parent, stores, tasks_dir, folder).subsets[0]
        for size, parent, folder in zip((8, 16), (None, 8), folders, strict=True)
    )
    assert large.parent.digest == small.digest
    assert small.excluded_patients == 2
    # Folds 1 to 4 of ptb-xl are rows 0-3, 10-13...: 12 patients; and all 60 of chapman.
    assert small.pool_patients == 12 + 60 - 2
    assert small.hours == pytest.approx(small.records * 8 / 3600)
    assert small.stores == {source: open_store(stores / source).digest for source in tables}
    (inner, read_small), (outer, _) = (read_subset(folder / "o2") for folder in folders)
    assert read_small == small
    assert identities(inner) < identities(outer)
    assert not {"ptb-xl:1", "csn:3"} & set(outer["patient_id"])
    for source, records in outer.groupby("source"):
        stored = open_store(stores / source).records.iloc[records["row"]]
        assert stored["record_id"].tolist() == records["record_id"].tolist()
        assert stored["signal_digest"].tolist() == records["signal_digest"].tolist()


def test_reordered_stores_give_the_same_subset(tasks_dir, write_stores, tmp_path):
    digests = set()
    for seed in range(3):
        tables = {name: t.sample(frac=1, random_state=seed) for name, t in two_sources().items()}
        stores = write_stores(tables, f"store-{seed}")
        made = build_subsets(POOL, 8, [0], None, stores, tasks_dir, tmp_path / f"{seed}")
        digests.add(made.subsets[0].digest)
    assert len(digests) == 1


def test_a_subset_can_be_scored_for_risk(tasks_dir, write_stores, tmp_path):
    build_subsets(POOL, 8, [0], None, write_stores(two_sources()), tasks_dir, tmp_path / "out")
    records, _ = read_subset(tmp_path / "out" / "o0")
    risk = risk_of(records)
    assert risk["score"].isna().tolist() == records["sex"].isna().tolist()
    assert risk.loc[records["sex"].notna(), "completeness"].tolist() == pytest.approx(
        [3 / 7] * records["sex"].notna().sum()
    )


def test_a_pool_too_small_for_the_size_is_refused(tasks_dir, write_stores, tmp_path):
    stores = write_stores(two_sources())
    with pytest.raises(BadInputError, match="n71-o0 asks for 71 patients, but the pool has 70"):
        build_subsets(POOL, 71, [0], 16, stores, tasks_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_orders_of_one_size_are_those_drawn_alone_and_what_they_share_is_counted(
    tasks_dir, write_stores, tmp_path
):
    stores = write_stores(two_sources())
    sizes = {8: [0, 1, 2], 60: [1, 0]}
    for size, orders in sizes.items():
        out = tmp_path / "subsets" / f"n{size}"
        made = build_subsets(POOL, size, orders, None, stores, tasks_dir, out)
        drawn = {order: read_subset(out / f"o{order}") for order in orders}
        assert tuple(manifest for _, manifest in drawn.values()) == made.subsets
        alone = build_subsets(POOL, size, [1], None, stores, tasks_dir, tmp_path / f"alone-{size}")
        assert alone.subsets[0] == drawn[1][1]
        assert (alone.overlap.shared, alone.overlap.measured) == ({}, ())
        patients = {order: set(records["patient_id"]) for order, (records, _) in drawn.items()}
        assert made.overlap.shared == {
            f"{one}-{other}": len(patients[one] & patients[other])
            for place, one in enumerate(orders)
            for other in orders[place + 1 :]
        }
    small, large = read_overlaps(tmp_path / "subsets")
    assert [small.size, large.size] == [8, 60]
    assert (small.expected, large.expected) == (8 / 70, 60 / 70)
    assert (small.large, large.large) == (False, True)
    share = large.shared["1-0"] / 60
    assert large.measured == (share,)
    # 60 of 70 patients leave 10 out, so two draws have at least 50 in common.
    assert 50 / 60 <= share <= 1
    assert large.sentence() == (
        f"n60: a subset is 86% of the pool's 70 patients; two orders share {share:.0%} of their "
        "patients"
    )


def test_a_damaged_overlap_is_one_sentence(tmp_path):
    (tmp_path / "n8").mkdir()
    (tmp_path / "n8" / "overlap.json").write_text('{"size": 8}')
    with pytest.raises(BadInputError, match=r"overlap\.json: pool_patients: Field required"):
        read_overlaps(tmp_path)
