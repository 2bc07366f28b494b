import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import (
    auroc_interval,
    interval,
    paired_interval,
    patient_weights,
)
from ecgscale.evaluation.metrics.functions import auroc, included_labels
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc, patients_of_rarer_class
from ecgscale.evaluation.metrics.mae import bootstrap_mae


def made_up(seed: int, patients: int = 30, examples: int = 60, labels: int = 4, levels: int = 6):
    """Several records per patient, whose labels differ; scores with ties."""
    rng = np.random.default_rng(seed)
    patient = np.array([f"p:{number}" for number in rng.integers(0, patients, examples)])
    y = rng.random((examples, labels)) < np.linspace(0.1, 0.6, labels)
    y[0], y[1] = True, False
    return y.astype(np.float32), rng.integers(0, levels, (examples, labels)) * 1.0, patient


def resampled(y, scores, patient, resamples=8, seed=3):
    return bootstrap_auroc(
        y, scores, patient, included_labels(y, 1), resamples=resamples, seed=seed
    )


def slow_auroc(y, scores, weight) -> float:
    """Weighted share of (positive, negative) pairs in the right order."""
    wins = pairs = 0.0
    for i in np.flatnonzero(y == 1):
        for j in np.flatnonzero(y == 0):
            pairs += weight[i] * weight[j]
            wins += weight[i] * weight[j] * ((scores[i] > scores[j]) + (scores[i] == scores[j]) / 2)
    return wins / pairs


@pytest.mark.parametrize("seed", range(3))
def test_equal_to_a_loop_over_pairs_and_to_scikit_learn(seed):
    y, scores, patient = made_up(seed)
    found = resampled(y, scores, patient)
    ids = sorted(set(patient))
    weights = patient_weights(ids, 8, 3)
    for b in range(8):
        weight = np.array([weights[ids.index(name), b] for name in patient])
        for label in range(y.shape[1]):
            one = (y[:, label], scores[:, label])
            assert found.labels[label, b] == pytest.approx(slow_auroc(*one, weight), abs=1e-12)
            assert found.labels[label, b] == pytest.approx(
                roc_auc_score(*one, sample_weight=weight), abs=1e-12
            )
    np.testing.assert_allclose(found.metric, found.labels.mean(axis=0))


def test_more_resamples_than_a_block_and_their_prefix():
    y, scores, patient = made_up(7)
    many, few = resampled(y, scores, patient, 150), resampled(y, scores, patient, 70)
    np.testing.assert_allclose(many.labels[:, :70], few.labels, rtol=1e-12)
    assert len(np.unique(many.metric)) == 150


def test_a_patient_has_the_same_weights_wherever_it_is():
    ids = [f"ptb:{number}" for number in range(300)]
    weights, others = patient_weights(ids, 400, 0), [f"mimic:{number}" for number in range(300)]
    np.testing.assert_array_equal(weights[::-7], patient_weights(ids[::-7], 400, 0))
    np.testing.assert_array_equal(weights[:, :50], patient_weights(ids, 50, 0))
    # Two standard errors of a correlation over 120,000 draws are 0.006.
    for drawn in (patient_weights(others, 400, 0), patient_weights(ids, 400, 1)):
        assert abs(np.corrcoef(weights.ravel(), drawn.ravel())[0, 1]) < 0.01
    assert weights.mean() == pytest.approx(1, abs=0.01)
    assert weights.std() == pytest.approx(1, abs=0.02)


def test_resamples_are_paired_across_scores():
    y, scores, patient = made_up(1)
    better = scores + 3 * y
    rng = np.random.default_rng(0)
    unlike = resampled(y, rng.normal(size=y.shape), patient, 400).metric
    one, same = resampled(y, scores, patient, 400).metric, resampled(y, 2 * scores, patient, 400)
    np.testing.assert_allclose(one, same.metric, rtol=1e-12)
    paired = one - resampled(y, scores + 0.5 * y, patient, 400).metric
    assert paired.std() < 0.8 * (one - unlike).std()
    assert resampled(y, better, patient).metric.mean() > one.mean()


def test_the_order_of_the_records_does_not_matter():
    y, scores, patient = made_up(2)
    shuffle = np.random.default_rng(0).permutation(len(y))
    np.testing.assert_allclose(
        resampled(y[shuffle], scores[shuffle], patient[shuffle]).labels,
        resampled(y, scores, patient).labels,
        rtol=1e-10,
    )


