"""Which steps of a record an objective hides.

All draws come from the generator given, their number never depends on an outcome, and shapes are
known beforehand: nothing waits for the device.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ecgscale.data.augment import Augmenter
from ecgscale.encoders.base import Encoder
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch, Objective


class MaskedObjective(Objective):
    """An objective on one view of each record, some steps of which are hidden."""

    def __init__(self, encoder: Encoder, params: Any, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.n_steps = encoder.n_steps

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return one augmented "view" (batch, lead, time) and its "mask" (batch, step).

        Raises
        ------
        BadInputError
            If a view has fewer than two steps.
        """
        view = augment(batch.signal)
        steps = self.n_steps(view.shape[-1])
        return {"view": view, "mask": self.draw_mask(len(view), steps, augment.generator)}

    def draw_mask(self, batch: int, steps: int, generator: Generator) -> Tensor:
        """Return which steps are hidden: `span_mask` with the parameters."""
        params = self.params
        return span_mask(batch, steps, params.mask_probability, params.mask_length, generator)


def random_mask(batch: int, steps: int, ratio: float, generator: Generator) -> Tensor:
    """Hide exactly ``round(ratio * steps)`` steps of each record, drawn uniformly.

    At least one step is hidden and one is seen.

    Returns
    -------
    Tensor
        Shape (batch, step), boolean, true where hidden.

    Raises
    ------
    BadInputError
        If there are fewer than two steps.
    """
    _need_two(steps)
    hidden = min(max(round(ratio * steps), 1), steps - 1)
    draw = torch.rand((batch, steps), generator=generator, device=generator.device)
    return draw.argsort(dim=1).argsort(dim=1) < hidden


def span_mask(
    batch: int, steps: int, probability: float, length: int, generator: Generator
) -> Tensor:
    """Hide spans of `length` steps that may overlap, as wav2vec 2.0 does.

    ``round(probability * steps / length)`` starts of each record are drawn uniformly, without
    replacement, among the steps where a span fits (Baevski et al. 2020, arXiv 2006.11477, section
    3.1 and appendix A, where ``p = probability / length`` is the share of steps that start a span).

    A record keeps at least one step that is hidden and one that is seen: a span is at most half as
    long as the record, there is at least one, and all of them laid end to end are shorter than the
    record.

    The public code (fairseq, ``compute_mask_indices``) rounds the number of spans up or down at
    random, never hides the last step, and can show some hidden steps again to hide equally many of
    every record. Here the number is rounded to the nearest, every step can be hidden and spans stay
    whole.

    Return and errors are those of `random_mask`.
    """
    _need_two(steps)
    length = min(length, steps // 2)
    spans = min(max(round(probability * steps / length), 1), (steps - 1) // length)
    places = steps - length + 1
    draw = torch.rand((batch, places), generator=generator, device=generator.device)
    start = draw.topk(spans, dim=1).indices
    starts = F.pad(torch.zeros_like(draw).scatter(1, start, 1.0), (length - 1, length - 1))
    # Hidden: a span starts here or on one of the length - 1 steps before.
    return F.max_pool1d(starts, length, stride=1) > 0


def block(batch: int, steps: int, scale: tuple[float, float], generator: Generator) -> Tensor:
    """Draw one contiguous block per record: (batch, step), boolean, true inside of it.

    Its length is uniform in `scale` of all steps, rounded to whole ones, at least one; its place is
    uniform among those it fits in.
    """
    low, high = scale
    device = generator.device
    size = torch.rand((batch, 1), generator=generator, device=device)
    length = ((low + (high - low) * size) * steps).round().clamp(1, steps)
    place = torch.rand((batch, 1), generator=generator, device=device)
    start = (place * (steps - length + 1)).floor()
    step = torch.arange(steps, device=device)
    return (step >= start) & (step < start + length)


def _need_two(steps: int) -> None:
    if steps < 2:
        raise BadInputError(
            f"a view of {steps} step cannot be hidden in part: raise augment.crop_seconds, or take "
            "an encoder with fewer samples per step"
        )
