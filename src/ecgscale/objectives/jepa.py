"""JEPA: from the context of a record, predict how a target network sees its hidden blocks."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from ecgscale.data.augment import Augmenter
from ecgscale.encoders.base import Encoder
from ecgscale.encoders.vit1d import Block, position_codes
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch, LossOutput, Objective, ObjectiveParams, objectives
from ecgscale.objectives.masking import block
from ecgscale.objectives.search_space import FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import TargetNetwork, linear_momentum, masked_mean

HEAD_DIM = 32
"""Width of a predictor's attention head: 384 / 12 in I-JEPA, 192 / 6 in ECG-JEPA."""
MASK_TOKEN_SD = 0.02
"""Of the mask token at the start, as in the public codes of both."""


class JepaParams(ObjectiveParams):
    """Parameters of `Jepa`."""

    context_scale: tuple[float, float] = (0.85, 1.0)
    """Length of the context block, as a share of the steps. Published: .85 to 1."""
    target_scale: tuple[float, float] = (0.15, 0.2)
    """Length of a target block, as a share of the steps. Published: .15 to .2."""
    targets: int = Field(default=4, ge=1)
    """M, target blocks per record; they may overlap. Published: 4."""
    momentum: float = Field(default=0.996, ge=0, le=1)
    """m of the target network at the start. Published: .996."""
    momentum_end: float = Field(default=1.0, ge=0, le=1)
    """m at the end, reached linearly. Published: 1."""
    predictor_depth: int = Field(default=6, ge=1)
    """Blocks of the predictor. Published: 6 (I-JEPA for ViT-B), 8 (ECG-JEPA for ViT-S), 12 (both
    for larger encoders)."""
    predictor_ratio: float = Field(default=0.5, gt=0, le=1)
    """Width of the predictor per width of the encoder, rounded to whole heads of `HEAD_DIM`.
    Published: one half (384 for ViT-B's 768, 192 for ViT-S's 384)."""
    beta: float = Field(default=1.0, gt=0)
    """Error at which the smooth L1 loss turns from square to linear. Published: 1."""

    @model_validator(mode="after")
    def _scales_are_shares(self) -> "JepaParams":
        for name in ("context_scale", "target_scale"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name} must be two shares, 0 < low <= high <= 1")
        return self


