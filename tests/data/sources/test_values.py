"""Patients, numbers and labels: the same cell means the same in every reader."""

import csv
import shutil
from contextlib import suppress

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.data.record import CLINICAL_FIELDS, CLINICAL_RANGES
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.base import (
    parse_likelihoods,
    parse_measurement,
    parse_patient,
    read_clinical,
    whole_number,
)
from ecgscale.data.sources.demographics import (
    column_unit,
    is_unknown,
    parse_age,
    parse_labels,
    read_comments,
)
from ecgscale.errors import BadInputError
from support.sources import Simulated, rewrite, rows

NOBODY = ("nan", "NA", " None ", "null", "unknown", "-", "?", "--", "#N/A", "-1", "-999", "1.2E+15")
"""Cells that name no patient."""


class TestPatients:
    @pytest.mark.parametrize("text", [*NOBODY, "N/A", "<NA>", "NaT", "anonymous", "X", "not known"])
    def test_words_that_name_nobody(self, text):
        assert parse_patient(text, "pid") is None

    @pytest.mark.parametrize(
        ("text", "patient"),
        [
            *(("7", "7"), ("7.0", "7"), (" 7.00 ", "7"), ("007", "007"), ("007.0", "007")),
            *(("0", "0"), ("1.2", "1.2"), ("1.2.0", "1.2.0"), ("p.0", "p.0"), ("12E4", "12E4")),
            *(("-12", "-12"), ("Nancy", "Nancy"), ("9007199254740993", "9007199254740993")),
        ],
    )
    def test_identifiers(self, text, patient):
        assert parse_patient(text, "pid") == patient

    @pytest.mark.parametrize("text", ["", "  ", "\u00a0"])
    def test_an_empty_cell_is_a_bad_row(self, text):
        with pytest.raises(QuarantineError, match="pid is empty"):
            parse_patient(text, "pid")

    @given(st.integers(0, 10**20), st.integers(0, 4))
    def test_whole_numbers_lose_no_digit(self, number, zeros):
        assert whole_number(f"{number}" + ("." + "0" * zeros if zeros else "")) == str(number)


def folder(root, write, table, head, *cells, records=("a", "b"), **keys):
    """A folder of WFDB records and a table t.csv (or t.parquet: `cells` is an Arrow table)."""
    root.mkdir(exist_ok=True)
    for number, name in enumerate(records):
        write.wfdb(root, name, write.beats(number), comments=())
    described = {"format": "wfdb", "table": {"path": "t.csv", "record": "file", **table}, **keys}
    if head:
        (root / "t.csv").write_text("\n".join((head, *cells)) + "\n")
    else:
        described["table"]["path"] = "t.parquet"
        pq.write_table(cells[0], root / "t.parquet")
    (root / "source.yaml").write_text(yaml.safe_dump(described))
    return sources.get("folder")(root, "own")


def read(source):
    bad = {}
    found = {record.record_id: record for record in source.iter_records(bad)}
    return found, {name: (error.reason, error.detail) for name, error in bad.items()}


def change(path, column, cell):
    """Write one cell in every row of a table."""
    rewrite(path, [{**row, column: cell} for row in rows(path)])


TABLES = {
    "ptb-xl": ("ptbxl_database.csv", "patient_id"),
    "code-15": ("exams.csv", "patient_id"),
    "mimic-iv-ecg": ("record_list.csv", "subject_id"),
    "mc-med": ("data/visits.csv", "MRN"),
    "aurora-bp": ("measurements_auscultatory.tsv", "pid"),
}
"""Reader to the table with the patients, and the column."""


@pytest.fixture(scope="module")
def cohorts(tmp_path_factory):
    """A small simulated cohort of every source whose table names the patients."""
    roots = {}
    for reader in TABLES:
        roots[reader] = tmp_path_factory.mktemp("cohorts") / reader
        Simulated(reader, "ns", 1).write(roots[reader], 3)
    return roots


