"""A network that follows another without gradient: target, teacher or momentum encoder."""

import copy
import math

import torch
from torch import Tensor, nn


class TargetNetwork(nn.Module):
    """A copy whose weights are an exponential moving average of the online network's.

        theta' <- m theta' + (1 - m) theta

    Its weights take no gradient. Buffers (running statistics) are copied, not averaged. Dropout is
    always off; batch norm keeps to the mode of training, so that it uses the batch's statistics
    then.

    Parameters
    ----------
    online
        Copied as it is now.
    """

    def __init__(self, online: nn.Module) -> None:
        super().__init__()
        self.network = copy.deepcopy(online).requires_grad_(False)
        self.train(online.training)

    def train(self, mode: bool = True) -> "TargetNetwork":
        """Set the mode of everything but dropout, which stays off."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, (nn.Dropout, nn.Dropout1d, nn.Dropout2d)):
                module.eval()
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
    """Return the mean of `values` where `mask` is true (0 where it nowhere is), without waiting.

    Parameters
    ----------
    values
        Any shape.
    mask
        Boolean, of the same shape.
    """
    return (values * mask).sum() / mask.sum().clamp_min(1)
