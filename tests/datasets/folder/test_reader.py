"""Your own recordings: each format, and what is said when the description is wrong."""

import numpy as np
import pandas as pd
import pytest
import yaml

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources import description as module
from ecgscale.data.sources import sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError

LEADS = ("I", "II", "V1")


def describe(root, **keys):
    root.mkdir(parents=True, exist_ok=True)
    base = {} if keys.get("format") == "wfdb" else {"fs": 100, "units": "mV", "leads": list(LEADS)}
    (root / "source.yaml").write_text(yaml.safe_dump({**base, **keys}))


def source(root):
    return sources.get("folder")(root, "own", {})


def read(root):
    return list(source(root).iter_records())


def problem(root):
    quarantined = {}
    list(source(root).iter_records(quarantined))
    (error,) = quarantined.values()
    return error.reason


@pytest.fixture
def signal(write):
    """Shape (lead, time), mV."""
    return write.beats(1)[[0, 1, 6]] / 1000.0


def save(path, signal, scale=1.0, names=LEADS, **csv):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(signal.T * scale, columns=list(names))
    if path.suffix == ".csv":
        frame.to_csv(path, index=False, **csv)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        np.save(path, signal * scale)


class TestFormats:
    @pytest.mark.parametrize("form", ["csv", "npy", "parquet"])
    @pytest.mark.parametrize(("units", "scale"), [("mV", 1), ("uV", 1e3), ("V", 1e-3)])
    def test_units(self, tmp_path, signal, form, units, scale):
        describe(tmp_path, format=form, units=units)
        save(tmp_path / f"a/x.{form}", signal, scale)
        (record,) = read(tmp_path)
        np.testing.assert_allclose(record.signal, signal, rtol=1e-5, atol=1e-6)
        assert record.signal.dtype == np.float32
        assert (record.record_id, record.patient_id) == ("a/x", "own:?a/x")
        assert (record.fs, record.leads) == (100, LEADS)

    def test_steps_of_a_converter(self, tmp_path, signal):
        describe(tmp_path, format="npy", units="adu", gain=200)
        np.save(tmp_path / "x.npy", np.rint(signal * 200).astype(np.int16).T)
        (record,) = read(tmp_path)
        np.testing.assert_allclose(record.signal, signal, atol=0.0026)

    def test_many_records_in_one_array(self, tmp_path, signal):
        describe(tmp_path, format="npy")
        np.save(tmp_path / "x.npy", np.stack([signal.T, 2 * signal.T]))
        first, second = read(tmp_path)
        assert (first.record_id, second.record_id) == ("x:0", "x:1")
        np.testing.assert_allclose(second.signal, 2 * signal, rtol=1e-6)

    def test_one_lead(self, tmp_path, signal):
        describe(tmp_path, format="npy", leads=["avf"])
        np.save(tmp_path / "x.npy", signal[0])
        (record,) = read(tmp_path)
        assert record.leads == source(tmp_path).leads == ("aVF",)
        assert record.signal.shape == (1, 1000)

    def test_twelve_leads_are_what_a_recipe_expects(self, tmp_path, write):
        describe(tmp_path, format="npy", leads=[lead.upper() for lead in write.leads[::-1]])
        np.save(tmp_path / "x.npy", write.beats(0)[::-1] / 1000)
        (record,) = read(tmp_path)
        assert record.leads == write.leads[::-1]
        assert source(tmp_path).leads is None

    def test_columns_by_name(self, tmp_path, signal):
        extra = np.vstack([np.arange(1000) / 100, signal])
        names = ("time", "b", "a", "c")
        for form in ("csv", "parquet"):
            describe(tmp_path / form, format=form, columns=["a", "b", "c"], leads=["II", "I", "V1"])
            save(tmp_path / form / f"x.{form}", extra, names=names)
            (record,) = read(tmp_path / form)
            np.testing.assert_allclose(record.signal, signal[[1, 0, 2]], rtol=1e-6)

    def test_european_csv_without_header(self, tmp_path, signal):
        describe(tmp_path, format="csv", header=False, delimiter=";", decimal=",")
        save(tmp_path / "x.csv", signal, sep=";", decimal=",", header=False)
        (record,) = read(tmp_path)
        np.testing.assert_allclose(record.signal, signal, rtol=1e-6)

    def test_wfdb(self, tmp_path, write):
        describe(tmp_path, format="wfdb", leads=["II"])
        samples = write.beats(2)
        write.wfdb(tmp_path / "p1", "x", samples, suffix=".dat", offset=0)
        (record,) = read(tmp_path)
        np.testing.assert_allclose(record.signal, samples / 1000, rtol=1e-6)
        assert (record.record_id, record.leads) == ("p1/x", write.leads)
        assert source(tmp_path).leads == ("II",)

    def test_only_the_files_of_the_glob(self, tmp_path, signal):
        describe(tmp_path, format="csv", files="ecg/*.csv")
        save(tmp_path / "ecg" / "x.csv", signal)
        save(tmp_path / "other" / "y.csv", signal)
        assert [record.record_id for record in read(tmp_path)] == ["ecg/x"]


