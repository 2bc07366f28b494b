"""MLflow's pages of a study in a real browser: what each main view shows, and its picture.

The pictures of docs/mlflow-ui.md are made by
``ECGSCALE_SCREENSHOTS=docs/figures/mlflow pytest -m long tests/runs/test_mlflow_pages.py``.
"""

import io
import json
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from mlflow import MlflowClient
from PIL import Image

from ecgscale.report.stage import build_report
from ecgscale.runs import tracking
from support import runs as synthetic
from support.server import mlflow_server

pytestmark = [pytest.mark.browser, pytest.mark.long]

HIDE_PLACES = """() => document.querySelectorAll('*').forEach(one => {
    if (!one.children.length && one.textContent.includes('file://')) one.textContent = '';
})"""
"""A picture is of a store, not of the machine that it was on."""
LOADED = 90_000
"""Milliseconds that a page may take on a busy machine."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory, chromium):
    """Give a function that opens a page of a synthetic study's store, and the store's client."""
    from playwright.sync_api import sync_playwright

    root = tmp_path_factory.mktemp("study")
    study = synthetic.make_study(objectives=("clef", "simclr"))
    tasks = ", ".join(study.evaluation.tasks)
    for run in [run for phase in synthetic.make_runs(study) for run in phase]:
        kept = run.record.model_copy(update={"params": {"tasks": tasks}})
        if kept.phase == "pretrain":
            kept = kept.model_copy(update={"curves": {"train/loss": falling(kept.metrics["loss"])}})
        kept.write(root / "results" / kept.phase / f"{kept.cell}.json")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
        build_report(study, root)
        tracking.sync(root / "results", root)
    with mlflow_server(root) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1440, "height": 900})

        def open_page(place):
            page = context.new_page()
            page.goto(f"{server}/{place}", wait_until="domcontentloaded")
            return page

        yield open_page, Store(MlflowClient(server))
        browser.close()


def falling(last):
    return [(step, last + 2.0 * 0.98**step) for step in range(0, 300, 10)] + [(300, last)]


class Store:
    """What the pages are about."""

    def __init__(self, client):
        self.client = client
        self.ids = {e.name: e.experiment_id for e in client.search_experiments()}

    def run(self, experiment, cell):
        wanted = f"tags.`ecgscale.cell` = '{cell}'"
        return self.client.search_runs([self.ids[experiment]], wanted)[0].info.run_id


def picture(page, name):
    """Keep what a page shows, where a folder is named for it."""
    folder = os.environ.get("ECGSCALE_SCREENSHOTS")
    if not folder:
        return
    close = page.get_by_role("button", name="Close").last
    if close.is_visible():
        close.click()
    page.wait_for_timeout(3000)  # charts are drawn
    page.evaluate(HIDE_PLACES)
    shown = Image.open(io.BytesIO(page.screenshot()))
    shown.convert("RGB").quantize(96).save(Path(folder) / f"{name}.png", optimize=True)


def see(page, *texts):
    for text in texts:
        page.get_by_text(text).first.wait_for(timeout=LOADED)


def test_the_list_of_experiments_says_what_each_is(pages):
    open_page, _ = pages
    page = open_page("#/experiments")
    see(page, "ecgscale-pretrain", "ecgscale-evaluate", "ecgscale-report")
    see(page, "Pretrainings", "Evaluations")
    picture(page, "experiments")


def test_runs_are_told_apart_in_the_table(pages):
    open_page, store = pages
    page = open_page(f"#/experiments/{store.ids['ecgscale-evaluate']}/runs")
    see(page, "n2048 o0 s0 clef", "n128 o2 s0 simclr", "Evaluations")
    picture(page, "runs")


def test_the_primary_score_is_the_first_chart(pages):
    open_page, store = pages
    place = f"#/experiments/{store.ids['ecgscale-evaluate']}/runs?compareRunsMode=CHART"
    page = open_page(place)
    see(page, "1 primary", "2 scores")
    shown = page.content()
    groups = ("1 primary", "2 scores", "3 intervals", "5 further metrics", "9 size")
    places = [shown.find(f"{group} (") for group in groups]
    assert places == sorted(places)
    picture(page, "chart")


def test_a_run_says_what_it_is_and_what_made_it(pages):
    open_page, store = pages
    run = store.run("ecgscale-evaluate", "clef/net1d-tiny/n2048-o0-s0")
    page = open_page(f"#/experiments/{store.ids['ecgscale-evaluate']}/runs/{run}")
    see(page, "n2048 o0 s0 clef net1d-tiny", "python -m ecgscale evaluate clef/net1d-tiny")
    see(page, "Scores with their interval over test patients")
    picture(page, "run")


def test_curves_of_a_pretraining_stand_in_groups(pages):
    open_page, store = pages
    run = store.run("ecgscale-pretrain", "clef/net1d-tiny/n2048-o0-s0")
    page = open_page(f"#/experiments/{store.ids['ecgscale-pretrain']}/runs/{run}/model-metrics")
    see(page, "1 quality", "2 train", "3 cost")
    picture(page, "curves")


def test_runs_of_all_sizes_are_compared(pages):
    open_page, store = pages
    evaluations = store.ids["ecgscale-evaluate"]
    cells = [f"clef/net1d-tiny/n{size}-o0-s0" for size in (128, 256, 512, 1024, 2048)]
    runs = [store.run("ecgscale-evaluate", cell) for cell in cells]
    asked = f"runs={quote(json.dumps(runs))}&experiments={quote(json.dumps([evaluations]))}"
    page = open_page(f"#/compare-runs?{asked}")
    see(page, "Comparing 5 Runs", "1 primary/ptb-xl-superdiagnostic.macro_auroc")
    picture(page, "compare")


def test_a_report_is_there_with_its_figure(pages):
    open_page, store = pages
    experiment = store.ids["ecgscale-report"]
    (run,) = store.client.search_runs([experiment])
    page = open_page(
        f"#/experiments/{experiment}/runs/{run.info.run_id}/artifacts/figures/scaling-simulated.svg"
    )
    see(page, "report synthetic", "index.html")
    page.locator("img, svg").first.wait_for(timeout=LOADED)
    picture(page, "report")
