"""MAE: hide most steps of a record and reconstruct their samples from the others."""

from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Generator, Tensor, nn

from ecgscale.encoders.base import Encoder
from ecgscale.encoders.vit1d import Block, position_codes
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.masking import MaskedObjective, random_mask
from ecgscale.objectives.search_space import FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import hidden_sd, masked_mean

VARIANCE_FLOOR = 1e-6
"""Added to a patch's variance before the division, as in MAE's public code."""

LEAST_WIDTH = 64
"""Least width of a decoder whose width follows the encoder's."""


class MaeParams(ObjectiveParams):
    """Parameters of `Mae`."""

    mask_ratio: float = Field(default=0.75, gt=0, lt=1)
    """Share of steps hidden. Published: .75 (MAE, figure 5; ST-MEM)."""
    norm_pix_loss: bool = True
    """Whether a step's samples are normalised before they are compared. Published: true is better
    (MAE, table 1d), and ST-MEM's setting."""
    decoder_depth: int = Field(default=4, ge=1)
    """Blocks of the decoder. Published: 8 (MAE), 4 (ST-MEM)."""
    decoder_width: int | None = Field(default=None, ge=2)
    """Width of the decoder; None is half the encoder's, but at least 64. Published: 512 beside an
    encoder of 1,024 (MAE, ViT-L), 256 beside one of 768 (ST-MEM)."""
    decoder_heads: int = Field(default=4, ge=1)
    """Attention heads of the decoder. Published: 16 (MAE), 4 (ST-MEM)."""

    @model_validator(mode="after")
    def _width_fits(self) -> Self:
        width = self.decoder_width
        if width is not None and (width % self.decoder_heads or width % 2):
            raise ValueError(
                f"decoder_width {width} must be even and divisible by decoder_heads "
                f"{self.decoder_heads}"
            )
        return self


