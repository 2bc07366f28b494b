"""DVC alone, process by process, makes what `repro` makes with processes that stay."""

import json
import shutil
import signal
import subprocess
import sys
import time

import pytest
import yaml

from support.project import Project

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


def locked(made):
    """Return what the lock file says, without digests: records hold times."""
    stages = yaml.safe_load((made.root / "dvc.lock").read_text())["stages"]
    return {
        name: (stage["cmd"], *([item["path"] for item in stage[key]] for key in ("deps", "outs")))
        for name, stage in stages.items()
        if "deps" in stage
    }


def numbers(made):
    read = {name: json.loads(content) for name, content in made.results().items()}
    for record in read.values():
        for name in ("seconds", "pairs_per_second"):
            record["metrics"].pop(name, None)
    return {name: (record["metrics"], record.get("made")) for name, record in read.items()}


def test_dvc_alone_leaves_the_same_records_and_lock(checkout, small):
    made = checkout()
    made.dvc("repro", "report")
    assert numbers(made) == numbers(small)
    assert locked(made) == locked(small)
    before = made.results()
    made.run("repro")
    assert made.results() == before


def test_a_cell_in_a_process_of_its_own_is_the_same(small, tmp_path):
    shutil.copytree(small.root, tmp_path / "copy", symlinks=True)
    copy = Project(tmp_path / "copy", tmp_path)
    copy.environment = small.environment
    before = numbers(copy)
    cell = "clef/net1d-tiny/n32-o0-s0"
    shutil.rmtree(copy.root / "models" / cell)
    for command in ("pretrain", "evaluate"):
        copy.run(command, cell)
    assert numbers(copy) == before


def test_a_killed_repro_continues_where_it_was(checkout, small):
    made = checkout()
    repro = subprocess.Popen(
        [sys.executable, "-m", "ecgscale", "repro", "--jobs", "1"],
        cwd=made.root,
        env=made.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while len(made.results()) < 4:
        assert repro.poll() is None
        time.sleep(0.1)
    repro.send_signal(signal.SIGKILL)
    repro.wait()
    before = made.results()
    made.run("repro", "--jobs", "1")
    after = made.results()
    assert len(after) > len(before) >= 4
    assert {name: after[name] for name in before} == before
    assert numbers(made) == numbers(small)
    assert locked(made) == locked(small)
