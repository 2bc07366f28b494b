import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.scaling.claims import claims, holm
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import groups
from ecgscale.study.design import study_design
from support import runs as synthetic


def claimed(study, **options):
    """Return all groups of a study and the claims about them."""
    design = study_design(study)
    found = groups(design, collect(design, *synthetic.make_runs(study, **options)))
    options = {"confidence": 0.95, "permutations": 200, "bootstrap": 100, "seed": 0}
    results = [(group, correlate(group, **options)) for group in found]
    return found, claims(results, design.primary, 0.95)


def test_claims_are_of_the_first_protocol_only():
    study = synthetic.make_study(tasks=synthetic.TASKS[:2], protocols=synthetic.PROTOCOLS[:3])
    found, said = claimed(study)
    assert len(found) == 3 * 2 * 3
    assert [claim.group.endpoint.name for claim in said] == [study.report.primary_task] * 2


def test_claims_are_of_the_objectives_on_the_primary_task_without_controls():
    study = synthetic.make_study()
    _, said = claimed(study)
    assert [(claim.group.objective, claim.group.endpoint.name) for claim in said] == [
        ("clef", study.report.primary_task),
        ("simclr", study.report.primary_task),
    ]


@pytest.mark.parametrize("task", ["ptb-xl-form", "mc-med-sbp"])
@pytest.mark.parametrize(("slope", "verdict"), [(0.02, "better"), (-0.02, "worse"), (0.0, "none")])
def test_verdicts_are_about_improvement_whatever_the_direction_of_the_metric(task, slope, verdict):
    study = synthetic.make_study(tasks=(task,), objectives=("clef",))
    _, said = claimed(study, slopes={"clef": slope}, seed=3)
    assert [claim.verdict for claim in said] == [verdict]


def test_holm_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_a_test_without_a_number_counts_as_one_and_helps_nobody():
    """An objective that crashed was declared all the same."""
    assert holm([0.02, math.nan]) == pytest.approx([0.04, 1.0])
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    for missing in ([], ["simclr/net1d-tiny/n128-o1-s0"]):
        _, said = claimed(study, slopes={"clef": 0.02}, missing=missing)
        assert said[0].p_holm == pytest.approx(2 * said[0].correlation.slope.p)
    assert (said[1].verdict, said[1].p_holm) == ("not estimable", 1.0)


def test_one_run_at_each_size_is_no_test():
    study = synthetic.make_study(orders=(0,), objectives=("clef",))
    _, said = claimed(study, slopes={"clef": 0.05})
    assert (said[0].verdict, said[0].p_holm) == ("no test", 1.0)


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_is_monotone_bounded_and_never_smaller(values):
    adjusted = np.array(holm(values))
    raw = np.nan_to_num(np.array(values), nan=1.0)
    assert ((adjusted >= raw) & (adjusted <= 1)).all()
    assert (np.diff(adjusted[np.argsort(raw, kind="stable")]) >= 0).all()
