import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import (
    average_precision_score,
    f1_score,
    r2_score,
    roc_auc_score,
)
from sklearn.metrics import mean_absolute_error as sklearn_mean_absolute_error
from torchmetrics.functional.classification import multilabel_auroc

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics import Outcome
from ecgscale.evaluation.metrics.ece import calibration_error, top_label_calibration_error
from ecgscale.evaluation.metrics.functions import auroc, average_ranks, included_labels, macro
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.macro_average_precision import MacroAveragePrecision
from ecgscale.evaluation.metrics.macro_f1 import best_f1_thresholds, f1_scores, multiclass_f1
from ecgscale.evaluation.metrics.mae import mean_absolute_error
from ecgscale.evaluation.metrics.r2 import determination


def made_up(seed: int, examples: int = 120, labels: int = 6, levels: int = 7):
    """Targets and scores with many ties, every label with both classes."""
    rng = np.random.default_rng(seed)
    y = rng.random((examples, labels)) < np.linspace(0.05, 0.9, labels)
    y[0], y[1] = True, False
    return y.astype(np.float32), rng.integers(0, levels, (examples, labels)) + 0.5 * y


def outcome(y, scores, minimum_positives: int = 1) -> Outcome:
    """Scores of test examples; there are no others."""
    y, scores = np.asarray(y), np.asarray(scores, dtype=np.float64)
    none = np.zeros((0, y.shape[1]))
    patients = [f"p{number}" for number in range(len(y))]
    return Outcome("made-up", "multi-label", y, scores, patients, none, none, minimum_positives)


def reported(metric, found: Outcome) -> tuple[np.ndarray, float]:
    """The values per label and their macro mean."""
    columns = metric().by_label(found)
    return columns[metric.column], metric().value(found, columns)


