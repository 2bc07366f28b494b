"""Icentia11k: simulated in the published layout, read back, and compared with `wfdb`."""

import math
from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate import cohort_options, simulate
from ecgscale.data.simulate.cohort import _seed
from ecgscale.data.simulate.records import draw_patients, draw_record
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.datasets.icentia11k.layout import (
    UNITS_PER_MV,
    annotation_file,
    beat_symbols,
)
from ecgscale.datasets.icentia11k.reader import NOTE, read_annotations
from ecgscale.errors import BadInputError
from support.sources import contents, example

FS = 250
CLEAN = example("icentia11k").COHORT


def recipe(patients=10, **options):
    options = {"segment_seconds": 20, "extra_record": 0.5, **options}
    return CohortSettings(layout="icentia11k", patients=patients, seed=1, options=options)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    root = tmp_path_factory.mktemp("icentia11k") / "clean"
    simulate(recipe(**CLEAN), root)
    return root


def read(root, **options):
    return list(sources.get("icentia11k")(root, "ic", options).iter_records())


def drawn(**options):
    """Every segment of the simulated cohort, in the order of the files."""
    made = recipe(**options)
    opts, seed = cohort_options(made), _seed(made)
    for patient in draw_patients(0, made.patients, seed, opts):
        for number in range(patient.records):
            name = f"p{patient.index:05d}_s{number:02d}"
            yield name, draw_record(patient, number, seed, opts)


def one_segment(root, samples, annotations, name="p00007_s00", **header):
    """Write one segment; `samples` is int16 (time,)."""
    folder = root / name[:3] / name[:6]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "RECORDS").write_text(f"{name}\n")
    fields = {"file": f"{name}.dat", "gain": f"{UNITS_PER_MV}(0)/mV", "n": len(samples), **header}
    signal = f"{fields['file']} 16 {fields['gain']} 16 0 0 0 0 ecg"
    (folder / f"{name}.hea").write_text(f"{name} 1 {FS} {fields['n']}\n{signal}\n")
    (folder / f"{name}.dat").write_bytes(np.asarray(samples, dtype="<i2").tobytes())
    if annotations:
        (folder / f"{name}.atr").write_bytes(annotation_file(annotations))
    return folder / name


def noise(seconds=60):
    return np.random.default_rng(0).integers(-100, 100, seconds * FS).astype(np.int16)


def test_windows_hold_the_simulated_signal_about_a_beat(cohort):
    records = read(cohort)
    segments = list(drawn(**CLEAN))
    assert len(records) == len(segments) > 10
    for record, (name, made) in zip(records, segments, strict=True):
        assert record.record_id == f"{name}:{10 * FS - 5 * FS}"
        assert record.patient_id == f"ic:{name[:6]}"
        assert (record.fs, record.leads, record.age, record.sex) == (FS, ("I",), None, None)
        assert NOTE in record.notes
        lead = made.signals[FS][LEADS.index("I")] / 1000
        beats = beat_symbols(made)
        nearest = min(beats, key=lambda beat: abs(round(beat[0] * FS) - 10 * FS))
        start = round(nearest[0] * FS) - 5 * FS
        expected = lead[start : start + 10 * FS]
        assert np.abs(record.signal[0] - expected).max() <= 0.51 / UNITS_PER_MV
        assert [code for code in record.labels if "beat" in code] == [f"beat:{nearest[1]}"]
        rhythm = {"sinus": "N", "atrial_fibrillation": "AFIB", "atrial_flutter": "AFL"}
        stated = [code for code in record.labels if "rhythm" in code]
        known = rhythm.get(made.state.rhythm)
        assert stated == ([f"rhythm:{known}"] if known else [])


def test_files_are_what_wfdb_reads(cohort):
    for record in read(cohort)[:5]:
        name, start = record.record_id.split(":")
        stem = str(cohort / name[:3] / name[:6] / name)
        signal = wfdb.rdrecord(stem).p_signal[:, 0]
        windows = np.lib.stride_tricks.sliding_window_view(signal, 10 * FS)
        found = np.flatnonzero((np.abs(windows - record.signal[0]) < 1e-5).all(axis=1))
        assert len(found) == 1
        assert abs(found[0] - int(start)) <= FS
        annotations = wfdb.rdann(stem, "atr")
        assert set(annotations.symbol) <= {"N", "S", "V", "+"}
        assert {note for note in annotations.aux_note if "(" not in note} <= {"None", ")"}
        header = wfdb.rdheader(stem)
        assert header.sig_name == ["ecg"]
        assert header.adc_gain[0] == pytest.approx(74.36, abs=0.01)


def test_same_bytes_with_any_number_of_processes(cohort, tmp_path):
    simulate(recipe(**CLEAN), tmp_path / "two", jobs=2)
    assert contents(cohort) == contents(tmp_path / "two")


