import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.record import CLINICAL_FIELDS, LEADS
from ecgscale.data.simulate import CONDITIONS, cohort_options, simulate
from ecgscale.data.simulate.conditions import INDEX
from ecgscale.data.simulate.layout import balanced_parts
from ecgscale.data.simulate.population import draw_patient
from ecgscale.data.simulate.records import draw_record
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.simulate.vectors import render
from ecgscale.datasets.ptb_xl.statements import scp_codes
from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from support.full_disk import no_room
from support.sources import contents

REPOSITORY = Path(__file__).parents[2]
NEVER = {condition.name: 0.0 for condition in CONDITIONS}


def ptb(patients=130, seed=3, **options):
    return CohortSettings(layout="ptb-xl", patients=patients, seed=seed, options=options)


def challenge(patients=130, seed=3, **options):
    return CohortSettings(
        layout="challenge", patients=patients, seed=seed, options={"fs": 100, **options}
    )


def test_a_full_disk_leaves_no_part_of_a_cohort(tmp_path):
    with no_room(1000), pytest.raises(OSError, match="too large") as caught:
        simulate(ptb(patients=2), tmp_path / "cohort")
    assert is_full(caught.value)
    assert list((tmp_path / "cohort").iterdir()) == []


def crisp(*conditions, **options):
    """Options of a cohort in which everyone has these conditions and no other, without noise."""
    return {
        "difficulty": 0,
        "misplaced": 0,
        "prevalence": {**NEVER, **dict.fromkeys(conditions, 1.0)},
        **options,
    }


def records_with(*conditions, count=12, **options):
    opts = cohort_options(ptb(**crisp(*conditions, records500=True, **options)))
    return [draw_record(draw_patient(i, 5, opts), 0, 5, opts) for i in range(count)]


def lead(record, name, fs=500):
    return record.signals[fs][LEADS.index(name)] / 1000.0


def r_peaks(record, fs=500):
    """Find QRS complexes: the slow, obvious way, by the energy of the slope over all leads."""
    slope = np.abs(np.diff(record.signals[fs] / 1000.0, axis=1)).sum(axis=0)
    window = round(0.08 * fs)
    energy = np.convolve(slope, np.ones(window) / window, mode="same")
    above = energy > 0.4 * np.sort(energy)[-round(0.25 * fs)]
    peaks, start = [], None
    for i, high in enumerate([*above, False]):
        if high and start is None:
            start = i
        elif not high and start is not None:
            middle = (start + i) // 2
            if not peaks or middle - peaks[-1] > 0.2 * fs:
                peaks.append(middle)
            start = None
    return np.array(peaks) / fs


def qrs_width(record, fs=500):
    """Return the seconds around an R peak in which any lead is steep."""
    slope = np.abs(np.diff(record.signals[fs] / 1000.0, axis=1)).max(axis=0) * fs
    widths = []
    for peak in r_peaks(record, fs)[1:-1]:
        part = slope[round((peak - 0.13) * fs) : round((peak + 0.13) * fs)]
        steep = np.flatnonzero(part > 7.0)
        widths.append((steep[-1] - steep[0]) / fs)
    return float(np.median(widths))


@pytest.fixture(scope="module")
def ptb_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "ptb"
    simulate(ptb(patients=600), root)
    return root


@pytest.fixture(scope="module")
def challenge_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohorts") / "challenge"
    simulate(challenge(patients=600), root)
    return root


@pytest.fixture(scope="module")
def database(ptb_root):
    return pd.read_csv(ptb_root / "ptbxl_database.csv")


@pytest.mark.parametrize("make", [ptb, challenge])
def test_the_same_recipe_gives_the_same_bytes_with_any_number_of_processes(make, tmp_path):
    one = simulate(make(), tmp_path / "one")
    two = simulate(make(), tmp_path / "two", jobs=2)
    assert one == two
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_a_longer_cohort_starts_with_the_records_of_a_shorter_one(tmp_path):
    simulate(ptb(patients=5), tmp_path / "short")
    simulate(ptb(patients=9), tmp_path / "long")
    short, long = contents(tmp_path / "short"), contents(tmp_path / "long")
    signals = [name for name in short if name.endswith((".dat", ".hea"))]
    assert signals
    assert all(short[name] == long[name] for name in signals)


