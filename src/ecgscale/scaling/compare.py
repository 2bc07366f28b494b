"""Objectives against their controls, paired wherever both were run alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgscale.scaling.collect import Collection
from ecgscale.scaling.groups import Group, paired_resamples
from ecgscale.scaling.variance import (
    Estimate,
    FloatArray,
    contrast_estimate,
    level_estimate,
    regular,
    slope_weights,
    weighted_estimate,
)


@dataclass(frozen=True)
class Comparison:
    """An objective against one of its controls at one endpoint, paired by block if both scale.

    Attributes
    ----------
    slope
        Difference of the slopes per doubling, objective minus control; None where the control
        has no sizes.
    level
        Difference of the mean score, objective at its largest size minus control.
    """

    group: Group
    control: str
    slope: Estimate | None
    level: Estimate


def compare(collection: Collection, groups: Sequence[Group], confidence: float) -> list[Comparison]:
    """Hold every objective against its own controls and against those that see no subset."""
    comparisons = []
    scaled = {group.objective for group in groups}
    for group in groups:
        if group.problem or group.control_of:
            continue
        for other in groups:
            if other.control_of == group.objective and _alike(group, other):
                comparisons += _against_scaled(group, other, confidence)
        comparisons += _against_fixed(collection, scaled, group, confidence)
    return comparisons


def _alike(group: Group, control: Group) -> bool:
    """Return whether a control was run and read out as the objective was, and has numbers."""
    ours = (group.encoder, group.regime, group.endpoint)
    return not control.problem and (control.encoder, control.regime, control.endpoint) == ours


def _against_scaled(group: Group, control: Group, confidence: float) -> list[Comparison]:
    """Compare block by block; none if they have no block in common."""
    score, replicates, shared = paired(group, control)
    if not shared:
        return []
    weights = slope_weights(np.log2(group.sizes))
    slope = weighted_estimate(score, replicates, shared, weights, confidence)
    level = level_estimate(score, replicates, shared, len(group.sizes) - 1, confidence)
    return [Comparison(group, control.objective, slope, level)]


def paired(
    group: Group, other: Group
) -> tuple[FloatArray, FloatArray, tuple[tuple[int, int], ...]]:
    """Return the differences of two groups block by block, those that either lacks left out.

    Returns
    -------
    array
        Shape (block, size), the first minus the second.
    array
        Shape (resample, block, size), the same on resampled test patients.
    tuple
        The blocks.
    """
    # A block is one order and seed: both saw the same subsets, the same initial weights and the
    # same test patients. In the difference of their scores that luck cancels, so its variance is
    # estimated from the differences themselves, not from the two sides.
    shared = regular([block for block in group.blocks if block in other.blocks])
    ours = [group.blocks.index(block) for block in shared]
    theirs = [other.blocks.index(block) for block in shared]
    count = min(len(group.replicates), len(other.replicates))
    score = group.score[ours] - other.score[theirs]
    return score, group.replicates[:count, ours] - other.replicates[:count, theirs], shared


def _against_fixed(
    collection: Collection, scaled: set[str], group: Group, confidence: float
) -> list[Comparison]:
    """Compare with every control or baseline that has no sizes, a control paired by block."""
    table = collection.table
    rows = table[
        (table["endpoint"] == group.endpoint.name)
        & ~table["objective"].isin(scaled)
        & (table["encoder"].isna() | (table["encoder"] == group.encoder))
        & table["score"].notna()
    ]
    comparisons = []
    for control, runs in rows.groupby("objective", sort=False):
        # A block and the control of its replicate start from the same weights. What a control
        # differs by between them is then in the differences; a baseline is the same for all.
        repeated = runs["role"].iloc[0] != "baseline"
        by_block = dict(zip(zip(runs["order"], runs["seed"], strict=True), runs.index, strict=True))
        shared = regular([b for b in group.blocks if not repeated or b in by_block])
        if not shared:
            continue
        ours = [group.blocks.index(block) for block in shared]
        theirs = runs.loc[[by_block[b] if repeated else runs.index[0] for b in shared]]
        paired = paired_resamples(collection, [list(theirs["cell"])], group.endpoint.name)[:, 0]
        count = min(len(paired), len(group.replicates))
        level = contrast_estimate(
            group.score[ours, -1] - theirs["score"].to_numpy(dtype=np.float64),
            group.replicates[:count, ours, -1] - paired[:count],
            shared,
            confidence,
        )
        comparisons.append(Comparison(group, str(control), None, level))
    return comparisons
