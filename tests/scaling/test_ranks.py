import math
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecgscale.scaling.ranks import COEFFICIENTS, kendall, permutation_test, spearman

rows = st.integers(3, 7).flatmap(
    lambda k: st.lists(st.integers(0, 4).map(float), min_size=k, max_size=k)
)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_coefficients_are_scipys_with_and_without_ties(row):
    values = np.array(row)
    x = np.arange(len(values))
    if len(set(row)) == 1:
        assert spearman(values) == kendall(values) == 0
        return
    assert spearman(values) == pytest.approx(stats.spearmanr(x, values).statistic)
    assert kendall(values) == pytest.approx(stats.kendalltau(x, values).statistic)


@pytest.mark.parametrize("name", ["spearman", "kendall"])
@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("ties", [False, True])
def test_exact_p_is_that_of_brute_force_over_all_arrangements_of_all_blocks(name, blocks, ties):
    rng = np.random.default_rng(blocks)
    score = rng.normal(0, 1, (blocks, 4)) + 0.6 * np.arange(4)
    if ties:
        score[0, 1] = score[0, 2]
    coefficient = COEFFICIENTS[name]
    observed = coefficient(score).mean()
    options = [[coefficient(np.array(p)) for p in permutations(block)] for block in score]
    null = [np.mean(values) for values in product(*options)]
    expected = np.mean([abs(value) >= abs(observed) - 1e-9 for value in null])
    test = permutation_test(score, name, 100, rng)
    assert test.draws == 0
    assert test.statistic == pytest.approx(observed)
    assert test.p == pytest.approx(expected)


def test_one_block_agrees_with_scipys_exact_kendall_test():
    score = np.array([[0.71, 0.74, 0.73, 0.78, 0.77, 0.80]])
    test = permutation_test(score, "kendall", 100, np.random.default_rng(0))
    exact = stats.kendalltau(np.arange(6), score[0], method="exact")
    assert test.p == pytest.approx(exact.pvalue)


def test_one_block_agrees_with_scipys_permutation_of_spearman():
    score = np.array([0.71, 0.74, 0.73, 0.78, 0.77])
    exact = stats.permutation_test(
        (score,),
        lambda y: stats.spearmanr(np.arange(5), y).statistic,
        permutation_type="pairings",
        n_resamples=np.inf,
    )
    test = permutation_test(score[None], "spearman", 100, np.random.default_rng(0))
    assert test.p == pytest.approx(exact.pvalue)


def test_known_thresholds_of_spearman_at_five_and_four_sizes():
    rng = np.random.default_rng(0)
    assert permutation_test(np.arange(5.0)[None], "spearman", 100, rng).p == pytest.approx(2 / 120)
    four = permutation_test(np.arange(4.0)[None], "spearman", 100, rng)
    assert four.p == four.smallest_p == pytest.approx(2 / 24)


def test_monte_carlo_follows_the_plus_one_rule_and_is_close_to_exact():
    rng = np.random.default_rng(1)
    perfect = permutation_test(np.arange(12.0)[None], "spearman", 400, rng)
    assert perfect.draws == 400
    assert perfect.p == 1 / 401
    noisy = np.array([[5, 1, 2, 4, 3, 0, 8, 6, 9, 7, 10.0]])
    test = permutation_test(noisy, "kendall", 4000, rng)
    assert test.p == pytest.approx(stats.kendalltau(range(11), noisy[0]).pvalue, abs=0.01)


def test_permutation_test_keeps_its_level():
    rng = np.random.default_rng(2)
    p = np.array(
        [permutation_test(rng.normal(size=(2, 5)), "spearman", 100, rng).p for _ in range(1500)]
    )
    for level in (0.01, 0.05, 0.20, 0.50):
        attained = p[p <= level].max()  # p is discrete: exact at the values that it takes
        slack = 3 * math.sqrt(level * (1 - level) / len(p))
        assert (p <= level).mean() == pytest.approx(attained, abs=slack)
