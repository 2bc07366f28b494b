"""The layout of the PhysioNet/CinC Challenges."""

import numpy as np
import pytest

from ecgscale.data.sources import sources
from ecgscale.datasets.challenge.reader import is_sctid
from ecgscale.errors import BadInputError


def read(root, **options):
    return list(sources.get("challenge")(root, "csn", options).iter_records())


def test_one_record(tmp_path, write):
    comments = ("# Age: 71", "# Sex: M", "# Dx: 164889003,59118001")
    write.wfdb(tmp_path, "A1", write.beats(1), comments=comments)
    (record,) = read(tmp_path)
    assert (record.record_id, record.patient_id) == ("A1", "csn:?A1")
    assert (record.age, record.sex, record.fold, record.split) == (71, "M", None, None)
    assert record.labels == {"164889003": 100.0, "59118001": 100.0}
    assert record.notes == ()
    np.testing.assert_allclose(record.signal, write.beats(1) / 1000, rtol=1e-6)


def test_found_in_nested_folders_in_the_order_of_paths(tmp_path, write):
    write.wfdb(tmp_path / "WFDBRecords" / "02" / "020", "JS2", write.beats(2))
    write.wfdb(tmp_path / "WFDBRecords" / "01" / "019", "JS9", write.beats(9))
    write.wfdb(tmp_path, "A1", write.beats(1))
    (tmp_path / "RECORDS").write_text("WFDBRecords/01/019/\nA1\nWFDBRecords/02/020/JS2.hea\n\n")
    assert [record.record_id for record in read(tmp_path)] == ["A1", "JS9", "JS2"]


@pytest.mark.parametrize(
    ("comments", "note"),
    [((), "no #Dx"), (("#Dx:",), "empty #Dx"), (("#Dx: ",), "empty #Dx")],
)
def test_no_labels(tmp_path, write, comments, note):
    write.wfdb(tmp_path, "a", write.beats(1), comments=comments)
    (record,) = read(tmp_path)
    assert record.labels == {}
    assert record.notes == (f"{note} in the header",)


def test_repeated_and_empty_codes(tmp_path, write):
    write.wfdb(tmp_path, "a", write.beats(1), comments=("#Dx: 284470004,,284470004",))
    (record,) = read(tmp_path)
    assert record.labels == {"284470004": 100.0}
    assert record.notes == ("an empty label left out",)


@pytest.mark.parametrize("scale", [0.6, 1.0, 2.0])
def test_the_misstated_gain_is_judged_by_the_amplitude(tmp_path, write, scale):
    """Integers in uV under a header of 4880/mV are read as 1000/mV; true 4880/mV stays."""
    microvolts = np.rint(write.beats(1) * scale)
    write.wfdb(tmp_path, "a", microvolts, gain="4880/mV")
    write.wfdb(tmp_path, "b", np.rint(microvolts * 4.88), gain="4880/mV")
    wrong, right = read(tmp_path)
    np.testing.assert_allclose(wrong.signal, microvolts / 1000, atol=1e-6)
    np.testing.assert_allclose(right.signal, microvolts / 1000, atol=2e-4)
    assert "gain 4880/mV in the header read as 1000/mV" in wrong.notes[0]
    assert right.notes == ()


def test_other_gains_are_believed(tmp_path, write):
    write.wfdb(tmp_path, "a", np.rint(write.beats(1) * 0.2), gain="1000/mV")
    (record,) = read(tmp_path)
    np.testing.assert_allclose(record.signal, np.rint(write.beats(1) * 0.2) / 1000, atol=1e-6)
    assert record.notes == ()


def split_lists(folder, write, **splits):
    for split in ("train", "val", "test"):
        rows = [
            {
                "ecg_path": f"/x/WFDBRecords/{name}.mat",
                "age": 12,
                "diagnose": "SR",
                "SR": 1,
                "AF": 0,
            }
            for name in splits.get(split, ("other" + split,))
        ]
        write.csv(folder / f"chapman_{split}.csv", rows)


def test_split_lists(tmp_path, write):
    for number, name in enumerate("abcd"):
        write.wfdb(tmp_path / "in", name, write.beats(number))
    split_lists(tmp_path / "lists", write, train=("a",), val=("b",), test=("c",))
    for folder in ("../lists", tmp_path / "lists"):
        records = read(tmp_path / "in", split_lists=folder)
        assert [record.split for record in records] == ["train", "validation", "test", None]
        assert [record.split_labels for record in records] == [("SR",), ("SR",), ("SR",), ()]


def test_split_lists_that_leak_or_are_absent(tmp_path, write):
    write.wfdb(tmp_path / "in", "a", write.beats(1))
    split_lists(tmp_path / "lists", write, train=("a",), test=("a",))
    with pytest.raises(BadInputError, match="lists a in both train and test"):
        read(tmp_path / "in", split_lists=tmp_path / "lists")
    with pytest.raises(BadInputError, match=r"chapman_train\.csv does not exist"):
        read(tmp_path / "in", split_lists="nowhere")