@objectives.register("mae")
class Mae(MaskedObjective):
    """Masked autoencoder.

    Of the S steps of a view, ``round(mask_ratio S)`` drawn uniformly are taken away from the
    encoder (at least one, and one stays). A narrow transformer decodes: its input is the linearly
    mapped token of a seen step and one learned mask token for all hidden ones, plus sinusoidal
    positions; its last layer gives the samples of a step in all leads, x^ of shape
    (batch, step, lead * step samples). With x the view's own samples, M the hidden steps of the
    batch and V_t the samples of step t that lie in the record (the last step may be shorter),

        y_t = (x_t - mean(x_t)) / sqrt(var(x_t) + 1e-6)      (x_t itself without `norm_pix_loss`)
        L   = mean_{t in M} mean_{i in V_t} (x^_ti - y_ti)^2

    Mean and (unbiased) variance run over all leads and samples of the step at once, as MAE's run
    over the colours of a patch, and as they do in the public code of ST-MEM's variant with patches
    of all leads (MTAE). ST-MEM itself normalises each lead of a step for itself.

    What is published for images or for transformers meets any encoder here:

    - An encoder with attention computes as if hidden steps were not there. The others see zeros in
      their place: in the frames (S4) or in the samples (CNN), where zero is the mean of a
      normalised lead. Their tokens of hidden steps are not used.
    - A step is a patch of all leads, as in MTAE. ST-MEM hides the patches of each lead on their
      own, embeds leads and decodes lead by lead.
    - The decoder is pre-norm, as published, with default depth and heads of ST-MEM and a width that
      keeps MAE's ratio to the encoder; its linear maps start as torch's do, not from Glorot's
      distribution. It is dropped after pretraining.

    The loss pays for what has the most variance in a step. Where that is baseline wander, as in
    records without a high-pass filter, the encoder learns wander.
    """

    Params: ClassVar[type[ObjectiveParams]] = MaeParams
    reference: ClassVar[str] = (
        "He et al., Masked Autoencoders Are Scalable Vision Learners, CVPR 2022, arXiv 2111.06377; "
        "for ECG: Na et al., ST-MEM, ICLR 2024, arXiv 2402.09450; OpenECG, arXiv 2503.00711"
    )
    searched: ClassVar[SearchSpace] = {
        "params.mask_ratio": FloatRange(0.3, 0.9),
        "params.decoder_depth": IntRange(1, 8),
    }

    def __init__(self, encoder: Encoder, params: MaeParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.step_samples = encoder.step_samples
        heads = params.decoder_heads
        # Rounded up to what the heads can share and sinusoids need.
        even = 2 * heads
        width = params.decoder_width or -(-max(self.embed_dim // 2, LEAST_WIDTH) // even) * even
        self.embed = nn.Linear(self.embed_dim, width)
        self.mask_token = nn.Parameter(torch.empty(width))
        nn.init.normal_(self.mask_token, std=0.02)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(params.decoder_depth))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, encoder.params.in_channels * self.step_samples)

    def draw_mask(self, batch: int, steps: int, generator: Generator) -> Tensor:
        """Return which steps are hidden: `random_mask` of `mask_ratio`."""
        return random_mask(batch, steps, self.params.mask_ratio, generator)

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return L of `Mae`.

        Parts are the share of the hidden samples' mean square that is explained (1 is perfect, 0 a
        reconstruction of zeros), and the standard deviation of the reconstruction over hidden
        steps, mean over samples, which is 0 if all steps get the same.
        """
        view, mask = views["view"], views["mask"]
        prediction = self.decode(encoder(view, mask), mask).float()
        patch, valid = patches(view.float(), self.step_samples)
        if self.params.norm_pix_loss:
            patch = normalise_patches(patch, valid)
        loss = masked_mean(_mean_over_valid((prediction - patch).square(), valid), mask)
        with torch.no_grad():
            energy = masked_mean(_mean_over_valid(patch.square(), valid), mask)
            parts = {
                "explained": 1 - loss / energy.clamp_min(VARIANCE_FLOOR),
                "reconstruction_sd": hidden_sd(prediction, mask),
            }
        return LossOutput(loss, parts)

    def decode(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Reconstruct every step: (batch, step, dim) to (batch, step, lead * step samples).

        Tokens of hidden steps, those where `mask` (batch, step) is true, are not read.
        """
        embedded = self.embed(tokens)
        hidden = self.mask_token.to(embedded.dtype)
        x = torch.where(mask.unsqueeze(-1), hidden, embedded)
        x = x + position_codes(x.shape[1], x.shape[2], x.device).to(x.dtype)
        for block in self.blocks:
            x = block(x, None)
        out: Tensor = self.predict(self.norm(x))
        return out


def patches(signal: Tensor, step_samples: int) -> tuple[Tensor, Tensor]:
    """Cut records into steps.

    Parameters
    ----------
    signal
        Shape (batch, lead, time).
    step_samples
        Samples per step.

    Returns
    -------
    tuple
        The samples of each step, lead after lead, shape (batch, step, lead * step samples), the
        last step filled up with zeros; and which of them lie in the record, boolean, shape
        (step, lead * step samples).
    """
    leads, length = signal.shape[1:]
    missing = -length % step_samples
    cut = F.pad(signal, (0, missing)).view(len(signal), leads, -1, step_samples)
    inside = torch.arange(length + missing, device=signal.device) < length
    return cut.transpose(1, 2).flatten(2), inside.view(-1, step_samples).repeat(1, leads)


def normalise_patches(patch: Tensor, valid: Tensor) -> Tensor:
    """Bring the valid samples of each step to mean 0 and variance 1; arguments as of `patches`.

    The variance is unbiased, with 1e-6 added, as in MAE's public code.
    """
    count = valid.sum(dim=-1, keepdim=True)
    centred = (patch - (patch * valid).sum(dim=-1, keepdim=True) / count) * valid
    variance = centred.square().sum(dim=-1, keepdim=True) / (count - 1).clamp_min(1)
    return centred / (variance + VARIANCE_FLOOR).sqrt()


def _mean_over_valid(values: Tensor, valid: Tensor) -> Tensor:
    return (values * valid).sum(dim=-1) / valid.sum(dim=-1)
