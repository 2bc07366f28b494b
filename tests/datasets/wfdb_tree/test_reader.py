"""Folders of WFDB records: what other sources leave open is an option here."""

import numpy as np
import pytest
import wfdb

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError


def source(root, **options):
    return sources.get("wfdb-tree")(root, "tree", options)


def read(root, **options):
    return list(source(root, **options).iter_records())


def problem(root, **options):
    quarantined = {}
    list(source(root, **options).iter_records(quarantined))
    (error,) = quarantined.values()
    return error.reason


def names(root, **options):
    return [record.record_id for record in read(root, **options)]


@pytest.fixture
def tree(tmp_path, write):
    """Three records of two patients, format 16: `.mat` and `.dat`, as in HEEDB's two halves."""
    root = tmp_path / "tree"
    write.wfdb(root / "I0001" / "p1", "de_1", write.beats(0))
    write.wfdb(root / "I0001" / "p1", "de_2", write.beats(1))
    plain = {"suffix": ".dat", "offset": 0, "comments": ()}
    write.wfdb(root / "I0006" / "p2", "de_3", write.beats(2, fs=250), fs=250, **plain)
    return root


class TestWhichRecords:
    def test_every_header_without_a_list(self, tree):
        assert names(tree) == ["I0001/p1/de_1:0", "I0001/p1/de_2:0", "I0006/p2/de_3:0"]

    def test_those_of_records_and_of_the_folders_that_it_names(self, tree):
        (tree / "RECORDS").write_text("I0006/p2/de_3.hea\n\nI0001/\nI0001/\n./\n")
        (tree / "I0001" / "RECORDS").write_text("p1/de_2\n")
        assert names(tree) == ["I0006/p2/de_3:0", "I0001/p1/de_2:0"]

    def test_listed_records_without_files_do_not_vanish(self, tree):
        (tree / "RECORDS").write_text("I0001/p1/de_1\nI0001/p1/de_9\n")
        assert problem(tree) == "unreadable-header"

    def test_a_list_cannot_lead_outside(self, tree):
        (tree.parent / "RECORDS").write_text("x\n")
        (tree / "RECORDS").write_text("../\n")
        with pytest.raises(BadInputError, match="lies outside the source folder"):
            read(tree)
        (tree / "RECORDS").write_text("../outside/a\n")
        assert problem(tree) == "path-traversal"

    def test_a_folder_without_records(self, tmp_path):
        with pytest.raises(BadInputError, match="has no WFDB records"):
            read(tmp_path)
        with pytest.raises(BadInputError, match="absent does not exist"):
            read(tmp_path / "absent")

    def test_unreadable_lists(self, tree):
        with pytest.raises(BadInputError, match="gone does not exist"):
            read(tree, label_lists={"gone": "x"})
        (tree / "RECORDS").write_bytes(b"\xff\n")
        with pytest.raises(BadInputError, match="RECORDS cannot be read"):
            read(tree)
        (tree / "RECORDS").write_text("I0001/\n")
        (tree / "I0001" / "RECORDS").write_text("../I0001/\n")
        with pytest.raises(BadInputError, match="I0001/RECORDS leads to itself"):
            read(tree)