def test_another_seed_gives_another_cohort(tmp_path):
    digests = {simulate(ptb(patients=3, seed=s), tmp_path / str(s))["digest"] for s in range(3)}
    assert len(digests) == 3


@pytest.mark.parametrize("make", [ptb, challenge])
def test_wfdb_reads_every_record_and_its_checksums(make, tmp_path):
    simulate(make(patients=12), tmp_path / "c")
    headers = sorted((tmp_path / "c").rglob("*.hea"))
    assert len(headers) >= 12
    for header in headers:
        stem = str(header.with_suffix(""))
        stated = wfdb.rdheader(stem).checksum
        digital = wfdb.rdrecord(stem, physical=False)
        assert [c % 65536 for c in digital.calc_checksum()] == [c % 65536 for c in stated]
        physical = wfdb.rdrecord(stem)
        assert physical.p_signal.shape == (1000, 12)
        assert physical.units == ["mV"] * 12
        assert np.abs(physical.p_signal).max() < 15
        assert physical.init_value == digital.d_signal[0].tolist()


def test_derived_leads_follow_from_i_and_ii(ptb_root, challenge_root):
    for root in (ptb_root, challenge_root):
        for header in sorted(root.rglob("*.hea"))[:12]:
            record = wfdb.rdrecord(str(header.with_suffix("")), physical=False)
            signal = dict(zip([n.lower() for n in record.sig_name], record.d_signal.T, strict=True))
            one, two = signal["i"].astype(float), signal["ii"].astype(float)
            assert (signal["iii"] == two - one).all()
            assert np.abs(signal["avr"] + (one + two) / 2).max() <= 0.5
            assert np.abs(signal["avl"] - (one - two / 2)).max() <= 0.5
            assert np.abs(signal["avf"] - (two - one / 2)).max() <= 0.5


@given(
    st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcd")), min_size=1, max_size=80),
    st.integers(0, 5),
)
@settings(max_examples=30, deadline=None)
def test_every_patient_is_dealt_to_one_part_in_proportion(records, seed):
    patients = [patient for patient, _ in records]
    parts = balanced_parts(patients, [(code,) for _, code in records], {"x": 3, "y": 1}, seed)
    assert set(parts) == set(patients)
    count = len(parts)
    assert abs(sum(part == "x" for part in parts.values()) - 0.75 * count) <= 1


def test_clinical_tables_are_in_range_with_gaps_that_differ_between_cohorts(
    ptb_root, challenge_root, database
):
    ranges = {
        "height": (140, 205),
        "weight": (38, 170),
        "sbp": (85, 220),
        "dbp": (45, 125),
        "total_cholesterol": (2.5, 10),
        "hdl_cholesterol": (0.5, 3),
        "smoker": (0, 1),
        "diabetes": (0, 1),
    }
    one = pd.read_csv(ptb_root / "patient_metadata.csv")
    two = pd.read_csv(challenge_root / "patient_metadata.csv")
    assert set(one.patient_id) == set(database.patient_id.astype(int))
    names = (challenge_root / "RECORDS").read_text().split()
    assert set(two.patient_id) == {Path(name).name for name in names}
    for table in (one, two):
        assert list(table) == ["patient_id", *CLINICAL_FIELDS]
        for name, (low, high) in ranges.items():
            assert table[name].dropna().between(low, high).all()
        assert (table.sbp.dropna() > table.dbp[table.sbp.notna()].fillna(0)).all()
    gaps = (one.isna().mean() - two.isna().mean()).abs()
    assert gaps[["height", "sbp", "smoker"]].min() > 0.08


def test_cohorts_of_the_same_seed_in_different_layouts_share_nobody(ptb_root, challenge_root):
    one = pd.read_csv(ptb_root / "patient_metadata.csv")
    two = pd.read_csv(challenge_root / "patient_metadata.csv")
    both = (one[["height", "weight"]] == two[["height", "weight"]]).all(axis=1)
    assert both.mean() < 0.05


def test_risk_shows_in_age_pressure_and_disease():
    options = cohort_options(ptb())
    patients = [draw_patient(i, 0, options) for i in range(1500)]
    risk = np.array([p.risk for p in patients])
    assert np.corrcoef(risk, [p.age for p in patients])[0, 1] > 0.4
    assert np.corrcoef(risk, [p.clinical["sbp"] for p in patients])[0, 1] > 0.4
    infarct = np.array([p.liability[INDEX["infarct_inferior"]] for p in patients])
    assert np.corrcoef(risk, infarct)[0, 1] > 0.4
    pre_excitation = np.array([p.liability[INDEX["preexcitation"]] for p in patients])
    assert np.corrcoef(risk, pre_excitation)[0, 1] < 0.1