def test_records_of_a_patient_rise_and_fall_together():
    """Copies of every record add nothing; as patients of their own they would."""
    y, scores, patient = made_up(4, patients=40, examples=40)
    alone = resampled(y, scores, patient, 500).metric
    thrice = [np.concatenate([part] * 3) for part in (y, scores, patient)]
    np.testing.assert_allclose(resampled(*thrice, 500).metric, alone, rtol=1e-10)
    strangers = np.array([f"q:{number}" for number in range(120)])
    assert resampled(*thrice[:2], strangers, 500).metric.std() < 0.75 * alone.std()


def test_labels_keep_their_dependence():
    """The macro mean of a label given twice is as uncertain as the label."""
    y, scores, patient = made_up(5, labels=1)
    found = resampled(np.hstack([y, y]), np.hstack([scores, scores]), patient, 300)
    np.testing.assert_allclose(found.metric, found.labels[0], rtol=1e-12)


def test_rare_and_absent_labels():
    rng = np.random.default_rng(0)
    y = np.zeros((50, 4))
    y[7, 0] = 1
    y[3:20, 2] = 1
    y[:, 3] = 1
    scores, patient = rng.normal(size=y.shape), np.array([f"p{n:02d}" for n in range(50)])
    found = bootstrap_auroc(y, scores, patient, included_labels(y, 10), resamples=300, seed=0)
    assert np.isnan(found.labels[[1, 3]]).all()
    assert np.isfinite(found.labels[[0, 2]]).all()
    np.testing.assert_allclose(found.metric, found.labels[2])
    low, high = interval(found.labels[0])
    assert low < auroc(y, scores)[0] < high
    assert all(math.isnan(bound) for bound in interval(found.labels[1]))
    none = bootstrap_auroc(y, scores, patient, included_labels(y, 30), resamples=5, seed=0)
    assert np.isnan(none.metric).all()


def test_no_resamples():
    y, scores, patient = made_up(0)
    found = resampled(y, scores, patient, resamples=0)
    assert found.labels.shape == (4, 0)
    assert found.metric.shape == (0,)
    assert all(math.isnan(bound) for bound in interval(found.metric))


def test_interval_is_the_percentile_interval():
    assert interval(np.arange(1001)) == pytest.approx((25.0, 975.0))
    assert interval(np.arange(101), confidence=0.8) == pytest.approx((10.0, 90.0))


def test_coverage_with_several_records_per_patient():
    """Two labels of known AUROC that share patients; the interval of their mean covers it."""
    rng = np.random.default_rng(11)
    shift = 1.0
    truth = NormalDist().cdf(shift / math.sqrt(2))
    covered, simulations, patients = 0, 250, 120
    ids = np.repeat([f"p{n:03d}" for n in range(patients)], 3)
    for _ in range(simulations):
        y = np.repeat(rng.random((patients, 2)) < 0.3, 3, axis=0)
        shared = np.repeat(rng.normal(size=(patients, 1)), 3, axis=0)
        own = rng.normal(size=y.shape)
        scores = math.sqrt(0.7) * shared + math.sqrt(0.3) * own + shift * y
        low, high = interval(resampled(y, scores, ids, 200).metric)
        covered += low <= truth <= high
    # Three binomial standard errors at 0.95 are 0.041.
    assert 0.905 <= covered / simulations <= 0.99


@pytest.mark.parametrize(
    ("truth", "positives", "labels", "spread"),
    [(0.92, 15, 1, 1.0), (0.98, 14, 1, 1.0), (0.98, 14, 1, 2.0), (0.98, 15, 8, 1.0)],
)
def test_intervals_of_few_positives_and_areas_near_one_cover(truth, positives, labels, spread):
    """Normal scores; percentiles cover 0.85, 0.75, 0.55 and 0.9."""
    rng = np.random.default_rng(12)
    patients, simulations = 200, 300
    ids = [f"p{n:03d}" for n in range(patients)]
    shift = math.sqrt(1 + spread**2) * NormalDist().inv_cdf(truth)
    covered = 0
    for _ in range(simulations):
        y = np.array([rng.permutation(patients) < positives for _ in range(labels)]).T
        noise = rng.normal(size=y.shape)
        scores = np.where(y, shift + spread * noise, noise)
        drawn = resampled(y, scores, ids, 100).labels
        fewest = patients_of_rarer_class(y, ids)
        low, high = auroc_interval(auroc(y, scores), drawn, fewest)
        covered += low <= truth <= high
    # Three binomial standard errors at 0.95 are 0.038.
    assert 0.912 <= covered / simulations <= 0.99


