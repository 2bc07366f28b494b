import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save_file

from ecgscale import encoders
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import WEIGHTS
from ecgscale.encoders.card import CardOrigin, imported_card
from ecgscale.encoders.net1d import SIZES, BatchNorm, Block, Net1dSize, SameConv1d
from ecgscale.errors import BadInputError


def parameters(size: str, in_channels: int, batch_norm: bool = False) -> int:
    with torch.device("meta"):
        encoder = encoders.create(
            "net1d", size=size, in_channels=in_channels, batch_norm=batch_norm
        )
    return sum(parameter.numel() for parameter in encoder.parameters())


@pytest.mark.parametrize(
    ("size", "published", "never_applied"),
    [
        ("small", 447_792, 4_608),
        ("medium", 30_654_000, 66_368),
        ("large", 296_623_360, 322_048),
    ],
)
def test_parameter_count_is_the_published_one_without_the_dead_batch_norms(
    size, published, never_applied
):
    spec = SIZES[size]
    dead = 2 * spec.base
    channels = spec.base
    for filters, count in zip(spec.filters, spec.blocks, strict=True):
        for _ in range(count):
            dead += 2 * (channels + 2 * int(filters * spec.ratio))
            channels = filters
    assert dead == never_applied
    assert parameters(size, in_channels=1) == published - dead
    first = 2 * spec.base
    assert parameters(size, in_channels=1, batch_norm=True) == published - first


@pytest.mark.parametrize(
    ("size", "figures"),
    [
        ("small", ("447,792", "4,608", "443,184")),
        ("medium", ("30,654,000", "66,368", "30,587,632")),
        ("large", ("296,623,360", "322,048", "296,301,312")),
    ],
)
def test_the_card_states_the_published_count_beside_ours(size, figures):
    with torch.device("meta"):
        encoder = encoders.create("net1d", size=size, in_channels=1)
    origin = CardOrigin("file", "0", "clef", "CLEF", 1, {"queue": 1}, "nothing", "Nobody says.")
    card = imported_card("models/external/x", encoder, origin, Recipe())
    for figure in figures:
        assert figure in card
    assert f"`net1d`, {figures[-1]} parameters" in card


def test_sizes_made_here_have_no_published_count():
    assert encoders.create("net1d", size="tiny").published == ""


