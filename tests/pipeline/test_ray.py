"""A Ray cluster of two nodes on this machine makes the cells that processes make."""

import json
import subprocess
import sys
import time

import psutil
import pytest

from ecgscale.errors import BadInputError
from ecgscale.pipeline import ray_engine

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def cluster(project):
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    yield made
    made.shutdown()


@pytest.fixture
def asked(checkout, cluster):
    """A project whose study asks the cluster."""
    made = checkout()
    made.environment["RAY_ADDRESS"] = cluster.address
    return made


def numbers(made):
    """Return the metrics and the digests of the encoders, by record."""
    read = {name: json.loads(content) for name, content in made.results().items()}
    for record in read.values():
        for name in ("seconds", "pairs_per_second"):
            record["metrics"].pop(name, None)
    return {name: (record["metrics"], record.get("made")) for name, record in read.items()}


def test_two_nodes_make_the_same_records(asked, small):
    asked.run("repro", "--engine", "ray")
    assert numbers(asked) == numbers(small)
    before = asked.results()
    asked.run("repro", "--jobs", "1")
    assert asked.results() == before


def test_a_killed_cell_is_named(asked):
    asked.change(lambda study: study["training"].update(steps=100_000))
    repro = subprocess.Popen(
        [sys.executable, "-m", "ecgscale", "repro", "--engine", "ray"],
        cwd=asked.root,
        env=asked.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    found = []
    while not found:
        assert repro.poll() is None
        time.sleep(0.2)
        found = [p for p in psutil.process_iter(["name"]) if "perform_chain" in p.info["name"]]
    found[0].kill()
    _, said = repro.communicate(timeout=300)
    assert repro.returncode == 1
    assert "net1d-tiny/n" in said
    assert "its process ended, or its node" in said


def test_what_no_node_has_is_refused_at_once(asked):
    done = asked.run("repro", "--engine", "ray", "--gpus-per-cell", "2", status=2)
    assert "no node of the Ray cluster has them" in done.stderr


def test_a_node_that_does_not_see_the_project_says_so(tmp_path):
    (said,) = ray_engine.perform_chain([], "params.yaml", "", str(tmp_path / "elsewhere"))
    assert "does not see" in said["bad"]


def test_without_ray_a_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInputError, match=r"pip install 'ecgscale\[ray\]'"):
        ray_engine.run([], tmp_path, "", tmp_path, {}, print, threads=1, gpus=0)
