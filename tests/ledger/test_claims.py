"""The claims ledger: its file, its verdicts on a small study, and a check that is broken."""

import dataclasses
import math
import re

import numpy as np
import pytest
import yaml

from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS, LEADS
from ecgscale.data.risk import RISK_FACTORS
from ecgscale.data.store import StoreWriter
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.ledger.base import Check, CheckParams, Finding, checks, held_against
from ecgscale.ledger.claims import ClaimCheckError, judge, read_claims
from ecgscale.literature import read_literature
from ecgscale.report.analysis import analyse
from ecgscale.report.ledger import claims_frame, study_at_hand, summary
from ecgscale.study.design import study_design
from support import runs as synthetic
from support.stores import finish

CLAIM = {
    "id": "mine",
    "claim": "Mine.",
    "kind": "quantitative",
    "made_in": "a test",
    "checks": [{"check": "judgement", "why": "It is a test."}],
}
SCORE = {
    **{"check": "measured-score", "objective": "clef", "encoder": "net1d"},
    **{"value": 0.78, "relation": "at least"},
}


@pytest.fixture(scope="module")
def at_hand(project, tmp_path_factory):
    """A small study with known slopes; its sources are simulated, and its stores are not here."""
    study = synthetic.make_study(
        sizes=(512, 1024, 2048),
        tasks=("chapman-38", "ptb-xl-form"),
        objectives=("clef", "simclr"),
    )
    analysis = analyse(study_design(study), study.report, *synthetic.make_runs(study, run_sd=0.001))
    return study_at_hand(
        study,
        analysis,
        ["ptb-xl"],
        stores=tmp_path_factory.mktemp("none"),
        publications=read_literature(project / "literature"),
    )


def ledger(folder, *claims):
    path = folder / "claims.yaml"
    path.write_text(yaml.safe_dump({"claims": list(claims)}, sort_keys=False), encoding="utf-8")
    return path


def verdict(folder, study, *stated):
    (judged,) = judge(read_claims(ledger(folder, {**CLAIM, "checks": list(stated)})), study, folder)
    return judged.verdict, judged.findings[0][1]


def test_the_eleven_claims_on_a_small_simulated_study(project, at_hand):
    judged = judge(read_claims(project / "claims.yaml"), at_hand, project)
    assert [(one.claim.id, one.verdict) for one in judged] == [
        ("clef-m-on-13-tasks", "supported"),
        ("clef-two-losses", "supported"),
        ("annotated-single-lead-sets", "not testable here"),
        ("hospital-ecgs-12-lead", "not testable here"),
        ("no-clinical-knowledge-before", "contradicted"),
        ("risk-over-a-period", "supported"),
        ("pretraining-10-s-12-lead", "not testable here"),
        ("moco-on-s", "not testable here"),
        ("simclr-on-m", "not testable here"),
        ("byol-on-s-and-m", "not testable here"),
        ("metadata", "supported"),
    ]
    assert summary(judged) == ("Of 11 claims, 4 supported, 1 contradicted and 6 not testable here.")
    frame = claims_frame(judged).set_index("check")
    assert frame.loc["measured-score", "claimed"].tolist() == [0.8112, 0.8243, 0.8221, 0.8421]
    assert frame.loc["measured-score", "value"].isna().all()


def test_a_number_is_compared_only_on_the_data_that_it_is_claimed_of(tmp_path, at_hand):
    found, measured = verdict(tmp_path, at_hand, SCORE)
    assert found == "supported"
    assert measured.low < measured.value < measured.high
    # chapman-38 starts at .78 and rises by .012 per doubling, over two of them.
    assert measured.value == pytest.approx(0.78 + 2 * 0.012, abs=0.01)
    assert len(measured.evidence) == 3
    other = {**SCORE, "pretrained_on": "mimic-iv-ecg"}
    found, same = verdict(tmp_path, at_hand, other)
    assert (found, same.value) == ("not testable here", measured.value)
    assert "simulated sources ptb-xl; pretrained on ptb-xl, not mimic-iv-ecg" in same.said
    # Even a wrong number is not contradicted, nor the right one reproduced, on other data.
    for value in (0.99, measured.value):
        assert verdict(tmp_path, at_hand, {**other, "value": value})[0] == "not testable here"


