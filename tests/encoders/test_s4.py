import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders
from ecgscale.encoders.s4 import SIZES, S4Layer, S4Params, StateSpace, StemConv
from ecgscale.errors import BadInputError


def create(seed=0, **params):
    torch.manual_seed(seed)
    return encoders.create("s4", **params).eval()


def signal(leads=3, length=130, records=2, seed=1):
    return torch.randn(records, leads, length, generator=torch.Generator().manual_seed(seed))


def states_of(system):
    """The discrete system of every feature: decay factors, input and output weights."""
    eigenvalue = -np.exp(system.log_decay.double().numpy()) + 1j * system.frequency.double().numpy()
    step = np.exp(system.log_step.double().numpy())[:, None]
    factor = np.exp(step * eigenvalue)
    weight = system.output.detach().double().numpy()
    return factor, (factor - 1) / eigenvalue, weight[..., 0] + 1j * weight[..., 1]


def recurrence(system, u):
    """Run the state space step by step; the reversed direction reads only later steps."""
    factor, entry, weight = states_of(system)
    batch, features, length = u.shape
    y = u * system.skip.detach().double().numpy()[:, None]
    for record in range(batch):
        for feature in range(features):
            state = np.zeros(factor.shape[1], dtype=complex)
            for k in range(length):
                state = factor[feature] * state + entry[feature] * u[record, feature, k]
                y[record, feature, k] += 2 * (weight[0, feature] @ state).real
            if len(weight) > 1:
                state = np.zeros(factor.shape[1], dtype=complex)
                for k in reversed(range(length)):
                    y[record, feature, k] += 2 * (weight[1, feature] @ state).real
                    state = factor[feature] * state + entry[feature] * u[record, feature, k]
    return y


@settings(max_examples=12, deadline=None)
@given(
    length=st.integers(1, 70),
    state=st.sampled_from([2, 8, 16]),
    bidirectional=st.booleans(),
    seed=st.integers(0, 99),
)
def test_the_convolution_is_the_recurrence_step_by_step(length, state, bidirectional, seed):
    torch.manual_seed(seed)
    system = StateSpace(3, state, bidirectional, train_dynamics=False)
    u = torch.randn(2, 3, length)
    expected = recurrence(system, u.double().numpy())
    np.testing.assert_allclose(system(u).detach().numpy(), expected, rtol=1e-4, atol=1e-4)


def test_a_long_kernel_stays_exact_in_single_precision():
    torch.manual_seed(0)
    system = StateSpace(4, 8, bidirectional=False, train_dynamics=False)
    u = torch.randn(1, 4, 2500)
    expected = recurrence(system, u.double().numpy())
    np.testing.assert_allclose(system(u).detach().numpy(), expected, rtol=1e-3, atol=1e-3)


def test_zero_order_hold_is_exact_for_a_constant_input():
    """y(t) = 2 Re sum c (e^{a t} - 1) / a is the continuous system's answer to a step."""
    torch.manual_seed(0)
    system = StateSpace(3, 8, bidirectional=False, train_dynamics=False).double()
    answer = (system(torch.ones(1, 3, 40, dtype=torch.float64)) - system.skip[:, None])[0].detach()
    eigenvalue = torch.complex(-system.log_decay.exp(), system.frequency)
    weight = torch.view_as_complex(system.output.detach())[0]
    for k in range(40):
        time = (k + 1) * system.log_step.exp()[:, None]
        expected = 2 * (weight * (torch.exp(eigenvalue * time) - 1) / eigenvalue).sum(-1).real
        torch.testing.assert_close(answer[:, k], expected)


def test_the_eigenvalues_start_at_s4d_inv_and_the_steps_in_their_range():
    system = StateSpace(500, 8, bidirectional=False, train_dynamics=False)
    assert torch.allclose(system.log_decay.exp(), torch.tensor(0.5))
    for n in range(4):
        expected = 8 / math.pi * (8 / (2 * n + 1) - 1)
        assert system.frequency[7, n] == pytest.approx(expected, rel=1e-5)
    step = system.log_step.exp()
    assert 1e-3 <= step.min() < 2e-3
    assert 5e-2 < step.max() <= 1e-1


