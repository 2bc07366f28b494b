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
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.jepa import HEAD_DIM, JepaParams, Predictor, multi_block
from support.toy import PATCHES

RECIPE = Recipe(leads=("I", "II"))
ENCODERS = ["vit1d", "net1d"]

# The slowest to learn, and the closest to collapse: with the published momentum of .996 the
# embeddings' SD falls below the threshold of `is_collapsed` here.
TOY = {
    **PATCHES,
    "params": {"predictor_depth": 1, "momentum": 0.999},
    "encoder": {"name": "vit1d", "size": "tiny"},
    "lr": 5e-3,
    "crop": 5.0,
    "gain": 0.03,
}


def make(encoder_name="vit1d", seed=0, **params):
    torch.manual_seed(seed)
    encoder = encoders.create(encoder_name, size="tiny", in_channels=2)
    objective = objectives.create("jepa", encoder, **{"predictor_depth": 1, **params})
    return encoder, objective


def views_of(objective, records=3, samples=600, seed=0, crop=None):
    generator = torch.Generator().manual_seed(seed)
    augment = Augmenter(AugmentConfig(crop_seconds=crop), 100.0, 2, RECIPE, generator)
    signal = torch.randn(records, 2, samples, generator=torch.Generator().manual_seed(seed + 100))
    unknown = torch.full((records,), math.nan)
    return objective.views(Batch(signal, unknown, unknown), augment)


def drift(objective, scale=0.05):
    """Move the target away from the encoder, as training does."""
    with torch.no_grad():
        for parameter in objective.target.parameters():
            parameter.add_(scale * torch.randn_like(parameter))


def trainable(*modules):
    named = [pair for module in modules for pair in module.named_parameters()]
    return {key: parameter for key, parameter in named if parameter.requires_grad}


# A slow reference, from the equation


def normalised(token):
    mean = sum(token) / len(token)
    variance = sum((value - mean) ** 2 for value in token) / len(token)
    return [(value - mean) / math.sqrt(variance + 1e-5) for value in token]