def test_on_the_data_that_it_is_claimed_of_a_number_is_judged(tmp_path, at_hand):
    real = dataclasses.replace(
        at_hand, simulated=frozenset(), data={**at_hand.data, "chapman-shaoxing-ningbo": "ptb-xl"}
    )
    check = {**SCORE, "pretrained_on": "ptb-xl", "patients": 2048, "relation": "equals"}
    value = verdict(tmp_path, real, check)[1].value
    assert verdict(tmp_path, real, {**check, "value": value})[0] == "supported"
    assert verdict(tmp_path, real, {**check, "value": 0.9})[0] == "contradicted"
    few = verdict(tmp_path, real, {**check, "value": value, "patients": 161_000})
    assert few[0] == "not testable here"
    assert "2,048 pretraining patients, not 161,000" in few[1].said


def test_a_mean_over_a_suite_s_tasks_is_that_of_every_run(tmp_path, at_hand):
    table = at_hand.collection.table
    rows = table[(table["objective"] == "simclr") & (table["size"] == 2048)]
    _, found = verdict(
        tmp_path, at_hand, {**SCORE, "objective": "simclr", "suite": "chaparral-cls13"}
    )
    assert found.value == pytest.approx(rows["score"].mean())
    assert "over 2 tasks" in found.said


@pytest.mark.parametrize(
    "wrong",
    [
        {**SCORE, "value": 0.99},
        {"check": "measured-slope", "objective": "clef", "value": 0.05},
        {"check": "measured-slope", "objective": "clef", "value": -0.01, "relation": "at most"},
        {"check": "suite-tasks", "suite": "chaparral-cls13", "tasks": 12},
        {"check": "suite-tasks", "suite": "chaparral-reg5", "tasks": 5},
        {"check": "loss-terms", "objective": "simclr", "terms": {"alignment": {}}},
        {"check": "loss-terms", "objective": "clef", "terms": {"alignment": {"alignment": 1.0}}},
        {"check": "label-sets", "suite": "chaparral-cls13", "shared_at_most": 0.1},
        {"check": "metadata-fields", "fields": ["age", "shoe_size"]},
        {"check": "published-use", "learns_from": "risk score", "before": "2026-12"},
        {
            **{"check": "risk-score", "years": 10, "published": 0.5},
            "person": {"age": 50, "sex": "M", "region": "low", **dict.fromkeys(RISK_FACTORS, 1)},
        },
    ],
    ids=lambda stated: stated["check"],
)
def test_a_wrong_claim_is_contradicted(tmp_path, at_hand, wrong):
    assert verdict(tmp_path, at_hand, wrong)[0] == "contradicted"


def test_one_check_that_contradicts_decides_and_all_must_support(tmp_path, at_hand):
    right = {"check": "suite-tasks", "suite": "chaparral-cls13", "tasks": 13}
    wrong, open_ = {**right, "tasks": 12}, CLAIM["checks"][0]
    assert verdict(tmp_path, at_hand, right, right)[0] == "supported"
    assert verdict(tmp_path, at_hand, right, open_)[0] == "not testable here"
    assert verdict(tmp_path, at_hand, right, open_, wrong)[0] == "contradicted"


def test_an_interval_that_holds_a_bound_says_nothing():
    assert held_against(0.5, 0.4, 0.6, 0.5, "at most") == "not testable here"
    assert held_against(0.5, 0.4, 0.6, 0.7, "at most") == "supported"
    assert held_against(0.5, 0.4, 0.6, 0.3, "at most") == "contradicted"
    assert held_against(0.5, math.nan, math.nan, 0.5, "equals") == "not testable here"


