"""What people, kills and moves do to a tracking store: it is named or mended, never believed."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from mlflow.tracking._tracking_service import utils

from ecgscale.errors import BadInputError
from ecgscale.pipeline.doctor import tracked_runs
from ecgscale.runs import carrier, store, tracking, view
from ecgscale.runs.record import result_path
from support.tracked import CELL, client, find, keep, points, record, runs_of

CARD = "models/MODEL_CARD.md"


@pytest.fixture
def kept(root):
    """A record whose run is in the store."""
    (root / "models").mkdir()
    (root / CARD).write_text("# A card")
    kept = keep(root, record(artifacts=[CARD]))
    sync(root)
    return kept


def sync(root):
    return tracking.sync(root / "results", root)


def held(root, kept):
    (found,) = tracking.held([kept], root, thorough=True)
    return found


def sql(root, statement, *values):
    with closing(sqlite3.connect(root / "mlflow.db")) as database:
        database.execute(statement, values)
        database.commit()


def folder(root, run_id):
    return root / "mlartifacts" / "pretrain" / run_id / "artifacts"


EDITS = {
    "a number": (
        lambda root, run: client(root).log_metric(run, "1 quality/loss", 0.25, step=30),
        [
            "metric 1 quality/loss is 0.25, its record says 0.5",
            "curve loss has a point that its record lacks",
        ],
    ),
    "a number that is gone": (
        lambda root, run: sql(root, "DELETE FROM latest_metrics WHERE key = 'undefined'"),
        ["metric undefined is missing"],
    ),
    "a number too many": (
        lambda root, run: client(root).log_metric(run, "accuracy", 1.0),
        ["metric accuracy is not in its record"],
    ),
    "the last digit of a number": (
        lambda root, run: sql(
            root,
            "UPDATE latest_metrics SET value = 0.5000000000000001 WHERE key = '1 quality/loss'",
        ),
        ["metric 1 quality/loss is 0.50000000000000011, its record says 0.5"],
    ),
    "a point of a curve": (
        lambda root, run: sql(root, "UPDATE metrics SET value = 0.8 WHERE step = 20"),
        ["curve loss has a point that its record lacks: 0.8 at step 20"],
    ),
    "a parameter": (
        lambda root, run: sql(root, "UPDATE params SET value = '0.1' WHERE key = 'lr'"),
        ["parameter lr is '0.1', its record says '0.001'"],
    ),
    "a parameter too many": (
        lambda root, run: client(root).log_param(run, "layers", 9),
        ["parameter layers is not in its record"],
    ),
    "a tag": (
        lambda root, run: client(root).set_tag(run, "model_digest", "d2"),
        ["tag model_digest is 'd2', its record says 'd1'"],
    ),
    "the study": (
        lambda root, run: client(root).set_tag(run, store.STUDY, "other"),
        ["tag ecgscale.study is 'other', its record says 'trial'"],
    ),
    "the digest of the record": (
        lambda root, run: client(root).set_tag(run, store.RECORD, "0"),
        ["tag ecgscale.record is '0', its record says "],
    ),
    "whose run it is": (
        lambda root, run: client(root).set_tag(run, store.ATTEMPT, "0"),
        ["tag ecgscale.attempt is '0', its record says "],
    ),
    "a data set": (
        lambda root, run: sql(root, "UPDATE datasets SET digest = 'cd'"),
        ["data set n64-o0 is 'cd', its record says 'abab"],
    ),
    "its record": (
        lambda root, run: client(root).log_text(run, record().to_json(), "record.json"),
        ["artifact record.json is not the record in results/"],
    ),
    "a file, of the same size": (
        lambda root, run: (folder(root, run) / "encoder/MODEL_CARD.md").write_text("# B card"),
        ["artifact encoder/MODEL_CARD.md is not models/MODEL_CARD.md"],
    ),
    "a file that is gone": (
        lambda root, run: (folder(root, run) / "encoder/MODEL_CARD.md").unlink(),
        ["artifact encoder/MODEL_CARD.md is missing"],
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_named_by_run_and_key_and_not_believed(root, kept, edit):
    make, expected = EDITS[edit]
    before = held(root, kept)
    assert before.problems == ()
    make(root, before.run_id)
    for _ in range(2):  # nor does `sync` cover it up
        after = held(root, kept)
        assert (after.run_id, after.record) == (before.run_id, kept)
        assert len(after.problems) == len(expected)
        for problem, begins in zip(after.problems, expected, strict=True):
            assert problem.startswith(begins)
        sync(root)
    named = [finding for finding in tracked_runs(root) if not finding.ok]
    assert [finding.what for finding in named] == [f"run {before.run_id} (pretrain of {CELL})"]
    assert named[0].detail.startswith(expected[0])
    assert len(runs_of(root, kept.identity)) == (edit != "whose run it is")


def test_what_people_add_is_theirs(root, kept):
    run = held(root, kept).run_id
    client(root).set_tag(run, "mlflow.note.content", "looked at")
    client(root).set_tag(run, "paper", "figure 2")
    client(root).log_text(run, "notes", "notes.txt")
    assert held(root, kept).problems == ()
    assert [finding.ok for finding in tracked_runs(root)] == [True]


def test_what_a_run_has_lost_is_brought_back(root, kept):
    run = held(root, kept).run_id
    shutil.rmtree(root / "mlartifacts")
    client(root).set_terminated(run, "FAILED")
    client(root).delete_tag(run, store.RECORD)
    sync(root)
    assert held(root, kept) == replace(held(root, kept), run_id=run, problems=())
    shutil.rmtree(root / "mlartifacts")
    assert held(root, kept).problems == (
        "artifact record.json is missing",
        "artifact encoder/MODEL_CARD.md is missing",
    )
    sync(root)
    assert held(root, kept).problems == ()
    assert points(root, kept) == kept.curves["loss"]


def test_a_deleted_run_is_written_again(root, kept):
    run = held(root, kept).run_id
    client(root).delete_run(run)
    assert sync(root).created == [f"pretrain/{CELL}"]
    found = held(root, kept)
    assert found.run_id != run
    client(root).restore_run(run)
    sync(root)
    both = [run.data.tags.get(store.SUPERSEDED) for run in runs_of(root, kept.identity)]
    assert sorted(both, key=str) == sorted([None, kept.digest], key=str)


def test_a_deleted_experiment_is_restored_before_anything_runs(root, kept, caplog):
    run = held(root, kept)
    experiment = client(root).get_experiment_by_name("ecgscale-pretrain")
    client(root).delete_experiment(experiment.experiment_id)
    store.check_store(root)
    assert caplog.messages == ["experiment ecgscale-pretrain was deleted; it is restored"]
    assert held(root, kept) == run


@pytest.mark.parametrize("is_moved", [True, False])
def test_a_project_elsewhere_has_its_own_artifacts(root, kept, is_moved):
    there = root.with_name("elsewhere with a space")
    before, run = tracking.spool.project_id(root), held(root, kept)
    (shutil.move if is_moved else shutil.copytree)(root, there)
    utils._artifact_repos_cache.clear()  # a process works on one project
    assert held(there, kept).problems == ()
    assert (tracking.spool.project_id(there) == before) == is_moved
    shutil.rmtree(there / "mlartifacts")
    sync(there)
    assert held(there, kept).problems == ()
    assert (folder(there, run.run_id) / "record.json").is_file()
    assert root.exists() != is_moved
    if not is_moved:
        (folder(there, run.run_id) / "record.json").write_text("{}")
        assert held(root, kept) == run


def test_a_store_that_another_program_holds_is_one_sentence(root, kept, monkeypatch):
    monkeypatch.setattr("ecgscale.runs.address.PATIENCE", 0.1)
    with closing(sqlite3.connect(root / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(BadInputError, match=r"mlflow\.db is held by another program"):
            sync(root)
        with pytest.raises(BadInputError, match="end it, or wait"):
            held(root, kept)


@pytest.mark.parametrize("place", ["the beginning", "the middle", "the end"])
def test_a_damaged_store_is_one_sentence_and_written_anew(root, kept, place):
    path = root / "mlflow.db"
    content = bytearray(path.read_bytes())
    if place == "the end":
        content = content[: len(content) // 2]
    else:
        at = 0 if place == "the beginning" else 4096
        content[at : at + 4096 * 40] = b"\x07" * 4096 * 40
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"mlflow\.db is damaged .*move it away") as raised:
        store.check_store(root, whole=True)
    assert "\n" not in str(raised.value)


def test_a_repeated_cell_leaves_runs_that_are_marked(root, kept):
    """Killed between its record and DVC's lock file, a cell is computed again, to the same."""
    digests = [kept.digest]
    for second in (1, 2):
        again = keep(root, kept.model_copy(update={"started": f"2026-01-01T00:00:0{second}+00:00"}))
        digests.append(again.digest)
        sync(root)
    runs = tracking.query("trial", "pretrain", root)
    marks = {run.tags[store.RECORD]: run.tags.get(store.SUPERSEDED) for run in runs}
    assert marks == {digests[0]: digests[2], digests[1]: digests[2], digests[2]: None}
    keep(root, kept)  # as DVC restores it
    sync(root)
    assert store.SUPERSEDED not in held(root, kept).tags


