"""The tracking store mirrors the records, survives trouble, and is rebuilt from the records."""

import math
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from ecgscale.errors import BadInputError
from ecgscale.runs import tracking
from ecgscale.runs.record import DatasetInput, RunRecord, result_path

CELL = "clef/net1d-tiny/n64-o0-s0"


def record(phase="pretrain", cell=CELL, **changes):
    base = {
        "phase": phase,
        "study": "trial",
        "cell": cell,
        "axes": {"size": 64},
        "params": {"lr": 0.001, "long": "x" * 9000},
        "metrics": {"loss": 0.5, "undefined": math.nan},
        "curves": {"loss": [(10, 1.0), (20, 0.75), (30, 0.5)]},
        "tags": {"model_digest": "d1", "git_commit": "c0ffee"},
        "inputs": [
            DatasetInput(name="n64-o0", digest="ab" * 32, context="pretraining", source="data/x")
        ],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
    }
    return RunRecord(**{**base, **changes})


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty store: making one costs more than every test of it."""
    root = tmp_path_factory.mktemp("template")
    script = "import sys; from pathlib import Path; from ecgscale.runs.tracking import check_store;"
    subprocess.run([sys.executable, "-c", f"{script} check_store(Path('{root}'))"], check=True)
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path, template, monkeypatch):
    """A project with an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (tmp_path / "mlflow.db").write_bytes(template.read_bytes())
    return tmp_path


def client(root):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.tracking_uri(root))


def stop_after(action, error):
    action()
    raise error


def log(root, kept, id_file=None):
    with tracking.TrackedRun(kept.phase, kept.study, kept.cell, root, id_file) as run:
        run.log_params({"lr": 0.001})
        run.log_points({"loss": [(10, 1.0)]})
        run.finish(kept)
    assert run.trouble is None
    kept.write(result_path(root / "results", kept.phase, kept.cell))
    return run.run_id


def test_a_run_holds_all_of_its_record(root):
    (root / "models").mkdir()
    (root / "models" / "MODEL_CARD.md").write_text("# A card")
    kept = record(artifacts=["models/MODEL_CARD.md"])
    run = client(root).get_run(log(root, kept))
    assert run.info.status == "FINISHED"
    assert run.data.params["lr"] == "0.001"
    assert len(run.data.params["long"]) == 6000
    assert run.data.metrics["loss"] == 0.5
    assert math.isnan(run.data.metrics["undefined"])
    assert run.data.tags["mlflow.source.git.commit"] == "c0ffee"
    assert run.data.tags["mlflow.note.content"] == "# A card"
    assert run.inputs.dataset_inputs[0].dataset.digest == ("ab" * 32)[:36]
    history = client(root).get_metric_history(run.info.run_id, "loss")
    assert [(p.step, p.value) for p in history if p.step < 30] == [(10, 1.0), (20, 0.75)]
    artifacts = [item.path for item in client(root).list_artifacts(run.info.run_id)]
    assert artifacts == ["encoder", "record.json"]
    (found,) = tracking.query("trial", "pretrain", root)
    assert found.record.digest == kept.digest


def test_a_continued_run_keeps_its_id_and_repeats_no_point(root):
    id_file = root / "work" / "run_id"
    run = tracking.TrackedRun("pretrain", "trial", CELL, root, id_file)
    with pytest.raises(KeyboardInterrupt), run:
        stop_after(lambda: run.log_points({"loss": [(10, 1.0), (20, 0.75)]}), KeyboardInterrupt)
    assert client(root).get_run(run.run_id).info.status == "KILLED"
    assert log(root, record(), id_file) == run.run_id
    history = client(root).get_metric_history(run.run_id, "loss")
    assert sorted({p.step for p in history}) == [10, 20, 30]
    assert len([p for p in history if p.step < 30]) == 2


def test_a_short_run_is_left_to_sync(root):
    kept = record()
    with tracking.TrackedRun("pretrain", "trial", CELL, root, root / "id", live_after=60) as run:
        run.log_points({"loss": [(10, 1.0)]})
        run.finish(kept)
    assert run.run_id is None
    assert not (root / "id").exists()
    kept.write(result_path(root / "results", "pretrain", CELL))
    assert tracking.sync(root / "results", root).created == [f"pretrain/{CELL}"]


def test_a_run_that_lasts_is_opened_with_all_that_came_before(root):
    with tracking.TrackedRun("pretrain", "trial", CELL, root, root / "id", live_after=0.3) as run:
        run.log_params({"early": 1})
        run.log_points({"loss": [(10, 1.0)]})
        assert run.run_id is None
        time.sleep(0.4)
        run.log_points({"loss": [(10, 1.0), (20, 0.75)]})
        live = client(root).get_run(run.run_id)
        assert live.info.status == "RUNNING"
        assert live.data.params == {"early": "1"}
        assert len(client(root).get_metric_history(run.run_id, "loss")) == 2
        run.finish(record())
    assert client(root).get_run(run.run_id).info.status == "FINISHED"