def test_tiny_is_tiny():
    assert 10_000 < parameters("tiny", in_channels=12) < 30_000


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 80),
    kernel=st.integers(1, 17),
    stride=st.integers(1, 5),
)
def test_same_convolution_matches_a_sum_over_an_explicitly_padded_signal(length, kernel, stride):
    torch.manual_seed(0)
    conv = SameConv1d(2, 4, kernel, stride, groups=2).double()
    x = torch.randn(3, 2, length, dtype=torch.float64)
    steps = math.ceil(length / stride)
    total = max(0, (steps - 1) * stride + kernel - length)
    before = total // 2
    padded = torch.zeros(3, 2, before + length + (total - before), dtype=torch.float64)
    padded[:, :, before : before + length] = x
    expected = torch.zeros(3, 4, steps, dtype=torch.float64)
    for out in range(4):
        for step in range(steps):
            window = padded[:, out // 2, step * stride : step * stride + kernel]
            expected[:, out, step] = window @ conv.weight[out, 0].detach() + conv.bias[out].detach()
    torch.testing.assert_close(conv(x).detach(), expected)


def block_reference(block: Block, x: torch.Tensor) -> torch.Tensor:
    def swish(value: torch.Tensor) -> torch.Tensor:
        return value * torch.sigmoid(value)

    def norm(name: str, value: torch.Tensor) -> torch.Tensor:
        layer = getattr(block, name)
        if isinstance(layer, torch.nn.Identity):
            return value
        scale = layer.weight / torch.sqrt(layer.running_var + 1e-5)
        return (value - layer.running_mean[:, None]) * scale[:, None] + layer.bias[:, None]

    out = block.reduce(swish(norm("reduce_norm", x)) if block.activate_first else x)
    out = block.mix(swish(norm("mix_norm", out)))
    out = block.expand(swish(norm("expand_norm", out)))
    gate = torch.sigmoid(block.excite(swish(block.squeeze(out.mean(2)))))
    steps = out.shape[2]
    shortcut = torch.zeros_like(out)
    first = (out.shape[1] - x.shape[1]) // 2
    for channel in range(x.shape[1]):
        for step in range(steps):
            window = x[:, channel, step * block.stride : (step + 1) * block.stride]
            if window.shape[1] < block.stride:
                window = F.pad(window, (0, block.stride - window.shape[1]))
            shortcut[:, first + channel, step] = window.max(dim=1).values
    return shortcut + out * gate[:, :, None]


@pytest.mark.parametrize("length", [10, 11])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("activate_first", [True, False])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_block_matches_the_published_description(length, stride, activate_first, batch_norm):
    torch.manual_seed(0)
    size = Net1dSize(4, (8,), (1,), 0.5, 4, kernel=5)
    block = Block(5, 8, size, stride, activate_first, batch_norm).double().eval()
    norms = [layer for layer in block.modules() if isinstance(layer, BatchNorm)]
    assert len(norms) == (2 + activate_first if batch_norm else 0)
    for layer in norms:
        for positive in (layer.weight, layer.running_var):
            torch.nn.init.uniform_(positive, 0.5, 1.5)
        for any_sign in (layer.bias, layer.running_mean):
            torch.nn.init.normal_(any_sign)
    x = torch.randn(2, 5, length, dtype=torch.float64)
    torch.testing.assert_close(block(x), block_reference(block, x))


def test_groups_are_group_width_output_channels_wide():
    encoder = encoders.create("net1d", size="small")
    assert [block.mix.groups for block in encoder.blocks] == [4, 8, 8, 8, 16, 16, 16, 16, 32, 32]


@pytest.mark.parametrize("size", ["tiny", "small"])
@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("length", [1, 37, 250, 1000])
def test_takes_any_leads_and_any_length(size, leads, length):
    encoder = encoders.create("net1d", size=size, in_channels=leads)
    x = torch.randn(2, leads, length)
    tokens = encoder(x)
    spec = SIZES[size]
    steps = math.ceil(length / spec.stem_stride)
    for _ in spec.filters:
        steps = math.ceil(steps / 2)
    assert tokens.shape == (2, steps, spec.filters[-1])
    torch.testing.assert_close(encoder.embed(x), tokens.mean(dim=1))


@pytest.mark.parametrize("size", ["tiny", "small", "medium"])
def test_neither_activations_nor_gradients_vanish_or_explode_at_the_start(size):
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size=size)
    x = torch.randn(8, 12, 500).cumsum(dim=-1)
    x = (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)
    embedding = encoder.embed(x)
    assert 0.3 < encoder(x).std() < 3
    assert embedding.std(dim=0).mean() > 0.05
    direction = F.normalize(torch.randn(encoder.embed_dim), dim=0)
    (F.normalize(embedding, dim=1) @ direction).square().sum().backward()
    norms = [p.grad.norm() / p.detach().norm() for p in encoder.parameters() if p.ndim > 1]
    assert min(norms) > 1e-7
    assert max(norms) < 10


def test_the_order_of_leads_matters():
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size="tiny")
    x = torch.randn(2, 12, 300)
    assert not torch.allclose(encoder.embed(x), encoder.embed(x.flip(1)))


def test_a_missing_running_statistic_is_not_filled_in(tmp_path):
    encoder = encoders.create("net1d", size="tiny", batch_norm=True)
    encoders.save(encoder, tmp_path, {"digest": "0"}, "card")
    weights = load((tmp_path / WEIGHTS).read_bytes())
    assert not [key for key in weights if "num_batches" in key]
    del weights["stem_norm.running_var"]
    save_file(weights, tmp_path / WEIGHTS)
    with pytest.raises(BadInputError, match=r"stem_norm\.running_var"):
        encoders.load(tmp_path)


def test_batch_norm_follows_the_data_in_training_only():
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size="tiny", in_channels=1, batch_norm=True)
    x = torch.randn(8, 1, 320)
    encoder.eval()(x)
    assert (encoder.stem_norm.running_mean == 0).all()
    one, all_of_them = encoder.train().embed(x[:2]), encoder.embed(x)[:2]
    assert not torch.allclose(one, all_of_them)
    assert (encoder.stem_norm.running_mean != 0).all()


def test_unknown_size_is_bad_input():
    with pytest.raises(BadInputError, match=r"net1d.*size"):
        encoders.create("net1d", size="huge")
