"""The search: resumable, reproducible, on validation data alone, and its winner is used."""

import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from ecgscale.runs.record import RunRecord, read_results
from ecgscale.study.file import load_study
from support.postgres import cluster
from support.project import Project
from support.server import wait_for


def trials(root, objective):
    """Return (number, state, values) of the search's trials as Optuna stored them."""
    records = {r.cell: r for r in read_results(root / "results", "tune")}
    return {
        cell: (record.params, record.metrics["validation_macro_auroc"])
        for cell, record in records.items()
        if cell.startswith(f"{objective}/trial-")
    }


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def tuned(prepared):
    """A finished search for SimCLR."""
    prepared.run("tune", "simclr")
    return prepared


def test_the_winner_is_the_best_trial_that_finished(tuned):
    winner = RunRecord.read(tuned.root / "results/tune/simclr/winner.json")
    finished = [
        record.metrics["validation_macro_auroc"]
        for record in read_results(tuned.root / "results", "tune")
        if record.cell.startswith("simclr/trial-") and not record.metrics["pruned"]
    ]
    assert winner.metrics["validation_macro_auroc"] == max(finished)
    assert len(trials(tuned.root, "simclr")) == 3
    assert "temperature" in winner.details["winner"]["params"]


def test_every_trial_is_a_child_run_of_the_winner(tuned, monkeypatch):
    from ecgscale.runs import tracking

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    runs = {run.cell: run for run in tracking.query("small", "tune", tuned.root)}
    parent = runs["simclr/winner"].run_id
    children = [run for cell, run in runs.items() if cell.startswith("simclr/trial-")]
    assert len(children) == 3
    assert {run.tags["mlflow.parentRunId"] for run in children} == {parent}


def test_a_finished_search_repeats_nothing(tuned):
    before = trials(tuned.root, "simclr")
    tuned.run("tune", "simclr")
    assert trials(tuned.root, "simclr") == before


