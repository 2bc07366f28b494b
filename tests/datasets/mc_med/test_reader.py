"""MC-MED: the reader on a simulated cohort in the published layout, and on single files."""

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
from ecgscale.datasets.mc_med.layout import SPLITS, strain_of
from ecgscale.errors import BadInputError
from support.sources import Simulated, rewrite, rows

SEED = 5
PATIENTS = 16
DATA = Simulated("mc-med", "mc-med", SEED)
layout, source, read, problems = DATA.layout, DATA.source, DATA.read, DATA.problems


def write(root, patients=PATIENTS, **options):
    return DATA.write(root, patients, **options)


def visit_of(record):
    return record.record_id.split("_")[0]


def stem(root, csn, segment=1):
    return root / "data" / "waveforms" / csn[-3:] / csn / "II" / f"{csn}_{segment}"


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("mc-med")
    write(root)
    return root


@pytest.fixture
def copy(cohort, tmp_path):
    return shutil.copytree(cohort, tmp_path / "copy")


@pytest.fixture
def one(copy):
    """A cohort of one visit, and the path of its recording without suffix."""
    listed = rows(copy / "data" / "visits.csv")[:1]
    rewrite(copy / "data" / "visits.csv", listed)
    return copy, stem(copy, listed[0]["CSN"])


def problem(root, **options):
    """The reason for which the only record is set aside."""
    quarantined = {}
    assert list(source(root, **options).iter_records(quarantined)) == []
    (error,) = quarantined.values()
    return error.reason


def test_the_tree_is_the_published_one(cohort):
    visits = rows(cohort / "data" / "visits.csv")
    assert {"MRN", "CSN", "Age", "Gender", "ED_dispo", "Arrival_time"} <= set(visits[0])
    summary = rows(cohort / "data" / "waveform_summary.csv")
    assert {row["CSN"] for row in summary} == {row["CSN"] for row in visits}
    header = wfdb.rdheader(str(stem(cohort, visits[0]["CSN"])))
    assert (header.sig_name, header.fs, header.sig_len) == (["II"], 100, 2000)


def test_records_are_those_simulated(cohort):
    options = layout().options
    records = {visit_of(record): record for record in read(cohort)}
    number = 90_000_000
    for index in range(PATIENTS):
        patient = draw_patient(index, SEED, options)
        for visit in range(patient.records):
            number += 1
            record, drawn = records.pop(str(number)), draw_record(patient, visit, SEED, options)
            expected = drawn.signals[100][LEADS.index("II"), :1000] / 1000
            np.testing.assert_allclose(record.signal[0], expected, atol=1e-4)
            assert (record.record_id, record.leads) == (f"{number}_1:0", ("II",))
            assert record.patient_id == f"mc-med:{9_000_001 + index}"
            assert record.age == int(drawn.years)
            assert record.sex in ("M" if patient.male else "F", None)
    assert records == {}


def test_windows_are_those_of_the_wfdb_package(cohort):
    records = read(cohort, window_seconds=6, windows=5)
    per_visit = 3  # 20 s hold three whole windows of 6 s
    assert len(records) == per_visit * len(rows(cohort / "data" / "visits.csv"))
    for record in records:
        start = int(record.record_id.split(":")[1])
        path = stem(cohort, visit_of(record))
        expected = wfdb.rdrecord(str(path), sampfrom=start, sampto=start + 600)
        np.testing.assert_allclose(record.signal, expected.p_signal.T, rtol=1e-6, atol=1e-6)
    starts = {int(record.record_id.split(":")[1]) for record in records}
    assert starts == {0, 600, 1200}


def test_segments_are_read_in_order(one):
    root, path = one
    for suffix in (".hea", ".dat"):
        text = path.with_name(path.name + suffix).read_bytes()
        second = path.with_name(path.name.replace("_1", "_2") + suffix)
        second.write_bytes(text.replace(path.name.encode(), second.stem.encode()))
    csn = path.name.split("_")[0]
    rewrite(root / "data" / "waveform_summary.csv", [{"CSN": csn, "Type": "II", "Segments": 2}])
    assert [r.record_id for r in read(root)] == [f"{csn}_1:0"]
    both = read(root, segments=5)
    assert [r.record_id for r in both] == [f"{csn}_1:0", f"{csn}_2:0"]
    np.testing.assert_array_equal(both[0].signal, both[1].signal)