class TestWhatIsKnown:
    def test_header_comments(self, tree):
        first, _, third = read(tree)
        assert (first.age, first.sex, first.labels) == (50, "F", {"426783006": 100.0})
        assert (third.age, third.sex, third.labels) == (None, None, {})
        assert (first.fs, third.fs) == (100, 250)

    @pytest.mark.parametrize(
        ("comment", "age", "sex"),
        [
            ("# Age: 81 Sex: M", 81, "M"),
            ("#<age>: 51  <sex>: F <diagnoses>:", 51, "F"),
            ("# age: 81.5\n# gender: female", 81.5, "F"),
            ("# average: 3", None, None),
        ],
    )
    def test_age_and_sex_in_the_comments_of_other_databases(
        self, tmp_path, write, comment, age, sex
    ):
        write.wfdb(tmp_path, "a", write.beats(0), comments=(comment,))
        (record,) = read(tmp_path)
        assert (record.age, record.sex) == (age, sex)

    def test_patients(self, tree):
        own = [record.patient_id for record in read(tree)]
        assert own == ["tree:?I0001/p1/de_1", "tree:?I0001/p1/de_2", "tree:?I0006/p2/de_3"]
        by_record = [record.patient_id for record in read(tree, patients="record")]
        assert by_record == ["tree:I0001/p1/de_1", "tree:I0001/p1/de_2", "tree:I0006/p2/de_3"]
        by_folder = [record.patient_id for record in read(tree, patient_pattern="/(p[0-9]+)/")]
        assert by_folder == ["tree:p1", "tree:p1", "tree:p2"]
        assert problem(tree, patient_pattern="I0001/(p[0-9]+)/") == "bad-metadata"
        with pytest.raises(BadInputError, match="patient_pattern: 'p' has no group"):
            source(tree, patient_pattern="p")

    def test_a_table_by_file_name(self, tree, write):
        rows = [
            {"FileName": "de_1.mat", "BDSPPatientID": "7.0", "AgeAtVisit": "61", "Sex": "Male"},
            {"FileName": "de_3.dat", "BDSPPatientID": "8", "AgeAtVisit": "300", "Sex": ""},
            {"FileName": "de_99.dat", "BDSPPatientID": "9", "AgeAtVisit": "1", "Sex": "F"},
            {"FileName": "I0001/p1/de_2", "BDSPPatientID": "7", "AgeAtVisit": "", "Sex": "x"},
        ]
        write.csv(tree / "metadata.csv", rows)
        write.csv(tree / "patient_metadata.csv", [{"patient_id": "7", "sbp": "140"}])
        table = {"path": "metadata.csv", "record": "FileName", "patient": "BDSPPatientID"}
        first, second, third = read(tree, table={**table, "age": "AgeAtVisit", "sex": "Sex"})
        assert [r.patient_id for r in (first, second, third)] == ["tree:7", "tree:7", "tree:8"]
        assert (first.age, first.sex) == (61, "M")
        assert (second.age, second.sex) == (50, "F"), "the header's, where the table has none"
        assert (third.age, third.sex) == (90, None)
        assert first.clinical == {"sbp": 140.0}

    def test_a_record_without_a_row_is_set_aside(self, tree, write):
        write.csv(tree / "t.csv", [{"f": "de_1", "p": "1"}, {"f": "de_3", "p": "2"}])
        table = {"path": "t.csv", "record": "f", "patient": "p"}
        assert problem(tree, table=table) == "bad-metadata"

    def test_label_lists_add_to_the_comments(self, tree):
        (tree / "I0001" / "good").write_text("p1/de_1\n")
        first, second, _ = read(tree, label_lists={"I0001/good": "quality:good"})
        assert first.labels == {"426783006": 100.0, "quality:good": 100.0}
        assert second.labels == {"426783006": 100.0}

    def test_unknown_option_of_the_table(self, tree):
        with pytest.raises(BadInputError, match=r"table\.pateint: Extra inputs"):
            source(tree, table={"path": "t.csv", "record": "r", "pateint": "p"})


def other(root, name, signal, **kwargs):
    root.mkdir(exist_ok=True)
    defaults = {"fs": 100, "units": ["mV"] * signal.shape[1], "sig_name": ["MLII", "V5"]}
    wfdb.wrsamp(name, p_signal=signal, write_dir=str(root), **{**defaults, **kwargs})


@pytest.fixture
def signal(write):
    return write.beats(3)[[1, 10]].T / 1000.0


