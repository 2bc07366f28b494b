"""S4: a convolutional stem and structured state-space layers, the encoder of ECG-CPC."""

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.encoders.base import EncoderParams, SequenceEncoder, encoders, outputs

STEP_RANGE = (1e-3, 1e-1)
"""Time steps at the start, log-uniform in this range (Gu et al. 2022, arXiv 2206.11893)."""


@dataclass(frozen=True)
class S4Size:
    """The numbers of one member of the family."""

    dim: int
    """Width of the stem, of every layer and of a token."""
    depth: int
    """State-space layers."""
    strides: tuple[int, ...]
    """Strides of the stem's convolutions, unless `S4Params.strides` says otherwise."""


SIZES: dict[str, S4Size] = {
    "tiny": S4Size(64, 2, (5, 2, 1, 1)),
    "small": S4Size(256, 4, (2, 1, 1, 1)),
    "base": S4Size(512, 4, (2, 1, 1, 1)),
}
"""`base` as published in the public code of arXiv 2605.12241 (there at 240 Hz: a token is 8 ms),
`small` at half its width, and `tiny`, made for studies on a CPU at 100 Hz (a token is 100 ms)."""


class S4Params(EncoderParams):
    """Parameters of `S4`; published: in the configurations of the public code of 2605.12241."""

    size: Literal["tiny", "small", "base"] = "tiny"
    bidirectional: bool = True
    """Whether a token sees the whole record. Published: True, but False for CPC, which needs it."""
    state: int = Field(default=8, ge=2, multiple_of=2)
    """Real dimensions of a feature's state: half as many complex ones. Published: 8."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Probability that a feature of a record is zero at all its steps. Published: 0.2."""
    strides: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(default=None, min_length=1)
    """Strides of the stem's convolutions; a token covers their product. None: the size's own."""
    train_dynamics: bool = False
    """Whether time steps and eigenvalues are trained. The public code keeps them as they start;
    S4D trains them (with a learning rate of its own, which is not done here)."""


class StemConv(nn.Module):
    """Convolution of kernel ``2 * stride - 1``, LayerNorm over the features, ReLU.

    The kernel reaches ``stride - 1`` samples back, beyond the step, and ends with it: no output
    depends on a sample of a later step. Kernel 3 at stride 2 is the published one. The last step is
    filled up with zeros. The convolution's biases start with the standard deviation `bias_sd`.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, bias_sd: float) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv1d(in_channels, out_channels, 2 * stride - 1, stride)
        self.norm = nn.LayerNorm(out_channels)
        nn.init.normal_(self.conv.weight, std=self.conv.weight[0].numel() ** -0.5)
        assert self.conv.bias is not None
        nn.init.normal_(self.conv.bias, std=bias_sd)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in, n) to (batch, out, ceil(n / stride))."""
        x = self.conv(F.pad(x, (self.stride - 1, -x.shape[-1] % self.stride)))
        return F.relu(self.norm(x.transpose(1, 2)).transpose(1, 2))


class StateSpace(nn.Module):
    r"""Diagonal state space (S4D), one system per feature, computed as a convolution.

    With step :math:`\Delta`, eigenvalues :math:`a_n` (negative real part) and output weights
    :math:`c_n`, zero-order hold gives :math:`\bar a_n = e^{\Delta a_n}` and
    :math:`\bar b_n = (\bar a_n - 1) / a_n` (an input weight would only scale :math:`c_n`). With
    the input :math:`u` and :math:`x_{-1} = 0`

    .. math:: x_{k,n} = \bar a_n x_{k-1,n} + \bar b_n u_k, \qquad
              y_k = 2 \, \mathrm{Re} \sum_n c_n x_{k,n} + d \, u_k

    which is the convolution of :math:`u` with
    :math:`K_l = 2 \, \mathrm{Re} \sum_n c_n \bar b_n \bar a_n^l`, a Vandermonde product (Gu et al.
    2022, arXiv 2206.11893, section 3). The sum is over one of each conjugate pair. A second kernel
    on the reversed input, one step ahead so that no step counts twice, makes it bidirectional.

    Eigenvalues start at S4D-Inv, :math:`a_n = -1/2 + i \, (N / \pi) (N / (2n + 1) - 1)` with N
    real dimensions, the diagonal approximation of the published HiPPO-LegS; steps are log-uniform
    in `STEP_RANGE`; :math:`c_n` is complex normal, :math:`d` normal, as in the public codes.

    Of `dim` features, with N = `state`, even. Steps and eigenvalues are parameters if
    `train_dynamics` says so, otherwise buffers.
    """

    log_step: Tensor
    log_decay: Tensor
    frequency: Tensor

    def __init__(self, dim: int, state: int, bidirectional: bool, train_dynamics: bool) -> None:
        super().__init__()
        pairs = state // 2
        low, high = (math.log(step) for step in STEP_RANGE)
        order = torch.arange(pairs)
        frequency = state / math.pi * (state / (2 * order + 1) - 1)
        dynamics = {
            "log_step": low + (high - low) * torch.rand(dim),
            "log_decay": torch.full((dim, pairs), math.log(0.5)),
            "frequency": frequency.repeat(dim, 1),
        }
        for key, value in dynamics.items():
            if train_dynamics:
                self.register_parameter(key, nn.Parameter(value))
            else:
                self.register_buffer(key, value)
        # Pairs of real numbers, because safetensors and weight decay know no complex ones.
        weights = torch.randn(1 + bidirectional, dim, pairs, 2) / math.sqrt(2)
        self.output = nn.Parameter(weights)
        self.skip = nn.Parameter(torch.randn(dim))

    def kernel(self, length: int) -> Tensor:
        """Return the kernels, (direction, feature, `length`), forward first."""
        eigenvalues = torch.complex(-self.log_decay.exp(), self.frequency)
        exponent = eigenvalues * self.log_step.exp().unsqueeze(-1)
        weights = torch.view_as_complex(self.output) * torch.expm1(exponent) / eigenvalues
        place = torch.arange(length, device=exponent.device)
        powers = torch.exp(exponent.unsqueeze(-1) * place)
        return 2 * torch.einsum("dfn,fnl->dfl", weights, powers).real

    def forward(self, u: Tensor) -> Tensor:
        """Map (batch, feature, step) to the same shape, in the precision of the parameters."""
        length = u.shape[-1]
        # FFTs know no bf16, and a kernel of rounded powers would not decay as it should.
        with torch.autocast(u.device.type, enabled=False):
            u = u.to(self.skip.dtype)
            kernel = self.kernel(length)
            circle = F.pad(kernel[0], (0, length))
            if len(kernel) > 1:
                circle = circle + F.pad(kernel[1].flip(-1), (length, 0))
            spectrum = torch.fft.rfft(u, n=2 * length) * torch.fft.rfft(circle)
            y: Tensor = torch.fft.irfft(spectrum, n=2 * length)[..., :length]
            return y + self.skip.unsqueeze(-1) * u


