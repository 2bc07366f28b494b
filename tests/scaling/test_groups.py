from dataclasses import replace

import numpy as np
import pytest

from ecgscale.scaling.collect import collect
from ecgscale.scaling.compare import compare
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import groups
from ecgscale.study.design import study_design
from support import runs as synthetic

OPTIONS = {"tests": 1, "confidence": 0.95, "permutations": 500, "bootstrap": 400, "seed": 0}


def find(study, **options):
    collection = collect(study_design(study), *synthetic.make_runs(study, **options))
    return collection, groups(study_design(study), collection)


def test_every_objective_and_task_is_there():
    study = synthetic.make_study()
    _, found = find(study)
    assert len(found) == 3 * 4
    assert all(g.score.shape == (3, 5) and g.replicates.shape == (200, 3, 5) for g in found)


def test_incomplete_group_has_no_numbers():
    study = synthetic.make_study()
    _, found = find(study, missing=["clef/net1d-tiny/n128-o1-s0"])
    clef = [g for g in found if g.objective == "clef"]
    assert all(g.problem == "1 of 15 runs is missing" for g in clef)
    assert correlate(clef[0], **OPTIONS) is None
    assert not any(g.problem for g in found if g.objective != "clef")


def test_collapsed_run_takes_its_block_out():
    study = synthetic.make_study()
    cell = "clef/net1d-tiny/n256-o1-s0"
    _, found = find(study, collapsed=[cell])
    group = next(g for g in found if g.objective == "clef")
    assert group.blocks == ((0, 0), (2, 0))
    assert cell in group.left_out[0]


def test_all_blocks_collapsed_is_a_problem():
    study = synthetic.make_study(orders=(0,))
    _, found = find(study, collapsed=["clef/net1d-tiny/n256-o0-s0"])
    assert next(g for g in found if g.objective == "clef").problem


def test_two_sizes_are_too_few():
    study = synthetic.make_study(sizes=(128, 256))
    _, found = find(study)
    assert all("too few" in g.problem for g in found)


def test_a_resample_without_a_number_keeps_its_place():
    """Groups are subtracted resample by resample: dropped in one, all others would shift."""
    study = synthetic.make_study()
    pretrain, evaluate = synthetic.make_runs(study, slopes={})
    replicates = evaluate[0].record.details["tasks"][study.evaluation.tasks[0]]["replicates"]
    replicates[7] = None
    collection = collect(study_design(study), pretrain, evaluate)
    found = groups(study_design(study), collection)
    assert np.isnan(found[0].replicates).sum() == 1
    assert np.isnan(found[0].replicates[7, 0, 0])
    # The synthetic resamples move all objectives alike, so nothing of them is in a difference.
    pairs = compare(collection, found, 0.95)
    pair = next(c for c in pairs if c.group is found[0] and c.control == "clef-uniform")
    alone = groups(study_design(study), replace(collection, replicates=_without(collection)))
    bare = compare(collection, alone, 0.95)
    same = next(c for c in bare if c.group is alone[0] and c.control == "clef-uniform")
    assert pair.slope.se == pytest.approx(same.slope.se)


def _without(collection):
    return {place: values[:0] for place, values in collection.replicates.items()}


def test_crossed_orders_and_seeds_stay_crossed_without_a_collapsed_run():
    study = synthetic.make_study(orders=(0, 1, 2), seeds=(0, 1))
    _, found = find(study, collapsed=["clef/net1d-tiny/n256-o1-s0"])
    group = next(g for g in found if g.objective == "clef")
    assert group.blocks == ((0, 0), (0, 1), (2, 0), (2, 1))
    assert group.left_out[1] == "order 1, seed 1: no longer crossed with the others"
    assert group.score.shape == (4, 5)


def test_a_missing_endpoint_is_a_problem_of_its_group_alone():
    study = synthetic.make_study(tasks=("ptb-xl-form",), protocols=synthetic.PROTOCOLS[:2])
    pretrain, evaluate = synthetic.make_runs(study)
    del evaluate[0].record.details["tasks"]["ptb-xl-form@linear-10pct"]
    found = groups(study_design(study), collect(study_design(study), pretrain, evaluate))
    problems = {(g.objective, g.endpoint.name): g.problem for g in found if g.problem}
    assert problems == {("clef", "ptb-xl-form@linear-10pct"): "1 of 15 runs is missing"}
