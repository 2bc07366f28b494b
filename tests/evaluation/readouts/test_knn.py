import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from ecgscale.evaluation.readouts import knn
from ecgscale.evaluation.readouts.knn import Knn, neighbour_mean


@pytest.mark.parametrize("held", [1 << 24, 210, 1])
def test_the_mean_of_the_neighbours_whatever_is_held_at_once(monkeypatch, held):
    monkeypatch.setattr(knn, "_SIMILARITIES", held)
    rng = np.random.default_rng(2)
    train, queries = rng.normal(size=(70, 5)), rng.normal(size=(20, 5))
    targets = rng.integers(0, 2, (70, 3))
    found = neighbour_mean(*(torch.from_numpy(part) for part in (train, targets, queries)), k=7)
    reference = KNeighborsClassifier(7, metric="cosine").fit(train, targets)
    expected = [part[:, 1] for part in reference.predict_proba(queries)]
    np.testing.assert_allclose(found.numpy(), np.transpose(expected), atol=1e-6)


def test_fewer_examples_than_neighbours():
    train = torch.eye(3)
    targets = torch.tensor([[1.0], [0.0], [1.0]])
    found = neighbour_mean(train, targets, torch.ones(2, 3))
    assert found.tolist() == [[pytest.approx(2 / 3)]] * 2


@pytest.mark.parametrize("kind", ["multi-label", "multi-class", "binary", "regression"])
def test_scores_are_what_the_neighbours_say(make_problem, kind):
    problem = make_problem(kind, readout="knn", k=5)
    found = Knn().predict(problem)
    assert found.details == {"neighbours": 5}
    x, y = problem.embeddings().astype(np.float64), problem.y
    train = np.flatnonzero(problem.train)
    for query in np.flatnonzero(~problem.table.where("train")):
        cosine = [x[i] @ x[query] / np.linalg.norm(x[i]) / np.linalg.norm(x[query]) for i in train]
        nearest = y[train[np.argsort(cosine)[-5:]]]
        if kind == "regression":
            expected = nearest.mean(axis=0)
        elif kind == "multi-class":
            expected = np.log((nearest.sum(axis=0) + 0.5) / (5 + 1.5))
        else:
            p = (nearest.sum(axis=0) + 0.5) / 6
            expected = np.log(p / (1 - p))
        np.testing.assert_allclose(found.scores[query], expected, rtol=1e-5)
