"""CODE-15%: the reader on a simulated cohort in the published layout, and on single files."""

import csv
import shutil

import h5py
import numpy as np
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate.population import draw_patient
from ecgscale.data.simulate.records import draw_record
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.code_15.layout import COLUMNS, STATEMENTS
from ecgscale.datasets.ptb_xl.statements import scp_codes
from ecgscale.errors import BadInputError
from support.sources import Simulated, rows

SEED = 4
PATIENTS = 9
SHARD = "exams_part0.hdf5"
DATA = Simulated("code-15", "code", SEED)
layout, source, read, problems = DATA.layout, DATA.source, DATA.read, DATA.problems


def write(root, patients=PATIENTS, **options):
    return DATA.write(root, patients, **options)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("code-15")
    write(root)
    return root


@pytest.fixture
def copy(cohort, tmp_path):
    return shutil.copytree(cohort, tmp_path / "copy")


@pytest.fixture
def one(copy):
    """A cohort of one exam, and how to change its row."""

    def change(**changes):
        with (copy / "exams.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerow({**first, **changes})
        return copy

    first = rows(copy / "exams.csv")[0]
    change()
    return change


def test_the_tree_is_the_published_one(cohort):
    assert {path.name for path in cohort.iterdir()} == {"exams.csv", SHARD}
    assert tuple(rows(cohort / "exams.csv")[0]) == COLUMNS
    with h5py.File(cohort / SHARD) as file:
        assert file["tracings"].shape == (len(rows(cohort / "exams.csv")) + 1, 4096, 12)
        assert file["tracings"].dtype == np.float32
        assert file["exam_id"][-1] == 0
        assert not file["tracings"][-1].any()


def test_records_are_those_simulated_without_the_zeros(cohort):
    options = layout().options
    records = iter(read(cohort))
    table = iter(rows(cohort / "exams.csv"))
    lengths = set()
    for index in range(PATIENTS):
        patient = draw_patient(index, SEED, options)
        for number in range(patient.records):
            record, row, drawn = (
                next(records),
                next(table),
                draw_record(patient, number, SEED, options),
            )
            expected = drawn.signals[400][:, : record.signal.shape[1]] / 1000
            np.testing.assert_allclose(record.signal, expected, rtol=1e-6, atol=1e-9)
            lengths.add(record.signal.shape[1])
            assert (record.record_id, record.fs, record.leads) == (row["exam_id"], 400, LEADS)
            assert record.patient_id == f"code:{index + 1}"
            assert (record.age, record.sex) == (int(drawn.years), "M" if patient.male else "F")
            stated = scp_codes(drawn.reading)
            assert set(record.labels) == {c for c, code in STATEMENTS.items() if code in stated}
            assert set(record.measurements) == (
                set() if number else {"death", "follow_up_years"}
            ), "follow-up is at the first exam only"
    assert next(records, None) is None
    assert lengths == {2800, 4000}


def test_the_unit_can_be_changed(cohort):
    for whole, half in zip(read(cohort), read(cohort, millivolts=0.5), strict=True):
        np.testing.assert_array_equal(half.signal, whole.signal / 2)


def test_shards_are_opened_once(cohort, monkeypatch):
    opened = []
    original = h5py.File

    def count(*args, **kwargs):
        opened.append(args[0])
        return original(*args, **kwargs)

    monkeypatch.setattr(h5py, "File", count)
    assert len(read(cohort)) > 5
    assert opened == [cohort / SHARD]


def test_parts_that_were_not_downloaded(copy):
    lines = (copy / "exams.csv").read_text().splitlines()
    (copy / "exams.csv").write_text(
        "\n".join([*lines, lines[1].replace(SHARD, "exams_part1.hdf5")])
    )
    assert problems(copy) == {"missing-signal-file"}
    chosen = source(copy, parts=[0])
    assert len(list(chosen.iter_records())) == len(lines) - 1
    assert [path.name for path in chosen.tables()] == ["exams.csv", SHARD, "patient_metadata.csv"]
    with pytest.raises(BadInputError, match="lists no exams"):
        read(copy, parts=[5])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exam_id": "1"}, "missing-signal-file"),
        ({"exam_id": "0"}, "missing-signal-file"),
        ({"trace_file": "exams_part9.hdf5"}, "missing-signal-file"),
        ({"trace_file": "../outside.hdf5"}, "path-traversal"),
        ({"trace_file": ""}, "path-traversal"),
        ({"patient_id": ""}, "bad-metadata"),
        ({"AF": "maybe"}, "bad-metadata"),
        ({"timey": "long"}, "bad-metadata"),
    ],
)
def test_a_bad_row_costs_one_record(one, changes, reason):
    assert problems(one(**changes)) == {reason}


