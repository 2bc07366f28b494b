from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from ecgscale.errors import BadInputError
from ecgscale.evaluation.baselines.base import baseline_scores, baselines
from ecgscale.evaluation.readouts.base import readouts
from ecgscale.evaluation.readouts.linear import Linear
from ecgscale.tasks.base import USUAL_METRIC, Kind
from ecgscale.tasks.targets import TaskTable

LABELS = ("old", "middle-aged", "male", "neither", "absent")
KINDS: tuple[Kind, ...] = ("multi-label", "multi-class", "binary", "regression")


def make_table(seed: int = 0, n: int = 2000, kind: Kind = "multi-label") -> TaskTable:
    """Labels that follow age, age squared and sex, one that follows neither, one never seen.

    Multi-class: young, old women, old men; binary: old; regression: a value that rises with age.
    """
    rng = np.random.default_rng(seed)
    age = rng.uniform(20, 90, n)
    sex = rng.choice(["F", "M"], n)
    probability = np.column_stack(
        [
            1 / (1 + np.exp(-(age - 60) / 5)),
            np.exp(-(((age - 55) / 8) ** 2)),
            np.where(sex == "M", 0.8, 0.1),
            np.full(n, 0.3),
            np.zeros(n),
        ]
    )
    y = (rng.random(probability.shape) < probability).astype(np.float32)
    labels = LABELS
    if kind == "multi-class":
        labels = ("young", "old woman", "old man")
        y = np.eye(3, dtype=np.float32)[np.where(y[:, 0] == 1, 1 + (sex == "M"), 0)]
    elif kind == "binary":
        labels, y = ("old",), y[:, :1]
    elif kind == "regression":
        labels = ("pressure",)
        y = (100 + 0.5 * age + rng.normal(0, 3, n)).astype(np.float32)[:, None]
    frame = pd.DataFrame(
        {
            "row": np.arange(n),
            "record_id": [f"r{i}" for i in range(n)],
            "patient_id": [f"p:{i}" for i in range(n)],
            "split": rng.choice(["train", "validation", "test"], n, p=[0.6, 0.2, 0.2]),
            "age": np.where(rng.random(n) < 0.1, np.nan, age),
            "sex": np.where(rng.random(n) < 0.1, None, sex),
        }
    )
    about = (USUAL_METRIC[kind], "mmHg" if kind == "regression" else "", 10)
    return TaskTable("made-up", kind, *about, "made-up", "digest", labels, frame, y, "digest")


def measured(table: TaskTable, seed: int = 1) -> np.ndarray:
    """Features of a record: its first target in noise, sometimes missing; noise; nothing."""
    rng = np.random.default_rng(seed)
    informative = table.y[:, 0] + 0.4 * table.y[:, 0].std() * rng.normal(size=len(table.y))
    informative[rng.random(len(table.y)) < 0.1] = np.nan
    nothing = np.full(len(table.y), np.nan)
    return np.column_stack([informative, rng.normal(size=len(table.y)), nothing])


def scores_of(name: str, table: TaskTable, *penalties: float) -> np.ndarray:
    settings = Linear.Settings(**({"penalties": penalties} if penalties else {}))
    return baseline_scores(name, table, settings, features=measured(table))


@pytest.mark.parametrize("name", baselines.names())
def test_every_baseline_says_what_it_is(name):
    baseline = baselines.get(name)
    assert len(baseline.words) > 5
    assert "\n" not in baseline.words
    assert baseline.__doc__
    assert baseline.readout is None or baseline.readout in readouts.names()


