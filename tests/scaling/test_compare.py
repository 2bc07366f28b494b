import pytest

from ecgscale.scaling.collect import collect
from ecgscale.scaling.compare import compare
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import groups
from ecgscale.study.design import study_design
from ecgscale.study.endpoints import primary
from support import runs as synthetic

OPTIONS = {"tests": 1, "confidence": 0.95, "permutations": 500, "bootstrap": 400, "seed": 0}


def find(study, **options):
    collection = collect(study_design(study), *synthetic.make_runs(study, **options))
    return collection, groups(study_design(study), collection)


def test_comparisons_recover_the_known_differences():
    study = synthetic.make_study(orders=(0, 1, 2, 3))
    collection, found = find(study, slopes={"clef": 0.012, "clef-uniform": 0.002})
    results = {
        (c.group.objective, c.control): c
        for c in compare(collection, found, 0.95)
        if c.group.endpoint == primary(study)
    }
    paired = results["clef", "clef-uniform"]
    assert paired.slope.low < 0.010 < paired.slope.high
    assert paired.slope.low > 0
    assert paired.level.low < 4 * 0.010 < paired.level.high
    random = results["clef", "random"]
    assert random.slope is None
    assert random.level.low < 4 * 0.012 + 0.04 < random.level.high
    assert random.level.covers == "orders and test patients, of one seed"
    assert results["clef", "age-sex"].level.covers == "orders and test patients, of one seed"
    assert ("clef-uniform", "random") not in results


def test_every_protocol_has_its_groups_and_comparisons():
    study = synthetic.make_study(
        tasks=("ptb-xl-form", "mc-med-sbp"), protocols=synthetic.PROTOCOLS[:2]
    )
    collection, found = find(study, slopes={"clef": 0.02}, run_sd=0.001)
    slopes = {
        g.endpoint.name: correlate(g, **OPTIONS).slope.value for g in found if g.objective == "clef"
    }
    assert slopes["ptb-xl-form"] == pytest.approx(0.02, abs=0.002)
    assert slopes["ptb-xl-form@linear-10pct"] == pytest.approx(0.026, abs=0.002)
    assert slopes["mc-med-sbp"] == pytest.approx(-0.4, abs=0.04)
    results = compare(collection, found, 0.95)
    with_random = {c.group.endpoint.name: c for c in results if c.control == "random"}
    assert set(with_random) == set(slopes)
    assert with_random["mc-med-sbp"].level.high < 0
    only_first = {c.group.endpoint.name for c in results if c.control == "age-sex"}
    assert only_first == {"ptb-xl-form", "mc-med-sbp"}


def test_a_control_without_sizes_is_paired_by_replicate():
    """What a seed does to an encoder, trained or not, is in no difference."""
    study = synthetic.make_study(orders=(0, 1), seeds=(0, 1, 2), tasks=("ptb-xl-form",))
    pretrain, evaluate = synthetic.make_runs(study, slopes={"clef": 0.01}, run_sd=1e-4)
    luck = {0: -0.03, 1: 0.0, 2: 0.05}
    for run in evaluate:
        axes = run.record.axes
        if axes["role"] != "baseline":
            run.record.metrics["ptb-xl-form.macro_auroc"] += luck[axes["seed"]]
    collection = collect(study_design(study), pretrain, evaluate)
    found = compare(collection, groups(study_design(study), collection), 0.95)
    level = {c.control: c.level for c in found if c.group.objective == "clef"}
    assert level["random"].value == pytest.approx(0.04 + 4 * 0.01, abs=0.005)
    assert level["random"].se < 0.003
    assert level["age-sex"].se > 0.02
    assert level["random"].covers == "orders, seeds and test patients"
