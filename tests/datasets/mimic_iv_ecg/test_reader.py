"""MIMIC-IV-ECG: the reader on a simulated cohort in the published layout, and on single rows."""

import shutil

import numpy as np
import pytest
import wfdb

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate.population import draw_patient, stream
from ecgscale.data.simulate.records import draw_record
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.mimic_iv_ecg.layout import MIMIC_LEADS, ejection_fraction
from ecgscale.errors import BadInputError
from support.sources import Simulated, rewrite, rows

SEED = 5
PATIENTS = 12
DATA = Simulated("mimic-iv-ecg", "mimic", SEED)
layout, source, read, problems = DATA.layout, DATA.source, DATA.read, DATA.problems


def write(root, patients=PATIENTS, **options):
    return DATA.write(root, patients, **options)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("mimic")
    write(root)
    return root


@pytest.fixture
def copy(cohort, tmp_path):
    return shutil.copytree(cohort, tmp_path / "copy")


def test_the_tree_is_the_published_one(cohort):
    row = rows(cohort / "record_list.csv")[0]
    assert list(row) == ["subject_id", "study_id", "file_name", "ecg_time", "path"]
    subject, study = row["subject_id"], row["study_id"]
    assert row["path"] == f"files/p{subject[:4]}/p{subject}/s{study}/{study}"
    lines = (cohort / f"{row['path']}.hea").read_text().splitlines()
    assert lines[0].split()[:4] == [study, "12", "100", "1000"]
    assert [line.split()[-1] for line in lines[1:13]] == list(MIMIC_LEADS)
    assert all(line.split()[2] == "200.0(0)/mV" for line in lines[1:13])
    assert lines[13] == f"# <subject_id>: {subject}"
    assert {"study_id", "report_17", "qrs_axis"} <= set(
        rows(cohort / "machine_measurements.csv")[0]
    )
    assert list(rows(cohort / "LVEF.csv")[0]) == ["subject_id", "waveform_path", "LVEF", "class"]


def test_records_are_those_simulated(cohort):
    options = layout().options
    records = iter(sorted(read(cohort), key=lambda record: int(record.record_id)))
    for index in range(PATIENTS):
        patient = draw_patient(index, SEED, options)
        for visit in range(patient.records):
            record, drawn = next(records), draw_record(patient, visit, SEED, options)
            assert record.patient_id == f"mimic:{10_000_000 + 10_007 * (index + 1)}"
            order = [record.leads.index(lead) for lead in LEADS]
            np.testing.assert_allclose(
                record.signal[order], drawn.signals[100] / 1000, atol=0.0025 + 1e-6
            )
            assert record.sex == ("M" if patient.male else "F")
            assert record.age == (90 if patient.age >= 90 else int(drawn.years))
    assert next(records, None) is None


def test_samples_are_those_of_the_wfdb_package(cohort):
    paths = {row["study_id"]: row["path"] for row in rows(cohort / "record_list.csv")}
    for record in read(cohort):
        expected = wfdb.rdrecord(str(cohort / paths[record.record_id]))
        np.testing.assert_allclose(record.signal, expected.p_signal.T, atol=1e-6)
        assert (record.fs, list(record.leads)) == (expected.fs, expected.sig_name)


def test_ejection_fractions_are_joined_by_study(cohort):
    table = {row["waveform_path"].split("/")[-1]: row for row in rows(cohort / "LVEF.csv")}
    records = read(cohort)
    assert 0 < len(table) < len(records)
    for record in records:
        if record.record_id not in table:
            assert (record.labels, record.measurements) == ({}, {})
            continue
        row = table[record.record_id]
        assert record.measurements == {"lvef": float(row["LVEF"])}
        assert record.labels == {"lvef:>=50" if row["class"] == "1" else "lvef:<50": 100.0}


@pytest.mark.parametrize(
    ("text", "value", "labels"),
    [
        ("50", 50.0, ["lvef:>=50"]),
        ("49.9", 49.9, ["lvef:<50"]),
        ("5", 5.0, ["lvef:<50"]),
        ("0.55", 0.55, []),
        ("7065", 7065.0, []),
        ("about 40", None, []),
        ("nan", None, []),
    ],
)
def test_a_value_of_the_label_table(copy, text, value, labels):
    path = copy / "LVEF.csv"
    first = rows(path)[0]
    rewrite(path, [{**first, "LVEF": text}])
    (record,) = (r for r in read(copy) if r.record_id == first["waveform_path"].split("/")[-1])
    assert (list(record.labels), record.measurements.get("lvef")) == (labels, value)
    assert record.notes == (() if value else ("LVEF that is not one number left out",))


def test_a_table_of_ones_own_is_joined_by_study_id(copy, tmp_path):
    study = rows(copy / "record_list.csv")[3]["study_id"]
    rewrite(tmp_path / "echo.csv", [{"study_id": f"{study}.0", "LVEF": "31"}])
    labelled = [r for r in read(copy, lvef_table=tmp_path / "echo.csv") if r.labels]
    assert [(r.record_id, list(r.labels)) for r in labelled] == [(study, ["lvef:<50"])]


