import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from ecgscale.evaluation.metrics.functions import auroc
from ecgscale.evaluation.readouts.finetune import Finetune
from ecgscale.evaluation.readouts.network import Layer, NetworkSettings, train_network
from ecgscale.training.loop import TrainingDivergedError


class Flat(nn.Linear):
    """A linear map of a record's samples."""

    def forward(self, x):
        return super().forward(x.flatten(1))


def flat(problem):
    torch.manual_seed(0)
    return Flat(80, problem.y.shape[1])


def train(problem, network, **settings):
    quick = {"epochs": 3, "batch_size": 16, "weight_decay": 0.0}
    problem = replace(problem, settings=NetworkSettings(**quick | settings))
    layers = [Layer(list(network.parameters()))]
    return train_network(problem, network, layers, problem.signals)


def loop_loss(problem, output, pos_weight=None):
    """The loss of the training examples, one example and label at a time."""
    y = problem.y[problem.train].astype(np.float64)
    total = []
    mean, sd = y.mean(axis=0), y.std(axis=0)
    for truth, z in zip(y, output, strict=True):
        if problem.kind == "multi-class":
            total.append(-math.log(math.exp(z[truth.argmax()]) / sum(math.exp(v) for v in z)))
            continue
        for column, value in enumerate(z):
            if problem.kind == "regression":
                error = abs(value - (truth[column] - mean[column]) / sd[column])
                total.append(error**2 / 2 if error < 1 else error - 0.5)
            else:
                p = 1 / (1 + math.exp(-value))
                weight = 1.0 if pos_weight is None else pos_weight[column]
                good = weight * math.log(p) if truth[column] else math.log(1 - p)
                total.append(-good)
    return sum(total) / len(total)


@pytest.mark.parametrize("kind", ["multi-label", "multi-class", "binary", "regression"])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_that_of_loops(make_problem, kind, weighted):
    problem = make_problem(kind)
    network = flat(problem)
    with torch.no_grad():
        output = network(problem.signals(np.flatnonzero(problem.train))).double().numpy()
    # One batch holds all examples, so the first epoch's loss is that before any step.
    found = train(problem, network, epochs=1, batch_size=1000, pos_weight=weighted)
    share = problem.y[problem.train].mean(axis=0)
    weight = (1 - share) / share if weighted and kind in ("multi-label", "binary") else None
    expected = loop_loss(problem, output, weight)
    assert found.details["epochs"][0]["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("kind", ["multi-class", "binary", "regression"])
def test_scores_of_the_final_network(make_problem, kind):
    problem = make_problem(kind)
    network = flat(problem)
    found = train(problem, network, epochs=2)
    test = np.flatnonzero(problem.table.where("test"))
    with torch.no_grad():
        output = network(problem.signals(test)).double().numpy()
    if kind == "multi-class":
        output = output - np.log(np.exp(output).sum(axis=1, keepdims=True))
    if kind == "regression":
        values = problem.y[problem.train].astype(np.float64)
        output = output * values.std() + values.mean()
    np.testing.assert_allclose(found.scores[test], output, rtol=1e-4, atol=1e-5)


def test_the_best_epoch_is_restored_with_its_batch_statistics(make_problem):
    settings = {"epochs": 40, "batch_size": 16, "lr": 0.05, "patience": 3}
    problem = make_problem("multi-label", 120, readout="finetune", **settings)
    problem.y[:] = np.random.default_rng(0).random(problem.y.shape) < 0.4  # nothing to learn
    found = Finetune().predict(problem)
    seen = [row["validation_macro_auroc"] for row in found.details["epochs"]]
    best = int(np.argmax(seen))
    assert found.details["best_epoch"] == best + 1
    assert len(seen) == best + 1 + 3 < 40  # patience ended it
    validation = problem.validation
    quality = auroc(problem.y[validation], found.scores[validation]).mean()
    assert quality == pytest.approx(max(seen), abs=1e-12)
    assert quality != pytest.approx(seen[-1], abs=1e-3)


def test_the_first_epoch_counts_where_validation_has_no_positives(make_problem):
    problem = make_problem("binary")
    problem.y[problem.validation] = 0
    found = train(problem, flat(problem), epochs=20, patience=2)
    assert found.details["best_epoch"] == 1
    assert len(found.details["epochs"]) == 3


def test_constant_numbers_and_another_seed(make_problem, with_targets):
    problem = make_problem("regression")
    constant = with_targets(problem, np.full_like(problem.y, 60.0))
    found = train(constant, flat(problem), epochs=5, lr=0.01)
    assert np.isfinite(found.scores[problem.validation]).all()
    other = replace(problem, seed=1)
    first, again, second = (train(p, flat(p)).scores for p in (problem, problem, other))
    assert np.array_equal(first, again, equal_nan=True)
    assert not np.array_equal(first, second, equal_nan=True)


def test_a_loss_that_is_not_finite_ends_it(make_problem):
    problem = make_problem("binary")
    network = flat(problem)
    network.weight.data.fill_(torch.inf)
    with pytest.raises(TrainingDivergedError, match="task made-up: the readout's loss is nan in"):
        train(problem, network)
