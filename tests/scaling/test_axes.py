"""Other axes: slopes by block, and what cannot be laid against what."""

import numpy as np
import pytest
from scipy import stats

from ecgscale.scaling.axes import SCALES, axis_slopes, loss_slopes, slope_on
from ecgscale.scaling.collect import collect
from ecgscale.scaling.groups import groups
from ecgscale.scaling.variance import slope_weights, weighted_estimate
from ecgscale.study.design import study_design
from support import runs as synthetic


@pytest.fixture(scope="module")
def study_groups():
    study = synthetic.make_study(tasks=("ptb-xl-form", "mc-med-sbp"), objectives=("clef",))
    collection = collect(study_design(study), *synthetic.make_runs(study, run_sd=0.001))
    return collection, groups(study_design(study), collection)


def test_a_slope_on_an_axis_is_least_squares_in_each_block():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 6)), rng.normal(size=(4, 6))
    found = slope_on(x, y, np.empty((0, 4, 6)), [(r, r) for r in range(4)], 0.95)
    slopes = [stats.linregress(*pair).slope for pair in zip(x, y, strict=True)]
    assert found.value == pytest.approx(np.mean(slopes))
    known = stats.ttest_1samp(slopes, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(known))


def test_every_scale_has_its_slope_or_its_reason(study_groups):
    collection, found = study_groups
    slopes = {row.axis: row for row in axis_slopes(collection, found[:1], 0.95)}
    assert tuple(slopes) == SCALES
    group, slope = found[0], slopes["patients"].slope
    weights = slope_weights(np.log2(group.sizes))
    known = weighted_estimate(group.score, group.replicates, group.blocks, weights, 0.95)
    assert (slope.value, slope.low) == pytest.approx((known.value, known.low))
    assert slopes["records"].slope.value == pytest.approx(slopes["patients"].slope.value, rel=0.01)
    assert slopes["patients"].rho.value == 1
    for constant in ("sources", "samples_seen", "flops"):
        assert slopes[constant].problem == "the same at every size"
        assert slopes[constant].slope is None


def test_losses_are_laid_against_each_other(study_groups):
    collection, found = study_groups
    rows = {(row.group.endpoint.name, row.outcome): row for row in loss_slopes(*study_groups, 0.95)}
    # 0.012 of an AUROC and so much of a probe loss, per 0.1 of a pretraining loss.
    probe, score = rows["ptb-xl-form", "probe_loss"], rows["ptb-xl-form", "score"]
    assert probe.slope.low < 0.12 < probe.slope.high
    assert score.slope.low < -0.12 < score.slope.high
    assert probe.slope.covers == "orders, of one seed"
    assert score.slope.covers == "orders and test patients, of one seed"
    assert (probe.rho.value, score.rho.value) == (1, -1)
    assert rows["mc-med-sbp", "probe_loss"].problem == "no probe loss"
    assert rows["mc-med-sbp", "score"].slope.value > 0
    collection.table["pretrain_loss"] = np.nan
    assert loss_slopes(collection, found, 0.95)[0].problem == "not recorded for every run"