@pytest.mark.parametrize(("windows", "middles"), [(1, [30]), (3, [10, 30, 50])])
def test_windows_lie_in_the_middle_of_equal_parts(tmp_path, windows, middles):
    one_segment(tmp_path, noise(), [])
    records = read(tmp_path, windows=windows, window_seconds=8)
    assert [record.record_id for record in records] == [
        f"p00007_s00:{(middle - 4) * FS}" for middle in middles
    ]
    assert {record.signal.shape for record in records} == {(1, 8 * FS)}
    for record, middle in zip(records, middles, strict=True):
        expected = noise()[(middle - 4) * FS : (middle + 4) * FS] / UNITS_PER_MV
        np.testing.assert_allclose(record.signal[0], expected, rtol=1e-6)
        assert record.labels == {}
        assert record.notes == (NOTE, "no annotations")


@pytest.mark.parametrize(
    ("beats", "expected", "moved"),
    [
        ([(7400, "N"), (7600, "V")], "beat:N", -100),
        ([(7450, "Q"), (7600, "V")], "beat:Q", -50),
        ([(7249, "S"), (7900, "V")], None, 0),
        ([(7250, "S"), (7900, "V")], "beat:S", -250),
        ([], None, 0),
    ],
)
def test_the_beat_nearest_the_middle_names_the_window(tmp_path, beats, expected, moved):
    notes = [(sample, symbol, "None") for sample, symbol in beats]
    one_segment(tmp_path, noise(), [(5, "N", "None"), *notes])
    (record,) = read(tmp_path)
    assert list(record.labels) == ([expected] if expected else [])
    start = 30 * FS - 5 * FS + moved
    np.testing.assert_allclose(
        record.signal[0], noise()[start : start + 10 * FS] / UNITS_PER_MV, rtol=1e-6
    )


@pytest.mark.parametrize(
    ("zones", "expected"),
    [
        ([(7000, "(AFIB"), (8500, ")")], "rhythm:AFIB"),
        ([(7200, "(AFIB"), (8500, ")")], None),
        ([(7000, "(AFIB"), (8200, ")")], None),
        ([(7000, "(AFIB)"), (8500, "(N)")], None),
        ([(100, "(N"), (7000, ")"), (7200, "(AFL"), (8500, ")")], None),
        ([(100, "(AFIB)"), (200, "(AFL"), (14_000, ")")], "rhythm:AFL"),
        ([], None),
    ],
)
def test_a_rhythm_must_hold_all_beats_of_the_window(tmp_path, zones, expected):
    """The window is 6250 to 8750; its beats lie at 7000, 7500 and 8500."""
    beats = [(sample, "N", "None") for sample in (7000, 7500, 8500, 14_500)]
    one_segment(tmp_path, noise(), [*beats, *((sample, "+", note) for sample, note in zones)])
    (record,) = read(tmp_path)
    assert [code for code in record.labels if "rhythm" in code] == ([expected] if expected else [])


def test_annotations_against_a_plain_reading(tmp_path):
    made = [(10, "+", "(N"), (10, "N", "None"), (300, "V", "None"), (300, "+", ")")]
    made += [(500, "Q", "None"), (500, "+", "(AFL)"), (2000, "S", "None")]
    found = read_annotations(one_segment(tmp_path, noise(), made))
    assert found.beats.tolist() == [10, 300, 500, 2000]
    assert found.symbols == ("N", "V", "Q", "S")
    assert found.rhythms == ((10, 300, "N"), (500, 500, "AFL"))


