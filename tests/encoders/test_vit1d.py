import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders
from ecgscale.encoders.vit1d import SIZES, Attention, Block, position_codes
from ecgscale.errors import BadInputError


def create(seed=0, **params):
    torch.manual_seed(seed)
    return encoders.create("vit1d", **params)


def signal(leads=3, length=130, records=2, seed=1):
    return torch.randn(records, leads, length, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("size", "published", "embedding"),
    [
        # timm's vit_small_patch16_224 and torchvision's vit_b_16, less their patch embedding,
        # class token, position table and head of 1,000 classes.
        ("small", 22_050_664, 3 * 256 * 384 + 384 + 384 + 197 * 384 + 385_000),
        ("base", 86_567_656, 3 * 256 * 768 + 768 + 768 + 197 * 768 + 769_000),
    ],
)
def test_the_blocks_have_the_published_number_of_parameters(size, published, embedding):
    with torch.device("meta"):
        encoder = encoders.create("vit1d", size=size)
    counted = sum(p.numel() for p in encoder.parameters())
    patch = sum(p.numel() for p in encoder.embed_patch.parameters())
    assert counted - patch == published - embedding


def test_tiny_is_tiny():
    assert sum(p.numel() for p in create().parameters()) < 250_000


@settings(max_examples=30, deadline=None)
@given(steps=st.integers(1, 60), pairs=st.integers(1, 9))
def test_position_codes_are_the_sinusoids_of_their_formula(steps, pairs):
    codes = position_codes(steps, 2 * pairs)
    assert codes.shape == (steps, 2 * pairs)
    for i in range(steps):
        for j in range(pairs):
            angle = i / 10_000 ** (2 * j / (2 * pairs))
            assert codes[i, 2 * j] == pytest.approx(math.sin(angle), abs=1e-5)
            assert codes[i, 2 * j + 1] == pytest.approx(math.cos(angle), abs=1e-5)


def attention_reference(attention, x, mask):
    """Softmax attention with a loop over records, heads and queries."""
    weight = attention.qkv.weight.detach().numpy()
    bias = attention.qkv.bias.detach().numpy()
    batch, steps, dim = x.shape
    width = dim // attention.heads
    mixed = np.zeros((batch, steps, dim))
    for record in range(batch):
        q, k, v = np.split(x[record].numpy() @ weight.T + bias, 3, axis=1)
        for head in range(attention.heads):
            part = slice(head * width, (head + 1) * width)
            for query in range(steps):
                keys = [key for key in range(steps) if mask[record, query, key]]
                scores = np.array([q[query, part] @ k[key, part] for key in keys]) / width**0.5
                share = np.exp(scores) / np.exp(scores).sum()
                mixed[record, query, part] = share @ v[keys, part]
    out = attention.out
    return mixed @ out.weight.detach().numpy().T + out.bias.detach().numpy()


def test_attention_matches_a_loop_over_records_heads_and_queries():
    torch.manual_seed(0)
    attention = Attention(12, 3).double()
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    mask = (torch.rand(2, 5, 5) < 0.5) | torch.eye(5, dtype=torch.bool)
    masked = attention(x, mask.unsqueeze(1)).detach().numpy()
    np.testing.assert_allclose(masked, attention_reference(attention, x, mask.numpy()))
    everything = np.ones((2, 5, 5), dtype=bool)
    free = attention(x, None).detach().numpy()
    np.testing.assert_allclose(free, attention_reference(attention, x, everything))


def test_a_block_is_two_pre_norm_branches_added_to_its_input():
    torch.manual_seed(0)
    block = Block(8, 2).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    middle = x + block.attention(block.attention_norm(x), None)
    wide = block.mlp_norm(middle) @ block.mlp[0].weight.T + block.mlp[0].bias
    assert wide.shape == (2, 5, 32)
    bent = wide * 0.5 * (1 + torch.erf(wide / 2**0.5))
    expected = middle + bent @ block.mlp[2].weight.T + block.mlp[2].bias
    torch.testing.assert_close(block(x, None), expected)