class TestOtherFormats:
    @pytest.mark.parametrize("fmt", ["212", "80", "16", "24"])
    def test_samples_are_those_of_the_wfdb_package(self, tmp_path, signal, fmt):
        other(tmp_path, "a", signal, fmt=[fmt, fmt])
        (record,) = read(tmp_path, lead_names={"MLII": "II"}, leads=["II", "V5"])
        expected = wfdb.rdrecord(str(tmp_path / "a")).p_signal.T
        np.testing.assert_allclose(record.signal, expected, rtol=1e-6, atol=1e-6)
        assert record.leads == ("II", "V5")

    def test_windows(self, tmp_path, signal):
        other(tmp_path, "a", signal, fmt=["212", "212"])
        other(tmp_path, "b", signal, fmt=["16", "16"])
        whole = {name: wfdb.rdrecord(str(tmp_path / name)).p_signal.T for name in "ab"}
        records = read(tmp_path, windows=9, window_seconds=3)
        assert [r.record_id for r in records] == [f"{n}:{s}" for n in "ab" for s in (0, 300, 600)]
        for record in records:
            name, start = record.record_id.split(":")
            expected = whole[name][:, int(start) : int(start) + 300]
            np.testing.assert_allclose(record.signal, expected, rtol=1e-6, atol=1e-6)

    def test_a_window_after_the_end_is_too_short(self, tmp_path, signal, write):
        other(tmp_path, "a", signal, fmt=["16", "16"])
        tree = source(tmp_path, windows=2, window_seconds=5)
        _, second = tree.index()
        other(tmp_path, "a", signal[:300], fmt=["16", "16"])
        with pytest.raises(QuarantineError, match="too-short"):
            tree.read(second)
        other(tmp_path, "a", signal[:300], fmt=["212", "212"])
        with pytest.raises(QuarantineError, match="too-short"):
            tree.read(second)

    def test_signals_that_are_no_voltage_are_left_out(self, tmp_path, signal):
        three = np.column_stack([signal[:, 0] * 1000, signal[:, 1], signal[:, 0]])
        columns = {"units": ["uV", "mmHg", "mV"], "sig_name": ["II", "ABP", "V"]}
        other(tmp_path, "a", three, fmt=["212"] * 3, **columns)
        (record,) = read(tmp_path)
        assert (record.leads, record.notes) == (("II", "V"), ("not a voltage, left out: ABP",))
        np.testing.assert_allclose(record.signal, np.stack([signal[:, 0]] * 2), atol=2e-3)
        other(tmp_path, "a", signal, fmt=["212"] * 2, units=["mmHg", "NU"])
        assert problem(tmp_path) == "bad-gain"

    def test_segments(self, tmp_path, signal):
        other(tmp_path, "a", signal[:400], fmt=["212", "212"])
        other(tmp_path, "b", signal[400:], fmt=["212", "212"])
        (tmp_path / "m.hea").write_text("m/2 2 100 1000\na 400\nb 600\n")
        (tmp_path / "RECORDS").write_text("m\n")
        (record,) = read(tmp_path)
        np.testing.assert_allclose(record.signal, signal.T, atol=2e-3)
        (tmp_path / "b.dat").unlink()
        assert problem(tmp_path) == "missing-signal-file"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" 212 ", " 999 ", "unreadable-header"),
        ("a 2 100 1000", "a 2 5 1000", "wrong-rate"),
        ("a 2 100 1000", "a 2 100", "unreadable-header"),
        ("a 2 100 1000", "a 2 100 9000", "truncated-signal"),
        ("a.dat", "gone.dat", "missing-signal-file"),
        ("a.dat", "../outside.dat", "path-traversal"),
    ],
)
def test_bad_records_of_other_formats_are_set_aside(tmp_path, signal, old, new, reason):
    root = tmp_path / "in"
    other(root, "a", signal, fmt=["212", "212"])
    (tmp_path / "outside.dat").write_bytes((root / "a.dat").read_bytes())
    header = root / "a.hea"
    assert old in header.read_text()
    header.write_text(header.read_text().replace(old, new))
    assert problem(root, window_seconds=60) == reason


@pytest.mark.parametrize("gain", ["0/mV", "200/mmHg"])
def test_a_gain_that_wfdb_would_replace_is_bad(tmp_path, write, gain):
    write.wfdb(tmp_path, "a", write.beats(0), gain=gain)
    assert problem(tmp_path) == "bad-gain"


def test_ingest_of_a_tree(tree, tmp_path):
    options = {"patient_pattern": "/(p[0-9]+)/"}
    config = SourceConfig(reader="wfdb-tree", root=tree, watch=tree, options=options)
    summary = ingest("heedb", config, Recipe(), tmp_path / "store", jobs=2)
    assert summary.stored == 3
    store = open_store(tmp_path / "store")
    assert list(store.records["patient_id"]) == ["heedb:p1", "heedb:p1", "heedb:p2"]
    assert len(store.leads) == 12


@pytest.mark.real
def test_real_recordings_are_read_as_the_challenge_reader_does(recordings):
    root = recordings / "chapman-shaoxing"
    expected = {
        record.record_id: record for record in sources.get("challenge")(root, "x").iter_records({})
    }
    records = list(source(root).iter_records({}))
    assert len(records) == len(expected) > 5
    for record in records:
        other = expected[record.record_id.removesuffix(":0")]
        np.testing.assert_array_equal(record.signal, other.signal[:, :5000])
        assert (record.age, record.sex, record.labels) == (other.age, other.sex, other.labels)
