"""SCORE2 and SCORE2-OP: ten-year risk of a first fatal or non-fatal cardiovascular event.

Two published, sex-specific, competing-risk models, each recalibrated to four European risk regions:

- SCORE2, ages 40 to 69: SCORE2 working group and ESC Cardiovascular risk collaboration,
  Eur Heart J 2021;42:2439-2454, doi:10.1093/eurheartj/ehab309, supplementary methods tables 2
  (coefficients, baseline survival), 3 (rescaling) and 4 (worked examples).
- SCORE2-OP, ages 70 to 89: SCORE2-OP working group and ESC Cardiovascular risk collaboration,
  Eur Heart J 2021;42:2455-2467, doi:10.1093/eurheartj/ehab312, supplementary material.

With a = (age - centre) / unit and x the other inputs, likewise centred and scaled::

    lp    = b_age * a + x . (b + c * a) - mean_lp
    p     = 1 - S0 ** exp(lp)
    score = 1 - exp(-exp(scale1 + scale2 * log(-log(1 - p))))

The constants agree, to the published decimals, in independent implementations of the supplements:

- the R package RiskScorescvd (github.com/dvicencio/RiskScorescvd, R/11_SCORE2_func.R), whose tests
  quote SCORE2 supplementary table 4, SCORE2-OP supplementary table 3 and heartscore.org;
- the Stata programs score2risk and score2oprisk of S. Kaptoge, L. Pennells and S. Hageman
  (Cardiovascular Epidemiology Unit, Cambridge), authors of the models, which carry more decimals.

Some programs rescale SCORE2-OP in the low-risk region by (-0.61, 0.89) for men and (-0.85, 0.82)
for women. Those pairs do not give the supplement's worked examples (18.6 % and 15.2 %); the values
here do.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.errors import BadInputError

Region = Literal["low", "moderate", "high", "very high"]
"""Risk regions of Europe, by national cardiovascular mortality."""

REGIONS: tuple[Region, ...] = get_args(Region)

AGE_RANGE = (40.0, 89.0)
"""Years for which the models were made; other ages are computed at the nearer end."""

OLDER_PERSONS = 70.0
"""Age in years from which SCORE2-OP applies."""

RISK_FACTORS = ("sbp", "total_cholesterol", "hdl_cholesterol", "smoker", "diabetes")
"""Inputs besides age and sex, in the order of the constants below."""

INPUTS: tuple[str, ...] = ("age", "sex", *RISK_FACTORS)
"""All inputs; completeness is the fraction of them that was measured."""

PLAUSIBLE: dict[str, tuple[float, float]] = {
    "age": (0.0, 120.0),
    "sbp": (50.0, 300.0),
    "total_cholesterol": (1.0, 20.0),
    "hdl_cholesterol": (0.1, 6.0),
    "smoker": (0.0, 1.0),
    "diabetes": (0.0, 1.0),
}
"""Closed ranges (years, mmHg, mmol/L, mmol/L); a value outside counts as not measured."""

FloatArray = npt.NDArray[np.float64]


class RiskScore(NamedTuple):
    """Risk, and how much of what it needs was known.

    Attributes
    ----------
    score
        Ten-year risk in [0, 1], float64; NaN where age or sex is unknown.
    completeness
        Fraction of `INPUTS` that was measured, in [0, 1], float64; same shape.
    """

    score: FloatArray
    completeness: FloatArray


@dataclass(frozen=True)
class _SexModel:
    """For one sex: `main` and `by_age` in the order of `RISK_FACTORS`, `rescaling` of `REGIONS`."""

    age: float
    main: tuple[float, ...]
    by_age: tuple[float, ...]
    survival: float
    mean_lp: float
    rescaling: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Model:
    """Constants of one model; `centre` and `unit` in the order of `RISK_FACTORS`."""

    age_centre: float
    age_unit: float
    centre: tuple[float, ...]
    unit: tuple[float, ...]
    women: _SexModel
    men: _SexModel


_SCORE2 = _Model(
    age_centre=60.0,
    age_unit=5.0,
    centre=(120.0, 6.0, 1.3, 0.0, 0.0),
    unit=(20.0, 1.0, 0.5, 1.0, 1.0),
    women=_SexModel(
        age=0.4648,
        main=(0.3131, 0.1002, -0.2606, 0.7744, 0.8096),
        by_age=(-0.0277, -0.0226, 0.0613, -0.1088, -0.1272),
        survival=0.9776,
        mean_lp=0.0,
        rescaling=((-0.7380, 0.7019), (-0.3143, 0.7701), (0.5710, 0.9369), (0.9412, 0.8329)),
    ),
    men=_SexModel(
        age=0.3742,
        main=(0.2777, 0.1458, -0.2698, 0.6012, 0.6457),
        by_age=(-0.0255, -0.0281, 0.0426, -0.0755, -0.0983),
        survival=0.9605,
        mean_lp=0.0,
        rescaling=((-0.5699, 0.7476), (-0.1565, 0.8009), (0.3207, 0.9360), (0.5836, 0.8294)),
    ),
)

_SCORE2_OP = _Model(
    age_centre=73.0,
    age_unit=1.0,
    centre=(150.0, 6.0, 1.4, 0.0, 0.0),
    unit=(1.0, 1.0, 1.0, 1.0, 1.0),
    women=_SexModel(
        age=0.0789,
        main=(0.0102, 0.0605, -0.3040, 0.4921, 0.6010),
        by_age=(-0.0004, -0.0009, 0.0154, -0.0255, -0.0107),
        survival=0.8082,
        mean_lp=0.2290,
        rescaling=((-0.52, 1.01), (-0.10, 1.10), (0.38, 1.09), (0.38, 0.69)),
    ),
    men=_SexModel(
        age=0.0634,
        main=(0.0094, 0.0850, -0.3564, 0.3524, 0.4245),
        by_age=(-0.0005, 0.0073, 0.0091, -0.0247, -0.0174),
        survival=0.7576,
        mean_lp=0.0929,
        rescaling=((-0.34, 1.19), (0.01, 1.25), (0.08, 1.15), (0.05, 0.70)),
    ),
)


def score2(
    age: npt.ArrayLike,
    sex: npt.ArrayLike,
    sbp: npt.ArrayLike,
    total_cholesterol: npt.ArrayLike,
    hdl_cholesterol: npt.ArrayLike,
    smoker: npt.ArrayLike,
    diabetes: npt.ArrayLike,
    region: Region = "moderate",
) -> RiskScore:
    """Return the ten-year cardiovascular risk: SCORE2 below 70 years, SCORE2-OP from 70.

    All inputs broadcast together; NaN (None for sex) means not measured. A risk factor that was not
    measured, or lies outside `PLAUSIBLE`, takes the centring value of the model that applies
    (SCORE2: 120 mmHg, 6 and 1.3 mmol/L; SCORE2-OP: 150 mmHg, 6 and 1.4 mmol/L; both: non-smoker, no
    diabetes) and lowers the completeness by 1/7. Age and sex have no such substitute: without them
    the score is NaN. Ages outside `AGE_RANGE` are computed at its nearer end, which is
    extrapolation: among them the score ranks by the other inputs only.

    Parameters
    ----------
    age
        Years.
    sex
        "F", "M" or missing.
    sbp
        Systolic blood pressure, mmHg.
    total_cholesterol, hdl_cholesterol
        mmol/L.
    smoker, diabetes
        1 yes, 0 no (a fraction between, such as a prevalence, is used as it is).
    region
        Risk region.

    Returns
    -------
    RiskScore
        Two float64 arrays of the broadcast shape.

    Raises
    ------
    BadInputError
        If the region is unknown or a sex is neither "F", "M" nor missing.
    """
    if region not in REGIONS:
        raise BadInputError(f"risk region {region!r} is none of {', '.join(REGIONS)}")
    given = (age, sbp, total_cholesterol, hdl_cholesterol, smoker, diabetes)
    measured = map(_measured, ("age", *RISK_FACTORS), given)
    arrays = np.broadcast_arrays(_sex_codes(sex), *measured)
    sexes, ages, *factors = (array.ravel() for array in arrays)
    x = np.stack(factors, axis=-1)
    score = np.full(ages.shape, np.nan)
    for model, applies in ((_SCORE2, ages < OLDER_PERSONS), (_SCORE2_OP, ages >= OLDER_PERSONS)):
        for code, constants in enumerate((model.women, model.men)):
            rows = applies & (sexes == code)
            score[rows] = _risk(model, constants, region, ages[rows], x[rows])
    known = np.isfinite(x).sum(axis=-1) + np.isfinite(ages) + (sexes >= 0)
    shape = arrays[0].shape
    return RiskScore(score.reshape(shape), (known / len(INPUTS)).reshape(shape))


def risk_of(records: pd.DataFrame, region: Region = "moderate") -> pd.DataFrame:
    """Return the risk of every record of a store's or a subset's table.

    Parameters
    ----------
    records
        Table with the columns of `INPUTS`.
    region
        Risk region.

    Returns
    -------
    DataFrame
        Columns score and completeness (see `RiskScore`), index of `records`.

    Raises
    ------
    BadInputError
        If a column is missing, or as `score2`.

    Examples
    --------
    >>> known = {"age": [50.0], "sex": ["F"], **dict.fromkeys(RISK_FACTORS, [np.nan])}
    >>> risk_of(pd.DataFrame(known))["completeness"].round(2).tolist()
    [0.29]
    """
    missing = [name for name in INPUTS if name not in records.columns]
    if missing:
        raise BadInputError(
            f"the table of records lacks the column {missing[0]!r} of the risk score"
        )
    factors = {name: records[name].to_numpy(np.float64, na_value=np.nan) for name in RISK_FACTORS}
    risk = score2(
        records["age"].to_numpy(np.float64, na_value=np.nan),
        records["sex"].to_numpy(object),
        **factors,
        region=region,
    )
    return pd.DataFrame(risk._asdict(), index=records.index)


def _risk(
    model: _Model, constants: _SexModel, region: Region, age: FloatArray, x: FloatArray
) -> FloatArray:
    """Return the risk; `age` has shape (n,), `x` (n, risk factor) with NaN for not measured."""
    a = (np.clip(age, *AGE_RANGE) - model.age_centre) / model.age_unit
    centred = np.nan_to_num((x - np.array(model.centre)) / np.array(model.unit), nan=0.0)
    slopes = np.array(constants.main) + a[:, None] * np.array(constants.by_age)
    lp = constants.age * a + (centred * slopes).sum(axis=-1) - constants.mean_lp
    scale1, scale2 = constants.rescaling[REGIONS.index(region)]
    # log(-log(1 - p)) written out: nothing is lost where p is near 0 or 1.
    complementary_log_log = lp + np.log(-np.log(constants.survival))
    score: FloatArray = -np.expm1(-np.exp(scale1 + scale2 * complementary_log_log))
    return score


def _measured(name: str, values: npt.ArrayLike) -> FloatArray:
    """Return the values with implausible ones as NaN."""
    array = np.asarray(values, dtype=np.float64)
    low, high = PLAUSIBLE[name]
    return np.where((array >= low) & (array <= high), array, np.nan)


def _sex_codes(sex: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return 0 for "F", 1 for "M", -1 for missing."""
    values = np.asarray(sex, dtype=object)
    codes = pd.Index(["F", "M"], dtype=object).get_indexer(pd.Index(values.ravel()))
    unknown = values.ravel()[codes < 0]
    wrong = unknown[pd.notna(unknown)]
    if wrong.size:
        raise BadInputError(f'sex {wrong[0]!r} is neither "F" nor "M" nor missing')
    return np.asarray(codes).reshape(values.shape)
