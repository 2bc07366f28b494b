import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ecgscale.errors import BadInputError
from ecgscale.evaluation.baselines import BASELINES, baseline_scores
from ecgscale.tasks.materialise import TaskTable

LABELS = ("old", "middle-aged", "male", "neither", "absent")


def make_table(seed: int = 0, n: int = 2000) -> TaskTable:
    """Labels that follow age, age squared and sex, one that follows neither, one never seen."""
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
    return TaskTable("made-up", "multi-label", "made-up", "digest", LABELS, frame, y, "digest")


def auroc_on_test(table: TaskTable, scores: np.ndarray) -> dict[str, float]:
    test = table.where("test")
    return {
        label: roc_auc_score(table.y[test, column], scores[test, column])
        for column, label in enumerate(LABELS)
        if len(np.unique(table.y[test, column])) == 2
    }


@pytest.mark.parametrize("name", sorted(BASELINES))
def test_scores_are_probabilities_for_validation_and_test_only(name):
    table = make_table()
    scores = baseline_scores(name, table)
    assert scores.shape == table.y.shape
    assert np.isnan(scores[table.where("train")]).all()
    held_out = scores[~table.where("train")]
    assert ((held_out >= 0) & (held_out <= 1)).all()
    np.testing.assert_array_equal(scores, baseline_scores(name, make_table()))


def test_prevalence_is_the_training_share_and_so_half_an_auroc():
    table = make_table()
    scores = baseline_scores("prevalence", table)
    share = table.y[table.where("train")].mean(axis=0)
    assert np.unique(scores[table.where("test")], axis=0).shape == (1, len(LABELS))
    np.testing.assert_allclose(scores[table.where("test")][0], share, rtol=1e-6)
    assert set(auroc_on_test(table, scores).values()) == {0.5}


def test_age_and_sex_predict_what_depends_on_them_and_nothing_else():
    table = make_table()
    auroc = auroc_on_test(table, baseline_scores("age-sex", table))
    assert auroc["old"] > 0.85
    assert auroc["middle-aged"] > 0.8, "needs age squared"
    assert auroc["male"] > 0.75
    assert 0.4 < auroc["neither"] < 0.6


def test_a_label_absent_from_training_keeps_its_prevalence():
    scores = baseline_scores("age-sex", table := make_table())
    assert set(scores[table.where("test"), LABELS.index("absent")]) == {0.0}


def test_missingness_itself_is_used():
    table = make_table()
    unknown = table.frame["age"].isna().to_numpy()
    table.y[:, LABELS.index("neither")] = unknown
    auroc = auroc_on_test(table, baseline_scores("age-sex", table))
    assert auroc["neither"] > 0.99


def test_test_targets_are_never_read():
    table, other = make_table(), make_table()
    other.y[other.where("test")] = 1 - other.y[other.where("test")]
    for name in BASELINES:
        np.testing.assert_array_equal(baseline_scores(name, table), baseline_scores(name, other))


def test_validation_chooses_the_penalty():
    table = make_table()
    weak, strong = (baseline_scores("age-sex", table, (p,)) for p in (1e-4, 1e3))
    chosen = baseline_scores("age-sex", table, (1e3, 1e-4))
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
    strongest = baseline_scores("age-sex", table, (10.0,))[test]
    np.testing.assert_array_equal(baseline_scores("age-sex", table, (1e-3, 10.0))[test], strongest)


@pytest.mark.parametrize("column", ["age", "sex"])
def test_a_source_that_knows_no_age_or_no_sex_still_works(column):
    table = make_table(n=400)
    table.frame[column] = np.nan if column == "age" else None
    assert np.isfinite(baseline_scores("age-sex", table)[table.where("test")]).all()


def test_an_unknown_baseline_is_refused_by_name():
    with pytest.raises(BadInputError, match=r"no baseline is named 'nope'.*age-sex"):
        baseline_scores("nope", make_table(n=50))
