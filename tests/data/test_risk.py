"""SCORE2 and SCORE2-OP against published examples, a second set of constants, and common sense."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.risk import INPUTS, PLAUSIBLE, REGIONS, RISK_FACTORS, risk_of, score2
from ecgscale.errors import BadInputError

property_test = settings(max_examples=60, deadline=None)

# The constants with all decimals that the authors' Stata programs carry (score2risk, score2oprisk;
# S. Kaptoge, L. Pennells, S. Hageman): age, then (main effect, interaction with age) of smoking,
# systolic pressure, diabetes, total cholesterol, HDL cholesterol; baseline survival; mean of the
# linear predictor; (scale1, scale2) from low to very high risk.
AUTHORS = {
    ("score2", "M"): {
        "age": 0.3742,
        "smoker": (0.6012, -0.0755),
        "sbp": (0.2777, -0.0255),
        "diabetes": (0.6457, -0.0983),
        "total_cholesterol": (0.1458, -0.0281),
        "hdl_cholesterol": (-0.2698, 0.0426),
        "survival": 0.9605,
        "mean": 0.0,
        "scales": [
            (-0.569857, 0.747593),
            (-0.156481, 0.800869),
            (0.320717, 0.936004),
            (0.583578, 0.829368),
        ],
    },
    ("score2", "F"): {
        "age": 0.4648,
        "smoker": (0.7744, -0.1088),
        "sbp": (0.3131, -0.0277),
        "diabetes": (0.8096, -0.1272),
        "total_cholesterol": (0.1002, -0.0226),
        "hdl_cholesterol": (-0.2606, 0.0613),
        "survival": 0.9776,
        "mean": 0.0,
        "scales": [
            (-0.737966, 0.701868),
            (-0.314269, 0.770149),
            (0.570963, 0.936893),
            (0.941177, 0.832923),
        ],
    },
    ("score2-op", "M"): {
        "age": 0.0633767915,
        "smoker": (0.3523957899, -0.0247205945),
        "sbp": (0.0094362177, -0.0004794522),
        "diabetes": (0.4245248910, -0.0173654217),
        "total_cholesterol": (0.0849594156, 0.0073336663),
        "hdl_cholesterol": (-0.3563571842, 0.0091317857),
        "survival": 1 - 0.24235298,
        "mean": 0.09285225,
        "scales": [
            (-0.343484, 1.193038),
            (0.005320, 1.248514),
            (0.084305, 1.151902),
            (0.045959, 0.703625),
        ],
    },
    ("score2-op", "F"): {
        "age": 0.0789191229,
        "smoker": (0.4921147010, -0.0255496313),
        "sbp": (0.0101993091, -0.0004404728),
        "diabetes": (0.6009874438, -0.0106909701),
        "total_cholesterol": (0.0604939598, -0.0009121461),
        "hdl_cholesterol": (-0.3040280248, 0.0153779923),
        "survival": 1 - 0.19178759,
        "mean": 0.2287676,
        "scales": [
            (-0.516054, 1.007238),
            (-0.101044, 1.099621),
            (0.375720, 1.089031),
            (0.379293, 0.691530),
        ],
    },
}


def as_published(model: str, constants: dict) -> dict:
    """Round to the decimals of the papers' supplements."""
    scale_decimals = 4 if model == "score2" else 2
    rounded = {
        "age": round(constants["age"], 4),
        "survival": round(constants["survival"], 4),
        "mean": round(constants["mean"], 4) if constants["mean"] < 0.1 else 0.229,
        "scales": [
            tuple(round(value, scale_decimals) for value in pair) for pair in constants["scales"]
        ],
    }
    for name in RISK_FACTORS:
        rounded[name] = tuple(round(value, 4) for value in constants[name])
    return rounded