@pytest.mark.parametrize("reader", TABLES)
def test_a_patient_that_is_nobody_is_unknown_in_every_reader(cohorts, tmp_path, reader):
    name, column = TABLES[reader]
    known = Simulated(reader, "ns", 1).read(cohorts[reader])
    root = shutil.copytree(cohorts[reader], tmp_path / "copy")
    (root / "patient_metadata.csv").unlink(missing_ok=True)
    path = root / name
    path = path if path.is_file() else root / name.removeprefix("data/")
    change(path, column, " NaN ")
    for header in root.rglob("*.hea"):  # that name the patient, too
        lines = header.read_text().splitlines(keepends=True)
        header.write_text("".join(x for x in lines if "subject_id" not in x))
    found = Simulated(reader, "ns", 1).read(root)
    own = [record for record in found if record.patient_id.startswith("ns:?")]
    assert len(own) >= 2
    assert not [record for record in found if "nan" in record.patient_id.lower()]
    assert len({record.patient_id for record in own}) > 1
    assert all(":?" not in record.patient_id for record in known)


def test_patients_of_a_folder(tmp_path, write):
    names = [f"r{number:02d}" for number in range(len(NOBODY) + 2)]
    cells = (*NOBODY, "007", "7")
    table = [f"{name},{cell}" for name, cell in zip(names, cells, strict=True)]
    root = tmp_path / "in"
    source = folder(root, write, {"patient": "pid"}, "file,pid", *table, records=names)
    (root / "patient_metadata.csv").write_text("patient_id,sbp\nr00,140\nnan,150\n7,160\n")
    found, bad = read(source)
    assert not bad
    *unknown, first, second = (record.patient_id for record in found.values())
    assert unknown == [f"own:?{name}" for name in names[:-2]]
    assert (first, second) == ("own:007", "own:7")
    assert [record.clinical for record in found.values() if record.clinical] == [{"sbp": 160.0}]


def test_patients_of_a_path(tmp_path, write):
    for number, path in enumerate(("p1", "unknown")):
        write.wfdb(tmp_path / path, "a", write.beats(number))
    options = {"patient_pattern": "([^/]+)/"}
    records = sources.get("wfdb-tree")(tmp_path, "t", options).iter_records()
    assert [record.patient_id for record in records] == ["t:p1", "t:?unknown/a"]


def test_patients_of_a_packed_array(tmp_path, write):
    write.packed(tmp_path, [{"patient_id": text} for text in ("p_1", "p_nan", "unknown", "p_02")])
    options = {"signals": "signals.npz", "table": "table.csv", "patient_pattern": "p_(.+)"}
    records = sources.get("packed")(tmp_path, "s", options).iter_records()
    found = [record.patient_id for record in records]
    assert found == ["s:1", "s:?set_1", "s:?set_2", "s:02"]


def test_patients_of_the_challenge(tmp_path, write):
    for number, name in enumerate(("A0001", "A0002", "JS00001")):
        write.wfdb(tmp_path, name, write.beats(number))
    (tmp_path / "p.csv").write_text("record,patient\nA0001,nan\nA0002,7.0\nJS00001,unknown\n")
    (tmp_path / "patient_metadata.csv").write_text("patient_id,sbp\nJS00001,140\n")
    records = sources.get("challenge")(tmp_path, "c", {"patients": "p.csv"}).iter_records()
    found = [(record.patient_id, record.clinical) for record in records]
    assert found == [("c:?A0001", {}), ("c:7", {}), ("c:?JS00001", {})]


def arrow(patients, **more):
    files = ["a", "b", "c"][: len(patients)]
    return pa.table({"file": files, "pid": patients, **more})


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        (pa.array([2**53, 2**53 + 1, None], pa.int64()), [str(2**53), str(2**53 + 1), None]),
        (pa.array([2**64 - 1, 2**64 - 2, 0], pa.uint64()), [str(2**64 - 1), str(2**64 - 2), "0"]),
        (pa.array([7.0, 8.0, None], pa.float64()), ["7", "8", None]),
        (pa.array([2.0**53, 2.0**53 + 2, 5.0], pa.float64()), ["?a", "?b", "5"]),
        (pa.array([16777216.0, 3.0, np.nan], pa.float32()), ["?a", "3", None]),
        (pa.array(["007", "7", "nan"]), ["007", "7", "?c"]),
        (pa.array(["007", "7", "007"]).dictionary_encode(), ["007", "7", "007"]),
        (pa.array([2**53 + 1, 1, 1], pa.int64()).dictionary_encode(), [str(2**53 + 1), "1", "1"]),
        (pa.array([b"p1", b"p2", b"p3"]), ["p1", "p2", "p3"]),
        (pa.array([7, 8, 9]).cast(pa.decimal128(28, 2)), ["7", "8", "9"]),
    ],
)
def test_identifiers_in_parquet_are_exact(tmp_path, write, column, ids):
    source = folder(tmp_path, write, {"patient": "pid"}, "", arrow(column), records="abc")
    found, bad = read(source)
    expected = {name: f"own:{patient}" for name, patient in zip("abc", ids, strict=True) if patient}
    assert {name: record.patient_id for name, record in found.items()} == expected
    empty = {name for name, patient in zip("abc", ids, strict=True) if patient is None}
    assert {name: reason for name, (reason, _) in bad.items()} == dict.fromkeys(
        empty, "bad-metadata"
    )


