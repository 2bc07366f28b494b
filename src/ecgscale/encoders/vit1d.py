"""Vit1d: a transformer over patches of an ECG, all leads of a patch in one token."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.encoders.base import EncoderParams, SequenceEncoder, encoders, outputs

LONGEST_WAVE = 10_000.0
"""Slowest position code: one turn in ``2 * pi * LONGEST_WAVE`` steps (Vaswani et al. 2017)."""


@dataclass(frozen=True)
class Vit1dSize:
    """The numbers of one member of the family."""

    dim: int
    """Width of a token."""
    heads: int
    """Attention heads; they share the width."""
    depth: int
    """Blocks."""
    patch: int
    """Samples a token, unless `Vit1dParams.patch` says otherwise."""


SIZES: dict[str, Vit1dSize] = {
    "tiny": Vit1dSize(64, 4, 4, patch=20),
    "small": Vit1dSize(384, 6, 12, patch=50),
    "base": Vit1dSize(768, 12, 12, patch=50),
}
"""ViT-S and ViT-B (Touvron et al. 2021, arXiv 2012.12877; Dosovitskiy et al. 2021, arXiv
2010.11929), and `tiny`, made for studies on a CPU at 100 Hz.

Fifty samples are what MERL's public code takes for both at 500 Hz (100 ms). Other ECG transformers
take 75 at 250 Hz (ST-MEM, 300 ms). `tiny` takes 200 ms of 100 Hz."""


class Vit1dParams(EncoderParams):
    """Parameters of `Vit1d`."""

    size: Literal["tiny", "small", "base"] = "tiny"
    patch: int | None = Field(default=None, ge=1)
    """Samples a token; None takes the size's own."""


def position_codes(steps: int, dim: int, device: torch.device | None = None) -> Tensor:
    """Return sinusoidal position codes (Vaswani et al. 2017, arXiv 1706.03762, section 3.5).

    ``code[i, 2 * j] = sin(i * w_j)`` and ``code[i, 2 * j + 1] = cos(i * w_j)`` with
    ``w_j = LONGEST_WAVE ** (-2 * j / dim)``: shape (`steps`, `dim`), the latter even, float32.
    """
    place = torch.arange(steps, device=device, dtype=torch.float32).unsqueeze(1)
    pair = torch.arange(0, dim, 2, device=device, dtype=torch.float32)
    angle = place * LONGEST_WAVE ** (-pair / dim)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


class Attention(nn.Module):
    """Multi-head self-attention, ``softmax(Q K^T / sqrt(dim / heads)) V`` in every head.

    The number of `heads` divides the width of a token, `dim`.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (batch, step, dim) to the same shape; `mask` is (batch, 1, query, key) or None."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Block(nn.Module):
    """Pre-norm transformer block: ``x + attention(norm(x))``, then ``x + mlp(norm(x))``.

    The perceptron is four times as wide as a token.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads)
        self.mlp_norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Map (batch, step, dim) to the same shape; `mask` as in `Attention`."""
        x = x + self.attention(self.attention_norm(x), mask)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


@encoders.register("vit1d")
class Vit1d(SequenceEncoder):
    """Vision transformer in one dimension: patches of all leads, pre-norm blocks.

    A frame is the linear map of one patch, over all leads at once; the last patch is filled up
    with zeros. Blocks are LayerNorm, attention, LayerNorm, perceptron; a last LayerNorm makes the
    tokens. Any number of leads, any length.

    Departures from the ECG transformers published: positions are sinusoids, not a learned table,
    because a table fixes the longest record and a record's crop is much shorter than the record;
    there is no class token, because the embedding of every encoder here is the mean of its tokens;
    no dropout and no stochastic depth.

    Weights start from Glorot's uniform distribution (query, key and value each for themselves) and
    biases at zero, as in the public code of MAE (He et al. 2022, arXiv 2111.06377): unlike a fixed
    standard deviation of 0.02, it suits every width.
    """

    Params: ClassVar[type[EncoderParams]] = Vit1dParams
    reference: ClassVar[str] = (
        "Dosovitskiy et al., ViT, ICLR 2021, arXiv 2010.11929; "
        "for ECG: Na et al., ST-MEM, ICLR 2024, arXiv 2402.09450; Liu et al., MERL, ICML 2024, "
        "arXiv 2403.06659"
    )

    def __init__(self, params: Vit1dParams) -> None:
        super().__init__(params)
        size = SIZES[params.size]
        self.patch = params.patch or size.patch
        self.embed_patch = nn.Conv1d(params.in_channels, size.dim, self.patch, stride=self.patch)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim)
        self.apply(_initialise)

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding."""
        return SIZES[self.params.size].dim

    @property
    def step_samples(self) -> int:
        """Samples per token: the patch."""
        return self.patch

    def frames(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to patch embeddings (batch, step, dim), without positions."""
        padded = F.pad(x, (0, -x.shape[-1] % self.patch))
        out: Tensor = self.embed_patch(padded).transpose(1, 2)
        return out

    def contextualise(self, frames: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Return the output of every block, the last one normalised; see `SequenceEncoder`.

        Invisible steps are nobody's keys but their own: their outputs mean nothing, yet stay
        finite even where a record has no visible step.
        """
        steps = frames.shape[1]
        mask = None
        if visible is not None:
            itself = torch.eye(steps, dtype=torch.bool, device=frames.device)
            mask = (visible[:, None, :] | itself).unsqueeze(1)
        x = frames + position_codes(steps, self.embed_dim, frames.device).to(frames.dtype)
        *states, last = outputs(self.blocks, x, mask)
        return [*states, self.norm(last)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, Attention):
        for weight in module.qkv.weight.data.chunk(3):
            nn.init.xavier_uniform_(weight)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv1d):
        nn.init.xavier_uniform_(module.weight.data.flatten(1))
        assert module.bias is not None
        nn.init.zeros_(module.bias)
