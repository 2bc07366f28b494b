"""A run of any phase: begun, killed, continued, finished; alone and in two processes."""

import pytest
from mlflow import MlflowClient

from ecgscale.distributed import rank
from ecgscale.runs import carrier, tracking
from ecgscale.runs.protocol import open_run
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.runs.settings import StudyInfo
from support.processes import in_two_processes

STUDY = StudyInfo(name="small")
UNTRACKED = StudyInfo(name="small", live_tracking_after=3600)
CELL = "clef/tiny/n8-o0-s0"
KNOWN = {"axes": {"size": 8}, "params": {"lr": 0.1}, "tags": {"subset_digest": "abc"}}


@pytest.fixture(autouse=True)
def _own_store(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def opened(root, study=UNTRACKED, **changed):
    return open_run("pretrain", study, CELL, root, **{"key": "k", **KNOWN, **changed})


def test_a_finished_run_is_recorded_and_tracked_and_leaves_no_work(tmp_path):
    curves = {"train/loss": [(1, 2.0), (2, 1.5)]}
    with opened(tmp_path, STUDY) as run:
        run.log_points(curves)
        run.kept("checkpoints").mkdir()
        record = run.finish(metrics={"loss": 1.5}, curves=curves, tags={"model_digest": "def"})
    assert not list((tmp_path / ".ecgscale/work").iterdir())
    written = RunRecord.read(result_path(tmp_path / "results", "pretrain", CELL))
    assert written.to_json() == record.to_json()
    assert (record.study, record.cell, record.phase) == ("small", CELL, "pretrain")
    assert (record.axes, record.params) == (KNOWN["axes"], KNOWN["params"])
    expected = {"study": "small", "subset_digest": "abc", "model_digest": "def"}
    assert expected.items() <= record.tags.items()
    assert {"git_commit", "python", "torch"} <= set(record.tags)
    assert record.started <= record.ended
    carrier.Carrier(tmp_path).carry()
    (tracked,) = tracking.query("small", "pretrain", tmp_path, {record.digest})
    assert tracked.record.metrics == {"loss": 1.5}


def test_what_stopped_is_continued_in_the_same_run_from_what_it_kept(tmp_path):
    def stopped():
        with opened(tmp_path, STUDY) as run:
            run.kept("half").write_text("done")
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        stopped()
    begun = (tmp_path / ".ecgscale/work/k/started").read_text()
    carrier.Carrier(tmp_path).carry()
    with opened(tmp_path, STUDY) as run:
        assert run.kept("half").read_text() == "done"
        record = run.finish(metrics={})
    assert record.started == begun
    carrier.Carrier(tmp_path).carry()
    (tracked,) = tracking.query("small", "pretrain", tmp_path, {record.digest})
    experiment = MlflowClient(tracking.tracking_uri(tmp_path)).search_runs(["1", "2", "3"])
    assert [run.info.run_id for run in experiment] == [tracked.run_id]


def test_a_record_holds_the_digest_of_its_work(tmp_path):
    with opened(tmp_path) as run:
        assert run.finish(metrics={}).tags["work_digest"] == "k"
    works = set()
    for changed in ({}, {"params": {"lr": 0.2}}, {"tags": {"code_digest": "c"}}, {}):
        with opened(tmp_path, key=None, **changed) as run:
            works.add(run.finish(metrics={}).identity.work)
    assert len(works) == 3


def test_without_a_key_nothing_is_kept(tmp_path):
    with opened(tmp_path, key=None) as run:
        assert run.kept("half") is None
        run.finish(metrics={})
    assert not (tmp_path / ".ecgscale/work").exists()


def test_versions_of_what_was_read_are_those_of_the_lock_file(tmp_path):
    (tmp_path / "dvc.lock").write_text(
        "stages: {a: {outs: [{path: data/tasks, md5: t1}, {path: data/other, md5: o1}]}}"
    )
    with opened(tmp_path, reads=["data/tasks", "data/absent"]) as run:
        tags = run.finish(metrics={}).tags
    assert {name for name in tags if name.startswith("dvc.")} == {"dvc.data/tasks"}
    assert tags["dvc.data/tasks"] == "t1"


def one_run(root):
    """Lead or follow the run of two processes; return what this one saw."""
    with opened(root) as run:
        is_held = (root / ".ecgscale/work/k").is_dir()
        record = run.finish(metrics={"led by": rank()}) if run.leads else run.awaited()
    return {"leads": run.leads, "held": is_held, "record": record.to_json()}


def test_of_two_processes_the_first_writes_and_the_other_waits_for_it(tmp_path):
    first, second = in_two_processes(tmp_path, one_run, tmp_path)
    assert (first["leads"], second["leads"]) == (True, False)
    assert first["held"]
    assert first["record"] == second["record"]
    assert RunRecord.read(result_path(tmp_path / "results", "pretrain", CELL)).metrics == {
        "led by": 0
    }
