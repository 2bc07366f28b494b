import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.distributed import rank, world_size
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from support.processes import in_two_processes

CLEF_BASELINE = {"projector_dim": 0, "momentum_schedule": "constant", "hidden_dim": 32}

TOY = {"params": {"momentum": 0.97}, "lr": 5e-3}


def create(seed=0, **params):
    torch.manual_seed(seed)
    encoder = encoders.create("net1d", size="tiny", in_channels=2)
    return encoder, objectives.create("byol", encoder, **params)


def views_of(records=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "first": torch.randn(records, 2, 200, generator=generator),
        "second": torch.randn(records, 2, 200, generator=generator),
    }


def move(*modules):
    """Stand for an optimizer's step."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in [p for module in modules for p in module.parameters()]:
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


# A slow reference, from the equations


def perceptron_reference(head, rows):
    """``W2 relu(BN(W1 x))``, or nothing where there is no head."""
    if not list(head.parameters()):
        return rows
    w1, gamma, beta, w2 = (p.tolist() for p in head.double().parameters())
    hidden = [[sum(a * b for a, b in zip(w, row, strict=True)) for w in w1] for row in rows]
    for j, column in enumerate(zip(*hidden, strict=True)):
        mean = sum(column) / len(column)
        variance = sum((value - mean) ** 2 for value in column) / len(column)
        for i, value in enumerate(column):
            scaled = gamma[j] * (value - mean) / math.sqrt(variance + 1e-5) + beta[j]
            hidden[i][j] = max(scaled, 0.0)
    return [[sum(a * b for a, b in zip(w, row, strict=True)) for w in w2] for row in hidden]


def cosine(a, b):
    dot, aa, bb = (
        sum(x * y for x, y in zip(p, q, strict=True)) for p, q in ((a, b), (a, a), (b, b))
    )
    return dot / math.sqrt(aa * bb)


def loss_reference(encoder, objective, views):
    heads = copy.deepcopy(objective)
    networks = copy.deepcopy(encoder).double(), heads.target_encoder.network.double()
    total = 0.0
    for one, other in (("first", "second"), ("second", "first")):
        seen = networks[0].embed(views[one].double()).tolist()
        predicted = perceptron_reference(
            heads.predictor, perceptron_reference(heads.projector, seen)
        )
        followed = networks[1].embed(views[other].double()).tolist()
        target = perceptron_reference(heads.target_projector.network, followed)
        for p, z in zip(predicted, target, strict=True):
            total += 2 - 2 * cosine(p, z)
    return total / len(views["first"])


@pytest.mark.parametrize(
    "params", [{"projector_dim": 6, "hidden_dim": 5}, CLEF_BASELINE], ids=["paper", "clef baseline"]
)
def test_loss_matches_the_equations(params):
    encoder, objective = create(**params)
    move(encoder, objective.projector, objective.predictor)
    views = views_of(5)
    loss = objective.loss(encoder, views).loss.detach()
    assert 0 < float(loss) < 8
    assert float(loss) == pytest.approx(loss_reference(encoder, objective, views), rel=1e-4)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_loss_ignores_the_order_of_records_and_of_the_views(seed):
    encoder, objective = create(hidden_dim=8, projector_dim=6)
    move(encoder)
    views = views_of(5, seed)
    loss = objective.loss(encoder, views).loss
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    shuffled = {"first": views["second"][order], "second": views["first"][order]}
    torch.testing.assert_close(objective.loss(encoder, shuffled).loss, loss, rtol=1e-4, atol=1e-5)


def test_loss_is_in_float32_under_autocast():
    encoder, objective = create()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = objective.loss(encoder, views_of(8))
    assert output.loss.dtype == torch.float32
    exact = objective.loss(encoder, views_of(8)).loss
    torch.testing.assert_close(output.loss, exact, rtol=0.05, atol=0.05)


def test_parts_tell_collapse():
    encoder, objective = create()
    parts = objective.loss(encoder, views_of(8)).parts
    assert all(float(part) > 0.01 for part in parts.values())
    with torch.no_grad():
        for network in (encoder, objective.target_encoder.network):
            for parameter in network.parameters():
                parameter.zero_()
            network.blocks[-1].expand.bias.fill_(1)
    collapsed = objective.loss(encoder, views_of(8)).parts
    assert all(float(part) < 1e-5 for part in collapsed.values())


# Gradients and what follows the encoder


def test_gradient_reaches_the_online_network_alone_and_loss_changes_no_state():
    encoder, objective = create()
    state = copy.deepcopy(objective.state_dict())
    objective.loss(encoder, views_of()).loss.backward()
    online = [*encoder.parameters(), *objective.projector.parameters()]
    for parameter in [*online, *objective.predictor.parameters()]:
        assert parameter.grad is not None
    assert encoder.stem.weight.grad.abs().sum() > 0
    trained = {n for n, p in objective.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == {"projector", "predictor"}
    assert all(p.grad is None for n, p in objective.named_parameters() if n not in trained)
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())


@pytest.mark.parametrize(
    ("schedule", "progress", "tau"),
    [
        ("cosine", 0.5, 1 - (1 - 0.9) / 2),
        ("cosine", 1.0, 1.0),
        ("constant", 0.5, 0.9),
        ("constant", 1.0, 0.9),
    ],
)
def test_the_target_moves_by_the_equation(schedule, progress, tau):
    encoder, objective = create(momentum=0.9, momentum_schedule=schedule)
    online = [encoder, objective.projector]
    targets = [objective.target_encoder, objective.target_projector]
    before = [p.clone() for module in targets for p in module.parameters()]
    assert all(
        torch.equal(a, b)
        for a, b in zip(before, [p for m in online for p in m.parameters()], strict=True)
    )
    move(*online)
    objective.after_step(encoder, progress)
    after = [p for module in targets for p in module.parameters()]
    sources = [p for module in online for p in module.parameters()]
    for now, old, source in zip(after, before, sources, strict=True):
        torch.testing.assert_close(now, tau * old + (1 - tau) * source)


def test_views_are_two_and_draw_from_the_augmenter_alone():
    _, objective = create()
    batch = Batch(torch.randn(4, 2, 600), risk=torch.zeros(4), completeness=torch.ones(4))
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        generator = torch.Generator().manual_seed(0)
        augment = Augmenter(AugmentConfig(), 100.0, 2, Recipe(leads=("I", "II")), generator)
        drawn.append(objective.views(batch, augment))
    assert all(torch.equal(drawn[0][key], drawn[1][key]) for key in ("first", "second"))
    assert not torch.equal(drawn[0]["first"], drawn[0]["second"])


# Parameters


class Wide(torch.nn.Module):
    """Stands for an encoder as wide as ResNet-50."""

    embed_dim = 2048


def widths(head):
    return [tuple(p.shape) for p in head.parameters() if p.ndim == 2]


def test_heads_have_the_published_proportions():
    _, objective = create()
    assert widths(objective.projector) == [(128, 64), (256, 128)]
    assert widths(objective.predictor) == [(128, 256), (256, 128)]
    published = objectives.create("byol", Wide())
    assert widths(published.projector) == [(4096, 2048), (256, 4096)]
    assert widths(published.predictor) == [(4096, 256), (256, 4096)]


def test_hidden_width_can_be_set_and_the_projector_left_out():
    _, objective = create(**CLEF_BASELINE)
    assert widths(objective.projector) == []
    assert widths(objective.predictor) == [(32, 64), (64, 32)]


@pytest.mark.parametrize(
    "params", [{"momentum": -0.1}, {"momentum_schedule": "linear"}, {"hidden_dim": 0}]
)
def test_bad_parameters_are_refused(params):
    with pytest.raises(BadInputError, match=next(iter(params))):
        create(**params)


# Two processes


def step():
    """Return the loss and the gradient of everything trained, flat."""
    encoder, objective = create(hidden_dim=8, projector_dim=6)
    move(encoder)
    views = {key: value.chunk(world_size())[rank()] for key, value in views_of(4).items()}
    loss = objective.loss(encoder, views).loss
    loss.backward()
    trained = [*encoder.parameters(), *objective.projector.parameters()]
    trained += objective.predictor.parameters()
    return loss.detach(), torch.cat([p.grad.flatten() for p in trained])


def test_two_processes_have_the_loss_and_the_mean_gradient_of_one(tmp_path):
    loss, gradient = step()
    both = in_two_processes(tmp_path, step)
    losses, gradients = (torch.stack(parts) for parts in zip(*both, strict=True))
    torch.testing.assert_close(losses, loss.expand(2), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients.mean(dim=0), gradient, rtol=1e-3, atol=1e-5)
