import re

import pytest

from ecgscale.report.analysis import analyse
from ecgscale.report.opening import opening
from ecgscale.report.stage import write_report
from ecgscale.study.design import study_design
from support import runs as synthetic

CONTROLS = {
    "sup": {"kind": "supervised", "role": "positive-control"},
    "surr": {
        "kind": "simclr",
        "role": "negative-control",
        "control_of": "simclr",
        "data": {"surrogates": True},
    },
}


def said(
    slopes, objectives=("clef", "simclr", "sup", "surr"), simulated=("ptb-xl",), lost=(), **settings
):
    study = synthetic.make_study(objectives=objectives, more=CONTROLS, **settings)
    runs = synthetic.make_runs(study, slopes=slopes, collapsed=lost)
    return opening(
        analyse(study_design(study), study.report, *runs), list(study.pool), list(simulated)
    )


@pytest.fixture(scope="module")
def seen():
    return said({"clef": 0.012, "simclr": 0.0, "sup": 0.012})


def test_three_questions_are_answered_in_a_sentence_each(seen):
    assert [part.question for part in seen] == [
        "What was asked",
        "Does pretraining help at all?",
        "Does more of it help?",
    ]
    asked, helps, more = (part.short for part in seen)
    assert asked == (
        "Simulated data: 128 to 2,048 patients of ptb-xl and georgia, 4 tasks; the primary one is "
        "PTB-XL diagnostic classes."
    )
    assert (
        helps == "clef: better than the untrained encoder in 4 of 4 tasks; simclr: in 4 of 4 tasks."
    )
    assert re.fullmatch(
        r"clef: rises \(\+0\.01\d\d AUROC per doubling\); simclr: undecided \(\S+ AUROC per "
        r"doubling\)\. The positive control rises: an effect could be seen\.",
        more,
    )


def test_numbers_name_what_they_are_held_against(seen):
    helps, more = (part.answer for part in seen[1:])
    assert "than hand-crafted features in" in helps
    assert "than an encoder trained on all labels in" in helps
    assert re.search(
        r"on the primary task it reaches 0\.8\d\d against 0\.7\d\d, 0\.7\d\d and", helps
    )
    assert "in the mean over 4 tasks" in more
    assert "four times out of five" in more


def test_real_data_are_not_called_simulated():
    asked = said({}, simulated=())[0]
    assert asked.short.startswith("Recordings: 128 to 2,048 patients")


def test_a_study_that_could_see_nothing_says_so():
    more = said({"clef": 0.0, "sup": 0.0})[2]
    assert more.short.endswith(
        "The positive control does not rise: no effect could have been seen."
    )
    assert "It could not have seen an effect: the positive control (sup" in more.answer


def test_a_negative_control_that_rises_is_a_warning():
    more = said({"clef": 0.012, "sup": 0.012, "surr": 0.02})[2]
    assert "Warning: the negative control (surr) rises as well" in more.answer


def test_one_replicate_is_called_no_test():
    helps, more = said({"clef": 0.012, "sup": 0.012}, ("clef", "sup"), orders=(0,))[1:]
    assert helps.short == "clef: not tested, with one replicate."
    assert helps.answer.startswith("One replicate does not show how runs differ")
    assert more.short.startswith("clef: no test (")
    assert "was not tested" in more.answer
    assert "could not have seen" not in more.answer


def test_an_effect_that_was_found_is_not_called_out_of_sight():
    more = said({"clef": -0.02, "sup": 0.0}, ("clef", "sup"))[2]
    assert more.short.startswith("clef: falls (")
    assert more.short.endswith("The positive control does not rise.")


def test_an_objective_without_numbers_is_open():
    lost = tuple(f"clef/net1d-tiny/n128-o{order}-s0" for order in range(3))
    helps, more = said({"sup": 0.012}, ("clef", "sup"), lost=lost)[1:]
    assert helps.short == "clef: open."
    assert more.short.startswith("clef: not estimable.")


def test_an_error_improves_where_it_falls():
    tasks = ("mc-med-sbp", "ptb-xl-form")
    more = said({"clef": 0.012, "sup": 0.01}, ("clef", "sup"), tasks=tasks)[2]
    assert more.short.startswith("clef: improves (\N{MINUS SIGN}0.2")
    assert "improves, \N{MINUS SIGN}0." in more.answer


def test_every_encoder_has_its_own_count():
    helps = said({"clef": 0.012, "sup": 0.01}, ("clef", "sup"), encoders=("a", "b"))[1]
    assert helps.short == (
        "clef (a): better than the untrained encoder in 4 of 4 tasks; clef (b): in 4 of 4 tasks."
    )


def test_simulated_data_are_named_in_every_form(tmp_path):
    study = synthetic.make_study(tasks=synthetic.TASKS[:2])
    summary = write_report(study, *synthetic.make_runs(study), tmp_path)
    page, markdown = (path.read_text(encoding="utf-8") for path in (summary.html, summary.markdown))
    assert "<title>Simulated data: synthetic" in page
    assert re.search(r"<h1>.{0,60}Simulated data", page)
    assert markdown.startswith("# Simulated data: ")
    figures = sorted((tmp_path / "figures").iterdir())
    assert figures
    assert all(path.name.endswith("-simulated.svg") for path in figures)
    assert all("Simulated data" in path.read_text(encoding="utf-8") for path in figures)
    assert summary.headline.startswith("Simulated data")
