from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.multiclass import OneVsRestClassifier

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics.functions import auroc
from ecgscale.evaluation.readouts.base import (
    ReadoutSettings,
    check_protocol,
    labelled_share,
    log_probabilities,
    parse_settings,
    readouts,
)
from ecgscale.evaluation.readouts.network import NetworkSettings
from ecgscale.evaluation.settings import Protocol
from ecgscale.tasks.targets import TaskTable

KINDS = ("multi-label", "multi-class", "binary", "regression")


def table_of(patients: list[int], splits: list[str]) -> TaskTable:
    frame = pd.DataFrame({"patient_id": [f"p{p}" for p in patients], "split": splits})
    return TaskTable(
        "t", "binary", "macro_auroc", "", 10, "s", "", ("l",), frame, np.zeros((len(frame), 1)), ""
    )


@pytest.mark.parametrize("name", readouts.names())
def test_every_readout_says_what_it_is(name):
    readout = readouts.get(name)
    assert min(map(len, (readout.title, readout.method, readout.reference))) > 5
    assert "\n" not in readout.title + readout.method
    assert issubclass(readout.Settings, ReadoutSettings)
    assert readout.Settings.__doc__
    assert parse_settings(name, {}) == readout.Settings()  # every setting has a default
    deep = Protocol(readout=name, depth=0.5)
    if readout.reads_depths:
        check_protocol(deep)
    else:
        with pytest.raises(BadInputError, match=f"protocols.depth: {name} reads the last block"):
            check_protocol(deep)


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("svm", {}, r"evaluation\.readouts\.svm: no readout is named 'svm'; there are: .*knn"),
        ("linear", {"penalty": 1}, r"evaluation\.readouts\.linear\.penalty: Extra inputs"),
        ("linear", {"penalties": ["a"]}, r"evaluation\.readouts\.linear\.penalties\.0: "),
        ("knn", {"k": 0}, r"evaluation\.readouts\.knn\.k: Input should be greater than"),
        ("attention", {"lr": 0}, r"evaluation\.readouts\.attention\.lr: "),
    ],
)
def test_wrong_settings_are_named_by_their_key(name, settings, message):
    with pytest.raises(BadInputError, match=message):
        parse_settings(name, settings)


def test_a_protocol_of_no_readout_is_refused():
    with pytest.raises(BadInputError, match=r"protocols\.readout: no readout is named 'svm'"):
        check_protocol(Protocol(readout="svm"))


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=80),
    st.sampled_from([0.01, 0.1, 0.25, 0.5]),
    st.integers(0, 3),
)
def test_shares_are_nested_whole_patients_of_the_training_split(owners, fraction, seed):
    patients = [*owners, *range(50, 60)]
    splits = ["train"] * len(owners) + ["validation", "test"] * 5
    table = table_of(patients, splits)
    small, large = (labelled_share(table, share, seed) for share in (fraction, 2 * fraction))
    assert not (small & ~large).any()
    assert not (large & ~table.where("train")).any()
    chosen = set(table.frame["patient_id"][small])
    assert len(chosen) == max(1, round(fraction * len(set(owners))))
    assert small.tolist() == [
        patient in chosen for patient in table.frame["patient_id"]
    ]  # with all their records
    assert np.array_equal(labelled_share(table, 1.0, seed), table.where("train"))


def test_a_share_depends_on_seed_and_patients_alone():
    table = table_of(list(range(200)), ["train"] * 200)
    share = labelled_share(table, 0.1, 0)
    assert not np.array_equal(share, labelled_share(table, 0.1, 1))
    order = np.random.default_rng(0).permutation(200)
    shuffled = replace(table, frame=table.frame.iloc[order].reset_index(drop=True))
    assert np.array_equal(labelled_share(shuffled, 0.1, 0), share[order])


def test_log_probabilities_are_those_of_scikit_learns_one_versus_rest():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    model = OneVsRestClassifier(LogisticRegression()).fit(x, y)
    odds = np.column_stack([part.decision_function(x) for part in model.estimators_])
    np.testing.assert_allclose(np.exp(log_probabilities(odds)), model.predict_proba(x))
    extreme = log_probabilities([[-800.0, -801.0], [900.0, -900.0]])
    np.testing.assert_allclose(extreme[0], [-np.log1p(np.exp(-1)), -1 - np.log1p(np.exp(-1))])
    np.testing.assert_allclose(extreme[1], [0, -900])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", readouts.names())
def test_every_readout_of_every_kind(make_problem, with_targets, name, kind):
    problem = make_problem(kind, readout=name)
    # A share of the patients may be learned from.
    problem = replace(problem, train=labelled_share(problem.table, 0.5, 0))
    found = readouts.get(name)().predict(problem)
    train = problem.table.where("train")
    assert found.scores.shape == problem.y.shape
    assert found.scores.dtype == np.float64
    assert np.isnan(found.scores[train]).all()
    assert np.isfinite(found.scores[~train]).all()
    if kind == "multi-class":
        np.testing.assert_allclose(np.exp(found.scores[~train]).sum(axis=1), 1)

    # Neither test targets nor those of training examples outside of the share are looked at.
    y = problem.y.copy()
    hidden = problem.table.where("test") | (train & ~problem.train)
    y[hidden] = np.random.default_rng(1).permutation(y[hidden])
    again = readouts.get(name)().predict(with_targets(problem, y))
    assert np.array_equal(found.scores, again.scores, equal_nan=True)
    assert (found.details, found.metrics) == (again.details, again.metrics)


@pytest.mark.parametrize("kind", ["multi-label", "multi-class"])
@pytest.mark.parametrize("name", readouts.names())
def test_one_patient_whose_labels_are_constant(make_problem, name, kind):
    problem = make_problem(kind, records=40, readout=name)
    problem = replace(problem, train=labelled_share(problem.table, 0.01, 0))
    assert problem.train.sum() == 2
    problem.y[problem.train] = problem.y[problem.train][0]
    scores = readouts.get(name)().predict(problem).scores[problem.table.where("test")]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize("name", readouts.names())
def test_what_is_learned_is_better_than_chance(make_problem, name):
    trained = {"epochs": 12, "batch_size": 32, "lr": 1e-2, "patience": 12}
    settings = trained if issubclass(readouts.get(name).Settings, NetworkSettings) else {}
    problem = make_problem("multi-label", 600, readout=name, **settings)
    test = problem.table.where("test")
    scores = readouts.get(name)().predict(problem).scores[test]
    assert auroc(problem.y[test], scores).mean() > 0.75
