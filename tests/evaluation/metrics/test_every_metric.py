"""What every registered metric must hold, found through the registry."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics import MainMetric, Outcome, main_metric, metrics
from ecgscale.tasks.base import USUAL_METRIC
from ecgscale.tasks.targets import TaskTable

KINDS = tuple(USUAL_METRIC)
MAIN = [name for name, metric in metrics.items() if issubclass(metric, MainMetric)]
CASES = [(name, kind) for name, metric in metrics.items() for kind in metric.kinds]
OF_LABELS = ("macro_auroc", "macro_average_precision", "macro_f1", "ece", "probe_loss")
REFERENCED = (*OF_LABELS, "mae", "r2")
"""Those whose slow, obvious form stands here; every other one has its own test file."""


def made_up(kind: str, seed: int = 0, examples: int = 90) -> Outcome:
    """Test scores that follow their targets, three of them for what has labels."""
    rng = np.random.default_rng(seed)
    columns = 3 if kind in ("multi-label", "multi-class") else 1
    y = (rng.random((examples, columns)) < 0.4).astype(np.float32)
    if kind == "multi-class":
        y = np.eye(columns, dtype=np.float32)[rng.integers(0, columns, examples)]
    if kind == "regression":
        y = rng.normal(120, 15, (examples, columns)).astype(np.float32)
    scores = y + rng.normal(size=y.shape).round(1)  # with ties
    if kind == "multi-class":
        scores = log_softmax(scores, axis=1)
    frame = pd.DataFrame(
        {
            "patient_id": [f"p{number // 2}" for number in range(examples)],
            "split": np.array(["validation", "test", "test"])[np.arange(examples) // 2 % 3],
        }
    )
    labels = tuple(f"l{column}" for column in range(columns))
    table = TaskTable("made-up", kind, "", "", 10, "s", "", labels, frame, y, "")
    return Outcome.of(table, scores, minimum_positives=1)


def probability(outcome: Outcome, scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) if outcome.kind == "multi-class" else 1 / (1 + np.exp(-scores))


# The metric of one label, by definition, one example or pair of examples at a time.


def slow_auroc(y, scores):
    pairs = [(p > n) + 0.5 * (p == n) for p in scores[y == 1] for n in scores[y == 0]]
    return sum(pairs) / len(pairs)


def slow_average_precision(y, scores):
    """The precision among those scored at least as high, averaged over the positives."""
    return np.mean([y[scores >= score].mean() for score in scores[y == 1]])


def slow_f1(y, called):
    hits = sum(t and c for t, c in zip(y == 1, called, strict=True))
    return 2 * hits / (sum(y == 1) + sum(called))


def slow_ece(y, p):
    members = {}
    for truth, value in zip(y, p, strict=True):
        members.setdefault(min(int(value * 15), 14), []).append((truth, value))
    return sum(abs(sum(t - v for t, v in chosen)) for chosen in members.values()) / len(y)


def reference(name: str, o: Outcome) -> float:
    """The metric of an outcome, by definition."""
    y, columns = o.y.astype(np.float64), range(o.y.shape[1])
    if o.kind == "regression":
        error = [t - p for t, p in zip(y[:, 0], o.scores[:, 0], strict=True)]
        if name == "mae":
            return sum(map(abs, error)) / len(error)
        mean = sum(y[:, 0]) / len(y)
        return 1 - sum(e**2 for e in error) / sum((t - mean) ** 2 for t in y[:, 0])
    p, seen = probability(o, o.scores), probability(o, o.validation_scores)
    if o.kind == "multi-class" and name in ("ece", "probe_loss"):
        right = np.array([row.argmax() for row in p]) == y.argmax(axis=1)
        if name == "ece":
            return slow_ece(right.astype(float), p.max(axis=1))
        return sum(-math.log(row[truth.argmax()]) for row, truth in zip(p, y, strict=True)) / len(y)
    values = []
    for k in columns:
        if name == "macro_f1" and o.kind == "multi-class":
            values.append(slow_f1(y[:, k], p.argmax(axis=1) == k))
        elif name == "macro_f1":
            truth = o.validation_y[:, k]
            best = max(seen[:, k], key=lambda t: (slow_f1(truth, seen[:, k] >= t), t))
            values.append(slow_f1(y[:, k], p[:, k] >= best))
        elif name == "probe_loss":
            stated = np.where(y[:, k] == 1, p[:, k], 1 - p[:, k])
            values.append(sum(-math.log(value) for value in stated) / len(y))
        else:
            slow = {
                "macro_auroc": slow_auroc,
                "macro_average_precision": slow_average_precision,
                "ece": slow_ece,
            }[name]
            values.append(slow(y[:, k], p[:, k] if name == "ece" else o.scores[:, k]))
    return sum(values) / len(values)


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_says_what_it_is(name):
    metric = metrics.get(name)
    assert metric.name == name
    assert metric.title
    assert metric.short
    assert metric.kinds
    assert set(metric.kinds) <= set(KINDS)
    assert metric.digits > 0
    assert metric.higher_is_better in (True, False)
    assert metric.__doc__
    assert metric("mmHg").label == f"{metric.title} (mmHg)"
    assert metric().label == metric.title
    assert metric().better(0.1) == metric.higher_is_better != metric().better(-0.1)
    assert metric("mmHg") == metric("mmHg") != metric()
    assert len({metric(), metric("mmHg"), metric("mmHg")}) == 2


def test_names_and_keys_of_columns_are_unique():
    columns = [metric.column for _, metric in metrics.items() if metric.column]
    assert len(set(columns)) == len(columns)
    assert len({metric() for _, metric in metrics.items()}) == len(metrics.names())


@pytest.mark.parametrize("name", metrics.names())
def test_every_metric_is_tested_against_a_slow_form(name):
    assert name in REFERENCED or Path(__file__).with_name(f"test_{name}.py").is_file()


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in REFERENCED])
@pytest.mark.parametrize("seed", range(3))
def test_every_metric_is_that_of_a_slow_obvious_reference(name, kind, seed):
    metric, outcome = metrics.get(name)(), made_up(kind, seed)
    columns = metric.by_label(outcome)
    assert all(values.shape == (outcome.y.shape[1],) for values in columns.values())
    assert not metric.column or metric.column in columns
    assert metric.value(outcome, columns) == pytest.approx(reference(name, outcome), abs=1e-5)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_every_metric_is_the_same_twice_and_best_where_its_direction_says(name, kind):
    metric, seen = metrics.get(name)(), []
    for outcome in (made_up(kind), made_up(kind)):
        seen.append(metric.value(outcome, metric.by_label(outcome)))
    assert seen[0] == seen[1]
    truth = outcome.y.astype(np.float64)
    known = truth if kind == "regression" else 40 * (truth - 0.5)
    if kind == "multi-class":
        known = log_softmax(known, axis=1)
    sure = replace(outcome, scores=known)
    assert metric.quality(metric.value(sure, metric.by_label(sure))) > metric.quality(seen[0])


@pytest.mark.parametrize(("name", "kind"), [case for case in CASES if case[0] in MAIN])
def test_a_main_metric_has_resamples_a_choice_on_validation_and_words(name, kind):
    metric, outcome = main_metric(name, "mmHg"), made_up(kind)
    assert metric.unit == ("mmHg" if metric.in_unit_of_target else "")
    assert metric.subject
    assert set(metric.kinds) <= set(metrics.get(metric.suite_metric).kinds)
    found = metric.replicates(outcome, 200, seed=1)
    assert found.metric.shape == (200,)
    fewer = metric.replicates(outcome, 50, seed=1).metric
    np.testing.assert_allclose(found.metric[:50], fewer, rtol=1e-12)
    value = metric.value(outcome, metric.by_label(outcome))
    assert found.metric.mean() == pytest.approx(value, rel=0.05)
    assert found.labels.shape in ((0, 200), (outcome.y.shape[1], 200))
    reached = metric.on_validation(outcome.y, outcome.scores, 1)
    assert reached == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_task_has_a_usual_main_metric(kind):
    assert kind in main_metric(USUAL_METRIC[kind]).kinds


def test_what_has_no_resamples_is_no_main_metric():
    with pytest.raises(BadInputError, match="r2 has no resamples: it cannot be a task's main"):
        main_metric("r2")
    with pytest.raises(BadInputError, match=r"no metric is named 'auc'; there are: .*macro_auroc"):
        main_metric("auc")