def reference(person: dict, region: str, published: bool = True) -> float:
    """Return the risk of one person, straight from the formula."""
    model = "score2" if person["age"] < 70 else "score2-op"
    constants = AUTHORS[model, person["sex"]]
    if published:
        constants = as_published(model, constants)
    if model == "score2":
        age = (person["age"] - 60) / 5
        centred = {
            "smoker": person["smoker"],
            "sbp": (person["sbp"] - 120) / 20,
            "diabetes": person["diabetes"],
            "total_cholesterol": person["total_cholesterol"] - 6,
            "hdl_cholesterol": (person["hdl_cholesterol"] - 1.3) / 0.5,
        }
    else:
        age = person["age"] - 73
        centred = {
            "smoker": person["smoker"],
            "sbp": person["sbp"] - 150,
            "diabetes": person["diabetes"],
            "total_cholesterol": person["total_cholesterol"] - 6,
            "hdl_cholesterol": person["hdl_cholesterol"] - 1.4,
        }
    predictor = constants["age"] * age
    for name, value in centred.items():
        main, by_age = constants[name]
        predictor += main * value + by_age * age * value
    risk = 1 - constants["survival"] ** math.exp(predictor - constants["mean"])
    scale1, scale2 = constants["scales"][REGIONS.index(region)]
    return 1 - math.exp(-math.exp(scale1 + scale2 * math.log(-math.log(1 - risk))))


def people() -> st.SearchStrategy[dict]:
    return st.fixed_dictionaries(
        {
            "age": st.floats(40, 89),
            "sex": st.sampled_from("FM"),
            "sbp": st.floats(80, 220),
            "total_cholesterol": st.floats(2, 10),
            "hdl_cholesterol": st.floats(0.5, 3),
            "smoker": st.sampled_from([0.0, 1.0]),
            "diabetes": st.sampled_from([0.0, 1.0]),
        }
    )


PERSON = {
    "age": 55.0,
    "sex": "M",
    "sbp": 130.0,
    "total_cholesterol": 5.0,
    "hdl_cholesterol": 1.2,
    "smoker": 1.0,
    "diabetes": 0.0,
}
OLDER = {**PERSON, "age": 75.0}

# (region, age, sex, smoker, sbp, total cholesterol, HDL) and the published risk in percent.
SCORE2_TABLE_4 = [
    ("low", 6.31, 4.33),
    ("moderate", 8.11, 5.23),
    ("high", 8.81, 7.13),
    ("very high", 15.06, 14.13),
]
HEARTSCORE = [
    ("low", 45, "M", 0, 110, 5.0, 2.0, 1.1),
    ("very high", 45, "F", 1, 140, 5.0, 2.0, 6.0),
    ("high", 48, "M", 1, 160, 8.0, 2.0, 10.0),
    ("low", 75, "M", 0, 140, 5.5, 1.3, 13.3),
    ("low", 75, "F", 0, 110, 5.0, 2.0, 6.1),
    ("moderate", 75, "M", 1, 140, 5.5, 1.3, 23.9),
    ("moderate", 75, "F", 1, 140, 5.5, 1.3, 20.0),
    ("high", 75, "M", 1, 140, 6.0, 1.3, 29.2),
    ("high", 75, "F", 1, 110, 5.0, 2.0, 19.0),
    ("very high", 75, "M", 1, 140, 6.0, 1.3, 40.8),
    ("very high", 75, "F", 1, 140, 6.0, 1.3, 46.2),
]


@pytest.mark.parametrize(("region", "men", "women"), SCORE2_TABLE_4)
def test_worked_examples_of_the_score2_supplement(region, men, women):
    # Supplementary methods table 4: a smoker of 50 years, 140 mmHg, 6.3 and 1.4 mmol/L.
    risk = score2(50, ["M", "F"], 140, 6.3, 1.4, 1, 0, region)
    assert 100 * risk.score == pytest.approx([men, women], abs=0.011)
    assert risk.completeness.tolist() == [1, 1]


def test_worked_examples_of_the_score2_op_supplement():
    # Supplementary table 3: a smoker of 75 years, 140 mmHg, 5.5 and 1.3 mmol/L, low-risk region.
    risk = score2(75, ["M", "F"], 140, 5.5, 1.3, 1, 0, "low")
    assert 100 * risk.score == pytest.approx([18.6, 15.2], abs=0.05)


