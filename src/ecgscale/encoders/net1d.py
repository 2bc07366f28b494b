"""Net1D: the one-dimensional ResNeXt with squeeze-and-excitation of ECGFounder and CLEF."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder, EncoderParams, encoders, hide_samples, outputs
from ecgscale.encoders.kernels import grouped_conv1d, max_pool_pairs

SWISH_GAIN = 1.677
"""Keeps the second moment through Swish: ``E[swish(z)^2] ** -0.5`` for z ~ N(0, 1)."""


@dataclass(frozen=True)
class Net1dSize:
    """The numbers of one member of the family."""

    base: int
    """Output channels of the stem."""
    filters: tuple[int, ...]
    """Output channels of each stage; the last is the width of the embedding."""
    blocks: tuple[int, ...]
    """Blocks of each stage; the first block of every stage halves the length."""
    ratio: float
    """Bottleneck channels per output channel."""
    group_width: int
    """Output channels per group of the middle convolution."""
    kernel: int = 16
    """Samples seen by the stem and by every middle convolution."""
    stem_stride: int = 2
    """Stride of the stem."""


SIZES: dict[str, Net1dSize] = {
    "tiny": Net1dSize(16, (16, 32, 64, 64), (1, 1, 1, 1), 0.5, 16, kernel=8, stem_stride=4),
    "small": Net1dSize(32, (32, 64, 64, 128, 128, 256), (1, 1, 2, 2, 2, 2), 0.5, 8),
    "medium": Net1dSize(64, (64, 160, 160, 400, 400, 1024, 1024), (2, 2, 2, 3, 3, 4, 4), 1.0, 16),
    "large": Net1dSize(
        128,
        (128, 256, 256, 512, 512, 1024, 1024, 2048, 2048),
        (2, 3, 3, 4, 4, 5, 5, 6, 6),
        1.5,
        32,
    ),
}
"""CLEF-S, -M and -L as published, and `tiny`, made for studies on a CPU at 100 Hz.

