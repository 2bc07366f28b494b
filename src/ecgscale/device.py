"""The device that a study's stages compute on."""

import os

import torch

from ecgscale.config import Study
from ecgscale.errors import BadInputError


def study_device(study: Study) -> torch.device:
    """Return the device that a study asks for, set up to give the same bits every time.

    Raises
    ------
    BadInputError
        If the study asks for CUDA and there is none.
    """
    wanted = study.study.device
    if wanted == "cuda" and not torch.cuda.is_available():
        raise BadInputError("study.device is cuda, but this machine has no CUDA device")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    # cuBLAS reads this when it starts; without it matrix products may differ between runs.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    return torch.device("cuda")


def device_name(device: torch.device) -> str:
    """Return the name of the GPU, or "cpu"."""
    return torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
