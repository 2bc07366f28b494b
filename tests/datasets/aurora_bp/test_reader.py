"""Aurora-BP: the reader on a simulated cohort in the published layout, and on single files."""

import shutil

import numpy as np
import pandas as pd
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate.population import draw_patient, stream
from ecgscale.data.simulate.records import draw_record
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.aurora_bp.layout import PHASES
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import tasks
from support.sources import Simulated, edit, rewrite, rows

SEED = 5
PATIENTS = 8
DATA = Simulated("aurora-bp", "aurora-bp", SEED)
layout, source, read, problems = DATA.layout, DATA.source, DATA.read, DATA.problems


def write(root, patients=PATIENTS, **options):
    return DATA.write(root, patients, **options)


def stem_of(record):
    return record.record_id.split(":")[0]


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("aurora-bp")
    write(root)
    return root


@pytest.fixture
def one(cohort, tmp_path):
    """A cohort of one measurement at rest: its folder and the path of its waveforms."""
    root = tmp_path / "one"
    root.mkdir()
    for name in ("participants.tsv", "features.tsv", "measurements_auscultatory.tsv"):
        shutil.copy(cohort / name, root / name)
    table = root / "measurements_auscultatory.tsv"
    first = rows(table)[0]
    assert first["measurement"] == "Calibration start 1"
    rewrite(table, [first])
    path = root / first["waveform_file_path"]
    path.parent.mkdir(parents=True)
    shutil.copy(cohort / first["waveform_file_path"], path)
    return root, path


ONLY = {"protocols": ["auscultatory"]}


def change(table, **changes):
    first, *others = rows(table)
    rewrite(table, [{**first, **changes}, *others])


def problem(root):
    quarantined = {}
    assert list(source(root, **ONLY).iter_records(quarantined)) == []
    (error,) = quarantined.values()
    return error.reason


def test_the_tree_is_the_published_one(cohort):
    measured = rows(cohort / "measurements_auscultatory.tsv")
    assert len(measured[0]) == 17
    assert len(rows(cohort / "measurements_oscillometric.tsv")[0]) == 11
    assert len(rows(cohort / "participants.tsv")[0]) == 23
    path = cohort / measured[0]["waveform_file_path"]
    pid = measured[0]["pid"]
    assert path == cohort / f"measurements_auscultatory/{pid}/{pid}.initial.Calibration_start_1.tsv"
    waveforms = pd.read_csv(path, sep="\t")
    assert list(waveforms) == ["t", "ekg", "optical", "pressure", "accel_x", "accel_y", "accel_z"]
    assert len(waveforms) == 3000
    assert waveforms["t"].iloc[-1] == pytest.approx(5.998)


def test_records_are_those_simulated(cohort):
    options = layout().options
    records = {stem_of(record): record for record in read(cohort)}
    protocols = set()
    for index in range(PATIENTS):
        patient = draw_patient(index, SEED, options)
        protocol = "auscultatory" if f"a{index:04d}.initial.Calibration_start_1" in records else ""
        protocol = protocol or "oscillometric"
        protocols.add(protocol)
        for number, (phase, name) in enumerate(PHASES[protocol]):
            pid = f"{protocol[0]}{index:04d}"
            record = records.pop(f"{pid}.{phase}.{name.replace(' ', '_')}")
            drawn = draw_record(patient, number, SEED, options)
            expected = drawn.signals[500][LEADS.index("I")] / 1000
            offset = record.signal[0] - expected
            line = np.polyval(np.polyfit(np.arange(3000), offset, 1), np.arange(3000))
            np.testing.assert_allclose(offset, line, atol=2e-3)
            assert (record.fs, record.leads) == (500, ("I",))
            assert record.patient_id == f"aurora-bp:{pid}"
            assert (record.age, record.sex) == (int(patient.age), "M" if patient.male else "F")
            assert record.clinical["height"] == pytest.approx(patient.clinical["height"], abs=1.3)
            assert record.clinical["weight"] == pytest.approx(patient.clinical["weight"], abs=0.3)
            assert record.clinical["diabetes"] == patient.clinical["diabetes"]
            systolic, _ = drawn.pressures(stream(SEED, 7, index, number))
            assert record.measurements["sbp"] == pytest.approx(systolic, abs=3.1)
    assert records == {}
    assert protocols == set(PHASES)


