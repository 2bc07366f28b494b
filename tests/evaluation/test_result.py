from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, log_softmax
from sklearn.metrics import f1_score, log_loss, mean_absolute_error, r2_score, roc_auc_score

from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import auroc_interval, patient_weights
from ecgscale.evaluation.metrics.base import Outcome
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc, patients_of_rarer_class
from ecgscale.evaluation.readouts.base import Predictions
from ecgscale.evaluation.result import TaskResult, check_table, task_result
from ecgscale.evaluation.settings import EvaluationSettings
from ecgscale.tasks.base import USUAL_METRIC
from ecgscale.tasks.targets import TaskTable

SETTINGS = EvaluationSettings(tasks=(), bootstrap=30, minimum_positives=2)


def made_up(kind: str, labels: int = 3, examples: int = 240) -> tuple[TaskTable, np.ndarray]:
    """A table, and scores that follow its targets."""
    rng = np.random.default_rng(labels)
    y = rng.random((examples, labels)) < 0.3
    if kind == "multi-class":
        y = np.eye(labels)[rng.integers(0, labels, examples)]
    if kind == "regression":
        y = rng.normal(120, 15, (examples, labels))
    scores = y + rng.normal(size=y.shape) * (10 if kind == "regression" else 1) - 0.5
    if kind == "multi-class":
        scores = log_softmax(scores, axis=1)
    frame = pd.DataFrame(
        {
            "patient_id": [f"p{number // 2}" for number in range(examples)],
            "split": np.array(["train", "validation", "test"])[np.arange(examples) // 2 % 3],
        }
    )
    names = tuple(f"l{column}" for column in range(labels))
    about = (USUAL_METRIC[kind], "mmHg" if kind == "regression" else "", 10)
    table = TaskTable("made-up", kind, *about, "s", "", names, frame, y.astype(np.float32), "")
    scores[table.where("train")] = np.nan
    return table, scores


def result_of(table: TaskTable, scores: np.ndarray) -> TaskResult:
    train = table.where("train")
    return task_result(table, Predictions(scores), train, SETTINGS, {"name": "guess"})


def resamples_of(table: TaskTable, scores: np.ndarray):
    outcome = Outcome.of(table, scores, SETTINGS.minimum_positives)
    return MacroAuroc().replicates(outcome, SETTINGS.bootstrap, SETTINGS.bootstrap_seed)


def calibration(y, probability):
    """The expected calibration error, bin by bin."""
    total = 0.0
    bins = np.minimum((probability * 15).astype(int), 14)
    for number in range(15):
        chosen = bins == number
        if chosen.any():
            total += chosen.mean() * abs(y[chosen].mean() - probability[chosen].mean())
    return total


def test_several_labels():
    table, scores = made_up("multi-label")
    found = result_of(table, scores)
    validation, test = table.where("validation"), table.where("test")
    probability, y = expit(scores), table.y
    rows = found.details["labels"]
    assert (found.details["metric"], found.details["unit"]) == ("macro_auroc", "")
    fewest = patients_of_rarer_class(y[test], table.frame.loc[test, "patient_id"])
    learned = {"train_examples": 80, "train_patients": 40}
    assert found.details["protocol"] == {"name": "guess", **learned}
    for column, row in enumerate(rows):
        p, truth = probability[:, column], y[:, column]
        assert row["positives"] == (truth[test] == 1).sum()
        assert row["negatives"] == (truth[test] == 0).sum()
        assert row["auroc"] == pytest.approx(roc_auc_score(truth[test], p[test]), abs=1e-6)
        assert row["ece"] == pytest.approx(calibration(truth[test], p[test]), abs=1e-6)
        candidates = [f1_score(truth[validation], p[validation] >= t) for t in p[validation]]
        threshold = row["threshold"] - 1e-9  # one of p, up to rounding
        reached = f1_score(truth[validation], p[validation] >= threshold)
        assert reached == pytest.approx(max(candidates))
        on_test = f1_score(truth[test], p[test] >= threshold)
        assert row["f1"] == pytest.approx(on_test, abs=1e-6)
        area, drawn = [row["auroc"]], resamples_of(table, scores).labels[[column]]
        assert (row["low"], row["high"]) == pytest.approx(
            auroc_interval(area, drawn, [fewest[column]])
        )
    ends = auroc_interval(
        [row["auroc"] for row in rows], resamples_of(table, scores).labels, fewest
    )
    assert (found.metrics["macro_auroc_low"], found.metrics["macro_auroc_high"]) == pytest.approx(
        ends
    )
    for name, key in [("macro_auroc", "auroc"), ("macro_f1", "f1"), ("ece", "ece")]:
        assert found.metrics[name] == pytest.approx(np.mean([row[key] for row in rows]))
    losses = [log_loss(y[test, k], probability[test, k]) for k in range(3)]
    assert found.metrics["probe_loss"] == pytest.approx(np.mean(losses))
    seen = roc_auc_score(y[validation], scores[validation])
    assert found.metrics["validation_macro_auroc"] == pytest.approx(seen)


def test_one_of_several_classes():
    table, scores = made_up("multi-class")
    found = result_of(table, scores)
    test = table.where("test")
    truth, p = table.y[test].argmax(axis=1), np.exp(scores[test])
    expected = {
        "macro_auroc": roc_auc_score(truth, p, multi_class="ovr"),
        "macro_f1": f1_score(truth, p.argmax(axis=1), average="macro"),
        "probe_loss": log_loss(truth, p),
        "ece": calibration((p.argmax(axis=1) == truth).astype(float), p.max(axis=1)),
    }
    for name, value in expected.items():
        assert found.metrics[name] == pytest.approx(value, abs=1e-6)
    assert [np.isnan(row["threshold"]) for row in found.details["labels"]] == [True] * 3


def test_a_number():
    table, scores = made_up("regression", labels=1)
    found = result_of(table, scores)
    test, validation = table.where("test"), table.where("validation")
    y, predicted = table.y[test, 0], scores[test, 0]
    assert (found.details["metric"], found.details["unit"]) == ("mae", "mmHg")
    assert found.metrics["mae"] == pytest.approx(mean_absolute_error(y, predicted), rel=1e-6)
    assert found.metrics["r2"] == pytest.approx(r2_score(y, predicted), rel=1e-5)
    seen = mean_absolute_error(table.y[validation], scores[validation])
    assert found.metrics["validation_mae"] == pytest.approx(seen, rel=1e-6)
    ids, patient = np.unique(table.frame["patient_id"][test], return_inverse=True)
    weights = patient_weights(ids.tolist(), 30, 0)[patient]
    expected = np.average(np.abs(y - predicted)[:, None].repeat(30, 1), axis=0, weights=weights)
    np.testing.assert_allclose(found.details["replicates"], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("binary", 0.5, "made-up has targets other than 0 and 1"),
        ("regression", np.inf, "made-up has targets that are not finite"),
    ],
)
def test_targets_that_are_not_of_the_kind(kind, value, message):
    table, _ = made_up(kind, labels=1)
    check_table(table)
    table.y[3] = value
    with pytest.raises(BadInputError, match=message):
        check_table(table)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_a_split_without_examples(split):
    table, _ = made_up("binary", labels=1)
    kept = ~table.where(split)
    frame = table.frame[kept].reset_index(drop=True)
    with pytest.raises(BadInputError, match=f"made-up has no {split} examples"):
        check_table(replace(table, frame=frame, y=table.y[kept]))