def test_a_visit_says_what_its_row_says(copy):
    listed = rows(copy / "data" / "visits.csv")
    changed = {
        "Age": "47",
        "Gender": "U",
        "ED_dispo": "Observation",
        "DC_dispo": "Home/Work (includes foster care)",
        "Triage_acuity": "2-Emergent",
        "Triage_SBP": "141.0",
        "Triage_DBP": "0",
    }
    rewrite(copy / "data" / "visits.csv", [{**listed[0], **changed}])
    rewrite(copy / "patient_metadata.csv", [{"patient_id": listed[0]["MRN"], "dbp": "70"}])
    (record,) = read(copy)
    assert (record.age, record.sex) == (47, None)
    assert set(record.labels) == {
        "ed-disposition:Observation",
        "discharge-disposition:Home/Work (includes foster care)",
        "acuity:2",
    }
    assert record.measurements == {"sbp": 141.0}
    assert record.clinical == {"sbp": 141.0, "dbp": 70.0}
    assert record.notes == ("impossible Triage_DBP '0' left out",)


def test_a_visit_without_statements_is_still_a_record(copy):
    listed = rows(copy / "data" / "visits.csv")
    absent = dict.fromkeys(
        ("Age", "ED_dispo", "DC_dispo", "Triage_acuity", "Triage_SBP", "Triage_DBP"), ""
    )
    rewrite(copy / "data" / "visits.csv", [{**listed[0], **absent}])
    (record,) = read(copy)
    assert (record.age, record.labels, record.measurements) == (None, {}, {})
    assert record.notes == ()


def test_visits_without_ecg_are_no_records(tmp_path):
    written = write(tmp_path, unmonitored=0.5)
    monitored = {str(row["CSN"]) for row in written.rows if row["segments"]}
    assert 0 < len(monitored) < len(written.rows)
    assert {visit_of(record) for record in read(tmp_path)} == monitored


@pytest.mark.parametrize("kind", ["chrono", "random"])
def test_splits_are_the_published_lists_and_keep_patients_together(cohort, kind):
    names = {"train": "train", "val": "validation", "test": "test"}
    home = {}
    for part in SPLITS:
        for line in (cohort / "data" / f"split_{kind}_{part}.csv").read_text().split():
            home[line] = names[part]
    of_patient = {}
    for record in read(cohort, split=kind):
        assert record.split == home[visit_of(record)]
        assert of_patient.setdefault(record.patient_id, record.split) == record.split
    assert set(of_patient.values()) == set(names.values())


def test_the_chronological_split_is_one(cohort):
    arrival = {row["CSN"]: row["Arrival_time"] for row in rows(cohort / "data" / "visits.csv")}
    times = [
        [arrival[csn] for csn in (cohort / "data" / f"split_chrono_{part}.csv").read_text().split()]
        for part in SPLITS
    ]
    assert max(times[0]) < min(times[1])
    assert max(times[1]) < min(times[2])


def test_the_data_folder_may_be_the_root(cohort):
    found = [record.record_id for record in read(cohort / "data")]
    assert found == [record.record_id for record in read(cohort)]


def test_visits_outside_the_lists_have_no_split(copy):
    path = copy / "data" / "split_chrono_train.csv"
    gone = path.read_text().split()[0]
    path.write_text("\n".join(path.read_text().split()[1:]))
    assert [visit_of(record) for record in read(copy) if record.split is None] == [gone]


def test_tables_that_all_visits_need(copy):
    data = copy / "data"
    listed = (data / "split_chrono_val.csv").read_text().split()
    with (data / "split_chrono_test.csv").open("a") as file:
        file.write(f"{listed[0]}\n")
    with pytest.raises(BadInputError, match=f"lists visit {listed[0]}, and so does another split"):
        read(copy)
    (data / "split_chrono_test.csv").unlink()
    with pytest.raises(BadInputError, match=r"split_chrono_test\.csv does not exist"):
        read(copy)
    (data / "waveform_summary.csv").write_text("CSN,Type,Segments\n1,II,many\n")
    with pytest.raises(BadInputError, match=r"waveform_summary\.csv, line 2: Segments is 'many'"):
        read(copy)
    (data / "waveform_summary.csv").write_text("CSN,Type,Segments\n1,Pleth,2\n")
    with pytest.raises(BadInputError, match="split_chrono_test"):
        read(copy)
    (data / "split_chrono_test.csv").write_text("")
    with pytest.raises(BadInputError, match="list no visit with ECG"):
        read(copy)
    (data / "visits.csv").write_text("MRN,CSN\n1,2\n")
    with pytest.raises(BadInputError, match="no column 'Age'"):
        read(copy)


def change_header(path, old, new):
    header = path.with_name(f"{path.name}.hea")
    text = header.read_text()
    assert old in text
    header.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("/mV", "/mmHg", "bad-gain"),
        (" 1 100 ", " 1 5 ", "wrong-rate"),
        (" 1 100 ", " 2 100 ", "unreadable-header"),
        (" 1 100 ", " 1 fast ", "wrong-rate"),
        ("_1.dat", "_1.gone", "missing-signal-file"),
        (" 2000 ", " 9000 ", "truncated-signal"),
    ],
)
def test_a_bad_header_is_set_aside(one, old, new, reason):
    root, path = one
    change_header(path, old, new)
    assert problem(root, window_seconds=30) == reason


