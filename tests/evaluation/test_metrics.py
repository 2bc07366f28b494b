import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score
from torchmetrics.functional.classification import multilabel_auroc

from ecgscale.evaluation.metrics import (
    auroc,
    average_ranks,
    included_labels,
    label_metrics,
    macro,
)


def made_up(seed: int, examples: int = 120, labels: int = 6, levels: int = 7):
    """Targets and scores with many ties, every label with both classes."""
    rng = np.random.default_rng(seed)
    y = rng.random((examples, labels)) < np.linspace(0.05, 0.9, labels)
    y[0], y[1] = True, False
    return y.astype(np.float32), rng.integers(0, levels, (examples, labels)) + 0.5 * y


def pairwise(y: np.ndarray, scores: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order; a tie is half right."""
    wins = [(p > n) + 0.5 * (p == n) for p in scores[y == 1] for n in scores[y == 0]]
    return float(np.mean(wins))


@pytest.mark.parametrize("seed", range(5))
def test_rank_form_torchmetrics_scikit_learn_and_pairs_agree(seed):
    y, scores = made_up(seed)
    fast, reported = auroc(y, scores), label_metrics(y, scores)
    for label in range(y.shape[1]):
        one = (y[:, label], scores[:, label])
        assert fast[label] == pytest.approx(pairwise(*one), abs=1e-12)
        assert fast[label] == pytest.approx(roc_auc_score(*one), abs=1e-12)
        assert reported.auroc[label] == pytest.approx(fast[label], abs=1e-6)
        assert reported.average_precision[label] == pytest.approx(
            average_precision_score(*one), abs=1e-6
        )
    probabilities = torch.from_numpy(scores / 10)
    direct = multilabel_auroc(
        probabilities, torch.from_numpy(y).long(), num_labels=y.shape[1], average="none"
    )
    np.testing.assert_allclose(reported.auroc, direct.numpy(), atol=1e-6)


def test_large_scores_keep_their_order():
    """A sigmoid would tie 50 with 60, and torchmetrics applies one outside of [0, 1]."""
    y, scores = np.array([[0], [0], [1], [1]]), np.array([[50.0], [60.0], [60.5], [70.0]])
    assert label_metrics(y, scores).auroc[0] == pytest.approx(1.0)
    assert label_metrics(y, -scores).auroc[0] == pytest.approx(0.0)


def test_absent_labels_are_nan_and_counted():
    y = np.zeros((20, 4))
    y[:, 1] = 1
    y[:3, 2] = 1
    y[:12, 3] = 1
    scores = np.random.default_rng(0).normal(size=y.shape)
    found = label_metrics(y, scores, minimum_positives=10)
    assert found.absent.tolist() == [True, True, False, False]
    assert np.isnan(found.auroc).tolist() == [True, True, False, False]
    assert np.isnan(found.average_precision).tolist() == [True, True, False, False]
    assert np.isnan(auroc(y, scores)).tolist() == [True, True, False, False]
    assert found.included.tolist() == [False, False, False, True]
    assert found.positives.tolist() == [0, 20, 3, 12]
    assert found.negatives.tolist() == [20, 0, 17, 8]
    assert found.macro_auroc == pytest.approx(found.auroc[3])
    assert found.macro_average_precision == pytest.approx(found.average_precision[3])


def test_a_macro_mean_of_nothing_is_nan():
    y, scores = made_up(1, examples=30)
    found = label_metrics(y, scores, minimum_positives=31)
    assert not found.included.any()
    assert math.isnan(found.macro_auroc)
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
