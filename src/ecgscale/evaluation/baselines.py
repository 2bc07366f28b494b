"""What an encoder must beat: prevalence, age and sex, and hand-crafted features of the ECG.

An encoder is worth its embedding only above these. All go through the linear probe of the encoders.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.metrics.functions import Bools, Floats
from ecgscale.evaluation.readouts.base import Problem, ReadoutSettings, blank_scores
from ecgscale.evaluation.readouts.linear import Linear
from ecgscale.tasks.targets import TaskTable

OUTLIER = 0.005
"""Share of training values, at each end, that a hand-crafted feature is cut back to."""


def baseline_scores(
    name: str,
    table: TaskTable,
    settings: ReadoutSettings,
    *,
    minimum_positives: int = 1,
    features: npt.NDArray[np.floating] | None = None,
) -> Floats:
    """Predict a task without an encoder.

    Parameters
    ----------
    name
        ``prevalence``: each label's share of the training examples (multi-class: the classes'
        shares; regression: the training mean), so an AUROC of 0.5 by construction; the floor for
        average precision.
        ``age-sex``: the linear probe on age, age squared, sex and whether either is unknown;
        unknown values are the training median.
        ``ecg-features``: the linear probe on hand-crafted features of the ECG; values that could
        not be measured are the training median, and the outermost are cut back (`OUTLIER`).
    table
        The task's examples.
    settings
        Of the linear probe.
    minimum_positives
        Validation positives that a label needs to count in that choice.
    features
        For ``ecg-features``: shape (example, feature), in the order of the table's rows, NaN where
        unknown (`ecgscale.evaluation.features.store_features`).

    Returns
    -------
    array
        Shape (example, label), float64, as `ecgscale.evaluation.readouts.base.Predictions.scores`:
        log odds, log probabilities (multi-class) or values (regression) of the validation and test
        examples, in the order of the table's rows; NaN for training examples.

    Raises
    ------
    BadInputError
        If there is no baseline of this name, or the features it needs are not given or not one
        row an example.
    """
    if name not in BASELINES:
        raise BadInputError(f"no baseline is named {name!r}; there are: {', '.join(BASELINES)}")
    if name in NEEDS_FEATURES and (features is None or len(features) != len(table.y)):
        given = "none" if features is None else f"{len(features)} rows"
        raise BadInputError(
            f"baseline {name} needs features of the {len(table.y)} examples of task {table.task}, "
            f"there are {given}"
        )
    problem = Problem(
        table=table,
        train=table.where("train"),
        minimum_positives=minimum_positives,
        settings=settings,
        seed=0,
        batch_size=1,
        device="cpu",
        embeddings=lambda: np.asarray(features, dtype=np.float32),
        signals=_no_encoder,
        encoder=_no_encoder,
    )
    return BASELINES[name](problem)


def _no_encoder(*arguments: object) -> NoReturn:
    raise NotImplementedError("a baseline has no encoder")


def _prevalence(problem: Problem) -> Floats:
    y = problem.y[problem.train].astype(np.float64)
    level = y.mean(axis=0)
    if problem.kind != "regression":
        # As if half an example of each class had been seen: no label is impossible or certain.
        least = 0.5 / (len(y) + 1)
        share = np.clip(level, least, 1 - least)
        one_of_all = problem.kind == "multi-class"
        level = np.log(share / share.sum()) if one_of_all else np.log(share / (1 - share))
    scores = blank_scores(problem)
    scores[~problem.table.where("train")] = level
    return scores


def _age_sex(problem: Problem) -> Floats:
    demographics = _demographics(problem.table.frame, problem.train)
    return Linear().predict(replace(problem, embeddings=lambda: demographics)).scores


def _ecg_features(problem: Problem) -> Floats:
    columns = problem.embeddings().T.astype(np.float64)
    tame = np.column_stack([_tamed(c, problem.train) for c in columns]).astype(np.float32)
    return Linear().predict(replace(problem, embeddings=lambda: tame)).scores


def _demographics(frame: pd.DataFrame, train: Bools) -> Embeddings:
    """Return shape (example, 5): age, age squared, sex, age unknown, sex unknown."""
    age = np.asarray(frame["age"], dtype=np.float64)
    sex = np.asarray(frame["sex"].map({"F": 0.0, "M": 1.0}), dtype=np.float64)
    known_age, known_sex = _imputed(age, train), _imputed(sex, train)
    columns = [known_age, known_age**2, known_sex, np.isnan(age), np.isnan(sex)]
    return np.column_stack(columns).astype(np.float32)


def _imputed(values: Floats, train: Bools) -> Floats:
    known = values[train & ~np.isnan(values)]
    return np.where(np.isnan(values), np.median(known) if len(known) else 0.0, values)


def _tamed(values: Floats, train: Bools) -> Floats:
    """Impute, and cut to the training examples' inner quantiles: a slipped ruler has no bounds."""
    known = _imputed(values, train)
    return np.clip(known, *np.quantile(known[train], [OUTLIER, 1 - OUTLIER]))


BASELINES: dict[str, Callable[[Problem], Floats]] = {
    "prevalence": _prevalence,
    "age-sex": _age_sex,
    "ecg-features": _ecg_features,
}
"""Every baseline by its name in ``baseline/<name>``."""

NEEDS_FEATURES: frozenset[str] = frozenset({"ecg-features"})
"""Baselines that need `ecgscale.evaluation.features`, so the store and not the table alone."""
