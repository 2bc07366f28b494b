"""Arms, model sizes, labels and left-out sources against slow references and known truths."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.metrics.mae import Mae
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.arms import contrast_arms
from ecgscale.scaling.groups import Group
from ecgscale.scaling.labels import exchange_of, labels
from ecgscale.scaling.surface import surface_weights, surfaces
from ecgscale.scaling.without import interpolation, left_out

SIZES = 64 * 2 ** np.arange(4)
STEP = np.arange(4.0)
NO_PATIENTS = np.empty((0, 4, 4))


def group(score, *, name="a", regime="fixed_steps", fraction=1.0, drawn=None, **changes):
    blocks = tuple((block, block) for block in range(len(score)))
    protocol = Protocol(fraction=fraction)
    endpoint = Endpoint(f"t@{protocol.name}", "t", protocol, changes.pop("metric", MacroAuroc()))
    drawn = np.empty((0, *score.shape)) if drawn is None else drawn
    encoder = changes.pop("encoder", "e")
    return Group(name, encoder, regime, endpoint, SIZES, blocks, score, drawn, **changes)


def noisy(rng, curve, blocks=4, sd=0.002, luck=None):
    luck = 0.0 if luck is None else luck
    return 0.7 + curve + luck + sd * rng.normal(size=(blocks, len(SIZES)))


def table(groups, **columns):
    """A flat table of the groups' runs; each column is a function of group, block and size."""
    rows = [
        {
            **{"objective": g.objective, "encoder": g.encoder, "endpoint": g.endpoint.name},
            **{"order": block[0], "seed": block[1], "size": size},
            **{name: of(g, block, size) for name, of in columns.items()},
        }
        for g in groups
        for block in g.blocks
        for size in g.sizes
    ]
    return SimpleNamespace(table=pd.DataFrame(rows))


def of_t_test(values):
    known = stats.ttest_1samp(values, 0)
    return (np.mean(values), *known.confidence_interval(0.95), known.pvalue)


def numbers(estimate):
    return pytest.approx(
        (estimate.value, estimate.low, estimate.high, estimate.p), rel=1e-4, abs=1e-9
    )


def test_an_arm_is_compared_as_a_t_test_of_the_replicates_differences():
    rng = np.random.default_rng(0)
    luck = 0.05 * rng.normal(size=(4, 1))
    parent = group(noisy(rng, 0.004 * STEP, luck=luck), name="simclr")
    arms = [
        group(noisy(rng, 0.012 * STEP, luck=luck), name="epochs", regime="fixed_epochs"),
        group(noisy(rng, 0.004 * STEP, luck=luck), name="large-batch"),
    ]
    found = contrast_arms([(arm, parent) for arm in arms], 0.95)
    assert [(one.arm.objective, one.size) for one in found[:2]] == [
        ("epochs", None),
        ("large-batch", None),
    ]
    assert [one.size for one in found[2:]] == 2 * SIZES.tolist()
    for one in found:
        off = one.arm.score - parent.score
        if one.size is None:
            values = [stats.linregress(np.log2(SIZES), row).slope for row in off]
        else:
            values = off[:, SIZES.tolist().index(one.size)]
        assert of_t_test(values) == numbers(one.difference)
        assert one.of_arm.value - one.of_parent.value == pytest.approx(one.difference.value)
    # Two families: two slopes, and eight differences at a size.
    assert min(one.p_holm for one in found[:2]) == pytest.approx(2 * found[0].difference.p)
    sizes = found[2:]
    assert min(one.p_holm for one in sizes) == pytest.approx(
        8 * min(one.difference.p for one in sizes)
    )
    assert found[0].p_holm < 0.05
    broken = replace(arms[0], problem="3 of 16 runs are missing")
    found = contrast_arms([(broken, parent), (arms[1], parent)], 0.95)
    assert found[0].difference is None
    assert found[0].problem == "epochs: 3 of 16 runs are missing"
    # It was declared, so it counts.
    assert found[1].p_holm == pytest.approx(min(1, 2 * found[1].difference.p))