def test_dynamics_are_kept_or_trained_as_asked():
    fixed, trained = create(), create(train_dynamics=True)
    keys = {"log_step", "log_decay", "frequency"}
    assert not keys & {key.split(".")[-1] for key, _ in fixed.named_parameters()}
    assert keys <= {key.split(".")[-1] for key, _ in trained.named_parameters()}
    assert set(fixed.state_dict()) == set(trained.state_dict())
    trained(signal(12)).square().mean().backward()
    for key, parameter in trained.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@settings(max_examples=40, deadline=None)
@given(length=st.integers(1, 40), stride=st.integers(1, 5))
def test_a_stem_convolution_sees_its_step_and_the_samples_just_before(length, stride):
    torch.manual_seed(0)
    layer = StemConv(2, 3, stride, bias_sd=1.0).double()
    x = torch.randn(1, 2, length, dtype=torch.float64)
    steps = math.ceil(length / stride)
    out = torch.zeros(1, 3, steps, dtype=torch.float64)
    for step in range(steps):
        for tap in range(2 * stride - 1):
            place = step * stride - (stride - 1) + tap
            if 0 <= place < length:
                out[0, :, step] += layer.conv.weight.detach()[:, :, tap] @ x[0, :, place]
    out += layer.conv.bias.detach()[:, None]
    out = (out - out.mean(1, keepdim=True)) / (
        out.var(1, keepdim=True, unbiased=False) + 1e-5
    ) ** 0.5
    torch.testing.assert_close(layer(x).detach(), out.clamp(min=0))


def test_a_layer_is_the_published_post_norm_block():
    torch.manual_seed(0)
    layer = S4Layer(6, S4Params()).double().eval()
    x = torch.randn(2, 9, 6, dtype=torch.float64)
    y = layer.states(x.transpose(1, 2)).transpose(1, 2)
    y = y * 0.5 * (1 + torch.erf(y / 2**0.5))
    value, gate = (y @ layer.mix.weight.T + layer.mix.bias).chunk(2, dim=-1)
    total = x + value * torch.sigmoid(gate)
    centred = total - total.mean(-1, keepdim=True)
    expected = centred / (total.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)


def test_dropout_hides_a_feature_of_a_record_at_all_its_steps():
    torch.manual_seed(0)
    layer = S4Layer(64, S4Params(dropout=0.5))
    dropped = layer.dropout(torch.ones(8, 64, 20))
    assert (dropped == dropped[..., :1]).all()
    assert 0.3 < (dropped == 0).double().mean() < 0.7


def dependence(encoder, length, step):
    """Largest slope of token `step` with respect to each sample."""
    x = signal(length=length, records=1).double().requires_grad_()
    encoder(x)[0, step].square().sum().backward()
    return x.grad.abs().amax(dim=(0, 1))


@pytest.mark.parametrize("strides", [None, (2, 1, 1, 1), (3, 2)])
def test_a_causal_token_depends_on_no_sample_of_a_later_step(strides):
    encoder = create(in_channels=3, bidirectional=False, strides=strides).double()
    assert encoder.causal
    samples = encoder.step_samples
    length = 8 * samples + 1
    for step in (0, 3, 8):
        slope = dependence(encoder, length, step)
        end = (step + 1) * samples
        assert slope[:end].min() > 1e-8
        assert (slope[end:] < 1e-12).all()


