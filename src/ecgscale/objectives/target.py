"""A network that follows another without gradient: target, teacher or momentum encoder."""

import copy
import math
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

N = TypeVar("N", bound=nn.Module)


class TargetNetwork(nn.Module, Generic[N]):
    """A copy whose weights are an exponential moving average of the online network's.

        theta' <- m theta' + (1 - m) theta

    Its weights take no gradient. Buffers (running statistics) are copied, not averaged. Dropout is
    always off; batch norm keeps to the mode of training, so that it uses the batch's statistics
    then. The online network is copied as it is when this is made.
    """

    network: N
    """The copy; call it under ``torch.no_grad``."""

    def __init__(self, online: N) -> None:
        super().__init__()
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.train(online.training)

    def train(self, mode: bool = True) -> "TargetNetwork[N]":
        """Set the mode of batch norm; everything else stays in evaluation."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, _BatchNorm):
                module.train(mode)
        return self

    @torch.no_grad()
    def update(self, online: nn.Module, momentum: float) -> None:
        """Move towards `online` by ``1 - momentum``."""
        mine: list[Tensor] = list(self.network.parameters())
        theirs: list[Tensor] = list(online.parameters())
        if mine:
            torch._foreach_lerp_(mine, theirs, 1 - momentum)
        for buffer, source in zip(self.network.buffers(), online.buffers(), strict=True):
            buffer.copy_(source)


def cosine_momentum(base: float, progress: float) -> float:
    """Return ``1 - (1 - base) (cos(pi progress) + 1) / 2``: from `base` to 1.

    Grill et al. 2020, BYOL, arXiv 2006.07733, section 3.2.
    """
    return 1 - (1 - base) * (math.cos(math.pi * progress) + 1) / 2


def linear_momentum(start: float, end: float, progress: float, anneal: float = 1.0) -> float:
    """Return a momentum that rises linearly from `start` to `end`, reached at `anneal`.

    Baevski et al. 2022, data2vec, arXiv 2202.03555, section 3.3; `progress` and `anneal` are shares
    of the training.
    """
    return end if progress >= anneal else start + (end - start) * progress / anneal


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of `values` where `mask`, of the same shape, is true; without waiting.

    It is 0 where the mask is true nowhere.
    """
    return (values * mask).sum() / mask.sum().clamp_min(1)


def hidden_sd(values: Tensor, mask: Tensor) -> Tensor:
    """Return the SD over the hidden steps of all records, averaged over channels.

    Values (batch, step, dim) and a mask (batch, step), true where hidden, to a scalar.
    """
    weight = mask.unsqueeze(-1) / mask.sum().clamp_min(1)
    mean = (values * weight).sum(dim=(0, 1))
    variance: Tensor = ((values - mean).square() * weight).sum(dim=(0, 1))
    return variance.sqrt().mean()


def unit_rows(features: Tensor) -> Tensor:
    """Scale each row to length 1: (row, dim) to (row, dim), in at least float32."""
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    return F.normalize(features, dim=1)


@torch.no_grad()
def spread(unit: Tensor) -> Tensor:
    """Return how far unit vectors (row, dim) are spread over the sphere: a scalar for the curves.

    The mean over dimensions of the standard deviation over rows, times ``sqrt(dim)``: 0 when all
    rows are the same (collapse), near 1 when they point everywhere alike (Chen and He 2021,
    SimSiam, arXiv 2011.10566, section 4.1).
    """
    return unit.std(dim=0, correction=0).mean() * math.sqrt(unit.shape[1])