def test_records_of_a_patient_share_anatomy():
    options = cohort_options(ptb(**crisp()))
    beats = defaultdict(list)
    for index in range(6):
        for number in range(2):
            record = draw_record(draw_patient(index, 0, options), number, 0, options)
            signal = record.signals[100] / 1000.0
            peaks = np.rint(r_peaks(record, 100)[1:-1] * 100).astype(int)
            beats[index].append(np.mean([signal[:, p - 6 : p + 6] for p in peaks], axis=0))
    same = [np.abs(a - b).mean() for a, b in beats.values()]
    other = [np.abs(beats[i][0] - beats[(i + 1) % 6][0]).mean() for i in range(6)]
    assert np.mean(same) < 0.5 * np.mean(other)


def test_rate_and_rhythm_can_be_measured():
    sinus = records_with(heart_rate=75, heart_rate_spread=0.0)
    fibrillation = records_with("atrial_fibrillation")
    arrhythmia = records_with("sinus_arrhythmia", heart_rate=75, heart_rate_spread=0.0)

    def variation(record):
        rr = np.diff(r_peaks(record))
        return float(rr.std() / rr.mean())

    rates = [60 / np.diff(r_peaks(record)).mean() for record in sinus]
    assert np.median(rates) == pytest.approx(75, rel=0.06)
    assert all("SR" in scp_codes(record.reading) for record in sinus)
    assert all("AFIB" in scp_codes(record.reading) for record in fibrillation)
    assert max(map(variation, sinus)) < 0.1
    assert min(map(variation, fibrillation)) > 0.1
    assert np.median([variation(r) for r in arrhythmia]) > 2 * np.median(
        [variation(r) for r in sinus]
    )


@pytest.mark.parametrize(("rate", "code"), [(45, "SBRAD"), (70, "SR"), (125, "STACH")])
def test_rate_statements_agree_with_the_signal(rate, code):
    for record in records_with(heart_rate=rate, heart_rate_spread=0.0, count=6):
        assert set(scp_codes(record.reading)) & {"SBRAD", "SR", "STACH"} == {code}
        assert 60 / np.diff(r_peaks(record)).mean() == pytest.approx(rate, rel=0.15)


def test_block_widens_the_qrs():
    normal = np.median([qrs_width(r) for r in records_with()])
    assert 0.05 < normal < 0.11
    for name in ("lbbb", "rbbb"):
        assert np.median([qrs_width(r) for r in records_with(name)]) > normal + 0.025


def test_left_block_points_away_from_v1_and_right_block_towards_it():
    def late_v1(record):
        v1 = lead(record, "V1")
        peaks = np.rint(r_peaks(record)[1:-1] * 500).astype(int)
        return np.median([v1[p + 5 : p + 40].mean() - v1[p - 60 : p - 40].mean() for p in peaks])

    assert max(late_v1(r) for r in records_with("lbbb")) < 0
    assert min(late_v1(r) for r in records_with("rbbb")) > 0


def test_inferior_infarct_has_q_waves_in_iii_and_avf_that_normal_hearts_lack():
    def q(record, name):
        signal = lead(record, name)
        peaks = np.rint(r_peaks(record)[1:-1] * 500).astype(int)
        return np.median([signal[p - 35 : p].min() - signal[p - 60 : p - 45].mean() for p in peaks])

    sick, well = records_with("infarct_inferior"), records_with()
    for name in ("III", "aVF"):
        assert np.median([q(r, name) for r in sick]) < np.median([q(r, name) for r in well]) - 0.15


def test_premature_ventricular_beats_are_broad_and_a_pause_follows():
    def broad(record):
        signal = record.signals[500] / 1000.0
        signal = signal - np.median(signal, axis=1, keepdims=True)
        smooth = [np.convolve(row, np.ones(50) / 50, mode="valid") for row in signal]
        return np.abs(smooth).sum(axis=0).max()

    rate = {"heart_rate": 65, "heart_rate_spread": 0.0}
    sick, well = records_with("ventricular_premature", **rate), records_with(**rate)
    assert sum(broad(a) > 1.3 * broad(b) for a, b in zip(sick, well, strict=True)) >= 10
    for record in sick:
        rr = np.diff(r_peaks(record))
        assert (rr > 1.15 * np.median(rr)).any()