@checks.register("of-a-test")
class Broken(Check):
    """Works for even numbers."""

    class Params(CheckParams):
        """Its number."""

        number: int

    def run(self, study):
        if self.params.number % 2:
            raise KeyError("a column that is gone")
        return Finding("supported", "Even.")


def test_a_check_that_no_longer_runs_is_a_failure_with_the_claim_s_id(tmp_path, at_hand):
    assert verdict(tmp_path, at_hand, {"check": "of-a-test", "number": 2})[0] == "supported"
    with pytest.raises(ClaimCheckError) as raised:
        verdict(tmp_path, at_hand, {"check": "of-a-test", "number": 1})
    assert isinstance(raised.value, StageFailedError)  # exit status 1
    told = "claim mine: its check of-a-test no longer runs: KeyError: 'a column that is gone'"
    assert str(raised.value) == told


@pytest.mark.parametrize(
    "evidence",
    [
        {"file": "docs/nowhere.md"},
        {"symbol": "ecgscale.objectives.clef:no_such_function"},
        {"symbol": "ecgscale.nowhere:anything"},
        {"published": "nobody-2031"},
        {"csv": "further/nothing.csv"},
    ],
    ids=lambda evidence: next(iter(evidence)),
)
def test_evidence_that_is_gone_is_a_failure_too(tmp_path, at_hand, evidence):
    claims = read_claims(ledger(tmp_path, {**CLAIM, "evidence": [evidence]}))
    with pytest.raises(ClaimCheckError, match=r"claim mine: its evidence, .* is not there"):
        judge(claims, at_hand, tmp_path)


def test_evidence_that_is_there_is_listed(tmp_path, at_hand):
    (tmp_path / "page.md").touch()
    links = [
        {"file": "page.md"},
        {"symbol": "ecgscale.objectives.clef:alignment_loss"},
        {"published": "clef"},
        {"csv": "runs.csv"},
    ]
    claims = read_claims(ledger(tmp_path, {**CLAIM, "evidence": links}))
    frame = claims_frame(judge(claims, at_hand, tmp_path, ["runs.csv"]))
    assert frame["evidence"].tolist() == [
        "made in a test; file page.md; symbol ecgscale.objectives.clef:alignment_loss; "
        "published clef; csv runs.csv"
    ]


