import base64
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.tracking._tracking_service import utils

from ecgscale.report.provenance import AWAY, with_runs
from ecgscale.report.stage import build_report, write_report
from ecgscale.report.svg import SERIES, VARIABLES
from ecgscale.runs import artifacts, display, tracking
from support import runs as synthetic
from support.tracked import record

FURTHER = (
    *("arms", "axes", "beaten", "composition", "gains", "labels", "laws", "pooled", "ranks"),
    *("rivals", "shapes", "sources", "surface", "tuning"),
)
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Structure(HTMLParser):
    """Checks nesting and collects what a page would load, its ids and its links."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.loads, self.anchors = [], [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.append(attrs["id"])
        if tag == "a":
            self.anchors.append(attrs["href"])
        elif tag != "use":
            self.loads += [attrs[k] for k in ("src", "href", "srcset", "data") if k in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if tag not in VOID:
            self.handle_starttag(tag, attrs)
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def small():
    return synthetic.make_study(tasks=synthetic.TASKS[:1], objectives=("clef", "clef-uniform"))


def read(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    study = synthetic.make_study()
    out = tmp_path_factory.mktemp("reports")
    return out, write_report(study, *synthetic.make_runs(study), out)


@pytest.fixture(scope="module")
def html(report):
    return report[1].html.read_text(encoding="utf-8")


def test_every_file_is_written(report):
    assert set(read(report[0])) == {
        "answer.txt",
        "comparisons.csv",
        "correlations.csv",
        "figures/scaling-simulated.svg",
        "figures/slopes-simulated.svg",
        "figures/tasks-simulated.svg",
        *(f"further/{name}.csv" for name in FURTHER),
        "index.html",
        "metrics/clef/net1d-tiny.json",
        "metrics/simclr/net1d-tiny.json",
        "plots/scaling.csv",
        "report.md",
        "runs.csv",
    }


def test_summary_holds_the_first_objective_s_numbers(report):
    summary = report[1]
    assert "clef: rises (+0.01" in summary.headline
    first = summary.claims[0].correlation
    assert first.rho.low <= first.rho.value <= first.rho.high
    assert first.slope.low < 0.012 < first.slope.high
    assert first.rho_test.p < 0.001
    assert summary.complete


def metrics(out, curve="clef/net1d-tiny"):
    return json.loads((out / "metrics" / f"{curve}.json").read_text())


def test_metrics_are_a_row_of_numbers_and_a_word_for_each_curve(report):
    found = metrics(report[0])
    assert found["slope"] == pytest.approx(report[1].claims[0].correlation.slope.value, abs=1e-6)
    assert found.pop("verdict") == report[1].claims[0].verdict == "rises"
    assert found["runs_missing"] == 0
    assert all(isinstance(value, int | float) for value in found.values())
    assert found.keys() == metrics(report[0], "simclr/net1d-tiny").keys() - {"verdict"}
    assert (report[0] / "answer.txt").read_text() == report[1].headline + "\n"


def test_claims_stand_beside_the_correlations_with_intervals_that_agree(report):
    with (report[0] / "correlations.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["verdict"]]
    assert [row["objective"] for row in rows] == ["clef", "simclr"]
    for row, claim in zip(rows, report[1].claims, strict=True):
        assert row["verdict"] == claim.verdict
        assert float(row["interval_low"]) == pytest.approx(claim.interval.low)
        assert float(row["equivalence_confidence"]) == pytest.approx(claim.equivalence.confidence)
        assert float(row["smallest_effect"]) == 0.002
        low, found, high = (float(row[f"detectable_slope{end}"]) for end in ("_low", "", "_high"))
        assert low < found < high


def test_plot_table_has_the_axis_that_dvc_draws(report):
    with (report[0] / "plots" / "scaling.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 5 * 3
    assert {row["patients"] for row in rows} == {"128", "256", "512", "1024", "2048"}
    assert all(0.5 < float(row["macro_auroc"]) < 1 for row in rows)


def test_figures_are_the_same_in_another_process(report, tmp_path):
    """Sets of names have another order in each process."""
    script = (
        "import sys; from pathlib import Path; from support import runs;"
        "from ecgscale.report.stage import write_report; study = runs.make_study();"
        "write_report(study, *runs.make_runs(study), Path(sys.argv[1]))"
    )
    tests = str(Path(__file__).resolve().parents[1])
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": tests}
        command = [sys.executable, "-c", script, str(tmp_path)]
        subprocess.run(command, env=environment, check=True)
        assert read(tmp_path / "figures") == read(report[0] / "figures")


def test_same_records_give_the_same_bytes(report, tmp_path):
    study = synthetic.make_study()
    write_report(study, *synthetic.make_runs(study), tmp_path)
    assert read(tmp_path) == read(report[0])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A study with other readouts, regressions among its tasks and one of them its primary."""
    study = synthetic.make_study(
        tasks=("mc-med-sbp", "mimic-lvef", "ptb-xl-form"),
        protocols=synthetic.PROTOCOLS,
        objectives=("clef", "clef-uniform"),
    )
    out = tmp_path_factory.mktemp("wide")
    return out, write_report(study, *synthetic.make_runs(study, unknown=7), out)


