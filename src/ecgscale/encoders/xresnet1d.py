"""XResNet1d: the residual network of the PTB-XL benchmark."""

from itertools import pairwise
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder, EncoderParams, encoders, hide_samples, outputs
from ecgscale.encoders.net1d import BatchNorm

STEM = (32, 32, 64)
"""Output channels of the stem's convolutions; the first one strides by 2."""

MIDDLE = 64
"""Channels inside every block of every stage."""

WIDTH = 256
"""Channels between blocks: four times `MIDDLE`, in every stage."""

KERNEL = 5
"""Samples seen by the stem's convolutions and by the middle one of every block."""

BLOCKS: dict[int, tuple[int, ...]] = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}
"""Blocks of each stage; the first block of every stage but the first halves the length."""


class XResNet1dParams(EncoderParams):
    """Parameters of `XResNet1d`."""

    depth: Literal[50, 101] = 50
    """Convolutions counted as in the two-dimensional ResNets; the benchmark's best is 101."""


class ConvNorm(nn.Sequential):
    """Convolution without bias, then batch norm: (batch, in, n) to (batch, out, ceil(n/stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, bias=False),
            BatchNorm(out_channels),
        )


class Block(nn.Module):
    """Bottleneck block: three normalised convolutions (1, 5, 1) and a shortcut.

    The shortcut is averaged over pairs of samples where the block strides (by 2, in the first block
    of every stage but the first), and projected where the number of channels changes to `WIDTH`.
    """

    def __init__(self, in_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.reduce = ConvNorm(in_channels, MIDDLE, 1)
        self.mix = ConvNorm(MIDDLE, MIDDLE, KERNEL, stride)
        self.expand = ConvNorm(MIDDLE, WIDTH, 1)
        self.project = nn.Identity() if in_channels == WIDTH else ConvNorm(in_channels, WIDTH, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in, n) to (batch, `WIDTH`, ceil(n/stride))."""
        branch = self.expand(F.relu(self.mix(F.relu(self.reduce(x)))))
        if self.stride > 1:
            x = F.avg_pool1d(x, self.stride, ceil_mode=True)
        return F.relu(branch + self.project(x))


@encoders.register("xresnet1d")
class XResNet1d(Encoder):
    """XResNet1d as published: kernel 5, every stage 256 channels wide, batch norm.

    A stem of three convolutions and a max pooling (a quarter of the length remains), then four
    stages of bottleneck blocks, the last three of which halve the length: 32 samples a token. Any
    number of leads, any length.

    The benchmark's code (github.com/helme/ecg_ptbxl_benchmarking) is the source of what its paper
    leaves open. It has the usual widths of 256, 512, 1,024 and 2,048 commented out and uses 256 in
    all stages. It also starts the last batch norm of each block at zero and undoes that before
    training (its `weight_init`), so weights here start as it trains them: normal with variance
    ``2 / fan_in`` (He et al. 2015, arXiv 1502.01852), batch norm at scale 1 and shift 0.

    The embedding is the mean of the tokens; the published classifier takes the maximum over time
    as well (512 features).

    Raises
    ------
    BadInputError
        By `create`, for a `depth` that does not exist.
    """

    Params: ClassVar[type[EncoderParams]] = XResNet1dParams
    reference: ClassVar[str] = (
        "Strodthoff et al., Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL, "
        "IEEE JBHI 2021, arXiv 2004.13701 (after He et al., Bag of Tricks, arXiv 1812.01187)"
    )

    def __init__(self, params: XResNet1dParams) -> None:
        super().__init__(params)
        widths = (params.in_channels, *STEM)
        self.stem = nn.ModuleList(
            ConvNorm(before, after, KERNEL, stride=1 if index else 2)
            for index, (before, after) in enumerate(pairwise(widths))
        )
        strides = [
            2 if stage and not index else 1
            for stage, count in enumerate(BLOCKS[params.depth])
            for index in range(count)
        ]
        self.blocks = nn.ModuleList(
            Block(WIDTH if index else STEM[-1], stride) for index, stride in enumerate(strides)
        )
        self.apply(_initialise)

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding."""
        return WIDTH

    @property
    def step_samples(self) -> int:
        """Samples per token."""
        return 32

    def hidden_states(
        self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None
    ) -> list[Tensor]:
        """Return the output of every block; hidden steps are replaced in the input."""
        features = hide_samples(x, mask, fill, self.step_samples)
        for layer in self.stem:
            features = F.relu(layer(features))
        features = F.max_pool1d(features, kernel_size=3, stride=2, padding=1)
        return [state.transpose(1, 2) for state in outputs(self.blocks, features)]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_normal_(module.weight)
