import math
from dataclasses import replace

import numpy as np
import pytest

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling import laws
from ecgscale.scaling.groups import Group
from ecgscale.scaling.laws import _FORMS, _fit, _refit, fit_laws

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
    found = by_name(fit_laws(make_group(error, SIZES)))
    assert found["power law"].params["alpha"] == pytest.approx(0.3, abs=0.01)
    floor = found["power law with floor"]
    assert floor.problem or floor.aicc > found["power law"].aicc - 2


def test_constant_wins_where_nothing_changes():
    rng = np.random.default_rng(2)
    error = 0.2 * np.exp(rng.normal(0, 0.02, (3, len(SIZES))))
    assert fit_laws(make_group(error, SIZES)).laws[0].name == "constant"


def test_log_linear_is_recovered_and_extrapolates():
    error = 0.4 - 0.02 * np.log2(SIZES)
    rng = np.random.default_rng(3)
    found = by_name(fit_laws(make_group(error + rng.normal(0, 1e-4, (3, len(SIZES))), SIZES)))
    assert found["log-linear"].params["b"] == pytest.approx(0.02, abs=1e-3)
    assert abs(found["log-linear"].extrapolation) < 1e-3
    assert found["log-linear"].aicc < found["constant"].aicc - 10


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


def noisy(rng, curve, blocks=3, run_sd=0.01, patient_sd=0.005, resamples=60):
    """A group whose log error is a curve, what runs add, and what test patients add to all."""
    shape = (resamples + 1, 1, len(curve))
    patients = patient_sd * (rng.normal(size=(resamples + 1, 1, 1)) + 0.2 * rng.normal(size=shape))
    logs = np.log(curve) + run_sd * rng.normal(size=(blocks, len(curve))) + patients[0]
    place = tuple((r, r) for r in range(blocks))
    group = make_group(np.exp(logs), SIZES[: len(curve)])
    return replace(group, blocks=place, replicates=1 - np.exp(logs + patients[1:]))


def test_refits_are_those_of_scipy_from_many_starts():
    rng, n = np.random.default_rng(5), SIZES.astype(float)
    curves = np.log(0.1 + 1.5 * n**-0.5) + 0.02 * rng.normal(size=(12, 8))
    for form in _FORMS:
        start, *_ = _fit(form, n, np.exp(curves.mean(axis=0)))
        for drawn, curve in zip(_refit(form, start, n, curves), curves, strict=True):
            _, cost, _ = _fit(form, n, np.exp(curve))
            mine = ((np.log(form.predict(drawn, n)) - curve) ** 2).sum()
            assert mine == pytest.approx(cost, rel=1e-4)


def test_intervals_of_parameters_and_of_the_held_out_size_cover(monkeypatch):
    monkeypatch.setattr(laws, "_FORMS", _FORMS[2:3])
    rng, seen = np.random.default_rng(6), []
    curve = 0.8 * SIZES**-0.2
    for _ in range(60):
        law = by_name(fit_laws(noisy(rng, curve), draws=200))["power law"]
        row = [
            low <= truth <= high
            for truth, (low, high) in zip(
                (0.8, 0.2), (law.intervals["A"], law.intervals["alpha"]), strict=True
            )
        ]
        seen.append([*row, not law.refuted])
    # Two binomial standard errors at 0.95 are 0.056.
    assert (np.mean(seen, axis=0) >= 0.95 - 0.056).all()


def test_a_law_that_the_largest_size_does_not_follow_is_refuted():
    rng = np.random.default_rng(7)
    curve = 0.8 * SIZES**-0.2
    curve[-1] = curve[-3]
    for metric in (AUROC, MAE):
        group = noisy(rng, curve, run_sd=0.001)
        if metric is MAE:
            endpoint = replace(group.endpoint, metric=MAE)
            group = replace(
                group, endpoint=endpoint, score=1 - group.score, replicates=1 - group.replicates
            )
        law = by_name(fit_laws(group))["power law"]
        assert law.refuted
        assert law.predicted_low < law.predicted < law.predicted_high
        observed = group.score[:, -1].mean()
        assert law.predicted - law.extrapolation == pytest.approx(observed)


def test_what_draws_leave_open_is_said():
    rng = np.random.default_rng(8)
    fits = fit_laws(noisy(rng, 0.1 + 1.5 * SIZES**-0.5, run_sd=0.06))
    assert "of the draws" in by_name(fits)["power law with floor"].unidentified
    assert fits.covers == "orders, seeds and test patients"
    sharp = fit_laws(noisy(rng, 0.1 + 1.5 * SIZES**-0.5, run_sd=0.001, patient_sd=0.001))
    law = by_name(sharp)["power law with floor"]
    assert law.unidentified == ""
    assert law.intervals["E"][0] < 0.1 < law.intervals["E"][1]
    one = fit_laws(make_group(0.8 * SIZES**-0.2, SIZES))
    assert one.covers == "nothing"
    assert by_name(one)["power law"].intervals == {}
