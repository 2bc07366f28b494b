import math

import pytest
import torch

from ecgscale import encoders
from ecgscale.encoders.xresnet1d import Block
from ecgscale.errors import BadInputError

STAGES = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


def published_parameters(depth, leads):
    """Count convolutions without bias and batch norms (two parameters a channel)."""
    total = 5 * (leads * 32 + 32 * 32 + 32 * 64) + 2 * (32 + 32 + 64)
    channels = 64
    for stage, count in enumerate(STAGES[depth]):
        for index in range(count):
            total += channels * 64 + 5 * 64 * 64 + 64 * 256 + 2 * (64 + 64 + 256)
            if stage == 0 and index == 0:
                total += 64 * 256 + 2 * 256
            channels = 256
    return total


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("leads", [1, 12])
def test_parameters_and_blocks_are_the_published_ones(depth, leads):
    encoder = encoders.create("xresnet1d", depth=depth, in_channels=leads)
    count = sum(parameter.numel() for parameter in encoder.parameters())
    assert count == published_parameters(depth, leads)
    assert len(encoder.blocks) == sum(STAGES[depth])


@pytest.mark.parametrize("leads", [1, 12])
@pytest.mark.parametrize("length", [33, 250, 1000])
def test_takes_any_leads_and_any_length(leads, length):
    encoder = encoders.create("xresnet1d", in_channels=leads)
    states = encoder.hidden_states(torch.randn(2, leads, length))
    halved = [math.ceil(length / 4)]
    for _ in range(3):
        halved.append(math.ceil(halved[-1] / 2))
    steps = [halved[stage] for stage, count in enumerate(STAGES[50]) for _ in range(count)]
    assert [tuple(state.shape) for state in states] == [(2, n, 256) for n in steps]
    assert steps[-1] == encoder.n_steps(length) == math.ceil(length / 32)


def norm_reference(norm, x):
    mean, var = norm.running_mean[:, None], norm.running_var[:, None]
    return (x - mean) / torch.sqrt(var + 1e-5) * norm.weight[:, None] + norm.bias[:, None]


def conv_reference(conv, x, stride=1):
    """Sum over an explicitly padded signal, one output at a time."""
    out_channels, in_channels, kernel = conv.weight.shape
    before = kernel // 2
    padded = torch.zeros(x.shape[0], in_channels, x.shape[2] + 2 * before, dtype=x.dtype)
    padded[:, :, before : before + x.shape[2]] = x
    steps = math.ceil(x.shape[2] / stride)
    out = torch.zeros(x.shape[0], out_channels, steps, dtype=x.dtype)
    for step in range(steps):
        window = padded[:, :, step * stride : step * stride + kernel]
        out[:, :, step] = torch.einsum("bik,oik->bo", window, conv.weight)
    return out


def layer_reference(layer, x, stride=1):
    conv, norm = layer
    return norm_reference(norm, conv_reference(conv, x, stride))


def block_reference(block, x, stride):
    out = layer_reference(block.reduce, x).clamp(min=0)
    out = layer_reference(block.mix, out, stride).clamp(min=0)
    out = layer_reference(block.expand, out)
    if stride == 2:
        x = torch.stack([x[:, :, i : i + 2].mean(dim=2) for i in range(0, x.shape[2], 2)], dim=2)
    if x.shape[1] != out.shape[1]:
        x = layer_reference(block.project, x)
    return (out + x).clamp(min=0)


def unsettle(module):
    """Give batch norm weights, shifts and running statistics of its own."""
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm1d):
            for tensor in (layer.weight, layer.running_var):
                torch.nn.init.uniform_(tensor, 0.5, 1.5)
            for tensor in (layer.bias, layer.running_mean):
                torch.nn.init.normal_(tensor)
    return module.eval().double()


@torch.no_grad()
@pytest.mark.parametrize(("channels", "stride"), [(64, 1), (256, 1), (256, 2)])
@pytest.mark.parametrize("length", [8, 9])
def test_block_matches_the_published_description(channels, stride, length):
    torch.manual_seed(0)
    block = unsettle(Block(channels, stride))
    x = torch.randn(2, channels, length, dtype=torch.float64)
    torch.testing.assert_close(block(x), block_reference(block, x, stride))


@torch.no_grad()
def test_the_whole_network_matches_the_published_description():
    torch.manual_seed(0)
    encoder = unsettle(encoders.create("xresnet1d", in_channels=2))
    x = torch.randn(1, 2, 75, dtype=torch.float64)
    out = x
    for index, layer in enumerate(encoder.stem):
        out = layer_reference(layer, out, stride=1 if index else 2).clamp(min=0)
    padded = torch.nn.functional.pad(out, (1, 1), value=-math.inf)
    windows = [padded[:, :, i : i + 3] for i in range(0, out.shape[2], 2)]
    out = torch.stack([window.amax(dim=2) for window in windows], dim=2)
    blocks = iter(encoder.blocks)
    for stage, count in enumerate(STAGES[50]):
        for index in range(count):
            out = block_reference(next(blocks), out, stride=2 if stage and not index else 1)
    torch.testing.assert_close(encoder(x), out.transpose(1, 2))


def test_weights_start_as_the_benchmark_trains_them():
    torch.manual_seed(0)
    encoder = encoders.create("xresnet1d")
    for block in encoder.blocks:
        assert block.mix[0].weight.detach().std() == pytest.approx((2 / (64 * 5)) ** 0.5, rel=0.05)
        assert (block.expand[1].weight == 1).all()
        assert (block.expand[1].bias == 0).all()


def test_running_statistics_move_in_training_only():
    encoder = encoders.create("xresnet1d", in_channels=1)
    x = 3 + torch.randn(4, 1, 200)
    norm = encoder.stem[0][1]
    encoder.eval()(x)
    assert (norm.running_mean == 0).all()
    encoder.train()(x)
    assert (norm.running_mean != 0).all()


def test_hidden_steps_are_not_seen():
    torch.manual_seed(0)
    encoder = encoders.create("xresnet1d", in_channels=2).eval()
    x = torch.randn(2, 2, 320)
    mask = torch.zeros(2, 10, dtype=torch.bool)
    mask[:, 3:6] = True
    other = x.clone()
    other[:, :, 3 * 32 : 6 * 32] = 7.0
    assert torch.equal(encoder(x, mask), encoder(other, mask))
    assert not torch.equal(encoder(x), encoder(other))


def test_an_unknown_depth_is_bad_input():
    with pytest.raises(BadInputError, match=r"xresnet1d.*depth"):
        encoders.create("xresnet1d", depth=34)
