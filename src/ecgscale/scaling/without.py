"""Leave one source out: what its patients are worth beside the average patient."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgscale.scaling.axes import values
from ecgscale.scaling.claims import holm
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.compare import paired
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import (
    Estimate,
    FloatArray,
    contrast_estimate,
    weighted_estimate,
)


@dataclass(frozen=True)
class LeftOut:
    """An arm without some sources against its parent, at one size or over sizes.

    Attributes
    ----------
    sources
        That the arm is trained without.
    size
        Pretraining patients before the sources were dropped; None for the mean over all sizes at
        which there is a comparison.
    left
        Patients that are left, mean over replicates; NaN for the mean over sizes.
    same_size
        Arm minus parent at the size before dropping: what losing these patients does.
    same_patients
        Arm minus parent at as many patients as are left, interpolated: what it matters that none
        of them is of these sources. None where `problem` says why.
    p_holm
        Of `same_patients` over sizes, adjusted over the family; NaN at single sizes.
    sizes
        Sizes that the comparison is a mean over.
    """

    arm: Group
    parent: Group
    sources: tuple[str, ...]
    size: int | None
    left: float = math.nan
    same_size: Estimate | None = None
    same_patients: Estimate | None = None
    p_holm: float = math.nan
    sizes: int = 1
    problem: str = ""


def interpolation(log_sizes: FloatArray, at: FloatArray) -> FloatArray:
    """Return weights of the sizes that interpolate linearly, shape (..., size); NaN below them.

    Examples
    --------
    >>> interpolation(np.log2([64, 128, 256]), np.log2([96.0]))[0].round(3).tolist()
    [0.415, 0.585, 0.0]
    """
    inside = np.where(at < log_sizes[0], np.nan, at)
    return np.stack([np.interp(inside, log_sizes, unit) for unit in np.eye(len(log_sizes))], -1)


def left_out(
    collection: Collection,
    pairs: Sequence[tuple[Group, Group]],
    without: Mapping[str, tuple[str, ...]],
    confidence: float,
) -> list[LeftOut]:
    """Compare arms without sources with their parents, at equal size and at equal patients.

    A replicate's own number of patients that are left is where its parent's curve, over log2 of the
    patients, is read; between two sizes it is taken as a straight line.

    Parameters
    ----------
    pairs
        Arm and parent of one endpoint: one family, over whose arms Holm's adjustment is.
    without
        Of each arm the sources that it is trained without.
    """
    found, overall = [], []
    for arm, parent in pairs:
        lacking = next((group for group in (arm, parent) if group.problem), None)
        if lacking is not None:
            named = f"{lacking.objective}: {lacking.problem}"
            none = LeftOut(arm, parent, without[arm.objective], None, problem=named)
            overall.append(none)
            continue
        rows = _by_size(collection, arm, parent, without[arm.objective], confidence)
        overall.append(rows[-1])
        found += rows[:-1]
    adjusted = holm([one.same_patients.p if one.same_patients else math.nan for one in overall])
    return [
        *(replace(one, p_holm=p) for one, p in zip(overall, adjusted, strict=True)),
        *found,
    ]


def _by_size(
    collection: Collection,
    arm: Group,
    parent: Group,
    sources: tuple[str, ...],
    confidence: float,
) -> list[LeftOut]:
    """Return a row for each size, and last the mean over those that can be compared."""
    score, drawn, shared = paired(arm, parent)
    mean = LeftOut(arm, parent, sources, None)
    if not shared:
        return [replace(mean, problem="no replicate of both")]
    ours, theirs = ([group.blocks.index(b) for b in shared] for group in (arm, parent))
    left = values(collection, arm, "patients")[ours]
    if not (left > 0).all():
        return [replace(mean, problem="the patients that are left are not recorded")]
    # Weights of the parent's sizes, shape (block, size of the arm, size of the parent).
    weights = interpolation(np.log2(parent.sizes), np.log2(left))
    count = len(drawn)
    off = arm.score[ours] - np.einsum("bk,bsk->bs", parent.score[theirs], weights)
    off_drawn = arm.replicates[:count, ours] - np.einsum(
        "rbk,bsk->rbs", parent.replicates[:count, theirs], weights
    )
    inside = np.isfinite(off).all(axis=0)
    rows = []
    for place, size in enumerate(arm.sizes.tolist()):
        unit = np.eye(len(arm.sizes))[place]
        same = weighted_estimate(score, drawn, shared, unit, confidence)
        row = replace(mean, size=size, left=float(left[:, place].mean()), same_size=same)
        if inside[place]:
            there = (off[:, place], off_drawn[:, :, place])
            row = replace(row, same_patients=contrast_estimate(*there, shared, confidence))
        else:
            row = replace(row, problem="fewer patients are left than the smallest size has")
        rows.append(row)
    if not inside.any():
        return [*rows, replace(mean, problem=rows[-1].problem)]
    level = np.full(len(arm.sizes), 1 / inside.sum()) * inside
    same = weighted_estimate(score, drawn, shared, level, confidence)
    there = (off[:, inside].mean(axis=1), off_drawn[:, :, inside].mean(axis=2))
    of_patients = contrast_estimate(*there, shared, confidence)
    sizes = int(inside.sum())
    return [*rows, replace(mean, same_size=same, same_patients=of_patients, sizes=sizes)]
