import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ecgscale.encoders.kernels import grouped_conv1d, max_pool_pairs


def outcome(function, *inputs: Tensor) -> list[Tensor]:
    """The result, then the gradient of every input for a fixed gradient of the result."""
    leaves = [x.clone().requires_grad_() for x in inputs]
    result = function(*leaves)
    generator = torch.Generator().manual_seed(1)
    result.backward(torch.randn(result.shape, generator=generator).to(result.dtype))
    return [result.detach(), *(x.grad for x in leaves)]


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    ("channels", "width", "kernel", "stride", "time"),
    [(32, 4, 16, 2, 264), (16, 8, 8, 1, 100), (64, 16, 16, 2, 72), (32, 4, 16, 1, 17)],
)
def test_grouped_convolution_and_its_gradients_are_torchs_own(
    channels: int, width: int, kernel: int, stride: int, time: int, autocast: bool
) -> None:
    torch.manual_seed(0)
    inputs = (
        torch.randn(5, channels, time),
        torch.randn(channels, width, kernel),
        torch.randn(channels),
    )
    groups = channels // width
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ours = outcome(lambda x, w, b: grouped_conv1d(x, w, b, stride), *inputs)
        theirs = outcome(lambda x, w, b: F.conv1d(x, w, b, stride, groups=groups), *inputs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype
        tolerance = 0.01 if autocast else 0.0
        assert (a - b).abs().max() <= tolerance * b.abs().max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pooling_is_torchs_own_bit_by_bit_ties_included(dtype: torch.dtype) -> None:
    x = (2 * torch.randn(3, 4, 30, generator=torch.Generator().manual_seed(0))).round().to(dtype)
    ours = outcome(max_pool_pairs, x)
    theirs = outcome(lambda x: F.max_pool1d(x, 2), x)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