TABLE = {
    "path": "patients.csv",
    "record": "file",
    "patient": "pid",
    "age": "age",
    "sex": "sex",
    "labels": "dx",
    "label_separator": "|",
    "split": "part",
    "measurements": ["lvef"],
}
ROW = {
    "file": "a/x.csv",
    "pid": "7",
    "age": "61",
    "sex": "F",
    "dx": "AF | PVC|",
    "part": "val",
    "lvef": "55.5",
}


class TestTable:
    def fill(self, root, signal, rows, **keys):
        describe(root, format="csv", table={**TABLE, **keys})
        save(root / "a" / "x.csv", signal)
        table = root / keys.get("path", "patients.csv")
        frame = pd.DataFrame(rows)
        if table.suffix == ".parquet":
            frame.to_parquet(table)
        else:
            frame.to_csv(table, index=False)

    @pytest.mark.parametrize("path", ["patients.csv", "patients.parquet"])
    @pytest.mark.parametrize("file", ["a/x.csv", "./a/x", "x", "x.csv"])
    def test_a_row_is_the_record(self, tmp_path, signal, path, file):
        self.fill(tmp_path, signal, [{**ROW, "file": file}], path=path)
        pd.DataFrame([{"patient_id": "7", "weight": 80}]).to_csv(
            tmp_path / "patient_metadata.csv", index=False
        )
        (record,) = read(tmp_path)
        assert (record.record_id, record.patient_id) == ("a/x", "own:7")
        assert (record.age, record.sex, record.split) == (61, "F", "validation")
        assert record.labels == {"AF": 100.0, "PVC": 100.0}
        assert record.measurements == {"lvef": 55.5}
        assert record.clinical == {"weight": 80.0}

    def test_numbers_and_gaps_of_a_parquet_table(self, tmp_path, signal):
        row = {**ROW, "pid": 7.0, "age": np.nan, "lvef": None, "dx": None, "part": ""}
        self.fill(tmp_path, signal, [row], path="patients.parquet")
        (record,) = read(tmp_path)
        assert (record.patient_id, record.age, record.split) == ("own:7", None, None)
        assert (record.labels, record.measurements) == ({}, {})

    @pytest.mark.parametrize(
        "rows",
        [
            [{**ROW, "pid": ""}],
            [{**ROW, "part": "tset"}],
            [{**ROW, "lvef": "low"}],
            [ROW, {**ROW, "file": "x"}],
        ],
    )
    def test_a_bad_row_costs_one_record(self, tmp_path, signal, rows):
        self.fill(tmp_path, signal, rows)
        assert problem(tmp_path) == "bad-metadata"

    def test_neither_files_nor_rows_vanish(self, tmp_path, signal):
        self.fill(tmp_path, signal, [ROW, {**ROW, "file": "a/gone.csv"}])
        save(tmp_path / "a" / "unlisted.csv", signal)
        quarantined = {}
        records = list(source(tmp_path).iter_records(quarantined))
        assert [record.record_id for record in records] == ["a/x"]
        reasons = {name: error.reason for name, error in quarantined.items()}
        assert reasons == {"a/unlisted": "bad-metadata", "a/gone": "missing-signal-file"}

    def test_a_name_that_two_files_have_is_nobodys(self, tmp_path, signal):
        self.fill(tmp_path, signal, [{**ROW, "file": "x"}])
        save(tmp_path / "b" / "x.csv", signal)
        quarantined = {}
        assert list(source(tmp_path).iter_records(quarantined)) == []
        assert set(quarantined) == {"a/x", "b/x", "x"}

    def test_a_row_cannot_lead_outside(self, tmp_path, signal):
        self.fill(tmp_path / "in", signal, [{**ROW, "file": "../y.csv"}])
        save(tmp_path / "y.csv", signal)
        quarantined = {}
        list(source(tmp_path / "in").iter_records(quarantined))
        assert quarantined["../y"].reason == "path-traversal"

    @pytest.mark.parametrize("path", ["patients.csv", "patients.parquet"])
    def test_a_column_or_the_table_is_missing(self, tmp_path, signal, path):
        self.fill(tmp_path, signal, [ROW], path=path, age="years")
        with pytest.raises(BadInputError, match="has no column 'years'"):
            read(tmp_path)
        (tmp_path / path).unlink()
        with pytest.raises(BadInputError, match=r"patients\.\w+ does not exist"):
            read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("p.parquet", b"PAR1 of no use", r"p\.parquet cannot be read as Parquet"),
        ("p.csv", b"file,pid\n<<<<<<< HEAD\nx,1\n", "line 2 is a conflict marker of git"),
        ("p.csv", b"file,pid\nx\n", "line 2 has 1 values for 2 columns"),
        ("p.csv", b"file,pid,pid\nx,1,2\n", "names the column 'pid' twice"),
        ("p.csv", b"", r"p\.csv is empty"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path, signal, name, content, sentence):
    describe(tmp_path, format="npy", table={"path": name, "record": "file", "patient": "pid"})
    save(tmp_path / "x.npy", signal)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInputError, match=sentence) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_every_recording_of_another_patient(tmp_path, signal):
    describe(tmp_path, format="npy", patients="record")
    save(tmp_path / "a/x.npy", signal)
    (record,) = read(tmp_path)
    assert record.patient_id == "own:a/x"