def test_the_baseline_is_at_the_first_calibration_alone(cohort):
    average = {
        row["pid"]: float(row["sbp"])
        for row in rows(cohort / "features.tsv")
        if row["phase"] == "synthetic"
    }
    found = {}
    for record in read(cohort):
        if "baseline_sbp" in record.measurements:
            assert stem_of(record).endswith(".initial.Calibration_start_1")
            found[stem_of(record).split(".")[0]] = record.measurements["baseline_sbp"]
        pid = stem_of(record).split(".")[0]
        assert record.clinical["sbp"] == average[pid]
    assert found == {pid: value for pid, value in average.items() if pid.startswith("a")}


def test_windows_follow_each_other(cohort):
    whole = {stem_of(record): record.signal for record in read(cohort)}
    windows = read(cohort, window_seconds=2.5, windows=5)
    assert len(windows) == 2 * len(whole)
    for record in windows:
        start = int(record.record_id.split(":")[1])
        expected = whole[stem_of(record)][:, start : start + 1250]
        np.testing.assert_array_equal(record.signal, expected)
    assert {record.record_id.split(":")[1] for record in windows} == {"0", "1250"}


def test_the_oscillometric_protocol_can_be_left_out(cohort, one):
    root, _ = one
    assert [stem_of(record)[0] for record in read(root, **ONLY)] == ["a"]
    with pytest.raises(BadInputError, match=r"measurements_oscillometric\.tsv does not exist"):
        read(root)
    assert {stem_of(record)[0] for record in read(cohort, **ONLY)} == {"a"}


def test_a_measurement_without_waveforms_is_no_record(tmp_path):
    written = write(tmp_path, unrecorded=0.5)
    recorded = [row["waveform_file_path"] for row in written.rows if row["waveforms_generated"]]
    assert 0 < len(recorded) < len(written.rows)
    assert sorted(f"{stem_of(r)}.tsv" for r in read(tmp_path)) == sorted(
        path.rsplit("/", 1)[1] for path in recorded
    )


def test_values_that_are_no_pressure_are_left_out(one):
    root, _ = one
    change(root / "measurements_auscultatory.tsv", dbp="0.0", sbp="")
    change(root / "participants.tsv", pid="a9999")
    (record,) = read(root, **ONLY)
    assert set(record.measurements) <= {"baseline_sbp", "baseline_dbp"}
    assert record.notes[-1] == "impossible dbp '0.0' left out"


def test_a_participant_without_row_or_baseline_is_still_a_record(one):
    root, _ = one
    rewrite(root / "participants.tsv", [{**rows(root / "participants.tsv")[0], "pid": "a9999"}])
    rewrite(root / "features.tsv", [{**rows(root / "features.tsv")[0], "pid": "a9999"}])
    (record,) = read(root, **ONLY)
    assert (record.age, record.sex, set(record.measurements)) == (None, None, {"sbp", "dbp"})
    assert "not in participants.tsv" in record.notes


def test_a_baseline_needs_both_pressures(one):
    root, _ = one
    rewrite(root / "features.tsv", [{**rows(root / "features.tsv")[0], "baseline_dbp": ""}])
    (record,) = read(root, **ONLY)
    assert set(record.measurements) == {"sbp", "dbp"}


def test_clinical_values_from_the_patient_table(one):
    root, _ = one
    pid = rows(root / "measurements_auscultatory.tsv")[0]["pid"]
    (root / "patient_metadata.csv").write_text(f"patient_id,sbp,smoker\n{pid},99,1\n")
    (record,) = read(root, **ONLY)
    assert (record.clinical["sbp"], record.clinical["smoker"]) == (99, 1)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("ekg", "ecg", "missing-lead"),
        ("\n0.002\t", "\n0.002\tx", "nan-samples"),
        ("\n0.002\t", "\n", "truncated-signal"),
        ("\n5.998\t", "\n11.98\t", "wrong-rate"),
        ("\n1.1369e-13\t", "\n9\t", "wrong-rate"),
    ],
)
def test_bad_waveforms_are_set_aside(one, old, new, reason):
    root, path = one
    edit(path, old, new)
    assert problem(root) == reason


def cells(path, rows, value=""):
    """Overwrite the ECG of some samples."""
    lines = path.read_text().splitlines()
    for row in rows:
        parts = lines[row + 1].split("\t")
        lines[row + 1] = "\t".join([parts[0], value, *parts[2:]])
    path.write_text("\n".join(lines) + "\n")


def test_empty_cells_at_the_ends_are_cut_and_in_the_middle_kept(one):
    root, path = one
    (before,) = read(root, **ONLY)
    cells(path, [0, 1, 2, 2999])
    (after,) = read(root, **ONLY)
    np.testing.assert_array_equal(after.signal, before.signal[:, 3:2999])
    assert after.notes == ("4 empty samples at the ends left out",)
    cells(path, [1000], "NaN")
    (after,) = read(root, **ONLY)
    assert np.flatnonzero(np.isnan(after.signal[0])).tolist() == [997]
    cells(path, range(3000))
    assert problem(root) == "nan-samples"


