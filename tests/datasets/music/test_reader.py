"""MUSIC: simulated in the published layout, read back, and compared with `wfdb`."""

import csv

import numpy as np
import pytest
import wfdb

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate import cohort_options, simulate
from ecgscale.data.simulate.cohort import _seed
from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.population import stream
from ecgscale.data.simulate.records import draw_patients, draw_record
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.music.layout import CAUSES, UNITS_PER_MV, cause_of_death
from ecgscale.datasets.music.reader import NOTE
from ecgscale.errors import BadInputError
from support.sources import contents, example

FS = 200
CLEAN = example("music").COHORT


def recipe(patients=12, **options):
    options = {"recording_seconds": 40, **options}
    return CohortSettings(layout="music", patients=patients, seed=1, options=options)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("music") / "clean"
    simulate(recipe(**CLEAN), root)
    return root


def read(root, **options):
    return list(sources.get("music")(root, "mu", options).iter_records())


def table(root):
    with (root / "subject-info.csv").open(newline="") as file:
        return list(csv.DictReader(file, delimiter=";"))


def drawn(**options):
    made = recipe(**options)
    opts, seed = cohort_options(made), _seed(made)
    return [draw_record(p, 0, seed, opts) for p in draw_patients(0, made.patients, seed, opts)]


def one_patient(root, samples, names="XYZ", extra=b"", **changes):
    """Write one patient; `samples` is int16 (lead, time)."""
    (root / "Holter_ECG").mkdir(parents=True, exist_ok=True)
    row = {
        "Patient ID": "P0001",
        "Exit of the study": "",
        "Cause of death": "0",
        "Age": "64",
        "Gender (male=1)": "1",
        "Weight (kg)": "70,5",
        "Height (cm)": "NA",
        "Diastolic blood  pressure (mmHg)": "80",
        "Systolic blood pressure (mmHg)": "",
        "Diabetes (yes=1)": "0",
        "Holter available": "1",
        **changes,
    }
    text = "\r\n".join(";".join(part) for part in (row, row.values()))
    (root / "subject-info.csv").write_text(text + "\r\n")
    samples = np.asarray(samples, dtype="<i2")
    lines = [f"P0001 {len(samples)} {FS} {samples.shape[1]}"]
    lines += [f"P0001.dat 16 200(0)/mV 16 0 0 0 0 {name}" for name in names]
    (root / "Holter_ECG" / "P0001.hea").write_text("\n".join(lines) + "\n")
    (root / "Holter_ECG" / "P0001.dat").write_bytes(samples.T.tobytes() + extra)
    return root


def noise(seconds=60, leads=3, seed=0):
    return np.random.default_rng(seed).integers(1, 200, (leads, seconds * FS)).astype(np.int16)


def test_records_hold_the_simulated_signal_and_the_table(cohort):
    records, rows, made = read(cohort), table(cohort), drawn(**CLEAN)
    assert len(records) == len(rows) == len(made) == 12
    for record, row, heart in zip(records, rows, made, strict=True):
        assert record.record_id == f"{row['Patient ID']}:0"
        assert record.patient_id == f"mu:{row['Patient ID']}"
        assert (record.fs, record.leads) == (FS, ("I", "aVF"))
        leads = [LEADS.index(lead) for lead in ("I", "aVF")]
        expected = heart.signals[FS][leads, : 10 * FS] / 1000
        assert np.abs(record.signal - expected).max() <= 0.51 / UNITS_PER_MV
        assert record.sex == ("M" if heart.patient.male else "F")
        assert record.age == min(int(heart.years), 90)
        assert f"outcome:{row['Cause of death']}" in record.labels
        assert NOTE in record.notes
        assert record.clinical.items() <= heart.patient.clinical.items()
        assert ("weight" in record.clinical) == (row["Weight (kg)"] != "")


def test_files_are_what_wfdb_reads(cohort):
    for record in read(cohort)[:4]:
        stem = str(cohort / "Holter_ECG" / record.record_id.split(":")[0])
        found = wfdb.rdrecord(stem, sampto=10 * FS)
        assert found.sig_name == ["X", "Y", "Z"]
        np.testing.assert_allclose(record.signal, found.p_signal.T[:2], atol=1e-6)


def test_same_bytes_with_any_number_of_processes(cohort, tmp_path):
    simulate(recipe(**CLEAN), tmp_path / "two", jobs=2)
    assert contents(cohort) == contents(tmp_path / "two")


def test_the_table_is_read_with_its_quirks(tmp_path):
    changes = {"Age": ">89", "Gender (male=1)": "0", "Cause of death": "6"}
    one_patient(tmp_path, noise(), **changes, **{"Exit of the study": "3"})
    (record,) = read(tmp_path)
    assert (record.age, record.sex) == (90, "F")
    assert record.notes == (NOTE, "age '>89' is read as 90")
    assert record.labels == {"outcome:6": 100.0, "exit:3": 100.0}
    assert record.clinical == {"weight": 70.5, "dbp": 80.0, "diabetes": 0.0}


def test_unknown_outcome_is_no_label_and_no_error(tmp_path):
    one_patient(tmp_path, noise(), **{"Cause of death": "NA", "Age": "NA"})
    (record,) = read(tmp_path)
    assert (record.labels, record.age) == ({}, None)


