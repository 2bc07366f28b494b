"""Two processes that work together, as ``torchrun`` starts them."""

import os
import socket
from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from ecgscale.distributed import process_group

PROCESSES = 2


def in_two_processes(folder: Path, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """Call a function in this process and in a second one at the same time.

    Parameters
    ----------
    folder
        Where the second process leaves what it found.
    function
        Of a test module, by its name; it finds out which process it is in as the package does
        (`ecgscale.distributed.rank`). What it returns is something that `torch.load` takes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    found = folder / "second-process.pt"
    second = get_context("spawn").Process(target=_second, args=(port, found, function, arguments))
    second.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in _environment(0, port).items():
                patch.setenv(name, value)
            first = _joined(function, arguments)
    except BaseException:
        second.kill()  # it waits for this one
        if dist.is_initialized():
            dist.destroy_process_group()
        raise
    finally:
        second.join()
    assert second.exitcode == 0
    return [first, torch.load(found)]


def _second(port: int, found: Path, function: Callable[..., Any], arguments: Any) -> None:
    os.environ |= _environment(1, port)
    torch.save(_joined(function, arguments), found)


def _joined(function: Callable[..., Any], arguments: Any) -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with process_group(torch.device("cpu")):
            return function(*arguments)
    finally:
        torch.set_num_threads(threads)


def _environment(number: int, port: int) -> dict[str, str]:
    return {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "WORLD_SIZE": str(PROCESSES),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
