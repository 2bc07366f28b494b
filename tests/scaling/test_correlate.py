import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import main_metric
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import Group, groups
from ecgscale.scaling.power import simulate_power
from ecgscale.scaling.variance import Components, reseed_sd, slope_weights
from ecgscale.study.design import study_design
from support import runs as synthetic

OPTIONS = {"tests": 1, "confidence": 0.95, "permutations": 500, "bootstrap": 400, "seed": 0}


ENDPOINT = Endpoint("task", "task", Protocol(), main_metric("macro_auroc"))


def make_group(score, replicates=None):
    score = np.atleast_2d(np.asarray(score, dtype=float))
    blocks, k = score.shape
    if replicates is None:
        replicates = np.empty((0, blocks, k))
    return Group(
        "clef",
        "net1d-tiny",
        "fixed_steps",
        ENDPOINT,
        64 * 2 ** np.arange(k),
        tuple((replicate, replicate) for replicate in range(blocks)),
        score,
        replicates,
    )


def simulate(rng, blocks, k, slope, run_sd, patient_sd, resamples=150):
    """One study: patient noise is shared by all blocks, run noise is not."""
    truth = 0.8 + slope * np.arange(k)
    drawn = rng.normal(0, patient_sd, k) + rng.normal(0, run_sd, (blocks, 1))
    score = truth + drawn + rng.normal(0, run_sd, (blocks, k))
    return make_group(score, score + rng.normal(0, patient_sd, (resamples, 1, k)))


@pytest.mark.parametrize("blocks", [2, 3])
@pytest.mark.parametrize("slope", [0.0, 0.005])
def test_slope_intervals_cover_the_truth(blocks, slope):
    rng = np.random.default_rng(3)
    found = [
        correlate(simulate(rng, blocks, 5, slope, 0.004, 0.002), **OPTIONS) for _ in range(300)
    ]
    covered = np.mean([c.slope.low <= slope <= c.slope.high for c in found])
    assert 0.91 <= covered <= 0.99
    assert np.mean([c.slope.value for c in found]) == pytest.approx(slope, abs=0.0003)


@pytest.mark.parametrize("slope", [0.0, 0.003])
def test_rho_intervals_cover_the_mean_rho_of_repeated_studies(slope):
    rng = np.random.default_rng(4)
    found = [correlate(simulate(rng, 3, 5, slope, 0.004, 0.001), **OPTIONS) for _ in range(300)]
    expected = np.mean([c.rho.value for c in found])
    assert np.mean([c.rho.low <= expected <= c.rho.high for c in found]) >= 0.92
    assert np.mean([c.tau.low <= c.tau.value <= c.tau.high for c in found]) == 1


def test_detectable_slope_of_a_study_is_that_of_its_components():
    """The noise of a study is an estimate: the range that is given holds the true one mostly."""
    rng = np.random.default_rng(5)
    found = [correlate(simulate(rng, 3, 5, 0.0, 0.004, 1e-6), **OPTIONS) for _ in range(150)]
    run = 0.004**2 * float(np.sum(slope_weights(np.arange(5.0)) ** 2))
    true = simulate_power(
        Components(math.nan, math.nan, run, 0.0), found[0].group.blocks, tests=1, alpha=0.05
    ).detectable()
    inside = [c.detectable_low <= true <= c.detectable_high for c in found]
    assert 0.72 <= np.mean(inside) <= 0.88
    assert all(c.detectable_low < c.detectable_slope < c.detectable_high for c in found)


def test_slope_is_least_squares_with_block_intercepts():
    rng = np.random.default_rng(6)
    score = rng.normal(0.8, 0.01, (3, 6))
    x = np.tile(np.arange(6.0), 3)
    design = np.column_stack([x, *np.repeat(np.eye(3), 6, axis=0).T])
    expected = np.linalg.lstsq(design, score.ravel(), rcond=None)[0][0]
    assert correlate(make_group(score), **OPTIONS).slope.value == pytest.approx(expected)


