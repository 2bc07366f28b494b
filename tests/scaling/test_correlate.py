import math
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import (
    ALPHA,
    COEFFICIENTS,
    Group,
    compare,
    correlate,
    groups,
    kendall,
    permutation_test,
    reseed_sd,
    slope_weights,
    spearman,
)
from ecgscale.study.endpoints import primary
from support import runs as synthetic

OPTIONS = {"confidence": 0.95, "permutations": 500, "bootstrap": 400, "seed": 0}


ENDPOINT = Endpoint("task", "task", Protocol(), MacroAuroc())


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
        tuple((order, 0) for order in range(blocks)),
        score,
        replicates,
    )


def simulate(rng, blocks, k, slope, run_sd, patient_sd, resamples=150):
    """One study: patient noise is shared by all blocks, run noise is not."""
    truth = 0.8 + slope * np.arange(k)
    drawn = rng.normal(0, patient_sd, k) + rng.normal(0, run_sd, (blocks, 1))
    score = truth + drawn + rng.normal(0, run_sd, (blocks, k))
    return make_group(score, score + rng.normal(0, patient_sd, (resamples, 1, k)))


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


def test_detectable_slope_is_found_with_the_stated_power():
    rng = np.random.default_rng(5)
    design = {"blocks": 3, "k": 5, "run_sd": 0.004, "patient_sd": 1e-6}
    nothing = [correlate(simulate(rng, slope=0.0, **design), **OPTIONS) for _ in range(60)]
    slope = float(np.median([c.detectable_slope for c in nothing]))
    found = [correlate(simulate(rng, slope=slope, **design), **OPTIONS) for _ in range(200)]
    power = np.mean([c.slope.low > 0 for c in found])
    assert 0.70 <= power <= 0.92
    assert ALPHA == 0.05


def test_slope_is_least_squares_with_block_intercepts():
    rng = np.random.default_rng(6)
    score = rng.normal(0.8, 0.01, (3, 6))
    x = np.tile(np.arange(6.0), 3)
    design = np.column_stack([x, *np.repeat(np.eye(3), 6, axis=0).T])
    expected = np.linalg.lstsq(design, score.ravel(), rcond=None)[0][0]
    assert correlate(make_group(score), **OPTIONS).slope.value == pytest.approx(expected)


def test_slope_standard_error_is_that_of_the_randomised_block_analysis():
    rng = np.random.default_rng(7)
    score = rng.normal(0.8, 0.01, (3, 5))
    found = correlate(make_group(score), **OPTIONS)
    residual = score - score.mean(0) - score.mean(1, keepdims=True) + score.mean()
    variance = (residual**2).sum() / (2 * 4) / (3 * 10)
    assert found.slope.se == pytest.approx(math.sqrt(variance))
    assert found.slope.df == pytest.approx(8)
    assert found.slope.covers == "runs only"


def test_one_block_has_intervals_of_test_patients_only():
    rng = np.random.default_rng(8)
    curve = 0.8 + 0.01 * np.arange(5)
    noise = rng.normal(0, 0.002, (500, 1, 5))
    found = correlate(make_group(curve, curve + noise), **OPTIONS)
    assert found.slope.covers == found.rho.covers == "test patients only"
    assert found.slope.se == pytest.approx((noise @ slope_weights(np.arange(5.0))).std(ddof=1))
    assert math.isnan(found.reseed_sd)
    assert found.detectable_from == "residuals"
    assert found.detectable_slope > 0


def test_one_block_without_resamples_has_no_interval_and_says_so():
    found = correlate(make_group([0.70, 0.72, 0.71, 0.75, 0.76]), **OPTIONS)
    assert found.slope.covers == "nothing"
    assert math.isnan(found.slope.low)
    assert math.isnan(found.rho.low)
    assert found.detectable_slope > 0


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