def test_two_leads_and_bytes_after_the_last_sample(tmp_path):
    one_patient(tmp_path, noise(leads=2), names="XY", extra=bytes(396))
    (record,) = read(tmp_path)
    np.testing.assert_allclose(record.signal, noise(leads=2)[:, : 10 * FS] / 200, rtol=1e-6)


@pytest.mark.parametrize(
    ("broken", "seconds"), [(0, 0), (1, 25), (1001, 25), (26 * FS, 50), (36 * FS, 50)]
)
def test_an_unusable_window_gives_way_to_the_next(tmp_path, broken, seconds):
    """Windows are tried 25 s apart; here lead Y is flat up to the sample `broken`."""
    samples = noise(61)
    samples[1, :broken] = 0
    usable = broken < 0.1 * 10 * FS
    one_patient(tmp_path, samples)
    (record,) = read(tmp_path)
    start = 0 if usable else seconds * FS
    np.testing.assert_allclose(record.signal, samples[:2, start : start + 10 * FS] / 200, rtol=1e-6)
    moved = (f"window moved by {seconds} s: flat or invalid before",)
    assert record.notes == (NOTE, *(moved if start else ()))
    assert record.record_id == "P0001:0"


def test_missing_samples_give_way_too(tmp_path):
    samples = noise()
    samples[0, 5] = -32768
    one_patient(tmp_path, samples)
    (record,) = read(tmp_path)
    assert "window moved by 25 s" in record.notes[1]


def test_windows_start_equal_parts(tmp_path):
    one_patient(tmp_path, noise(60))
    records = read(tmp_path, windows=3, window_seconds=5)
    assert [record.record_id for record in records] == ["P0001:0", "P0001:4000", "P0001:8000"]
    for record, start in zip(records, (0, 4000, 8000), strict=True):
        np.testing.assert_allclose(
            record.signal, noise(60)[:2, start : start + 5 * FS] / 200, rtol=1e-6
        )


@pytest.mark.parametrize(
    ("names", "samples", "reason"),
    [
        ("XYZ", np.zeros((3, 60 * FS)), "flat-lead"),
        ("XZV", noise(), "missing-lead"),
    ],
)
def test_bad_recordings(tmp_path, names, samples, reason):
    one_patient(tmp_path, samples, names=names)
    with pytest.raises(QuarantineError) as caught:
        read(tmp_path)
    assert caught.value.reason == reason


def test_a_truncated_recording(tmp_path):
    one_patient(tmp_path, noise())
    path = tmp_path / "Holter_ECG" / "P0001.dat"
    path.write_bytes(path.read_bytes()[: 6 * FS])
    with pytest.raises(QuarantineError, match="truncated-signal"):
        read(tmp_path)


def test_tables_that_cannot_be_used(tmp_path):
    with pytest.raises(BadInputError, match=r"subject-info\.csv does not exist"):
        read(tmp_path)
    (tmp_path / "subject-info.csv").write_text("Patient ID;Age\r\nP0001;60\r\n")
    with pytest.raises(BadInputError, match=r"no column 'Gender \(male=1\)'"):
        read(tmp_path)
    one_patient(tmp_path, noise(), **{"Holter available": "0"})
    with pytest.raises(BadInputError, match="no Holter recordings"):
        read(tmp_path)


def test_every_quirk_is_quarantined_or_noted(tmp_path):
    options = {"no_holter": 0.3, "two_leads": 0.4, "late_start": 0.3, "flat": 0.3}
    simulate(recipe(patients=25, lost_signal=0.2, **options), tmp_path / "in")
    config = SourceConfig(reader="music", root=tmp_path / "in", watch=tmp_path, max_quarantined=0.9)
    summary = ingest("music", config, Recipe(), tmp_path / "store")
    headers = sorted((tmp_path / "in" / "Holter_ECG").glob("*.hea"))
    lost = [path.stem for path in headers if not path.with_suffix(".dat").is_file()]
    here = [path for path in headers if path.stem not in lost]
    signals = {path.stem: wfdb.rdrecord(str(path.with_suffix(""))).p_signal for path in here}
    flat = [name for name, signal in signals.items() if not signal[:, 1].any()]
    late = [
        name for name, signal in signals.items() if name not in flat and not signal[:2000].any()
    ]
    assert min(map(len, (lost, flat, late))) > 0
    assert {signal.shape[1] for signal in signals.values()} == {2, 3}
    assert summary.quarantined == {"flat-lead": len(flat), "missing-signal-file": len(lost)}
    assert summary.records == sum(row["Holter available"] == "1" for row in table(tmp_path / "in"))
    records = open_store(tmp_path / "store").records
    moved = ["moved by 25 s" in " ".join(notes) for notes in records["notes"]]
    assert sorted(records["record_id"][moved]) == sorted(f"{name}:0" for name in late)


def test_the_outcome_follows_the_heart():
    """Those who die of a cause have more of the conditions that it is made of."""
    made = recipe(patients=40)
    hearts, opts = drawn(patients=40), cohort_options(made)

    causes = [
        cause_of_death(heart, opts, stream(_seed(made), 6, heart.patient.index)) for heart in hearts
    ]
    for cause, weights in CAUSES.items():
        score = np.array(
            [sum(w * h.state.severity[INDEX[c]] for c, w in weights.items()) for h in hearts]
        )
        dead = np.array([c in ((cause, "7") if cause == "6" else (cause,)) for c in causes])
        assert dead.sum() > 1
        assert score[dead].mean() > score[~dead].mean() + 0.3