def test_figures_of_the_score2_abstract():
    # Eur Heart J 2021;42:2439: a smoker of 50 years, 140 mmHg, 5.5 and 1.3 mmol/L.
    low, very_high = (score2(50, ["M", "F"], 140, 5.5, 1.3, 1, 0, r).score for r in REGIONS[::3])
    assert 100 * low == pytest.approx([5.9, 4.2], abs=0.05)
    assert 100 * very_high == pytest.approx([14.0, 13.7], abs=0.05)


@pytest.mark.parametrize(
    ("region", "age", "sex", "smoker", "sbp", "cholesterol", "hdl", "percent"), HEARTSCORE
)
def test_outputs_of_heartscore(region, age, sex, smoker, sbp, cholesterol, hdl, percent):
    # As the tests of the R package RiskScorescvd quote heartscore.org.
    risk = score2(age, sex, sbp, cholesterol, hdl, smoker, 0, region)
    assert 100 * risk.score == pytest.approx(percent, abs=0.051)


@property_test
@given(person=people(), region=st.sampled_from(REGIONS))
def test_agrees_with_the_formula_written_out(person, region):
    risk = score2(**person, region=region)
    assert risk.score == pytest.approx(reference(person, region), rel=1e-9)
    assert 0 <= risk.score <= 1
    assert risk.completeness == 1


def test_rounded_constants_stay_close_to_the_authors_programs():
    for age, sex, sbp, smoker, diabetes, region in product(
        (40, 55, 69, 70, 80, 89), "FM", (110, 140, 170), (0, 1), (0, 1), REGIONS
    ):
        person = {**PERSON, "age": age, "sex": sex, "sbp": sbp}
        person |= {"smoker": smoker, "diabetes": diabetes}
        exact = reference(person, region, published=False)
        assert score2(**person, region=region).score == pytest.approx(exact, rel=0.03)


@property_test
@given(people=st.lists(people(), max_size=20), region=st.sampled_from(REGIONS))
def test_a_record_scores_the_same_alone_and_in_a_table(people, region):
    table = pd.DataFrame(people, columns=list(INPUTS))
    together = risk_of(table, region)
    alone = [score2(**person, region=region).score for person in people]
    assert together["score"].tolist() == [float(score) for score in alone]


def test_score2_op_starts_at_seventy():
    before, after = np.nextafter(70.0, 0.0), 70.0
    for age in (before, after):
        person = {**PERSON, "age": age}
        assert score2(**person).score == pytest.approx(reference(person, "moderate"), rel=1e-9)


# In these ranges the interactions with age do not turn the sign of an effect (docs/risk.md).
ORDINARY = {
    "sex": st.sampled_from("FM"),
    "sbp": st.floats(100, 160),
    "total_cholesterol": st.floats(4, 8),
    "hdl_cholesterol": st.floats(0.8, 2.5),
    "smoker": st.sampled_from([0.0, 1.0]),
    "region": st.sampled_from(REGIONS),
}
AGES = st.one_of(st.floats(40, 69), st.floats(70, 87))


@property_test
@given(person=st.fixed_dictionaries({**ORDINARY, "age": AGES}), rise=st.floats(1, 20))
def test_risk_rises_with_systolic_pressure(person, rise):
    higher = {**person, "sbp": person["sbp"] + rise}
    assert score2(**higher, diabetes=0).score > score2(**person, diabetes=0).score


@property_test
@given(person=st.fixed_dictionaries({**ORDINARY, "age": AGES}))
def test_risk_rises_with_smoking_and_diabetes(person):
    none = score2(**{**person, "smoker": 0}, diabetes=0).score
    assert score2(**{**person, "smoker": 1}, diabetes=0).score > none
    assert score2(**{**person, "smoker": 0}, diabetes=1).score > none