def test_an_empty_file_and_one_without_samples(one):
    root, path = one
    path.write_text(path.read_text().splitlines()[0] + "\n")
    assert problem(root) == "truncated-signal"
    path.write_text("")
    assert problem(root) == "truncated-signal"
    path.unlink()
    assert problem(root) == "missing-signal-file"


def test_files_elsewhere_are_not_read(one, tmp_path):
    root, path = one
    path.rename(tmp_path / "outside.tsv")
    path.symlink_to(tmp_path / "outside.tsv")
    assert problem(root) == "path-traversal"
    change(root / "measurements_auscultatory.tsv", waveform_file_path="../outside.tsv")
    assert problem(root) == "path-traversal"
    change(root / "measurements_auscultatory.tsv", pid="")
    assert problem(root) == "bad-metadata"


def test_tables_that_all_records_need(one):
    root, _ = one
    change(root / "measurements_auscultatory.tsv", waveforms_generated="0")
    with pytest.raises(BadInputError, match="lists no measurement with waveforms"):
        read(root, **ONLY)
    (root / "features.tsv").write_text("pid\tbaseline_sbp\na0\t120\n")
    with pytest.raises(BadInputError, match=r"features\.tsv has no column 'baseline_dbp'"):
        read(root, **ONLY)
    for content in (b"", b"pid\n\xff\n"):
        (root / "features.tsv").write_bytes(content)
        with pytest.raises(BadInputError, match=r"features\.tsv (is empty|cannot be read)"):
            read(root, **ONLY)
    (root / "participants.tsv").unlink()
    with pytest.raises(BadInputError, match=r"participants\.tsv does not exist"):
        read(root, **ONLY)
    with pytest.raises(BadInputError, match="protocols"):
        source(root, protocols=[])


def test_every_measurement_is_stored_or_quarantined_for_its_own_fault(tmp_path):
    root = tmp_path / "raw"
    written = write(root, patients=12, late=0.2, gaps=0.2, lost_signal=0.2, unfeatured=0.3)
    lost = [row for row in written.rows if row["lost"]]
    gaps = [row for row in written.rows if row["gap"] and not row["lost"]]
    assert lost
    assert gaps
    config = SourceConfig(reader="aurora-bp", root=root, watch=root, max_quarantined=0.9)
    summary = ingest("aurora-bp", config, Recipe(), tmp_path / "store")
    assert summary.quarantined == {"missing-signal-file": len(lost), "nan-samples": len(gaps)}
    assert summary.stored == len(written.rows) - len(lost) - len(gaps)
    store = open_store(tmp_path / "store")
    assert store.leads == ("I",)
    good = {
        row["waveform_file_path"].rsplit("/", 1)[1].removesuffix(".tsv"): row
        for row in written.rows
        if not row["lost"] and not row["gap"]
    }
    assert set(store.records["record_id"]) == {f"{stem}:0" for stem in good}
    targets = tasks.get("aurora-bp-sbp").targets(store.records)
    resting = [
        row
        for row in good.values()
        if row["measurement"] == "Calibration start 1" and row["person"]["in_feature_table"]
    ]
    assert len(targets.rows) == len(resting) > 0


def test_batches_do_not_change_the_bytes(tmp_path, cohort):
    made = layout()
    first = made.write(tmp_path, 0, 3, 1)
    first.extend(made.write(tmp_path, 3, PATIENTS, len(first.rows) + 1))
    made.tables(tmp_path, first)
    for path in (path for path in cohort.rglob("*") if path.is_file()):
        assert (tmp_path / path.relative_to(cohort)).read_bytes() == path.read_bytes()


def test_the_pressure_shows_in_the_heart_rate_and_in_age_and_sex():
    options = layout(measurement_seconds=10).options
    drawn = [
        draw_record(draw_patient(index, SEED, options), 0, SEED, options) for index in range(60)
    ]
    systolic = [record.pressures(stream(SEED, 7, i))[0] for i, record in enumerate(drawn)]
    own = [record.patient.clinical["sbp"] for record in drawn]
    rate = [record.rate for record in drawn]
    assert np.corrcoef(np.subtract(systolic, own), rate)[0, 1] > 0.5
    assert np.corrcoef(systolic, [record.years for record in drawn])[0, 1] > 0.2
