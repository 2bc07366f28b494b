"""The search: resumable, reproducible, on validation data alone, and its winner is used."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest

from ecgscale.runs.record import RunRecord, read_results
from ecgscale.study.file import load_study


def trials(root, objective):
    """Return (number, state, values) of the search's trials as Optuna stored them."""
    records = {r.cell: r for r in read_results(root / "results", "tune")}
    return {
        cell: (record.params, record.metrics["validation_macro_auroc"])
        for cell, record in records.items()
        if cell.startswith(f"{objective}/trial-")
    }


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


@pytest.mark.long
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

    for path in (tuned.root / "results/tune/clef").iterdir():
        path.unlink()
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


@pytest.mark.long
def test_several_workers_share_a_search(prepared):
    saved = (prepared.root / "params.yaml").read_text()
    prepared.change(lambda study: study["tune"].update(workers=2, trials=4))
    prepared.run("tune", "simclr")
    (prepared.root / "params.yaml").write_text(saved)
    assert len(trials(prepared.root, "simclr")) >= 4
