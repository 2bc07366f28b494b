"""Real DVC processes, killed: none trains on, a kill is a failure, the next one may start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

import ecgscale
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline import shards

pytestmark = pytest.mark.long

SOURCE = str(Path(ecgscale.__file__).parents[1])
STARTED = "while [ ! -s pid ]; do sleep 0.1; done;"  # the stage that never ends
OWNER = """
import os, signal, sys
from pathlib import Path
from ecgscale.pipeline import shards
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup, or in the background, both are ignored
signal.signal(signal.SIGINT, signal.default_int_handler)
root = Path(sys.argv[1])
with shards.owner_of(root) as owner:
    shard = shards.start(["long"], root, dict(os.environ), "long", owner)
    shards.follow([shard], lambda by: None)
"""


@pytest.fixture
def root(tmp_path):
    """A project with a stage that never ends, and two that are killed or kill."""
    commands = {
        "long": "echo $$ > pid; exec sleep 600",
        "killed": f"{STARTED} kill -9 $$",
        "kills": f"{STARTED} kill -9 $PPID; exec sleep 600",
        "fails": f"{STARTED} echo because; exit 3",
        "quick": "true",
    }
    stages = {name: {"cmd": command} for name, command in commands.items()}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    subprocess.run(
        [sys.executable, "-m", "dvc", "init", "-q", "--no-scm"], cwd=tmp_path, check=True
    )
    return tmp_path


def run(root, *names):
    moved = []
    with shards.owner_of(root) as owner:
        started = [shards.start([name], root, dict(os.environ), name, owner) for name in names]
        shards.follow(started, moved.append)
    return sum(moved)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_nothing_outlives_its_owner_and_the_next_one_starts(root, number):
    environment = {**os.environ, "PYTHONPATH": SOURCE}
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(root)], env=environment)
    stage = psutil.Process(_pid(root))
    owner.send_signal(number)
    assert owner.wait(60) != 0
    stage.wait(shards.PATIENCE)
    assert run(root, "quick") == 1
    assert not [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(root)]


def test_while_one_runs_another_waits_and_then_says_so(root, monkeypatch):
    monkeypatch.setattr(shards, "PATIENCE", 0.3)
    with (
        shards.owner_of(root),
        pytest.raises(BadInputError, match="another repro is running in"),
        shards.owner_of(root),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "killed",
            r"stage killed was killed by SIGKILL, perhaps for lack of memory \(.*killed.log",
        ),
        ("kills", r"stage kills was killed by SIGKILL, perhaps for lack of memory"),
        ("fails", r"(?s)stage fails failed .*because"),
    ],
)
def test_a_killed_process_is_a_failure_and_ends_the_others(root, name, said):
    with pytest.raises(StageFailedError, match=said):
        run(root, "long", name)
    assert not psutil.pid_exists(_pid(root))


def _pid(root):
    """The process of the stage that never ends, once it runs."""
    for _ in range(600):
        text = (root / "pid").read_text() if (root / "pid").is_file() else ""
        if text.strip():
            return int(text)
        time.sleep(0.1)
    raise AssertionError("the stage does not start")
