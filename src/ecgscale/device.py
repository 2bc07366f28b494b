"""The device that a study's stages compute on."""

import ctypes
import os
from typing import Literal

import torch

from ecgscale.distributed import local_rank
from ecgscale.errors import BadInputError

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
"""Names of glibc's ``malloc.h``."""


def study_device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """Return the device that a study asks for, set up to give the same bits every time.

    "auto" is CUDA where there is any. Under ``torchrun`` each process of a machine gets a CUDA
    device of its own.

    Raises
    ------
    BadInputError
        If the study asks for CUDA and there is none, or more processes than devices.
    """
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BadInputError("study.device is cuda, but this machine has no CUDA device")
    if wanted == "cpu" or not torch.cuda.is_available():
        keep_freed_memory()
        return torch.device("cpu")
    if local_rank() >= torch.cuda.device_count():
        raise BadInputError(
            f"torchrun --nproc-per-node asks for more processes than the "
            f"{torch.cuda.device_count()} CUDA devices of this machine"
        )
    # cuBLAS reads this when it starts; without it matrix products may differ between runs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    # On by default with the line above: a pass over every new tensor, which nothing here reads.
    # (torch's type stubs lack this documented setting.)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device = torch.device("cuda", local_rank())
    torch.cuda.set_device(device)
    return device


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or "cpu"."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"


def keep_freed_memory() -> None:
    """Let the C library keep freed memory for the next tensor instead of returning it.

    By default every large tensor is mapped anew, and the kernel fills its pages with zeros before
    the first write: half of the time of an augmentation. The process then holds its peak of memory
    until it ends. Only glibc has the setting; elsewhere nothing happens.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
