"""Noise of pilots of known truth, and of other sizes than theirs."""

import math
from itertools import product

import numpy as np
import pytest

from ecgscale.errors import BadInputError
from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import main_metric
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.groups import Group
from ecgscale.scaling.noise import Noise, estimate_noise, planned_power, spread
from ecgscale.scaling.power import simulate_power
from ecgscale.scaling.variance import Components, slope_weights

ENDPOINT = Endpoint("task", "task", Protocol(), main_metric("macro_auroc"))


def pilot(rng, blocks, k, run, slope, patients, groups=1, resamples=300):
    x = np.arange(k) - (k - 1) / 2
    made = []
    for number in range(groups):
        slopes = rng.normal(0.01, slope, (blocks, 1))
        score = 0.8 + slopes * x + rng.normal(0, run, (blocks, k)) + np.sqrt(np.arange(k)) / 50
        drawn = score + rng.normal(0, patients, (resamples, 1, 1)) * x
        pairs = tuple((r, r) for r in range(blocks))
        sizes = 64 * 2 ** np.arange(k)
        made.append(Group(f"o{number}", "e", "", ENDPOINT, sizes, pairs, score, drawn))
    return made


def test_a_pilots_noise_is_found_again():
    rng = np.random.default_rng(0)
    found = estimate_noise(pilot(rng, 40, 5, 0.004, 0.002, 0.0007, groups=4))
    assert found.run == pytest.approx(0.004, rel=0.1)
    assert found.slope == pytest.approx(0.002, rel=0.15)
    assert found.patients == pytest.approx(0.0007, rel=0.1)
    assert (found.df, found.spread) == (4 * 39, 10)


def test_noise_of_the_pilots_own_sizes_is_the_mean_square_of_its_slopes():
    """Unless slopes vary less than their runs, whose noise is then known from both."""
    rng = np.random.default_rng(1)
    above = 0
    for _ in range(30):
        (group,) = pilot(rng, 3, 5, 0.004, 0.001, 0.0)
        slopes = group.score @ slope_weights(np.log2(group.sizes))
        found = estimate_noise([group])
        if found.slope > 0:
            above += 1
            own = found.components(group.sizes.tolist()).run
            assert own == pytest.approx(slopes.var(ddof=1))
        else:
            residual = group.score - group.score.mean(axis=0)
            residual -= residual.mean(axis=1, keepdims=True)
            assert found.run**2 == pytest.approx(float((residual**2).sum()) / 8)
    assert 5 < above < 30


def test_one_replicate_shows_the_scatter_about_its_line():
    score = np.array([[0.70, 0.72, 0.71, 0.75, 0.76]])
    sizes = 64 * 2 ** np.arange(5)
    group = Group("o", "e", "", ENDPOINT, sizes, ((0, 0),), score, np.empty((0, 1, 5)))
    found = estimate_noise([group])
    fitted = np.polyval(np.polyfit(np.arange(5), score[0], 1), np.arange(5))
    assert found.run == pytest.approx(math.sqrt(((score[0] - fitted) ** 2).sum() / 3))
    assert (found.slope, found.patients, found.df) == (0.0, 0.0, 3.0)


def test_two_sizes_show_no_scatter():
    group = Group(
        *("o", "e", "", ENDPOINT, np.array([64, 128]), ((0, 0), (1, 1))),
        *(np.zeros((2, 2)), np.empty((0, 2, 2))),
    )
    with pytest.raises(BadInputError, match="a pilot with 2 sizes"):
        estimate_noise([group])


def test_more_sizes_average_out_runs_and_nothing_else():
    noise = Noise(run=0.004, slope=0.001, patients=0.0005, df=math.inf, spread=spread([64, 1024]))
    few, many = (
        noise.components(np.geomspace(64, 1024, k).round().astype(int).tolist()) for k in (3, 9)
    )
    runs_few, runs_many = 0.004**2 / 8, 0.004**2 / 15
    assert few.run - many.run == pytest.approx(runs_few - runs_many, rel=0.01)
    assert few.patients == many.patients == pytest.approx(0.0005**2)
    narrow = noise.components([64, 128, 256])
    assert narrow.patients == pytest.approx(0.0005**2 * 8 / 2)


def test_crossed_designs_are_planned_with_the_split_that_finds_least():
    noise = Noise(run=0.004, slope=0.0, patients=0.0, df=math.inf, spread=10.0)
    sizes, blocks = [64, 128, 256, 512, 1024], tuple(product(range(3), range(2)))
    run = 0.004**2 / 10
    options = {"tests": 2, "alpha": 0.05}
    found = planned_power(noise, sizes, blocks, **options)
    by_seed = simulate_power(Components(0.0, run, 0.0, 0.0), blocks, **options)
    assert found.found(0.002) == by_seed.found(0.002)
    for parts in ((run, 0.0, 0.0), (0.0, 0.0, run)):
        other = simulate_power(Components(*parts, 0.0), blocks, **options)
        assert found.detectable() >= other.detectable()
    assert planned_power(noise, sizes, [(0, 0)], **options) is None
