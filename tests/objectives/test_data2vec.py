import copy

import numpy as np
import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.data2vec import normalise_layers, same_shape_layers
from ecgscale.objectives.target import hidden_sd
from support.toy import PATCHES

RECIPE = Recipe(leads=("I", "II"))
EPSILON = 1e-5

TOY = {
    **PATCHES,
    "params": {"mask_length": 1, "teacher_start": 0.98, "teacher_end": 0.99},
}
"""What the normalisations add to a variance."""


def create(name="vit1d", seed=0, **params):
    """Return an encoder and the objective with a teacher that has drifted from it."""
    torch.manual_seed(seed)
    encoder = encoders.create(name, size="tiny", in_channels=2)
    objective = objectives.create("data2vec", encoder, **params)
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return encoder, objective


def views_of(records=3, length=160, steps=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(records, steps, generator=generator) < 0.4
    mask[:, 0], mask[:, 1] = True, False
    return {"view": torch.randn(records, 2, length, generator=generator), "mask": mask}


def augmenter(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)
    return Augmenter(AugmentConfig(**changes), 100.0, 2, RECIPE, generator)


def batch_of(records=4):
    unknown = torch.full((records,), torch.nan)
    signal = torch.randn(records, 2, 1000, generator=torch.Generator().manual_seed(0))
    return Batch(signal=signal, risk=unknown, completeness=torch.zeros(records))


# A slow reference, from the equations


def normalise_reference(layer, norm):
    """Normalise (batch, step, dim): every channel over steps, or every step over channels."""
    out = np.empty_like(layer)
    records, steps, channels = layer.shape
    for r in range(records):
        if norm == "instance":
            for c in range(channels):
                series = layer[r, :, c]
                out[r, :, c] = (series - series.mean()) / np.sqrt(series.var() + EPSILON)
        else:
            for t in range(steps):
                token = layer[r, t]
                out[r, t] = (token - token.mean()) / np.sqrt(token.var() + EPSILON)
    return out


def loss_reference(prediction, layers, mask, norm, beta):
    target = sum(normalise_reference(layer, norm) for layer in layers) / len(layers)
    errors = []
    for r, t in zip(*np.nonzero(mask), strict=True):
        total = 0.0
        for e in prediction[r, t] - target[r, t]:
            if beta == 0:
                total += e**2
            elif abs(e) <= beta:
                total += e**2 / (2 * beta)
            else:
                total += abs(e) - beta / 2
        errors.append(total / np.sqrt(len(prediction[r, t])))
    return sum(errors) / len(errors)


def arrays(tensors):
    return [tensor.detach().double().numpy() for tensor in tensors]


@pytest.mark.parametrize("norm", ["instance", "layer"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
@pytest.mark.parametrize("top_layers", [1, 3, 8])
def test_loss_matches_the_equations(norm, beta, top_layers):
    encoder, objective = create(target_norm=norm, beta=beta, top_layers=top_layers)
    views = views_of()
    tokens = encoder(views["view"], views["mask"], objective.mask_embedding)
    layers = objective.teacher.network.hidden_states(views["view"])[-top_layers:]
    assert len(layers) == min(top_layers, 4)
    (prediction,) = arrays([objective.head(tokens)])
    expected = loss_reference(prediction, arrays(layers), views["mask"].numpy(), norm, beta)
    loss = objective.loss(encoder, views).loss
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-4)


def test_a_cnn_gives_the_outputs_that_have_the_shape_of_its_tokens():
    encoder, objective = create("net1d")
    views = views_of(length=512)
    states = objective.teacher.network.hidden_states(views["view"])
    shapes = [tuple(state.shape) for state in states]
    assert shapes == [(3, 64, 16), (3, 32, 32), (3, 16, 64), (3, 8, 64)]
    assert same_shape_layers(states) == states[-1:]
    (layer,) = objective.target_layers(views)
    expected = normalise_reference(*arrays(states[-1:]), "instance")
    np.testing.assert_allclose(layer.numpy(), expected, atol=1e-4)
    assert objective.loss(encoder, views).loss.isfinite()


@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_normalising_forgets_scale_and_shift_and_a_constant_becomes_zero(norm):
    layers = torch.randn(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))
    normalised = normalise_layers(layers, norm)
    torch.testing.assert_close(
        normalise_layers(40 * layers - 7, norm), normalised, atol=1e-3, rtol=0
    )
    axis = 2 if norm == "instance" else 3
    assert normalised.mean(dim=axis).abs().max() < 1e-5
    assert (normalised.var(dim=axis, correction=0) - 1).abs().max() < 1e-3
    assert normalise_layers(torch.full_like(layers, 3.0), norm).abs().max() < 1e-3


# What is seen, what is learned


def test_the_student_sees_nothing_of_hidden_steps_and_the_teacher_all():
    encoder, objective = create()
    views = views_of()
    changed = dict(views)
    hidden = views["mask"].repeat_interleave(20, dim=1).unsqueeze(1)
    changed["view"] = torch.where(hidden, 5.0, views["view"])
    assert torch.equal(objective.student(encoder, changed), objective.student(encoder, views))
    assert not torch.equal(objective.target_layers(changed), objective.target_layers(views))


def test_gradient_reaches_encoder_mask_embedding_and_head_but_not_the_teacher():
    encoder, objective = create()
    objective.loss(encoder, views_of()).loss.backward()
    learned = [*encoder.parameters(), objective.mask_embedding, *objective.head.parameters()]
    assert all(parameter.grad.abs().sum() > 0 for parameter in learned)
    assert all(parameter.grad is None for parameter in objective.teacher.parameters())
    trainable = {id(parameter) for parameter in objective.parameters() if parameter.requires_grad}
    assert trainable == {id(parameter) for parameter in learned[-3:]}


def test_targets_come_from_the_teacher_alone():
    encoder, objective = create()
    views = views_of()
    before = objective.target_layers(views)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(1.0)
    assert torch.equal(objective.target_layers(views), before)
    assert not before.requires_grad


@pytest.mark.parametrize(
    ("progress", "momentum"), [(0.0375, (0.9 + 0.98) / 2), (0.075, 0.98), (0.6, 0.98)]
)
def test_the_teacher_follows_by_its_equation(progress, momentum):
    encoder, objective = create(teacher_start=0.9, teacher_end=0.98)
    before = copy.deepcopy(list(objective.teacher.parameters()))
    objective.after_step(encoder, progress)
    theirs = list(encoder.parameters())
    for old, new, online in zip(before, objective.teacher.parameters(), theirs, strict=True):
        torch.testing.assert_close(new, momentum * old + (1 - momentum) * online)


def test_a_second_call_of_loss_gives_the_same_and_changes_no_state():
    encoder, objective = create()
    views, state = views_of(), copy.deepcopy(objective.state_dict())
    first, second = (objective.loss(encoder, views).loss for _ in range(2))
    assert torch.equal(first, second)
    assert all(torch.equal(value, state[key]) for key, value in objective.state_dict().items())


def test_the_loss_is_taken_in_float32_under_autocast():
    encoder, objective = create()
    exact = objective.loss(encoder, views_of())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = objective.loss(encoder, views_of())
    assert rounded.loss.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in rounded.parts.values())
    torch.testing.assert_close(rounded.loss, exact.loss, rtol=0.05, atol=0)


