"""Intervals by a patient-level bootstrap that is paired across encoders.

Each resample gives every test patient one random weight, Exp(1), which all of the patient's records
carry: the Bayesian bootstrap (Rubin, Ann. Statist. 9:130-134, 1981). How a metric is recomputed
under these weights is in the metric's file.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics.functions import Floats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Replicates:
    """A metric in every resample.

    Attributes
    ----------
    labels
        Shape (label, resample), NaN for labels without positives or without negatives; no rows
        where the metric has no values per label.
    metric
        Shape (resample,), NaN where it is undefined.
    """

    labels: Floats
    metric: Floats


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
    """Return the percentile interval of replicates, shape (resample,).

    NaN where there are none or they are NaN.
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

    Both have shape (resample,): replicates of one task from the same resamples, in their order.

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
