"""What the page says of arms, model sizes, labels and sources, no more than is established."""

import pytest

from ecgscale.report.analysis import analyse
from ecgscale.report.contrasts import contrast_frames, contrasts
from ecgscale.report.stage import write_report
from ecgscale.study.design import study_design
from support import runs as synthetic

TASK = "ptb-xl-form"
ARMS = {
    "clef-epochs": {
        **{"kind": "clef", "arm_of": "clef"},
        "training": {"regime": "fixed_epochs"},
    },
    "clef-less": {"kind": "clef", "arm_of": "clef", "data": {"without": ["georgia"]}},
}
ARMS_OF, WITHOUT, SURFACE, LABELS = (
    "Arms: the same objective under another training",
    "Without a source",
    "Data and model size",
    "Do pretraining patients stand in for labels?",
)


def made(orders=(0, 1, 2, 3), more=ARMS, encoders=("tiny", "small"), slopes=None, few=True):
    study = synthetic.make_study(
        tasks=(TASK,),
        orders=orders,
        objectives=("clef", *(more or ())),
        protocols=synthetic.PROTOCOLS[: 1 + few],
        encoders=encoders,
        more=more,
    )
    usual = {"clef": 0.012, "clef-epochs": 0.02, "clef-less": 0.012}
    return study, synthetic.make_runs(study, slopes or usual, run_sd=0.001)


def said(study, runs):
    analysis = analyse(study_design(study), study.report, *runs)
    return analysis, {part.title: part for part in contrasts(analysis.further, TASK)}


@pytest.fixture(scope="module")
def whole():
    return said(*made())


def test_arms_are_no_part_of_the_answer_and_regimes_are_not_mixed(whole):
    analysis, _ = whole
    assert {claim.group.objective for claim in analysis.claims} == {"clef"}
    assert {claim.group.regime for claim in analysis.claims} == {"fixed_steps"}
    assert analysis.design.tests == 2  # two encoders
    assert analysis.further.duels == []
    pooled = {(row.objective, row.regime) for row in analysis.further.pooled}
    assert ("clef-epochs", "fixed_epochs") in pooled
    assert ("clef", "fixed_steps") in pooled


def test_every_sentence_follows_its_numbers(whole):
    _, parts = whole
    arm, other = parts[ARMS_OF].sentences
    assert arm.startswith("clef-epochs against clef (tiny): slope +0.0")
    assert (
        "; the arm's slope is higher. Of the two slopes that of clef-epochs is of data and" in arm
    )
    assert "that of clef is of data at equal compute" in arm
    assert "(small)" in other
    assert len(parts[ARMS_OF].table.rows) == 2 * (1 + 5)
    (less, _) = parts[WITHOUT].sentences
    # Half of the patients are left and nothing is lost: the others are worth twice as much.
    assert "a patient of georgia is worth less than the average patient of the pool" in less
    assert "mean over the 4 sizes that can be compared" in less
    (surface,) = parts[SURFACE].sentences
    assert surface.startswith("clef on tiny, small (1,000, 4,000 parameters): per doubling of the")
    assert surface.endswith("whether larger encoders gain more from patients is open.")
    assert [row[0] for row in parts[SURFACE].table.rows] == ["clef"]
    (few, _) = parts[LABELS].sentences
    assert "pretraining patients add more with few labels than with all" in few
    assert "not reached on average with all labels, 10 times as many" in few


def test_one_replicate_is_no_test():
    _, parts = said(*made(orders=(0,)))
    assert "the arm's slope is" not in parts[ARMS_OF].sentences[0]
    assert "not tested, since one replicate" in parts[ARMS_OF].sentences[0]
    assert "is worth less" not in parts[WITHOUT].sentences[0]
    assert "not tested" in parts[SURFACE].sentences[0]
    assert "add more" not in parts[LABELS].sentences[0].split(";")[1].split(":")[0]


def test_a_study_without_any_of_it_says_nothing():
    analysis, parts = said(*made(orders=(0, 1), more=None, encoders=("tiny",), few=False))
    assert parts == {}
    assert all(frame.empty for frame in contrast_frames(analysis.further).values())


def test_tables_for_machines_hold_every_contrast(whole):
    analysis, _ = whole
    frames = contrast_frames(analysis.further)
    assert {name: len(frame) for name, frame in frames.items()} == {
        **{"arms": 12, "sources": 12, "surface": 1, "labels": 2}
    }
    surface = frames["surface"].iloc[0]
    assert surface["encoder_parameters"] == "1000; 4000"
    assert surface["patients"] == pytest.approx(0.012, abs=0.001)
    assert abs(surface["parameters"]) < 0.002
    slope = frames["arms"].query("size.isna() and encoder == 'tiny'").iloc[0]
    assert slope["difference"] == pytest.approx(slope["arm"] - slope["parent_value"])


def test_the_page_has_a_part_for_each(tmp_path):
    study, runs = made(orders=(0, 1), encoders=("tiny",), few=False)
    _, parts = said(study, runs)
    assert list(parts) == [ARMS_OF, WITHOUT]
    write_report(study, *runs, tmp_path)
    assert (tmp_path / "further" / "arms.csv").is_file()
    page = (tmp_path / "report.md").read_text()
    for title, part in parts.items():
        assert f"### {title}" in page
        assert all(sentence in page for sentence in part.sentences)
    html = (tmp_path / "index.html").read_text()
    assert "<h3>Without a source</h3>" in html
    assert "clef, clef-less: Steps are fixed" in page
    assert "clef-epochs: Epochs are fixed" in page