class TestGroups:
    def find(self, study, **options):
        collection = collect(study, *synthetic.make_runs(study, **options))
        return collection, groups(study, collection)

    def test_every_objective_and_task_is_there(self):
        study = synthetic.make_study()
        _, found = self.find(study)
        assert len(found) == 3 * 4
        assert all(g.score.shape == (3, 5) and g.replicates.shape == (200, 3, 5) for g in found)

    def test_incomplete_group_has_no_numbers(self):
        study = synthetic.make_study()
        _, found = self.find(study, missing=["clef/net1d-tiny/n128-o1-s0"])
        clef = [g for g in found if g.objective == "clef"]
        assert all(g.problem == "1 of 15 runs is missing" for g in clef)
        assert correlate(clef[0], **OPTIONS) is None
        assert not any(g.problem for g in found if g.objective != "clef")

    def test_collapsed_run_takes_its_block_out(self):
        study = synthetic.make_study()
        cell = "clef/net1d-tiny/n256-o1-s0"
        _, found = self.find(study, collapsed=[cell])
        group = next(g for g in found if g.objective == "clef")
        assert group.blocks == ((0, 0), (2, 0))
        assert cell in group.left_out[0]

    def test_all_blocks_collapsed_is_a_problem(self):
        study = synthetic.make_study(orders=(0,))
        _, found = self.find(study, collapsed=["clef/net1d-tiny/n256-o0-s0"])
        assert next(g for g in found if g.objective == "clef").problem

    def test_two_sizes_are_too_few(self):
        study = synthetic.make_study(sizes=(128, 256))
        _, found = self.find(study)
        assert all("too few" in g.problem for g in found)

    def test_nan_resamples_are_dropped_in_all_runs_together(self):
        study = synthetic.make_study()
        pretrain, evaluate = synthetic.make_runs(study)
        evaluate[0].record.details["tasks"][study.evaluation.tasks[0]]["replicates"][7] = None
        found = groups(study, collect(study, pretrain, evaluate))
        assert found[0].replicates.shape == (199, 3, 5)

    def test_comparisons_recover_the_known_differences(self):
        study = synthetic.make_study(orders=(0, 1, 2, 3))
        collection, found = self.find(study, slopes={"clef": 0.012, "clef-uniform": 0.002})
        results = {
            (c.objective, c.control): c
            for c in compare(study, collection, found, 0.95)
            if c.endpoint == primary(study)
        }
        paired = results["clef", "clef-uniform"]
        assert paired.slope.low < 0.010 < paired.slope.high
        assert paired.slope.low > 0
        assert paired.level.low < 4 * 0.010 < paired.level.high
        random = results["clef", "random"]
        assert random.slope is None
        assert random.level.low < 4 * 0.012 + 0.04 < random.level.high
        assert random.level.covers == "the objective's runs and test patients"
        assert results["clef", "age-sex"].level.covers == "runs and test patients"
        assert ("clef-uniform", "random") not in results

    def test_an_error_has_the_numbers_of_its_mirror_image(self):
        """`PER_AUROC` times an AUROC: slopes and intervals scale, coefficients change sign."""
        study = synthetic.make_study(tasks=("ptb-xl-form",))
        _, found = self.find(study)
        error = Endpoint("mc-med-sbp", "mc-med-sbp", Protocol(), Mae("mmHg"))
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

    def test_every_protocol_has_its_groups_and_comparisons(self):
        study = synthetic.make_study(
            tasks=("ptb-xl-form", "mc-med-sbp"), protocols=synthetic.PROTOCOLS[:2]
        )
        collection, found = self.find(study, slopes={"clef": 0.02}, run_sd=0.001)
        slopes = {
            g.endpoint.name: correlate(g, **OPTIONS).slope.value
            for g in found
            if g.objective == "clef"
        }
        assert slopes["ptb-xl-form"] == pytest.approx(0.02, abs=0.002)
        assert slopes["ptb-xl-form@linear-10pct"] == pytest.approx(0.026, abs=0.002)
        assert slopes["mc-med-sbp"] == pytest.approx(-0.4, abs=0.04)
        results = compare(study, collection, found, 0.95)
        with_random = {c.endpoint.name: c for c in results if c.control == "random"}
        assert set(with_random) == set(slopes)
        assert with_random["mc-med-sbp"].level.high < 0
        only_first = {c.endpoint.name for c in results if c.control == "age-sex"}
        assert only_first == {"ptb-xl-form", "mc-med-sbp"}

    def test_a_missing_endpoint_is_a_problem_of_its_group_alone(self):
        study = synthetic.make_study(tasks=("ptb-xl-form",), protocols=synthetic.PROTOCOLS[:2])
        pretrain, evaluate = synthetic.make_runs(study)
        del evaluate[0].record.details["tasks"]["ptb-xl-form@linear-10pct"]
        found = groups(study, collect(study, pretrain, evaluate))
        problems = {(g.objective, g.endpoint.name): g.problem for g in found if g.problem}
        assert problems == {("clef", "ptb-xl-form@linear-10pct"): "1 of 15 runs is missing"}
