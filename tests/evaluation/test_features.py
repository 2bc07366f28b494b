import csv
from pathlib import Path

import numpy as np
import pytest
import wfdb
from scipy.stats import spearmanr

from ecgscale.data.preprocess import process
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.pathology import build_heart, frontal_axis
from ecgscale.data.simulate.population import draw_patient, draw_state, liability_thresholds, stream
from ecgscale.data.simulate.records import draw_record
from ecgscale.data.simulate.rhythm import repolarisation_stretch
from ecgscale.data.simulate.vectors import QRS, T
from ecgscale.errors import BadInputError
from ecgscale.evaluation.features import (
    GLOBAL_FEATURES,
    LEAD_FEATURES,
    Features,
    ecg_features,
    feature_names,
    store_features,
)

RECIPE = Recipe()


def column(found: Features, name: str) -> np.ndarray:
    return found.values[:, found.names.index(name)].astype(np.float64)


def beat(time: np.ndarray, scale: float = 1.0, pr: float = 0.16) -> np.ndarray:
    """One beat with its R peak at 0: P, Q, R, S and T as Gaussians (mV)."""
    waves = [(0.15, -pr + 0.04, 0.018), (-0.12, -0.028, 0.007), (1.2, 0.0, 0.010)]
    waves += [(-0.35, 0.028, 0.008), (0.3, 0.28, 0.045)]
    return scale * sum(a * np.exp(-(((time - c) / w) ** 2) / 2) for a, c, w in waves)


def strip(peaks: np.ndarray, scale: float = 1.0, fs: float = 250.0, pr: float = 0.16) -> np.ndarray:
    time = np.arange(round(10 * fs)) / fs
    return sum(beat(time - peak, scale, pr) for peak in peaks)


PEAKS = np.arange(0.5, 10.0, 0.8)


def test_a_beat_of_known_waves():
    """An axis of 60 degrees, seen by I and aVF as Goldberger's leads see it; V1 is upside down."""
    leads = ("I", "aVF", "V1")
    scale = (np.cos(np.pi / 3), np.sqrt(3) / 2 * np.sin(np.pi / 3), -0.8)
    signal = np.stack([strip(PEAKS, s) for s in scale]) + np.array([[0.4], [-0.2], [0.0]])
    found = ecg_features(signal[None], 250.0, leads)
    value = dict(zip(found.names, found.values[0].tolist(), strict=True))
    assert value["heart_rate"] == pytest.approx(75, abs=0.1)
    assert value["rr_sd"] < 2
    assert value["rr_entropy"] == 0
    # From two SD before the first wave to two SD after the last one.
    assert value["qrs"] == pytest.approx(1000 * (0.028 + 0.028 + 2 * 0.007 + 2 * 0.008), abs=12)
    # QRS starts some ms late: it is slow at first.
    assert value["pr"] == pytest.approx(1000 * (0.16 - 0.04 + 2 * 0.018 - 0.042), abs=16)
    assert value["p_duration"] == pytest.approx(1000 * 4 * 0.018, abs=8)
    assert value["qt"] == pytest.approx(1000 * (0.28 + 2 * 0.045 + 0.042), abs=16)
    assert value["qtc"] == pytest.approx(value["qt"] / np.sqrt(0.8), rel=1e-3)
    assert value["t_peak_end"] == pytest.approx(1000 * 2 * 0.045, abs=6)
    for name in ("qrs_axis", "t_axis"):
        assert value[name] == pytest.approx(60, abs=1)
    assert value["qrs_t_angle"] == pytest.approx(0, abs=2)
    assert value["beat_likeness"] > 0.999
    assert value["residual"] < 0.02
    for wave, size in (("p", 0.15), ("q", -0.12), ("r", 1.2), ("s", -0.35), ("t", 0.3)):
        for lead, factor in zip(leads[:2], scale, strict=False):
            assert value[f"{wave}_{lead}"] == pytest.approx(size * factor, abs=0.04), (wave, lead)
    # There S is the highest point, and R comes before it.
    assert (value["q_V1"], value["r_V1"]) == pytest.approx((-0.96, 0.28), abs=0.05)
    assert value["t_V1"] == pytest.approx(-0.24, abs=0.03)


