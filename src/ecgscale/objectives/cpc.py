"""CPC: from the past of a record, tell its coming frames from its other frames."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Generator, Tensor, nn

from ecgscale.data.augment import Augmenter
from ecgscale.encoders.base import Encoder, SequenceEncoder
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch, LossOutput, Objective, ObjectiveParams, objectives
from ecgscale.objectives.search_space import FloatRange, SearchSpace
from ecgscale.objectives.target import masked_mean


class CpcParams(ObjectiveParams):
    """Parameters of `Cpc`."""

    steps: int = Field(default=14, ge=1)
    """K, how many steps ahead is predicted. Published: 14 (the shipped configuration of arXiv
    2605.12241), 12 (the paper, section 3.1)."""
    horizons: Literal["all", "last"] = "all"
    """Predict 1 to K steps ahead (the paper) or K only (both public codes for ECG)."""
    negatives: int = Field(default=128, ge=0)
    """N, negatives drawn for each frame. Published: 128 (arXiv 2103.12676 and 2605.12241); 0 takes
    every other frame of the record once."""
    normalize: bool = False
    """Compare by cosine instead of by scalar product. Published: scalar product."""
    temperature: float = Field(default=1.0, gt=0)
    """tau. Published: 1."""
    context_dim: int = Field(default=256, ge=1)
    """Width of the recurrent context of encoders without frames. Published: 256 (the paper, section
    3.1). A `SequenceEncoder` has a context of its own."""


@objectives.register("cpc")
class Cpc(Objective):
    """Contrastive predictive coding with negatives from the same record.

    With frames z_t (t = 0 .. S - 1, width D), a context c_t that has seen the frames up to t, and a
    linear map W_k for each horizon k, the score of frame j is

        f_k(t, j) = (W_k c_t) . z_j / tau

    and, with N(j) the negatives of frame j,

        L = mean_k mean_{b,t} -log( e^{f_k(t,t+k)} / (e^{f_k(t,t+k)}
                                                      + sum_{j in N(t+k)} e^{f_k(t,j)}) )

    over the records b, the steps t = 0 .. S - 1 - k and the horizons k = 1 .. K (``horizons:
    last``: k = K alone). N(j) are `negatives` draws with replacement from the other frames of the
    same record, past ones included, as in the public code for ECG; all horizons share them.

    What z and c are depends on the encoder:

    - a causal `SequenceEncoder`: its frames and its tokens, as published;
    - any other `SequenceEncoder`: its frames, and its token at t with all later frames taken away.
      That costs a pass per t, so one t below S - K is drawn for each record. Its full tokens would
      not do: they have seen the future, and with position codes each names its own place;
    - an encoder without frames: its tokens, and a gated recurrent unit over them, which is dropped
      after pretraining. Where tokens overlap in what they see, near steps are told apart by that
      overlap; K beyond the overlap, with ``horizons: last``, leaves none.

    The public codes for ECG (Mehari and Strodthoff, arXiv 2103.12676; arXiv 2605.12241) predict
    ``t + K`` alone where the paper predicts every step up to K; ``horizons: last`` with the other
    defaults is their loss up to its scale: they sum over t. The maps have no bias there and here.
    Their accuracy counts a tie as right, so it reads 1 after a collapse; here it reads 0.

    Raises
    ------
    BadInputError
        By `views`, if the crop has no more than K steps.
    """

    Params: ClassVar[type[ObjectiveParams]] = CpcParams
    reference: ClassVar[str] = (
        "van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018, "
        "arXiv 1807.03748; for ECG: Mehari and Strodthoff, arXiv 2103.12676; arXiv 2605.12241"
    )
    # Not how far ahead: that goes with the crop.
    searched: ClassVar[SearchSpace] = {"params.temperature": FloatRange(0.05, 2.0, log=True)}

    def __init__(self, encoder: Encoder, params: CpcParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.n_steps = encoder.n_steps
        last = params.steps
        self.horizons = (last,) if params.horizons == "last" else tuple(range(1, last + 1))
        self.context: nn.GRU | None = None
        if isinstance(encoder, SequenceEncoder):
            self.one_context = not encoder.causal
            frame_dim, context_dim = encoder.mask_dim, encoder.embed_dim
        else:
            self.one_context = False
            frame_dim, context_dim = encoder.embed_dim, params.context_dim
            self.context = nn.GRU(frame_dim, context_dim, batch_first=True)
        self.predict = nn.Linear(context_dim, len(self.horizons) * frame_dim, bias=False)

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return an augmented view, "view", and what is predicted from where, against what.

        "contexts" has shape (batch, step), boolean: the steps t that predict. "candidates" is made
        by `draw_candidates`.
        """
        view = augment(batch.signal)
        records, steps, generator = len(view), self.n_steps(view.shape[-1]), augment.generator
        if steps <= self.params.steps:
            raise BadInputError(
                f"cpc predicts params.steps = {self.params.steps} steps ahead, which a crop of "
                f"{steps} steps does not have: raise augment.crop_seconds or lower params.steps"
            )
        contexts = torch.ones((records, steps), dtype=torch.bool, device=view.device)
        if self.one_context:
            contexts = one_step(records, steps, steps - self.params.steps, generator)
        candidates = draw_candidates(records, steps, self.params.negatives, generator)
        return {"view": view, "contexts": contexts, "candidates": candidates}

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return the mean InfoNCE over horizons, with its accuracy and the frames' spread."""
        frames, context = self._frames_and_context(encoder, views["view"], views["contexts"])
        predictions = self.predict(context).float().chunk(len(self.horizons), dim=-1)
        frames = frames.float()
        parts = {"frame_sd": frames.detach().flatten(0, 1).std(dim=0).mean()}
        with torch.autocast(frames.device.type, enabled=False):
            results = [
                self._horizon(prediction, frames, views, ahead)
                for ahead, prediction in zip(self.horizons, predictions, strict=True)
            ]
        losses, accuracies = zip(*results, strict=True)
        parts |= {"accuracy": torch.stack(accuracies).mean(), "accuracy_last": accuracies[-1]}
        return LossOutput(torch.stack(losses).mean(), parts)

    def _frames_and_context(
        self, encoder: Encoder, view: Tensor, contexts: Tensor
    ) -> tuple[Tensor, Tensor]:
        if self.context is not None:
            frames = encoder(view)
            return frames, self.context(frames)[0]
        assert isinstance(encoder, SequenceEncoder)
        frames = encoder.frames(view)
        if not self.one_context:
            return frames, encoder.contextualise(frames)[-1]
        past = contexts.flip(1).cummax(dim=1).values.flip(1)
        seen = frames.masked_fill(~past.unsqueeze(-1), 0.0)
        return frames, encoder.contextualise(seen, past)[-1]

    def _horizon(
        self, prediction: Tensor, frames: Tensor, views: dict[str, Tensor], ahead: int
    ) -> tuple[Tensor, Tensor]:
        """Return loss and accuracy of predictions (batch, step, dim) for `ahead` steps later."""
        if self.params.normalize:
            prediction, frames = F.normalize(prediction, dim=-1), F.normalize(frames, dim=-1)
        scores = prediction[:, :-ahead] @ frames.transpose(1, 2) / self.params.temperature
        candidates, contexts = views["candidates"][:, ahead:], views["contexts"][:, :-ahead]
        right = scores.diagonal(ahead, dim1=1, dim2=2)
        losses = (scores + candidates.log()).logsumexp(dim=-1) - right
        own = torch.ones_like(scores[0], dtype=torch.bool).triu(ahead).tril(ahead)
        wrong = scores.masked_fill(own | (candidates == 0), -torch.inf).amax(dim=-1)
        return masked_mean(losses, contexts), masked_mean((right > wrong).float(), contexts)


