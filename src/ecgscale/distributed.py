"""Data-parallel training: one process per device, started by ``torchrun``.

Every process draws its share of each batch and holds all weights. Gradients are averaged with one
sum over one buffer in the order of the parameters, so that a training repeats bit for bit; a
wrapper that sums in buckets while the backward pass runs would arrange them anew after a
resumption.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the processes that ``torchrun`` started, for as long as the context lasts.

    Does nothing in a single process (``WORLD_SIZE`` absent or 1), or within another such context.
    NCCL joins CUDA devices, gloo CPUs.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    yield
    # Not after a failure: leaving may wait for the others, and its end is what they are told by.
    dist.destroy_process_group()


def local_rank() -> int:
    """Return the number of this process among those of its machine, from 0."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Return the number of processes that train together; 1 without ``torchrun``."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process among them, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def barrier() -> None:
    """Wait until every process has come here."""
    if world_size() > 1:
        dist.barrier()


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every process the first process's values, in place."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


@torch.no_grad()
def average(x: Tensor) -> Tensor:
    """Return the mean of a tensor over processes; `x` itself in a single process."""
    if world_size() == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total / world_size()


@torch.no_grad()
def average_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace gradients by their means over processes, in one exchange.

    The parameters are the same on every process, each with a gradient.
    """
    if world_size() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = average(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, torch.split(flat, sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))


def gather(x: Tensor) -> Tensor:
    """Lay the rows of all processes below each other, with gradient.

    Each process then computes the loss of the whole batch. In the backward pass a process receives
    the sum of what all processes' losses say about its rows; with gradients of parameters averaged
    over processes, as data-parallel training does, the result is that of one process with the
    whole batch.

    (row, ...), the same shape on every process, to (row * processes, ...) in the order of ranks, in
    at least float32 (gradients are summed in it); `x` itself in a single process.
    """
    if world_size() == 1:
        return x
    if x.dtype in (torch.float16, torch.bfloat16):
        x = x.float()
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
