"""Intervals by a patient-level bootstrap that is paired across encoders.

Each resample gives every test patient one random weight, Exp(1), which all of the patient's records
carry: the Bayesian bootstrap (Rubin, Ann. Statist. 9:130-134, 1981). How a metric is recomputed
under these weights is in the metric's file.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.errors import BadInputError
from ecgscale.evaluation.metrics.functions import Floats

CONFIDENCE = 0.95
SCHEME = "weights by seed and patient"
"""How `patient_weights` draws: what the records state, since resamples of another scheme are of
other patients though their seed be the same. To be changed with it."""
PSEUDO_PATIENT = 0.25
"""Weight of the patient at chance that `auroc_interval` adds (docs/evaluation.md)."""


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


def patient_weights(patients: Sequence[str], resamples: int, seed: int) -> Floats:
    """Draw the weights of all resamples.

    Those of a patient depend on the patient's id and the seed alone. So the b-th resample weights
    a patient the same way in every cell and in every task that has the patient, which is what the
    covariance between tasks is read from; and adding resamples leaves the first ones as they were.

    Parameters
    ----------
    patients
        Ids, each of them once.
    resamples
        Number of resamples.
    seed
        Of the bootstrap.

    Returns
    -------
    array
        Shape (patient, resample), mean 1.
    """
    weights = np.empty((len(patients), resamples))
    for row, patient in zip(weights, patients, strict=True):
        digest = hashlib.sha256(f"{seed} {patient}".encode()).digest()
        stream = np.random.PCG64(int.from_bytes(digest[:16], "big"))
        np.random.Generator(stream).standard_exponential(out=row)
    return weights


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


def auroc_interval(
    areas: npt.ArrayLike,
    replicates: npt.ArrayLike,
    patients: npt.ArrayLike,
    confidence: float = CONFIDENCE,
) -> tuple[float, float]:
    """Return the interval of the mean AUROC of labels that may have few positives or be near 1.

    To the patients of a label's rarer class a part of one is added that is placed at chance, as
    Agresti and Coull (Am. Stat. 52:119-126, 1998) do for a proportion: few positives may well hold
    none of the badly placed ones that there are. The interval is symmetric on the logit scale
    (Qin and Hotilovac, Stat. Methods Med. Res. 17:207-221, 2008).

    Parameters
    ----------
    areas
        Shape (label,), the AUROC of each label on all examples.
    replicates
        Shape (label, resample), the same in every resample.
    patients
        Shape (label,), patients of the rarer class.

    Returns
    -------
    tuple
        Low and high end; NaN without resamples, without labels, or where an area is NaN.
    """
    from scipy.special import expit, logit, ndtri

    area, drawn = np.asarray(areas, dtype=np.float64), np.asarray(replicates, dtype=np.float64)
    if drawn.size == 0 or drawn.shape[1] < 2 or np.isnan(area).any():
        return float("nan"), float("nan")
    of_label, of_mean = drawn.var(axis=1, ddof=1), float(drawn.mean(axis=0).var(ddof=1))
    # Labels that rise and fall together are one label; those that do not make up for each other.
    alike = float(of_label.mean()) / of_mean if of_mean > 0 else 1.0
    independent = min(max(alike, 1.0), float(len(area)))
    m, w = np.asarray(patients, dtype=np.float64), PSEUDO_PATIENT / independent
    # The Bayesian bootstrap divides the variance of a patient by m + 1.
    patient = (m * of_label * (m + 1) + m * w / (m + w) * (area - 0.5) ** 2) / (m + w)
    variance = of_mean + float((patient / (m + w - 1) - of_label).mean()) / independent
    centre = float(((m * area + w / 2) / (m + w)).mean())
    reach = float(ndtri((1 + confidence) / 2)) * np.sqrt(variance) / (centre * (1 - centre))
    low, high = expit(logit(centre) - reach), expit(logit(centre) + reach)
    return min(float(low), float(area.mean())), max(float(high), float(area.mean()))


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
