"""What a store that is up, down, slow or failing costs a run that is shown while under way.

PYTHONPATH=tests python benchmarks/tracking.py [--seconds 20] [--repeats 5] [--out FILE.json]

A run is a process that works for some seconds (a fixed number of matrix products, measured first)
and logs a point of three curves twenty times a second, through the protocol of every stage. The
store is a real MLflow server behind a proxy. Runs of all states take turns, in another order each
time, and each is compared with the run that is not shown (no courier) of the same turn. Where other
programs share the processor, its own time says more.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from support.proxy import Proxy
from support.server import mlflow_server

STATES = ("not shown", "up", "down", "slow", "failing")
WORK = """
import sys, time
import numpy as np
from pathlib import Path
from ecgscale.runs.protocol import open_run
from ecgscale.runs.settings import StudyInfo
products, cell = int(sys.argv[1]), sys.argv[2]
matrix = np.random.default_rng(0).normal(size=(200, 200)) / 20
began, used = time.perf_counter(), time.process_time()
with open_run("pretrain", StudyInfo(name="bench"), cell, Path(), key=cell[4:], axes={},
              params={"lr": 0.1}, tags={}) as run:
    value, points = matrix, {name: [] for name in ("loss", "rank", "knn")}
    logged = 0
    for product in range(products):
        value = np.tanh(value @ matrix)
        if time.perf_counter() - began > logged / 20:
            logged += 1
            fresh = {name: [(product, float(value[0, 0]))] for name in points}
            run.log_points(fresh)
            for name in points:
                points[name] += fresh[name]
    run.finish(metrics={}, curves=points)
print(time.perf_counter() - began, time.process_time() - used)
"""


def seconds(root, uri, products, cell, courier):
    """Return what one run took, from its beginning to its record: seconds, and of the processor."""
    environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "OMP_NUM_THREADS": "1"}
    environment |= {"OPENBLAS_NUM_THREADS": "1", "ECGSCALE_COURIER": "on" if courier else "off"}
    command = [sys.executable, "-c", WORK, str(products), cell]
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    wall, processor = map(float, done.stdout.split())
    return wall, processor


def main():
    """Measure, print a Markdown table of paired ratios, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    taken = {state: [] for state in STATES}
    with tempfile.TemporaryDirectory() as folder, mlflow_server(Path(folder) / "server") as behind:
        probe, _ = seconds(folder, "http://127.0.0.1:1", 2000, "a/b/n1-o0-s0", courier=False)
        products = int(2000 * options.seconds / probe)
        for turn in range(options.repeats):
            for state in random.Random(turn).sample(STATES, len(STATES)):
                root = Path(folder) / f"{turn}-{state}"
                root.mkdir()
                with Proxy(behind, delay=3.0) as proxy:
                    proxy.set("up" if state == "not shown" else state)
                    cell = f"a/b/n{turn + 1}-o0-s{STATES.index(state)}"
                    shown = state != "not shown"
                    taken[state].append(
                        seconds(root, proxy.address(), products, cell, courier=shown)
                    )
    print("| Store | Time, of a run that is not shown | Processor time |\n|---|---|---|")
    for state in STATES:
        pairs = zip(taken[state], taken["not shown"], strict=True)
        ratios = [(a[0] / b[0], a[1] / b[1]) for a, b in pairs]
        cells = [
            f"{statistics.median(column):.3f} ({min(column):.3f} to {max(column):.3f})"
            for column in zip(*ratios, strict=True)
        ]
        print(f"| {state} | {cells[0]} | {cells[1]} |")
    if options.out:
        options.out.write_text(json.dumps(taken, indent=1))


if __name__ == "__main__":
    main()
