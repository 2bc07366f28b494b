"""What a process does that the operating system kills."""

import os
import signal


def die(*_: object) -> None:
    """End this process as a lack of memory ends it."""
    os.kill(os.getpid(), signal.SIGKILL)
