"""What else the score may be laid against: other measures of the data, and the pretraining loss."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgscale.scaling.collect import Collection
from ecgscale.scaling.groups import Group
from ecgscale.scaling.ranks import average_ranks
from ecgscale.scaling.variance import Blocks, Estimate, FloatArray, contrast_estimate, whole

SCALES = ("patients", "records", "hours", "sources", "samples_seen", "flops")
"""Columns of the flat table that grow with the data, or with the compute."""
LOSS = "pretrain_loss"
_SAME = 1e-9
"""Range within which an axis does not vary."""


@dataclass(frozen=True)
class AxisSlope:
    """The slope of a score, or of the probe's loss, on one axis.

    Attributes
    ----------
    axis, outcome
        Columns of the flat table: what is on the x axis and on the y axis.
    low, high
        Range of the axis over the group's runs.
    slope
        Per doubling of a scale, per unit (nat) of a loss; None where `problem` says why.
    rho
        Mean over blocks of Spearman's coefficient within the block, with an interval over runs and,
        of the score, test patients; NaN in it where all blocks agree. None with a `problem`.
    """

    group: Group
    axis: str
    outcome: str
    low: float
    high: float
    slope: Estimate | None
    rho: Estimate | None
    problem: str = ""


def axis_slopes(
    collection: Collection, groups: Sequence[Group], confidence: float
) -> list[AxisSlope]:
    """Return the slope of each group's score on log2 of every scale, in the order of `SCALES`.

    The runs are the same for all of them, so the scales are descriptions of one curve, not tests:
    where two of them grow together no analysis of it tells which one matters.
    """
    return [
        _on_axis(group, scale, "score", values(collection, group, scale), group.score, confidence)
        for group in groups
        if not group.problem
        for scale in SCALES
    ]


def loss_slopes(
    collection: Collection, groups: Sequence[Group], confidence: float
) -> list[AxisSlope]:
    """Return the slopes of the probe's test loss and of the score on the pretraining loss.

    Within blocks, so of what size does to both. The pretraining loss is that of the last steps, on
    the data that is trained on: it is low where few patients are learned by heart. It is noisy,
    which draws a slope towards 0 (errors in variables). A regression has no probe loss.
    """
    found = []
    for group in groups:
        if group.problem:
            continue
        loss = values(collection, group, LOSS)
        for outcome in ("probe_loss", "score"):
            y = group.score if outcome == "score" else values(collection, group, outcome)
            found.append(_on_axis(group, LOSS, outcome, loss, y, confidence))
    return found


def values(collection: Collection, group: Group, column: str) -> FloatArray:
    """Return a column of the flat table for the runs of a group, shape (block, size)."""
    table = collection.table
    rows = table[
        (table["objective"] == group.objective)
        & (table["encoder"] == group.encoder)
        & (table["endpoint"] == group.endpoint.name)
    ]
    keys = zip(rows["order"], rows["seed"], rows["size"], strict=True)
    at = dict(zip(keys, rows[column].astype(float), strict=True))
    runs = [[at[order, seed, size] for size in group.sizes] for order, seed in group.blocks]
    return np.array(runs, dtype=np.float64)


def _on_axis(
    group: Group, axis: str, outcome: str, x: FloatArray, y: FloatArray, confidence: float
) -> AxisSlope:
    low, high = (float(x.min()), float(x.max())) if x.size else (math.nan, math.nan)
    problem = ""
    if not np.isfinite(x).all():
        problem = "not recorded for every run"
    elif not np.isfinite(y).all():
        problem = f"no {outcome.replace('_', ' ')}"
    elif axis != LOSS and low <= 0:
        problem = "0 in some run, which has no logarithm"
    elif float(np.ptp(x, axis=1).min()) <= _SAME * abs(high):
        problem = "the same at every size"
    if problem:
        return AxisSlope(group, axis, outcome, low, high, None, None, problem)
    on = x if axis == LOSS else np.log2(x)
    resampled = group.replicates if outcome == "score" else np.empty((0, *y.shape))
    slope = slope_on(on, y, resampled, group.blocks, confidence)
    rho = rho_on(on, y, resampled, group.blocks, confidence)
    return AxisSlope(group, axis, outcome, low, high, slope, rho)


def rho_on(
    x: FloatArray, y: FloatArray, resampled: FloatArray, blocks: Blocks, confidence: float
) -> Estimate:
    """Return the mean over blocks of Spearman's coefficient of y and x within the block.

    A block's coefficient is one number, so its interval is that of any mean over blocks, cut at -1
    and 1. Parameters are those of `slope_on`.
    """
    found = contrast_estimate(_spearman(x, y), _spearman(x, whole(resampled)), blocks, confidence)
    low, high = np.clip([found.low, found.high], -1, 1).tolist()
    return replace(found, low=low, high=high)


def _spearman(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return Spearman's coefficient over the last axis; 0 where one of the two is constant."""
    a, b = (average_ranks(part) - (x.shape[-1] + 1) / 2 for part in (x, y))
    norm = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    zero = np.zeros_like(norm)
    return np.asarray(np.divide((a * b).sum(axis=-1), norm, out=zero, where=norm > 0))


def slope_on(
    x: FloatArray, y: FloatArray, resampled: FloatArray, blocks: Blocks, confidence: float
) -> Estimate:
    """Return the mean over blocks of the least-squares slope of y on x within the block.

    Parameters
    ----------
    x, y
        Shape (block, size); x must vary in every block, and not necessarily alike in all of them.
    resampled
        y on resampled test patients, shape (resample, block, size).
    """
    centred = x - x.mean(axis=1, keepdims=True)
    weights = centred / (centred**2).sum(axis=1, keepdims=True)
    drawn = (resampled * weights).sum(axis=2)
    return contrast_estimate((y * weights).sum(axis=1), drawn, blocks, confidence)