def test_a_surface_is_least_squares_in_every_replicate():
    rng = np.random.default_rng(1)
    truth = np.array([0.7, 0.01, 0.004, 0.003])
    counts = {"tiny": 1000.0, "small": 5000.0, "base": 9000.0}
    x, z = np.log2(SIZES), np.log2(list(counts.values()))
    x, z = x - x.mean(), z - z.mean()
    made = [
        group(
            truth @ [np.ones(4), x, np.full(4, at), at * x] + 0.001 * rng.normal(size=(4, 4)),
            encoder=name,
        )
        for name, at in zip(counts, z, strict=True)
    ]
    collection = table(made, parameters=lambda g, *_: counts[g.encoder])
    design = SimpleNamespace(kinds=dict.fromkeys(counts, "net1d"), endpoints=(made[0].endpoint,))
    (found,) = surfaces(design, collection, made[::-1], 0.95)
    assert [g.encoder for g in found.groups] == list(counts)
    columns = np.array([[1, b, a, a * b] for a in z for b in x])
    fits = []
    for block in range(4):
        y = np.concatenate([g.score[block] for g in made])
        fits.append(np.linalg.lstsq(columns, y, rcond=None)[0])
    for place, (name, term) in enumerate(found.terms.items()):
        assert of_t_test(np.array(fits)[:, place]) == numbers(term), name
        assert term.low < truth[place] < term.high
    # The product is the same without centring; the slopes are not.
    raw = np.array(
        [[1, b, a, a * b] for a in np.log2(list(counts.values())) for b in np.log2(SIZES)]
    )
    y = np.concatenate([g.score.mean(axis=0) for g in made])
    product = np.linalg.lstsq(raw, y, rcond=None)[0][3]
    assert product == pytest.approx(found.terms["product"].value, abs=1e-9)
    assert surface_weights(np.log2(SIZES), z).shape == (4, 3, 4)


def test_a_surface_needs_what_it_is_over():
    rng = np.random.default_rng(2)
    made = [group(noisy(rng, STEP), encoder=name) for name in ("tiny", "small")]
    design = SimpleNamespace(
        kinds={"tiny": "net1d", "small": "net1d"}, endpoints=(made[0].endpoint,)
    )

    def problem(of, groups=made):
        (found,) = surfaces(design, table(made, parameters=of), groups, 0.95)
        assert not found.terms
        return found.problem

    assert "not recorded" in problem(lambda *_: math.nan)
    assert "equally many" in problem(lambda *_: 1000.0)
    assert "differ in their number" in problem(lambda g, block, size: 1000.0 + block[0])
    broken = [made[0], replace(made[1], problem="2 of 16 runs are missing")]
    assert problem(lambda *_: 1000.0, broken) == "small: 2 of 16 runs are missing"
    design.kinds["small"] = "vit1d"
    assert surfaces(design, table(made, parameters=lambda *_: 1.0), made, 0.95) == []


def test_the_interaction_with_labels_is_paired_and_adjusted():
    rng = np.random.default_rng(3)
    luck = 0.05 * rng.normal(size=(4, 1))
    made = [
        group(noisy(rng, slope * STEP, luck=luck), fraction=share, name=name)
        for name, slopes in {"a": (0.012, 0.004), "b": (0.004, 0.004)}.items()
        for share, slope in zip((0.1, 1.0), slopes, strict=True)
    ]
    found = labels(made, 0.95)
    assert [(one.few.objective, one.fraction) for one in found] == [("a", 0.1), ("b", 0.1)]
    for one in found:
        off = one.few.score - one.full.score
        slopes = [stats.linregress(np.log2(SIZES), row).slope for row in off]
        assert of_t_test(slopes) == numbers(one.interaction)
    assert found[0].p_holm == pytest.approx(2 * found[0].interaction.p)
    assert found[0].p_holm < 0.05
    assert found[1].interaction.low < 0 < found[1].interaction.high


def exchange_slowly(shares, small, goal, start):
    """All shares at which a t test does not tell the score from the goal, one by one."""
    tried = np.geomspace(shares[0], shares[-1], 2001)
    scores = np.array([np.interp(np.log2(tried), np.log2(shares), row) for row in small])
    kept = tried[stats.ttest_1samp(scores - goal[:, None], 0, axis=0).pvalue > 0.05] / start
    return kept[0], kept[-1]


def test_an_exchange_is_read_off_between_shares():
    rng = np.random.default_rng(4)
    shares = np.array([0.1, 0.3, 1.0])
    small = np.array([0.70, 0.75, 0.80]) + 0.004 * rng.normal(size=(5, 3))
    goal = 0.74 + 0.004 * rng.normal(size=5)
    blocks = [(block, block) for block in range(5)]
    none = np.empty((0, 5, 3)), np.empty((0, 5))
    found = exchange_of(shares, (small, none[0]), (goal, none[1]), 0.1, blocks, 0.95)
    means = small.mean(axis=0)
    at = np.interp(goal.mean(), means, np.log2(shares))
    assert found.times == pytest.approx(2**at / 0.1)
    low, high = exchange_slowly(shares, small, goal, 0.1)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.04)
    assert found.low <= low
    assert found.high >= high
    # More than all labels, and fewer than were measured: open, and said.
    far = exchange_of(shares, (small, none[0]), (goal + 0.2, none[1]), 0.1, blocks, 0.95)
    assert far.problem == "not reached on average with all labels, 10 times as many"
    assert (far.low, far.high) == (10, math.inf)
    assert math.isnan(far.times)
    near = exchange_of(shares, (small, none[0]), (goal + 0.06, none[1]), 0.1, blocks, 0.95)
    assert near.high == math.inf
    assert near.low > 3
    below = exchange_of(shares, (small, none[0]), (goal - 0.2, none[1]), 0.1, blocks, 0.95)
    assert "above the goal" in below.problem
    assert (below.low, below.high) == (0, 1)
    bent = exchange_of(shares, (small[:, [1, 0, 2]], none[0]), (goal, none[1]), 0.1, blocks, 0.95)
    assert "does not rise" in bent.problem