def test_a_spreadsheet_may_have_made_numbers_of_names(tmp_path, write):
    source = folder(tmp_path, write, {"patient": "pid"}, "file,pid", "1.0,5", "2,6", records="12")
    found, bad = read(source)
    assert {name: record.patient_id for name, record in found.items()} == {
        "1": "own:5",
        "2": "own:6",
    }
    assert not bad


def test_other_cells_of_parquet(tmp_path, write):
    more = {
        "age": pa.array([61.3, None], pa.float32()),
        "sex": pa.array(["F", None]).dictionary_encode(),
        "ef": pa.array([55.5, np.inf], pa.float64()),
    }
    table = {"patient": "pid", "age": "age", "sex": "sex", "measurements": ["ef"]}
    found, _ = read(folder(tmp_path, write, table, "", arrow([1, 2], **more)))
    assert [(x.age, x.sex, x.measurements) for x in found.values()] == [
        (61.3, "F", {"ef": 55.5}),
        (None, None, {}),
    ]
    assert found["b"].notes == ("impossible ef 'inf' left out",)


@pytest.mark.parametrize(
    ("text", "age", "sex"),
    [
        *((text, None, None) for text in ("# Gestational age: 38 weeks", "#Maternal age: 31")),
        *((text, None, None) for text in ("# Diabetes since age 12", "# ECG age: 55")),
        *((text, None, None) for text in ("# Fetal sex: M", "# Child's sex: M", "# bone age: 12")),
        *((text, None, None) for text in ("# father died, age: 50", "# Age of onset: 12")),
        ("# Age:\n# Smoker: yes, since age 15", None, None),
        ("# Sex: F, diabetes since age 12", None, "F"),
        ("# Patient's age: 45\n# Patient sex: F", 45, "F"),
        ("# Patient: 12 Age: 45 Sex: M", 45, "M"),
        ("# Sex: F Age: 45", 45, "F"),
        ("# Name: J. Smith; Age: 45; Sex: male", 45, "M"),
        ("# ID 12, age 45, sex F", 45, "F"),
        ("# Height: 170 cm, Age: 50", 50, None),
        ("# Age: 45 years, 6 months, Sex: F", 45.5, "F"),
        ("# <age>: 51  <sex>: F <diagnoses>: x", 51, "F"),
        ("# Sex (M/F): F", None, "F"),
        ("# Age: 45, F", 45, None),
    ],
)
def test_whose_age_and_sex_a_comment_states(text, age, sex):
    found = read_comments(text)
    assert (found.age, found.sex, found.notes) == (age, sex, ())


@pytest.mark.parametrize(
    "text",
    [
        *("Sex: M or F", "Sex: Male to female", "Sex: F/M", "Sex: F; Sex: M", "Sex: M (trans)"),
        *("Sex: F, partner's sex: M", "Sex: male, female", "Sex: not male", "Sex: possibly F"),
        *("Age: 45; Age: 54", "Age: 45 Age: 54", "Age: 31 (mother)", "Age: 31, mother"),
        *("Age: 6, months", "Age: 38 (weeks gestation)"),
    ],
)
def test_what_a_comment_leaves_open_is_unknown_with_a_note(text):
    found = read_comments(f"# {text}")
    assert (found.age, found.sex) == (None, None)
    assert len(found.notes) == 1
    assert "left out" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *((text, 45) for text in ("45-year-old", "45 (years)", "45 [yrs]", "45 yo", "45-yo")),
        *((text, 45) for text in ("045Y", "P45Y", "45 ans", "45 a\xf1os", "45 Jahre", "45.0")),
        *(
            ("P6M", 0.5),
            ("18-month-old", 1.5),
            ("P1Y6M", 1.5),
            ("45,5", 45.5),
            ("P10D", 10 / 365.25),
        ),
    ],
)
def test_more_spellings_of_an_age(text, age):
    assert parse_age(text) == (pytest.approx(age), ())