def test_another_project_s_run_of_the_same_cell_is_not_marked(root, kept, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    other = tmp_path / "other"
    theirs = keep(other, record(metrics={"loss": 0.1}, curves={}, started="2026-02-01T00:00:00Z"))
    sync(other)
    sync(root)
    for project, mine in ((root, kept), (other, theirs)):
        found = held(project, mine)
        assert found.problems == ()
        assert store.SUPERSEDED not in found.tags


def test_of_a_run_that_two_merged_stores_hold_one_counts(root, kept):
    """A merge gives a run another id; tags and numbers are copied, and here one is edited."""
    run = client(root).get_run(held(root, kept).run_id)
    copy = client(root).create_run(
        run.info.experiment_id, run.info.start_time + 1, dict(run.data.tags)
    )
    client(root).log_metric(copy.info.run_id, "1 quality/loss", 0.9)
    client(root).set_terminated(copy.info.run_id)
    sync(root)
    assert held(root, kept).run_id == run.info.run_id
    assert held(root, kept).problems == ()
    tags = client(root).get_run(copy.info.run_id).data.tags
    assert tags[store.SUPERSEDED] == kept.digest


@pytest.mark.parametrize("step", ["log_points", "_log_metrics", "log_artifacts", "log_tags"])
def test_a_sync_that_is_killed_is_finished_in_the_same_run(root, monkeypatch, step):
    kept = keep(root, record())
    done = getattr(view, step)

    def killed(*arguments):
        done(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(view, step, killed)
    with pytest.raises(KeyboardInterrupt):
        sync(root)
    monkeypatch.setattr(view, step, done)
    sync(root)
    assert held(root, kept).problems == ()
    assert find(root, kept.identity).info.status == "FINISHED"
    assert points(root, kept) == kept.curves["loss"]


def test_a_record_that_is_gone_ends_the_run_it_was_to_become(root):
    kept = record()
    with tracking.TrackedRun(kept.identity, root) as run:
        carrier.Carrier(root).carry()
        keep(root, kept)
        run.finish(kept)
    result_path(root / "results", "pretrain", CELL).unlink()
    carrier.Carrier(root).carry()
    assert find(root, kept.identity).info.status == "KILLED"
