"""The tracking store mirrors the records, survives trouble, and is rebuilt from the records."""

import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from ecgscale.errors import BadInputError
from ecgscale.runs import carrier, spool, store, tracking
from ecgscale.runs.record import result_path
from support.full_disk import no_room
from support.tracked import CELL, client, find, keep, points, record


def stop_after(action, error):
    action()
    raise error


def tracked(root, kept=None, **options):
    return tracking.TrackedRun((kept or record()).identity, root, **options)


def carry(root):
    carrier.Carrier(root).carry()


def log(root, kept):
    with tracked(root, kept) as run:
        run.log_params({"lr": 0.001})
        run.log_points({"loss": [(10, 1.0)]})
        carry(root)
        keep(root, kept)
        run.finish(kept)
    carry(root)
    assert not spool.entries(root)
    return find(root, kept.identity).info.run_id


def test_a_run_holds_all_of_its_record(root):
    (root / "models").mkdir()
    (root / "models" / "MODEL_CARD.md").write_text("# A card")
    kept = record(artifacts=["models/MODEL_CARD.md"])
    run = client(root).get_run(log(root, kept))
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert len(run.data.params["long"]) == 6000
    assert run.data.metrics["1 quality/loss"] == 0.5
    assert run.data.metrics["9 size/log2 patients"] == 6
    assert math.isnan(run.data.metrics["undefined"])
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["mlflow.note.content"].endswith("\n\n# A card")
    assert run.info.run_name == "n64 o0 s0 clef net1d-tiny"
    assert run.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    assert points(root, kept, "loss") == kept.curves["loss"]
    artifacts = [item.path for item in client(root).list_artifacts(run.info.run_id)]
    assert artifacts == ["encoder", "record.json"]
    (found,) = tracking.query("trial", "pretrain", root)
    assert found.record.digest == kept.digest


@pytest.mark.parametrize("is_carried_before", [True, False])
def test_a_continued_run_is_the_same_and_repeats_no_point(root, is_carried_before):
    kept = record()
    run = tracked(root)
    with pytest.raises(KeyboardInterrupt), run:
        stop_after(lambda: run.log_points({"loss": [(10, 1.0), (20, 0.75)]}), KeyboardInterrupt)
    if is_carried_before:
        carry(root)
        assert find(root, kept.identity).info.status == "KILLED"
    with tracked(root) as run:
        run.log_points({"loss": [(20, 0.75)]})
        carry(root)
        assert find(root, kept.identity).info.status == "RUNNING"
    log(root, kept)
    assert points(root, kept, "loss") == [(10, 1.0), (20, 0.75), (30, 0.5)]


def test_a_short_run_is_written_from_its_record_alone(root):
    kept = record()
    with tracked(root, live_after=60) as run:
        run.log_points({"loss": [(10, 1.0)]})
        carry(root)
        assert tracking.held([kept], root)[0].run_id == ""
        keep(root, kept)
        run.finish(kept)
    assert tracking.sync(root / "results", root).created == [f"pretrain/{CELL}"]
    assert not spool.entries(root)


def test_a_run_that_lasts_is_shown_with_all_that_came_before(root, monkeypatch):
    with tracked(root, live_after=60) as run:
        run.log_params({"early": 1})
        run.log_points({"loss": [(10, 1.0)]})
        now = time.time() + 61
        monkeypatch.setattr(time, "time", lambda: now)
        run.log_points({"loss": [(10, 1.0), (20, 0.75)]})
        carry(root)
        live = find(root, record().identity)
        assert live.info.status == "RUNNING"
        assert live.data.params == {"early": "1"}
        assert points(root, record(), "loss") == [(10, 1.0), (20, 0.75)]


def test_a_short_run_that_fails_is_shown(root):
    with pytest.raises(ZeroDivisionError), tracked(root, live_after=60):
        raise ZeroDivisionError
    carry(root)
    assert find(root, record().identity).info.status == "FAILED"


