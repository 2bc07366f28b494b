"""Variance components, intervals and tests against slow references and simulations."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ecgscale.scaling.variance import (
    Uncertainty,
    components,
    contrast_estimate,
    covered,
    regular,
    uncertainty,
)

REPLICATES = [(r, r) for r in range(4)]
CROSSED = list(product((3, 5, 8), (0, 1)))


def slow_uncertainty(contrast, resampled, blocks):
    """By loops over runs and pairs of runs: variance from runs, and from test patients.

    With crossed axes the variances of order, seed and interaction are solved from the mean
    half squared differences of pairs that share a seed, share an order, share nothing.
    """
    count = len(blocks)
    kinds = {(False, False): [], (True, False): [], (False, True): []}
    shared = {kind: [] for kind in kinds}
    axes = [len({block[axis] for block in blocks}) > 1 for axis in (0, 1)]
    for i, j in combinations(range(count), 2):
        same = tuple(axes[a] and blocks[i][a] == blocks[j][a] for a in (0, 1))
        kinds[same].append((contrast[i] - contrast[j]) ** 2 / 2)
        shared[same].append(np.cov(resampled[:, i], resampled[:, j])[0, 1])
    apart, order, seed = (np.mean(pairs) if pairs else 0.0 for pairs in kinds.values())
    patients = np.mean(shared[False, False])
    if not kinds[True, False]:
        return apart / count, patients
    of_order, of_seed, rest = apart - order, apart - seed, order + seed - apart
    numbers = [len({block[axis] for block in blocks}) for axis in (0, 1)]
    return of_order / numbers[0] + of_seed / numbers[1] + rest / count, patients


@pytest.mark.parametrize("blocks", [REPLICATES, [(r, 7) for r in range(3)], CROSSED])
def test_variance_is_that_of_loops_over_pairs_of_runs(blocks):
    rng = np.random.default_rng(0)
    orders, seeds = (np.array(axis) for axis in zip(*blocks, strict=True))
    contrast = rng.normal(0, 3, 9)[orders] + rng.normal(0, 3, 9)[seeds]
    contrast += rng.normal(0, 0.1, len(blocks))
    resampled = rng.normal(size=(60, 1)) + rng.normal(size=(60, len(blocks)))
    runs, patients = slow_uncertainty(contrast, resampled, blocks)
    found = uncertainty(contrast, resampled, blocks)
    assert found.runs == pytest.approx(runs)
    assert found.patients == pytest.approx(patients)
    shuffle = rng.permutation(len(blocks))
    again = uncertainty(contrast[shuffle], resampled[:, shuffle], [blocks[i] for i in shuffle])
    assert again.runs == pytest.approx(runs)


def test_without_patients_it_is_students_t_and_without_runs_the_normal_interval():
    rng = np.random.default_rng(1)
    contrast, none = rng.normal(1, 2, 4), np.empty((0, 4))
    known = stats.ttest_1samp(contrast, 0)
    found = contrast_estimate(contrast, none, REPLICATES, 0.95)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert found.p == pytest.approx(known.pvalue)
    assert found.df == 3
    one = contrast_estimate(np.array([2.0]), rng.normal(0, 0.5, (4000, 1)), [(0, 0)], 0.95)
    assert one.high - one.low == pytest.approx(2 * 1.96 * one.se, rel=1e-3)
    assert math.isnan(one.p)
    assert math.isnan(one.df)


@pytest.mark.parametrize("df", [1, 2, 4.5])
def test_the_distribution_is_that_of_students_t_plus_a_normal_draw(df):
    rng = np.random.default_rng(2)
    drawn = np.abs(1.5 * rng.standard_t(df, 400_000) + 2 * rng.normal(size=400_000))
    found = Uncertainty(1.5**2, df, 2.0**2)
    for alpha in (0.2, 0.05, 0.01):
        assert (drawn > found.reach(alpha)).mean() == pytest.approx(alpha, rel=0.05)
        assert found.p(found.reach(alpha)) == pytest.approx(alpha)


@given(st.integers(0, 500), st.floats(0.55, 0.999), st.sampled_from([2, 3, 6]))
def test_p_and_interval_are_one_rule(seed, confidence, count):
    rng = np.random.default_rng(seed)
    contrast = rng.normal(rng.normal(0, 2), 1, count)
    blocks = [(r, r) for r in range(count)] if count < 6 else CROSSED
    patients = rng.normal(size=(30, 1)) + rng.normal(size=(30, count))
    found = contrast_estimate(contrast, patients, blocks, confidence)
    assert (found.p < 1 - confidence) == (found.low > 0 or found.high < 0)


def test_resamples_without_a_number_are_left_out():
    rng = np.random.default_rng(3)
    contrast, resampled = rng.normal(size=4), rng.normal(size=(20, 1)) + rng.normal(size=(20, 4))
    holes = resampled.copy()
    holes[7, 2] = np.nan
    one = contrast_estimate(contrast, holes, REPLICATES, 0.95)
    assert one == contrast_estimate(contrast, np.delete(resampled, 7, axis=0), REPLICATES, 0.95)
    gone = contrast_estimate(contrast, np.full((20, 4), np.nan), REPLICATES, 0.95)
    assert gone.covers == "orders and seeds"


def test_identical_runs_have_no_interval():
    found = contrast_estimate(np.ones(3), np.ones((5, 3)), REPLICATES[:3], 0.95)
    assert found.covers == "nothing"
    assert math.isnan(found.low)
    assert math.isnan(found.p)


def test_components_of_a_large_crossed_study_are_the_true_ones():
    rng = np.random.default_rng(4)
    blocks = list(product(range(200), range(150)))
    order, seed = np.array(blocks).T
    contrast = 3 * rng.normal(size=200)[order] + 2 * rng.normal(size=150)[seed]
    contrast += rng.normal(size=len(blocks))
    found = components(contrast, np.empty((0, len(blocks))), blocks)
    assert (found.order, found.seed) == pytest.approx((9, 4), rel=0.25)
    assert found.run == pytest.approx(1, rel=0.05)
    assert math.isnan(found.patients)
    small = np.array([1.0, 3.0])
    replicates = components(small, np.array([[1.0, 2.0], [2.0, 3.0]]), [(0, 0), (1, 1)])
    assert (replicates.run, replicates.patients) == pytest.approx((2.0, 0.5))
    assert math.isnan(replicates.order)


@given(st.sets(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=10))
def test_a_regular_layout_is_crossed_or_has_nothing_twice(blocks):
    kept = regular(sorted(blocks))
    orders, seeds = ({block[axis] for block in kept} for axis in (0, 1))
    crossed = set(kept) == set(product(orders, seeds))
    assert crossed or len(kept) == len(orders) == len(seeds)
    assert set(kept) <= blocks
    assert bool(kept) == bool(blocks)
    assert regular(kept) == kept


def test_what_is_covered_is_what_was_drawn_anew():
    assert covered(CROSSED, patients=True) == "orders, seeds and test patients"
    assert covered([(0, 1), (0, 2)], patients=True) == "seeds and test patients, of one order"
    assert covered([(0, 1), (1, 1)], patients=False) == "orders, of one seed"


@pytest.mark.parametrize(
    ("blocks", "sds", "bounds"),
    [
        ([(r, r) for r in range(2)], {"order": 1, "seed": 1, "run": 1}, (0.95, 0.99)),
        ([(r, r) for r in range(5)], {"order": 2, "seed": 1, "run": 1}, (0.94, 0.98)),
        (list(product(range(3), range(3))), {"order": 2, "seed": 0, "run": 1}, (0.95, 1.0)),
        (list(product(range(4), range(4))), {"order": 2, "seed": 2, "run": 0.1}, (0.94, 1.0)),
    ],
)
def test_intervals_cover_whatever_runs_share(blocks, sds, bounds):
    rng = np.random.default_rng(5)
    order, seed = np.array(blocks).T
    covered = []
    for _ in range(600):
        drawn = {name: sd * rng.normal(size=len(blocks)) for name, sd in sds.items()}
        common, own = rng.normal(size=(101, 1)), 0.5 * rng.normal(size=(101, len(blocks)))
        contrast = drawn["order"][order] + drawn["seed"][seed] + drawn["run"] + (common + own)[0]
        found = contrast_estimate(contrast, contrast + (common + own)[1:], blocks, 0.95)
        covered.append(found.low <= 0 <= found.high)
    # Two binomial standard errors at 0.95 are 0.018.
    assert bounds[0] - 0.018 <= np.mean(covered) <= bounds[1] + 0.01