@property_test
@given(
    person=st.fixed_dictionaries(ORDINARY),
    span=st.sampled_from([(40, 69), (70, 89)]),
    places=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_risk_rises_with_age_within_each_model(person, span, places):
    younger, older = (span[0] + (span[1] - span[0]) * place for place in sorted(places))
    lower, higher = score2(np.array([younger, older]), **person, diabetes=0).score
    assert lower <= higher
    assert lower < higher or older - younger < 1e-6


@pytest.mark.parametrize("person", [PERSON, OLDER])
@pytest.mark.parametrize("name", RISK_FACTORS)
def test_a_missing_factor_takes_the_centre_and_lowers_the_completeness(person, name):
    young = person is PERSON
    centre = {"sbp": 120 if young else 150, "total_cholesterol": 6, "smoker": 0, "diabetes": 0}
    centre["hdl_cholesterol"] = 1.3 if young else 1.4
    missing = score2(**{**person, name: np.nan})
    assert missing.score == score2(**{**person, name: centre[name]}).score
    assert missing.completeness == pytest.approx(6 / 7)


def test_age_and_sex_alone_give_a_score():
    risk = score2(60, "F", *[np.nan] * 5)
    at_the_centre = reference({**PERSON, **CENTRE, "age": 60, "sex": "F"}, "moderate")
    assert risk.score == pytest.approx(at_the_centre)
    assert risk.completeness == pytest.approx(2 / 7)


CENTRE = {"sbp": 120, "total_cholesterol": 6, "hdl_cholesterol": 1.3, "smoker": 0, "diabetes": 0}


@pytest.mark.parametrize("sex", [None, np.nan, pd.NA])
def test_no_score_without_sex(sex):
    risk = score2(**{**PERSON, "sex": sex})
    assert np.isnan(risk.score)
    assert risk.completeness == pytest.approx(6 / 7)


def test_no_score_without_age():
    risk = score2(**{**PERSON, "age": np.nan})
    assert np.isnan(risk.score)
    assert risk.completeness == pytest.approx(6 / 7)


@pytest.mark.parametrize(("outside", "end"), [(18, 40), (39.9, 40), (89.5, 89), (101, 89)])
def test_other_ages_are_computed_at_the_nearer_end(outside, end):
    outer, inner = (score2(**{**PERSON, "age": age}) for age in (outside, end))
    assert outer.score == inner.score
    assert outer.completeness == 1


@pytest.mark.parametrize("name", PLAUSIBLE)
@pytest.mark.parametrize("beyond", [-1, 1, math.inf])
def test_implausible_values_count_as_missing(name, beyond):
    low, high = PLAUSIBLE[name]
    value = low - 0.01 if beyond < 0 else high + beyond
    absurd, missing = (score2(**{**PERSON, name: v}) for v in (value, np.nan))
    np.testing.assert_equal(absurd, missing)


def test_inputs_broadcast():
    risk = score2(np.array([[45.0], [75.0]]), ["F", "M", None], 140, 5, 1.3, [0, 1, 0], 0)
    assert risk.score.shape == risk.completeness.shape == (2, 3)
    assert np.isnan(risk.score[:, 2]).all()
    assert np.isfinite(risk.score[:, :2]).all()


def test_unknown_region_and_sex_are_refused():
    with pytest.raises(BadInputError, match="risk region 'europe' is none of low, moderate"):
        score2(**PERSON, region="europe")
    with pytest.raises(BadInputError, match="sex 'male' is neither"):
        score2(**{**PERSON, "sex": "male"})


def test_risk_of_a_table_of_records():
    table = pd.DataFrame(
        {
            "age": [55.0, 75.0, np.nan],
            "sex": ["M", "F", None],
            **{name: [np.nan] * 3 for name in CLINICAL_FIELDS},
        },
        index=[7, 5, 3],
    )
    table.loc[7, ["sbp", "smoker"]] = [130, 1]
    risk = risk_of(table, "high")
    assert risk.index.tolist() == [7, 5, 3]
    assert list(risk.columns) == ["score", "completeness"]
    expected = reference({**PERSON, **CENTRE, "sbp": 130, "smoker": 1}, "high")
    assert risk.loc[7, "score"] == pytest.approx(expected)
    assert risk["completeness"].tolist() == pytest.approx([4 / 7, 2 / 7, 0])
    assert risk["score"].isna().tolist() == [False, False, True]


def test_a_table_without_a_column_is_refused():
    table = pd.DataFrame([PERSON]).drop(columns="sbp")
    with pytest.raises(BadInputError, match="lacks the column 'sbp'"):
        risk_of(table)
