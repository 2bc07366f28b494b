"""Whatever a run is called in MLflow, what its record says is found again."""

import sqlite3
from contextlib import closing

import pytest

from ecgscale.runs import agreement, display, store, tracking
from ecgscale.study.cells import study_cells
from ecgscale.study.file import load_study
from support.runs import PROTOCOLS, make_runs, make_study
from support.tracked import client, find, keep, record


@pytest.mark.parametrize("name", ["params.yaml", "studies/ptb-xl.yaml"])
def test_names_of_runs_differ_in_their_first_characters(project, name):
    shown = [display.run_name(cell.name) for cell in study_cells(load_study(project / name))]
    assert len({name[:20] for name in shown}) == len(shown)


def test_a_metric_is_found_behind_the_name_it_is_shown_by():
    pretrained, evaluated = make_runs(make_study(sizes=(128, 256, 512), protocols=PROTOCOLS))
    for run in [*pretrained, *evaluated, tracked_tune()]:
        shown = display.metric_names(run.record)
        assert len(set(shown.values())) == len(shown)
        assert {display.own_name(name): own for own, name in shown.items()} == {
            name: name for name in shown
        }
    curves = ("train/loss", "train/grad_norm", "knn", "loss", "alignment")
    assert [display.own_name(display.curve_name(name)) for name in curves] == [*curves]


def tracked_tune():
    kept = record("tune", "simclr/trial-000", metrics={"validation_macro_auroc": 0.7})
    return tracking.TrackedRecord("1", kept.cell, {}, kept)


def test_the_first_task_stands_first():
    study = make_study(protocols=PROTOCOLS)
    kept = make_runs(study)[1][0].record
    kept = kept.model_copy(update={"params": {"tasks": ", ".join(study.evaluation.tasks)}})
    first = study.evaluation.tasks[0]
    names = sorted(agreement.expected_metrics(kept))
    assert names[:3] == [f"1 primary/{first}.macro_auroc{end}" for end in ("", "_high", "_low")]
    assert names[3].startswith("2 scores/")
    assert names[-2:] == ["9 size/log2 patients", "9 size/patients"]
    rows = display.description(kept, None).splitlines()
    score = kept.metrics[f"{first}.macro_auroc"]
    assert rows[4].startswith(f"| {first} | macro_auroc | {score:.4g} | ")


def test_what_a_run_has_lost_is_written_again_and_what_differs_is_named(root):
    kept = keep(root, record(metrics={"loss": 0.5, "knn": 0.7}))
    tracking.sync(root / "results", root)
    run = find(root, kept.identity).info.run_id
    assert find(root, kept.identity).info.run_name == "n64 o0 s0 clef net1d-tiny"
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        for table in ("metrics", "latest_metrics"):
            database.execute(f"DELETE FROM {table} WHERE key = '1 quality/knn'")
        database.execute("DELETE FROM params WHERE key = 'lr'")
        database.commit()
    client(root).delete_tag(run, display.NOTE)
    assert len(tracking.held([kept], root)[0].problems) == 2
    tracking.sync(root / "results", root)
    assert not tracking.held([kept], root, thorough=True)[0].problems
    assert "Pretraining of study" in find(root, kept.identity).data.tags[display.NOTE]
    client(root).log_metric(run, "1 quality/knn", 0.9)
    tracking.sync(root / "results", root)
    said = "metric 1 quality/knn is 0.9, its record says 0.7"
    assert tracking.held([kept], root)[0].problems == (said,)


def test_experiments_say_what_they_are_and_keep_what_people_say(root):
    store.check_store(root)
    for phase in store.PHASES:
        experiment = client(root).get_experiment_by_name(store.experiment_name(phase))
        assert "How to read it" in experiment.tags[display.NOTE]
    client(root).set_experiment_tag(experiment.experiment_id, display.NOTE, "Ours.")
    store.check_store(root)
    assert client(root).get_experiment(experiment.experiment_id).tags[display.NOTE] == "Ours."


def test_numbers_under_plain_names_are_compared_as_well(root):
    kept = keep(root, record(metrics={"loss": 0.5, "knn": 0.7}))
    tracking.sync(root / "results", root)
    run = find(root, kept.identity).info.run_id
    client(root).log_metric(run, "knn", 0.7)  # as a store of before names were grouped has it
    assert tracking.held([kept], root)[0].problems == ()
    client(root).log_metric(run, "knn", 0.9)
    assert tracking.held([kept], root)[0].problems == ("metric knn is 0.9, its record says 0.7",)
    client(root).log_metric(run, "auroc", 0.9)
    assert "metric auroc is not in its record" in tracking.held([kept], root)[0].problems