def auroc_on_test(table: TaskTable, scores: np.ndarray) -> dict[str, float]:
    test = table.where("test")
    return {
        label: roc_auc_score(table.y[test, column], scores[test, column])
        for column, label in enumerate(table.labels)
        if len(np.unique(table.y[test, column])) == 2
    }


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", baselines.names())
def test_validation_and_test_examples_are_scored_and_no_others(name, kind):
    table = make_table(kind=kind, n=600)
    scores = scores_of(name, table)
    assert scores.shape == table.y.shape
    assert np.isnan(scores[table.where("train")]).all()
    held_out = scores[~table.where("train")]
    assert np.isfinite(held_out).all()
    if kind == "multi-class":
        np.testing.assert_allclose(np.exp(held_out).sum(axis=1), 1)
    np.testing.assert_array_equal(scores, scores_of(name, make_table(kind=kind, n=600)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", baselines.names())
def test_test_targets_are_never_read(name, kind):
    table = make_table(kind=kind, n=600)
    features = measured(table)
    y = table.y.copy()
    y[table.where("test")] = np.roll(y[table.where("test")], 1, axis=1) + (kind == "regression")
    other = replace(table, y=y)
    np.testing.assert_array_equal(
        baseline_scores(name, table, Linear.Settings(), features=features),
        baseline_scores(name, other, Linear.Settings(), features=features),
    )


def test_prevalence_is_the_training_share_and_so_half_an_auroc():
    table = make_table()
    scores = scores_of("prevalence", table)
    train = table.y[table.where("train")]
    assert np.unique(scores[table.where("test")], axis=0).shape == (1, len(LABELS))
    probability = 1 / (1 + np.exp(-scores[table.where("test")][0]))
    np.testing.assert_allclose(probability[:4], train.mean(axis=0)[:4], rtol=1e-5)
    assert probability[4] == pytest.approx(0.5 / (len(train) + 1)), "rare, not impossible"
    assert set(auroc_on_test(table, scores).values()) == {0.5}


def test_prevalence_of_classes_and_of_a_value():
    classes = make_table(kind="multi-class")
    share = np.exp(scores_of("prevalence", classes)[classes.where("test")][0])
    np.testing.assert_allclose(share, classes.y[classes.where("train")].mean(axis=0), rtol=1e-5)
    value = make_table(kind="regression")
    found = np.unique(scores_of("prevalence", value)[value.where("test")])
    assert found == pytest.approx([value.y[value.where("train")].mean()], rel=1e-6)


def test_age_and_sex_predict_what_depends_on_them_and_nothing_else():
    table = make_table()
    auroc = auroc_on_test(table, scores_of("age-sex", table))
    assert auroc["old"] > 0.85
    assert auroc["middle-aged"] > 0.8, "needs age squared"
    assert auroc["male"] > 0.75
    assert 0.4 < auroc["neither"] < 0.6


def test_age_and_sex_predict_classes_and_values():
    classes = make_table(kind="multi-class")
    auroc = auroc_on_test(classes, scores_of("age-sex", classes))
    assert min(auroc.values()) > 0.8
    value = make_table(kind="regression")
    test = value.where("test")
    errors = {
        name: np.abs(scores_of(name, value)[test] - value.y[test]).mean()
        for name in ("prevalence", "age-sex")
    }
    assert errors["age-sex"] < 0.5 * errors["prevalence"]


def by_hand(table: TaskTable) -> np.ndarray:
    """Age, age squared, sex, and which is unknown; medians for the unknown; standardised."""
    train = table.where("train")
    age, sex = (
        table.frame["age"].to_numpy(),
        table.frame["sex"].map({"F": 0.0, "M": 1.0}).to_numpy(),
    )
    filled = [np.where(np.isnan(v), np.nanmedian(v[train]), v) for v in (age, sex)]
    columns = np.column_stack([filled[0], filled[0] ** 2, filled[1], np.isnan(age), np.isnan(sex)])
    return (columns - columns[train].mean(axis=0)) / columns[train].std(axis=0)


def test_age_sex_is_the_penalised_logistic_regression_of_scikit_learn():
    table = make_table()
    train, test, x = table.where("train"), table.where("test"), by_hand(table)
    found = scores_of("age-sex", table, 0.01)
    for label in range(4):
        model = LogisticRegression(C=1 / (train.sum() * 0.01), max_iter=1000)
        wanted = model.fit(x[train], table.y[train, label]).decision_function(x[test])
        np.testing.assert_allclose(found[test, label], wanted, atol=0.02)


def test_age_sex_of_a_value_is_the_ridge_regression_of_scikit_learn():
    table = make_table(kind="regression")
    train, test, x = table.where("train"), table.where("test"), by_hand(table)
    wanted = Ridge(alpha=train.sum() * 0.1).fit(x[train], table.y[train, 0]).predict(x[test])
    np.testing.assert_allclose(scores_of("age-sex", table, 0.1)[test, 0], wanted, rtol=1e-4)


def test_missingness_itself_is_used():
    table = make_table()
    unknown = table.frame["age"].isna().to_numpy()
    table.y[:, LABELS.index("neither")] = unknown
    auroc = auroc_on_test(table, scores_of("age-sex", table))
    assert auroc["neither"] > 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_features_predict_what_they_measure(kind):
    table = make_table(kind=kind)
    scores, test = scores_of("ecg-features", table), table.where("test")
    if kind == "regression":
        assert np.corrcoef(scores[test, 0], table.y[test, 0])[0, 1] > 0.8
    else:
        assert auroc_on_test(table, scores)[table.labels[0]] > 0.85
    if kind == "multi-label":
        assert 0.4 < auroc_on_test(table, scores)["neither"] < 0.6


def test_what_was_not_measured_is_the_training_median_and_outliers_are_cut_back():
    table = make_table(n=600)
    features, test = measured(table), table.where("test")
    median = np.nanmedian(features[table.where("train"), 0])
    gone, filled, wild, wilder = (features.copy() for _ in range(4))
    gone[test, 0], filled[test, 0] = np.nan, np.float32(median)
    wild[test, 0], wilder[test, 0] = 100.0, 1e6
    scored = [
        baseline_scores("ecg-features", table, Linear.Settings(), features=x)
        for x in (gone, filled, wild, wilder)
    ]
    np.testing.assert_allclose(scored[0][test], scored[1][test], rtol=1e-5)
    np.testing.assert_array_equal(scored[2], scored[3])


@pytest.mark.parametrize("rows", [None, 10])
def test_features_must_be_given_for_every_example(rows):
    table = make_table(n=50)
    features = None if rows is None else np.zeros((rows, 3))
    with pytest.raises(BadInputError, match=r"needs features of the 50 examples of task made-up"):
        baseline_scores("ecg-features", table, Linear.Settings(), features=features)


def test_validation_chooses_the_penalty():
    table = make_table()
    weak, strong = (scores_of("age-sex", table, p) for p in (1e-4, 1e3))
    chosen = scores_of("age-sex", table, 1e3, 1e-4)
    validation = table.where("validation")

    def macro(scores: np.ndarray) -> float:
        return float(
            np.mean(
                [roc_auc_score(table.y[validation, c], scores[validation, c]) for c in range(4)]
            )
        )

    assert macro(chosen) == max(macro(weak), macro(strong))
    assert np.ptp(strong[validation, 0]) < np.ptp(weak[validation, 0])


def test_without_a_measurable_validation_label_the_strongest_penalty_is_taken():
    table = make_table(n=400)
    table.y[table.where("validation")] = 0
    test = table.where("test")
    strongest = scores_of("age-sex", table, 10.0)[test]
    np.testing.assert_array_equal(scores_of("age-sex", table, 1e-3, 10.0)[test], strongest)


@pytest.mark.parametrize("column", ["age", "sex"])
def test_a_source_that_knows_no_age_or_no_sex_still_works(column):
    table = make_table(n=400)
    table.frame[column] = np.nan if column == "age" else None
    assert np.isfinite(scores_of("age-sex", table)[table.where("test")]).all()


def test_an_unknown_baseline_is_refused_by_name():
    with pytest.raises(BadInputError, match=r"no baseline is named 'nope'.*age-sex"):
        baseline_scores("nope", make_table(n=50), Linear.Settings())