def test_gaussians_are_rendered_as_defined():
    rng = np.random.default_rng(0)
    centre, width = rng.uniform(-0.2, 2.2, 30), rng.uniform(0.008, 0.06, 30)
    vector = rng.normal(size=(30, 3))
    slow = np.zeros((3, 200))
    for c, w, v in zip(centre, width, vector, strict=True):
        for sample in range(200):
            slow[:, sample] += v * math.exp(-0.5 * ((sample / 100 - c) / w) ** 2)
    assert render(centre, width, vector, 0.0, 100, 200) == pytest.approx(slow, abs=5e-4)


def test_a_finished_cohort_is_left_alone(tmp_path):
    out = tmp_path / "c"
    first = simulate(ptb(patients=3), out)
    (out / ".gitignore").write_text("*")
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    assert simulate(ptb(patients=3), out) == first
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == times


@pytest.mark.parametrize("victim", ["MANIFEST.json", "records100/00000/00002_lr.dat"])
def test_a_broken_cohort_is_rebuilt(victim, tmp_path):
    out = tmp_path / "c"
    simulate(ptb(patients=3), out)
    before = contents(out)
    (out / victim).unlink()
    simulate(ptb(patients=3), out)
    assert contents(out) == before


def test_another_recipe_replaces_the_cohort(tmp_path):
    out = tmp_path / "c"
    simulate(ptb(patients=8), out)
    manifest = simulate(challenge(patients=2), out)
    assert not (out / "records100").exists()
    assert json.loads((out / "MANIFEST.json").read_text()) == manifest
    assert manifest["records"] == 2


def test_a_folder_with_other_files_is_never_touched(tmp_path):
    (tmp_path / "ptbxl_database.csv").write_text("real")
    with pytest.raises(BadInputError, match="did not write"):
        simulate(ptb(patients=1), tmp_path)
    assert (tmp_path / "ptbxl_database.csv").read_text() == "real"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"dificulty": 1}, "dificulty"),
        ({"noise": {"hum": 1}}, "noise.hum"),
        ({"prevalence": {"flu": 0.1}}, "flu"),
        ({"missing": {"sbp": 2}}, "missing.sbp"),
        ({"fs": 250}, "fs"),
    ],
)
def test_an_unknown_option_is_named(options, named, tmp_path):
    with pytest.raises(BadInputError, match=named):
        simulate(CohortSettings(layout="ptb-xl", patients=1, options=options), tmp_path / "c")


def test_part_of_a_profile_can_be_changed_alone():
    options = cohort_options(challenge(noise={"mains_mv": 0.5}, missing={"sbp": 0.9}))
    profile = cohort_options(challenge())
    assert options.noise.mains_mv == 0.5
    assert options.noise.mains_hz == profile.noise.mains_hz
    assert options.missing["dbp"] == profile.missing["dbp"]


def test_labels_are_learnable_but_not_from_crude_features(ptb_root, database):
    """Beat shape tells sick from well better than lead amplitudes do; neither is perfect."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    crude, shape = [], []
    for name in database.filename_lr:
        signal = np.fromfile(ptb_root / f"{name}.dat", "<i2").reshape(-1, 12).T / 1000.0
        slope = np.abs(np.diff(signal, axis=1)).sum(axis=0)
        peaks = [p for p in range(40, 940, 70) for p in [p + int(slope[p : p + 70].argmax())]]
        beat = np.median([signal[:, p - 25 : p + 45] for p in peaks if p < 950], axis=0)
        crude.append([*signal.std(axis=1)])
        shape.append(beat[[0, 1, 6, 7, 8, 9, 10, 11], ::3].ravel())
    target = ~database.scp_codes.str.contains("NORM").to_numpy()
    train = (database.strat_fold <= 7).to_numpy()
    scores = []
    for features in (np.array(crude), np.array(shape)):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300))
        model.fit(features[train], target[train])
        scores.append(roc_auc_score(target[~train], model.decision_function(features[~train])))
    assert 0.5 < scores[0] < 0.8
    assert scores[0] + 0.03 < scores[1] < 0.93