@given(
    steps=st.lists(
        st.tuples(
            st.one_of(st.integers(0, 400), st.integers(1024, 10**6)),
            st.sampled_from([*"NSVQ+~a|"]),
            st.sampled_from(["", "None", "(N", "(AFIB", "(AFL)", ")", "odd", "(VT"]),
        ),
        min_size=1,
        max_size=12,
    )
)
@settings(max_examples=40, deadline=None)
def test_annotations_against_wfdb(tmp_path_factory, steps):
    """The same beats and notes as `wfdb.rdann`, paired with a plain loop."""
    samples = np.cumsum([step for step, _, _ in steps]).tolist()
    rows = [(at, symbol, note) for at, (_, symbol, note) in zip(samples, steps, strict=True)]
    folder = tmp_path_factory.mktemp("atr")
    (folder / "a.atr").write_bytes(annotation_file(rows))
    found, expected = read_annotations(folder / "a"), wfdb.rdann(str(folder / "a"), "atr")
    beats = [
        (at, symbol)
        for at, symbol in zip(expected.sample.tolist(), expected.symbol, strict=True)
        if symbol in "NSVQ"
    ]
    assert list(zip(found.beats.tolist(), found.symbols, strict=True)) == beats
    zones, opened = [], None
    for at, note in zip(expected.sample.tolist(), expected.aux_note, strict=True):
        note = note.rstrip("\0")
        if note.startswith("("):
            opened = (at, note.strip("()"))
        if note.endswith(")") and opened is not None:
            zones.append((opened[0], at, opened[1]))
            opened = None
    assert list(found.rhythms) == [zone for zone in zones if zone[2] != "VT"]


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_damaged_annotations_end(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "damaged.atr"
    path.write_bytes(data)
    with suppress(ValueError):
        read_annotations(path.with_suffix(""))


def test_annotations_that_break_off_are_not_believed(tmp_path):
    stem = one_segment(tmp_path, noise(), [(7500, "N", "None"), (9000, "V", "None")])
    path = stem.with_suffix(".atr")
    whole = path.read_bytes()
    for size in range(len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(QuarantineError, match="bad-metadata"):
            read(tmp_path)


def test_every_quirk_is_quarantined_or_noted(tmp_path):
    options = dict.fromkeys(("detached", "unannotated"), 0.3) | {"lost_signal": 0.2}
    simulate(recipe(**options), tmp_path / "in")
    config = SourceConfig(
        reader="icentia11k", root=tmp_path / "in", watch=tmp_path, max_quarantined=0.9
    )
    summary = ingest("icentia", config, Recipe(), tmp_path / "store")
    files = list((tmp_path / "in").rglob("*.hea"))
    lost = sum(not path.with_suffix(".dat").is_file() for path in files)
    flat = sum(
        path.with_suffix(".dat").is_file() and not any(path.with_suffix(".dat").read_bytes())
        for path in files
    )
    assert min(lost, flat) > 0
    assert summary.quarantined == {"flat-lead": flat, "missing-signal-file": lost}
    assert (summary.records, summary.stored) == (len(files), len(files) - lost - flat)
    store = open_store(tmp_path / "store")
    assert store.leads == ("I",)
    silent = store.records[[("no annotations" in notes) for notes in store.records.notes]]
    assert len(silent) > 0
    assert not any(len(labels) for labels in silent["labels"])
    counts = Counter(code for labels in store.records["labels"] for code in labels)
    assert counts["beat:N"] > 0
    assert counts["rhythm:N"] > 0


def test_segments_option_takes_the_first(cohort):
    taken = [record.record_id for record in read(cohort, segments=1)]
    assert taken == [r.record_id for r in read(cohort) if "_s00:" in r.record_id]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"file": "../other.dat"}, "path-traversal"),
        ({"gain": "0/mV"}, "bad-gain"),
        ({"n": 61 * FS * 10}, "truncated-signal"),
    ],
)
def test_bad_segments(tmp_path, change, reason):
    samples = noise()
    stem = one_segment(tmp_path, samples, [], **change)
    if reason == "truncated-signal":
        stem.with_suffix(".dat").write_bytes(samples[: 31 * FS].astype("<i2").tobytes())
        (ref,) = sources.get("icentia11k")(tmp_path, "ic").index()
        stem.with_suffix(".dat").write_bytes(samples[: 16 * FS].astype("<i2").tobytes())
    else:
        (ref,) = sources.get("icentia11k")(tmp_path, "ic").index()
    with pytest.raises(QuarantineError) as caught:
        sources.get("icentia11k")(tmp_path, "ic").load(ref)
    assert caught.value.reason == reason


def test_invalid_samples_and_unreadable_annotations(tmp_path):
    samples = noise()
    samples[30 * FS] = -32768
    stem = one_segment(tmp_path, samples, [])
    with pytest.raises(QuarantineError, match="nan-samples"):
        read(tmp_path)
    one_segment(tmp_path, noise(), [])
    stem.with_suffix(".atr").write_bytes(b"\x01")
    with pytest.raises(QuarantineError, match="bad-metadata"):
        read(tmp_path)


def test_links_and_names_that_lead_out(tmp_path):
    outside = one_segment(tmp_path / "out", noise(), [])
    inside = one_segment(tmp_path / "in", noise(), [])
    inside.with_suffix(".dat").unlink()
    inside.with_suffix(".dat").symlink_to(outside.with_suffix(".dat"))
    with pytest.raises(QuarantineError, match="path-traversal"):
        read(tmp_path / "in")
    (inside.parent / "RECORDS").write_text(f"../../../out/p00/p00007/{outside.name}\n")
    with pytest.raises(QuarantineError, match="path-traversal"):
        read(tmp_path / "in")


def test_a_folder_without_patients_is_refused(tmp_path):
    (tmp_path / "RECORDS").write_text("p00/p00000/\n")
    with pytest.raises(BadInputError, match="no patient folders"):
        read(tmp_path)


def test_ectopic_beats_of_the_layout_follow_the_heart():
    """S beats come early or belong to a tachycardia; V beats are the ventricular ones."""
    counts = Counter()
    for _, made in drawn(patients=20, prevalence={"atrial_premature": 0.5, "bigeminy": 0.5}):
        for seconds, symbol in beat_symbols(made):
            counts[symbol] += 1
            if symbol == "V":
                assert seconds in made.beats.ventricular
            else:
                early = [seconds - p for p in made.beats.ectopic_atrial if p < seconds]
                tachycardia = made.state.rhythm in (
                    *("supraventricular_tachycardia", "atrial_tachycardia"),
                )
                assert (symbol == "S") == (tachycardia or min(early, default=math.inf) < 0.4)
    assert min(counts[symbol] for symbol in "NSV") > 5