@pytest.mark.parametrize(
    ("anchor_age", "anchor_year", "ecg_time", "age", "notes"),
    [
        ("40", "2150", "2153-07-01 00:00:00", 43, ()),
        ("40", "2150", "2149-07-01 00:00:00", 39, ()),
        ("91", "2150", "2150-07-01 00:00:00", 90, ("age 91 is above 89 and read as 90",)),
        ("88", "2150", "2155-07-01 00:00:00", 90, ("age 93 is above 89 and read as 90",)),
        ("1", "2150", "2140-07-01 00:00:00", None, ("impossible age '-9' left out",)),
        ("", "2150", "2140-07-01 00:00:00", None, ()),
        ("40", "2150", "", None, ()),
    ],
)
def test_age_at_the_recording(copy, anchor_age, anchor_year, ecg_time, age, notes):
    listed = rows(copy / "record_list.csv")[:1]
    rewrite(copy / "record_list.csv", [{**listed[0], "ecg_time": ecg_time}])
    person = {"subject_id": listed[0]["subject_id"], "gender": "F"}
    rewrite(
        copy / "patients.csv", [{**person, "anchor_age": anchor_age, "anchor_year": anchor_year}]
    )
    (record,) = read(copy)
    assert (record.age, record.sex, record.notes) == (age, "F", notes)


def test_what_is_not_published_openly_is_optional(copy):
    (copy / "LVEF.csv").unlink()
    (copy / "patients.csv").unlink()
    records = read(copy)
    assert records
    assert {(r.age, r.sex, len(r.labels)) for r in records} == {(None, None, 0)}


def test_the_clinical_table_is_joined(copy):
    subject = rows(copy / "record_list.csv")[0]["subject_id"]
    rewrite(copy / "patient_metadata.csv", [{"patient_id": subject, "sbp": "140", "dbp": ""}])
    for record in read(copy):
        expected = {"sbp": 140.0} if record.patient_id == f"mimic:{subject}" else {}
        assert record.clinical == expected


def test_tables_that_are_asked_for_must_be_there(copy, tmp_path):
    with pytest.raises(BadInputError, match=r"echo\.csv does not exist"):
        read(copy, lvef_table="echo.csv")
    with pytest.raises(BadInputError, match=r"people\.csv does not exist"):
        read(copy, patients="people.csv")
    rewrite(copy / "LVEF.csv", [{"hadm_id": "1", "LVEF": "50"}])
    with pytest.raises(BadInputError, match="neither a column 'study_id' nor 'waveform_path'"):
        read(copy)
    (copy / "record_list.csv").unlink()
    with pytest.raises(BadInputError, match=r"record_list\.csv does not exist"):
        read(copy)
    with pytest.raises(BadInputError, match="does not exist"):
        read(tmp_path / "nowhere")


def first_problem(root):
    found = source(root)
    quarantined = {}
    list(found.iter_records(quarantined))
    ((record, error),) = quarantined.items()
    assert record == found.index()[0].record_id
    return error.reason, error.detail


def test_a_record_of_another_patient_is_set_aside(copy):
    listed = rows(copy / "record_list.csv")
    path = copy / f"{listed[0]['path']}.hea"
    path.write_text(path.read_text().replace(f": {listed[0]['subject_id']}", ": 10000032"))
    reason, detail = first_problem(copy)
    assert reason == "bad-metadata"
    assert detail.startswith("the header is of patient 10000032, ")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject_id": ""}, "bad-metadata"),
        ({"path": "../../outside"}, "path-traversal"),
        ({"path": "files/p1000/gone"}, "missing-signal-file"),
    ],
)
def test_a_bad_row_of_the_record_list_is_set_aside(copy, change, reason):
    listed = rows(copy / "record_list.csv")
    rewrite(copy / "record_list.csv", [{**listed[0], **change}, *listed[1:]])
    assert first_problem(copy)[0] == reason


def test_every_record_is_stored_or_quarantined_for_its_own_fault(tmp_path):
    root = tmp_path / "raw"
    written = write(root, nan_lead=0.3, lost_signal=0.3, unknown_patients=0.5, impossible_lvef=0.4)
    lost = [row for row in written.rows if not (root / f"{row['path']}.dat").is_file()]
    held = [row for row in written.rows if row not in lost]
    dead = [r for r in held if (np.fromfile(root / f"{r['path']}.dat", "<i2") == -32768).any()]
    assert lost
    assert dead
    config = SourceConfig(reader="mimic-iv-ecg", root=root, watch=root, max_quarantined=0.9)
    summary = ingest("mimic", config, Recipe(), tmp_path / "store")
    assert summary.quarantined == {"missing-signal-file": len(lost), "nan-samples": len(dead)}
    assert summary.stored == len(written.rows) - len(lost) - len(dead)
    records = open_store(tmp_path / "store").records
    known = {row["subject_id"] for row in rows(root / "patients.csv")}
    for patient, age in zip(records["patient_id"], records["age"], strict=True):
        assert np.isfinite(age) == (patient.removeprefix("mimic:") in known)
    measured = [value for values in records["measured"] for value in values]
    assert any(value < 5 for value in measured)
    assert any(value > 100 for value in measured)


def test_batches_do_not_change_the_bytes(tmp_path, cohort):
    made = layout()
    first = made.write(tmp_path, 0, 5, 1)
    first.extend(made.write(tmp_path, 5, PATIENTS, len(first.rows) + 1))
    made.tables(tmp_path, first)
    for path in (path for path in cohort.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(cohort)).read_bytes() == path.read_bytes()


def test_the_ejection_fraction_shows_in_the_electrocardiogram():
    """Left bundle branch block costs 20 % and widens the QRS: its energy moves to low frequency."""
    options = layout(prevalence={"lbbb": 0.5}, misplaced=0, fs=250).options
    lvef, slow = [], []
    for index in range(60):
        record = draw_record(draw_patient(index, SEED, options), 0, SEED, options)
        lvef.append(ejection_fraction(record, stream(SEED, 7, index)))
        power = np.abs(np.fft.rfft(record.signals[250][LEADS.index("V6")])) ** 2
        slow.append(power[20:80].sum() / power[20:400].sum())
    assert np.corrcoef(lvef, slow)[0, 1] < -0.4