def test_interval_of_an_auroc_at_its_limits():
    rng = np.random.default_rng(13)
    perfect = auroc_interval([1.0], np.ones((1, 50)), [14])
    assert perfect[1] == 1
    assert 0.5 < perfect[0] < 0.95
    assert auroc_interval([1.0], np.ones((1, 50)), [200])[0] > perfect[0]
    assert auroc_interval([0.5], np.full((1, 50), 0.5), [14]) == pytest.approx((0.5, 0.5))
    # With many patients the percentiles' interval, whatever the number of labels.
    drawn = 0.8 + 0.003 * rng.normal(size=(3, 20_000))
    found = auroc_interval([0.8] * 3, drawn, [5000] * 3)
    assert found == pytest.approx(interval(drawn.mean(axis=0)), abs=2e-4)
    assert all(math.isnan(end) for end in auroc_interval([0.9], np.empty((1, 0)), [14]))
    assert all(math.isnan(end) for end in auroc_interval([], np.empty((0, 9)), []))
    assert all(math.isnan(end) for end in auroc_interval([math.nan], np.ones((1, 9)), [0]))


@given(
    st.lists(st.floats(0.01, 1), min_size=1, max_size=4),
    st.integers(1, 40),
    st.integers(0, 100),
)
def test_interval_of_an_auroc_holds_it_and_stays_within_bounds(areas, patients, seed):
    rng = np.random.default_rng(seed)
    drawn = np.clip(np.array(areas)[:, None] + 0.05 * rng.normal(size=(len(areas), 20)), 0, 1)
    low, high = auroc_interval(areas, drawn, [patients] * len(areas))
    assert 0 <= low <= np.mean(areas) + 1e-12
    assert np.mean(areas) - 1e-12 <= high <= 1
    # Labels that are one label are no more certain than it.
    copies = auroc_interval(areas[:1] * 3, np.repeat(drawn[:1], 3, axis=0), [patients] * 3)
    assert copies == pytest.approx(auroc_interval(areas[:1], drawn[:1], [patients]))


def test_patients_of_the_rarer_class_are_counted_not_records():
    y = [[1, 0], [1, 1], [0, 1], [0, 1], [0, 1]]
    assert patients_of_rarer_class(y, ["a", "a", "b", "c", "d"]).tolist() == [1, 1]
    assert patients_of_rarer_class(y, ["a", "b", "c", "d", "e"]).tolist() == [2, 1]


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_mean_absolute_error_is_that_of_a_loop_with_the_weights_of_auroc(shape):
    rng = np.random.default_rng(5)
    y, predicted = rng.normal(55, 12, shape), rng.normal(55, 5, shape)
    patient = np.array([f"p:{number}" for number in rng.integers(0, 20, 60)])
    found = bootstrap_mae(y, predicted, patient, resamples=6, seed=3)
    ids = sorted(set(patient))
    weights = patient_weights(ids, 6, 3)
    for b in range(6):
        total = error = 0.0
        for number, name in enumerate(patient):
            weight = weights[ids.index(name), b]
            total += weight
            error += weight * abs(float(y.ravel()[number]) - float(predicted.ravel()[number]))
        assert found[b] == pytest.approx(error / total, rel=1e-12)


def test_mean_absolute_error_covers_with_several_records_per_patient():
    """Errors are normal about 0 with a part that the patient's three records share."""
    rng = np.random.default_rng(6)
    truth = math.sqrt(2 / math.pi)
    ids = np.repeat([f"p{n:03d}" for n in range(120)], 3)
    covered, simulations = 0, 300
    for _ in range(simulations):
        errors = math.sqrt(0.7) * np.repeat(rng.normal(size=120), 3)
        errors += math.sqrt(0.3) * rng.normal(size=360)
        replicates = bootstrap_mae(errors, 0 * errors, ids, resamples=200, seed=0)
        low, high = interval(replicates)
        covered += low <= truth <= high
    # Three binomial standard errors at 0.95 are 0.038.
    assert 0.905 <= covered / simulations <= 0.99


def test_a_paired_interval_is_that_of_the_differences():
    rng = np.random.default_rng(0)
    shared = rng.normal(size=501)
    first, second = shared + 0.1 * rng.normal(size=501) + 1, shared
    low, high = paired_interval(first, second)
    assert (low, high) == interval(first - second)
    assert 0.7 < low < 1 < high < 1.3
    assert paired_interval(second, first) == pytest.approx((-high, -low))
    assert paired_interval(first, second, 0.5)[0] > low
    assert all(math.isnan(bound) for bound in paired_interval([], []))
    with pytest.raises(BadInputError, match="501 resamples cannot be paired with 500"):
        paired_interval(first, second[:500])