def test_an_exchange_of_an_error_goes_the_other_way():
    rng = np.random.default_rng(5)
    metric = Mae("mmHg")
    made = [
        group(level - STEP + 0.02 * rng.normal(size=(4, 4)), fraction=share, metric=metric)
        for share, level in ((0.1, 20.0), (1.0, 16.0))
    ]
    (found,) = labels(made, 0.95)
    # At the smallest size from 20 to 16, over log2 of 10; the largest is at 17 with few labels.
    assert found.exchange.times == pytest.approx(10**0.75, rel=0.05)
    assert found.exchange.low < 10**0.75 < found.exchange.high


def test_interpolation_is_a_straight_line_and_has_no_end_below():
    x = np.log2(SIZES)
    at = np.log2([[64, 100], [300, 512]])
    weights = interpolation(x, at)
    assert weights.shape == (2, 2, 4)
    assert weights @ (2 + 3 * x) == pytest.approx(2 + 3 * at)
    assert np.isnan(interpolation(x, np.log2([63.0]))).all()


def test_a_left_out_source_is_compared_at_equal_patients_of_each_replicate():
    rng = np.random.default_rng(6)
    luck = 0.05 * rng.normal(size=(4, 1))
    parent = group(noisy(rng, 0.01 * STEP, luck=luck), name="simclr")
    arm = group(noisy(rng, 0.01 * STEP - 0.02, luck=luck), name="without")
    left = {(block, size): size * (0.5 + 0.05 * block) for block in range(4) for size in SIZES}
    collection = table([arm, parent], patients=lambda g, block, size: left[block[0], size])
    mean, *rows = left_out(collection, [(arm, parent)], {"without": ("georgia",)}, 0.95)
    assert [row.size for row in rows] == SIZES.tolist()
    assert rows[0].same_patients is None
    assert "fewer patients" in rows[0].problem
    off = []
    for block in range(4):
        curve = [
            np.interp(np.log2(left[block, s]), np.log2(SIZES), parent.score[block]) for s in SIZES
        ]
        off.append(arm.score[block] - curve)
    off = np.array(off)
    for place in (1, 2, 3):
        assert of_t_test(off[:, place]) == numbers(rows[place].same_patients)
        assert of_t_test((arm.score - parent.score)[:, place]) == numbers(rows[place].same_size)
    assert of_t_test(off[:, 1:].mean(axis=1)) == numbers(mean.same_patients)
    assert (mean.sizes, mean.size) == (3, None)
    assert mean.p_holm == mean.same_patients.p
    assert rows[1].left == pytest.approx(np.mean([left[block, 128] for block in range(4)]))
    # It costs 0.02, of which half a doubling's worth of patients is 0.01 or less.
    assert mean.same_patients.high < 0
    (lost,) = left_out(
        collection,
        [(replace(arm, problem="a run is missing"), parent)],
        {"without": ("georgia",)},
        0.95,
    )
    assert lost.problem == "without: a run is missing"


def test_patients_enter_once_and_cancel_in_a_pair():
    rng = np.random.default_rng(7)
    common = 0.03 * rng.normal(size=(50, 1, 1))
    made = []
    for name, slope in (("arm", 0.01), ("parent", 0.004)):
        score = noisy(rng, slope * STEP)
        made.append(group(score, name=name, drawn=score + common))
    (slope, *levels) = contrast_arms([tuple(made)], 0.95)
    bare = contrast_arms([tuple(replace(g, replicates=NO_PATIENTS) for g in made)], 0.95)
    assert slope.difference.covers == "orders, seeds and test patients"
    for one, other in zip([slope, *levels], bare, strict=True):
        assert one.difference.se == pytest.approx(other.difference.se)
        assert one.of_arm.value == pytest.approx(other.of_arm.value)
    assert levels[0].of_arm.se > 5 * levels[0].difference.se
