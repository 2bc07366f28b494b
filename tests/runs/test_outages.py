"""A real server that is away, slow or failing: the work goes on, and all is there afterwards."""

import subprocess
import sys
import time

import pytest

from ecgscale.runs import spool, tracking
from support.credentials import WRITTEN, assert_nowhere, use_store
from support.proxy import Proxy
from support.server import mlflow_server
from support.tracked import find, keep, points, record, runs_of

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A real tracking server."""
    with mlflow_server(tmp_path_factory.mktemp("server")) as address:
        yield address


@pytest.fixture
def proxy(server, tmp_path, monkeypatch):
    """What stands before the server, and couriers as in life."""
    monkeypatch.delenv("ECGSCALE_COURIER")
    with Proxy(server, delay=4.0) as proxy:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address())
        yield proxy


def wait_until_carried(root):
    for _ in range(900):
        if not spool.entries(root):
            return
        time.sleep(0.1)
    raise AssertionError([path.read_text() for path in (root / ".ecgscale/log").iterdir()])


def work(root, number, proxy, modes):
    """A run of three points, before each of which the server changes."""
    kept = record(cell=f"clef/net1d-tiny/n64-o{number}-s0", metrics={"loss": 0.5})
    with tracking.TrackedRun(kept.identity, root) as run:
        run.log_params({"lr": 0.001})
        for point, mode in zip(kept.curves["loss"], modes, strict=True):
            proxy.set(mode)
            run.log_points({"loss": [point]})
            time.sleep(1.5)  # so that the courier sees it
        keep(root, kept)
        run.finish(kept)
    return kept


@pytest.mark.parametrize("bad", ["down", "failing", "slow"])
def test_whatever_the_server_does_all_is_there_once_afterwards(proxy, tmp_path, bad):
    changes = ([bad, bad, bad], ["up", bad, bad], ["up", bad, "up"], [bad, "up", bad])
    kept = [work(tmp_path, number, proxy, modes) for number, modes in enumerate(changes)]
    proxy.set(bad)
    assert spool.entries(tmp_path)
    proxy.set("up")
    command = [sys.executable, "-m", "ecgscale", "compare", "no", "thing"]  # any will do
    subprocess.run(command, cwd=tmp_path, check=False, capture_output=True)
    wait_until_carried(tmp_path)
    for each in kept:
        assert points(tmp_path, each) == each.curves["loss"]
        assert find(tmp_path, each.identity).info.status == "FINISHED"
    assert [run.problems for run in tracking.held(kept, tmp_path, thorough=True)] == [()] * 4
    assert tracking.sync(tmp_path / "results", tmp_path).created == []
    assert [len(runs_of(tmp_path, each.identity)) for each in kept] == [1] * 4


def test_credentials_are_used_and_left_nowhere(proxy, tmp_path, monkeypatch):
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")
    proxy.set("up")
    printed = use_store(tmp_path, proxy.address(WRITTEN))
    assert "runs written" in printed
    assert "Basic YW5uLmV4YW1wbGU6czNjcmV0L3BAc3M=" in proxy.authorizations
    assert_nowhere(tmp_path, printed)
