"""From the flat table to groups: the runs of one objective, encoder and endpoint, in blocks.

Runs lie in replicate blocks: one block is one (nesting order, seed) with one run at every size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.design import Design
from ecgscale.scaling.variance import FloatArray, regular

MIN_SIZES = 3
"""Below this many sizes a rank correlation says nothing."""


@dataclass(frozen=True, eq=False)
class Group:
    """The runs of one objective, encoder, regime and endpoint, as complete blocks.

    Attributes
    ----------
    endpoint
        What was measured; its metric says in which direction a score is better.
    sizes
        Shape (size,), pretraining patients, ascending.
    blocks
        (order, seed) of each block.
    score
        The main metric as it is (an error is not turned round), shape (block, size).
    replicates
        The same on resampled test patients, shape (resample, block, size), NaN where a resample
        has none; the b-th resample holds the same patients in every run, of other groups of the
        task too. No resamples: shape (0, block, size).
    left_out
        Blocks left out, each with its reason.
    problem
        Why nothing can be estimated, or "".
    control_of
        The objective that this one is a variant of, or None.
    """

    objective: str
    encoder: str
    regime: str
    endpoint: Endpoint
    sizes: npt.NDArray[np.int64]
    blocks: tuple[tuple[int, int], ...]
    score: FloatArray
    replicates: FloatArray
    left_out: tuple[str, ...] = ()
    problem: str = ""
    control_of: str | None = None


def groups(design: Design, collection: Collection) -> list[Group]:
    """Return every (objective, encoder, regime, endpoint) of a study's grid, complete or not.

    A group with a missing run has a `problem` and no numbers: a mean over the runs that happen to
    exist would compare different orders and seeds at different sizes. A block with a collapsed run
    is left out whole, and named; of crossed orders and seeds the rest is cut down to what is still
    crossed.
    """
    grid = product(design.objectives, design.encoders, design.endpoints)
    return [_group(design, collection, *place) for place in grid]


def _group(
    design: Design, collection: Collection, objective: str, encoder: str, endpoint: Endpoint
) -> Group:
    table = collection.table
    rows = table[
        (table["objective"] == objective)
        & (table["encoder"] == encoder)
        & (table["endpoint"] == endpoint.name)
        & table["score"].notna()
    ]
    by_run = {(row["order"], row["seed"], row["size"]): row for row in rows.to_dict("records")}
    planned = [[(*block, size) for size in design.sizes] for block in design.blocks]
    expected = len(design.blocks) * len(design.sizes)
    absent = sum(run not in by_run for block in planned for run in block)
    kept, left_out, problem = [], [], ""
    if len(design.sizes) < MIN_SIZES:
        problem = f"{len(design.sizes)} sizes are too few to order; at least {MIN_SIZES} are needed"
    elif absent:
        problem = f"{absent} of {expected} runs {'is' if absent == 1 else 'are'} missing"
    else:
        for (order, seed), runs in zip(design.blocks, planned, strict=True):
            collapsed = ", ".join(by_run[run]["cell"] for run in runs if by_run[run]["collapsed"])
            if collapsed:
                left_out.append(f"order {order}, seed {seed}: {collapsed} collapsed")
            else:
                kept.append(((order, seed), [by_run[run] for run in runs]))
        crossed = regular([block for block, _ in kept])
        left_out += [
            f"order {order}, seed {seed}: no longer crossed with the others"
            for (order, seed), _ in kept
            if (order, seed) not in crossed
        ]
        kept = [(block, runs) for block, runs in kept if block in crossed]
        problem = "" if kept else "every block holds a collapsed run"
    shape = (len(kept), len(design.sizes))
    cells = [[run["cell"] for run in runs] for _, runs in kept]
    score = np.array([[run["score"] for run in runs] for _, runs in kept], dtype=np.float64)
    return Group(
        objective,
        encoder,
        design.regimes[objective],
        endpoint,
        np.array(design.sizes, dtype=np.int64),
        tuple(block for block, _ in kept),
        score.reshape(shape),
        paired_resamples(collection, cells, endpoint.name) if kept else np.empty((0, *shape)),
        tuple(left_out),
        problem,
        design.control_of[objective],
    )


def paired_resamples(
    collection: Collection, cells: Sequence[Sequence[str]], endpoint: str
) -> FloatArray:
    """Return scores, shape (resample, block, cell), on the same resampled test patients, or NaN.

    `cells` has the names of cells, a list of equal length for each block.
    """
    # The b-th resample of a task holds the same patients in every cell. One that has no score in
    # some cell stays in its place, so that groups can be subtracted resample by resample.
    drawn = [[collection.replicates[cell, endpoint] for cell in block] for block in cells]
    count = min(len(values) for block in drawn for values in block)
    stacked = np.array([[values[:count] for values in block] for block in drawn])
    return np.moveaxis(stacked, -1, 0)