def test_files_elsewhere_are_not_read(one, tmp_path):
    root, path = one
    signal, header = (path.with_name(f"{path.name}.{suffix}") for suffix in ("dat", "hea"))
    outside = tmp_path / "outside.dat"
    signal.rename(outside)
    signal.symlink_to(outside)
    assert problem(root) == "path-traversal"
    change_header(path, f"{path.name}.dat", "../../../../../../outside.dat")
    assert problem(root) in ("path-traversal", "unreadable-header")
    header.rename(tmp_path / "outside.hea")
    header.symlink_to(tmp_path / "outside.hea")
    assert problem(root) == "path-traversal"


def test_a_visit_without_a_patient_is_set_aside(one):
    root, _ = one
    rewrite(root / "data" / "visits.csv", [{**rows(root / "data" / "visits.csv")[0], "MRN": ""}])
    assert problem(root) == "bad-metadata"


def test_an_unreadable_segment_is_still_listed(one):
    root, path = one
    path.with_name(f"{path.name}.hea").unlink()
    assert [ref.start for ref in source(root, windows=3).index()] == [0]
    assert problem(root, windows=3) == "unreadable-header"


@pytest.mark.parametrize(("fmt", "unit", "scale"), [("212", "mV", 1), ("80", "uV", 1000)])
def test_other_formats_and_units_are_read_too(one, fmt, unit, scale):
    root, path = one
    (before,) = read(root)
    wfdb.wrsamp(
        path.name,
        fs=100,
        units=[unit],
        sig_name=["II"],
        p_signal=scale * before.signal.T.astype(np.float64),
        fmt=[fmt],
        write_dir=str(path.parent),
    )
    (after,) = read(root)
    step = np.ptp(before.signal) / (2**7 if fmt == "80" else 2**11)
    np.testing.assert_allclose(after.signal, before.signal, atol=step)


def test_every_window_is_stored_or_quarantined_for_its_own_fault(tmp_path):
    root = tmp_path / "raw"
    written = write(root, gaps=0.3, lost_signal=0.3, unrecorded=0.3)
    lost = [row for row in written.rows if row["lost"]]
    gaps = [row for row in written.rows if row["gap"] and not row["lost"]]
    assert lost
    assert gaps
    config = SourceConfig(reader="mc-med", root=root, watch=root, max_quarantined=0.9)
    summary = ingest("mc-med", config, Recipe(), tmp_path / "store")
    assert summary.quarantined == {"missing-signal-file": len(lost), "nan-samples": len(gaps)}
    assert summary.stored == len(written.rows) - len(lost) - len(gaps)
    store = open_store(tmp_path / "store")
    assert store.leads == ("II",)
    good = {str(row["CSN"]): row for row in written.rows}
    for record in store.records.itertuples():
        row = good[record.record_id.split("_")[0]]
        stated = {"ed-disposition": row["ED_dispo"], "discharge-disposition": row["DC_dispo"]}
        codes = {f"{key}:{text}" for key, text in stated.items() if text}
        assert {code for code in record.labels if not code.startswith("acuity:")} == codes
        expected = {"sbp": row["Triage_SBP"], "dbp": row["Triage_DBP"]}
        known = {name: value for name, value in expected.items() if value != ""}
        assert dict(zip(record.measurements, record.measured, strict=True)) == known


def test_batches_do_not_change_the_bytes(tmp_path, cohort):
    made = layout()
    first = made.write(tmp_path, 0, 7, 1)
    first.extend(made.write(tmp_path, 7, PATIENTS, len(first.rows) + 1))
    made.tables(tmp_path, first)
    for path in (path for path in cohort.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(cohort)).read_bytes() == path.read_bytes()


def test_the_strain_shows_in_the_heart_rate_of_the_signal():
    options = layout(segment_seconds=10, difficulty=0).options
    strain, rate = [], []
    for index in range(60):
        record = draw_record(draw_patient(index, SEED, options), 0, SEED, options)
        strain.append(strain_of(record, stream(SEED, 6, index)))
        slope = np.diff(record.signals[100][LEADS.index("II")].astype(float)) ** 2
        energy = np.convolve(slope, np.ones(12) / 12, mode="same")
        above = energy > 0.3 * np.quantile(energy, 0.97)
        rate.append((above[1:] & ~above[:-1]).sum())
    ranks = [np.argsort(np.argsort(values)) for values in (strain, rate)]
    assert np.corrcoef(ranks)[0, 1] > 0.5