def test_a_latin_1_header_and_a_byte_order_mark(tmp_path, write):
    header = write.wfdb(tmp_path, "a", write.beats(0), comments=())
    said = "#Age: 51\n#Sex: m\xe4nnlich\n#Dx: H\xf6he\n"
    header.write_bytes(header.read_bytes() + said.encode("latin-1"))
    header = write.wfdb(tmp_path, "b", write.beats(1), comments=())
    header.write_bytes(b"\xef\xbb\xbf# Age: 45\n" + header.read_bytes() + "#Dx: H\xf6he\n".encode())
    records = list(sources.get("wfdb-tree")(tmp_path, "t").iter_records())
    assert [(x.age, x.sex) for x in records] == [(51, "M"), (45, None)]
    assert [list(x.labels) for x in records] == [["H\xf6he"], ["H\xf6he"]]


SINUS, AF = "426783006", "164889003"


class TestLabels:
    @pytest.mark.parametrize("between", [";", "|", " ", ", ", "; ", "/", "\t"])
    @pytest.mark.parametrize("separator", [",", ";"])
    def test_numbers_are_apart_whatever_was_said(self, between, separator):
        assert parse_labels(f"{SINUS}{between}{AF}", separator) == ((SINUS, AF), ())

    def test_words_are_not_taken_apart(self):
        for text, separator in (("AF|B", ";"), ("AF;AFL", ","), ("['AF', 'B']", ";")):
            (label,), (note,) = parse_labels(text, separator)
            assert label == text
            assert "may be several" in note
        assert parse_labels("AF, paroxysmal", None) == (("AF, paroxysmal",), ())
        assert parse_labels("sinus rhythm", ",") == (("sinus rhythm",), ())

    def test_readers(self, tmp_path, write):
        for number, name in enumerate("ab"):
            comments = (f"#Dx: {SINUS}{'; '[number]}{AF}",)
            write.wfdb(tmp_path, name, write.beats(number), comments=comments)
        for reader in ("challenge", "wfdb-tree"):
            for record in sources.get(reader)(tmp_path, "s").iter_records():
                assert list(record.labels) == [SINUS, AF]

    @pytest.mark.parametrize(
        "text",
        [
            *("{'A': 300.0}", "{'A': -5}", "{'A': 1e999}", "{'A': True}", "{'A': float('nan')}"),
            *("{'A': 100.0, 'A': 0.0}", "{1: 5, '1': 6}", "{'A', 'B'}", "{'A': None}"),
        ],
    )
    def test_likelihoods_that_are_none(self, text):
        with pytest.raises(QuarantineError, match="bad-metadata"):
            parse_likelihoods(text)

    def test_likelihoods(self):
        said = " {'A': 100, 'B': '35.0', 'nan': 100.0}"
        assert parse_likelihoods(said) == ({"A": 100, "B": 35}, ("label 'nan' left out",))


