import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from ecgscale.objectives.target import (
    TargetNetwork,
    cosine_momentum,
    linear_momentum,
    masked_mean,
    spread,
    unit_rows,
)


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 2))


def moved(online):
    """Every weight and running statistic changes."""
    other = copy.deepcopy(online)
    with torch.no_grad():
        for value in other.state_dict().values():
            value.add_(1) if value.dtype == torch.int64 else value.mul_(1.5).add_(0.25)
    return other


@pytest.mark.parametrize("momentum", [0.0, 0.3, 0.996, 1.0])
def test_update_is_an_exponential_moving_average_of_weights_and_a_copy_of_buffers(momentum):
    online = network()
    target = TargetNetwork(online)
    theirs = moved(online)
    target.update(theirs, momentum)
    pairs = zip(target.network.parameters(), online.parameters(), theirs.parameters(), strict=True)
    for now, before, source in pairs:
        for i, value in enumerate(now.flatten().tolist()):
            a, b = (float(x.detach().flatten()[i]) for x in (before, source))
            assert value == pytest.approx(momentum * a + (1 - momentum) * b, abs=1e-6)
    for now, source in zip(target.network.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(now, source)


def test_a_network_without_weights_can_be_followed():
    target = TargetNetwork(nn.Identity())
    target.update(nn.Identity(), 0.9)
    assert torch.equal(target.network(torch.ones(2)), torch.ones(2))


def test_the_copy_takes_no_gradient_and_leaves_the_online_network_alone():
    online = network()
    before = copy.deepcopy(online.state_dict())
    target = TargetNetwork(online)
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in online.parameters())
    target.update(moved(online), 0.5)
    assert all(torch.equal(value, before[key]) for key, value in online.state_dict().items())


def test_dropout_is_off_and_batch_norm_keeps_to_the_mode():
    online = network().train()
    target = TargetNetwork(online)
    x = torch.randn(64, 3)
    assert torch.equal(target.network(x), target.network(x))
    training = target.network(x)
    target.eval()
    assert not torch.allclose(target.network(x), training)
    target.train()
    torch.testing.assert_close(target.network(x), training)
    assert not TargetNetwork(network().eval()).network[1].training


def test_dropout_inside_attention_is_off_too():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True).train()
    target = nn.ModuleList([TargetNetwork(layer)]).train()[0]
    x = torch.randn(2, 5, 8)
    assert not torch.equal(layer(x), layer(x))
    assert torch.equal(target.network(x), target.network(x))


def test_state_makes_a_round_trip():
    target, other = TargetNetwork(network(0)), TargetNetwork(network(1))
    other.load_state_dict(copy.deepcopy(target.state_dict()))
    assert all(torch.equal(v, target.state_dict()[k]) for k, v in other.state_dict().items())


def test_cosine_momentum_rises_from_its_start_to_one():
    for step in range(11):
        expected = 1 - (1 - 0.996) * (math.cos(math.pi * step / 10) + 1) / 2
        assert cosine_momentum(0.996, step / 10) == pytest.approx(expected)
    assert cosine_momentum(0.996, 0.0) == pytest.approx(0.996)
    assert cosine_momentum(0.996, 0.5) == pytest.approx(0.998)
    assert cosine_momentum(0.996, 1.0) == 1.0


def test_linear_momentum_rises_to_its_end_and_stays():
    assert linear_momentum(0.9, 1.0, 0.0) == pytest.approx(0.9)
    assert linear_momentum(0.9, 1.0, 0.25, anneal=0.5) == pytest.approx(0.95)
    assert linear_momentum(0.9, 1.0, 0.5, anneal=0.5) == 1.0
    assert linear_momentum(0.9, 1.0, 0.9, anneal=0.5) == 1.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 99), share=st.sampled_from([0.0, 0.3, 1.0]))
def test_masked_mean_matches_a_loop(seed, share):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    mask = torch.rand(3, 4, generator=generator) < share
    kept = [v for v, m in zip(values.flatten().tolist(), mask.flatten().tolist(), strict=True) if m]
    assert float(masked_mean(values, mask)) == pytest.approx(sum(kept) / max(len(kept), 1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_rows_have_length_one_in_at_least_float32(dtype):
    unit = unit_rows(torch.randn(5, 7).to(dtype))
    assert unit.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    for row in unit.tolist():
        assert sum(value**2 for value in row) == pytest.approx(1, abs=1e-6)


def test_spread_is_nothing_for_equal_rows_and_one_for_rows_all_around():
    generator = torch.Generator().manual_seed(0)
    around = unit_rows(torch.randn(5000, 16, generator=generator))
    assert float(spread(around)) == pytest.approx(1, abs=0.02)
    assert float(spread(around[:1].expand(10, -1))) == pytest.approx(0, abs=1e-6)
    few = around[:6].tolist()
    columns = list(zip(*few, strict=True))
    means = [sum(column) / 6 for column in columns]
    sds = [
        math.sqrt(sum((value - mean) ** 2 for value in column) / 6)
        for column, mean in zip(columns, means, strict=True)
    ]
    assert float(spread(around[:6])) == pytest.approx(sum(sds) / 16 * 4, rel=1e-5)
