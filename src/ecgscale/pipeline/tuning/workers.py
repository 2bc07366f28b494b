"""Processes that share the trials of a search: one that is killed is replaced."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from time import sleep

from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.pipeline.tuning.search import Search
from ecgscale.runs.address import redacted
from ecgscale.study.file import Study

log = logging.getLogger(__name__)

BEAT = 5.0
"""Seconds after which the trials of other machines are looked at again."""
MOST_IN_VAIN = 3
"""Workers killed one after the other, without a trial begun, after which no more are started."""


def run_trials(search: Search) -> None:
    """Run trials until the search has as many as it asks for, those of other machines included.

    Raises
    ------
    StageFailedError
        If a worker ends by an error that is not a trial's, or none gets as far as a trial.
    """
    while True:
        search.settle(alive=())
        if search.left():
            count = min(search.settings.workers, search.left())
            if count == 1:
                _work(search, 0)
            else:
                _supervise(search, count)
        elif search.is_running():
            sleep(BEAT)
        else:
            return


def _work(search: Search, number: int) -> None:
    while search.left():
        search.run_one(number)


def _worker(study: Study, objective: str, root: Path, number: int) -> None:
    """Run trials in a process of their own, which ends with the one that started it."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _work(Search(study, objective, root), number)
    except BadInputError as error:
        print(f"ecgscale: {redacted(str(error))}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _supervise(search: Search, count: int) -> None:
    """Keep some workers running until nothing is left."""
    in_vain, begun = 0, search.begun()
    with _ended_in_the_end() as workers:
        for number in range(count):
            workers[number] = _start(search, number)
        while workers:
            gone = wait([worker.sentinel for worker in workers.values()])
            for number in [n for n, worker in workers.items() if worker.sentinel in gone]:
                worker = workers.pop(number)
                worker.join()
                status = worker.exitcode or 0
                if status == 130:
                    raise KeyboardInterrupt
                if status > 0:
                    raise StageFailedError(
                        f"tune: a worker of {search.objective} ended with exit status {status}; "
                        "what it said stands above"
                    )
                if status == 0:
                    continue
                log.warning(
                    "a worker of %s was killed by signal %d; its trial is begun again",
                    search.objective,
                    -status,
                )
                in_vain = in_vain + 1 if search.begun() == begun else 0
                begun = search.begun()
                if in_vain >= MOST_IN_VAIN:
                    raise StageFailedError(
                        f"tune: {in_vain} workers of {search.objective} were killed one after the "
                        f"other before they began a trial, the last by signal {-status}"
                    )
                search.settle(alive=[w.pid for w in workers.values() if w.pid])
                if search.left():
                    workers[number] = _start(search, number)


def _start(search: Search, number: int) -> SpawnProcess:
    # Spawned, not forked: a fork of a process whose torch has run threads can hang.
    arguments = (search.study, search.objective, search.root, number)
    worker = get_context("spawn").Process(target=_worker, args=arguments)
    worker.start()
    return worker


@contextmanager
def _ended_in_the_end() -> Iterator[dict[int, SpawnProcess]]:
    """Give a place for workers; those that are left when the block ends are ended."""
    workers: dict[int, SpawnProcess] = {}
    try:
        yield workers
    finally:
        for worker in workers.values():
            worker.terminate()
        for worker in workers.values():
            worker.join()
