"""Processes that stay: what they are given, on which device, and what is said when one dies."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

import ecgscale
import support
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline import pool
from ecgscale.pipeline.work import Task

PATHS = [str(Path(module.__file__).parents[1]) for module in (ecgscale, support)]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(PATHS)}
OWNER = """
import os, sys
from pathlib import Path
from ecgscale.pipeline import pool
from ecgscale.pipeline.work import Task
pool.MODULE = "support.worker"
pool.run([Task("pretrain", "long/e/n1-o0-s0")], Path("params.yaml"), "", Path(sys.argv[1]),
         dict(os.environ), print, count=1)
"""


@pytest.fixture(autouse=True)
def _told(monkeypatch):
    monkeypatch.setattr(pool, "MODULE", "support.worker")


def run(root, *tasks, count=1, gpus=()):
    """Return what was said to be done, and what the workers saw: phase, name, process, device."""
    done = []
    pool.run(
        *(tasks, Path("params.yaml"), "code", root, ENVIRONMENT),
        lambda task, seconds: done.append((task, seconds)),
        count=count,
        gpus=gpus,
    )
    return done, [line.split() for line in (root / "seen").read_text().splitlines()]


def cells(*names):
    return [
        Task(phase, f"{name}/e/n1-o0-s0") for phase in ("pretrain", "evaluate") for name in names
    ]


def test_a_cell_is_trained_and_then_evaluated_by_one_process(tmp_path):
    names = ["a", "b", "c", "d", "e"]
    done, seen = run(tmp_path, *cells(*names), count=2)
    assert sorted(task.title for task, _ in done) == sorted(t.title for t in cells(*names))
    assert {seconds for _, seconds in done} == {0.5}
    assert len({process for *_, process, _ in seen}) == 2
    for name in names:
        own = [line for line in seen if line[1].startswith(f"{name}/")]
        assert [phase for phase, *_ in own] == ["pretrain", "evaluate"]
        assert own[0][2] == own[1][2]


def test_replies_that_come_together_are_all_heard(tmp_path):
    done, _ = run(tmp_path, *cells("together", "after"))
    assert [task.name[:5] for task, _ in done] == ["toget", "toget", "after", "after"]


def test_no_more_processes_than_cells(tmp_path):
    _, seen = run(tmp_path, *cells("only"), count=8)
    assert len({process for *_, process, _ in seen}) == 1


def test_devices_are_dealt_out_in_turn(tmp_path):
    _, seen = run(tmp_path, *cells(*"abcdefgh"), count=3, gpus=["2", "5"])
    by_process = {process: device for *_, process, device in seen}
    assert set(by_process.values()) == {"2", "5"}
    _, seen = run(tmp_path, *cells("plain"))
    assert seen[-1][-1] == "-"


@pytest.mark.parametrize(
    ("device", "visible", "expected"),
    [
        ("auto", None, ["0", "1", "2"]),
        ("cuda", "1,GPU-f00", ["1", "GPU-f00"]),
        ("auto", "", []),
        ("cpu", None, []),
        ("cuda:1", None, []),
    ],
)
def test_which_devices_there_are(tmp_path, monkeypatch, device, visible, expected):
    for name in ("0000:01", "0000:02", "0000:03"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(pool, "GPUS", tmp_path)
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert pool.devices(device, environment) == expected
    monkeypatch.setattr(pool, "GPUS", tmp_path / "none")
    assert pool.devices("auto", {}) == []


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        (
            "killed",
            StageFailedError,
            r"(?s)pretrain killed/e/n1-o0-s0: its process was killed by "
            r"SIGKILL, perhaps for lack of memory \(.*worker-\d.log\):\nnear its end",
        ),
        ("fails", StageFailedError, r"(?s)pretrain fails/e/n1-o0-s0 failed \(.*Traceback: because"),
        ("bad", BadInputError, r"^pretrain bad/e/n1-o0-s0: data/tasks has no manifest.json$"),
    ],
)
def test_a_failure_names_its_cell_and_ends_the_others(tmp_path, name, error, said):
    with pytest.raises(error, match=said):
        run(tmp_path, *cells("long", name), count=2)
    processes = {int(line.split()[2]) for line in (tmp_path / "seen").read_text().splitlines()}
    assert not any(psutil.pid_exists(process) for process in processes)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_its_owner(tmp_path, number):
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], env=ENVIRONMENT)
    while not (tmp_path / "seen").is_file():
        assert owner.poll() is None
        time.sleep(0.05)
    worker = psutil.Process(int((tmp_path / "seen").read_text().split()[2]))
    owner.send_signal(number)
    owner.wait(60)
    worker.wait(30)