class TestNumbers:
    @pytest.mark.parametrize("text", ["inf", "-inf", "1e400", "-5", "130"])
    def test_an_impossible_measurement_is_left_out_with_a_note(self, text):
        note = f"impossible x {text!r} left out"
        assert parse_measurement(text, "x", (0, 120)) == (None, (note,))

    def test_measurements(self):
        assert parse_measurement(" 55.5 ", "x") == (55.5, ())
        for text in ("", "nan", "N/A", "-"):
            assert parse_measurement(text, "x") == (None, ())
        with pytest.raises(QuarantineError, match=r"x is '5;5', not a number"):
            parse_measurement("5;5", "x")

    def test_every_clinical_field_has_a_range(self):
        assert CLINICAL_RANGES.keys() == CLINICAL_FIELDS.keys()

    @pytest.mark.parametrize(
        ("name", "cells"),
        [
            ("height", ("1.75", "inf", "5000", "-170")),
            ("weight", ("inf", "1e30", "0", "1e400")),
            ("sbp", ("-120", "12.5", "1200")),
            ("dbp", ("0", "999")),
            ("total_cholesterol", ("200",)),
            ("hdl_cholesterol", ("-1",)),
            ("smoker", ("7", "0.5", "2")),
            ("diabetes", ("-1", "9")),
        ],
    )
    def test_clinical_values_that_nobody_has(self, tmp_path, write, name, cells):
        for number, _ in enumerate(cells):
            write.wfdb(tmp_path, f"JS{number:05d}", write.beats(number), comments=("#Dx: " + AF,))
        table = [f"JS{number:05d},{cell}" for number, cell in enumerate(cells)]
        path = tmp_path / "patient_metadata.csv"
        path.write_text("\n".join((f"patient_id,{name}", *table)) + "\n")
        for record in sources.get("challenge")(tmp_path, "s").iter_records():
            assert record.clinical == {}
            (note,) = record.notes
            assert note.startswith(f"impossible {name} ")

    def test_clinical_values(self, tmp_path, write):
        write.wfdb(tmp_path, "JS00001", write.beats(0), comments=("#Dx: " + AF,))
        write.wfdb(tmp_path, "JS00002", write.beats(1), comments=("#Dx: " + AF,))
        path = tmp_path / "patient_metadata.csv"
        path.write_text(
            "patient_id,sbp,dbp,smoker,height\nJS00001,120,80,1,nan\nJS00002,80,120,0,\nnan,9,9,9,9\n"
        )
        first, second = sources.get("challenge")(tmp_path, "s").iter_records()
        assert (first.clinical, first.notes) == ({"sbp": 120, "dbp": 80, "smoker": 1}, ())
        assert second.clinical == {"smoker": 0}
        assert second.notes == ("sbp 80 is not above dbp 120, both left out",)
        assert "nan" not in read_clinical(tmp_path)

    def test_the_body_in_ptb_xl(self, tmp_path, write):
        cells = ({"height": "1.75", "weight": "inf"}, {"height": "175", "weight": "70"})
        write.ptb_xl(tmp_path, list(cells))
        first, second = sources.get("ptb-xl")(tmp_path, "p").iter_records()
        assert first.clinical == {}
        assert first.notes == (
            "impossible weight 'inf' left out",
            "impossible height 1.75 left out",
        )
        assert (second.clinical, second.notes) == ({"height": 175, "weight": 70}, ())

    def test_the_age_in_the_unit_of_its_column(self, tmp_path, write):
        cells = ("a,1,18", "b,2,6 years", "c,3,200")
        for column, first in (("age_months", 1.5), ("age (days)", 18 / 365.25), ("age", 18)):
            table = {"patient": "pid", "age": column}
            head = f"file,pid,{column}"
            found, _ = read(folder(tmp_path, write, table, head, *cells, records="abc"))
            assert found["a"].age == pytest.approx(first)
            assert found["b"].age == 6
            told = [note for note in found["a"].notes if repr(column) in note]
            assert bool(told) == (column != "age")
        assert found["c"].age is None
        table = {"patient": "pid", "age": "age_m"}
        found, _ = read(folder(tmp_path, write, table, "file,pid,age_m", *cells, records="abc"))
        assert [record.age for record in found.values()] == [None] * 3
        assert "'age_m' does not say" in found["a"].notes[0]

    @pytest.mark.parametrize(
        ("column", "unit"),
        [
            *(("age", "y"), ("AgeYears", "y"), ("age_at_day_of_ecg", "y"), ("stage", "y")),
            *(("age_in_months_at_ecg", "m"), ("AGE_MONTHS", "m"), ("agemonths", "m")),
            *(("AgeInDays", "d"), ("age[d]", "d"), ("weeks of age", "w"), ("age_hours", "h")),
        ],
    )
    def test_units_of_columns(self, column, unit):
        assert column_unit(column) == unit

    @given(st.text(max_size=8))
    def test_a_cell_says_nothing_or_is_a_number_or_a_bad_row(self, text):
        with suppress(QuarantineError):
            value, notes = parse_measurement(text, "x", (0, 10))
            assert (value is None and (is_unknown(text) or notes)) or 0 <= value <= 10


