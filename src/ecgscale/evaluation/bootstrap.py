"""Intervals by a patient-level bootstrap that is paired and, for AUROC, stratified per label.

Each resample gives every test patient one random weight, Exp(1), which all of the patient's records
carry: the Bayesian bootstrap (Rubin, Ann. Statist. 9:130-134, 1981; for the ROC curve Gu, Ghosal &
Roy, Stat. Med. 27:5407-5420, 2008). AUROC is normalised within a label's positives and within its
negatives, and Exp(1) weights so normalised are uniform Dirichlet weights over that stratum alone.
One draw therefore resamples every label within its own strata, no resample loses a rare label's
positives, and labels keep their dependence, which the interval of a macro mean needs. A mean
absolute error is the mean under the same weights.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics import Bools, Floats

CONFIDENCE = 0.95
_BLOCK = 64
"""Resamples taken at once, so that their weights stay in the processor's cache."""


@dataclass(frozen=True)
class Replicates:
    """AUROC in every resample.

    Attributes
    ----------
    labels
        Shape (label, resample), NaN for labels without positives or without negatives.
    macro
        Shape (resample,): mean over the included labels, NaN if there are none.
    """

    labels: Floats
    macro: Floats


def bootstrap_auroc(
    y: npt.ArrayLike,
    scores: npt.ArrayLike,
    patients: Sequence[str],
    included: Bools,
    *,
    resamples: int,
    seed: int,
    task: str,
) -> Replicates:
    """Recompute every label's AUROC in every resample of the patients.

    Parameters
    ----------
    y
        Shape (example, label), 0 or 1.
    scores
        Shape (example, label), finite.
    patients
        Shape (example,), patient ids.
    included
        Shape (label,), the labels of the macro mean; decided once, on all examples.
    resamples, seed, task
        As `patient_weights`.
    """
    truth, values = np.asarray(y) == 1, np.asarray(scores)
    ids, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(len(ids), resamples, seed, task)
    replicates = np.array(
        [
            _auroc_under_weights(truth[:, label], values[:, label], patient, weights)
            for label in range(truth.shape[1])
        ]
    ).reshape(truth.shape[1], resamples)
    if not included.any():
        return Replicates(replicates, np.full(resamples, np.nan))
    return Replicates(replicates, replicates[included].mean(axis=0))


def bootstrap_mae(
    y: npt.ArrayLike,
    predicted: npt.ArrayLike,
    patients: Sequence[str],
    *,
    resamples: int,
    seed: int,
    task: str,
) -> Floats:
    """Recompute a regression's mean absolute error in every resample of the patients.

    ``sum_i w_i |y_i - p_i| / sum_i w_i`` with the weights of `bootstrap_auroc`.

    Parameters
    ----------
    y, predicted
        Shape (example,) or (example, 1), finite.
    patients
        Shape (example,), patient ids.
    resamples, seed, task
        As `patient_weights`.

    Returns
    -------
    array
        Shape (resample,).
    """
    truth, values = (np.asarray(part, dtype=np.float64).ravel() for part in (y, predicted))
    ids, patient = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
    weights = patient_weights(len(ids), resamples, seed, task)
    errors = np.bincount(patient, weights=np.abs(truth - values), minlength=len(ids))
    records = np.bincount(patient, minlength=len(ids)).astype(np.float64)
    return np.asarray(errors @ weights / (records @ weights))


def patient_weights(patients: int, resamples: int, seed: int, task: str) -> Floats:
    """Draw the weights of all resamples.

    They depend on the arguments alone, so the b-th resample of a task is the same in every cell,
    and adding resamples leaves the first ones as they were.

    Parameters
    ----------
    patients
        Number of patients, taken in the order of their ids.
    resamples
        Number of resamples.
    seed, task
        Seed of the bootstrap and name of the task.

    Returns
    -------
    array
        Shape (patient, resample), mean 1.
    """
    name = int.from_bytes(hashlib.sha256(task.encode()).digest()[:8], "big")
    draws = np.random.default_rng([seed, name]).standard_exponential((resamples, patients))
    return np.ascontiguousarray(draws.T)


def interval(replicates: npt.ArrayLike, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the percentile interval of replicates, NaN where there are none or they are NaN.

    Parameters
    ----------
    replicates
        Shape (resample,).
    confidence
        Coverage asked for.
    """
    values = np.asarray(replicates, dtype=np.float64)
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def paired_interval(
    first: npt.ArrayLike, second: npt.ArrayLike, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Return the percentile interval of ``first - second``, taken resample by resample.

    Parameters
    ----------
    first, second
        Shape (resample,), replicates of one task from the same resamples, in their order.
    confidence
        Coverage asked for.

    Raises
    ------
    BadInputError
        If the numbers of resamples differ.
    """
    ones, others = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if ones.shape != others.shape:
        raise BadInputError(
            f"{len(ones)} resamples cannot be paired with {len(others)}: evaluate both alike"
        )
    return interval(ones - others, confidence)


def _auroc_under_weights(
    truth: Bools, scores: npt.NDArray[np.floating], patient: npt.NDArray[np.intp], weights: Floats
) -> Floats:
    """Return shape (resample,): the AUROC with each example's weight in each resample.

    Examples are sorted once. The negatives are summed in segments: below the lowest positive score
    (segment 0), equal to it (1), between it and the next (2), and so on. A positive with the i-th
    distinct score then wins against segments 0 to 2i and half of 2i + 1.
    """
    area = np.full(weights.shape[1], np.nan)
    if truth.all() or not truth.any():
        return area
    levels, level = np.unique(scores[truth], return_inverse=True)
    below = np.searchsorted(levels, scores[~truth], side="left")
    segment = below + np.searchsorted(levels, scores[~truth], side="right")
    for start in range(0, len(area), _BLOCK):
        block = weights[:, start : start + _BLOCK]
        positive = _sum_groups(block, patient[truth], level, len(levels))
        negative = _sum_groups(block, patient[~truth], segment, 2 * len(levels) + 1)
        beaten = np.cumsum(negative, axis=0)
        wins = (positive * (beaten[:-1:2] + beaten[1::2])).sum(axis=0) / 2
        area[start : start + _BLOCK] = wins / (positive.sum(axis=0) * beaten[-1])
    return area


def _sum_groups(
    weights: Floats, patient: npt.NDArray[np.intp], group: npt.NDArray[np.intp], groups: int
) -> Floats:
    """Sum the examples' weights within groups: (patient, resample) to (group, resample)."""
    order = np.argsort(group, kind="stable")
    present, starts = np.unique(group[order], return_index=True)
    sums = np.zeros((groups, weights.shape[1]))
    sums[present] = np.add.reduceat(weights[patient[order]], starts, axis=0)
    return sums
