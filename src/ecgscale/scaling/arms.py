"""Arms: an objective under another training, against itself as the study trains it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ecgscale.scaling.claims import holm
from ecgscale.scaling.compare import paired
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import (
    Estimate,
    FloatArray,
    slope_weights,
    weighted_estimate,
)


@dataclass(frozen=True)
class Arm:
    """An arm against its parent in one respect.

    Attributes
    ----------
    arm, parent
        Runs of both; `Group.regime` says how each was trained.
    size
        Pretraining patients, or None for the slope per doubling.
    of_arm, of_parent
        What is compared, over the replicates that both have.
    difference
        Arm minus parent, paired by replicate and resample; None where `problem` says why.
    p_holm
        Adjusted over the family (`contrast_arms`).
    """

    arm: Group
    parent: Group
    size: int | None = None
    of_arm: Estimate | None = None
    of_parent: Estimate | None = None
    difference: Estimate | None = None
    p_holm: float = math.nan
    problem: str = ""


def arms_of(design: Design, groups: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Return every arm's group with that of its parent, of the same encoder and endpoint."""
    at = {(group.objective, group.encoder, group.endpoint): group for group in groups}
    found = []
    for group in groups:
        parent = design.arm_of.get(group.objective)
        if parent is not None:
            found.append((group, at[parent, group.encoder, group.endpoint]))
    return found


def contrast_arms(pairs: Sequence[tuple[Group, Group]], confidence: float) -> list[Arm]:
    """Compare arms with their parents in slope and at every size, paired by replicate.

    Parameters
    ----------
    pairs
        Arm and parent (`arms_of`), of one endpoint: one family. Holm's adjustment is over the
        slopes, and apart from them over all differences at a size. An arm without numbers counts
        with a p of 1.
    """
    found: list[Arm] = []
    for arm, parent in pairs:
        lacking = next((g for g in (arm, parent) if g.problem), None)
        score, drawn, shared = paired(arm, parent) if lacking is None else (None, None, ())
        if score is None or drawn is None or not shared:
            said = f"{lacking.objective}: {lacking.problem}" if lacking else "no replicate of both"
            found += [Arm(arm, parent, size, problem=said) for size in _sizes(arm)]
            continue
        own, other = (_of_blocks(group, shared) for group in (arm, parent))
        for size in _sizes(arm):
            weights = _weights(arm, size)
            three = (own, other, (score, drawn))
            a, b, difference = (
                weighted_estimate(*values, shared, weights, confidence) for values in three
            )
            found.append(Arm(arm, parent, size, a, b, difference))
    return [
        *_adjusted([one for one in found if one.size is None]),
        *_adjusted([one for one in found if one.size is not None]),
    ]


def _sizes(group: Group) -> list[int | None]:
    return [None, *group.sizes.tolist()]


def _weights(group: Group, size: int | None) -> FloatArray:
    if size is None:
        return slope_weights(np.log2(group.sizes))
    return np.asarray(group.sizes == size, dtype=np.float64)


def _of_blocks(group: Group, shared: Sequence[tuple[int, int]]) -> tuple[FloatArray, FloatArray]:
    places = [group.blocks.index(block) for block in shared]
    return group.score[places], group.replicates[:, places]


def _adjusted(family: Sequence[Arm]) -> list[Arm]:
    values = [one.difference.p if one.difference else math.nan for one in family]
    return [replace(one, p_holm=p) for one, p in zip(family, holm(values), strict=True)]
