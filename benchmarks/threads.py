"""Processes and threads: what several trainings at once do to each other.

    python benchmarks/threads.py [--seconds 10] [--out threads.json]

One and two processes with one and two threads each train `net1d` at the same time. Given are the
pairs per second of all processes together. The last rows repeat the oversubscribed case with
OMP_WAIT_POLICY=PASSIVE, under which threads sleep at a barrier instead of spinning.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

CASES = (
    (1, 1, ""),
    (1, 2, ""),
    (2, 1, ""),
    (2, 2, ""),
    (1, 2, "PASSIVE"),
    (2, 2, "PASSIVE"),
)
"""Processes, threads of each, wait policy ("" is the default)."""


def worker(arguments: argparse.Namespace) -> None:
    """Train; begin when a line comes in, print pairs per second."""
    import torch

    from ecgscale import encoders, objectives

    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size=arguments.size, in_channels=1)
    objective = objectives.create("simclr", encoder)
    parameters = [*encoder.parameters(), *objective.parameters()]
    optimizer = torch.optim.AdamW(parameters, fused=True)
    shape = (arguments.batch_size, 1, arguments.samples)
    views = {"first": torch.randn(shape), "second": torch.randn(shape)}

    def step() -> None:
        optimizer.zero_grad()
        objective.loss(encoder, views).loss.backward()
        optimizer.step()

    step()
    print("ready", flush=True)
    sys.stdin.readline()
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < arguments.seconds:
        step()
        done += 1
    print(done * arguments.batch_size / (time.perf_counter() - start), flush=True)


def together(processes: int, threads: int, policy: str, arguments: argparse.Namespace) -> float:
    """Return pairs per second of processes that train at the same time."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment.pop("OMP_WAIT_POLICY", None)
    if policy:
        environment["OMP_WAIT_POLICY"] = policy
    command = [sys.executable, __file__, "--threads", str(threads)]
    for name in ("seconds", "size", "samples", "batch_size"):
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=environment, **pipes) for _ in range(processes)]
    for process in running:
        process.stdout.readline()
    for process in running:
        process.stdin.write("\n")
        process.stdin.flush()
    return sum(float(process.communicate()[0]) for process in running)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="per case and round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--size", default="tiny")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.threads:
        worker(arguments)
        return
    rounds = [[together(*case, arguments) for case in CASES] for _ in range(arguments.rounds)]
    table = Table(
        "processes", "threads", "wait policy", "pairs/s together", "x 1 process, 1 thread"
    )
    results = []
    for case, turns in zip(CASES, zip(*rounds, strict=True), strict=True):
        rate = sorted(turns)[len(turns) // 2]
        names = ("processes", "threads", "wait_policy", "pairs_per_second", "turns")
        results.append(dict(zip(names, (*case, rate, turns), strict=True)))
        ratio = rate / results[0]["pairs_per_second"]
        table.add_row(
            str(case[0]), str(case[1]), case[2] or "default", f"{rate:,.0f}", f"{ratio:.2f}"
        )
    Console().print(table)
    if arguments.out:
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        report = {"benchmark": "threads", "machine": machine, "results": results}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