MISTAKES = {
    "an unknown check": (
        {"checks": [{"check": "gut-feeling"}]},
        "claim mine: no check is named 'gut-feeling'; there are: ",
    ),
    "an unknown parameter": (
        {"checks": [{"check": "judgement", "reason": "x"}]},
        "claim mine: check judgement, parameter why: Field required",
    ),
    "a check without a name": ({"checks": [{"why": "x"}]}, "claim mine: each of its checks names"),
    "no checks": ({"checks": []}, "claim mine: checks: Tuple should have at least 1 item"),
    "an unknown key": ({"verdict": "supported"}, "claim mine: verdict: Extra inputs"),
    "an unknown kind": ({"kind": "grand"}, "claim mine: kind: Input should be"),
    "evidence of two kinds": (
        {"evidence": [{"file": "a", "csv": "b"}]},
        "claim mine: evidence.0: evidence is one of file, symbol, published, csv",
    ),
    "an id that is no name": ({"id": "Mine!"}, "claim Mine!: id: String should match pattern"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_file_names_the_claim(tmp_path, mistake):
    change, sentence = MISTAKES[mistake]
    path = ledger(tmp_path, {**CLAIM, **change})
    with pytest.raises(BadInputError) as raised:
        read_claims(path)
    assert str(raised.value).startswith(f"{path}, {sentence}")


def test_a_file_that_is_no_ledger_is_named(tmp_path):
    path = ledger(tmp_path, CLAIM, CLAIM)
    with pytest.raises(BadInputError, match="two claims have the id mine"):
        read_claims(path)
    path.write_text("entries: []\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="must have one key, claims"):
        read_claims(path)
    path.write_text("claims: [1]\n", encoding="utf-8")
    with pytest.raises(BadInputError, match="claim 1: Input should be"):
        read_claims(path)
    path.unlink()
    assert read_claims(path) == []


def write_store(folder, leads, seconds, sbp=140.0):
    """A store of two recordings, the second as long as the first or not."""
    folder.mkdir(parents=True)
    recipe = Recipe(leads=leads, seconds=1.0, minimum_seconds=0.5)
    writer = StoreWriter(folder, leads, recipe.n_samples)
    for number, length in enumerate(seconds):
        row = {
            **{"record_id": str(number), "patient_id": f"clinic:{number}", "source": "clinic"},
            **{"age": 60.0, "sex": "F", "fold": None, "split": None, "labels": ["AF"]},
            **{"likelihoods": [100.0], "split_labels": [], "unit": "mV", "fs_original": 100.0},
            **{"seconds": length, "valid_samples": recipe.n_samples, "notes": []},
            **{"signal_digest": str(number), **dict.fromkeys(CLINICAL_FIELDS, None), "sbp": sbp},
        }
        writer.add(row, np.zeros((len(leads), recipe.n_samples), dtype=np.int16))
    finish(writer, "clinic", recipe)


@pytest.mark.parametrize(
    ("leads", "seconds", "simulated", "verdict_of_both"),
    [
        (LEADS, (10.0, 10.0), False, "supported"),
        (LEADS, (10.0, 30.0), False, "contradicted"),
        (("I", "II"), (10.0, 10.0), False, "contradicted"),
        (LEADS, (10.0, 10.0), True, "not testable here"),
    ],
)
def test_recordings_are_looked_at_one_by_one(
    tmp_path, at_hand, leads, seconds, simulated, verdict_of_both
):
    write_store(tmp_path / "clinic", leads, seconds)
    here = dataclasses.replace(
        at_hand,
        pool=("clinic",),
        readers={"clinic": "mimic-iv-ecg"},
        simulated=frozenset({"clinic"} if simulated else ()),
        stores=tmp_path,
    )
    check = {"check": "recordings", "leads": 12, "seconds": 10}
    for stated in (check, {**check, "reader": "mimic-iv-ecg"}):
        found, said = verdict(tmp_path, here, stated)
        assert found == verdict_of_both
        assert f"2 {'simulated ' if simulated else ''}recordings, {len(leads)} leads" in said.said
    other = verdict(tmp_path, here, {**check, "reader": "heedb"})
    assert other[0] == "not testable here"
    found, said = verdict(
        tmp_path, here, {"check": "metadata-fields", "fields": ["age", "sbp", "dbp", "risk"]}
    )
    assert found == "supported"
    assert "age 100%, sbp 100%, dbp 0%, risk 100%" in said.said


def test_the_examples_of_the_page_work(project, tmp_path, at_hand):
    page = (project / "docs" / "claims.md").read_text(encoding="utf-8")
    example, code = (
        re.search(rf"```{kind}\n(.*?)```", page, re.DOTALL).group(1) for kind in ("yaml", "python")
    )
    path = tmp_path / "claims.yaml"
    path.write_text(example, encoding="utf-8")
    (judged,) = judge(read_claims(path), at_hand, project, ["correlations.csv"])
    # The interval over so few sizes holds the bound.
    assert (judged.claim.id, judged.verdict) == ("simclr-gains", "not testable here")
    exec(compile(code, "docs/claims.md", "exec"), {"__name__": "of_the_page"})
    check = {"check": "small-study", "patients": 2048}
    assert verdict(tmp_path, at_hand, check)[0] == "supported"
    assert verdict(tmp_path, at_hand, {**check, "patients": 2047})[0] == "contradicted"
    listed = set(re.findall(r"^\| `([\w-]+)` \|", page, re.MULTILINE))
    assert listed == set(checks.names()) - {"of-a-test", "small-study"}