def test_a_sex_that_is_not_understood_is_unknown(one):
    (record,) = read(one(is_male="2"))
    assert record.sex is None
    assert record.notes == ("sex '2' is not understood and left out",)


def test_what_a_row_leaves_open(one):
    gaps = {"is_male": "", "AF": "", "death": "", "patient_id": "7.0", "age": "300"}
    (record,) = read(one(**gaps))
    assert (record.sex, record.age, record.patient_id) == (None, 90, "code:7")
    assert record.measurements == {}
    (one() / "patient_metadata.csv").write_text("patient_id,sbp\n1,140\n")
    (record,) = read(one(patient_id="1.0"))
    assert record.clinical == {"sbp": 140.0}
    (record,) = read(one(AF="True", death="False", timey="2.5", RBBB="1"))
    assert {"AF", "RBBB"} <= set(record.labels)
    assert record.measurements == {"death": 0.0, "follow_up_years": 2.5}


def test_shards_that_cannot_be_read(copy):
    path = copy / SHARD
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert problems(copy) == {"truncated-signal"}
    path.write_bytes(b"nothing")
    assert problems(copy) == {"truncated-signal"}
    with h5py.File(path, "w") as file:
        file["exam_id"] = [1]
    assert problems(copy) == {"unreadable-header"}
    with h5py.File(path, "w") as file:
        file["exam_id"] = [1, 2]
        file["tracings"] = np.zeros((2, 4096, 8), dtype=np.float32)
    assert problems(copy) == {"unreadable-header"}
    path.unlink()
    path.symlink_to(copy.parent / "outside.hdf5")
    (copy.parent / "outside.hdf5").write_bytes(whole)
    assert problems(copy) == {"path-traversal"}


def test_zeros_within_a_recording_are_kept(one):
    root = one()
    (before,) = read(root)
    with h5py.File(root / SHARD, "r+") as file:
        first = int(np.flatnonzero(file["tracings"][0].any(axis=1))[0])
        file["tracings"][0, first + 100 : first + 120] = 0
        file["tracings"][0, first : first + 30, 0] = 0
    (after,) = read(root)
    assert after.signal.shape == before.signal.shape
    assert not after.signal[:, 100:120].any()


def test_every_exam_is_stored_or_quarantined_for_its_own_fault(tmp_path):
    root = tmp_path / "raw"
    written = write(root, patients=12, blank=0.2, lost_signal=0.2)
    lost = [row for row in written.rows if row["lost"]]
    blank = [row for row in written.rows if row["blank"] and not row["lost"]]
    assert lost
    assert blank
    config = SourceConfig(reader="code-15", root=root, watch=root, max_quarantined=0.9)
    summary = ingest("code-15", config, Recipe(), tmp_path / "store")
    assert summary.quarantined == {"missing-signal-file": len(lost), "too-short": len(blank)}
    assert summary.stored == len(written.rows) - len(lost) - len(blank)
    store = open_store(tmp_path / "store")
    assert store.leads == LEADS
    stated = {str(row["exam_id"]): {c for c in STATEMENTS if row[c]} for row in written.rows}
    for record in store.records.itertuples():
        assert set(record.labels) == stated[record.record_id]


def test_batches_are_shards(tmp_path, cohort):
    made = layout()
    again = made.write(tmp_path, 0, PATIENTS, 1)
    made.tables(tmp_path, again)
    for name in (SHARD, "exams.csv"):
        assert (tmp_path / name).read_bytes() == (cohort / name).read_bytes()
    assert set(made.write(tmp_path, 100, 101, 50).files) == {"exams_part1.hdf5"}
    for first, last in ((5, 10), (0, 101)):
        with pytest.raises(ValueError, match="not a batch"):
            made.write(tmp_path, first, last, 1)


def test_tables_that_all_exams_need(copy):
    (copy / "exams.csv").write_text("exam_id,age\n1,2\n")
    with pytest.raises(BadInputError, match="no column 'is_male'"):
        read(copy)
    (copy / "exams.csv").unlink()
    with pytest.raises(BadInputError, match=r"exams\.csv does not exist"):
        read(copy)