def test_recordings_counted_as_patients_are_stated_where_there_are_any(wide, html):
    sentence = "Up to 7 of the patients of a subset are recordings whose source does not say whose"
    assert sentence in wide[1].html.read_text(encoding="utf-8")
    assert "each counted as a patient" not in html


def test_other_readouts_have_a_section_only_where_there_are_any(wide, html):
    text = wide[1].html.read_text(encoding="utf-8")
    Structure(text)
    assert "Other readouts" in text
    assert "Other readouts" not in html
    assert "Other readouts" in wide[1].markdown.read_text(encoding="utf-8")
    rows = re.search(r'<table id="readouts">.*?</table>', text, flags=re.DOTALL).group()
    assert re.findall(r'<th scope="row">([^<]+)</th>', rows) == [
        "linear probe",
        "linear probe, 10% of the labels",
        "linear probe, blocks up to 50%",
        "nearest neighbours",
        "fine-tuned",
    ]
    assert (wide[0] / "figures" / "readout-slopes-simulated.svg").is_file()


def test_regressions_have_their_own_panels_units_and_direction(wide, html):
    out, summary = wide
    text = summary.html.read_text(encoding="utf-8")
    assert "MAE (mmHg) per doubling of patients" in text
    assert "lower is better" in text
    assert "MAE (%)" in text
    assert (out / "figures" / "regressions-simulated.svg").is_file()
    assert (out / "figures" / "tasks-simulated.svg").is_file()
    assert "the error falls (lower is better)" in text
    assert summary.claims[0].correlation.slope.value < 0
    assert "MAE" not in html


