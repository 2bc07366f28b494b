import math
from collections import namedtuple
from dataclasses import replace

from ecgscale.report.analysis import analyse
from ecgscale.report.prose import (
    answer,
    comparison_sentence,
    completeness,
    headline,
    notes,
    sensitivity,
)
from ecgscale.report.words import p_text, signed
from ecgscale.scaling.claims import claims
from ecgscale.scaling.collect import collect
from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import groups
from ecgscale.study.design import study_design
from support import runs as synthetic

Said = namedtuple("Said", "claim headline sentence notes")


def said(study, positive=(), **options):
    """Return what is said of each objective: the claim, its headline, its sentence, its notes."""
    design = replace(study_design(study), positive_controls=positive)
    found = groups(design, collect(design, *synthetic.make_runs(study, **options)))
    settings = {"confidence": 0.95, "permutations": 200, "bootstrap": 300, "seed": 0}
    primary = [group for group in found if group.endpoint == design.primary]
    results = [(group, correlate(group, tests=design.tests, **settings)) for group in primary]
    about = claims(results, design, 0.95)
    return {
        claim.group.objective: Said(claim, headline(claim), sentence, notes(claim))
        for claim, sentence in zip(about, answer(about), strict=True)
    }


def compared(study, **options):
    """Return the sentence of the objective against its variant."""
    runs = synthetic.make_runs(study, **options)
    found = analyse(study_design(study), study.report, *runs).comparisons
    return comparison_sentence(next(c for c in found if c.control == "clef-uniform"), 0.95)


def test_rising_accuracy_is_said_with_all_its_numbers():
    clef = said(synthetic.make_study(), slopes={"clef": 0.02})["clef"]
    assert clef.claim.verdict == "rises"
    assert "accuracy rises" in clef.headline
    parts = ("AUROC rises by 0.0", "per doubling", "97.5% interval", "Spearman", "80% power")
    for part in (*parts, "covering orders and test patients, of one seed, p "):
        assert part in clef.sentence


def test_falling_accuracy():
    clef = said(synthetic.make_study(), slopes={"clef": -0.02})["clef"]
    assert clef.claim.verdict == "falls"
    assert "accuracy falls" in clef.headline


def test_falling_error_is_better_and_says_its_unit():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    clef = said(study, slopes={"clef": 0.02})["clef"]
    assert clef.claim.verdict == "rises"
    assert "the error falls (lower is better)" in clef.headline
    assert clef.claim.correlation.rho.value < 0
    fall = f"{abs(clef.claim.correlation.slope.value):.3f}"
    assert (
        f"MAE falls by {fall} mmHg per doubling (97.5% interval at the level of its"
        in clef.sentence
    )
    assert "mmHg per doubling with 80% power" in clef.sentence
    assert "the smallest effect of interest, 0.04 mmHg" in clef.sentence
    assert "AUROC" not in clef.sentence


def test_rising_error_is_worse():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    clef = said(study, slopes={"clef": -0.02})["clef"]
    assert clef.claim.verdict == "falls"
    assert "the error rises (lower is better)" in clef.headline
    assert "MAE rises by" in clef.sentence


def test_an_undetected_slope_is_not_said_to_rise_or_fall():
    for tasks, unit in ((("mc-med-sbp",), "mmHg"), (("ptb-xl-form",), "AUROC")):
        clef = said(synthetic.make_study(tasks=tasks), slopes={}, seed=3)["clef"]
        assert clef.claim.verdict == "undecided"
        assert not any(word in clef.sentence for word in ("rises", "falls"))
        assert f"{unit} per doubling" in clef.sentence


def test_lower_error_than_the_control_is_called_better():
    study = synthetic.make_study(tasks=("mc-med-sbp",))
    text = compared(study, slopes={"clef": 0.02})
    assert "slope of MAE per doubling lower, better (\N{MINUS SIGN}0.4" in text
    assert "MAE at 2,048 patients lower, better (\N{MINUS SIGN}1." in text
    assert text.count(" mmHg, 95% interval") == 2


def test_no_correlation_is_said_with_what_could_have_been_seen():
    clef = said(synthetic.make_study(), slopes={}, seed=3)["clef"]
    assert clef.claim.verdict == "undecided"
    assert (
        "whether accuracy follows the number of pretraining patients is undecided" in clef.headline
    )
    assert "rule over 2 tests finds a slope of 0.0" in clef.sentence
    assert "Neither a slope of zero nor one as large as the smallest effect" in clef.sentence


def test_trend_of_these_test_patients_alone_is_not_called_a_rise():
    """What all runs share because of the patients at hand orders the sizes in every replicate."""
    clef = said(synthetic.make_study(), slopes={"clef": 0.006}, run_sd=0.0005, patient_sd=0.03)
    assert clef["clef"].claim.correlation.rho_test.p < 0.05
    assert clef["clef"].claim.verdict == "undecided"


def test_the_interval_of_the_sentence_agrees_with_the_adjusted_test():
    """Where the interval of one slope alone would leave zero out, and Holm does not reject."""
    study = synthetic.make_study()
    for seed in range(40):
        clef = said(study, slopes={"clef": 0.004}, seed=seed)["clef"]
        if clef.claim.correlation.slope.p < 0.05 < clef.claim.p_holm:
            break
    assert clef.claim.verdict == "undecided"
    assert clef.claim.correlation.slope.low > 0 > clef.claim.interval.low
    shown = f"{signed(clef.claim.interval.low, 4)} to {signed(clef.claim.interval.high, 4)}"
    assert f"(97.5% interval at the level of its test {shown}, covering" in clef.sentence