def test_the_patient_table_is_joined_by_record(tmp_path, write):
    write.wfdb(tmp_path, "a", write.beats(1))
    write.csv(tmp_path / "patient_metadata.csv", [{"patient_id": "a", "smoker": 1}])
    assert read(tmp_path)[0].clinical == {"smoker": 1.0}


NAMES = ("A0001", "E00001", "HR00007", "I0002", "I0003", "JS00001", "Q0001", "S0001", "x")


def patients(root, **options):
    return {record.record_id: record.patient_id for record in read(root, **options)}


class TestPatients:
    @pytest.fixture
    def root(self, tmp_path, write):
        for number, name in enumerate(NAMES):
            write.wfdb(tmp_path / "in", name, write.beats(number))
        return tmp_path / "in"

    def test_only_one_database_has_a_record_for_each(self, root):
        expected = {name: f"csn:?{name}" for name in NAMES} | {"JS00001": "csn:JS00001"}
        assert patients(root) == expected
        assert patients(root, patients="record") == {name: f"csn:{name}" for name in NAMES}

    def test_a_table_of_ones_own(self, root, write):
        rows = [("S0001", "9"), ("A0001", "9"), ("JS00001", "one"), ("S0002", "2")]
        write.csv(root / "own.csv", [{"record": r, "patient": p} for r, p in rows])
        found = patients(root, patients="own.csv")
        assert found == patients(root) | {
            **{"S0001": "csn:9", "A0001": "csn:9"},
            "JS00001": "csn:one",
        }
        (source,) = {
            path.name
            for path in sources.get("challenge")(root, "csn", {"patients": "own.csv"}).tables()
        } - {"patient_metadata.csv"}
        assert source == "own.csv"

    def test_the_table_of_ptb_xl(self, root, write):
        write.csv(root / "ptbxl_database.csv", [{"ecg_id": "7", "patient_id": "15709.0", "x": ""}])
        found = patients(root, patients="ptbxl_database.csv")
        assert found == patients(root) | {"HR00007": "csn:15709"}

    def test_the_list_of_incart(self, root):
        lines = "patient 1\nI01 I02\nAcute MI\n\nPatient 2\nI03 I04 I05\n"
        (root / "files-patients-diagnoses.txt").write_text(lines)
        found = patients(root, patients="files-patients-diagnoses.txt")
        assert found == patients(root) | {"I0002": "csn:incart-1", "I0003": "csn:incart-2"}

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("p.csv", "record,patient\na,1\na,2\n", "names several patients for the record 'a'"),
            ("p.csv", "record,patient\na,\n", "names no patient for the record 'a'"),
            ("p.csv", "record,who\na,1\n", "has no column 'patient'"),
            ("p.csv", "", "is empty"),
            ("p.txt", "I01\npatient 1\n", "line 1: records before the first patient"),
            ("p.txt", "patient 1\nI01\npatient 2\nI01\n", "line 4: I01 is of two patients"),
            ("p.txt", "nothing\n", "has no lines with a patient and records"),
        ],
    )
    def test_a_bad_table_is_one_sentence(self, root, name, text, sentence):
        (root / name).write_text(text)
        with pytest.raises(BadInputError, match=sentence):
            read(root, patients=name)


def test_a_list_in_latin_1_is_one_sentence(tmp_path, write):
    write.wfdb(tmp_path, "a", write.beats(1))
    (tmp_path / "RECORDS").write_bytes(b"a\ncaf\xe9\n")
    with pytest.raises(BadInputError, match="RECORDS cannot be read: line 2 is not UTF-8"):
        read(tmp_path)


def verhoeff_table():
    """The textbook multiplication table of the dihedral group and its permutation table."""
    d = [[0] * 10 for _ in range(10)]
    for i in range(10):
        for j in range(10):
            if i < 5:
                d[i][j] = (i + j) % 5 if j < 5 else (i + j) % 5 + 5
            else:
                d[i][j] = (i - j) % 5 + 5 if j < 5 else (i - j) % 5
    p = [list(range(10)), [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]]
    for _ in range(6):
        p.append([p[1][value] for value in p[-1]])
    return d, p


def test_check_digits_against_the_textbook_tables():
    d, p = verhoeff_table()
    codes = [
        *map(str, np.random.default_rng(0).integers(10**5, 10**12, 500)),
        "426783006",
        "368009",
    ]
    for code in codes:
        check = 0
        for position, digit in enumerate(map(int, reversed(code))):
            check = d[check][p[position % 8][digit]]
        assert is_sctid(code) == (check == 0)
    assert is_sctid("426783006")
    assert is_sctid("67741000119109")
    for text in ("", "12345", "042678300", "426783006a", "٤٢٦٧٨٣٠٠٦", "4" * 19):
        assert not is_sctid(text)
