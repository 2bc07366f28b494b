"""Amplitudes: how they are measured, which gains are corrected, what is left out or noted."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.amplitude import (
    USUAL,
    against_others,
    checked_amplitude,
    judge,
    known_gains,
    qrs_amplitude,
    settled,
    summarise,
    usual_amplitude,
)
from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS, Record
from ecgscale.data.sources import QuarantineError
from ecgscale.data.sources.base import Decoded
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError


def beats(fs=500.0, seconds=10.0, amplitude=1.0, leads=12):
    """QRS complexes of a known range in mV, one a second, in every lead."""
    time = np.arange(round(seconds * fs)) / fs
    at = (time - 0.5) % 1.0 - 0.5
    wave = np.exp(-((at / 0.012) ** 2) / 2) - 0.25 * np.exp(-(((at - 0.035) / 0.01) ** 2) / 2)
    return np.tile(amplitude * wave / np.ptp(wave), (leads, 1)).astype(np.float32)


def rows(amplitudes, gain="1000/mV", device="", fs=500.0, patients=None):
    """Rows of a store's table, a patient each unless they are given."""
    patients = range(len(amplitudes)) if patients is None else patients
    return [
        {"patient_id": f"{gain}{p}", "amplitude": a, "gain": gain, "device": device}
        | {"fs_original": fs}
        for a, p in zip(amplitudes, patients, strict=True)
    ]


def people(count, seed=0, centre=1.0):
    """Amplitudes that differ between people as PTB-XL's do."""
    level = np.random.default_rng(seed).normal(0, 0.3, count)
    return centre * usual_amplitude(LEADS) * np.exp(np.clip(level, -0.75, 0.75))


@settings(max_examples=40, deadline=None)
@given(
    fs=st.sampled_from([100.0, 128.0, 250.0, 257.0, 360.0, 500.0, 1000.0]),
    amplitude=st.floats(1e-4, 1e3),
    seconds=st.floats(4, 30),
)
def test_the_range_of_the_complexes_at_any_rate_and_length(fs, amplitude, seconds):
    found = qrs_amplitude(beats(fs, seconds, amplitude), fs)
    assert found == pytest.approx(amplitude, rel=0.25)


@settings(max_examples=40, deadline=None)
@given(factor=st.floats(1e-3, 1e3), seed=st.integers(0, 50))
def test_it_scales_with_the_signal(factor, seed):
    signal = np.random.default_rng(seed).normal(size=(3, 2000))
    assert qrs_amplitude(signal * factor, 500) == pytest.approx(factor * qrs_amplitude(signal, 500))


def disturbed(kind):
    signal = beats().astype(np.float64)
    time = np.arange(signal.shape[1]) / 500
    if kind == "wander":
        signal += 1.5 * np.sin(2 * np.pi * 0.25 * time)
    elif kind == "jump":
        signal[:, 2000:] += 10
    elif kind == "pacemaker":
        signal[:, 350::450] += 4
    elif kind == "noisy lead":
        signal[3] += np.random.default_rng(0).normal(0, 5, len(time))
    elif kind == "flat leads":
        signal[:5] = 0.3
    elif kind == "missing samples":
        signal[:5, 100] = np.nan
    else:
        signal[:, 1000:1200] += 8 * np.sin(2 * np.pi * 11 * time[:200])
    return signal


@pytest.mark.parametrize(
    "kind",
    ["wander", "jump", "pacemaker", "noisy lead", "flat leads", "missing samples", "burst"],
)
def test_it_withstands_what_recordings_suffer_from(kind):
    assert qrs_amplitude(disturbed(kind), 500) == pytest.approx(1, rel=0.25)


def test_nothing_to_measure():
    assert np.isnan(qrs_amplitude(np.ones((12, 500)), 500))
    assert np.isnan(qrs_amplitude(np.full((2, 500), np.nan), 500))
    assert np.isnan(qrs_amplitude(np.empty((2, 0)), 500))
    assert qrs_amplitude(np.array([[0.0, 1.0]]), 500) == 0  # both samples are one of 100 Hz


def test_the_usual_amplitude_is_that_of_the_leads():
    assert usual_amplitude(["V4"]) == USUAL["V4"]
    assert usual_amplitude(["I", "II", "III"]) == USUAL["I"]
    assert usual_amplitude(["X"]) == usual_amplitude(LEADS) == np.median(list(USUAL.values()))