def test_a_killed_search_goes_on_to_the_same_winner(tuned):
    def begin():
        return subprocess.Popen(
            [sys.executable, "-m", "ecgscale", "tune", "clef"],
            cwd=tuned.root,
            env=tuned.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    process = begin()
    first = tuned.root / "results/tune/clef/trial-000.json"
    while not first.exists() and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    tuned.run("tune", "clef")
    interrupted = trials(tuned.root, "clef")
    assert len(interrupted) == 3

    shutil.rmtree(tuned.root / "results/tune/clef")
    with sqlite3.connect(tuned.root / "optuna.db") as store:
        store.execute("UPDATE studies SET study_name = study_name || '-interrupted'")
    tuned.run("tune", "clef")
    uninterrupted = trials(tuned.root, "clef")
    assert sorted(map(str, interrupted.values())) == sorted(map(str, uninterrupted.values()))


def test_the_test_split_is_never_read(tuned):
    """With every test target and test signal gone, the same search has the same result."""
    path = tuned.root / "data/tasks/ptb-xl-superdiagnostic.parquet"
    saved, before = path.read_bytes(), trials(tuned.root, "simclr")
    table = pq.read_table(path)
    keep = [split != "test" for split in table["split"].to_pylist()]
    pq.write_table(table.filter(keep), path)
    with sqlite3.connect(tuned.root / "optuna.db") as store:
        store.execute("UPDATE studies SET study_name = study_name || '-with-test'")
    try:
        tuned.run("tune", "simclr")
    finally:
        path.write_bytes(saved)
    assert trials(tuned.root, "simclr") == before


def test_pretraining_takes_the_winner_when_the_study_asks(tuned):
    from ecgscale.study.resolve import resolve_objective

    winner = RunRecord.read(tuned.root / "results/tune/simclr/winner.json").details["winner"]
    saved = (tuned.root / "params.yaml").read_text()
    path = str(tuned.root / "results/tune/simclr/winner.json")
    tuned.change(lambda study: study["objectives"]["simclr"].update(tuned=path))
    study = load_study(tuned.root / "params.yaml")
    recipe = resolve_objective(study, "simclr")
    (tuned.root / "params.yaml").write_text(saved)
    assert {key: recipe.params[key] for key in winner["params"]} == winner["params"]
    assert recipe.training.lr == winner["training"]["lr"]


@pytest.mark.parametrize(
    "changed",
    [
        {"readouts": {"linear": {"penalties": [9.0]}}},
        {"lead": "V5"},
        {"batch_size": 7},
        {"minimum_positives": 3},
    ],
)
def test_whatever_decides_a_trial_makes_another_search(prepared, changed):
    from ecgscale.pipeline.tuning.search import Search

    study = load_study(prepared.root / "params.yaml")
    other = study.model_copy(update={"evaluation": study.evaluation.model_copy(update=changed)})
    longer = study.model_copy(update={"tune": study.tune.model_copy(update={"trials": 99})})
    name, changed_name, longer_name = (
        Search(each, "simclr", prepared.root).name for each in (study, other, longer)
    )
    assert changed_name != name == longer_name


def test_a_winner_that_does_not_exist_is_one_sentence(prepared):
    saved = (prepared.root / "params.yaml").read_text()
    prepared.change(lambda study: study["objectives"]["clef"].update(tuned="results/none.json"))
    done = prepared.run("pretrain", "clef/net1d-tiny/n16-o0-s0", status=2)
    (prepared.root / "params.yaml").write_text(saved)
    assert "asks for the tuned parameters in results/none.json, which does not exist" in done.stderr


@pytest.fixture(scope="module")
def postgres():
    with cluster() as running:
        yield running


@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_a_killed_worker_is_replaced_and_its_trial_begun_again(prepared, request, store):
    """Two workers share a search; one is killed while it trains."""
    objective = {"sqlite": "simclr", "postgresql": "clef"}[store]
    saved, environment = (prepared.root / "params.yaml").read_text(), dict(prepared.environment)
    shutil.rmtree(prepared.root / "results/tune" / objective, ignore_errors=True)
    prepared.change(lambda study: study["tune"].update(workers=2, trials=4, steps=120, rungs=4))
    if store == "postgresql":
        environment["OPTUNA_STORAGE"] = request.getfixturevalue("postgres").create("searches")
    try:
        search = subprocess.Popen(
            [sys.executable, "-m", "ecgscale", "tune", objective],
            cwd=prepared.root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        running = wait_for_trials(prepared.root, environment, objective, 2)
        victim = int(running[-1].user_attrs["ecgscale.owner"].rpartition(":")[2])
        os.kill(victim, signal.SIGKILL)
        said, _ = search.communicate(timeout=600)
    finally:
        (prepared.root / "params.yaml").write_text(saved)
    assert search.returncode == 0, said
    assert "was killed by signal 9; its trial is begun again" in " ".join(said.split())
    found = [t for t in stored(prepared.root, environment, objective) if t.state.is_finished()]
    killed = running[-1].number
    (again,) = [t for t in found if killed in t.system_attrs.get("retry_history", ())]
    assert again.params == next(t.params for t in found if t.number == killed)
    assert len(found) == 4 + 1
    assert {t.state.name for t in found if t.number != killed} <= {"COMPLETE", "PRUNED"}
    assert len(trials(prepared.root, objective)) == 4
    secret = environment.get("OPTUNA_STORAGE", "").partition("@")[0].rpartition(":")[2]
    if secret:
        texts = [path.read_text() for path in (prepared.root / "results").rglob("*.json")]
        assert not [text for text in [*texts, said] if secret in text]


def stored(root, environment, objective):
    """Return the trials of the newest search for an objective."""
    import optuna

    url = environment.get("OPTUNA_STORAGE", f"sqlite:///{root / 'optuna.db'}")
    names = optuna.study.get_all_study_names(url)
    *_, name = [name for name in names if f"/{objective}/" in name] or [None]
    return optuna.load_study(study_name=name, storage=url).get_trials() if name else []


def wait_for_trials(root, environment, objective, number):
    """Wait until so many trials are under way and have read a rung; return them."""
    until = time.monotonic() + 240
    while time.monotonic() < until:
        with suppress(Exception):  # the storage is being made
            running = [t for t in stored(root, environment, objective) if t.state.name == "RUNNING"]
            if len(running) == number and all(t.intermediate_values for t in running):
                return running
        time.sleep(0.2)
    raise AssertionError("the workers did not begin")


@pytest.mark.browser
def test_the_dashboard_opens_on_the_storage(tuned, chromium):
    from playwright.sync_api import sync_playwright

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    dashboard = subprocess.Popen(
        [Path(sys.executable).parent / "optuna-dashboard", "sqlite:///optuna.db", "--port", port],
        cwd=tuned.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api/studies")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(address)
            page.get_by_text("small/simclr/").first.wait_for()
            page.get_by_text("small/simclr/").first.click()
            page.get_by_text("Best Trial").first.wait_for()
            browser.close()
    finally:
        dashboard.kill()
        dashboard.wait()


def test_a_clone_has_what_a_search_found_and_asks_for_no_other(tuned, tmp_path, project):
    """Of the objectives named in `tune`, one was searched and one was not."""
    root, remote = tuned.root, tmp_path / "remote"
    tuned.dvc("remote", "add", "--default", "--force", "here", str(remote))
    tuned.dvc("push", "results/tune/simclr.dvc")
    (root / "results/tune/clef.dvc").unlink(missing_ok=True)  # of another test
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["add", "-A"], ["commit", "-qm", "searched"]):
        subprocess.run([*git, *command], cwd=root, check=True)
    subprocess.run(["git", "clone", "-q", str(root), str(tmp_path / "clone")], check=True)
    clone = Project(tmp_path / "clone", project)
    clone.dvc("pull", "results/tune/simclr.dvc")
    for name in ("winner.json", "figures/history.png"):
        place = Path("results/tune/simclr", name)
        assert (clone.root / place).read_bytes() == (root / place).read_bytes()
    assert not (clone.root / "results/tune/clef").exists()
    assert "tune" not in clone.dvc("status")