@objectives.register("jepa")
class Jepa(Objective):
    """Joint-embedding predictive architecture with multi-block masks, in one dimension.

    Of each record's S steps, M target blocks T_1 .. T_M and a context block are drawn; the context
    C is that block without all target blocks. The encoder sees C alone: the other steps are taken
    away. The predictor g, a narrow transformer, is given the encoder's tokens of C and, for one
    block at a time, a learned token at each step of T_m, both with position codes. The target
    network, an exponential moving average of the encoder, sees the whole view; its tokens h
    (batch, step, dim) are normalised to mean 0 and variance 1 each:

        L = mean_{b, m, i in T_m} mean_d smoothL1( g(f(x_C), T_m)_{i,d} - norm(h(x))_{i,d} )
        smoothL1(e) = e^2 / (2 beta) if |e| < beta else |e| - beta / 2

    The mean is over all target steps of the batch; a step in two blocks counts twice. After a
    step, ``h <- m h + (1 - m) f`` with m rising linearly from `momentum` to `momentum_end`.

    The paper states a squared error, its public code has the smooth L1 taken here. Lengths of
    blocks are drawn for each record; the public codes draw them once a batch. Where the targets
    leave no context, one random step (outside the targets if there is one) is the context and no
    target; I-JEPA's code lets the context overlap targets then, that of arXiv 2605.12241 puts
    random steps in its place.

    arXiv 2605.12241 writes its own mask token over the hidden frames, has one S4 layer as
    predictor for all blocks at once and gives blocks 64 steps at least; ECG-JEPA (Weimann and
    Conrad, arXiv 2410.13867) keeps 15 to 25 % as context and takes the L1 distance to targets
    without normalisation. An encoder without attention cannot take steps away; it sees zeros there.
    The predictor's weights start from PyTorch's defaults, not from a fixed deviation of .02.

    Raises
    ------
    BadInputError
        By `views`, if the crop has a single step.
    """

    Params: ClassVar[type[ObjectiveParams]] = JepaParams
    reference: ClassVar[str] = (
        "Assran et al., Self-Supervised Learning from Images with a Joint-Embedding Predictive "
        "Architecture, CVPR 2023, arXiv 2301.08243; for ECG: Weimann and Conrad, ECG-JEPA, "
        "arXiv 2410.13867; arXiv 2605.12241"
    )
    searched: ClassVar[SearchSpace] = {
        "params.momentum": FloatRange(0.9, 0.9995),
        "params.predictor_depth": IntRange(1, 12),
    }

    def __init__(self, encoder: Encoder, params: JepaParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.n_steps = encoder.n_steps
        self.target = TargetNetwork(encoder)
        self.predictor = Predictor(
            encoder.embed_dim, params.predictor_ratio, params.predictor_depth
        )

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return one augmented view, "view", and which steps are shown and asked for.

        "context" has shape (batch, step), "targets" (batch, target, step), both boolean.
        """
        view = augment(batch.signal)
        steps = self.n_steps(view.shape[-1])
        if steps < 2:
            raise BadInputError(
                "jepa needs crops of two steps or more, one to see and one to predict, and got "
                f"{steps}: raise augment.crop_seconds"
            )
        context, targets = multi_block(len(view), steps, self.params, augment.generator)
        return {"view": view, "context": context, "targets": targets}

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return the mean error on target steps, the targets' spread and the share shown."""
        view, context, targets = views["view"], views["context"], views["targets"]
        with torch.no_grad():
            wanted = self.target.network(view).float()
            wanted = F.layer_norm(wanted, wanted.shape[-1:])
        predicted = self.predictor(encoder(view, ~context), context, targets).float()
        wanted_each = wanted.unsqueeze(1).expand_as(predicted)
        beta = self.params.beta
        errors = F.smooth_l1_loss(predicted, wanted_each, reduction="none", beta=beta)
        loss = masked_mean(errors.mean(dim=-1), targets)
        parts = {
            "target_sd": wanted.flatten(0, 1).std(dim=0).mean(),
            "context_share": context.float().mean(),
        }
        return LossOutput(loss, parts)

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Move the target network towards the encoder."""
        momentum = linear_momentum(self.params.momentum, self.params.momentum_end, progress)
        self.target.update(encoder, momentum)


class Predictor(nn.Module):
    """A narrow transformer that fills in target steps from context tokens.

    It has `depth` blocks; its width is `ratio` times that of the encoder's tokens, `dim`, rounded
    to whole heads of `HEAD_DIM`, at least one.
    """

    def __init__(self, dim: int, ratio: float, depth: int) -> None:
        super().__init__()
        heads = max(round(ratio * dim / HEAD_DIM), 1)
        self.width = heads * HEAD_DIM
        self.narrow = nn.Linear(dim, self.width)
        self.mask_token = nn.Parameter(torch.empty(self.width))
        self.blocks = nn.ModuleList(Block(self.width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(self.width)
        self.widen = nn.Linear(self.width, dim)
        nn.init.trunc_normal_(self.mask_token, std=MASK_TOKEN_SD)

    def forward(self, tokens: Tensor, context: Tensor, targets: Tensor) -> Tensor:
        """Predict every target block of every record, each without the others.

        Context and targets share no step, so a block's sequence keeps the record's steps: context
        tokens and mask tokens in their places, attention to nothing else. Outputs off the target
        steps mean nothing.

        Parameters
        ----------
        tokens
            Shape (batch, step, dim); only those of the context are read.
        context
            Shape (batch, step), boolean.
        targets
            Shape (batch, target, step), boolean.

        Returns
        -------
        Tensor
            Shape (batch, target, step, dim).
        """
        seen = self.narrow(tokens).unsqueeze(1)
        x = torch.where(targets.unsqueeze(-1), self.mask_token.to(seen.dtype), seen).flatten(0, 1)
        x = x + position_codes(x.shape[1], self.width, x.device).to(x.dtype)
        keys = (context.unsqueeze(1) | targets).flatten(0, 1)[:, None, None]
        for layer in self.blocks:
            x = layer(x, keys)
        out: Tensor = self.widen(self.norm(x))
        return out.view(*targets.shape, -1)


def multi_block(
    batch: int, steps: int, params: JepaParams, generator: Generator
) -> tuple[Tensor, Tensor]:
    """Draw the context and the target blocks of each record.

    They share no step, and every record has at least one step of each.

    Parameters
    ----------
    batch, steps
        Records and steps per record, at least 2.
    params
        Number and lengths of the blocks.
    generator
        Source of the draws, whose number depends on nothing that is drawn.

    Returns
    -------
    context
        Shape (batch, step), boolean.
    targets
        Shape (batch, target, step), boolean.
    """
    count = params.targets
    targets = block(batch * count, steps, params.target_scale, generator).view(batch, count, steps)
    covered = targets.any(dim=1)
    context = block(batch, steps, params.context_scale, generator) & ~covered
    draw = torch.rand((batch, steps), generator=generator, device=generator.device)
    spare = F.one_hot((draw + ~covered).argmax(dim=1), steps).bool()
    spare &= ~context.any(dim=1, keepdim=True)
    return context | spare, targets & ~spare.unsqueeze(1)