def pairwise(y: np.ndarray, scores: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order; a tie is half right."""
    wins = [(p > n) + 0.5 * (p == n) for p in scores[y == 1] for n in scores[y == 0]]
    return float(np.mean(wins))


@pytest.mark.parametrize("seed", range(5))
def test_rank_form_torchmetrics_scikit_learn_and_pairs_agree(seed):
    y, scores = made_up(seed)
    fast, found = auroc(y, scores), outcome(y, scores)
    area, precision = (reported(m, found)[0] for m in (MacroAuroc, MacroAveragePrecision))
    for label in range(y.shape[1]):
        one = (y[:, label], scores[:, label])
        assert fast[label] == pytest.approx(pairwise(*one), abs=1e-12)
        assert fast[label] == pytest.approx(roc_auc_score(*one), abs=1e-12)
        assert area[label] == pytest.approx(fast[label], abs=1e-6)
        assert precision[label] == pytest.approx(average_precision_score(*one), abs=1e-6)
    probabilities = torch.from_numpy(scores / 10)
    direct = multilabel_auroc(
        probabilities, torch.from_numpy(y).long(), num_labels=y.shape[1], average="none"
    )
    np.testing.assert_allclose(area, direct.numpy(), atol=1e-6)


def test_large_scores_keep_their_order():
    """A sigmoid would tie 50 with 60, and torchmetrics applies one outside of [0, 1]."""
    y, scores = np.array([[0], [0], [1], [1]]), np.array([[50.0], [60.0], [60.5], [70.0]])
    assert reported(MacroAuroc, outcome(y, scores))[0][0] == pytest.approx(1.0)
    assert reported(MacroAuroc, outcome(y, -scores))[0][0] == pytest.approx(0.0)


def test_absent_labels_are_nan_and_rare_ones_stay_out_of_the_mean():
    y = np.zeros((20, 4))
    y[:, 1] = 1
    y[:3, 2] = 1
    y[:12, 3] = 1
    scores = np.random.default_rng(0).normal(size=y.shape)
    found = outcome(y, scores, minimum_positives=10)
    assert np.isnan(auroc(y, scores)).tolist() == [True, True, False, False]
    assert found.included.tolist() == [False, False, False, True]
    for metric in (MacroAuroc, MacroAveragePrecision):
        values, mean = reported(metric, found)
        assert np.isnan(values).tolist() == [True, True, False, False]
        assert mean == pytest.approx(values[3])


def test_a_macro_mean_of_nothing_is_nan():
    y, scores = made_up(1, examples=30)
    found = outcome(y, scores, minimum_positives=31)
    assert not found.included.any()
    assert math.isnan(reported(MacroAuroc, found)[1])
    assert math.isnan(macro([0.5, 0.7], np.array([False, False])))


def test_the_minimum_is_inclusive_and_needs_a_negative():
    y = np.array([[1, 1, 1], [1, 1, 0], [0, 1, 0]])
    assert included_labels(y, 2).tolist() == [True, False, False]
    assert included_labels(y, 1).tolist() == [True, False, True]


@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=30))
def test_average_ranks(rows):
    scores = np.array(rows, dtype=np.float64)
    np.testing.assert_array_equal(average_ranks(scores), rankdata(scores, axis=0))


@given(seed=st.integers(0, 1000))
def test_auroc_depends_on_order_alone_and_turns_with_the_sign(seed):
    y, scores = made_up(seed, examples=25, levels=4)
    np.testing.assert_allclose(auroc(y, np.exp(scores)), auroc(y, scores), atol=1e-12)
    np.testing.assert_allclose(auroc(y, -scores), 1 - auroc(y, scores), atol=1e-12)
    np.testing.assert_allclose(auroc(1 - y, scores), 1 - auroc(y, scores), atol=1e-12)


@st.composite
def predictions(draw: st.DrawFn, one_of_all: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Targets and probabilities with ties, on bin edges too, labels absent or all present."""
    examples, labels = draw(st.integers(1, 25)), draw(st.integers(2, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    if one_of_all:
        parts = rng.integers(1, 4, (examples, labels)) * 1.0
        return np.eye(labels)[rng.integers(0, labels, examples)], parts / parts.sum(1)[:, None]
    y = rng.random((examples, labels)) < rng.choice([0.0, 0.2, 0.5, 1.0], labels)
    steps = draw(st.sampled_from([3, 5, 15]))
    return y.astype(np.float32), rng.integers(0, steps + 1, (examples, labels)) / steps


def present(y: np.ndarray) -> np.ndarray:
    return (y == 1).any(axis=0) & (y != 1).any(axis=0)


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_f1_is_that_of_scikit_learn_and_nan_where_a_label_is_absent(data):
    y, probability = data
    thresholds = np.linspace(0.2, 0.8, y.shape[1])
    found = f1_scores(y, probability, thresholds)
    for label in range(y.shape[1]):
        if present(y)[label]:
            called = probability[:, label] >= thresholds[label]
            wanted = f1_score(y[:, label], called, zero_division=0)
            assert found[label] == pytest.approx(wanted, abs=1e-6)
        else:
            assert math.isnan(found[label])


@settings(max_examples=60, deadline=None)
@given(predictions())
def test_no_threshold_has_a_better_f1_and_no_higher_one_is_as_good(data):
    y, probability = data
    thresholds = best_f1_thresholds(y, probability)
    for label in range(y.shape[1]):
        if not present(y)[label]:
            assert thresholds[label] == 0.5
            continue
        one = (y[:, label] == 1, probability[:, label])
        best = f1_score(one[0], one[1] >= thresholds[label])
        for other in np.unique(one[1]):
            reached = f1_score(one[0], one[1] >= other, zero_division=0)
            assert reached < best or (reached == best and other <= thresholds[label])


@settings(max_examples=60, deadline=None)
@given(predictions(one_of_all=True))
def test_multiclass_f1_is_that_of_scikit_learn(data):
    y, probability = data
    found = multiclass_f1(y, probability)
    called = [max(range(len(row)), key=lambda k: (row[k], -k)) for row in probability]
    wanted = f1_score(
        y.argmax(axis=1), called, labels=range(y.shape[1]), average=None, zero_division=0
    )
    np.testing.assert_allclose(found[present(y)], wanted[present(y)], atol=1e-6)
    assert np.isnan(found[~present(y)]).all()


def slow_calibration_error(truth: np.ndarray, probability: np.ndarray, bins: int) -> float:
    """Every example is put into its bin by hand; exact edges come from the same division."""
    edges = torch.linspace(0, 1, bins + 1, dtype=torch.float64).tolist()
    members: dict[int, list[int]] = {}
    for number, value in enumerate(probability):
        place = max(k for k in range(bins) if edges[k] <= value or k == 0)
        members.setdefault(place, []).append(number)
    total = 0.0
    for chosen in members.values():
        share = sum(float(truth[k]) for k in chosen) / len(chosen)
        total += len(chosen) * abs(share - sum(probability[k] for k in chosen) / len(chosen))
    return total / len(truth)


@settings(max_examples=60, deadline=None)
@given(predictions(), st.sampled_from([1, 3, 10, 15]))
def test_calibration_error_is_that_of_a_loop(data, bins):
    y, probability = data
    found = calibration_error(y, probability, bins)
    for label in range(y.shape[1]):
        wanted = slow_calibration_error(y[:, label], probability[:, label], bins)
        if present(y)[label]:
            assert found[label] == pytest.approx(wanted, abs=1e-9)
        else:
            assert math.isnan(found[label])


@settings(max_examples=60, deadline=None)
@given(predictions(one_of_all=True))
def test_calibration_error_of_the_top_label_is_that_of_a_loop(data):
    y, probability = data
    right = y[np.arange(len(y)), probability.argmax(axis=1)]
    wanted = slow_calibration_error(right, probability.max(axis=1), 15)
    assert top_label_calibration_error(y, probability) == pytest.approx(wanted, abs=1e-9)


def test_a_certain_prediction_shares_the_last_bin():
    y, probability = np.array([[1], [0], [1], [0]]), np.array([[1.0], [0.95], [0.95], [0.0]])
    wanted = abs(2 / 3 - (1 + 0.95 + 0.95) / 3) * 3 / 4
    assert calibration_error(y, probability)[0] == pytest.approx(wanted)
    assert math.isnan(top_label_calibration_error(np.zeros((0, 3)), np.zeros((0, 3))))


@pytest.mark.parametrize("bad", [1.2, -0.1, math.nan])
def test_what_is_no_probability_is_refused(bad):
    y, values = np.array([[1, 0], [0, 1]]), np.array([[0.4, bad], [0.6, 0.2]])
    for measure in (best_f1_thresholds, calibration_error, top_label_calibration_error):
        with pytest.raises(BadInputError, match="between 0 and 1"):
            measure(y, values)
    with pytest.raises(BadInputError, match="between 0 and 1"):
        f1_scores(y, values, np.array([0.5, 0.5]))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    n=st.integers(2, 40),
    unit=st.sampled_from([1e-4, 1.0, 1e3]),
    level=st.sampled_from([0.0, 120.0]),
)
def test_regression_metrics_are_those_of_scikit_learn_in_any_unit(seed, n, unit, level):
    rng = np.random.default_rng(seed)
    y = level + unit * rng.integers(-4, 5, (n, 1))
    y[0], y[1] = level, level + unit
    predicted = y + unit * rng.integers(-2, 3, (n, 1)) + unit * 0.25
    wanted = sklearn_mean_absolute_error(y, predicted)
    assert mean_absolute_error(y, predicted) == pytest.approx(wanted, rel=1e-6)
    found = determination(y, predicted)
    assert found == pytest.approx(r2_score(y, predicted), rel=1e-4, abs=1e-4)


def test_regressions_without_spread_or_without_examples():
    assert mean_absolute_error([0.1] * 7, [0.3] * 7) == pytest.approx(0.2)
    assert math.isnan(determination([0.1] * 7, [0.3] * 7))
    assert determination([1.0, 2.0, 4.0], [1.0, 2.0, 4.0]) == 1.0
    assert math.isnan(mean_absolute_error([], []))
    assert math.isnan(determination([], []))
    for metric in (mean_absolute_error, determination):
        with pytest.raises(BadInputError, match="2 predictions for 3 examples"):
            metric([1, 2, 3], [1, 2])