def predict_reference(predictor, tokens, context, block):
    """Predict one block of one record from a sequence of context tokens, then mask tokens."""
    width = predictor.width
    shown, asked = context.nonzero()[:, 0].tolist(), block.nonzero()[:, 0].tolist()
    sequence = []
    for step in shown + asked:
        token = predictor.narrow(tokens[step]) if step in shown else predictor.mask_token
        code = []
        for pair in range(width // 2):
            angle = step / 10_000 ** (2 * pair / width)
            code += [math.sin(angle), math.cos(angle)]
        sequence.append(token + torch.tensor(code))
    x = torch.stack(sequence).unsqueeze(0)
    for layer in predictor.blocks:
        x = layer(x, None)
    return dict(zip(asked, predictor.widen(predictor.norm(x))[0, len(shown) :], strict=True))


def jepa_reference(encoder, objective, views, beta):
    terms = []
    with torch.no_grad():
        for b, view in enumerate(views["view"]):
            context = views["context"][b]
            wanted = objective.target.network(view[None])[0]
            tokens = encoder(view[None], ~context[None])[0]
            for block in views["targets"][b]:
                predicted = predict_reference(objective.predictor, tokens, context, block)
                for step, prediction in predicted.items():
                    target = normalised(wanted[step].tolist())
                    errors = []
                    for got, want in zip(prediction.tolist(), target, strict=True):
                        error = abs(got - want)
                        small = error < beta
                        errors.append(error**2 / (2 * beta) if small else error - beta / 2)
                    terms.append(sum(errors) / len(errors))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("beta", [1.0, 0.3])
@pytest.mark.parametrize("seed", [0, 1])
def test_loss_matches_the_equation(name, beta, seed):
    encoder, objective = make(name, seed, beta=beta, predictor_depth=2, targets=3)
    drift(objective)
    views = views_of(objective, seed=seed)
    assert views["targets"].any(dim=-1).all()
    expected = jepa_reference(encoder, objective, views, beta)
    assert float(objective.loss(encoder, views).loss.detach()) == pytest.approx(expected, rel=1e-4)


# Which steps are shown and asked for

shares = st.tuples(st.floats(0.05, 1), st.floats(0.05, 1)).map(lambda pair: tuple(sorted(pair)))


@settings(max_examples=200, deadline=None)
@given(
    steps=st.integers(2, 40),
    seed=st.integers(0, 999),
    targets=st.integers(1, 5),
    context_scale=shares,
    target_scale=shares,
)
def test_context_and_targets_share_no_step_and_each_record_has_both(
    steps, seed, targets, context_scale, target_scale
):
    params = JepaParams(targets=targets, context_scale=context_scale, target_scale=target_scale)
    context, blocks = multi_block(6, steps, params, torch.Generator().manual_seed(seed))
    assert context.shape == (6, steps)
    assert blocks.shape == (6, targets, steps)
    assert not (context & blocks.any(dim=1)).any()
    assert context.any(dim=1).all()
    assert blocks.flatten(1).any(dim=1).all()


def runs(mask):
    return int((mask[1:] & ~mask[:-1]).sum() + mask[0])


def test_blocks_have_the_published_lengths():
    steps, params = 100, JepaParams()
    context, blocks = multi_block(400, steps, params, torch.Generator().manual_seed(0))
    lengths = blocks.sum(dim=-1)
    assert blocks.shape[1] == 4
    assert set(lengths.flatten().tolist()) == set(range(15, 21))
    assert all(runs(block) == 1 for record in blocks for block in record)
    whole = context | blocks.any(dim=1)
    shown = torch.tensor([int(row.nonzero().max() - row.nonzero().min()) + 1 for row in whole])
    assert (shown >= 85).all()
    assert ((context.sum(dim=1) + blocks.any(dim=1).sum(dim=1)) <= 100).all()
    assert 0.4 < context.float().mean() < 0.6
    starts = blocks.float().argmax(dim=-1)
    assert starts.min() == 0
    assert (starts + lengths).max() == steps


def test_a_record_covered_by_its_targets_keeps_one_step_that_is_no_target():
    params = JepaParams(targets=1, target_scale=(1.0, 1.0))
    context, blocks = multi_block(500, 5, params, torch.Generator().manual_seed(0))
    assert context.sum(dim=1).eq(1).all()
    assert torch.equal(blocks[:, 0], ~context)
    assert context.any(dim=0).all()


def test_views_are_a_function_of_the_generator():
    _, objective = make()
    first, again, other = (views_of(objective, seed=seed) for seed in (1, 1, 2))
    assert set(first) == {"view", "context", "targets"}
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["targets"], other["targets"])


def test_a_crop_of_one_step_is_refused_and_of_two_is_not():
    encoder, objective = make("net1d")
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        views_of(objective, crop=0.64)
    views = views_of(objective, crop=0.65)
    assert views["targets"].shape[-1] == 2
    assert objective.loss(encoder, views).loss.isfinite()


@pytest.mark.parametrize(
    "scale", [(0.5, 0.2), (0.0, 0.5), (0.5, 1.2)], ids=["descending", "zero", "above one"]
)
@pytest.mark.parametrize("name", ["context_scale", "target_scale"])
def test_scales_that_are_no_shares_are_refused(name, scale):
    with pytest.raises(BadInputError, match=name):
        make(**{name: scale})


# Who sees what


@pytest.mark.parametrize("name", ENCODERS)
def test_the_loss_has_no_gradient_at_hidden_samples_nor_in_the_target(name):
    encoder, objective = make(name)
    views = views_of(objective)
    views["view"].requires_grad_()
    objective.loss(encoder, views).loss.backward()
    shown = views["context"].repeat_interleave(encoder.step_samples, dim=1)[:, None, :600]
    slope = views["view"].grad.abs()
    assert (slope * ~shown).sum() == 0
    assert (slope * shown).sum() > 0
    assert not any(p.requires_grad or p.grad is not None for p in objective.target.parameters())
    for key, parameter in trainable(encoder, objective).items():
        assert parameter.grad.isfinite().all(), key
        assert parameter.grad.abs().sum() > 0, key


