"""What needs no ECG: predictions from prevalence, and from age and sex.

An encoder is worth its embedding only above these.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.config import ProbeConfig
from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics import Floats, auroc, included_labels, macro
from ecgscale.tasks.materialise import TaskTable


def baseline_scores(
    name: str, table: TaskTable, penalties: tuple[float, ...] = ProbeConfig().penalties
) -> Floats:
    """Predict the labels of a task without its ECGs.

    Parameters
    ----------
    name
        ``prevalence``: each label's share of the training examples, so an AUROC of 0.5 by
        construction; the floor for average precision.
        ``age-sex``: one L2-penalised logistic regression per label on age, age squared, sex and
        whether either is unknown; unknown values are the training median.
    table
        The task's examples.
    penalties
        L2 penalties per training example that ``age-sex`` tries; the macro AUROC on the validation
        split, over labels with both classes there, chooses one for all labels, the strongest where
        they tie.

    Returns
    -------
    array
        Shape (example, label), float64, probabilities for the validation and test examples; the
        rows are those of `table`, NaN for training examples.

    Raises
    ------
    BadInputError
        If there is no baseline of this name.
    """
    if name not in BASELINES:
        raise BadInputError(f"no baseline is named {name!r}; there are: {', '.join(BASELINES)}")
    scores = np.array(BASELINES[name](table, penalties), dtype=np.float64)
    scores[table.where("train")] = np.nan
    return scores


def _prevalence(table: TaskTable, penalties: tuple[float, ...]) -> Floats:
    del penalties
    share = table.y[table.where("train")].mean(axis=0, dtype=np.float64)
    return np.tile(share, (len(table.y), 1))


def _age_sex(table: TaskTable, penalties: tuple[float, ...]) -> Floats:
    train, validation = table.where("train"), table.where("validation")
    features = _standardised(_demographics(table.frame, train), train)
    truth = table.y[validation]
    included = included_labels(truth, 1)
    candidates = [
        _logistic(features, table.y, train, penalty)
        for penalty in sorted(set(penalties), reverse=True)
    ]
    # Of equal ones, and where no label can be measured, max takes the first: the strongest.
    return max(candidates, key=lambda scores: macro(auroc(truth, scores[validation]), included))


def _demographics(frame: pd.DataFrame, train: npt.NDArray[np.bool_]) -> Floats:
    """Return shape (example, 5): age, age squared, sex, age unknown, sex unknown."""
    age = np.asarray(frame["age"], dtype=np.float64)
    sex = np.asarray(frame["sex"].map({"F": 0.0, "M": 1.0}), dtype=np.float64)
    known_age, known_sex = _imputed(age, train), _imputed(sex, train)
    return np.column_stack([known_age, known_age**2, known_sex, np.isnan(age), np.isnan(sex)])


def _imputed(values: Floats, train: npt.NDArray[np.bool_]) -> Floats:
    known = values[train & ~np.isnan(values)]
    return np.where(np.isnan(values), np.median(known) if len(known) else 0.0, values)


def _standardised(features: Floats, train: npt.NDArray[np.bool_]) -> Floats:
    spread = features[train].std(axis=0)
    scaled = (features - features[train].mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    # A column that is constant in training says nothing, whatever it is elsewhere.
    return np.where(spread > 0, scaled, 0.0)


def _logistic(
    features: Floats, y: npt.NDArray[np.float32], train: npt.NDArray[np.bool_], penalty: float
) -> Floats:
    from sklearn.linear_model import LogisticRegression

    scores = np.empty(y.shape, dtype=np.float64)
    for column in range(y.shape[1]):
        target = y[train, column]
        if target.min() == target.max():
            scores[:, column] = target[0]
            continue
        # scikit-learn sums the loss over examples and weights that sum: C = 1 / (n penalty).
        model: Any = LogisticRegression(C=1.0 / (train.sum() * penalty), max_iter=1000)
        scores[:, column] = model.fit(features[train], target).predict_proba(features)[:, 1]
    return scores


BASELINES: dict[str, Callable[[TaskTable, tuple[float, ...]], Floats]] = {
    "prevalence": _prevalence,
    "age-sex": _age_sex,
}
"""Every baseline by its name in ``baseline/<name>``."""
