"""What wins at the smallest size, at a larger one."""

import math
from itertools import permutations

import pytest
from scipy.stats import spearmanr

from ecgscale.scaling.transfer import TrainedSetting, transfer

SMALL = (0.71, 0.66, 0.70, 0.60, 0.64)
LARGE = (0.80, 0.82, 0.81, 0.70, 0.75)


def trained(*by_seed):
    return [
        TrainedSetting(f"trial-{place:03d}", size, seed, value)
        for seed, pair in enumerate(by_seed)
        for size, values in zip((64, 1000), pair, strict=True)
        for place, value in enumerate(values)
    ]


def test_the_coefficient_and_its_p_are_those_of_all_arrangements():
    found = transfer(trained((SMALL, LARGE)), "trial-000", 1000)
    rho = spearmanr(SMALL, LARGE).statistic
    every = [spearmanr(SMALL, other).statistic for other in permutations(LARGE)]
    assert found.correlation.statistic == pytest.approx(rho)
    extreme = sum(abs(other) >= abs(rho) - 1e-9 for other in every)
    assert found.correlation.p == pytest.approx(extreme / len(every))
    assert found.correlation.draws == 0


def test_the_winner_is_ranked_where_it_is_trained_again():
    found = transfer(trained((SMALL, LARGE)), "trial-000", 1000)
    assert found.ranks == (3, 1, 2, 5, 4)
    assert found.best == 1
    assert not found.wins
    assert found.regret == pytest.approx(0.02)
    other = transfer(trained((SMALL, LARGE)), "trial-001", 1000)
    assert other.wins
    assert other.regret == 0


def test_seeds_are_blocks_and_their_values_averaged():
    shifted = tuple(value + 0.05 for value in LARGE)
    found = transfer(trained((SMALL, LARGE), (SMALL, shifted)), "trial-000", 1000)
    assert found.seeds == 2
    assert found.at_large == pytest.approx([value + 0.025 for value in LARGE])
    alone = transfer(trained((SMALL, LARGE)), "trial-000", 1000)
    assert found.correlation.statistic == pytest.approx(alone.correlation.statistic)
    assert found.correlation.p < alone.correlation.p


def test_a_training_that_failed_ranks_last_and_has_no_regret():
    failed = (math.nan, *LARGE[1:])
    found = transfer(trained((SMALL, failed)), "trial-000", 1000)
    assert found.ranks[0] == 5
    assert math.isnan(found.regret)
    low = transfer(trained((SMALL, (0.1, *LARGE[1:]))), "trial-000", 1000)
    assert found.correlation == low.correlation


def test_too_few_settings_are_not_compared():
    assert transfer(trained((SMALL[:2], LARGE[:2])), "trial-000", 1000) is None
    assert transfer(trained((SMALL, LARGE)), "trial-009", 1000) is None
    assert transfer([], "trial-000", 1000) is None
    partly = [t for t in trained((SMALL, LARGE)) if (t.setting, t.size) != ("trial-001", 1000)]
    assert "trial-001" not in transfer(partly, "trial-000", 1000).settings
