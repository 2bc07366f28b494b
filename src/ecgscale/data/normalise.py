"""The last step of preprocessing, done on the device: one scale for every record and lead."""

import torch
from torch import Tensor

from ecgscale.data.recipe import Recipe

FLAT_SD = 1e-4
"""Standard deviation (mV) below which a lead is flat: a tenth of what a store can resolve."""


def normalise(x: Tensor, recipe: Recipe) -> Tensor:
    """Bring each lead of each record to mean 0 and standard deviation 1 over time.

    The zeros that fill a lead up to the stored length (those after its last other value) take no
    part in the mean and the standard deviation, and stay zero.

    Parameters
    ----------
    x
        Shape (batch, lead, time), mV.
    recipe
        ``normalise: zscore`` does the above; ``none`` returns `x`.

    Returns
    -------
    Tensor
        Shape (batch, lead, time), unit variance; all zero where a lead is flat.
    """
    if recipe.normalise == "none":
        return x
    position = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=torch.int32)
    length = ((x != 0) * position).amax(dim=-1, keepdim=True)
    count = length.clamp(min=1)
    # The filling is zero, so sums over all of it are sums over the signal.
    centred = (x - x.sum(dim=-1, keepdim=True) / count).masked_fill(position > length, 0.0)
    sd = (centred.square().sum(dim=-1, keepdim=True) / count).sqrt()
    return centred * torch.where(sd > FLAT_SD, 1 / sd, 0.0)