def test_patients_from_the_path(tmp_path, signal):
    describe(tmp_path, format="npy", patient_pattern="^p([0-9]+)/")
    save(tmp_path / "p12" / "x.npy", signal)
    save(tmp_path / "q" / "y.npy", 2 * signal)
    quarantined = {}
    (record,) = source(tmp_path).iter_records(quarantined)
    assert record.patient_id == "own:12"
    assert quarantined["q/y"].reason == "bad-metadata"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"formt": "csv"}, "source.yaml: formt: Extra inputs are not permitted"),
        ({"format": "xml"}, "source.yaml: format: Input should be 'wfdb', 'csv', 'npy', 'parq"),
        ({"fs": None}, "source.yaml: fs is missing, and csv files do not say it"),
        ({"units": None}, "source.yaml: units is missing"),
        ({"leads": None}, "source.yaml: leads is missing"),
        ({"fs": 0}, "source.yaml: fs: Input should be greater than 0"),
        ({"leads": ["II", "ii"]}, "source.yaml: leads names a lead twice"),
        ({"units": "adu"}, "source.yaml: gain goes with units: adu"),
        ({"gain": 200}, "source.yaml: gain goes with units: adu"),
        ({"columns": ["a"]}, "source.yaml: columns has 1 names for 3 leads"),
        ({"columns": ["a", "b", "c"], "header": False}, "columns needs csv files with a header"),
        ({"columns": ["a", "b", "c"], "format": "npy"}, "columns needs csv files with a header"),
        ({"format": "wfdb", "fs": 500}, "fs is in the headers of wfdb files"),
        ({"patient_pattern": "("}, "patient_pattern: '\\(' is not a regular expression"),
        ({"table": {"path": "t.csv"}}, "source.yaml: table.record: Field required"),
        (
            {"patient_pattern": "(.)", "table": {"path": "t", "record": "r", "patient": "p"}},
            "both say who the patient is",
        ),
        (
            {"patient_pattern": "(.)", "patients": "record"},
            "patients: record contradicts patient_pattern or table.patient",
        ),
        ({"files": "/x/*"}, "source.yaml: files: '/x/\\*'"),
    ],
)
def test_what_a_wrong_description_says(tmp_path, signal, keys, said):
    describe(tmp_path, **{"format": "csv", **keys})
    save(tmp_path / "x.csv", signal)
    with pytest.raises(BadInputError, match=said) as error:
        read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [("a: [", "cannot be read as YAML"), ("- a", "is not a mapping"), ("1: 2", "source.yaml")],
)
def test_what_is_no_description(tmp_path, text, said):
    (tmp_path / "source.yaml").write_text(text)
    with pytest.raises(BadInputError, match=said):
        read(tmp_path)


