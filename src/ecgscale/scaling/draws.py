"""Draws of what the truth behind a study's means could be, given runs and test patients.

For numbers that are no weighted sum of the scores and so have no `contrast_estimate`: parameters of
a law, a concordance of ranks.
"""

import numpy as np

from ecgscale.scaling.variance import (
    Blocks,
    FloatArray,
    means_of_levels,
    patients_covariance,
)


def joint_draws(
    score: FloatArray,
    resampled: FloatArray,
    blocks: Blocks,
    count: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return draws of the true means over blocks, shape (draw, number), of several numbers at once.

    The mean over blocks plus a multivariate Student's t with the covariance that the numbers have
    between blocks, plus a normal draw with the covariance that test patients cause in all runs
    alike. Of any weighted sum of the numbers the draws have the distribution that
    `ecgscale.scaling.variance.Uncertainty` integrates; where orders and seeds are crossed, that of
    the orders plus that of the seeds, which is wider by their interaction. With one block they hold
    test patients alone.

    Parameters
    ----------
    score, resampled
        Shapes (block, number) and (resample, block, number).
    blocks
        Their orders and seeds, a `regular` layout.
    """
    drawn = np.broadcast_to(score.mean(axis=0), (count, score.shape[1]))
    for levels in means_of_levels(score, blocks):
        df = len(levels) - 1
        off = (levels - levels.mean(axis=0)) / np.sqrt(df * len(levels))
        scale = np.sqrt(df / rng.chisquare(df, (count, 1)))
        drawn = drawn + scale * (rng.normal(size=(count, len(levels))) @ off)
    values, vectors = np.linalg.eigh(patients_covariance(resampled, blocks))
    root = vectors * np.sqrt(np.maximum(values, 0))
    return np.asarray(drawn + rng.normal(size=(count, len(values))) @ root.T)
