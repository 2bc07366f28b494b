"""Which steps of a record an objective hides.

All draws come from the generator given, their number never depends on an outcome, and shapes are
known beforehand: nothing waits for the device.
"""

import torch
from torch import Generator, Tensor


def random_mask(batch: int, steps: int, ratio: float, generator: Generator) -> Tensor:
    """Hide exactly ``round(ratio * steps)`` steps of each record, drawn uniformly.

    At least one step is hidden and one is seen.

    Returns
    -------
    Tensor
        Shape (batch, step), boolean, true where hidden.
    """
    hidden = min(max(round(ratio * steps), 1), steps - 1)
    draw = torch.rand((batch, steps), generator=generator, device=generator.device)
    return draw.argsort(dim=1).argsort(dim=1) < hidden


def span_mask(
    batch: int, steps: int, probability: float, length: int, generator: Generator
) -> Tensor:
    """Hide spans of `length` steps that may overlap, as wav2vec 2.0 does.

    ``round(probability * steps / length)`` starts of each record (at least one) are drawn without
    replacement among the steps where a span fits (Baevski et al. 2020, arXiv 2006.11477, section
    3.1 and appendix A, with spans counted as its public code counts them). A record always keeps a
    step that is seen: `length` is at most half of `steps`.

    Returns
    -------
    Tensor
        Shape (batch, step), boolean, true where hidden.
    """
    length = min(length, max(steps // 2, 1))
    places = steps - length + 1
    spans = min(max(round(probability * steps / length), 1), places)
    draw = torch.rand((batch, places), generator=generator, device=generator.device)
    start = draw.topk(spans, dim=1).indices.unsqueeze(-1)
    step = torch.arange(steps, device=draw.device)
    return ((step >= start) & (step < start + length)).any(dim=1)


def block(batch: int, steps: int, scale: tuple[float, float], generator: Generator) -> Tensor:
    """Draw one contiguous block per record, its length uniform in `scale` of all steps.

    Returns
    -------
    Tensor
        Shape (batch, step), boolean, true inside the block, which has at least one step.
    """
    low, high = scale
    device = generator.device
    size = torch.rand((batch, 1), generator=generator, device=device)
    length = ((low + (high - low) * size) * steps).round().clamp(1, steps)
    place = torch.rand((batch, 1), generator=generator, device=device)
    start = (place * (steps - length + 1)).floor()
    step = torch.arange(steps, device=device)
    return (step >= start) & (step < start + length)
