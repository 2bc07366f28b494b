"""The whole pipeline: from nothing to a correlation, and what re-runs when something changes."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import pandas as pd
import pytest

from support.server import wait_for

REPORT = ("correlations.csv", "answer.txt", "report.md")


def test_one_command_ends_with_the_answer(small):
    printed = small.first.stdout
    assert (small.root / "reports" / "answer.txt").read_text().split()[0] in printed
    assert "reports/index.html" in printed
    assert "make ui" in printed


def test_every_cell_has_its_records_and_its_encoder(small):
    names = set(small.results())
    for objective in ("simclr", "clef"):
        for size in (16, 32):
            cell = f"{objective}/net1d-tiny/n{size}-o0-s0"
            assert {f"pretrain/{cell}.json", f"evaluate/{cell}.json"} <= names
            files = {path.name for path in (small.root / "models" / cell).iterdir()}
            assert files == {"encoder.safetensors", "config.yaml", "MODEL_CARD.md"}
    assert {"evaluate/baseline/age-sex.json", "evaluate/baseline/prevalence.json"} <= names
    runs = pd.read_csv(small.root / "reports" / "runs.csv")
    assert len(runs) == 2 * (2 * 2 + 1 + 3)
    assert runs["evaluate_run_id"].notna().all()


def test_any_encoder_on_a_suite_and_against_another(small):
    cells = [f"clef/net1d-tiny/n{size}-o0-s0" for size in (16, 32)]
    arguments = ("--encoder", f"models/{cells[0]}", "--suite", "chaparral-cls13")
    printed = small.run("evaluate", *arguments).stdout
    assert "of 2 of 13 tasks, which is not the suite's score" in printed
    assert "not evaluated: music-outcome" in printed
    copied = json.loads(
        (small.root / "results/evaluate/external/clef-net1d-tiny-n16-o0-s0.json").read_text()
    )
    own = json.loads((small.root / f"results/evaluate/{cells[0]}.json").read_text())
    assert copied["metrics"] == own["metrics"]
    same = json.loads(small.run("compare", *cells, "--json").stdout)
    assert [row["endpoint"] for row in same] == ["chapman-38", "ptb-xl-superdiagnostic"]
    for row in same:
        assert row["low"] <= row["high"]
        assert row["difference"] == row["first"] - row["second"]
    assert "first: " + cells[0] in small.run("compare", *cells).stdout


def test_every_run_is_linked_and_knows_its_commit(small, monkeypatch):
    from ecgscale.runs import tracking

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    pretrained = {run.cell: run for run in tracking.query("small", "pretrain", small.root)}
    evaluated = tracking.query("small", "evaluate", small.root)
    for run in [run for run in evaluated if not run.cell.startswith("baseline/")]:
        assert run.tags["pretrain_run_id"] == pretrained[run.cell].run_id
    for run in [*pretrained.values(), *evaluated]:
        assert len(run.tags["git_commit"]) == 40
        assert run.tags["git_dirty"] == "false"
    assert all(run.tags["dvc.data/tasks"].endswith(".dir") for run in evaluated)
    subset = pretrained["clef/net1d-tiny/n16-o0-s0"].tags["dvc.data/subsets/n16"]
    assert f"md5: {subset}" in (small.root / "dvc.lock").read_text()


def test_the_best_encoder_is_loaded_by_its_alias_and_takes_raw_recordings(small, monkeypatch):
    import mlflow

    from ecgscale import encoders
    from ecgscale.data.recipe import Recipe
    from ecgscale.evaluation.raw import RawEmbedder

    monkeypatch.chdir(small.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{small.root / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model("models:/ecgscale-clef-net1d-tiny@best")
    run = mlflow.MlflowClient().get_run(model.metadata.run_id)
    encoder = encoders.load(small.root / "models" / run.data.tags["ecgscale.cell"])
    expected = RawEmbedder(encoder, Recipe(**small.study()["recipe"]), "").predict(
        model.input_example
    )
    found = model.predict(model.input_example)
    assert found.shape == (1, encoder.embed_dim)
    assert (found == expected).all()
    assert not list((small.root / "mlartifacts").rglob("*.safetensors"))


@pytest.mark.long
def test_a_figure_leads_to_raw_files_and_these_lead_to_it(small):
    printed = small.run("lineage", "reports/figures/scaling-simulated.svg").stdout
    for source in ("sim-ptb-xl", "sim-chapman"):
        assert printed.count(f"raw files   data/raw/{source}") == 1
    assert "mlflow run " in printed
    below = json.loads(small.run("lineage", "data/raw/sim-ptb-xl", "--json").stdout)
    assert "figure reports/figures/scaling-simulated.svg " in below["used_by"]
    assert "is no file, run or digest" in small.run("lineage", "nonsense", status=2).stderr


@pytest.mark.browser
def test_the_mlflow_pages_show_the_runs(small, chromium):
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "ecgscale", "ui", "--port", str(port)],
        cwd=small.root,
        env={**small.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        printed = [server.stdout.readline() for _ in range(4)]
        page_url = next(line.split()[1] for line in printed if line.startswith("pretrain"))
        wait_for(f"http://127.0.0.1:{port}/health")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": 1600, "height": 900})
            page.goto(page_url, wait_until="domcontentloaded")
            page.get_by_text("n16 o0 s0 clef net1d-tiny").first.wait_for(timeout=90_000)
            browser.close()
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.long
def test_a_second_run_repeats_nothing(small):
    before = small.results()
    small.run("repro", "--jobs", "1")
    assert small.results() == before


@pytest.mark.long
def test_a_lost_store_gives_the_same_report(small):
    reports = small.root / "reports"
    before = {name: (reports / name).read_bytes() for name in REPORT}
    figures = {path.name: path.read_bytes() for path in (reports / "figures").iterdir()}
    (small.root / "mlflow.db").unlink()
    shutil.rmtree(small.root / "mlartifacts")
    small.run("sync")
    small.run("report")
    assert {name: (reports / name).read_bytes() for name in REPORT} == before
    assert {path.name: path.read_bytes() for path in (reports / "figures").iterdir()} == figures


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda s: s["training"].update(lr="fast"), "training.lr"),
        (lambda s: s["objectives"]["clef"].update(params={"tau": 1}), "objective clef, parameter"),
        (lambda s: s["objectives"]["clef"].update(kind="clev"), "no objective is named 'clev'"),
        (lambda s: s["sources"]["sim-chapman"].update(reader="x"), "no source is named 'x'"),
    ],
)
def test_a_mistake_in_the_study_is_one_sentence(small, change, sentence):
    saved = (small.root / "params.yaml").read_text()
    small.change(change)
    done = small.run("repro", status=2)
    (small.root / "params.yaml").write_text(saved)
    assert done.stderr.count("\n") == 1
    assert sentence in done.stderr
