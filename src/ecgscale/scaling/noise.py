"""How much slopes vary between replicates of another design, from a pilot or as stated.

Variance components of a pilot hold for its own sizes. A replicate's slope varies by what each run
adds on its own, which more sizes average out, and by what all runs of a replicate have in common,
which they do not. The two are told apart by how far a replicate's runs lie off its own line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgscale.errors import BadInputError
from ecgscale.scaling.groups import MIN_SIZES, Group
from ecgscale.scaling.power import Power, simulate_power, times
from ecgscale.scaling.variance import (
    Blocks,
    Components,
    FloatArray,
    axes,
    components,
    interaction,
    slope_weights,
)


@dataclass(frozen=True)
class Noise:
    """What slopes vary by.

    Attributes
    ----------
    run
        SD of a run about the line of its replicate, in the unit of the score.
    slope
        SD between replicates of the slope itself, per doubling.
    patients
        SD of the slope that test patients cause in all runs alike, per doubling.
    df
        Degrees of freedom of the first two; infinite where they are stated.
    spread
        Sum of squares of log2 of the sizes about their mean, at which `patients` was found.
    """

    run: float
    slope: float
    patients: float
    df: float
    spread: float

    def components(self, sizes: Sequence[int]) -> Components:
        """Return the variance of the slope of one replicate with runs of these sizes.

        What test patients cause may be a slope of its own, so more sizes are not taken to average
        it out; over a narrower range it is larger.
        """
        here = spread(sizes)
        patients = self.patients**2 * max(1.0, self.spread / here)
        return Components(math.nan, math.nan, self.slope**2 + self.run**2 / here, patients)


def spread(sizes: Sequence[int]) -> float:
    """Return the sum of squares of log2 of the sizes about their mean.

    Examples
    --------
    >>> spread([64, 128, 256])
    2.0
    """
    x = np.log2(np.asarray(sizes, dtype=np.float64))
    return float(((x - x.mean()) ** 2).sum())


def estimate_noise(groups: Sequence[Group]) -> Noise:
    """Return the noise of a pilot: the mean variances of its groups, weighted by their replicates.

    A pilot with one replicate says nothing of `Noise.slope`, and `Noise.run` is then the scatter
    about a line, in which the curvature of the truth is as well. Groups count as independent in
    `Noise.df`.

    Parameters
    ----------
    groups
        Without a problem, all with the same sizes.

    Raises
    ------
    BadInputError
        If there are too few sizes to say how runs scatter.
    """
    sizes = groups[0].sizes
    if len(sizes) < MIN_SIZES:
        raise BadInputError(
            f"a pilot with {len(sizes)} sizes does not show how runs scatter about a line: at "
            f"least {MIN_SIZES} are needed"
        )
    x = np.log2(sizes)
    x, weights, here = x - x.mean(), slope_weights(x), spread(sizes.tolist())
    found = [components(g.score @ weights, g.replicates @ weights, g.blocks) for g in groups]
    patients = float(np.mean([0.0 if math.isnan(c.patients) else c.patients for c in found]))
    repeated = [len(group.blocks) - 1 for group in groups]
    if not sum(repeated):
        scatter = [_off_line(group.score - group.score.mean(), x) for group in groups]
        df = len(groups) * (len(sizes) - 2.0)
        return Noise(math.sqrt(sum(scatter) / df), 0.0, math.sqrt(patients), df, here)
    between = sum(
        df * (c.run + np.nan_to_num(c.order) + np.nan_to_num(c.seed))
        for c, df in zip(found, repeated, strict=True)
        if df
    ) / sum(repeated)
    off = sum(_off_line(interaction(group.score), x) for group in groups)
    run = off / (sum(repeated) * (len(sizes) - 2))
    if run / here > between:
        # Slopes that vary less than their runs: all of it is of runs, best known from both.
        run = (off + between * here * sum(repeated)) / (sum(repeated) * (len(sizes) - 1))
        between = run / here
    luck = max(between - run / here, 0.0)
    return Noise(math.sqrt(run), math.sqrt(luck), math.sqrt(patients), sum(repeated), here)


def _off_line(score: FloatArray, x: FloatArray) -> float:
    """Return the sum of squares of scores, shape (block, size), about a line for each block."""
    centred = score - score.mean(axis=1, keepdims=True)
    line = np.outer(centred @ x / (x @ x), x)
    return float(((centred - line) ** 2).sum())


def planned_power(
    noise: Noise,
    sizes: Sequence[int],
    blocks: Blocks,
    *,
    tests: int,
    alpha: float,
    factor: float = 1.0,
) -> Power | None:
    """Return the power of a design whose runs have some noise, None where it has no test.

    A pilot's replicates do not say how much of what they differ by is of the order and how much of
    the seed. Of crossed orders and seeds the split is taken that finds least.

    Parameters
    ----------
    factor
        By which to multiply the variance of runs (`ecgscale.scaling.power.variance_limits`).
    """
    found = times(noise.components(sizes), factor)
    splits = [found]
    if len(blocks) > max(axes(blocks)):
        splits = [
            Components(order * found.run, seed * found.run, rest * found.run, found.patients)
            for order, seed, rest in ((1, 0, 0), (0, 1, 0), (0, 0, 1))
        ]
    powers = [simulate_power(split, blocks, tests=tests, alpha=alpha) for split in splits]
    known = [power for power in powers if power]
    return max(known, key=lambda power: power.detectable()) if known else None
