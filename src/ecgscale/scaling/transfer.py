"""Does what wins at the smallest size win at a larger one: settings, each trained at both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecgscale.scaling.ranks import PermutationTest, average_ranks, permutation_test
from ecgscale.scaling.variance import FloatArray

DRAWS, SEED = 100_000, 0
"""Of the permutation test, where its distribution is too large to be enumerated."""


@dataclass(frozen=True)
class TrainedSetting:
    """One training with some settings, judged on validation data.

    Attributes
    ----------
    setting
        Name of the settings.
    size
        Patients that it was trained on.
    seed
        Of weights, batches and augmentation.
    value
        Higher is better; NaN of a training that failed.
    """

    setting: str
    size: int
    seed: int
    value: float


@dataclass(frozen=True)
class Transfer:
    """How the settings of one objective compare at two sizes.

    Attributes
    ----------
    settings
        Their names.
    small, large
        The two sizes.
    at_small, at_large
        Mean value of each setting over the seeds; NaN where a training failed.
    ranks
        Of each setting at the large size, 1 is best; ties share their mean rank.
    seeds
        Trainings of each setting at each size.
    winner
        Place of the settings that the search at the smallest size chose.
    correlation
        Spearman's coefficient of the values at the two sizes, within the seeds, with its exact p.
    """

    settings: tuple[str, ...]
    small: int
    large: int
    at_small: tuple[float, ...]
    at_large: tuple[float, ...]
    ranks: tuple[float, ...]
    seeds: int
    winner: int
    correlation: PermutationTest

    @property
    def best(self) -> int:
        """Place of the best settings at the large size."""
        return int(np.argmin(self.ranks))

    @property
    def wins(self) -> bool:
        """Whether the winner at the smallest size is the best at the large one."""
        return self.ranks[self.winner] == min(self.ranks)

    @property
    def regret(self) -> float:
        """What the winner lacks of the best at the large size; NaN if its training failed there.

        The best is chosen by the same numbers, so that it is too large rather than too small.
        """
        return self.at_large[self.best] - self.at_large[self.winner]


def transfer(trained: Sequence[TrainedSetting], winner: str, large: int) -> Transfer | None:
    """Compare settings at the smallest size and at a larger one.

    The values of the large size are permuted within each seed (`permutation_test`), in the order of
    those of the smallest. A training that failed ranks last.

    Parameters
    ----------
    trained
        Of one objective. Settings and seeds that were not trained at both sizes are left out.
    winner
        Name of the settings that the search at the smallest size chose.
    large
        Patients of the larger size.

    Returns
    -------
    Transfer or None
        None with fewer than three settings, or without the winner.

    Examples
    --------
    >>> values = {"a": (0.71, 0.80), "b": (0.70, 0.79), "c": (0.66, 0.81), "d": (0.60, 0.70)}
    >>> trained = [
    ...     TrainedSetting(name, size, 1, value)
    ...     for name, pair in values.items()
    ...     for size, value in zip((64, 1000), pair)
    ... ]
    >>> found = transfer(trained, "a", 1000)
    >>> found.wins, round(found.regret, 3), round(found.correlation.statistic, 2)
    (False, 0.01, 0.4)
    """
    small = min((each.size for each in trained), default=large)
    value = {(t.setting, t.size, t.seed): t.value for t in trained}
    seeds = sorted({t.seed for t in trained})
    names = [
        name
        for name in dict.fromkeys(t.setting for t in trained)
        if all((name, size, seed) in value for size in (small, large) for seed in seeds)
    ]
    if len(names) < 3 or winner not in names or small == large:
        return None
    # Shape (seed, setting); what failed is below all else.
    at_small, at_large = (
        np.array([[value[name, size, seed] for name in names] for seed in seeds])
        for size in (small, large)
    )
    order = np.argsort(_ranked_last(at_small), axis=1, kind="stable")
    ordered = np.take_along_axis(_ranked_last(at_large), order, axis=1)
    test = permutation_test(ordered, "spearman", DRAWS, np.random.default_rng(SEED))
    means = at_large.mean(axis=0)
    return Transfer(
        tuple(names),
        small,
        large,
        tuple(at_small.mean(axis=0).tolist()),
        tuple(means.tolist()),
        tuple(average_ranks(-_ranked_last(means)).tolist()),
        len(seeds),
        names.index(winner),
        test,
    )


def _ranked_last(values: FloatArray) -> FloatArray:
    """Return values with what is no number below all others."""
    return np.where(np.isnan(values), -math.inf, values)