def one_step(batch: int, steps: int, below: int, generator: Generator) -> Tensor:
    """Draw one of the first `below` steps of each record, uniformly: (batch, step), boolean."""
    device = generator.device
    chosen = torch.randint(below, (batch, 1), generator=generator, device=device)
    return torch.arange(steps, device=device) == chosen


def draw_candidates(batch: int, steps: int, count: int, generator: Generator) -> Tensor:
    """Draw negatives for each step among the other steps of its record, with replacement.

    Drawn frames are counted, not listed: weighing one score by its count is the sum over all its
    draws, and has a gradient that is the same bits every time, which gathering has not.

    Parameters
    ----------
    batch, steps
        Records and steps per record.
    count
        Negatives a step; 0 takes every other step once.
    generator
        Source of the draws.

    Returns
    -------
    Tensor
        Shape (batch, step, candidate step), float32: how often each step is a candidate where the
        first one is to be told; 1 for that step itself.
    """
    device = generator.device
    if count == 0:
        return torch.ones((batch, steps, steps), device=device)
    draw = torch.randint(steps - 1, (batch, steps, count), generator=generator, device=device)
    other = draw + (draw >= torch.arange(steps, device=device).unsqueeze(-1))
    own = torch.eye(steps, device=device).expand(batch, -1, -1)
    return own.scatter_add(2, other, torch.ones_like(other, dtype=torch.float32))
