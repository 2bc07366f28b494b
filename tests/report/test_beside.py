"""Published evidence and the claims ledger on the page, and in files for machines."""

import dataclasses
import re

import pandas as pd
import pytest

from ecgscale.ledger.claims import ClaimCheckError, StatedClaim
from ecgscale.report.beside import Beside, read_beside
from ecgscale.report.stage import write_report
from report.test_report import Structure
from support import runs as synthetic


@pytest.fixture(scope="module")
def study():
    return synthetic.make_study(
        sizes=(512, 1024, 2048), tasks=("chapman-38",), objectives=("clef",)
    )


@pytest.fixture(scope="module")
def written(study, project, tmp_path_factory):
    out = tmp_path_factory.mktemp("beside")
    return write_report(study, *synthetic.make_runs(study), out, beside=read_beside(project))


@pytest.fixture(scope="module")
def html(written):
    return written.html.read_text(encoding="utf-8")


def test_the_published_correlation_stands_beside_the_study_s_own(written, html):
    text = written.markdown.read_text(encoding="utf-8")
    for shown in (html, text):
        assert "Across 8 published models" in shown
        assert "sizes [2nd]" in shown
        assert "In this study, where nothing but the number of patients changes" in shown
        assert "on simulated recordings is: clef" in shown
    rows = re.findall(r"^\| (across published models|within this study) \|.*$", text, re.MULTILINE)
    assert rows == ["across published models"] * 3 + ["within this study"]
    assert "only a \u03c1 of 0.73 or more would have p of at most .05" in text
    assert "end at 2,048 patients, the published ones begin at 180,000 recordings" in text


def test_grades_and_sources_stay_visible(html):
    for grade in ("[R]", "[2nd]", "[C]"):
        assert grade in html
    assert 'href="https://arxiv.org/abs/2509.25095"' in html
    values = re.search(r'<table id="published-values">.*?</table>', html, re.DOTALL).group()
    assert "180,000 [2nd]" in values


def test_every_claim_has_its_verdict_evidence_and_a_row(written, html):
    ledger = re.search(r'<dl class="claims">.*?</dl>', html, re.DOTALL).group()
    assert re.findall(r'<b class="(\w+)">', ledger) == [
        *("supported", "supported", "not", "not", "contradicted", "supported"),
        *("not", "not", "not", "not", "supported"),
    ]
    assert '<a href="https://pmc.ncbi.nlm.nih.gov/articles/PMC11722092">' in ledger
    assert "| supported |" in written.markdown.read_text(encoding="utf-8")
    assert "Of 11 claims, 4 supported, 1 contradicted and 6 not testable here." in html
    frame = pd.read_csv(written.html.parent / "further" / "claims.csv")
    assert frame["id"].nunique() == 11
    assert set(frame["verdict"]) == {"supported", "contradicted", "not testable here"}


def test_the_page_stays_well_formed_and_its_links_work(written, html):
    page = Structure(html)
    assert len(page.ids) == len(set(page.ids))
    assert all(href[1:] in page.ids for href in page.anchors if href.startswith("#"))
    files = [href for href in page.anchors if not href.startswith(("#", "http", "data:"))]
    assert set(files) == {"further/literature.csv", "further/claims.csv", "runs.csv"}
    assert all((written.html.parent / file).is_file() for file in files)


def test_the_tables_for_machines_hold_every_value_and_part(written):
    folder = written.html.parent / "further"
    values = pd.read_csv(folder / "literature.csv")
    assert len(values) == 222
    assert values[["identifier", "grade", "size_grade", "value"]].notna().all().all()
    across = pd.read_csv(folder / "literature-correlations.csv")
    whole = across[(across["part"] == "all") & (across["task"] == "Chapman, all labels")]
    assert whole.set_index("readout")["rho"].round(2).to_dict() == {
        **{"finetune": 0.04, "frozen": -0.14, "linear": -0.24}
    }


def test_a_project_without_either_has_neither_section_nor_file(study, tmp_path):
    summary = write_report(study, *synthetic.make_runs(study), tmp_path)
    assert "Published evidence" not in summary.html.read_text(encoding="utf-8")
    assert not list((tmp_path / "further").glob("literature*"))
    assert not (tmp_path / "further" / "claims.csv").exists()


def test_a_broken_check_fails_the_report_and_leaves_the_last_one(study, project, tmp_path):
    runs = synthetic.make_runs(study)
    before = write_report(study, *runs, tmp_path).html.read_bytes()
    gone = StatedClaim(
        id="gone",
        claim="It is there.",
        kind="structural",
        made_in="a test",
        checks=(
            {"check": "encoder-size", "publication": "nobody-2031", "encoder": "net1d"}
            | dict.fromkeys(("model", "above", "below"), "x"),
        ),
    )
    beside = dataclasses.replace(Beside(project), claims=[gone])
    with pytest.raises(ClaimCheckError, match="claim gone: its check encoder-size no longer runs"):
        write_report(study, *runs, tmp_path, beside=beside)
    assert (tmp_path / "index.html").read_bytes() == before