def test_no_effect_of_interest_is_said_with_the_interval_that_shows_it():
    study = synthetic.make_study(tasks=("ptb-xl-form",), objectives=("clef",))
    clef = said(study, slopes={}, seed=1, run_sd=0.0002, patient_sd=0.0002)["clef"]
    assert clef.claim.verdict == "no effect of interest"
    assert "accuracy changes by less than 0.002 AUROC" in clef.headline
    equal = clef.claim.equivalence
    shown = f"{signed(equal.low, 4)} to {signed(equal.high, 4)}"
    assert f"{shown}, lies within the smallest effect of interest, 0.002 AUROC" in clef.sentence
    assert not any(word in clef.sentence for word in ("rises", "falls"))


def test_a_rise_is_held_against_the_smallest_effect_of_interest():
    study = synthetic.make_study(tasks=("ptb-xl-form",), objectives=("clef",))
    quiet = {"run_sd": 0.0002, "patient_sd": 0.0002}
    for slope, said_of in (
        (0.001, "by less than the smallest effect of interest, 0.002 AUROC per doubling"),
        (0.01, "That is at least the smallest effect of interest, 0.002 AUROC"),
        (0.002, "Whether it is as large as the smallest of interest, 0.002 AUROC, is open"),
    ):
        clef = said(study, slopes={"clef": slope}, seed=2, **quiet)["clef"]
        assert clef.claim.verdict == "rises"
        assert said_of in clef.sentence


def test_a_positive_control_without_a_slope_is_said_in_place_of_no_correlation():
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    for quiet in ({}, {"run_sd": 0.0002, "patient_sd": 0.0002}):
        blind = said(study, positive=("simclr",), slopes={}, seed=3, **quiet)["clef"]
        assert "this study could not have seen an effect of data" in blind.headline
        sighted = said(study, positive=("simclr",), slopes={"simclr": 0.02}, seed=3, **quiet)
        assert "could not have seen" not in sighted["clef"].headline
    rising = said(study, positive=("simclr",), slopes={"clef": 0.02})["clef"]
    assert "accuracy rises" in rising.headline


def test_controls_are_said_and_a_negative_one_that_rises_is_a_warning():
    study = synthetic.make_study(tasks=("ptb-xl-form",))
    for slope, warned in ((0.02, True), (0.0, False)):
        design = replace(
            study_design(study),
            positive_controls=("simclr",),
            negative_controls=("clef-uniform",),
        )
        runs = synthetic.make_runs(study, slopes={"simclr": 0.02, "clef-uniform": slope}, seed=3)
        found = analyse(design, study.report, *runs)
        texts = sensitivity(found.positive_controls, found.negative_controls)
        assert "Positive control simclr (net1d-tiny): accuracy rises" in texts[0]
        assert texts[1].startswith("Warning: the negative control clef-uniform") == warned


def test_missing_run_makes_it_not_estimable():
    study = synthetic.make_study()
    clef = said(study, missing=["clef/net1d-tiny/n128-o1-s0"])["clef"]
    assert clef.claim.verdict == "not estimable"
    assert "1 of 15 runs is missing" in clef.sentence
    assert clef.claim.p_holm == 1
    assert clef.claim.correlation is None


def test_one_block_says_what_its_intervals_leave_out():
    clef = said(synthetic.make_study(orders=(0,)), slopes={"clef": 0.02})["clef"]
    assert any("test patients only" in note for note in clef.notes)


def test_one_seed_and_one_degree_of_freedom_are_said():
    clef = said(synthetic.make_study(orders=(0, 1)), slopes={"clef": 0.02})["clef"]
    assert any("All runs have one seed" in note for note in clef.notes)
    assert any("one degree of freedom" in note for note in clef.notes)
    crossed = synthetic.make_study(orders=(0, 1, 2), seeds=(0, 1, 2), objectives=("clef",))
    assert said(crossed)["clef"].notes == []


def test_collapsed_runs_are_left_out_and_named():
    cell = "clef/net1d-tiny/n256-o1-s0"
    clef = said(synthetic.make_study(), collapsed=[cell])["clef"]
    assert any(cell in note and "collapsed" in note for note in clef.notes)
    assert len(clef.claim.correlation.group.blocks) == 2


def test_control_sentences_say_higher_or_no_difference():
    study = synthetic.make_study()
    text = compared(study, slopes={"clef": 0.02})
    assert "slope per doubling higher" in text
    text = compared(study, slopes={}, seed=5)
    assert "slope per doubling no detectable difference" in text


def test_completeness_counts_the_gaps():
    study = synthetic.make_study()
    whole = collect(study_design(study), *synthetic.make_runs(study))
    assert completeness(whole) == "All 54 cells of the study are complete."
    part = collect(study_design(study), *synthetic.make_runs(study, missing=["baseline/age-sex"]))
    assert completeness(part).startswith("1 of 54 cells")


def test_numbers_are_written_plainly():
    assert signed(-0.00001, 3) == "0.000"
    assert signed(-0.5, 2) == "\N{MINUS SIGN}0.50"
    assert signed(math.nan, 2) == "n/a"
    assert p_text(0.00001) == "< 0.0001"
    assert p_text(0.034) == "= 0.034"