def test_changing_later_samples_changes_no_earlier_token_and_no_earlier_frame():
    encoder = create(in_channels=3, bidirectional=False)
    x = signal(length=200)
    changed = x.clone()
    changed[..., 120:] += 10 * torch.randn(2, 3, 80)
    assert torch.equal(encoder.frames(changed)[:, :12], encoder.frames(x)[:, :12])
    torch.testing.assert_close(encoder(changed)[:, :12], encoder(x)[:, :12], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(encoder(changed)[:, 12], encoder(x)[:, 12], atol=0.1)


def test_a_bidirectional_token_depends_on_the_whole_record():
    encoder = create(in_channels=3).double()
    assert not encoder.causal
    for step in (0, 4, 8):
        assert dependence(encoder, 85, step).min() > 1e-8


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("leads", [1, 2, 12])
@pytest.mark.parametrize("length", [1, 10, 37, 1000])
def test_takes_any_leads_and_any_length(leads, length, bidirectional):
    encoder = create(in_channels=leads, bidirectional=bidirectional)
    x = signal(leads, length)
    states = encoder.hidden_states(x)
    steps = math.ceil(length / 10)
    assert encoder.n_steps(length) == steps
    assert [state.shape for state in states] == [(2, steps, 64)] * SIZES["tiny"].depth
    torch.testing.assert_close(encoder.embed(x), states[-1].mean(dim=1))


def test_hidden_frames_are_zero_or_the_fill():
    encoder = create(in_channels=3)
    x, fill = signal(length=70), torch.randn(encoder.mask_dim)
    mask = torch.zeros(2, 7, dtype=torch.bool)
    mask[0, 4] = True
    for stand_in, value in ((None, torch.zeros(64)), (fill, fill)):
        frames = encoder.frames(x).clone()
        frames[0, 4] = value
        expected = encoder.contextualise(frames)[-1]
        torch.testing.assert_close(encoder(x, mask, stand_in), expected)


def test_the_state_space_keeps_single_precision_under_autocast():
    torch.manual_seed(0)
    system = StateSpace(4, 8, bidirectional=True, train_dynamics=False)
    u = torch.randn(2, 4, 300).bfloat16()
    expected = system(u.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = system(u)
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_bf16_autocast_gives_nearly_the_tokens_of_fp32():
    encoder = create(in_channels=3)
    x = signal(length=500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = encoder(x)
    exact = encoder(x)
    assert F.cosine_similarity(rounded.float(), exact, dim=-1).min() > 0.99


@pytest.mark.parametrize("leads", [1, 12])
def test_the_amplitude_of_a_record_is_not_normalised_away(leads):
    encoder = create(in_channels=leads)
    x = signal(leads, 500, records=8)
    small, large = encoder.embed(x), encoder.embed(3 * x)
    assert (small - large).norm() > 0.2 * small.norm()


@pytest.mark.parametrize("leads", [1, 12])
def test_activations_are_of_order_one_at_the_start(leads):
    encoder = create(in_channels=leads)
    x = signal(leads, 500, records=16)
    assert 0.3 < encoder.frames(x).std() < 3
    assert encoder.embed(x).std(dim=0).mean() > 0.03


def parameters(**params):
    with torch.device("meta"):
        encoder = encoders.create("s4", **params)
    return sum(p.numel() for p in encoder.parameters())


@pytest.mark.parametrize("bidirectional", [True, False])
def test_base_has_the_published_parameters_and_the_biases_of_its_stem(bidirectional):
    # Counted from the public code: stem without biases, per layer C, D, the gated linear map and
    # LayerNorm; eigenvalues, input weights and steps are not trained there.
    stem = 12 * 3 * 512 + 3 * 512 * 512 + 4 * 2 * 512
    output = (1 + bidirectional) * 512 * 4 * 2
    layer = output + 512 + 512 * 1024 + 1024 + 2 * 512
    published = stem + 4 * layer
    assert published == (2_949_120 if bidirectional else 2_932_736)
    assert parameters(size="base", bidirectional=bidirectional) == published + 4 * 512


def test_tiny_is_tiny():
    assert parameters() < 50_000


@pytest.mark.parametrize(
    "params", [{"size": "huge"}, {"state": 7}, {"dropout": 1.0}, {"strides": ()}, {"strides": (0,)}]
)
def test_bad_parameters_are_bad_input(params):
    with pytest.raises(BadInputError, match=rf"s4.*{next(iter(params))}"):
        encoders.create("s4", **params)
