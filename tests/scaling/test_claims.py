import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from ecgscale.scaling.claims import claims, family, holm, holm_levels
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import groups
from ecgscale.scaling.variance import Uncertainty
from ecgscale.study.design import study_design
from support import runs as synthetic


def claimed(study, positive=(), **options):
    """Return all groups of a study and the claims about them."""
    design = replace(study_design(study), positive_controls=positive)
    found = groups(design, collect(design, *synthetic.make_runs(study, **options)))
    options = {"confidence": 0.95, "permutations": 200, "bootstrap": 100, "seed": 0}
    results = [(group, correlate(group, tests=design.tests, **options)) for group in found]
    return found, claims(results, design, 0.95)


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
@pytest.mark.parametrize(
    ("slope", "verdict"), [(0.02, "rises"), (-0.02, "falls"), (0.0, "undecided")]
)
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


def test_holm_levels_reject_what_the_adjusted_p_rejects():
    rng = np.random.default_rng(0)
    for _ in range(200):
        values = (rng.random(4) ** 3).tolist()
        levels, adjusted = holm_levels(values, 0.05), holm(values)
        assert [p <= a for p, a in zip(values, levels, strict=True)] == [
            p <= 0.05 for p in adjusted
        ]


@given(
    value=st.floats(-3, 3),
    runs=st.floats(0.01, 1),
    df=st.sampled_from([1.0, 2.0, 4.5, 30.0]),
    patients=st.floats(0, 1),
    bound=st.floats(0.1, 4),
    alpha=st.sampled_from([0.05, 0.0125, 0.005]),
)
def test_equivalence_is_established_just_where_its_interval_lies_within_the_bounds(
    value, runs, df, patients, bound, alpha
):
    found = Uncertainty(runs, df, patients)
    room = bound - abs(value)
    p, inside = found.p_outside(value, bound), found.reach(2 * alpha) <= room
    assert (p <= alpha) == inside or p == pytest.approx(alpha, rel=1e-6)
    assert p == pytest.approx(found.p_outside(-value, bound))


def test_equivalence_without_patients_is_two_one_sided_t_tests():
    rng = np.random.default_rng(1)
    slopes = rng.normal(0.0005, 0.001, 5)
    found = Uncertainty(slopes.var(ddof=1) / 5, 4.0, 0.0)
    above = stats.ttest_1samp(slopes, -0.002, alternative="greater").pvalue
    below = stats.ttest_1samp(slopes, 0.002, alternative="less").pvalue
    assert found.p_outside(slopes.mean(), 0.002) == pytest.approx(max(above, below), rel=1e-5)


def test_verdicts_agree_with_their_intervals():
    """Of noise from far below the smallest effect of interest to far above it."""
    study = synthetic.make_study(tasks=("ptb-xl-form",), objectives=("clef", "simclr"))
    seen = set()
    for seed, noise in enumerate(np.geomspace(0.0001, 0.02, 24)):
        slopes = {"clef": (0.0, 0.0008, 0.02)[seed % 3], "simclr": (0.0, -0.02)[seed % 2]}
        _, said = claimed(study, slopes=slopes, seed=seed, run_sd=noise, patient_sd=noise / 3)
        for claim in said:
            seen.add(claim.verdict)
            low, high = claim.interval.low, claim.interval.high
            assert (claim.verdict == "rises") == (low > 0)
            assert (claim.verdict == "falls") == (high < 0)
            outermost = max(-claim.equivalence.low, claim.equivalence.high)
            assert claim.negligible == (outermost <= claim.smallest_effect == 0.002)
            assert (claim.verdict == "no effect of interest") == (
                claim.negligible and low <= 0 <= high
            )
            assert round(claim.interval.confidence, 9) in (0.95, 0.975)
            assert round(claim.equivalence.confidence, 9) in (0.90, 0.95)
    assert seen == {"rises", "falls", "no effect of interest", "undecided"}


def test_a_rise_below_the_smallest_effect_of_interest_is_both():
    study = synthetic.make_study(tasks=("ptb-xl-form",), objectives=("clef",))
    quiet = {"run_sd": 0.0001, "patient_sd": 0.0001}
    _, said = claimed(study, slopes={"clef": 0.001}, **quiet)
    assert (said[0].verdict, said[0].negligible) == ("rises", True)


def test_one_run_at_each_size_is_no_equivalence_either():
    study = synthetic.make_study(orders=(0,), objectives=("clef",))
    _, said = claimed(study, slopes={}, run_sd=0.0, patient_sd=0.00001)
    assert (said[0].verdict, said[0].negligible) == ("no test", False)


def test_a_positive_control_says_whether_the_study_could_have_seen_an_effect():
    """It is no test of the family, and the objectives' levels do not depend on it."""
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    for slopes, sighted in (({"simclr": 0.02}, True), ({"simclr": -0.02}, False), ({}, False)):
        _, said = claimed(study, positive=("simclr",), slopes=slopes, seed=3)
        assert [claim.group.objective for claim in said] == ["clef"]
        assert said[0].could_see is sighted
        assert said[0].p_holm == said[0].correlation.slope.p
    missing = ["simclr/net1d-tiny/n128-o1-s0"]
    _, said = claimed(study, positive=("simclr",), missing=missing)
    assert said[0].could_see is None
    assert claimed(study)[1][0].could_see is None


def test_controls_are_families_of_their_own():
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    design = study_design(study)
    found = groups(design, collect(design, *synthetic.make_runs(study, slopes={"clef": 0.02})))
    options = {"confidence": 0.95, "permutations": 200, "bootstrap": 100, "seed": 0}
    results = [(group, correlate(group, tests=2, **options)) for group in found]
    (negative,) = family(results, design, ("clef-uniform",), 0.95)
    assert negative.group.control_of == "clef"
    assert negative.p_holm == negative.correlation.slope.p
