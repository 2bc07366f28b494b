"""Carry the spool to the tracking store, beside the process that asked for it.

``python -m ecgscale.runs.courier ROOT``: no training waits for MLflow to be imported or for a store
to answer. While the store is away it asks again, ever less often. It ends when its standard input
is closed, which the system does when the process that started it ends, and it has carried what it
could; what is left then is carried by the next command.
"""

import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from ecgscale.runs.address import Redacting, redacted, trouble
from ecgscale.runs.spool import LAST_MINUTE, courier_of

log = logging.getLogger("ecgscale.courier")

BEAT = 1.0
"""Seconds between two looks at the spool."""
LONGEST_PAUSE = 30.0
"""Seconds after which a store that is away is asked again."""


def main() -> int:
    """Carry until nobody needs it."""
    handler = logging.StreamHandler()
    handler.addFilter(Redacting())
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", handlers=[handler])
    os.nice(10)  # where processors are short, training goes first
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupted run is carried like any other
    root, gone = Path(sys.argv[1]), threading.Event()
    threading.Thread(target=_wait_for_end, args=(gone,), daemon=True).start()
    with courier_of(root, BEAT) as is_mine:  # who only asks whether there is one holds it too
        if is_mine:
            _carry(root, gone)
    return 0


def _wait_for_end(gone: threading.Event) -> None:
    sys.stdin.buffer.read()
    gone.set()


def _carry(root: Path, gone: threading.Event) -> None:
    from ecgscale.runs.carrier import Carrier  # imports MLflow only when it carries

    carrier, pause, told, until = Carrier(root), BEAT, None, None
    while True:
        # Before the look at the spool: all that was written by then is in it.
        is_last = gone.is_set()
        if is_last and until is None:
            until = time.monotonic() + LAST_MINUTE
        said = trouble(root) if carrier.is_wanted() else None
        if said is None:
            try:
                carrier.carry(until)
            except Exception as error:  # whatever the store does, it is asked again
                said = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                carrier = Carrier(root)
        if said and said != told:
            log.warning("the tracking store %s", redacted(said))
        told = said
        if is_last:
            return
        pause = min(pause * 2, LONGEST_PAUSE) if said else BEAT
        gone.wait(pause)


if __name__ == "__main__":
    sys.exit(main())
