"""Floating point operations of a training run."""

import copy

import torch
from torch import Tensor

from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import Objective

BACKWARD = 2
"""Cost of a backward pass in forward passes (Kaplan et al., arXiv 2001.08361, section 2.1)."""


def step_flops(encoder: Encoder, objective: Objective, views: dict[str, Tensor]) -> int:
    """Return the FLOPs of one training step.

    Counts the matrix products, attention and convolutions (not those by FFT) of one forward pass
    of the loss (encoder on every view, projector, target network) and adds a backward pass of
    twice that. A target network has no backward pass, so for objectives that have one the result
    is an upper bound. `views` are what `objective.views` made of a batch. Works on copies: neither
    network changes.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    copies = copy.deepcopy((encoder, objective))
    # The counter does not know the fused attention of every device.
    with (
        torch.no_grad(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
    ):
        copies[1].loss(copies[0], views)
    return (1 + BACKWARD) * int(counter.get_total_flops())
