import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.scaling.claims import (
    claims,
    comparison_sentence,
    completeness,
    holm,
    p_text,
    primaries,
    signed,
)
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import compare, correlate, groups
from support import runs as synthetic


def said(study, **options):
    collection = collect(study, *synthetic.make_runs(study, **options))
    found = groups(study, collection)
    estimates = [
        correlate(group, confidence=0.95, permutations=200, bootstrap=300, seed=0)
        for group in found
    ]
    return {claim.objective: claim for claim in claims(study, found, estimates)}


def test_rising_accuracy_is_said_with_all_its_numbers():
    claim = said(synthetic.make_study(), slopes={"clef": 0.02})["clef"]
    assert claim.verdict == "better"
    assert "accuracy rises" in claim.headline
    for part in ("Spearman", "95% interval", "exact permutation p", "per doubling", "80% power"):
        assert part in claim.sentence


def test_falling_accuracy():
    claim = said(synthetic.make_study(), slopes={"clef": -0.02})["clef"]
    assert claim.verdict == "worse"
    assert "accuracy falls" in claim.headline


def test_falling_error_is_better_and_says_its_unit():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    claim = said(study, slopes={"clef": 0.02})["clef"]
    assert claim.verdict == "better"
    assert "the error falls (lower is better)" in claim.headline
    assert claim.correlation.rho.value < 0
    fall = f"{abs(claim.correlation.slope.value):.3f}"
    assert f"MAE falls by {fall} mmHg per doubling (95% interval \N{MINUS SIGN}" in claim.sentence
    assert "mmHg per doubling." in claim.sentence
    assert "AUROC" not in claim.sentence


def test_rising_error_is_worse():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    claim = said(study, slopes={"clef": -0.02})["clef"]
    assert claim.verdict == "worse"
    assert "the error rises (lower is better)" in claim.headline
    assert "MAE rises by" in claim.sentence


def test_an_undetected_slope_is_not_said_to_rise_or_fall():
    for tasks, unit in ((("mc-med-sbp",), "mmHg"), (("ptb-xl-form",), "AUROC")):
        claim = said(synthetic.make_study(tasks=tasks), slopes={}, seed=3)["clef"]
        assert claim.verdict == "none"
        assert not any(word in claim.sentence for word in ("rises", "falls"))
        assert f"{unit} per doubling" in claim.sentence


def test_claims_are_of_the_first_protocol_only():
    study = synthetic.make_study(tasks=synthetic.TASKS[:2], protocols=synthetic.PROTOCOLS[:3])
    found = groups(study, collect(study, *synthetic.make_runs(study)))
    assert len(found) == 3 * 2 * 3
    assert [g.endpoint.name for g in primaries(study, found)] == [study.report.primary_task] * 2


def test_lower_error_than_the_control_is_called_better():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    collection = collect(study, *synthetic.make_runs(study, slopes={"clef": 0.02}))
    results = compare(study, collection, groups(study, collection), 0.95)
    text = comparison_sentence(next(c for c in results if c.control == "clef-uniform"), 0.95)
    assert "slope of MAE per doubling lower, better (\N{MINUS SIGN}0.4" in text
    assert "MAE at 2,048 patients lower, better (\N{MINUS SIGN}1." in text
    assert text.count(" mmHg, 95% interval") == 2


def test_no_correlation_is_said_with_what_could_have_been_seen():
    claim = said(synthetic.make_study(), slopes={}, seed=3)["clef"]
    assert claim.verdict == "none"
    assert "no correlation with the number of pretraining patients was detected" in claim.headline
    assert "smallest slope that this design would detect" in claim.sentence


def test_trend_of_these_test_patients_alone_is_not_called_a_rise():
    claim = said(
        synthetic.make_study(),
        slopes={"clef": 0.006},
        run_sd=0.0005,
        patient_sd=0.03,
    )["clef"]
    assert claim.verdict == "these patients only"
    assert "not established for others" in claim.headline


def test_missing_run_makes_it_not_estimable():
    study = synthetic.make_study()
    claim = said(study, missing=["clef/net1d-tiny/n128-o1-s0"])["clef"]
    assert claim.verdict == "not estimable"
    assert "1 of 15 runs is missing" in claim.sentence
    assert math.isnan(claim.p_holm)
    assert claim.correlation is None


def test_one_block_says_what_its_intervals_leave_out():
    claim = said(synthetic.make_study(orders=(0,)), slopes={"clef": 0.02})["clef"]
    assert any("test patients only" in note for note in claim.notes)


def test_unreachable_level_is_said():
    study = synthetic.make_study(orders=(0,), sizes=(128, 256, 512, 1024))
    claim = said(study, slopes={"clef": 0.05})["clef"]
    assert claim.verdict == "none"
    assert any("p cannot fall below 0.083" in note for note in claim.notes)


def test_collapsed_runs_are_left_out_and_named():
    cell = "clef/net1d-tiny/n256-o1-s0"
    claim = said(synthetic.make_study(), collapsed=[cell])["clef"]
    assert any(cell in note and "collapsed" in note for note in claim.notes)
    assert len(claim.correlation.group.blocks) == 2


def test_slope_smaller_than_reseeding_is_said():
    claim = said(synthetic.make_study(), slopes={"clef": 0.004}, run_sd=0.01)["clef"]
    assert any("than a new order and seed do" in note for note in claim.notes)


def test_primaries_are_the_objectives_on_the_primary_task_without_controls():
    study = synthetic.make_study()
    found = groups(study, collect(study, *synthetic.make_runs(study)))
    assert [(g.objective, g.endpoint.name) for g in primaries(study, found)] == [
        ("clef", study.report.primary_task),
        ("simclr", study.report.primary_task),
    ]


def test_control_sentences_say_higher_or_no_difference():
    study = synthetic.make_study()
    collection = collect(study, *synthetic.make_runs(study, slopes={"clef": 0.02}))
    results = compare(study, collection, groups(study, collection), 0.95)
    text = comparison_sentence(next(c for c in results if c.control == "clef-uniform"), 0.95)
    assert "slope per doubling higher" in text
    same = collect(study, *synthetic.make_runs(study, slopes={}, seed=5))
    results = compare(study, same, groups(study, same), 0.95)
    text = comparison_sentence(next(c for c in results if c.control == "clef-uniform"), 0.95)
    assert "slope per doubling no detectable difference" in text


def test_completeness_counts_the_gaps():
    study = synthetic.make_study()
    whole = collect(study, *synthetic.make_runs(study))
    assert completeness(whole) == "All 50 cells of the study are complete."
    part = collect(study, *synthetic.make_runs(study, missing=["baseline/age-sex"]))
    assert completeness(part).startswith("1 of 50 cells")


def test_holm_against_its_definition():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=8))
def test_holm_is_monotone_bounded_and_never_smaller(values):
    adjusted = np.array(holm(values))
    raw = np.array(values)
    known = ~np.isnan(raw)
    assert (np.isnan(adjusted) == ~known).all()
    assert ((adjusted[known] >= raw[known]) & (adjusted[known] <= 1)).all()
    order = np.argsort(raw[known], kind="stable")
    assert (np.diff(adjusted[known][order]) >= 0).all()


def test_numbers_are_written_plainly():
    assert signed(-0.00001, 3) == "0.000"
    assert signed(-0.5, 2) == "\N{MINUS SIGN}0.50"
    assert signed(math.nan, 2) == "n/a"
    assert p_text(0.00001) == "< 0.0001"
    assert p_text(0.034) == "= 0.034"
