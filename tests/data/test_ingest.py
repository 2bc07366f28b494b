"""Ingest as a whole: deterministic, atomic, nothing lost."""

import json
import os
import shutil

import numpy as np
import pytest

from ecgscale.data import ingest as module
from ecgscale.data.amplitude import summarise
from ecgscale.data.ingest import ingest, quarantine_beside
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.files import is_full
from support.dying import die
from support.full_disk import no_room


def config(root, **changes):
    return SourceConfig(**{"reader": "challenge", "root": root, "watch": root, **changes})


def cohort(root, write, count=9):
    for number in range(count):
        write.wfdb(root / f"g{number % 2}", f"r{number}", write.beats(number, fs=200), fs=200)
    return root


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_result_does_not_depend_on_jobs_chunks_or_paths(tmp_path, write, monkeypatch):
    root = cohort(tmp_path / "a", write)
    write.wfdb(root, "short", write.beats(99, seconds=2))
    moved = tmp_path / "deep" / "er"
    shutil.copytree(root, moved)
    one = ingest("s", config(root, max_quarantined=0.5), Recipe(), tmp_path / "one")
    monkeypatch.setattr(module, "CHUNK", 2)
    two = ingest("s", config(moved, max_quarantined=0.5), Recipe(), tmp_path / "x" / "two", jobs=2)
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "x" / "two")
    assert str(tmp_path) not in (tmp_path / "one" / "MANIFEST.json").read_text()


def test_summary_and_manifest_add_up(tmp_path, write):
    root = cohort(tmp_path / "a", write, 4)
    write.wfdb(root, "short", write.beats(99, seconds=2))
    summary = ingest("s", config(root, max_quarantined=0.5), Recipe(), tmp_path / "s")
    store = open_store(tmp_path / "s")
    manifest = store.manifest
    found = summary.found
    assert found.amplitudes == summarise(store.records.amplitude, store.leads)
    note = "fewer than 20 patients: amplitudes compared with the usual only"
    assert found.source_notes == manifest.notes == (note,)
    assert json.loads(summary.to_json()) == {
        "source": "s",
        "reader": "challenge",
        "records": 5,
        "stored": 4,
        "quarantined": {"too-short": 1},
        "digest": manifest.digest,
        "found": found.model_dump(mode="json"),
    }
    assert (found.patients, found.rates) == (4, {"200": 4})
    assert (manifest.records, manifest.stored, manifest.quarantined) == (5, 4, {"too-short": 1})
    assert manifest.inputs.files == 10


def test_rows_say_what_the_source_said(tmp_path, write):
    root = tmp_path / "a"
    write.wfdb(root, "r1", write.beats(1, seconds=7, fs=500), fs=500)
    ingest("csn", config(root, namespace="people"), Recipe(), tmp_path / "s")
    (row,) = open_store(tmp_path / "s").records.to_dict("records")
    assert row["record_id"] == "r1"
    assert row["patient_id"] == "people:?r1"
    assert row["source"] == "csn"
    assert (row["age"], row["sex"], row["fs_original"]) == (50, "F", 500)
    assert (row["seconds"], row["valid_samples"]) == (7, 700)
    assert (row["labels"], row["likelihoods"]) == (["426783006"], [100.0])
    assert row["split"] is None
    assert np.isnan(row["sbp"])


def test_digest_follows_content_recipe_and_metadata(tmp_path, write):
    root = cohort(tmp_path / "a", write, 3)
    first = ingest("s", config(root), Recipe(), tmp_path / "s").digest
    assert ingest("s", config(root), Recipe(), tmp_path / "s").digest == first
    assert ingest("s", config(root), Recipe(band=(1, 30)), tmp_path / "s").digest != first
    header = root / "g0" / "r0.hea"
    header.write_text(header.read_text().replace("#Age: 50", "#Age: 51"))
    assert ingest("s", config(root), Recipe(), tmp_path / "s").digest != first


def test_too_many_bad_records_leave_the_old_store_and_the_list(tmp_path, write):
    root = cohort(tmp_path / "a", write, 3)
    out = tmp_path / "s"
    ingest("s", config(root), Recipe(), out)
    before = contents(out)
    write.wfdb(root, "short", write.beats(99, seconds=2))
    with pytest.raises(BadInputError, match=r"1 of 4 records are quarantined \(too-short 1\)"):
        ingest("s", config(root), Recipe(), out)
    assert contents(out) == before
    assert quarantine_beside(out).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "s", "s.quarantine.parquet"]
    ingest("s", config(root, max_quarantined=0.25), Recipe(), out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "s"]