def test_an_absent_folder_description_or_file(tmp_path):
    with pytest.raises(BadInputError, match="absent does not exist"):
        read(tmp_path / "absent")
    with pytest.raises(BadInputError, match=r"source\.yaml does not exist; it says how"):
        read(tmp_path)
    describe(tmp_path, format="npy")
    with pytest.raises(BadInputError, match=r"has no files \*\*/\*\.npy"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.csv", "I,II,V1\n1,2,3\n1,2\n", "truncated-signal"),
        ("x.csv", "I,II,V1\n1,2,3\n1,2,high\n", "nan-samples"),
        ("x.csv", "I,II\n1,2\n", "missing-lead"),
        ("x.csv", "", "truncated-signal"),
        ("x.npy", "nothing", "unreadable-header"),
        ("x.parquet", "nothing", "unreadable-header"),
    ],
)
def test_bad_files_are_set_aside(tmp_path, name, content, reason):
    describe(tmp_path, format=name.split(".")[1])
    (tmp_path / name).write_text(content)
    assert problem(tmp_path) == reason


def test_arrays_of_other_shapes_and_kinds(tmp_path, signal):
    describe(tmp_path, format="npy")
    for array, reason in (
        (signal[:2], "missing-lead"),
        (signal[0], "missing-lead"),
        (signal.astype(complex), "unreadable-header"),
        (np.array([{}]), "unreadable-header"),
    ):
        np.save(tmp_path / "x.npy", array)
        assert problem(tmp_path) == reason


def test_empty_cells_are_not_numbers(tmp_path):
    describe(tmp_path, format="csv", columns=["I", "II", "V1"])
    (tmp_path / "x.csv").write_text("I,II,V1\n1,2,3\n1,,3\n")
    (record,) = read(tmp_path)
    assert np.isnan(record.signal).tolist() == [[False, False], [False, True], [False, False]]


def test_ingest(tmp_path, signal):
    root = tmp_path / "in"
    describe(root, format="csv", units="uV")
    for number in range(3):
        save(root / f"p{number}.csv", (1 + number) * signal, 1000)
    config = SourceConfig(reader="folder", root=root, watch=root)
    summary = ingest("own", config, Recipe(), tmp_path / "store")
    assert (summary.stored, summary.quarantined) == (3, {})
    store = open_store(tmp_path / "store")
    assert store.leads == LEADS
    assert list(store.records["patient_id"]) == ["own:?p0", "own:?p1", "own:?p2"]


def test_the_example_in_the_documentation_is_a_description():
    text = module.__doc__.split("::", 1)[1]
    stated = yaml.safe_load("\n".join(line[4:] for line in text.splitlines()))
    assert module.FolderDescription(**stated).table.measurements == ("lvef",)