@pytest.mark.parametrize(
    ("amplitude", "fine"), [(0.08, False), (0.3, True), (5, True), (15, False)]
)
def test_one_record_by_itself(amplitude, fine):
    record = Record("r", "s:r", beats(amplitude=amplitude), 500.0, LEADS)
    if fine:
        assert checked_amplitude(record, record.signal, LEADS).amplitude == pytest.approx(
            amplitude, rel=0.2
        )
    else:
        with pytest.raises(QuarantineError, match=r"bad-gain.*usual in these leads"):
            checked_amplitude(record, record.signal, LEADS)


def test_standard_deviations_have_no_amplitude():
    record = Record("r", "s:r", beats(amplitude=100), 500.0, LEADS, unit="z")
    assert np.isnan(checked_amplitude(record, record.signal, LEADS).amplitude)


def test_a_signal_that_swings_too_far_is_no_ecg():
    slow = 15 * np.sin(np.arange(5000) / 5000 * 2 * np.pi)
    record = Record("r", "s:r", (beats() + slow).astype(np.float32), 500.0, LEADS)
    with pytest.raises(QuarantineError, match="swings by 30 mV"):
        checked_amplitude(record, record.signal, LEADS)


KNOWN = [
    ("HR00007", 200, 1000),
    ("HR00007.hea", 200, 1000),
    ("E00001", 4880, 1000),
    ("a", 4880, 1000),
    ("S0001", 2_000_000, 2000),
    ("s0550.hea", 2_000_000, 2000),
    ("I0001", 306_000, 306),
    ("I0074", 510_000, 510),
]


@settings(max_examples=60, deadline=None)
@given(case=st.sampled_from(KNOWN), amplitude=st.floats(0.45, 1.9), seed=st.integers(0, 9))
def test_known_gains_are_corrected_to_the_very_values(case, amplitude, seed):
    name, stated, true = case
    noise = np.random.default_rng(seed).normal(0, 2, (12, 5000))
    steps = np.rint(beats(amplitude=amplitude) * true + noise)
    decoded = Decoded((steps / stated).astype(np.float32), 500.0, LEADS, ("before",))
    found = settled(replace(decoded, gains=(float(stated),) * 12), name)
    np.testing.assert_array_equal(found.signal, (steps / true).astype(np.float32))
    assert found.gain == f"{stated}/mV read as {true}/mV"
    assert found.notes[0] == "before"
    assert found.notes[1].startswith(f"gain {stated}/mV in the header read as {true}/mV: amplitude")


@pytest.mark.parametrize(
    ("name", "stated", "true"),
    [
        *((name, stated, stated) for name, stated, _ in KNOWN),  # the header is right
        ("A0001", 200, 1000),
        ("HR00007", 201, 1000),
        ("XHR00007", 200, 1000),
        ("JS00001", 306_000, 306),
        ("E00001", 5000, 1000),
    ],
)
def test_right_and_unknown_gains_are_left_as_stated(name, stated, true):
    decoded = Decoded((beats() * true / stated).astype(np.float32), 500.0, LEADS)
    found = settled(replace(decoded, gains=(float(stated),) * 12), name)
    np.testing.assert_array_equal(found.signal, decoded.signal)
    assert (found.gain, found.notes) == (f"{stated}/mV", ())


def test_leads_of_several_gains_are_corrected_each_by_its_own():
    true = np.linspace(250, 1100, 12).round()
    steps = np.rint(beats() * true[:, None])
    decoded = Decoded((steps / (1000 * true[:, None])).astype(np.float32), 500.0, LEADS)
    found = settled(replace(decoded, gains=tuple((1000 * true).tolist())), "I0002.hea")
    np.testing.assert_array_equal(found.signal, (steps / true[:, None]).astype(np.float32))
    assert found.gain == "several gains read as 1/1000"
    assert found.notes[0].startswith("several gains in the header read as 1/1000: amplitude 0.9")


def test_only_all_leads_together_are_corrected_and_silence_is_not():
    decoded = Decoded(beats(amplitude=5), 500.0, LEADS)
    found = settled(replace(decoded, gains=(200.0,) * 11 + (1000.0,)), "HR00007")
    np.testing.assert_array_equal(found.signal, decoded.signal)
    assert found.gain == "several gains"
    silent = Decoded(np.zeros((12, 5000), np.float32), 500.0, LEADS)
    assert settled(replace(silent, gains=(200.0,) * 12), "HR00007").notes == ()
    assert settled(decoded, "HR00007") is decoded


