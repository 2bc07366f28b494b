import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss as sklearn_log_loss

from ecgscale.evaluation.metrics.functions import auroc
from ecgscale.evaluation.metrics.macro_auroc import selection_auroc
from ecgscale.evaluation.metrics.probe_loss import log_loss
from ecgscale.evaluation.probe import TOLERANCE, fit_linear_probes, fit_ridge_probes

PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def made_up(seed: int, examples: int, dim: int, labels: int):
    """Correlated embeddings of unequal scale, labels from common to rare."""
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(examples, 6))
    x = factors @ rng.normal(size=(6, dim)) + 0.5 * rng.normal(size=(examples, dim))
    x = x * np.geomspace(0.01, 100, dim) + rng.normal(size=dim)
    odds = factors @ rng.normal(size=(6, labels)) - np.linspace(0, 3, labels)
    y = odds + rng.logistic(size=odds.shape) > 0
    y[0], y[1] = True, False
    return x.astype(np.float32), y.astype(np.float32)


def objective(penalty, y, log_odds, weight) -> float:
    return sklearn_log_loss(y, 1 / (1 + np.exp(-log_odds))) + penalty / 2 * (weight**2).sum()


@pytest.mark.parametrize(("examples", "dim"), [(400, 16), (300, 64), (80, 128)])
def test_the_optimum_is_that_of_scikit_learn(examples, dim):
    x, y = made_up(examples, examples, dim, 3)
    mean, sd = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    for probe in fit_linear_probes(x, y, PENALTIES, max_iterations=500):
        scores = probe.scores(x)
        assert probe.converged.all()
        for label in range(3):
            model = LogisticRegression(C=1 / (examples * probe.penalty), tol=1e-9, max_iter=20_000)
            model.fit((x - mean) / sd, y[:, label])
            reference = model.decision_function((x - mean) / sd)
            best = objective(probe.penalty, y[:, label], reference, model.coef_[0])
            ours = objective(
                probe.penalty, y[:, label], scores[:, label], probe.weight[:, label] * sd
            )
            assert probe.loss[label] == pytest.approx(ours, abs=1e-7)
            assert abs(ours - best) <= TOLERANCE
        if probe.penalty >= 1e-2:
            np.testing.assert_allclose(scores[:, 2], reference, atol=0.05)


def test_strongest_penalty_first_and_each_is_fitted_as_if_alone():
    x, y = made_up(1, 200, 8, 4)
    probes = fit_linear_probes(x, y, (1e-3, 1.0, 1e-2, 1.0))
    assert [probe.penalty for probe in probes] == [1.0, 1e-2, 1e-3]
    alone = fit_linear_probes(x, y, (1e-3,))[0]
    np.testing.assert_allclose(probes[-1].loss, alone.loss, atol=2 * TOLERANCE)
    assert np.linalg.norm(probes[0].weight) < np.linalg.norm(probes[-1].weight)


def test_labels_of_one_class_predict_a_flagged_constant():
    x, y = made_up(2, 100, 5, 4)
    y[:, 1], y[:, 3] = 0, 1
    for probe in fit_linear_probes(x, y, PENALTIES):
        assert probe.constant.tolist() == [False, True, False, True]
        assert probe.converged.all()
        scores = probe.scores(x)
        np.testing.assert_allclose(scores[:, 1], np.log(0.5 / 100.5))
        np.testing.assert_allclose(scores[:, 3], np.log(100.5 / 0.5))


def test_constant_and_repeated_columns_do_not_matter():
    x, y = made_up(3, 150, 6, 2)
    padded = np.hstack([x, np.full((150, 1), 3.7), np.zeros((150, 1))]).astype(np.float32)
    plain, with_constants = (fit_linear_probes(part, y, (1e-2,))[0] for part in (x, padded))
    np.testing.assert_allclose(with_constants.scores(padded), plain.scores(x), atol=1e-6)
    assert not with_constants.weight[6:].any()
    twice = fit_linear_probes(np.hstack([x, x]), y, (2e-2,))[0]
    # Two copies share a weight, which halves its penalty.
    np.testing.assert_allclose(twice.scores(np.hstack([x, x])), plain.scores(x), atol=2e-2)


def test_embeddings_without_any_variation():
    y = np.array([[1.0], [0.0], [0.0], [0.0]])
    probe = fit_linear_probes(np.ones((4, 3)), y, (1e-2,))[0]
    np.testing.assert_allclose(probe.scores(np.ones((2, 3))), np.log(1 / 3), rtol=1e-6)


def test_too_few_iterations_are_admitted():
    x, y = made_up(4, 300, 32, 3)
    probe = fit_linear_probes(x, y, (1e-5,), max_iterations=2)[0]
    assert not probe.converged.any()


def test_same_bits_twice():
    x, y = made_up(5, 120, 12, 3)
    first, second = (fit_linear_probes(x, y, PENALTIES) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one.weight, other.weight)
        assert np.array_equal(one.bias, other.bias)


def test_log_loss():
    rng = np.random.default_rng(0)
    y, z = rng.integers(0, 2, (40, 3)), rng.normal(size=(40, 3)) * 3
    expected = [sklearn_log_loss(y[:, k], 1 / (1 + np.exp(-z[:, k]))) for k in range(3)]
    np.testing.assert_allclose(log_loss(y, z), expected)
    assert log_loss([[1.0]], [[-800.0]])[0] == 800.0


def test_selection_counts_common_labels_and_falls_back_to_defined_ones():
    rng = np.random.default_rng(1)
    y = (rng.random((60, 3)) < [0.5, 0.05, 0.0]).astype(float)
    y[:2, 1] = 1
    scores = rng.normal(size=y.shape)
    each = auroc(y, scores)
    assert selection_auroc(y, scores, 10) == pytest.approx(each[0])
    assert selection_auroc(y, scores, 50) == pytest.approx(each[:2].mean())
    assert np.isnan(selection_auroc(np.zeros((4, 2)), np.ones((4, 2)), 1))


@pytest.mark.parametrize(("examples", "dim"), [(300, 16), (40, 90), (1, 5)])
def test_ridge_is_that_of_scikit_learn_at_every_penalty(examples, dim):
    rng = np.random.default_rng(examples)
    x = rng.normal(size=(examples, 6)) @ rng.normal(size=(6, dim)) * np.geomspace(0.1, 50, dim)
    x += rng.normal(size=(examples, dim))
    y = 120 + 15 * rng.normal(size=(examples, 2)) + x[:, :1]
    queries = rng.normal(size=(20, dim))
    sd = x.std(axis=0)
    scale = np.where(sd > 0, 1 / np.where(sd > 0, sd, 1), 0)
    probes = fit_ridge_probes(x, y, PENALTIES)
    assert [probe.penalty for probe in probes] == sorted(PENALTIES, reverse=True)
    for probe in probes:
        model = Ridge(alpha=examples * probe.penalty, solver="svd")
        model.fit((x - x.mean(axis=0)) * scale, y)
        expected = model.predict((queries - x.mean(axis=0)) * scale)
        np.testing.assert_allclose(probe.scores(queries), expected, rtol=1e-6)


def test_ridge_of_constant_embeddings_or_targets_predicts_the_mean():
    y = np.array([[1.0], [2.0], [6.0]])
    (probe,) = fit_ridge_probes(np.ones((3, 4)), y, (1e-3,))
    np.testing.assert_allclose(probe.scores(np.full((2, 4), 5.0)), 3.0)
    (probe,) = fit_ridge_probes(np.eye(3), np.full((3, 1), 7.0), (1e-3,))
    np.testing.assert_allclose(probe.scores(np.eye(3)), 7.0)