@pytest.mark.parametrize("fs", [100.0, 257.0, 500.0])
def test_the_sampling_rate_hardly_matters(fs):
    found = ecg_features(strip(PEAKS, fs=fs)[None, None], fs, ("II",))
    wanted = ecg_features(strip(PEAKS, fs=1000.0)[None, None], 1000.0, ("II",))
    for name, within in (("heart_rate", 0.2), ("pr", 12), ("qrs", 12), ("qt", 12), ("r_II", 0.06)):
        assert column(found, name)[0] == pytest.approx(column(wanted, name)[0], abs=within), name


def test_a_longer_pr_and_an_uneven_rhythm_are_seen():
    uneven = PEAKS + np.random.default_rng(0).uniform(-0.15, 0.15, len(PEAKS))
    signal = np.stack([strip(PEAKS), strip(PEAKS, pr=0.24), strip(uneven)])[:, None]
    found = ecg_features(signal, 250.0, ("II",))
    assert column(found, "pr")[1] - column(found, "pr")[0] == pytest.approx(80, abs=6)
    rr = np.diff(uneven)
    assert column(found, "rr_sd")[2] == pytest.approx(1000 * rr.std(), abs=4)
    rmssd = 1000 * np.sqrt(np.mean(np.diff(rr) ** 2))
    assert column(found, "rr_rmssd")[2] == pytest.approx(rmssd, abs=6)
    assert column(found, "rr_shortest")[2] == pytest.approx(rr.min() / np.median(rr), abs=0.01)
    assert column(found, "rr_longest")[2] == pytest.approx(rr.max() / np.median(rr), abs=0.01)
    assert column(found, "rr_entropy")[2] > 2


def test_beats_unlike_the_others_are_counted():
    time = np.arange(2500) / 250
    signal = strip(np.delete(PEAKS, [3, 8]))
    for peak in PEAKS[[3, 8]]:
        signal += 1.5 * np.exp(-(((time - peak) / 0.04) ** 2) / 2)
        signal -= 0.8 * np.exp(-(((time - peak - 0.2) / 0.06) ** 2) / 2)
    found = ecg_features(signal[None, None], 250.0, ("II",))
    complete = np.sum((PEAKS >= 0.35) & (PEAKS < 10 - 0.65))
    assert column(found, "unlike_beats")[0] == pytest.approx(2 / complete)
    assert column(found, "beat_likeness")[0] > 0.99


