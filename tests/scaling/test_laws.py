import math

import numpy as np
import pytest

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.groups import Group
from ecgscale.scaling.laws import fit_laws

AUROC, MAE = MacroAuroc(), Mae("mmHg")


def make_group(error, sizes, problem="", metric=AUROC):
    error = np.atleast_2d(error)
    score = 1 - error if metric.higher_is_better else error
    endpoint = Endpoint("t", "t", Protocol(), metric)
    blocks = tuple((order, 0) for order in range(len(error)))
    empty = np.empty((0, *error.shape))
    return Group("clef", "e", "r", endpoint, sizes, blocks, score, empty, problem=problem)


SIZES = 64 * 2 ** np.arange(8)


def by_name(comparison):
    return {law.name: law for law in comparison.laws}


@pytest.mark.parametrize(("floor", "a", "alpha"), [(0.08, 1.2, 0.4), (0.15, 4.0, 0.8)])
def test_recovers_a_power_law_with_a_floor(floor, a, alpha):
    rng = np.random.default_rng(0)
    error = (floor + a * SIZES**-alpha) * np.exp(rng.normal(0, 0.002, (4, len(SIZES))))
    comparison = fit_laws(make_group(error, SIZES))
    best = comparison.laws[0]
    assert best.name == "power law with floor"
    assert best.params["E"] == pytest.approx(floor, rel=0.1)
    assert best.params["alpha"] == pytest.approx(alpha, rel=0.1)
    assert best.params["A"] == pytest.approx(a, rel=0.3)
    assert abs(best.extrapolation) < 0.005
    assert not comparison.undecided


def test_recovers_a_power_law_without_a_floor():
    rng = np.random.default_rng(1)
    error = 0.9 * SIZES**-0.3 * np.exp(rng.normal(0, 0.003, (3, len(SIZES))))
    laws = by_name(fit_laws(make_group(error, SIZES)))
    assert laws["power law"].params["alpha"] == pytest.approx(0.3, abs=0.01)
    floor = laws["power law with floor"]
    assert floor.problem or floor.aicc > laws["power law"].aicc - 2


def test_constant_wins_where_nothing_changes():
    rng = np.random.default_rng(2)
    error = 0.2 * np.exp(rng.normal(0, 0.02, (3, len(SIZES))))
    assert fit_laws(make_group(error, SIZES)).laws[0].name == "constant"


def test_log_linear_is_recovered_and_extrapolates():
    error = 0.4 - 0.02 * np.log2(SIZES)
    rng = np.random.default_rng(3)
    laws = by_name(fit_laws(make_group(error + rng.normal(0, 1e-4, (3, len(SIZES))), SIZES)))
    assert laws["log-linear"].params["b"] == pytest.approx(0.02, abs=1e-3)
    assert abs(laws["log-linear"].extrapolation) < 1e-3
    assert laws["log-linear"].aicc < laws["constant"].aicc - 10


def test_rising_error_has_no_power_law_with_floor():
    error = 0.2 + 0.01 * np.arange(8)
    assert by_name(fit_laws(make_group(error, SIZES)))["power law with floor"].problem


def test_too_few_sizes_are_not_fitted_and_say_why():
    comparison = fit_laws(make_group([0.3, 0.25, 0.22, 0.2], SIZES[:4]))
    assert comparison.laws == ()
    assert "4 sizes" in comparison.problem


def test_five_runs_are_too_few_for_the_aicc_of_three_parameters():
    error = 0.1 + 2 * SIZES[:5] ** -0.5
    law = by_name(fit_laws(make_group(error, SIZES[:5])))["power law with floor"]
    assert math.isnan(law.aicc)


def test_problems_are_passed_on():
    assert fit_laws(make_group([0.3] * 5, SIZES[:5], problem="gone")).problem == "gone"
    assert "AUROC of 1" in fit_laws(make_group([0.3, 0.2, 0.1, 0.05, 0.0], SIZES[:5])).problem
    none = fit_laws(make_group([3.0, 2.0, 1.0, 0.5, 0.0], SIZES[:5], metric=MAE))
    assert "error of 0" in none.problem


def test_laws_of_a_mean_absolute_error_are_those_of_the_error_itself():
    rng = np.random.default_rng(4)
    error = (8.0 + 90 * SIZES**-0.5) * np.exp(rng.normal(0, 0.001, (4, len(SIZES))))
    best = fit_laws(make_group(error, SIZES, metric=MAE)).laws[0]
    assert best.name == "power law with floor"
    assert best.params["E"] == pytest.approx(8.0, rel=0.05)
    assert best.params["A"] == pytest.approx(90, rel=0.3)
    assert best.params["alpha"] == pytest.approx(0.5, rel=0.1)


def test_extrapolation_is_predicted_minus_observed_in_the_metrics_own_direction():
    """A curve that stops falling: without its last size, laws predict too small an error."""
    error = np.tile(0.5 * SIZES**-0.3, (3, 1))
    error[:, -1] = error[:, -2]
    for metric, sign in ((AUROC, 1), (MAE, -1)):
        law = by_name(fit_laws(make_group(error, SIZES, metric=metric)))["power law"]
        expected = 0.5 * SIZES[-1] ** -0.3 - error[0, -1]
        assert expected < 0
        assert law.extrapolation == pytest.approx(-sign * expected)
