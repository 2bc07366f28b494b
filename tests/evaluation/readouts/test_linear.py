import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.multiclass import OneVsRestClassifier

from ecgscale.evaluation.readouts.linear import Linear

PENALTIES = {"penalties": (1e-3, 1e-2, 1.0)}


def standardised(problem):
    x = problem.embeddings().astype(np.float64)
    train = x[problem.train]
    return (x - train.mean(axis=0)) / train.std(axis=0)


def test_multi_class_is_one_versus_rest_normalised(make_problem):
    problem = make_problem("multi-class", 400, penalties=(1e-2,))
    found = Linear().predict(problem)
    x, test = standardised(problem), problem.table.where("test")
    model = OneVsRestClassifier(LogisticRegression(C=100 / problem.train.sum(), tol=1e-8))
    model.fit(x[problem.train], problem.y[problem.train].argmax(axis=1))
    expected = model.predict_proba(x[test])
    np.testing.assert_allclose(np.exp(found.scores[test]), expected, atol=0.01)


def test_a_number_is_ridge_regressed_with_the_penalty_of_the_least_validation_error(make_problem):
    problem = make_problem("regression", 200, **PENALTIES)
    found = Linear().predict(problem)
    x, train, validation = standardised(problem), problem.train, problem.validation
    errors = {}
    for row in found.details["penalties"]:
        model = Ridge(alpha=train.sum() * row["penalty"]).fit(x[train], problem.y[train, 0])
        predicted = model.predict(x[validation])
        errors[row["penalty"]] = np.abs(predicted - problem.y[validation, 0]).mean()
        assert row["validation_mae"] == pytest.approx(errors[row["penalty"]], rel=1e-6)
    best = min(errors, key=errors.get)
    assert found.metrics == {"penalty": best}
    model = Ridge(alpha=train.sum() * best).fit(x[train], problem.y[train, 0])
    test = problem.table.where("test")
    np.testing.assert_allclose(found.scores[test, 0], model.predict(x[test]), rtol=1e-6)


def test_of_equal_penalties_the_strongest(make_problem, with_targets):
    problem = make_problem("regression", **PENALTIES)
    constant = with_targets(problem, np.full_like(problem.y, 3.0))
    assert Linear().predict(constant).metrics == {"penalty": 1.0}
    problem = make_problem("binary", **PENALTIES)
    absent = with_targets(problem, np.zeros_like(problem.y))
    assert Linear().predict(absent).metrics == {"penalty": 1.0}
