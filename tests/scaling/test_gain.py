"""Gain over the random encoder: pairing, where it starts, and Fieller's interval."""

import math

import numpy as np
import pytest
from scipy import stats

from ecgscale.scaling.collect import collect
from ecgscale.scaling.compare import compare
from ecgscale.scaling.gain import gains, share_of, start, zero_data
from ecgscale.scaling.groups import groups
from ecgscale.scaling.tally import tallies
from ecgscale.study.design import study_design
from support import runs as synthetic

BLOCKS = [(r, r) for r in range(5)]
NONE = np.empty((0, 5))


def find(study, change=None, **options):
    pretrain, evaluate = synthetic.make_runs(study, **options)
    for run in evaluate:
        if change:
            change(run.record)
    collection = collect(study_design(study), pretrain, evaluate)
    return collection, groups(study_design(study), collection)


def test_gain_over_the_random_encoder_with_its_start_and_shares():
    study = synthetic.make_study(
        orders=(0, 1, 2, 3), tasks=("ptb-xl-form", "mc-med-sbp"), objectives=("clef", "simclr")
    )
    collection, found = find(study, slopes={"clef": 0.02, "simclr": 0.0}, run_sd=0.002)
    by_name = {
        (g.group.objective, g.group.endpoint.name): g for g in gains(collection, found, 0.95)
    }
    assert len(by_name) == 4
    clef, error = by_name["clef", "ptb-xl-form"], by_name["clef", "mc-med-sbp"]
    assert (clef.control, clef.starts, error.starts) == ("random", 0, 0)
    for place, gain in enumerate(clef.gains):
        assert gain.low < 0.04 + 0.02 * place < gain.high
    assert clef.gains[0].covers == "orders and test patients, of one seed"
    assert [one.value for one in error.gains] == pytest.approx(
        [-0.8, -1.2, -1.6, -2, -2.4], abs=0.2
    )
    assert clef.share.low < 0.04 / 0.12 < clef.share.high
    flat = by_name["simclr", "ptb-xl-form"]
    assert flat.share.low < 1 < flat.share.high


def test_a_block_goes_with_the_control_of_its_order_and_seed_else_of_its_seed():
    study = synthetic.make_study(orders=(0, 1), seeds=(0, 1), tasks=("ptb-xl-form",))

    def luck(record):
        if record.axes["objective"] == "random":
            record.metrics["ptb-xl-form.macro_auroc"] = 0.5 + 0.1 * record.axes["seed"]

    collection, found = find(study, luck)
    score, resampled, ours = zero_data(collection, found[0], "random")
    assert found[0].blocks == ((0, 0), (0, 1), (1, 0), (1, 1))
    assert score == pytest.approx([0.5, 0.6, 0.5, 0.6])
    assert (resampled.shape, ours.tolist()) == ((200, 4), [0, 1, 2, 3])
    table = collection.table
    own = table[(table["objective"] == "random") & (table["seed"] == 1)].copy()
    own[["order", "score"]] = 1, 0.9
    collection.table.loc[len(table)] = own.iloc[0]
    assert zero_data(collection, found[0], "random")[0] == pytest.approx([0.5, 0.6, 0.5, 0.9])


def test_without_a_random_encoder_of_any_seed_there_is_a_reason():
    study = synthetic.make_study(tasks=("ptb-xl-form",), objectives=("clef",))
    collection, found = find(study)
    table = collection.table
    table.loc[table["objective"] == "random", "seed"] = 9
    assert "seeds" in gains(collection, found, 0.95)[0].problem
    collection, found = find(
        study, missing=[f"random/net1d-tiny/n0-o{order}-s0" for order in range(3)]
    )
    assert gains(collection, found, 0.95) == []


@pytest.mark.parametrize(
    ("better", "p", "expected"),
    [
        ([True] * 4, [0.01] * 4, 0),
        ([True] * 4, [0.01, 0.2, 0.01, 0.01], 2),
        ([True, True, True, False], [0.01] * 4, None),
        ([True] * 4, [0.01, 0.01, 0.01, math.nan], None),
    ],
)
def test_the_start_is_the_end_of_an_unbroken_row_from_the_largest_size(better, p, expected):
    assert start(better, p, 0.95) == expected


def fieller(top, bottom, confidence):
    """The textbook's closed form for paired means of a few replicates."""
    n, t = len(top), stats.t(len(top) - 1).ppf((1 + confidence) / 2)
    (a, ab), (_, b) = np.cov(top, bottom) / n
    x, y = top.mean(), bottom.mean()
    g = t**2 * b / y**2
    half = t / y * math.sqrt(a - 2 * x / y * ab + (x / y) ** 2 * b - g * (a - ab**2 / b))
    return (x / y - g * ab / b - half) / (1 - g), (x / y - g * ab / b + half) / (1 - g)


def test_a_share_without_patients_is_fiellers_interval():
    rng = np.random.default_rng(0)
    bottom = 5 + rng.normal(size=5)
    top = 0.4 * bottom + 0.5 * rng.normal(size=5)
    found = share_of((top, NONE), (bottom, NONE), BLOCKS, 0.95)
    assert found.value == pytest.approx(top.mean() / bottom.mean())
    assert (found.low, found.high) == pytest.approx(fieller(top, bottom, 0.95), abs=1e-5)


def test_a_share_of_nothing_established_has_a_reason_and_no_interval():
    bottom = np.array([-1.0, 1, -0.5, 2, -1])
    found = share_of((bottom + 1, NONE), (bottom, NONE), BLOCKS, 0.95)
    assert math.isnan(found.low)
    assert "not established" in found.problem
    one = share_of((bottom[:1], NONE[:, :1]), (bottom[:1], NONE[:, :1]), BLOCKS[:1], 0.95)
    assert "one replicate" in one.problem
    whole = share_of((np.ones(5), NONE), (np.array([1, 1, 1, 1, 2.0]), NONE), BLOCKS, 0.95)
    assert whole.low < 5 / 6 < whole.high


def test_shares_cover_the_true_one():
    rng, seen = np.random.default_rng(1), []
    for _ in range(100):
        patients = rng.normal(size=(61, 1, 2)) @ np.array([[0.3, 0.2], [0, 0.3]])
        runs = np.array([0.6, 1.0]) * 5 + rng.normal(size=(3, 2)) * 0.4 + patients[0]
        drawn = runs + patients[1:]
        parts = [(runs[:, place], drawn[:, :, place]) for place in (0, 1)]
        found = share_of(*parts, BLOCKS[:3], 0.95)
        seen.append(found.low <= 0.6 <= found.high)
    assert 0.95 - 0.044 <= np.mean(seen) <= 1


def test_tasks_are_counted_with_and_without_adjustment():
    tasks = ("ptb-xl-form", "ptb-xl-rhythm", "ptb-xl-diagnostic", "mc-med-sbp")
    study = synthetic.make_study(orders=(0, 1, 2, 3), tasks=tasks, objectives=("clef",))

    def worse(record):
        # On one task the random encoder is far above the objective.
        if record.axes["objective"] == "random":
            record.metrics["ptb-xl-rhythm.macro_auroc"] += 0.3

    collection, found = find(study, worse, slopes={"clef": 0.02}, run_sd=0.002)
    results = tallies(compare(collection, found, 0.95), 0.95)
    counted = {(tally.control, tally.measure): tally for tally in results}
    random = counted["random", "macro AUROC"]
    assert random.better == random.better_holm == ("ptb-xl-form", "ptb-xl-diagnostic")
    assert (random.worse, random.unclear) == (("ptb-xl-rhythm",), ())
    assert counted["random", "MAE"].better == ("mc-med-sbp",)