def test_every_known_gain_has_its_evidence():
    assert {row.lowest for row in known_gains()} == {4880, 200, 2_000_000, 100_000}
    assert all(row.lowest <= row.highest and len(row.evidence) > 100 for row in known_gains())


def test_a_sane_source_has_no_alarm():
    for seed in range(20):
        found = judge(rows(people(300, seed)), LEADS)
        assert (found.left_out, found.noted, found.notes) == ({}, {}, [])


@pytest.mark.parametrize("factor", [1 / 1000, 1 / 200, 1 / 10, 1 / 5, 5, 10, 200, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_a_group_is_found_by_its_header_and_without_one(factor, seed):
    good, bad = people(180, seed), people(20, seed + 100, factor)
    found = judge([*rows(good), *rows(bad, gain="200/mV")], LEADS)
    assert sorted(found.left_out) == list(range(180, 200))
    assert "; 20 records (gain 200/mV, 500 Hz) have " in found.left_out[180]
    found = judge([*rows(good), *rows(bad, device="x")], LEADS)
    assert sorted(found.left_out) == list(range(180, 200))
    mixed = judge(rows([*good, *bad]), LEADS)
    assert len({*range(180, 200)} - set(mixed.left_out)) <= 1
    assert len(set(mixed.left_out) - {*range(180, 200)}) <= 2


@pytest.mark.parametrize("factor", [1 / 1000, 1 / 5, 5, 10, 200])
@pytest.mark.parametrize("count", [5, 13, 72])
def test_a_source_whose_records_are_all_wrong(factor, count):
    found = judge(rows(people(count, 3, factor)), LEADS)
    assert sorted(found.left_out) == list(range(count))


def test_the_wrong_group_of_two_is_left_out_whichever_is_larger():
    low, high = people(100, 1, 0.8), people(30, 2, 4.0 * 0.8)
    found = judge([*rows(low), *rows(high, gain="250/mV")], LEADS)
    assert sorted(found.left_out) == list(range(100, 130))
    assert "source's others" in found.left_out[100]
    found = judge([*rows(people(30, 1, 0.8)), *rows(people(100, 2, 3.2), gain="250/mV")], LEADS)
    assert sorted(found.left_out) == list(range(30, 130))


def test_one_record_among_sane_ones():
    many = people(100)
    cases = {0.3: "noted", 5.0: "noted", 7.0: "left out", 0.13: "left out", 2.0: None}
    for amplitude, expected in cases.items():
        found = judge(rows([*many, amplitude]), LEADS)
        assert (list(found.left_out) == [100]) == (expected == "left out")
        assert (list(found.noted) == [100]) == (expected == "noted")
        text = {**found.left_out, **found.noted}.get(100, f"amplitude {amplitude:.3g} mV")
        assert text.startswith(f"amplitude {amplitude:.3g} mV")
    found = judge(rows([*many, 5.0]), LEADS)
    assert "times the 0.9" in found.noted[100]
    assert found.noted[100].endswith("mV that are usual in this source")


def test_a_large_heart_in_a_source_of_small_amplitudes_is_noted_only():
    found = judge(rows([*people(100, centre=0.75), 5.0]), LEADS)
    assert (found.left_out, list(found.noted)) == ({}, [100])


def test_many_records_of_one_patient_are_one_patient():
    """Twenty windows of low voltage are no second population, and no group of their own."""
    rows_ = [*rows(people(100)), *rows([0.2] * 20, patients=[0] * 20)]
    found = judge(rows_, LEADS)
    assert found.left_out == {}
    assert len(found.noted) == 20
    rows_ = [*rows(people(100)), *rows([0.2] * 20, gain="400/mV", patients=[0] * 20)]
    assert judge(rows_, LEADS).left_out == {}


def test_one_lead_differs_more_between_people():
    values = np.append(people(100), [0.2, 5.0])
    assert judge(rows(values), ("I",)).noted == {}
    assert len(judge(rows(values), ("I", "II")).noted) == 2


def test_a_source_that_is_a_little_off_is_noted_and_stays():
    """As CODE-15% read as mV: 2.2 to 2.5 times the amplitude of others."""
    found = judge(rows(people(200, centre=2.4), gain=""), LEADS)
    assert (found.left_out, found.noted) == ({}, {})
    (note,) = found.notes
    assert note.startswith("median amplitude of the source 2.3 mV, 2.4 times the 0.96 mV")
    mixed = [*rows(people(200)), *rows(people(40, 1, 2.5), gain="400/mV")]
    (note,) = judge(mixed, LEADS).notes
    assert note.startswith("median amplitude of 40 records (gain 400/mV, 500 Hz) 2.4 mV")


def test_few_records_are_compared_with_the_usual_only():
    found = judge(rows([*people(6), 4.0]), LEADS)
    assert found.left_out == {}
    assert found.noted[6].endswith("4.2 times the 0.96 mV that are usual")
    assert found.notes == ["fewer than 20 patients: amplitudes compared with the usual only"]


def test_what_has_no_amplitude_is_exempt_and_said_so():
    found = judge(rows([np.nan] * 30), LEADS)
    assert (found.left_out, found.noted) == ({}, {})
    assert found.notes == ["amplitude not checked in 30 records that have none in mV"]
    assert judge([], LEADS).notes == []


@pytest.mark.parametrize(("few", "many"), [("", "read"), ("read", "")])
def test_a_correction_that_most_records_contradict(few, many):
    gains = {"": "200/mV", "read": "200/mV read as 1000/mV"}
    found = judge([*rows(people(57), gains[many]), *rows(people(3), gains[few])], LEADS)
    assert sorted(found.left_out) == [57, 58, 59]
    share = 57 if many else 3
    what = f"gain 200/mV read as 1000/mV in {share} of 60 records that state it"
    assert what in found.left_out[57]
    even = judge([*rows(people(30), gains[many]), *rows(people(30), gains[few])], LEADS)
    assert even.left_out == {}
    assert even.notes == ["gain 200/mV read as 1000/mV in 30 of 60 records that state it"]


@settings(max_examples=30, deadline=None)
@given(order=st.permutations(range(40)))
def test_the_order_of_records_does_not_matter(order):
    values = np.append(people(33), [0.2, 9.0, 0.05, np.nan, 4.5, 5.5, 5.0])
    table = rows(values)
    plain, shuffled = judge(table, LEADS), judge([table[i] for i in order], LEADS)
    assert {order[i]: text for i, text in shuffled.left_out.items()} == plain.left_out
    assert {order[i]: text for i, text in shuffled.noted.items()} == plain.noted


def test_summary():
    found = summarise([1.0, 2.0, np.nan, 3.0], LEADS)
    assert (found.records, found.median, found.usual) == (3, 2.0, usual_amplitude(LEADS))
    assert (found.low, found.high) == pytest.approx((1.02, 2.98))
    assert summarise([np.nan], LEADS).median is None


def clinic(root, write, amplitudes, gains):
    """Records of real shape, each with its own noise, under headers of some gains."""
    rng = np.random.default_rng(0)
    for number, (amplitude, gain) in enumerate(zip(amplitudes, gains, strict=True)):
        steps = beats(100, 10, amplitude) * 1000 + rng.normal(0, 4, (12, 1000))
        write.wfdb(root, f"r{number:03d}", np.rint(steps), fs=100, gain=gain)


def run(root, out, reader="challenge"):
    config = SourceConfig(reader=reader, root=root, watch=root, max_quarantined=0.5)
    return ingest("clinic", config, Recipe(), out), open_store(out)


def test_ingest_leaves_out_a_group_and_writes_the_rest_as_if_alone(tmp_path, write):
    """13 of 85 records under a gain that is five times too small, in the middle of the others."""
    wrong = [20 <= number < 33 for number in range(85)]
    gains = ["200/mV" if bad else "1000/mV" for bad in wrong]
    clinic(tmp_path / "all", write, people(85), gains)
    for number, bad in enumerate(wrong):
        if not bad:
            for path in (tmp_path / "all").glob(f"r{number:03d}.*"):
                (tmp_path / "good").mkdir(exist_ok=True)
                (tmp_path / "good" / path.name).write_bytes(path.read_bytes())
    summary, store = run(tmp_path / "all", tmp_path / "a")
    alone, reference = run(tmp_path / "good", tmp_path / "b")
    assert summary.quarantined == {"bad-gain": 13}
    assert summary.stored == alone.stored == 72
    assert store.digest == reference.digest
    np.testing.assert_array_equal(store.raw(), reference.raw())
    details = store.quarantine.set_index("record_id").detail
    assert list(details.index) == [f"r{number:03d}" for number in range(20, 33)]
    assert details.str.contains(r"13 records \(gain 200/mV, 100 Hz\) have [45]").all()
    store.verify()
    assert sorted(path.name for path in store.path.iterdir()) == sorted(
        path.name for path in reference.path.iterdir()
    )


def test_ingest_refuses_a_source_whose_records_are_all_wrong(tmp_path, write):
    clinic(tmp_path / "all", write, people(6, centre=5), ["1000/mV"] * 6)
    with pytest.raises(BadInputError, match=r"6 of 6 records are quarantined \(bad-gain 6\)"):
        run(tmp_path / "all", tmp_path / "store")


def test_ingest_notes_single_records_and_the_source(tmp_path, write):
    clinic(tmp_path / "all", write, [*people(24, centre=2.4), 8.9], ["1000/mV"] * 25)
    summary, store = run(tmp_path / "all", tmp_path / "store", reader="wfdb-tree")
    assert summary.stored == 25
    noted = store.records.notes.map(lambda notes: any("usual in this source" in x for x in notes))
    assert store.records.record_id[noted].tolist() == ["r024:0"]
    assert "the source" in summary.found.source_notes[0]
    assert store.manifest.notes == summary.found.source_notes
    assert summary.found.amplitudes == summarise(store.records.amplitude, LEADS)
    assert set(store.records.gain) == {"1000/mV"}


def test_readers_agree_on_known_gains(tmp_path, write):
    for number in range(3):
        steps = np.rint(beats(500, 10, 0.8 + 0.2 * number) * 1000)
        write.wfdb(tmp_path / "in", f"HR{number:05d}", steps, fs=500, gain="200/mV")
    _, one = run(tmp_path / "in", tmp_path / "a")
    _, other = run(tmp_path / "in", tmp_path / "b", reader="wfdb-tree")
    np.testing.assert_array_equal(one.raw(), other.raw())
    assert one.records.notes.tolist() == other.records.notes.tolist()
    assert one.records.amplitude.tolist() == pytest.approx([0.8, 1.0, 1.2], rel=0.1)


def of_leads(wrong="V2", factor=1.0, fs=250.0, leads=LEADS):
    """Complexes of the usual amplitude of each lead, but for one."""
    size = np.array([USUAL[lead] * (factor if lead == wrong else 1) for lead in leads])
    signal = beats(fs, 4, leads=len(leads)) * size[:, None]
    noise = np.random.default_rng(0).normal(0, 1e-5, signal.shape)
    return Record("r", "s:r", (signal + noise).astype(np.float32), fs, tuple(leads))


def test_what_the_other_leads_let_expect():
    amplitudes = [USUAL[lead] for lead in LEADS]
    assert against_others(amplitudes, LEADS) == pytest.approx([0] * 12)
    amplitudes[LEADS.index("V3")] *= 8
    found = dict(zip(LEADS, np.exp(against_others(amplitudes, LEADS)), strict=True))
    assert found["V3"] == pytest.approx(8)
    beside = 8 ** (-1 / 3)  # two thirds the mean of the two beside it, of which one is 8 times high
    assert (found["V2"], found["V4"]) == pytest.approx((beside, beside))
    assert (found["V1"], found["aVL"]) == pytest.approx((1, 1))
    some = against_others([1.03, 3.28, np.nan, 0.0, 1.0], ["V1", "V2", "I", "II", "ABP"])
    assert np.exp(some[:2]) == pytest.approx([0.5, 2])
    assert np.isnan(some[2:]).all()
    assert np.isnan(against_others([1.0], ["I"])).all()


@pytest.mark.parametrize("lead", LEADS[6:])
@pytest.mark.parametrize("factor", [1 / 1000, 1 / 10, 1 / 5, 1, 5, 10, 1000])
def test_the_gain_of_one_lead(lead, factor):
    record = of_leads(lead, factor)
    if factor in (1000, 1 / 1000):
        with pytest.raises(QuarantineError, match=f"bad-gain.*lead {lead} has an amplitude of"):
            checked_amplitude(record, record.signal, LEADS)
        return
    found = checked_amplitude(record, record.signal, LEADS)
    assert found.apart[LEADS.index(lead)] == pytest.approx(np.log(factor), abs=0.05)
    said = " times what the other leads let expect"
    assert len(found.notes) == (factor != 1)
    assert all(f"amplitude of lead {lead} " in x and said in x for x in found.notes)


@pytest.mark.parametrize("leads", [("I", "II"), ("I", "II", "V1"), LEADS[:3], LEADS[6:], LEADS])
def test_few_leads_and_those_that_follow_from_each_other(leads):
    """A limb lead is left to the limb leads' own check, where that can be."""
    record = of_leads(leads[1], 10, leads=leads)
    found = checked_amplitude(record, record.signal, leads)
    follow = {"I", "II", "III"} <= {*leads}
    assert len(found.notes) == (not follow)
    small = of_leads(leads[1], 3, leads=leads)
    assert checked_amplitude(small, small.signal, leads).notes == ()


@pytest.mark.parametrize(("factor", "noted"), [(5, True), (0.1, True), (1.0, False)])
def test_a_lead_whose_stated_gain_differs_is_noted_if_its_amplitude_does(factor, noted):
    """The second record holds as many steps more as its gain is higher: the gain is right."""
    gains = tuple(200.0 / factor if lead == "V2" else 200.0 for lead in LEADS)
    wrong = of_leads("V2", factor).signal
    found = settled(Decoded(wrong, 250.0, LEADS, gains=gains), "A0001")
    start = f"lead V2 has {200 / factor:g}/mV in the header, others 200/mV: amplitude"
    assert len(found.notes) == noted
    assert all(note.startswith(start) for note in found.notes)
    assert settled(Decoded(of_leads().signal, 250.0, LEADS, gains=gains), "A0001").notes == ()
    several = (*tuple(200.0 + number for number in range(11)), 1000.0)
    assert settled(Decoded(wrong, 250.0, LEADS, gains=several), "A0001").notes == ()


def test_less_than_two_seconds_decide_nothing():
    steps = np.rint(beats(seconds=10) * 1000)
    for samples, corrected in ((5000, True), (1000, True), (999, False), (4, False)):
        signal = (steps[:, -samples:] / 4880).astype(np.float32)
        found = settled(Decoded(signal, 500.0, LEADS, gains=(4880.0,) * 12), "E00001")
        assert found.gain == ("4880/mV read as 1000/mV" if corrected else "4880/mV")


@pytest.mark.parametrize("count", [12, 40])
@pytest.mark.parametrize("factor", [1, 1 / 10, 1 / 5, 1 / 2.5, 2.5, 5, 10, 200])
def test_a_lead_that_is_wrong_in_the_whole_source(factor, count):
    rng = np.random.default_rng(1)
    apart = rng.normal(0, 0.35, (2 * count, 12))
    apart[count:, LEADS.index("V5")] += np.log(factor)
    table = [*rows(people(count)), *rows(people(count, 1), device="x")]
    found = judge(table, LEADS, apart)
    far, near = factor in (1 / 10, 1 / 5, 5, 10, 200), factor in (1 / 2.5, 2.5)
    assert sorted(found.left_out) == (list(range(count, 2 * count)) if far and count > 20 else [])
    said = [
        note for note in found.notes if note.startswith("lead V5 of 40 records (gain 1000/mV, ")
    ]
    assert len(said) == (near and count > 20)
    assert all("; lead V5 of 40 records (gain" in why for why in found.left_out.values())
    assert judge(table, ("I", "II"), apart[:, 6:8]).left_out == {}


def test_ingest_names_the_lead_of_one_record_and_refuses_it_in_all(tmp_path, write):
    def store(folder, wrong, gain):
        for number, amplitude in enumerate(people(24)):
            gains = [gain if i == 7 and number in wrong else "1000/mV" for i in range(12)]
            shape = np.array([[USUAL[lead]] for lead in LEADS]) / usual_amplitude(LEADS)
            steps = beats(100, 10, amplitude) * shape * 1000
            steps += np.random.default_rng(number).normal(0, 4, steps.shape)
            path = write.wfdb(tmp_path / folder, f"r{number:03d}", np.rint(steps), fs=100)
            lines = path.read_text().split("\n")
            for place, one in enumerate(gains, 1):
                lines[place] = lines[place].replace("1000/mV", one)
            path.write_text("\n".join(lines))
        return run(tmp_path / folder, tmp_path / f"{folder}-store")

    summary, one = store("one", [5], "100/mV")
    assert summary.stored == 24
    noted = one.records.notes.map(lambda notes: any("amplitude of lead V2" in x for x in notes))
    assert one.records.record_id[noted].tolist() == ["r005"]
    summary, one = store("kilo", [5], "1/mV")
    assert summary.quarantined == {"bad-gain": 1}
    assert one.quarantine.detail.str.contains("lead V2 has an amplitude of").all()
    with pytest.raises(BadInputError, match=r"24 of 24 records are quarantined \(bad-gain 24\)"):
        store("all", range(24), "200/mV")