# Collapse shows


def test_the_spread_is_that_of_the_hidden_steps():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(4, 6, 3, generator=generator)
    mask = torch.rand(4, 6, generator=generator) < 0.5
    expected = values.numpy()[mask.numpy()].std(axis=0).mean()
    assert float(hidden_sd(values, mask)) == pytest.approx(float(expected), rel=1e-5)
    assert float(hidden_sd(torch.ones(4, 6, 3), mask)) == 0


def test_a_teacher_whose_tokens_are_all_alike_has_no_spread():
    encoder, objective = create(top_layers=1)
    with torch.no_grad():
        for parameter in objective.teacher.network.norm.parameters():
            parameter.zero_()
    parts = objective.loss(encoder, views_of()).parts
    assert float(parts["target_sd"]) == 0
    assert float(parts["record_sd"]) == 0
    assert float(parts["prediction_sd"]) > 0


def test_tokens_that_tell_only_their_place_have_no_spread_between_records():
    encoder, objective = create()
    healthy = objective.loss(encoder, views_of()).parts
    with torch.no_grad():
        for parameter in objective.teacher.network.embed_patch.parameters():
            parameter.zero_()
    parts = objective.loss(encoder, views_of()).parts
    assert float(parts["target_sd"]) > 0.3
    assert float(parts["record_sd"]) < 1e-4
    assert float(healthy["record_sd"]) > 0.3


# Views


def test_a_view_has_the_mask_of_its_steps_and_depends_only_on_the_generator():
    _, objective = create(mask_length=3)
    batch = batch_of()
    views = objective.views(batch, augmenter(crop_seconds=4.1))
    assert views["view"].shape == (4, 2, 410)
    assert views["mask"].shape == (4, 21)
    assert (views["mask"].sum(dim=1) >= 3).all()
    assert not views["mask"].all(dim=1).any()
    torch.manual_seed(99)
    again = objective.views(batch, augmenter(crop_seconds=4.1))
    other = objective.views(batch, augmenter(seed=1, crop_seconds=4.1))
    assert all(torch.equal(again[key], views[key]) for key in views)
    assert not torch.equal(other["mask"], views["mask"])


def test_a_view_of_one_step_is_refused_with_what_to_change():
    _, objective = create("net1d")
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        objective.views(batch_of(), augmenter(crop_seconds=0.6))


@pytest.mark.parametrize(
    "params",
    [
        {"mask_probability": 0.0},
        {"mask_length": 0},
        {"top_layers": 0},
        {"target_norm": "batch"},
        {"teacher_start": 1.1},
        {"teacher_anneal": -0.1},
        {"beta": -1.0},
    ],
)
def test_parameters_out_of_range_are_refused(params):
    with pytest.raises(BadInputError, match=next(iter(params))):
        create(**params)