def test_a_source_without_a_usable_record_is_refused(tmp_path, write):
    write.wfdb(tmp_path / "a", "short", write.beats(0, seconds=2))
    with pytest.raises(BadInputError, match="1 of 1 records"):
        ingest("s", config(tmp_path / "a", max_quarantined=1), Recipe(), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_crash_leaves_nothing_behind(tmp_path, write, monkeypatch):
    root = cohort(tmp_path / "a", write, 2)

    def broken(*args, **kwargs):
        raise RuntimeError("broken")

    monkeypatch.setattr(module.StoreWriter, "finish", broken)
    with pytest.raises(RuntimeError, match="broken"):
        ingest("s", config(root), Recipe(), tmp_path / "s")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("step", ["keep", "quantise"])
def test_a_record_that_cannot_be_processed_costs_no_other(tmp_path, write, monkeypatch, step):
    """Records of one rate are processed together; an error is that of the one it comes from."""
    for number in range(4):
        write.wfdb(tmp_path / "a", f"r{number}", write.beats(number) * (1 + 2 * (number == 2)))
    right = getattr(module, step)

    def broken(what, *args):
        if np.abs(what.signal if step == "keep" else what).max() > 3:
            raise FloatingPointError("odd")
        return right(what, *args)

    monkeypatch.setattr(module, step, broken)
    summary = ingest("s", config(tmp_path / "a", max_quarantined=0.5), Recipe(), tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert (summary.records, summary.stored) == (4, 3)
    assert store.records.record_id.tolist() == ["r0", "r1", "r3"]
    (row,) = store.quarantine.to_dict("records")
    assert row == {
        "record_id": "r2",
        "reason": "unexpected-error",
        "detail": "r2.hea: FloatingPointError: odd",
    }
    monkeypatch.undo()
    np.testing.assert_array_equal(store.raw([2]), _stored(tmp_path, write, "r3"))


def _stored(tmp_path, write, name):
    write.wfdb(tmp_path / "b", name, write.beats(3))
    ingest("s", config(tmp_path / "b"), Recipe(), tmp_path / "t")
    return open_store(tmp_path / "t").raw()


def test_a_file_whose_name_is_no_text_is_one_bad_record(tmp_path, write):
    root = cohort(tmp_path / "a", write, 2)
    header = write.wfdb(root, "odd", write.beats(7))
    os.rename(os.fsencode(header), os.fsencode(root) + b"/caf\xe9.hea")
    os.rename(os.fsencode(root / "odd.mat"), os.fsencode(root) + b"/caf\xe9.mat")
    write.wfdb(root, "good", write.beats(8))
    ingest("s", config(root, max_quarantined=0.5), Recipe(), tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert len(store) == 3
    assert store.quarantine.record_id.tolist() == ["caf\\udce9"]


def test_a_killed_process_is_one_sentence(tmp_path, write, monkeypatch):
    root = cohort(tmp_path / "a", write, 2)
    monkeypatch.setattr(module, "CHUNK", 1)
    monkeypatch.setattr(module, "_run_worker", die)
    with pytest.raises(StageFailedError, match="source s: a process that reads it was killed"):
        ingest("s", config(root), Recipe(), tmp_path / "s", jobs=2)
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_leaves_the_old_store(tmp_path, write):
    root = cohort(tmp_path / "a", write, 4)
    ingest("s", config(root), Recipe(), tmp_path / "s")
    before = contents(tmp_path / "s")
    write.wfdb(root, "more", write.beats(8))
    with no_room(50_000), pytest.raises(OSError, match="too large") as caught:
        ingest("s", config(root), Recipe(), tmp_path / "s")
    assert is_full(caught.value)
    assert caught.value.filename == str(tmp_path / "s")
    assert contents(tmp_path / "s") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "s"]


@pytest.mark.parametrize("exists", [True, False])
def test_absent_or_empty_folder(tmp_path, exists):
    root = tmp_path / "a"
    if exists:
        root.mkdir()
    with pytest.raises(BadInputError, match=r"has no WFDB records" if exists else "does not exist"):
        ingest("s", config(root), Recipe(), tmp_path / "s")


def test_unknown_reader_or_option(tmp_path):
    with pytest.raises(BadInputError, match="no source is named 'x'"):
        ingest("s", config(tmp_path, reader="x"), Recipe(), tmp_path / "s")
    with pytest.raises(BadInputError, match="rate"):
        ingest("s", config(tmp_path, options={"rate": 1}), Recipe(), tmp_path / "s")


def test_records_of_several_rates_and_leads_of_the_recipe(tmp_path, write):
    """Rates are processed in groups; each record still lands in its own row."""
    root = tmp_path / "a"
    for number, fs in enumerate((100, 500, 257, 100, 500)):
        write.wfdb(root, f"r{number}", write.beats(number, fs=fs), fs=fs)
    recipe = Recipe(leads=("V2", "II"), band=(0, 200))
    ingest("s", config(root), recipe, tmp_path / "s")
    store = open_store(tmp_path / "s")
    assert store.leads == ("V2", "II")
    assert store.records.fs_original.tolist() == [100, 500, 257, 100, 500]
    for row in (0, 3):
        np.testing.assert_array_equal(store.raw([row])[0], write.beats(row)[[7, 1]])