@pytest.fixture(scope="module")
def cohort():
    """Draws simulated records as a store would hold them, and what is known of their beats."""

    def draw(count: int, **prevalence: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        options = CohortOptions(prevalence=prevalence)
        thresholds = liability_thresholds(options)
        signals, known = [], []
        for index in range(count):
            patient = draw_patient(index, 7, options)
            record = draw_record(patient, 0, 7, options)
            rng = stream(7, 1, index, 0)
            state = draw_state(patient, options, thresholds, rng)
            heart = build_heart(patient, state, options, stream(7, 2, index), rng)
            signals.append(record.signals[500] / 1000.0)
            beats = np.sort(record.beats.conducted + record.beats.ventricular)
            inside = beats[(beats > 0) & (beats < 10)]
            strong = np.linalg.norm(heart.ventricles.vector[QRS], axis=1) > 0.05
            centre = heart.ventricles.centre[QRS][strong]
            onset = (centre - 2 * heart.ventricles.width[QRS][strong]).min()
            stretch = heart.qt * np.median(repolarisation_stretch(beats))
            end = heart.ventricles.centre[T] + 2 * heart.ventricles.width[T]
            start = (heart.atria.centre - 2 * heart.atria.width).min()
            known.append(
                {
                    "heart_rate": 60 / np.median(np.diff(inside)),
                    "pr": 1000 * (heart.pace.pr + onset - start),
                    "qt": 1000 * (end.max() * stretch + heart.shift - onset),
                    "qrs_axis": frontal_axis(heart),
                    "sinus": state.rhythm == "sinus",
                }
            )
        names = known[0].keys()
        return (
            process(np.stack(signals), 500.0, RECIPE),
            {name: np.array([row[name] for row in known]) for name in names},
        )

    return draw


@pytest.fixture(scope="module")
def usual(cohort) -> tuple[np.ndarray, dict[str, np.ndarray], Features]:
    signals, known = cohort(70)
    return signals, known, ecg_features(signals, RECIPE.fs, LEADS)


def test_intervals_of_simulated_records_are_those_that_were_drawn(usual):
    _, known, found = usual
    sinus = known["sinus"]
    rate = np.abs(column(found, "heart_rate") - known["heart_rate"])[sinus]
    assert np.mean(rate < 1) > 0.9
    for name, bias, spread, agreement in (
        ("pr", 12, 8, 0.85),
        ("qt", 20, 12, 0.75),
        ("qrs_axis", 6, 8, 0.85),
    ):
        measured, true = column(found, name)[sinus], known[name][sinus]
        seen = np.isfinite(measured)
        assert seen.mean() > 0.9
        error = (measured - true)[seen]
        assert abs(np.median(error)) < bias, name
        assert np.median(np.abs(error - np.median(error))) < spread, name
        assert spearmanr(measured[seen], true[seen]).statistic > agreement, name


def test_bundle_branch_block_widens_qrs_and_av_block_lengthens_pr(usual, cohort):
    healthy = np.nanmedian(column(usual[2], "qrs"))
    assert 80 < healthy < 115
    blocked = ecg_features(cohort(12, lbbb=1.0)[0], RECIPE.fs, LEADS)
    assert np.nanmedian(column(blocked, "qrs")) > healthy + 35
    delayed = ecg_features(cohort(12, av_block_1=1.0)[0], RECIPE.fs, LEADS)
    assert np.nanmedian(column(delayed, "pr")) > np.nanmedian(column(usual[2], "pr")) + 50


def test_fibrillation_is_uneven_and_leaves_its_waves_between_beats(usual, cohort):
    _, known, normal = usual
    fibrillating = ecg_features(cohort(15, atrial_fibrillation=1.0)[0], RECIPE.fs, LEADS)
    for name in ("rr_sd", "rr_entropy", "residual_4_9_hz", "residual"):
        healthy = np.nanmedian(column(normal, name)[known["sinus"]])
        assert np.nanmedian(column(fibrillating, name)) > 1.5 * healthy, name


def test_a_record_is_measured_alike_in_any_company(usual):
    signals, _, found = usual
    chosen = [66, 3, 3]
    np.testing.assert_array_equal(
        ecg_features(signals[chosen], RECIPE.fs, LEADS).values, found.values[chosen]
    )
    assert found.values.dtype == np.float32
    assert found.names == feature_names(LEADS)
    assert (
        len(set(found.names)) == len(found.names) == len(GLOBAL_FEATURES) + 12 * len(LEAD_FEATURES)
    )


def test_amplitudes_scale_and_intervals_do_not(usual):
    signals, _, found = usual
    double = ecg_features(2 * signals[:5], RECIPE.fs, LEADS)
    sizes = {"p_size", "qrs_size", "t_size", "residual"}
    for name in found.names:
        factor = 2 if name in sizes or name.split("_")[-1] in LEADS else 1
        np.testing.assert_allclose(
            column(double, name), factor * column(found, name)[:5], rtol=1e-4, atol=1e-5
        )


def test_a_lead_without_a_signal_is_left_out_and_the_others_are_not(usual):
    signals, _, found = usual
    broken = signals[:3].astype(np.float64)
    broken[0, LEADS.index("V3")] = 0.02
    broken[1, LEADS.index("V3"), 17] = np.nan
    broken[2, LEADS.index("aVF")] = 0
    seen = ecg_features(broken, RECIPE.fs, LEADS)
    for name in LEAD_FEATURES:
        assert np.isnan(column(seen, f"{name}_V3")).tolist() == [True, True, False]
        assert np.isnan(column(seen, f"{name}_aVF")).tolist() == [False, False, True]
    assert np.isnan(column(seen, "qrs_axis")).tolist() == [False, False, True]
    for name, within in (("heart_rate", 0.5), ("qrs", 20), ("r_II", 0.05)):
        np.testing.assert_allclose(column(seen, name), column(found, name)[:3], atol=within)


def test_one_lead_is_enough(usual):
    signals, known, found = usual
    alone = ecg_features(signals[:, 1:2], RECIPE.fs, ("II",))
    assert np.isnan(column(alone, "qrs_axis")).all()
    assert np.mean(np.abs(column(alone, "heart_rate") - known["heart_rate"]) < 1) > 0.8
    assert np.nanmedian(np.abs(column(alone, "r_II") - column(found, "r_II"))) < 0.05
    assert np.isfinite(column(alone, "qt")).mean() > 0.9


def test_the_zeros_that_fill_a_record_up_are_no_signal(usual):
    signals = usual[0][:5].copy()
    signals[:, :, 600:] = 0
    full, cut = (ecg_features(x, RECIPE.fs, LEADS) for x in (signals, signals[:, :, :600]))
    for name in ("heart_rate", "pr", "qrs", "qt", "r_II", "spectral_entropy"):
        np.testing.assert_allclose(column(full, name), column(cut, name), rtol=0.02, err_msg=name)


def test_what_holds_no_beats_is_unknown():
    noise = np.random.default_rng(0).normal(0, 0.01, (12, 150))
    for signal in (np.zeros((12, 1000)), np.full((12, 1000), np.nan), noise, noise[:, :0]):
        found = ecg_features(signal[None], 100.0, LEADS)
        assert found.values.shape == (1, len(feature_names(LEADS)))
        assert np.isnan(found.values).all()
    cut = ecg_features(strip(np.array([0.2, 2.3]))[None, None, :600], 250.0, ("II",))
    assert np.isnan(column(cut, "heart_rate"))
    assert np.isfinite(column(cut, "spectral_entropy"))
    assert ecg_features(np.zeros((0, 12, 1000)), 100.0, LEADS).values.shape[0] == 0


def test_noise_and_steps_and_clipping_do_no_harm():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 0.3, (12, 1000))
    step = np.where(np.arange(1000) < 500, 0.0, 1.0) * np.ones((12, 1))
    clipped = np.clip(np.stack([strip(PEAKS, 4.0, fs=100.0)] * 12), -1, 1)
    spike = np.zeros((12, 1000))
    spike[:, ::300] = 30.0
    found = ecg_features(np.stack([noise, step, clipped, spike]), 100.0, LEADS)
    assert not np.isinf(found.values).any()
    assert column(found, "heart_rate")[2] == pytest.approx(75, abs=1)