def test_a_block_is_predicted_without_the_others():
    torch.manual_seed(0)
    predictor = Predictor(64, ratio=0.5, depth=2)
    context, blocks = multi_block(2, 20, JepaParams(), torch.Generator().manual_seed(3))
    tokens = torch.randn(2, 20, 64)
    together = predictor(tokens, context, blocks)
    for m in range(4):
        alone = predictor(tokens, context, blocks[:, m : m + 1])[:, 0]
        torch.testing.assert_close(together[:, m][blocks[:, m]], alone[blocks[:, m]])


def test_tokens_off_the_context_are_not_read():
    torch.manual_seed(0)
    predictor = Predictor(64, ratio=0.5, depth=2)
    context, blocks = multi_block(2, 20, JepaParams(), torch.Generator().manual_seed(3))
    tokens = torch.randn(2, 20, 64)
    changed = torch.where(context.unsqueeze(-1), tokens, 9.0)
    before, after = (predictor(x, context, blocks)[blocks] for x in (tokens, changed))
    assert torch.equal(before, after)


@pytest.mark.parametrize(
    ("dim", "ratio", "width"), [(768, 0.5, 384), (384, 0.5, 192), (64, 0.5, 32), (16, 0.5, 32)]
)
def test_the_predictor_is_as_wide_as_published_and_never_less_than_a_head(dim, ratio, width):
    predictor = Predictor(dim, ratio, depth=1)
    assert predictor.width == width
    assert predictor.blocks[0].attention.heads == width // HEAD_DIM


# The target network


def test_after_step_moves_the_target_by_the_published_momentum():
    encoder, objective = make(momentum=0.9, momentum_end=0.98)
    drift(objective)
    before = copy.deepcopy(dict(objective.target.network.named_parameters()))
    objective.after_step(encoder, 0.25)
    online = dict(encoder.named_parameters())
    momentum = 0.9 + (0.98 - 0.9) * 0.25
    for key, moved in objective.target.network.named_parameters():
        torch.testing.assert_close(moved, momentum * before[key] + (1 - momentum) * online[key])


def test_with_the_published_momentum_the_target_stands_still_at_the_end():
    encoder, objective = make()
    drift(objective)
    before = copy.deepcopy(objective.target.state_dict())
    objective.after_step(encoder, 1.0)
    assert all(torch.equal(v, before[k]) for k, v in objective.target.state_dict().items())


# What it reads as


def test_a_collapse_is_seen():
    encoder, objective = make()
    views = views_of(objective)
    healthy = objective.loss(encoder, views).parts["target_sd"]
    assert healthy > 0.3
    with torch.no_grad():
        objective.target.network.norm.weight.zero_()
        objective.target.network.norm.bias.copy_(torch.arange(64.0))
    parts = objective.loss(encoder, views).parts
    assert float(parts["target_sd"]) == pytest.approx(0, abs=1e-6)
    assert float(parts["context_share"]) == pytest.approx(float(views["context"].double().mean()))


def test_the_loss_is_computed_in_float32_under_autocast():
    encoder, objective = make()
    views = views_of(objective)
    plain = objective.loss(encoder, views).loss
    with torch.autocast("cpu", torch.bfloat16):
        output = objective.loss(encoder, views)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, plain, rtol=0.03, atol=0)


def test_calling_the_loss_changes_nothing():
    encoder, objective = make("net1d")
    state = copy.deepcopy(objective.state_dict())
    views = views_of(objective)
    assert torch.equal(objective.loss(encoder, views).loss, objective.loss(encoder, views).loss)
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())
