"""Shapes of curves whose truth is known."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.groups import Group
from ecgscale.scaling.shape import shape

SIZES = 64 * 2 ** np.arange(6)
STEPS = np.arange(6)
CURVES = {
    "improves throughout": 0.010 * STEPS,
    "saturates": 0.015 * np.minimum(STEPS, 2),
    "only the first step": 0.03 * np.minimum(STEPS, 1),
    "negligible": 0.0001 * STEPS,
    "no gain": -0.01 * STEPS,
}


def made_up(rng, curve, blocks=4, run_sd=0.001, patient_sd=0.002, metric=None):
    metric = metric or MacroAuroc()
    patients = patient_sd * rng.normal(size=(101, 1, 1)) + 0.0003 * rng.normal(size=(101, 1, 6))
    score = 0.8 + curve + run_sd * rng.normal(size=(blocks, 6)) + patients[0]
    drawn = score + patients[1:]
    if not metric.higher_is_better:
        score, drawn = 20 - 20 * score, 20 - 20 * drawn
    endpoint = Endpoint("t", "t", Protocol(), metric)
    place = tuple((r, r) for r in range(blocks))
    return Group("clef", "e", "r", endpoint, SIZES, place, score, drawn)


@pytest.mark.parametrize("form", CURVES)
def test_a_clear_curve_has_its_form_in_either_direction(form):
    rng = np.random.default_rng(0)
    found = shape(made_up(rng, CURVES[form]), 0.95, 0.002)
    assert found.form == form
    error = shape(made_up(rng, CURVES[form], metric=Mae("mmHg")), 0.95, 0.04)
    assert error.form == form
    start = {"saturates": 2, "only the first step": 1, "negligible": 0}.get(form)
    assert found.saturates_from == error.saturates_from == start


def test_the_numbers_are_those_of_least_squares():
    group = made_up(np.random.default_rng(1), 0.015 * np.minimum(STEPS, 2))
    found, means, x = shape(group, 0.95, 0.002), group.score.mean(axis=0), np.log2(SIZES)
    assert found.quadratic.value == pytest.approx(np.polyfit(x, means, 2)[0])
    assert found.last_three.value == pytest.approx(np.polyfit(x[3:], means[3:], 1)[0])
    assert found.last_two.value == pytest.approx(means[5] - means[4]) == found.steps[-1].value
    assert found.first.value == pytest.approx(np.polyfit(x[:3], means[:3], 1)[0])
    assert found.isotonic == pytest.approx(IsotonicRegression().fit_transform(x, means))
    assert found.quadratic.high < 0


def test_what_noise_hides_is_not_told_apart_and_nothing_saturates_without_a_bound():
    rng = np.random.default_rng(5)
    bend = 0.015 * np.minimum(STEPS, 2)
    assert shape(made_up(rng, bend), 0.95, np.nan).form == "slows down"
    assert shape(made_up(rng, 0 * STEPS, run_sd=0.03), 0.95, 0.002).form == "no gain"
    assert shape(made_up(rng, bend, blocks=1), 0.95, 0.002).form == "not tested"
    assert shape(replace(made_up(rng, bend), problem="gone"), 0.95, 0.002) is None


def test_a_curve_that_goes_on_is_rarely_called_saturated_and_a_flat_end_rarely_rising():
    rng, found = np.random.default_rng(3), {"rises": Counter(), "flat": Counter()}
    for _ in range(80):
        # Just at the bound after the second step, and flat after it.
        at_bound = 0.01 * np.minimum(STEPS, 2) + 0.002 * np.maximum(STEPS - 2, 0)
        for name, curve in (("rises", at_bound), ("flat", 0.01 * np.minimum(STEPS, 2))):
            found[name][shape(made_up(rng, curve, 3), 0.95, 0.002).form] += 1
    # Two binomial standard errors at 0.05 are 0.049.
    assert found["rises"]["saturates"] / 80 <= 0.05 + 0.049
    assert found["flat"]["improves throughout"] / 80 <= 0.05 + 0.049