def test_shapes_and_rates_that_cannot_be_measured_are_refused():
    with pytest.raises(BadInputError, match=r"\(record, 12 leads, time\), not \(2, 3, 100\)"):
        ecg_features(np.zeros((2, 3, 100)), 100.0, LEADS)
    with pytest.raises(BadInputError, match="at least 100 Hz, the signals have 50"):
        ecg_features(np.zeros((1, 12, 500)), 50.0, LEADS)


def test_a_store_is_read_in_the_order_of_the_rows(make_store, tmp_path, monkeypatch):
    from ecgscale.evaluation import features

    store = make_store(tmp_path / "made-up", 9)
    monkeypatch.setattr(store, "fs", 100.0)
    monkeypatch.setattr(features, "_BLOCK", 4)
    rows, done = np.array([7, 0, 3, 8, 7, 2]), []
    found = store_features(store, rows, done.append)
    wanted = ecg_features(store.signals(rows), 100.0, store.leads)
    assert found.names == wanted.names
    np.testing.assert_array_equal(found.values, wanted.values)
    assert done == [4, 2]


@pytest.mark.real
def test_real_records_measure_as_their_reports_say(recordings: Path):
    """Medians of PTB-XL records with a statement; its definition sets the limit."""
    root = recordings / "ptb-xl"
    wanted = {"NORM": 40, "SBRAD": 12, "STACH": 12, "CLBBB": 10, "1AVB": 15, "AFIB": 15, "LAFB": 12}
    files: dict[str, list[Path]] = {code: [] for code in wanted}
    with (root / "ptbxl_database.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            for code, count in wanted.items():
                if f"'{code}'" in row["scp_codes"] and len(files[code]) < count:
                    files[code].append(root / row["filename_lr"])
    median: dict[str, dict[str, float]] = {}
    for code, paths in files.items():
        raw = np.stack([wfdb.rdrecord(str(path)).p_signal.T for path in paths])
        found = ecg_features(process(raw, 100.0, RECIPE), RECIPE.fs, LEADS)
        values = np.nanmedian(found.values, axis=0).tolist()
        median[code] = dict(zip(found.names, values, strict=True))
    assert median["SBRAD"]["heart_rate"] < 60
    assert median["STACH"]["heart_rate"] > 95
    assert median["CLBBB"]["qrs"] > 120 > median["NORM"]["qrs"] > 65
    assert median["1AVB"]["pr"] > 195 > median["NORM"]["pr"] > 120
    assert 340 < median["NORM"]["qtc"] < 440
    assert median["AFIB"]["rr_sd"] > 2 * median["NORM"]["rr_sd"]
    assert median["AFIB"]["p_size"] < 0.6 * median["NORM"]["p_size"]
    assert median["LAFB"]["qrs_axis"] < -30 < 0 < median["NORM"]["qrs_axis"] < 90
    assert median["NORM"]["r_V5"] > median["NORM"]["r_V1"] > 0
    assert median["NORM"]["t_aVR"] < 0 < median["NORM"]["t_V4"]
