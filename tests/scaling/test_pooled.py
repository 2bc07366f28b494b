"""The slope pooled over tasks against dense linear algebra, known special cases and simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ecgscale.scaling.collect import collect
from ecgscale.scaling.draws import joint_draws
from ecgscale.scaling.groups import groups
from ecgscale.scaling.pooled import pool_slopes, pooled_slopes
from ecgscale.scaling.variance import (
    contrast_estimate,
    patients_covariance,
    uncertainty,
)
from ecgscale.study.design import study_design
from support import runs as synthetic

BLOCKS = [(r, r) for r in range(4)]


def made_up(rng, blocks=4, tasks=6, tau=1.0, resamples=100):
    """Slopes of tasks in pairs of a data set, whose runs and patients they share."""
    truth = tau * rng.normal(size=tasks)
    runs = 0.7 * (rng.normal(size=(blocks, 1)) + rng.normal(size=(blocks, tasks)))
    pairs = rng.normal(size=(resamples + 1, 1, (tasks + 1) // 2))[:, :, np.arange(tasks) // 2]
    patients = 0.5 * (pairs + rng.normal(size=(resamples + 1, 1, tasks)))
    slopes = truth + runs + patients[0]
    return slopes, slopes + patients[1:], truth


def slow_reml(slopes, resampled, blocks, grid):
    """By the restricted likelihood of the task means, with dense matrices at every tau2."""
    tasks = slopes.shape[1]
    covariance = np.zeros((tasks, tasks))
    for i in range(len(blocks)):
        for j in range(len(blocks)):
            if i != j:
                pair = np.cov(resampled[:, i].T, resampled[:, j].T)[:tasks, tasks:]
                covariance += (pair + pair.T) / 2 / len(blocks) / (len(blocks) - 1)
    interaction = slopes - slopes.mean(0) - slopes.mean(1, keepdims=True) + slopes.mean()
    mean_square = (interaction**2).sum() / (tasks - 1) / (len(blocks) - 1)
    covariance += np.eye(tasks) * mean_square / len(blocks)
    ones, y, costs = np.ones((tasks, 1)), slopes.mean(axis=0), []
    for tau2 in grid:
        inverse = np.linalg.inv(covariance + tau2 * np.eye(tasks))
        information = float((ones.T @ inverse @ ones)[0, 0])
        rest = y - float((ones.T @ inverse @ y)[0]) / information
        costs.append(rest @ inverse @ rest - np.linalg.slogdet(inverse)[1] + math.log(information))
    return grid[int(np.argmin(costs))]


@pytest.mark.parametrize("seed", range(3))
def test_heterogeneity_is_that_of_the_restricted_likelihood_of_dense_matrices(seed):
    slopes, resampled, _ = made_up(np.random.default_rng(seed))
    grid = np.linspace(0, 4, 4001)
    expected = slow_reml(slopes, resampled, BLOCKS, grid)
    found = pool_slopes(slopes, resampled, BLOCKS, 0.95)
    assert found.tau2 == pytest.approx(expected, abs=0.002)
    assert found.tau2_low <= found.tau2 <= found.tau2_high
    assert found.these.value == pytest.approx(slopes.mean())
    assert found.these == contrast_estimate(slopes.mean(1), resampled.mean(2), BLOCKS, 0.95)
    assert found.i2_low <= found.i2 <= found.i2_high < 1


def test_without_other_noise_it_is_hartung_and_knapps_interval():
    """Tasks far apart, equal small noise of patients: t of the scatter between tasks."""
    rng = np.random.default_rng(1)
    tasks = 5
    slopes = np.repeat(100 * rng.normal(size=(1, tasks)), 2, axis=0)
    resampled = slopes + rng.normal(size=(4000, 1, tasks)).repeat(2, axis=1)
    found = pool_slopes(slopes, resampled, BLOCKS[:2], 0.95)
    known = stats.ttest_1samp(slopes[0], 0)
    low, high = known.confidence_interval(0.95)
    assert (found.alike.low, found.alike.high) == pytest.approx((low, high), rel=0.03)
    assert found.alike.p == pytest.approx(known.pvalue, rel=0.1)
    between = slopes[0].var(ddof=1)
    assert found.tau2 == pytest.approx(between, rel=0.01)
    ends = (tasks - 1) * between / stats.chi2(tasks - 1).ppf([0.975, 0.025])
    assert (found.tau2_low, found.tau2_high) == pytest.approx(ends, rel=0.03)


def test_patients_covariance_is_that_of_loops_over_pairs_of_runs():
    rng = np.random.default_rng(2)
    drawn = rng.normal(size=(50, 1, 3)) @ rng.normal(size=(3, 3)) + rng.normal(size=(50, 6, 3))
    blocks = [(order, seed) for order in range(3) for seed in range(2)]
    expected = np.zeros((3, 3))
    pairs = [
        (i, j)
        for i in range(6)
        for j in range(6)
        if blocks[i][0] != blocks[j][0] and blocks[i][1] != blocks[j][1]
    ]
    for i, j in pairs:
        expected += np.cov(drawn[:, i].T, drawn[:, j].T)[:3, 3:] / len(pairs)
    np.testing.assert_allclose(patients_covariance(drawn, blocks), expected, atol=1e-12)


def test_joint_draws_have_the_distribution_of_the_interval_of_a_contrast():
    rng = np.random.default_rng(3)
    slopes, resampled, _ = made_up(rng, blocks=3, tasks=4)
    blocks, weights = BLOCKS[:3], np.array([0.5, -1.0, 0.2, 1.0])
    drawn = joint_draws(slopes, resampled, blocks, 100_000, rng)
    off = np.abs((drawn - slopes.mean(axis=0)) @ weights)
    found = uncertainty(slopes @ weights, resampled @ weights, blocks)
    for alpha in (0.2, 0.05):
        assert (off > found.reach(alpha)).mean() == pytest.approx(alpha, rel=0.05)


@pytest.mark.parametrize(("tau", "tasks", "blocks"), [(0.0, 6, 3), (1.5, 6, 3), (0.5, 13, 2)])
def test_intervals_cover(tau, tasks, blocks):
    rng, seen = np.random.default_rng(4), []
    for _ in range(40):
        slopes, drawn, truth = made_up(rng, blocks, tasks, tau, resamples=60)
        found = pool_slopes(slopes, drawn, BLOCKS[:blocks], 0.95)
        ends = (found.these, truth.mean()), (found.alike, 0.0)
        row = [each.low <= value <= each.high for each, value in ends]
        seen.append([*row, found.tau2_low <= tau**2 <= found.tau2_high])
    # Two binomial standard errors at 0.95 are 0.069.
    assert (np.mean(seen, axis=0) > 0.95 - 0.069).all()


def test_nothing_known_of_the_noise_is_no_interval():
    found = pool_slopes(np.ones((1, 3)), np.empty((0, 1, 3)), [(0, 0)], 0.95)
    assert math.isnan(found.these.low)
    assert math.isnan(found.tau2)
    assert found.alike.covers == "nothing"


def test_objectives_are_pooled_by_kind_of_task_and_say_what_is_missing():
    tasks = ("ptb-xl-form", "ptb-xl-rhythm", "mc-med-sbp", "mimic-lvef")
    study = synthetic.make_study(tasks=tasks, objectives=("clef",))
    collection = collect(study_design(study), *synthetic.make_runs(study, slopes={"clef": 0.012}))
    found = groups(study_design(study), collection)
    areas, errors = pooled_slopes(found, 0.95)
    assert (areas.measure, errors.measure) == ("macro AUROC", "MAE, relative")
    assert areas.endpoints == tasks[:2]
    assert areas.pool.these.low < 0.012 < areas.pool.these.high
    assert errors.pool.these.high < 0
    assert not errors.higher_is_better
    # 0.012 of an AUROC is 0.24 of an error of about 12 units: 2 % a doubling.
    assert errors.pool.these.value == pytest.approx(-0.02, abs=0.008)
    broken = [found[0], replace(found[1], problem="gone"), *found[2:]]
    assert "1 of 2 tasks" in pooled_slopes(broken, 0.95)[0].problem
    assert pooled_slopes(broken, 0.95)[0].left_out == ("ptb-xl-rhythm: gone",)
