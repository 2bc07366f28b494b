"""A whole study while its tracking server is away: the same answer, and later all of its runs."""

import time

import pytest

from ecgscale.runs import address, spool, tracking
from ecgscale.runs.record import read_results
from support.credentials import WRITTEN, assert_nowhere
from support.proxy import Proxy
from support.server import mlflow_server

pytestmark = pytest.mark.long


def test_a_study_without_its_server(checkout, tmp_path, monkeypatch):
    for name in (address.USER, address.PASSWORD):
        monkeypatch.setenv(name, "")
    with mlflow_server(tmp_path / "server") as behind, Proxy(behind) as proxy:
        made = checkout()
        made.environment["MLFLOW_TRACKING_URI"] = proxy.address(WRITTEN)
        done = made.run("repro", "--jobs", "2")
        said = f"tracking store http://127.0.0.1:{proxy.port}, which cannot be reached"
        assert f"13 runs wait for the {said}" in done.stdout
        assert "the work goes on" in done.stderr
        answer = (made.root / "reports" / "answer.txt").read_text()
        assert answer.split()[0] in done.stdout

        proxy.set("up")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.address())
        made.run("tasks")
        for _ in range(900):
            if not spool.entries(made.root):
                break
            time.sleep(0.1)
        records = [
            record
            for phase in ("pretrain", "evaluate")
            for record in read_results(made.root / "results", phase)
        ]
        runs = tracking.held(records, made.root, thorough=True)
        assert all(run.run_id and not run.problems for run in runs)
        assert len({run.run_id for run in runs}) == len(records)
        assert_nowhere(made.root, done.stdout + done.stderr)
