"""Cells on a Ray cluster: as `ecgscale.pipeline.pool`, on the machines of a cluster.

Every node has the package installed and sees the project at the same path, on a disk that they
share: what a cell reads and writes are files there.
"""

import functools
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline.pool import Done, chains
from ecgscale.pipeline.work import Task

CARRIED = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    *("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "ECGSCALE_LOG", "PYTHONPATH"),
)
"""Variables that a node is given; a store's credentials stay here, where the courier is."""


def run(
    tasks: Sequence[Task],
    study: Path,
    code: str,
    root: Path,
    environment: Mapping[str, str],
    done: Done,
    threads: int,
    gpus: float,
) -> None:
    """Have all tasks done on the cluster that ``RAY_ADDRESS`` names, or else on this machine.

    Ray starts as many cells at once as the nodes have cores and devices for.

    Parameters
    ----------
    tasks, study, code, root, environment, done
        As in `ecgscale.pipeline.pool.run`.
    threads
        Cores that a cell asks for.
    gpus
        Devices that a cell asks for; a fraction lets cells share one.

    Raises
    ------
    BadInputError
        If Ray is not installed, no node has what a cell asks for, or as `pool.run`.
    StageFailedError
        As `pool.run`.
    """
    try:
        import ray
    except ImportError as error:
        raise BadInputError(
            "--engine ray needs Ray: install it with pip install 'ecgscale[ray]'"
        ) from error
    variables = {name: environment[name] for name in CARRIED if name in environment}
    ray.init(
        address=os.environ.get("RAY_ADDRESS"),
        runtime_env={"env_vars": variables},
        log_to_driver=False,
        logging_level=logging.ERROR,
        include_dashboard=False,
    )
    try:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        _check_room(nodes, threads, gpus)
        remote = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=0)(perform_chain)
        place = root.resolve()
        waiting = {
            remote.remote([vars(task) for task in chain], str(study), code, str(place)): chain
            for chain in chains(tasks)
        }
        while waiting:
            (ready,), _ = ray.wait(list(waiting), num_returns=1)
            _hear(ray, ready, waiting.pop(ready), done)
    finally:
        ray.shutdown()


def _check_room(nodes: list[dict[str, Any]], cores: int, gpus: float) -> None:
    """Refuse what would wait forever: a cell is computed on one node."""
    held = [node["Resources"] for node in nodes if node["Alive"]]
    if not any(node.get("CPU", 0) >= cores and node.get("GPU", 0) >= gpus for node in held):
        raise BadInputError(
            f"a cell asks for {cores} cores and {gpus:g} GPUs, and no node of the Ray cluster has "
            "them: lower study.threads or --gpus-per-cell"
        )


def _hear(ray: Any, ready: Any, chain: list[Task], done: Done) -> None:
    """Take what came of a cell."""
    try:
        replies: list[dict[str, Any]] = ray.get(ready)
    except ray.exceptions.RayError as error:
        first = str(error).strip().splitlines()[0]
        name = chain[0].name
        raise StageFailedError(f"{name}: its process ended, or its node: {first}") from error
    for task, said in zip(chain, replies, strict=False):
        if "bad" in said:
            raise BadInputError(f"{task.title}: {said['bad']}")
        if "failed" in said:
            raise StageFailedError(f"{task.title} failed:\n{said['failed']}")
        done(task, said["seconds"])


def perform_chain(
    tasks: list[dict[str, Any]], study: str, code: str, root: str
) -> list[dict[str, Any]]:
    """Do the tasks of a cell, on a node; the first that goes wrong ends them.

    Returns
    -------
    list
        What `ecgscale.pipeline.worker.answer` says of each.
    """
    from ecgscale.pipeline.worker import EDITED, answer
    from ecgscale.study.file import load_study

    if not (Path(root) / study).is_file():
        node = os.uname().nodename
        sentence = f"node {node} does not see {Path(root) / study}: the project must lie on a disk "
        return [{"bad": sentence + "that all nodes share, at the same path"}]
    os.chdir(root)
    if not _imported(code):
        return [{"bad": EDITED}]
    replies = []
    for given in tasks:
        replies.append(answer(Task(**given), load_study(Path(study))))
        if "seconds" not in replies[-1]:
            break
    return replies


@functools.cache
def _imported(code: str) -> bool:
    from ecgscale.pipeline.worker import imported

    return imported(code)