`tiny` is what measurement left: one group per 16 channels (more groups are slower on a CPU), a
stem that strides by 4 because most of the time goes into the longest features, and a token that
sees 4.3 s at 100 Hz."""


PUBLISHED_COUNTS: dict[str, tuple[int, int]] = {
    "small": (447_792, 4_608),
    "medium": (30_654_000, 66_368),
    "large": (296_623_360, 322_048),
}
"""Parameters of the published networks with one input lead and without a head; of them, in
batch-norm layers. The published code always creates those layers and CLEF never applies them."""


class Net1dParams(EncoderParams):
    """Parameters of `Net1d`."""

    size: Literal["tiny", "small", "medium", "large"] = "small"
    batch_norm: bool = False
    """Whether batch norm stands before every activation. CLEF is trained without."""


class SameConv1d(nn.Conv1d):
    """Convolution with TensorFlow's SAME padding: (batch, in, n) to (batch, out, ceil(n/stride)).

    The padding depends on the length, and its odd sample goes to the right.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad with zeros and convolve."""
        length, kernel, stride = x.shape[-1], self.kernel_size[0], self.stride[0]
        steps = -(-length // stride)
        total = max(0, (steps - 1) * stride + kernel - length)
        left = total // 2
        if self.groups > 1:
            x = F.pad(x, (left, total - left))
            return grouped_conv1d(x, self.weight, self.bias, stride)
        if 2 * left == total:
            return F.conv1d(x, self.weight, self.bias, stride, left, groups=self.groups)
        x = F.pad(x, (left, total - left))
        return F.conv1d(x, self.weight, self.bias, stride, groups=self.groups)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm that does not count its batches.

    With a fixed momentum nothing reads the count, it costs a kernel a layer and step, and torch
    quietly fills in a missing one, so loading would not be strict.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.num_batches_tracked = None

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *rest: Any
    ) -> None:
        # The version says that nothing is to be filled in.
        current = {**local_metadata, "version": self._version}
        super()._load_from_state_dict(state_dict, prefix, current, *rest)


class Block(nn.Module):
    """Bottleneck block: three convolutions (1, kernel, 1), squeeze-and-excitation, shortcut.

    The shortcut has no parameters: max-pooled where the block strides, padded with zero channels
    where it widens.

    Parameters
    ----------
    in_channels, out_channels
        Channels before and after.
    size
        Ratio, group width and kernel.
    stride
        2 in the first block of a stage, else 1.
    activate_first
        False in the first block of all, whose input the stem has normalised and activated.
    batch_norm
        Whether batch norm stands before each of the three activations.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        size: Net1dSize,
        stride: int,
        activate_first: bool,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        middle = int(out_channels * size.ratio)
        self.stride = stride
        self.activate_first = activate_first
        self.reduce_norm = _norm(in_channels, batch_norm and activate_first)
        self.reduce = SameConv1d(in_channels, middle, 1)
        self.mix_norm = _norm(middle, batch_norm)
        self.mix = SameConv1d(
            middle, middle, size.kernel, stride, groups=out_channels // size.group_width
        )
        self.expand_norm = _norm(middle, batch_norm)
        self.expand = SameConv1d(middle, out_channels, 1)
        self.squeeze = nn.Linear(out_channels, out_channels // 2)
        self.excite = nn.Linear(out_channels // 2, out_channels)
        self.extra = out_channels - in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in, n) to (batch, out, ceil(n/stride))."""
        branch = self.reduce(F.silu(self.reduce_norm(x)) if self.activate_first else x)
        branch = self.mix(F.silu(self.mix_norm(branch)))
        branch = self.expand(F.silu(self.expand_norm(branch)))
        gate = torch.sigmoid(self.excite(F.silu(self.squeeze(branch.mean(dim=-1)))))
        return torch.addcmul(self._shortcut(x), branch, gate.unsqueeze(-1))

    def _shortcut(self, x: Tensor) -> Tensor:
        if self.stride > 1:
            # An odd last sample is pooled with a zero, not with minus infinity, as published.
            x = max_pool_pairs(F.pad(x, (0, x.shape[-1] % 2)))
        if self.extra:
            before = self.extra // 2
            x = F.pad(x, (0, 0, before, self.extra - before))
        return x


def _norm(channels: int, batch_norm: bool) -> nn.Module:
    return BatchNorm(channels) if batch_norm else nn.Identity()


@encoders.register("net1d")
class Net1d(Encoder):
    """Net1D without dropout; without batch norm as CLEF trains it, or with.

    A convolutional stem, then stages of bottleneck blocks; each stage halves the length. Every
    activation is Swish, with batch norm before it if `batch_norm` is set. Any number of leads,
    any length.

    The published code creates all batch-norm parameters, whether or not it applies them; here
    those that would not be applied do not exist, so counts are lower than published by exactly
    those (4,608 of 447,792 for `small` with one lead; with `batch_norm` only the first layer of
    the first block, 64).

    Weights start from a normal distribution scaled to keep the second moment through Swish
    (He et al. 2015, arXiv 1502.01852, with Swish's gain) and biases at zero; the last convolution
    of each of n blocks is divided by ``sqrt(n)``, so that the sum over the shortcuts keeps its
    scale at any depth (the idea of Zhang et al. 2019, Fixup, arXiv 1901.09321). There is no
    normalisation layer to make up for torch's default, with which the branches start silent.

    Raises
    ------
    BadInputError
        By `create`, for a `size` that does not exist.
    """

    Params: ClassVar[type[EncoderParams]] = Net1dParams
    reference: ClassVar[str] = (
        "Hong et al., HOLMES, KDD 2020, doi:10.1145/3394486.3403212 (Net1D); "
        "Li et al., ECGFounder, arXiv 2410.04133; CLEF, arXiv 2512.02180"
    )

    def __init__(self, params: Net1dParams) -> None:
        super().__init__(params)
        size = SIZES[params.size]
        self.stem = SameConv1d(params.in_channels, size.base, size.kernel, size.stem_stride)
        self.stem_norm = _norm(size.base, params.batch_norm)
        blocks: list[Block] = []
        channels = size.base
        for filters, count in zip(size.filters, size.blocks, strict=True):
            for index in range(count):
                stride = 2 if index == 0 else 1
                blocks.append(
                    Block(channels, filters, size, stride, bool(blocks), params.batch_norm)
                )
                channels = filters
        self.blocks = nn.Sequential(*blocks)
        self.apply(_initialise)
        for block in blocks:
            block.expand.weight.data.mul_(len(blocks) ** -0.5)

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding: the filters of the last stage."""
        return SIZES[self.params.size].filters[-1]

    @property
    def step_samples(self) -> int:
        """Samples per token: ``stem_stride * 2 ** stages``."""
        size = SIZES[self.params.size]
        return size.stem_stride << len(size.filters)

    @property
    def published(self) -> str:
        """The published parameter count beside ours, a sentence for the model card."""
        if self.params.size not in PUBLISHED_COUNTS:
            return ""
        total, normalising = PUBLISHED_COUNTS[self.params.size]
        if self.params.batch_norm:
            # The published first block has a layer before its first convolution, never applied.
            normalising = 2 * SIZES[self.params.size].base
        return (
            f"The published network of this size has {total:,} parameters with one input lead; "
            f"{normalising:,} of them belong to batch-norm layers that it creates and never "
            f"applies, which do not exist here: {total - normalising:,}."
        )

    def hidden_states(
        self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None
    ) -> list[Tensor]:
        """Return the output of every block; hidden steps are replaced in the input."""
        x = hide_samples(x, mask, fill, self.step_samples)
        features = F.silu(self.stem_norm(self.stem(x)))
        return [state.transpose(1, 2) for state in outputs(self.blocks, features)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv1d, nn.Linear)):
        fan_in = module.weight[0].numel()
        nn.init.normal_(module.weight, std=SWISH_GAIN / fan_in**0.5)
        assert module.bias is not None
        nn.init.zeros_(module.bias)
