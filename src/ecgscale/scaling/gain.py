"""What pretraining adds to the random encoder at each size: zero data as a point of the curve."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ecgscale.scaling.collect import Collection
from ecgscale.scaling.groups import Group, paired_resamples
from ecgscale.scaling.variance import (
    Blocks,
    Estimate,
    FloatArray,
    contrast_estimate,
    regular,
    uncertainty,
    whole,
)

RANDOM = "random"
"""Kind of the objective that leaves the encoder as it was initialised."""


@dataclass(frozen=True)
class Share:
    """A part of the gain at the largest size.

    Attributes
    ----------
    value
        1 for all of it.
    low, high
        Fieller's interval; NaN where `problem` says why there is none.
    """

    value: float
    low: float
    high: float
    problem: str = ""


@dataclass(frozen=True)
class Gain:
    """The gain of one group over the random encoder.

    Attributes
    ----------
    control
        Name of the objective that stands for zero data.
    zero
        Mean score of the random encoder with its interval, over the blocks that are compared.
    gains
        Score minus that of the random encoder at each size, in the metric's own direction.
    starts
        Place of the smallest size at which a gain is established, None if at none.
    share
        What part of the gain at the largest size there is at the smallest.
    problem
        Why there is none of this, or "".
    """

    group: Group
    control: str
    zero: Estimate | None = None
    gains: tuple[Estimate, ...] = ()
    starts: int | None = None
    share: Share | None = None
    problem: str = ""


def gains(collection: Collection, groups: Sequence[Group], confidence: float) -> list[Gain]:
    """Return the gain of every group that has numbers, over each random encoder of the study."""
    table = collection.table
    names = table.loc[(table["kind"] == RANDOM) & (table["size"] == 0), "objective"].unique()
    return [
        _gain(collection, group, str(name), confidence)
        for group in groups
        for name in names
        if not group.problem
    ]


def _gain(collection: Collection, group: Group, control: str, confidence: float) -> Gain:
    zero, resampled, ours = zero_data(collection, group, control)
    if not len(ours):
        return Gain(
            group, control, problem=f"{control} was not run with the seeds of any replicate"
        )
    blocks = [group.blocks[block] for block in ours]
    count = min(len(resampled), len(group.replicates))
    score = group.score[ours] - zero[:, None]
    drawn = group.replicates[:count, ours] - resampled[:count, :, None]
    found = tuple(
        contrast_estimate(score[:, place], drawn[:, :, place], blocks, confidence)
        for place in range(len(group.sizes))
    )
    metric, top = group.endpoint.metric, (score[:, -1], drawn[:, :, -1])
    return Gain(
        group,
        control,
        contrast_estimate(zero, resampled, blocks, confidence),
        found,
        start([metric.better(one.value) for one in found], [one.p for one in found], confidence),
        share_of((score[:, 0], drawn[:, :, 0]), top, blocks, confidence),
    )


def zero_data(
    collection: Collection, group: Group, control: str
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.intp]]:
    """Return the scores of a control without a subset, block by block of a group.

    A block goes with the control of its order and seed, or if there is none with that of its seed,
    which starts from the same weights.

    Returns
    -------
    array
        Shape (kept block,).
    array
        Shape (resample, kept block), on resampled test patients.
    array
        Places of the kept blocks in the group's; none if no block has a control.
    """
    table = collection.table
    rows = table[
        (table["objective"] == control)
        & (table["endpoint"] == group.endpoint.name)
        & (table["encoder"] == group.encoder)
        & table["score"].notna()
    ]
    at = {(row["order"], row["seed"]): row for row in rows.to_dict("records")}
    by_seed = {seed: row for (_, seed), row in sorted(at.items(), reverse=True)}
    runs = {block: at.get(block, by_seed.get(block[1])) for block in group.blocks}
    kept = regular([block for block, run in runs.items() if run is not None])
    ours = np.array([group.blocks.index(block) for block in kept], dtype=np.intp)
    chosen = [run for block in kept if (run := runs[block]) is not None]
    if not chosen:
        return np.empty(0), np.empty((0, 0)), ours
    names = [[str(run["cell"]) for run in chosen]]
    resampled = paired_resamples(collection, names, group.endpoint.name)[:, 0]
    return np.array([run["score"] for run in chosen], dtype=np.float64), resampled, ours


def start(better: Sequence[bool], p: Sequence[float], confidence: float) -> int | None:
    """Return the place of the smallest size whose gain is established, None if none is.

    Sizes are tested from the largest down, each at one minus the confidence, until one is not
    rejected: a fixed sequence, which is a closed test and needs no adjustment (Maurer, Hothorn and
    Lehmacher 1995). A gain below a size without one is not looked for.

    Examples
    --------
    >>> start([True, True, True], [0.2, 0.01, 0.001], confidence=0.95)
    1
    """
    first = None
    for place in range(len(p) - 1, -1, -1):
        if not (better[place] and p[place] <= 1 - confidence):
            break
        first = place
    return first


def share_of(
    part: tuple[FloatArray, FloatArray],
    full: tuple[FloatArray, FloatArray],
    blocks: Blocks,
    confidence: float,
) -> Share:
    """Return the ratio of two means over blocks with Fieller's interval.

    The interval holds the ratios r for which ``part - r * full`` is not told apart from 0 (Fieller,
    J. R. Stat. Soc. B 16:175-185, 1954), by the rule of `ecgscale.scaling.variance.uncertainty`:
    with Student's t alone it is Fieller's own. It is bounded just where `full` is established.

    Parameters
    ----------
    part, full
        Each a contrast by block, shape (block,), and on resamples, (resample, block).
    """
    from scipy.optimize import brentq

    (top, top_drawn), (bottom, bottom_drawn) = part, full
    value = float(top.mean() / bottom.mean()) if bottom.mean() else math.nan
    drawn, alpha = whole(np.stack([top_drawn, bottom_drawn], axis=-1)), 1 - confidence
    if len(blocks) < 2:
        return Share(value, math.nan, math.nan, "one replicate does not show how runs differ")
    if not uncertainty(bottom, drawn[..., 1], blocks).p(float(bottom.mean())) < alpha:
        why = "the gain at the largest size is not established"
        return Share(value, math.nan, math.nan, why)

    def inside(ratio: float) -> float:
        contrast: FloatArray = top - ratio * bottom
        found = uncertainty(contrast, drawn[..., 0] - ratio * drawn[..., 1], blocks)
        p = found.p(float(contrast.mean()))
        return -alpha if math.isnan(p) else p - alpha

    ends = [value, value]
    for place, side in enumerate((-1, 1)):
        step = 1.0
        while inside(value + side * step) > 0:
            step *= 2
        # No variance at all is no interval about the ratio.
        if inside(value) > 0:
            ends[place] = float(brentq(inside, value, value + side * step, xtol=1e-6))
    return Share(value, ends[0], ends[1])
