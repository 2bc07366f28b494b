"""A process that makes records one after another, so that imports are paid for once.

``python -m ecgscale.pipeline.worker STUDY CODE REPLIES`` reads tasks from its standard input, a
line of JSON each, and writes a line of JSON about each to the file descriptor `REPLIES`. It ends
when its standard input does, whatever it is doing: the system closes that even for a process that
was killed, and so none trains on alone.

All code that can make a record is imported before the first one, and its state is held against
`CODE`, that of the package when the study was begun. An edit while the study runs therefore changes
no record; it counts when the study is run again.
"""

import gc
import importlib
import json
import logging
import os
import pkgutil
import queue
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from ecgscale.code import PACKAGE, package_state
from ecgscale.code import ROOT as ROOT_OF_CODE
from ecgscale.errors import BadInputError
from ecgscale.pipeline.work import Task, perform
from ecgscale.runs.address import Redacting, redacted, tracking_uri
from ecgscale.study.file import Study, load_study

ROOT = Path()
LINES = 15
"""Of a failure, that are handed on."""
PACKAGES = (
    *("data", "datasets", "encoders", "evaluation", "objectives"),
    *("runs", "study", "tasks", "training"),
)
"""Rooms whose code makes records."""
EDITED = "the code was edited while the study began; the same command begins again with all of it"


def main() -> None:
    """Serve until the standard input ends."""
    handler = logging.StreamHandler()
    handler.addFilter(Redacting())
    logging.basicConfig(
        level=os.environ.get("ECGSCALE_LOG", "WARNING"), format="%(message)s", handlers=[handler]
    )
    tracking_uri(ROOT)  # takes credentials out of the address, for all that follows
    tasks: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_read, args=(tasks,), daemon=True).start()
    study, edited = load_study(Path(sys.argv[1])), not imported(sys.argv[2])
    with os.fdopen(int(sys.argv[3]), "w") as replies:
        while True:
            asked = Task(**json.loads(tasks.get()))
            said = {"bad": EDITED} if edited else answer(asked, study)
            print(json.dumps(said), file=replies, flush=True)


def _read(tasks: "queue.Queue[str]") -> None:
    for line in sys.stdin:
        tasks.put(line)
    os._exit(0)  # whoever asked is gone, or has nothing more to ask


def imported(code: str) -> bool:
    """Import all that can make a record; return whether the package is in a certain state."""
    for package in PACKAGES:
        path = [str(ROOT_OF_CODE / package)]
        for module in pkgutil.walk_packages(path, f"{PACKAGE}.{package}."):
            importlib.import_module(module.name)
    return package_state() == code


def answer(task: Task, study: Study) -> dict[str, Any]:
    """Perform a task and say how it went.

    Returns
    -------
    dict
        ``seconds`` that it took; or ``bad``, a sentence, of bad input; or ``failed``, the last
        lines of what is printed of a failure.
    """
    begun = time.monotonic()
    print(task.title, file=sys.stderr, flush=True)
    try:
        perform(task, study, ROOT)
    except BadInputError as error:
        return {"bad": str(error)}
    except Exception:
        traceback.print_exc()
        lines = traceback.format_exc().splitlines()[-LINES:]
        return {"failed": redacted("\n".join(lines))}
    finally:
        _release()
    return {"seconds": time.monotonic() - begun}


def _release() -> None:
    """Give a GPU's memory back: other processes may share it."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        gc.collect()
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
