"""Data-parallel training: one process per device, started by ``torchrun``."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Return the number of processes that train together; 1 without ``torchrun``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def gather(x: Tensor) -> Tensor:
    """Lay the rows of all processes below each other, with gradient.

    Each process then computes the loss of the whole batch. In the backward pass a process receives
    the sum of what all processes' losses say about its rows; with gradients of parameters averaged
    over processes, as data-parallel training does, the result is that of one process with the
    whole batch.

    Parameters
    ----------
    x
        Shape (row, ...), the same on every process.

    Returns
    -------
    Tensor
        Shape (row * processes, ...), in the order of ranks; `x` itself in a single process.
    """
    if world_size() == 1:
        return x
    gathered: Tensor = _Gather.apply(x)  # type: ignore[no-untyped-call]
    return gathered


def gather_pairs(x: Tensor) -> Tensor:
    """As `gather`, for rows that are ``[first views; second views]``, which they stay."""
    if world_size() == 1:
        return x
    first, second = x.chunk(2)
    return torch.cat([gather(first), gather(second)])


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous()
        dist.all_reduce(total)
        return total.chunk(world_size())[rank()]
