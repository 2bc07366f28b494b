"""Objectives against each other, and whether their ranks stay."""

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.groups import Group
from ecgscale.scaling.rivals import concordance, duels, kendall_w

SIZES = 64 * 2 ** np.arange(4)


def made_up(rng, curves, blocks=4, run_sd=0.002, metric=None, resamples=80):
    """Groups of one endpoint; a block's luck and the patients move all of them alike."""
    metric = metric or MacroAuroc()
    luck, patients = (
        0.05 * rng.normal(size=(blocks, 1)),
        0.05 * rng.normal(size=(resamples + 1, 1, 1)),
    )
    place, found = tuple((r, r) for r in range(blocks)), []
    for name, curve in curves.items():
        score = 0.8 + curve + luck + run_sd * rng.normal(size=(blocks, len(SIZES))) + patients[0]
        drawn = score + patients[1:] + 0.0005 * rng.normal(size=(resamples, 1, len(SIZES)))
        endpoint = Endpoint("t", "t", Protocol(), metric)
        found.append(Group(name, "e", "r", endpoint, SIZES, place, score, drawn))
    return found


def test_duels_are_paired_and_adjusted_over_all_of_them():
    rng = np.random.default_rng(0)
    step = np.arange(4)
    groups = made_up(rng, {"a": 0.01 * step, "b": 0.0 * step, "c": 0.0 * step})
    found = duels([*groups, replace(groups[0], problem="a run is missing")], 0.95)
    assert len(found) == 3 * 5
    assert {(d.first.objective, d.second.objective) for d in found} == {
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    }
    by_name = {(d.first.objective + d.second.objective, d.size): d for d in found}
    slope = by_name["ab", None]
    assert slope.difference.low < 0.01 < slope.difference.high
    assert slope.difference.low > 0
    own = groups[0].score[:, 3] - groups[1].score[:, 3]
    assert by_name["ab", 512].difference.value == pytest.approx(own.mean())
    assert by_name["ab", 512].difference.se < 0.01  # the block's luck of 0.05 cancels
    assert all(d.p_holm >= d.difference.p for d in found)
    smallest = min(found, key=lambda d: d.difference.p)
    assert smallest.p_holm == pytest.approx(min(1, 15 * smallest.difference.p))


def test_the_family_rejects_something_in_no_more_than_the_level():
    rng, hits = np.random.default_rng(1), 0
    flat = dict.fromkeys("abc", np.zeros(4))
    for _ in range(60):
        hits += any(d.p_holm <= 0.05 for d in duels(made_up(rng, flat, 3, resamples=30), 0.95))
    assert hits / 60 <= 0.05 + 0.056


def test_kendalls_w_is_that_of_friedmans_test():
    rng = np.random.default_rng(2)
    scores = rng.normal(size=(6, 4))
    chi2 = stats.friedmanchisquare(*scores.T).statistic
    assert float(kendall_w(stats.rankdata(scores, axis=1))) == pytest.approx(chi2 / (6 * 3))


def test_ranks_that_stay_and_ranks_that_do_not():
    rng = np.random.default_rng(3)
    apart = {"a": 0.04 + np.zeros(4), "b": 0.02 + np.zeros(4), "c": np.zeros(4)}
    stable = concordance(made_up(rng, apart), 0.95, 400, 0)
    assert (stable.w, stable.low, stable.high) == (1, 1, 1)
    assert stable.ranks[0] == (1, 2, 3)
    assert stable.covers == "orders, seeds and test patients"
    errors = concordance(made_up(rng, apart, metric=Mae("mmHg")), 0.95, 400, 0)
    assert errors.ranks[0] == (3, 2, 1)
    near = concordance(made_up(rng, {k: v / 20 for k, v in apart.items()}), 0.95, 400, 0)
    assert near.low < near.high
    assert near.low < 0.9
    few = concordance(made_up(rng, dict(list(apart.items())[:2])), 0.95, 400, 0)
    assert "3 are needed" in few.problem
    assert math.isnan(few.w)


def test_the_interval_of_w_holds_the_true_one():
    rng, seen = np.random.default_rng(4), []
    curves = {"a": 0.010 * np.arange(4), "b": 0.013 + np.zeros(4), "c": 0.005 * np.arange(4)[::-1]}
    ranks = stats.rankdata(-np.array(list(curves.values())), axis=0).T
    truth = float(kendall_w(ranks))
    for _ in range(60):
        found = concordance(made_up(rng, curves, 3, 0.003, resamples=40), 0.95, 200, 0)
        seen.append(found.low <= truth + 1e-9 and truth <= found.high + 1e-9)
    assert np.mean(seen) >= 0.95 - 0.056
