"""Run a command that ends when the process that asked for it ends, however that ended.

``python -m ecgscale.pipeline.leash FD COMMAND...`` runs the command in its own process group. `FD`
is the reading end of a pipe whose other end the asking process alone holds: the system closes it
even for a process that is killed, and then the whole group is ended. A process that is killed
cannot end its children itself.
"""

import os
import signal
import subprocess
import sys
import threading
import time

PATIENCE = 10
"""Seconds between asking a group to end and killing it."""


def main() -> int:
    """Run the command; return its exit status, 128 plus the signal where one killed it."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # it outlives the group that it ends
    child = subprocess.Popen(sys.argv[2:])
    threading.Thread(target=_end_with_owner, args=(int(sys.argv[1]),), daemon=True).start()
    status = child.wait()
    return 128 - status if status < 0 else status


def _end_with_owner(pipe: int) -> None:
    os.read(pipe, 1)  # nothing is ever written: it returns when the other end is closed
    os.killpg(0, signal.SIGTERM)
    time.sleep(PATIENCE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