def test_a_process_that_is_gone_leaves_no_running_run(root):
    script = (
        "import os, signal; from pathlib import Path; from ecgscale.runs import tracking\n"
        "from ecgscale.runs.record import RunIdentity\n"
        f"run = tracking.TrackedRun({record().identity}, Path('.'))\n"
        "run.log_points({'loss': [(10, 1.0)]})\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, check=False)
    assert done.returncode == -signal.SIGKILL
    carry(root)
    assert find(root, record().identity).info.status == "KILLED"
    assert points(root, record(), "loss") == [(10, 1.0)]
    assert not spool.entries(root)


def test_what_a_kill_left_of_a_line_harms_no_other(root):
    run = tracked(root)
    run.log_points({"loss": [(10, 1.0)]})
    (path,) = spool.folder(root).iterdir()
    with path.open("a") as file:
        file.write('{"points": {"lo')
    del run  # as if it were gone
    with tracked(root) as again:
        again.log_points({"loss": [(20, 0.75)]})
        carry(root)
    assert points(root, record(), "loss") == [(10, 1.0), (20, 0.75)]


def test_a_full_disk_ends_no_run(root, caplog):
    with tracked(root) as run, no_room(10):
        run.log_points({"loss": [(10, 1.0)]})
        run.log_points({"loss": [(20, 0.75)]})
    assert len(caplog.records) == 1
    assert "is not shown while it is under way" in caplog.text


def test_a_lost_store_is_written_again_with_its_links(root):
    metrics = {"t.macro_auroc": 0.8, "t@knn-10pct.mae": 7.5}
    pretrained, evaluated = record(), record("evaluate", metrics=metrics)
    first = log(root, pretrained)
    log(root, evaluated)
    (linked,) = tracking.held([evaluated], root)
    assert linked.tags["pretrain_run_id"] == first
    script = (
        "from pathlib import Path; from ecgscale.runs import tracking; root = Path('.');"
        "print(len(tracking.sync(root / 'results', root).created));"
        "(p,) = tracking.query('trial', 'pretrain', root);"
        "(e,) = tracking.query('trial', 'evaluate', root);"
        "print(p.record.digest, e.record.digest, e.tags['pretrain_run_id'] == p.run_id, p.run_id)"
    )
    (root / "mlflow.db").unlink()
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=True
    )
    created, line = done.stdout.strip().splitlines()
    assert created == "2"
    assert line.split()[:3] == [pretrained.digest, evaluated.digest, "True"]
    assert line.split()[3] != first


def test_sync_writes_a_run_once(root):
    log(root, record())
    assert tracking.sync(root / "results", root).present == [f"pretrain/{CELL}"]
    assert len(tracking.query("trial", "pretrain", root)) == 1


def test_sync_finishes_the_run_that_its_own_process_began(root):
    kept = record()
    with tracked(root) as run:
        run.log_points({"loss": [(10, 1.0)]})
        carry(root)
    begun = find(root, kept.identity).info.run_id
    keep(root, kept)
    tracking.sync(root / "results", root)
    (found,) = tracking.held([kept], root, thorough=True)
    assert (found.run_id, found.problems) == (begun, ())


def test_sync_leaves_another_attempt_alone(root):
    """Begun before the record's own, with other settings or the same, here or by someone else."""
    kept = keep(root, record(ended="2999-01-01T00:00:00+00:00"))
    for changes in ({"work": "w2"}, {"started": "2026-01-01T00:00:00.001+00:00"}):
        other = replace(kept.identity, **changes)
        with tracking.TrackedRun(other, root) as live:
            live.log_params({"lr": 0.5})
            carry(root)
            tracking.sync(root / "results", root)
            run = find(root, other)
            assert (run.info.status, run.data.params) == ("RUNNING", {"lr": "0.5"})
            assert store.RECORD not in run.data.tags
    assert find(root, kept.identity).info.status == "FINISHED"


def test_only_the_wanted_records_are_returned(root):
    old, new = record(metrics={"loss": 0.9}, started="2026-01-01T00:00:00.5+00:00"), record()
    log(root, old)
    log(root, new)
    assert len(tracking.query("trial", "pretrain", root)) == 2
    (found,) = tracking.query("trial", "pretrain", root, {new.digest})
    assert found.record.metrics["loss"] == 0.5
    with pytest.raises(BadInputError, match="lacks 1 pretrain runs of study trial"):
        tracking.query("trial", "pretrain", root, {new.digest, "0" * 32})


def test_processes_that_meet_an_empty_store_do_not_break_it(tmp_path):
    script = (
        "from pathlib import Path; import sys; from ecgscale.runs import store;"
        "store.check_store(Path('.')); print(sys.argv[1])"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, f"a/b/n1-o0-s{number}"],
            cwd=tmp_path,
            env={key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    assert len({process.communicate()[0].strip() for process in started}) == 3
    assert {process.returncode for process in started} == {0}


def test_without_mlflow_a_run_is_no_trouble_to_the_caller(root, monkeypatch):
    for module in (tracking, store):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with tracked(root) as run:
        run.log_points({"loss": [(1, 1.0)]})
        run.finish(record())
    assert not spool.folder(root).exists()
    with pytest.raises(BadInputError, match="MLflow is not installed"):
        tracking.sync(root / "results", root)


def test_a_run_that_cannot_be_carried_keeps_no_other_back(root, caplog):
    both = [record(cell=f"clef/net1d-tiny/n64-o{order}-s0") for order in (0, 1)]
    for kept in both:
        with tracked(root, kept) as run:
            keep(root, kept)
            run.finish(kept)
    path = result_path(root / "results", "pretrain", both[0].cell)
    content = path.read_text()
    path.write_text("{")
    carry(root)
    assert [run.run_id != "" for run in tracking.held(both, root)] == [False, True]
    assert [entry.opened.cell for entry in spool.entries(root)] == [both[0].cell]
    assert "pretrain of clef/net1d-tiny/n64-o0-s0 is not carried now" in caplog.text
    path.write_text(content)
    carry(root)
    assert [run.problems for run in tracking.held(both, root)] == [(), ()]
    assert not spool.entries(root)