def test_tables_for_machines_name_endpoint_metric_and_unit(wide):
    out = wide[0]
    with (out / "correlations.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 5 * 2
    last = rows[-1]
    assert last["endpoint"] == "ptb-xl-form@finetune"
    assert (last["readout"], last["metric"], last["higher_is_better"]) == (
        "finetune",
        "macro_auroc",
        "True",
    )
    assert (rows[0]["endpoint"], rows[0]["unit"]) == ("mc-med-sbp", "mmHg")
    with (out / "runs.csv").open() as file:
        assert len(list(csv.DictReader(file))) == (2 * 5 * 3 + 2 * 3) * 15 + 3 * 3
    with (out / "plots" / "scaling.csv").open() as file:
        plotted = list(csv.DictReader(file))
    assert len(plotted) == 2 * 5 * 3
    assert all(row["score"] == row["mae"] for row in plotted)
    assert metrics(out)["mae"] > 0


def test_new_run_ids_change_only_the_places_that_list_them(report, tmp_path):
    study = synthetic.make_study()
    write_report(study, *synthetic.make_runs(study, run_ids="restored"), tmp_path)
    before, after = read(report[0]), read(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"index.html", "runs.csv"}
    without_runs = [
        re.sub(
            rb'<details id="runs">.*?</details>|href="http://127[^"]*"',
            b"",
            files["index.html"],
            flags=re.DOTALL,
        )
        for files in (before, after)
    ]
    assert without_runs[0] == without_runs[1]


def test_page_loads_nothing(html):
    page = Structure(html)
    assert page.loads == ["data:,"]
    assert not re.search(r"@import|url\((?!#)|<script src|<iframe", html)
    (script,) = re.findall(r"<script>(.*?)</script>", html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert f"{policy}; script-src 'sha256-{digest}'" in html


def test_page_is_well_formed_with_unique_ids_and_working_anchors(html):
    page = Structure(html)
    assert len(page.ids) == len(set(page.ids))
    assert all(href[1:] in page.ids for href in page.anchors if href.startswith("#"))
    used = set(re.findall(r'href="#([^"]+)"', html)) | set(re.findall(r"url\(#([^)]+)\)", html))
    assert used <= set(page.ids)


def test_figures_have_words_and_follow_the_colour_scheme(html):
    figures = re.findall(r'<svg viewBox="[^"]+" role="group" aria-label="([^"]+)">', html)
    assert len(figures) == 6
    assert "macro AUROC on PTB-XL diagnostic classes: clef 0.7" in figures[0]
    for said in figures:
        assert len(re.findall(r"[.?!](?= [A-Z]|$)", said.removeprefix("Simulated data. "))) <= 2
        assert len(said) < 500
    drawings = "".join(re.findall(r"<svg.*?</svg>", html, flags=re.DOTALL))
    assert not any(colour in drawings for colour in VARIABLES)
    assert "<title>clef, 128 patients, order 0, seed 0: 0." in html


def test_tables_have_captions_and_scoped_headers(html):
    tables = re.findall(r"<table.*?</table>", html, flags=re.DOTALL)
    assert len(tables) >= 7
    for table in tables:
        assert "<caption" in table
        assert 'scope="col"' in table
        assert 'scope="row"' in table


def luminance(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_colours_have_contrast_in_both_schemes(html):
    light, dark = re.findall(r":root \{([^}]*)\}", html)[:2]
    for scheme in (light, dark):
        colours = dict(re.findall(r"--([\w]+): (#[0-9a-f]{6})", scheme))
        for name in ("ink", "muted", "accent", "alarm", *(f"s{i}" for i in range(len(SERIES)))):
            for ground in ("paper", "card"):
                pair = sorted((luminance(colours[name]), luminance(colours[ground])))
                assert (pair[1] + 0.05) / (pair[0] + 0.05) >= 4.5, (name, ground)


def test_provenance_names_commit_and_code(html):
    assert "<dt>git commit</dt><dd>0123456789abcdef</dd>" in html
    assert re.search(r"recipe and code of each objective</dt><dd>age-sex [0-9a-f]{12}, clef ", html)


def test_simulated_data_are_declared(html, report):
    assert "Simulated data: ptb-xl" in html
    assert "Simulated data: ptb-xl" in report[1].markdown.read_text(encoding="utf-8")


def test_markdown_has_no_run_ids_and_whole_tables(report):
    text = report[1].markdown.read_text(encoding="utf-8")
    assert not re.search(r"\b[0-9a-f]{32}\b", text)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        assert len({line.count(" | ") for line in table.splitlines() if "---" not in line}) == 1


def test_incomplete_grid_is_shown_as_incomplete(small, tmp_path):
    study = small
    missing = ["clef/net1d-tiny/n128-o1-s0", "random/net1d-tiny/n0-o0-s0"]
    summary = write_report(study, *synthetic.make_runs(study, missing=missing), tmp_path)
    html = summary.html.read_text(encoding="utf-8")
    assert summary.claims[0].correlation is None
    assert "2 of 39 cells of the study are missing or incomplete" in html
    assert "not estimable: 1 of 15 runs is missing" in html
    assert all(cell in html for cell in missing)
    found = metrics(tmp_path)
    assert (found["rho"], found["verdict"]) == (None, "not estimable")
    assert found["runs_missing"] == 1


def test_collapsed_runs_are_listed(small, tmp_path):
    study = small
    cell = "clef/net1d-tiny/n256-o1-s0"
    summary = write_report(study, *synthetic.make_runs(study, collapsed=[cell]), tmp_path)
    html = summary.html.read_text(encoding="utf-8")
    assert "Collapsed runs" in html
    assert f'<th scope="row">{cell}</th>' in html


def test_empty_store_gives_a_page_that_says_so(small, tmp_path):
    study = small
    summary = write_report(study, [], [], tmp_path)
    html = summary.html.read_text(encoding="utf-8")
    assert "39 of 39 cells of the study are missing" in html
    assert not summary.complete
    Structure(html)


def test_names_are_escaped(small, tmp_path):
    info = small.study.model_copy(update={"description": "<script>alert(1)</script>"})
    study = small.model_copy(update={"study": info})
    html = write_report(study, *synthetic.make_runs(study), tmp_path).html.read_text()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_a_lost_tracking_store_loses_nothing(tmp_path, monkeypatch):
    """The stage on real MLflow: in an empty store, the second report has the same numbers."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'one.db'}")
    tasks = synthetic.TASKS[:1]
    study = synthetic.make_study(
        sizes=(128, 256, 512), orders=(0,), objectives=("clef",), tasks=tasks
    )
    for run in [r for phase in synthetic.make_runs(study, resamples=20) for r in phase]:
        path = tmp_path / "results" / run.record.phase / f"{run.cell}.json"
        run.record.write(path)
    first = build_report(study, tmp_path)
    before = read(tmp_path / "reports")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'another.db'}")
    second = build_report(study, tmp_path)
    after = read(tmp_path / "reports")
    assert second.headline == first.headline
    assert {name for name in before if before[name] != after[name]} == {"index.html", "runs.csv"}


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """Return a study whose records lie in a project with a store of its own, and its report."""
    root = tmp_path_factory.mktemp("reported")
    study = synthetic.make_study(
        sizes=(128, 256, 512), orders=(0,), objectives=("clef",), tasks=synthetic.TASKS[:1]
    )
    for run in [r for phase in synthetic.make_runs(study, resamples=20) for r in phase]:
        run.record.write(root / "results" / run.record.phase / f"{run.cell}.json")
    with pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        build_report(study, root)
    return study, root


@pytest.fixture
def kept(reported, tmp_path, monkeypatch):
    """A copy of it."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    utils._artifact_repos_cache.clear()  # a process works on one project
    study, root = reported
    return study, Path(shutil.copytree(root, tmp_path / "project"))


def test_what_is_edited_in_the_store_is_named_and_not_believed(kept, caplog):
    study, root = kept
    before = read(root / "reports")
    assert not caplog.records
    number, artifact = tracking.query(study.study.name, "evaluate", root)[:2]
    name = f"{synthetic.TASKS[0]}.macro_auroc"
    shown = display.metric_names(number.record)[name]
    client = MlflowClient(tracking.tracking_uri(root))
    client.log_metric(number.run_id, shown, 0.999)
    forged = artifact.record.model_copy(update={"axes": {**artifact.record.axes, "size": 4096}})
    client.log_text(artifact.run_id, forged.to_json(), artifacts.RECORD_FILE)
    build_report(study, root)
    after = read(root / "reports")
    changed = {file for file in before if before[file] != after[file]}
    assert changed == {"index.html", "report.md"}
    said = [
        f"run {number.run_id} (evaluate of {number.cell}): metric {shown} is 0.999, its record "
        f"says {number.record.metrics[name]:.6g}; the record is used",
        f"run {artifact.run_id} (evaluate of {artifact.cell}): artifact record.json is not the "
        "record in results/; the record is used",
    ]
    assert caplog.messages == said
    for sentence in said:
        assert f"<li>{sentence}</li>" in after["index.html"].decode()
        assert f"- {sentence}\n" in after["report.md"].decode()


def test_of_many_differences_the_page_shows_some_and_counts_the_rest(monkeypatch, caplog):
    runs = [
        tracking.TrackedRecord(f"r{n}", f"c{n}", {}, record(), tuple("abcdefg")) for n in range(30)
    ]
    monkeypatch.setattr(tracking, "synced", lambda *arguments: runs)
    sentences = with_runs({}, [], Path())[1]
    assert len(sentences) == 20 * 6 + 1
    assert sentences[5].endswith("2 further differences; the record is used")
    assert sentences[-1].startswith("10 further runs differ")


@pytest.mark.parametrize("damage", ["no database", "no server"])
def test_a_store_that_is_away_changes_no_number(kept, caplog, monkeypatch, damage):
    study, root = kept
    before = read(root / "reports")
    if damage == "no server":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    else:
        (root / "mlflow.db").write_bytes(b"\x07" * 10_000)
    build_report(study, root)
    after = read(root / "reports")
    changed = {file for file in before if before[file] != after[file]}
    assert changed == {"index.html", "report.md", "runs.csv"}
    assert AWAY in after["report.md"].decode()
    (message,) = caplog.messages
    assert message.startswith("the tracking store ")
    assert message.endswith("; the report is of the records in results/, without links to runs")
    with (root / "reports" / "runs.csv").open() as file:
        assert {row["evaluate_run_id"] for row in csv.DictReader(file)} == {""}