def test_slope_is_tested_by_the_slopes_of_the_replicates():
    """Without resamples of patients: the t test of one slope a replicate, each by polyfit."""
    rng = np.random.default_rng(7)
    score = rng.normal(0.8, 0.01, (3, 5))
    found = correlate(make_group(score), **OPTIONS)
    slopes = [np.polyfit(np.arange(5.0), row, 1)[0] for row in score]
    known = stats.ttest_1samp(slopes, 0)
    assert found.slope.se == pytest.approx(np.std(slopes, ddof=1) / math.sqrt(3))
    assert found.slope.p == pytest.approx(known.pvalue)
    assert (found.slope.df, found.components.run) == pytest.approx((2, np.var(slopes, ddof=1)))
    assert found.slope.covers == "orders and seeds"


def test_one_block_has_intervals_of_test_patients_only():
    rng = np.random.default_rng(8)
    curve = 0.8 + 0.01 * np.arange(5)
    noise = rng.normal(0, 0.002, (500, 1, 5))
    found = correlate(make_group(curve, curve + noise), **OPTIONS)
    assert found.slope.covers == found.rho.covers == "test patients only"
    assert found.slope.se == pytest.approx((noise @ slope_weights(np.arange(5.0))).std(ddof=1))
    assert math.isnan(found.reseed_sd)
    assert math.isnan(found.detectable_slope)


def test_one_block_without_resamples_has_no_interval_and_says_so():
    found = correlate(make_group([0.70, 0.72, 0.71, 0.75, 0.76]), **OPTIONS)
    assert found.slope.covers == "nothing"
    assert math.isnan(found.slope.low)
    assert math.isnan(found.rho.low)
    assert math.isnan(found.detectable_slope)


def test_patients_shared_by_all_runs_cancel_from_the_slope():
    rng = np.random.default_rng(9)
    score = 0.8 + rng.normal(0, 0.004, (3, 5))
    shift = rng.normal(0, 0.05, (400, 1, 1))
    with_patients = correlate(make_group(score, score + shift), **OPTIONS)
    without = correlate(make_group(score), **OPTIONS)
    assert with_patients.slope.se == pytest.approx(without.slope.se)


def test_reseed_sd_is_the_spread_between_blocks_at_equal_size():
    rng = np.random.default_rng(10)
    score = rng.normal(0, 0.01, (4, 400)) + np.linspace(0, 1, 400)
    assert reseed_sd(score) == pytest.approx(0.01, rel=0.1)


def test_same_input_same_numbers():
    group = simulate(np.random.default_rng(11), 3, 5, 0.004, 0.004, 0.002)
    one, other = correlate(group, **OPTIONS), correlate(group, **OPTIONS)
    assert (one.rho, one.tau, one.slope) == (other.rho, other.tau, other.slope)


@given(st.permutations(range(3)), st.floats(-0.2, 0.1))
@settings(max_examples=20, deadline=None)
def test_order_of_blocks_and_level_do_not_matter(order, shift):
    rng = np.random.default_rng(12)
    score = rng.normal(0.7, 0.01, (3, 5))
    one = correlate(make_group(score), **OPTIONS)
    other = correlate(make_group(score[list(order)] + shift), **OPTIONS)
    assert other.rho_test.p == pytest.approx(one.rho_test.p)
    assert other.slope.value == pytest.approx(one.slope.value)
    assert other.slope.se == pytest.approx(one.slope.se)


def test_an_error_has_the_numbers_of_its_mirror_image():
    """`PER_AUROC` times an AUROC: slopes and intervals scale, coefficients change sign."""
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    found = groups(study_design(study), collect(study_design(study), *synthetic.make_runs(study)))
    error = Endpoint("mc-med-sbp", "mc-med-sbp", Protocol(), main_metric("mae", "mmHg"))
    factor = synthetic.PER_AUROC
    mirrored = replace(
        found[0],
        endpoint=error,
        score=factor * found[0].score,
        replicates=factor * found[0].replicates,
    )
    up, down = correlate(found[0], **OPTIONS), correlate(mirrored, **OPTIONS)
    assert down.slope.value == pytest.approx(factor * up.slope.value)
    assert down.slope.low == pytest.approx(factor * up.slope.high)
    assert down.rho.value == pytest.approx(-up.rho.value)
    assert down.rho_test.p == pytest.approx(up.rho_test.p)
    assert down.detectable_slope == pytest.approx(abs(factor) * up.detectable_slope)