def test_a_short_run_that_fails_is_shown(root):
    with (
        pytest.raises(ZeroDivisionError),
        tracking.TrackedRun("pretrain", "trial", CELL, root, live_after=60) as run,
    ):
        raise ZeroDivisionError
    assert client(root).get_run(run.run_id).info.status == "FAILED"


def test_an_error_marks_the_run_failed(root):
    with (
        pytest.raises(ZeroDivisionError),
        tracking.TrackedRun("pretrain", "trial", CELL, root) as run,
    ):
        raise ZeroDivisionError
    assert client(root).get_run(run.run_id).info.status == "FAILED"


def test_a_lost_store_is_written_again_with_its_links(root):
    metrics = {"t.macro_auroc": 0.8, "t@knn-10pct.mae": 7.5}
    pretrained, evaluated = record(), record("evaluate", metrics=metrics)
    first = log(root, pretrained)
    log(root, evaluated)
    assert tracking.query("trial", "evaluate", root)[0].tags["pretrain_run_id"] == first
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


def test_sync_finishes_the_run_that_a_lost_process_began(root):
    run = tracking.TrackedRun("pretrain", "trial", CELL, root)
    run.log_points({"loss": [(10, 1.0)]})  # and then the process is gone
    record(ended="2999-01-01T00:00:00+00:00").write(result_path(root / "results", "pretrain", CELL))
    tracking.sync(root / "results", root)
    assert [found.run_id for found in tracking.query("trial", "pretrain", root)] == [run.run_id]


def test_sync_leaves_a_newer_attempt_alone(root):
    record().write(result_path(root / "results", "pretrain", CELL))
    with tracking.TrackedRun("pretrain", "trial", CELL, root) as live:
        tracking.sync(root / "results", root)
        assert client(root).get_run(live.run_id).info.status == "RUNNING"
        assert tracking.query("trial", "pretrain", root)[0].run_id != live.run_id


def test_only_the_wanted_records_are_returned(root):
    old, new = record(metrics={"loss": 0.9}), record()
    log(root, old)
    log(root, new)
    assert len(tracking.query("trial", "pretrain", root)) == 2
    (found,) = tracking.query("trial", "pretrain", root, {new.digest})
    assert found.record.metrics["loss"] == 0.5
    with pytest.raises(BadInputError, match="lacks 1 pretrain runs of study trial"):
        tracking.query("trial", "pretrain", root, {new.digest, "0" * 32})


def test_processes_that_meet_an_empty_store_do_not_break_it(tmp_path):
    script = (
        "from pathlib import Path; import sys; from ecgscale.runs import tracking;"
        "run = tracking.TrackedRun('pretrain', 'trial', sys.argv[1], Path('.')).run_id;"
        "print(run)"
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
    ids = {process.communicate()[0].strip() for process in started}
    assert len(ids) == 3
    assert "None" not in ids


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def server(tmp_path, template):
    """A real tracking server on the loopback address."""
    port = free_port()
    (tmp_path / "server").mkdir()
    store = tmp_path / "server" / "mlflow.db"
    store.write_bytes(template.read_bytes())
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--backend-store-uri", f"sqlite:///{store}", "--workers", "1"],
        cwd=tmp_path / "server",
        env={**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    uri = f"http://127.0.0.1:{port}"
    wait_for(uri)
    yield uri, process
    stop(process)


def wait_for(uri):
    for _ in range(600):
        try:
            urllib.request.urlopen(f"{uri}/health", timeout=1)
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("the server did not start")


def stop(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_server_is_used_as_it_is_and_its_loss_loses_nothing(tmp_path, server, monkeypatch):
    uri, process = server
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    kept = record()
    log(tmp_path, kept)
    assert tracking.query("trial", "pretrain", tmp_path)[0].record.digest == kept.digest
    assert not (tmp_path / "mlflow.db").exists()

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr(tracking, "ATTEMPTS", 1)
    second = record(cell="clef/net1d-tiny/n64-o1-s0")
    with tracking.TrackedRun("pretrain", "trial", second.cell, tmp_path) as run:
        stop(process)
        run.log_points({"loss": [(10, 1.0)]})
        run.finish(second)
    assert run.trouble
    second.write(result_path(tmp_path / "results", "pretrain", second.cell))
    with pytest.raises(BadInputError, match=r"the tracking store http://127\.0\.0\.1:\d+ failed"):
        tracking.sync(tmp_path / "results", tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    tracking.sync(tmp_path / "results", tmp_path)
    assert len(tracking.query("trial", "pretrain", tmp_path)) == 2


def test_without_mlflow_a_run_is_no_trouble_to_the_caller(tmp_path):
    script = (
        "import sys; sys.modules['mlflow'] = None\n"
        "from pathlib import Path; from ecgscale.runs import tracking\n"
        "with tracking.TrackedRun('pretrain', 'trial', 'a/b/n1-o0-s0', Path('.')) as run:\n"
        "    run.log_points({'loss': [(1, 1.0)]})\n"
        "print(run.run_id, run.trouble)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "None MLflow is not installed"
    assert list(Path(tmp_path).glob("*.db")) == []
