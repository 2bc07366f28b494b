"""A report is shown in the tracking store, once for all that it says."""

import pytest

from ecgscale.runs import store, tracking
from ecgscale.runs.reported import show_report
from support.tracked import client, keep, record


@pytest.fixture
def folder(root):
    path = root / "reports"
    (path / "figures").mkdir(parents=True)
    (path / "index.html").write_text("<p>run 1</p>")
    (path / "figures" / "scaling.svg").write_text("<svg/>")
    (path / "answer.txt").write_text("It rises.")
    return path


def shown(root):
    experiment = client(root).get_experiment_by_name("ecgscale-report")
    return client(root).search_runs([experiment.experiment_id], order_by=["start_time"])


def test_a_report_is_shown_with_its_page_its_figures_and_its_numbers(root, folder):
    show_report("trial", "It rises.", {"clef net1d-tiny/slope": 0.004}, folder, root)
    (run,) = shown(root)
    assert (run.info.run_name, run.info.status) == ("report trial", "FINISHED")
    assert run.data.metrics == {"clef net1d-tiny/slope": 0.004}
    assert run.data.tags["mlflow.note.content"] == "It rises."
    assert run.data.tags["mlflow.source.name"] == "python -m ecgscale report"
    names = {item.path for item in client(root).list_artifacts(run.info.run_id)}
    assert names == {"index.html", "figures", "answer.txt"}


def test_the_same_report_is_one_run_and_another_marks_it(root, folder):
    show_report("trial", "It rises.", {}, folder, root)
    (folder / "index.html").write_text("<p>run 2</p>")  # another store: other ids of runs
    show_report("trial", "It rises.", {}, folder, root)
    assert len(shown(root)) == 1
    (folder / "answer.txt").write_text("It falls.")
    show_report("trial", "It falls.", {}, folder, root)
    show_report("another", "It falls.", {}, folder, root)
    marks = [store.SUPERSEDED in run.data.tags for run in shown(root)]
    assert marks == [True, False, False]
    (folder / "answer.txt").write_text("It rises.")
    show_report("trial", "It rises.", {}, folder, root)
    marks = [store.SUPERSEDED in run.data.tags for run in shown(root)]
    assert marks == [False, True, False]


def test_a_store_that_is_away_is_said_and_stops_nothing(root, folder, monkeypatch, caplog):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ann:s3cret@127.0.0.1:9")
    show_report("trial", "It rises.", {}, folder, root)
    (message,) = caplog.messages
    assert message.startswith("the report is not shown in the tracking store: ")
    assert "s3cret" not in message


def test_runs_of_a_study_are_not_touched_by_its_report(root, folder):
    kept = keep(root, record())
    tracking.sync(root / "results", root)
    show_report(kept.study, "It rises.", {}, folder, root)
    assert tracking.held([kept], root)[0].problems == ()