def test_a_measurement_that_is_not_finite(tmp_path, write):
    table = {"patient": "pid", "measurements": ["ef"]}
    found, bad = read(folder(tmp_path, write, table, "file,pid,ef", "a,1,1e400", "b,2,nan"))
    assert not bad
    assert [(x.measurements, x.notes) for x in found.values()] == [
        ({}, ("impossible ef '1e400' left out",)),
        ({}, ()),
    ]


def code_15(root, write, exams, **columns):
    """A shard with these exams, all tracings different, and a table with a row for each number."""
    signals = np.stack([write.beats(n, fs=400).T / 1000 for n in range(len(exams))])
    root.mkdir(exist_ok=True)
    with h5py.File(root / "exams_part0.hdf5", "w") as file:
        file["exam_id"], file["tracings"] = np.asarray(exams), signals.astype("f4")
    names = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF", "normal_ecg")
    base = {**dict.fromkeys(names, "False"), "age": "45", "is_male": "True", "death": "True"}
    base |= {"timey": "2.5", "trace_file": "exams_part0.hdf5"}
    ids = sorted({str(int(exam)) for exam in exams if int(exam)})
    with (root / "exams.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["exam_id", "patient_id", *base])
        writer.writeheader()
        for exam in ids:
            writer.writerow({"exam_id": exam, "patient_id": f"1{exam}", **base, **columns})
    return read(sources.get("code-15")(root, "c"))


def test_an_exam_that_a_shard_holds_twice_is_set_aside(tmp_path, write):
    found, bad = code_15(tmp_path, write, [1, 2, 2, 3, 0, 0])
    assert list(found) == ["1", "3"]
    np.testing.assert_allclose(found["3"].signal, write.beats(3, fs=400) / 1000, rtol=1e-6)
    assert bad == {"2": ("duplicate-record", "exams_part0.hdf5 has 2 tracings of exam 2")}


@pytest.mark.parametrize("kind", [float, "S2", np.uint64])
def test_exams_are_found_whatever_type_their_numbers_have(tmp_path, write, kind):
    found, _ = code_15(tmp_path, write, np.array([1, 2]).astype(kind))
    assert list(found) == ["1", "2"]


@pytest.mark.parametrize("years", ["-5", "inf", "1e400", "500"])
def test_an_impossible_follow_up(tmp_path, write, years):
    found, _ = code_15(tmp_path, write, [1], timey=years)
    assert found["1"].measurements == {}
    assert found["1"].notes == (f"impossible timey {years!r} left out",)


def test_an_entry_that_a_packed_array_holds_twice_is_set_aside(tmp_path, write):
    signals = np.stack([write.beats(number) for number in range(3)])
    uids = np.array(["set_0", "set_1", "set_0"])
    write.packed(tmp_path, [{}, {}], signals=signals, uids=uids)
    options = {"signals": "signals.npz", "table": "table.csv"}
    found, bad = read(sources.get("packed")(tmp_path, "s", options))
    assert list(found) == ["set_1"]
    assert bad["set_0"] == ("duplicate-record", "signals.npz has several entries named 'set_0'")


@pytest.mark.parametrize("reader", ["challenge", "wfdb-tree"])
def test_a_list_may_name_signal_files(tmp_path, write, reader):
    for number, name in enumerate("abc"):
        write.wfdb(tmp_path, name, write.beats(number))
    (tmp_path / "RECORDS").write_text("a.mat\nb.hea\nc\na\n")
    found, bad = read(sources.get(reader)(tmp_path, "s"))
    assert [name.removesuffix(":0") for name in found] == ["a", "b", "c"]
    assert not bad


def test_a_fold_is_in_one_part_of_a_split(tmp_path, write):
    split = {"fold": {"validation": [8, 9], "test": [9, 10]}}
    tasks = {"own": {"kind": "binary", "column": "x", "split": split}}
    with pytest.raises(BadInputError, match=r"source.yaml: .*fold 9 is in validation and in test"):
        folder(tmp_path, write, {"patient": "pid"}, "file,pid,x", "a,1,0", tasks=tasks)