def test_frames_are_a_linear_map_of_every_patch_over_all_leads():
    encoder = create(in_channels=3, patch=20)
    x = signal(length=47)
    padded = torch.zeros(2, 3, 60)
    padded[..., :47] = x
    frames = encoder.frames(x)
    assert frames.shape == (2, 3, 64)
    for step in range(3):
        patch = padded[..., 20 * step : 20 * (step + 1)].flatten(1)
        expected = patch @ encoder.embed_patch.weight.flatten(1).T
        torch.testing.assert_close(frames[:, step], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("length", [1, 20, 37, 1000])
def test_takes_any_leads_and_any_length(leads, length):
    encoder = create(in_channels=leads)
    x = signal(leads, length)
    states = encoder.hidden_states(x)
    steps = math.ceil(length / 20)
    assert encoder.n_steps(length) == steps
    assert [state.shape for state in states] == [(2, steps, 64)] * SIZES["tiny"].depth
    torch.testing.assert_close(encoder.embed(x), states[-1].mean(dim=1))


def test_the_patch_can_be_chosen():
    encoder = create(in_channels=3, patch=13)
    assert encoder.step_samples == 13
    assert encoder(signal(length=130)).shape == (2, 10, 64)


def test_the_tokens_are_the_last_block_normalised():
    encoder = create(in_channels=3)
    torch.testing.assert_close(encoder(signal()).mean(-1), torch.zeros(2, 7), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        encoder(signal()).var(-1, unbiased=False), torch.ones(2, 7), atol=1e-3, rtol=0
    )


def test_hidden_steps_are_as_if_they_were_not_there():
    encoder = create(in_channels=3).double()
    x = signal(length=140).double()
    seen = [0, 2, 3, 6]
    mask = torch.ones(2, 7, dtype=torch.bool)
    mask[:, seen] = False
    left = (encoder.frames(x) + position_codes(7, 64))[:, seen]
    for block in encoder.blocks:
        left = block(left, None)
    torch.testing.assert_close(encoder(x, mask)[:, seen], encoder.norm(left))


def test_a_fill_stands_in_the_place_of_hidden_steps():
    encoder = create(in_channels=3)
    x, fill = signal(length=140), torch.randn(encoder.mask_dim)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 4] = True
    frames = encoder.frames(x).clone()
    frames[0, 4] = fill
    torch.testing.assert_close(encoder(x, mask, fill), encoder.contextualise(frames)[-1])


def test_a_record_that_is_all_hidden_gives_finite_tokens_and_gradients():
    encoder = create(in_channels=3)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[1] = True
    tokens = encoder(signal(length=140), mask)
    assert tokens.isfinite().all()
    tokens.square().mean().backward()
    assert all(p.grad.isfinite().all() for p in encoder.parameters())


def test_the_order_of_patches_and_of_leads_matters():
    encoder = create(in_channels=3)
    x = signal(length=140)
    swapped = torch.cat([x[..., 20:40], x[..., :20], x[..., 40:]], dim=-1)
    assert not torch.allclose(encoder.embed(x), encoder.embed(swapped), atol=1e-3)
    assert not torch.allclose(encoder.embed(x), encoder.embed(x.flip(1)), atol=1e-3)


@pytest.mark.parametrize("leads", [1, 12])
def test_activations_are_of_order_one_at_the_start(leads):
    encoder = create(in_channels=leads)
    x = signal(leads, 500, records=16)
    assert 0.3 < encoder.frames(x).std() < 3
    embedding = encoder.embed(x)
    assert embedding.std(dim=0).mean() > 0.05
    assert all(state.std() < 5 for state in encoder.hidden_states(x))


@pytest.mark.parametrize("params", [{"size": "huge"}, {"patch": 0}])
def test_bad_parameters_are_bad_input(params):
    with pytest.raises(BadInputError, match=rf"vit1d.*{next(iter(params))}"):
        encoders.create("vit1d", **params)