class S4Layer(nn.Module):
    """State space, GELU, gated linear unit over the features, shortcut, LayerNorm."""

    def __init__(self, dim: int, params: S4Params) -> None:
        super().__init__()
        self.states = StateSpace(dim, params.state, params.bidirectional, params.train_dynamics)
        self.dropout = nn.Dropout1d(params.dropout)
        self.mix = nn.Linear(dim, 2 * dim)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, step, dim) to the same shape."""
        y = self.dropout(F.gelu(self.states(x.transpose(1, 2))))
        y = F.glu(self.mix(y.transpose(1, 2)))
        out: Tensor = self.norm(x + self.dropout(y.transpose(1, 2)).transpose(1, 2))
        return out


@encoders.register("s4")
class S4(SequenceEncoder):
    """Structured state-space encoder: four convolutions, then S4 layers with LayerNorm after each.

    The encoder of arXiv 2605.12241 (ECG-CPC). Any number of leads, any length. Not bidirectional,
    it is causal from end to end: token i depends on no sample of step i + 1 or later, up to the
    rounding of the FFT, so that predicting later frames from it is no cheating.

    Departures from the public code: the state matrix is diagonal (S4D with zero-order hold), where
    it is HiPPO-LegS as diagonal plus low rank with the bilinear rule; and the stem normalises each
    step over its features (an option there), not over the batch, because batch statistics carry
    later samples into a causal token and one record into another, and differ between one process
    and several. As a LayerNorm alone would forget the amplitude of a lone lead, the first
    convolution has biases, normal with the variance that a unit signal gives its outputs.

    With 12 leads the public code trains 2,949,120 parameters bidirectional and 2,932,736 causal;
    `base` has 2,048 more, the biases of its stem.

    Other weights of the stem are normal with variance 1 / fan-in, their biases zero; those of the
    layers start as torch's default.
    """

    Params: ClassVar[type[EncoderParams]] = S4Params
    reference: ClassVar[str] = (
        "Al-Masud et al., Pretraining strategies and scaling for ECG foundation models, "
        "arXiv 2605.12241; Gu et al., S4, ICLR 2022, arXiv 2111.00396; "
        "Gu et al., S4D, NeurIPS 2022, arXiv 2206.11893"
    )

    def __init__(self, params: S4Params) -> None:
        super().__init__(params)
        size = SIZES[params.size]
        self.strides = params.strides or size.strides
        first, *rest = self.strides
        self.stem = nn.Sequential(
            StemConv(params.in_channels, size.dim, first, bias_sd=1.0),
            *(StemConv(size.dim, size.dim, stride, bias_sd=0.0) for stride in rest),
        )
        self.layers = nn.ModuleList(S4Layer(size.dim, params) for _ in range(size.depth))

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding."""
        return SIZES[self.params.size].dim

    @property
    def step_samples(self) -> int:
        """Samples per token: the product of the strides."""
        return math.prod(self.strides)

    @property
    def causal(self) -> bool:
        """Whether a token depends on no later frame."""
        return not self.params.bidirectional

    def frames(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to the stem's outputs (batch, step, dim)."""
        out: Tensor = self.stem(x).transpose(1, 2)
        return out

    def contextualise(self, frames: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Return the output of every layer; invisible frames are zero, so `visible` is not read."""
        return outputs(self.layers, frames)
