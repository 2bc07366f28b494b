"""Power against whole simulated studies, and against closed forms where there are some."""

import math
from dataclasses import replace
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from ecgscale.scaling.claims import claims
from ecgscale.scaling.groups import Group
from ecgscale.scaling.power import simulate_power, times, variance_limits
from ecgscale.scaling.variance import (
    Components,
    Uncertainty,
    contrast_estimate,
    slope_weights,
    uncertainty,
)
from ecgscale.study.design import study_design
from support import runs as synthetic

SIZES = 64 * 2 ** np.arange(5)
WEIGHTS = slope_weights(np.log2(SIZES))
REPLICATES = {count: tuple((r, r) for r in range(count)) for count in (2, 3, 5)}
CROSSED = tuple(product(range(3), range(3)))


def components(order=0.0, seed=0.0, run=0.0, patients=0.0):
    return Components(order**2, seed**2, run**2, patients**2)


def whole_studies(noise, blocks, tests, slope, studies=300, resamples=60):
    """Return the verdicts of the first of several objectives in simulated studies."""
    study = synthetic.make_study(objectives=("clef",), tasks=("ptb-xl-form",))
    names = tuple(f"o{number}" for number in range(tests))
    design = replace(
        study_design(study),
        objectives=names,
        control_of=dict.fromkeys(names),
        arm_of=dict.fromkeys(names),
    )
    rng = np.random.default_rng(1)
    orders, seeds = (np.array(axis) for axis in zip(*blocks, strict=True))
    x = np.log2(SIZES) - np.log2(SIZES).mean()
    sds = {name: math.sqrt(part) for name, part in vars(noise).items()}
    verdicts = []
    for _ in range(studies):
        results = []
        for number, name in enumerate(names):
            drawn = rng.normal(0, sds["order"], orders.max() + 1)[orders]
            drawn += rng.normal(0, sds["seed"], seeds.max() + 1)[seeds]
            slopes = drawn + rng.normal(0, sds["run"], len(blocks))
            score = 0.8 + np.outer(slopes + slope * (number == 0), x)
            patients = np.outer(rng.normal(0, sds["patients"], resamples + 1), x)
            score = score + patients[0]
            drawn = score + patients[1:, None]
            group = Group(name, "net1d-tiny", "", design.primary, SIZES, blocks, score, drawn)
            of_slope = (score @ WEIGHTS, drawn @ WEIGHTS, blocks)
            slope_found = contrast_estimate(*of_slope, 0.95)
            # What a verdict reads of a correlation; the rest of it takes the time.
            found = SimpleNamespace(group=group, slope=slope_found, variance=uncertainty(*of_slope))
            results.append((group, found))
        verdicts.append(claims(results, design, 0.95)[0].verdict)
    return verdicts


@pytest.mark.parametrize(
    ("noise", "blocks", "tests"),
    [
        (components(run=0.001), REPLICATES[3], 2),
        (components(run=0.0008, patients=0.0008), REPLICATES[5], 3),
        (components(order=0.0005, seed=0.0003, run=0.001, patients=0.0003), CROSSED, 1),
    ],
)
def test_power_is_that_of_whole_studies(noise, blocks, tests):
    found = simulate_power(noise, blocks, tests=tests, alpha=0.05)
    slope = found.detectable(0.7)
    assert found.found(slope) == pytest.approx(0.7, abs=0.001)
    verdicts = whole_studies(noise, blocks, tests, slope)
    error = math.sqrt(0.7 * 0.3 / len(verdicts))
    assert np.mean([v == "rises" for v in verdicts]) == pytest.approx(0.7, abs=3 * error)


def test_the_chance_of_no_effect_of_interest_is_that_of_whole_studies():
    noise = components(run=0.0014, patients=0.0003)
    found = simulate_power(noise, REPLICATES[5], tests=2, alpha=0.05)
    expected = found.no_effect(0.002)
    assert 0.2 < expected < 0.9
    verdicts = whole_studies(noise, REPLICATES[5], 2, slope=0.0)
    error = math.sqrt(expected * (1 - expected) / len(verdicts))
    reached = np.mean([v == "no effect of interest" for v in verdicts])
    assert reached == pytest.approx(expected, abs=3 * error)


def test_power_of_one_test_of_replicates_alone_is_that_of_the_t_test():
    """Non-central Student's t, where test patients add nothing."""
    for count, blocks in REPLICATES.items():
        found = simulate_power(components(run=0.001), blocks, tests=1, alpha=0.05, draws=20000)
        for slope in (0.001, 0.003):
            shift = slope / (0.001 / math.sqrt(count))
            limit = stats.t.isf(0.025, count - 1)
            expected = stats.nct.sf(limit, count - 1, shift)
            assert found.found(slope) == pytest.approx(expected, abs=0.012)


def test_power_where_patients_are_all_the_noise_is_that_of_the_normal_test():
    found = simulate_power(
        components(run=1e-9, patients=0.001), REPLICATES[3], tests=4, alpha=0.05, draws=20000
    )
    expected = stats.norm.sf(stats.norm.isf(0.05 / 8) - 2.5)
    assert found.found(0.0025) == pytest.approx(expected, abs=0.012)


def test_widths_are_those_of_the_interval():
    rng = np.random.default_rng(2)
    for blocks in (REPLICATES[2], REPLICATES[5]):
        noise = components(run=0.001, patients=0.0007)
        found = simulate_power(noise, blocks, tests=1, alpha=0.05)
        for draw in rng.integers(len(found.runs), size=20):
            known = Uncertainty(found.runs[draw, 0], len(blocks) - 1.0, found.patients)
            needed = known.reach(0.05) - found.errors[draw, 0]
            assert found.found(needed * 1.002 + 1e-9) > found.found(needed * 0.998 - 1e-9)


def test_more_replicates_fewer_tests_and_less_noise_find_more():
    noise = components(run=0.001, patients=0.0002)
    few, many = (simulate_power(noise, REPLICATES[count], tests=2, alpha=0.05) for count in (3, 5))
    alone = simulate_power(noise, REPLICATES[3], tests=1, alpha=0.05)
    assert few.found(0.002) < alone.found(0.002) < many.found(0.002)
    assert many.no_effect(0.002) > few.no_effect(0.002)
    louder = simulate_power(times(noise, 4), REPLICATES[3], tests=2, alpha=0.05)
    assert louder.found(0.002) < few.found(0.002)
    assert few.found(0.002) == few.found(-0.002)


def test_one_replicate_is_no_test():
    assert simulate_power(components(run=0.001), [(0, 0)], tests=1, alpha=0.05) is None


def test_limits_of_a_variance_cover_it():
    rng = np.random.default_rng(3)
    for df in (1, 4):
        low, high = variance_limits(df)
        found = rng.chisquare(df, 20000) / df
        assert np.mean((low * found <= 1) & (high * found >= 1)) == pytest.approx(0.8, abs=0.01)
