import copy
import math

import pytest
import torch

from ecgscale import encoders, objectives
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError
from ecgscale.objectives import Batch
from ecgscale.objectives.mae import normalise_patches, patches

RECIPE = Recipe(leads=("I", "II"))
SMALL = {"decoder_depth": 1, "decoder_width": 8, "decoder_heads": 2}

TOY = {
    "params": {"mask_ratio": 0.5, "decoder_depth": 1, "decoder_width": 32},
    "lr": 3e-3,
    "crop": 6.0,
    "wander": 0.2,
    "augment": {"noise_prob": 0.0, "wander_prob": 0.0},
}


def create(encoder="vit1d", seed=0, **params):
    torch.manual_seed(seed)
    network = encoders.create(encoder, size="tiny", in_channels=2)
    return network, objectives.create("mae", network, **(SMALL | params))


def records(count=6, samples=300, seed=0):
    return torch.randn(count, 2, samples, generator=torch.Generator().manual_seed(seed))


def views(objective, signal=None, crop_seconds=2.3, seed=0):
    undisturbed = {"noise_prob": 0, "wander_prob": 0, "mask_prob": 0, "lead_drop_prob": 0}
    config = AugmentConfig(crop_seconds=crop_seconds, **undisturbed)
    augment = Augmenter(config, 100.0, 2, RECIPE, torch.Generator().manual_seed(seed))
    signal = records() if signal is None else signal
    known = torch.ones(len(signal))
    return objective.views(Batch(signal=signal, risk=known, completeness=known), augment)


# The loss


def loss_reference(prediction, view, mask, step_samples, norm_pix_loss):
    """One step after the other, from the samples."""
    batch, leads, length = view.shape
    errors, energies = [], []
    for record in range(batch):
        for step in range(mask.shape[1]):
            if not mask[record, step]:
                continue
            first = step * step_samples
            times = range(first, min(first + step_samples, length))
            place = [(lead, t) for lead in range(leads) for t in times]
            x = [float(view[record, lead, t]) for lead, t in place]
            if norm_pix_loss:
                mean = sum(x) / len(x)
                variance = sum((value - mean) ** 2 for value in x) / (len(x) - 1)
                x = [(value - mean) / math.sqrt(variance + 1e-6) for value in x]
            given = [
                float(prediction[record, step, lead * step_samples + t - first])
                for lead, t in place
            ]
            pairs = list(zip(given, x, strict=True))
            errors.append(sum((a - b) ** 2 for a, b in pairs) / len(pairs))
            energies.append(sum(value**2 for value in x) / len(x))
    return sum(errors) / len(errors), sum(energies) / len(energies)


@pytest.mark.parametrize("norm_pix_loss", [True, False])
@pytest.mark.parametrize(("encoder", "seconds"), [("vit1d", 2.0), ("vit1d", 2.3), ("net1d", 2.3)])
def test_loss_matches_the_equation(encoder, seconds, norm_pix_loss):
    network, objective = create(encoder, norm_pix_loss=norm_pix_loss)
    given = views(objective, crop_seconds=seconds)
    output = objective.loss(network, given)
    with torch.no_grad():
        prediction = objective.decode(network(given["view"], given["mask"]), given["mask"])
    samples = network.step_samples
    loss, energy = loss_reference(prediction, *given.values(), samples, norm_pix_loss)
    assert float(output.loss.detach()) == pytest.approx(loss, rel=1e-5)
    assert float(output.parts["explained"]) == pytest.approx(1 - loss / energy, abs=1e-5)
    spread = prediction[given["mask"]].std(dim=0, correction=0).mean()
    assert float(output.parts["reconstruction_sd"]) == pytest.approx(float(spread), rel=1e-4)


def test_only_samples_of_hidden_steps_within_the_record_are_compared():
    network, objective = create()
    given = views(objective)
    kept = []
    objective.predict.register_forward_hook(lambda module, args, out: kept.append(out))
    loss = objective.loss(network, given).loss
    (gradient,) = torch.autograd.grad(loss, kept[0])
    gradient = gradient.unflatten(-1, (2, 20))
    compared = given["mask"][:, :, None, None].expand_as(gradient).clone()
    compared[:, -1, :, 10:] = False
    assert torch.equal(gradient != 0, compared)


@pytest.mark.parametrize("encoder", ["vit1d", "net1d"])
def test_hidden_samples_do_not_reach_the_reconstruction(encoder):
    network, objective = create(encoder)
    given = views(objective)
    view, mask = given["view"].requires_grad_(), given["mask"]
    (gradient,) = torch.autograd.grad(objective.decode(network(view, mask), mask).sum(), view)
    hidden = mask.repeat_interleave(network.step_samples, dim=1)[:, None, : view.shape[-1]]
    assert (gradient * hidden).eq(0).all()
    assert (gradient * ~hidden).abs().sum() > 0


def test_tokens_of_hidden_steps_are_not_read():
    _, objective = create()
    tokens, mask = torch.randn(3, 7, 64), torch.rand(3, 7) < 0.5
    other = torch.where(mask.unsqueeze(-1), torch.randn(3, 7, 64), tokens)
    assert torch.equal(objective.decode(tokens, mask), objective.decode(other, mask))


def test_hidden_steps_are_told_apart_by_their_position():
    _, objective = create()
    reconstruction = objective.decode(torch.randn(1, 6, 64), torch.ones(1, 6, dtype=torch.bool))
    assert not torch.allclose(reconstruction[0, 0], reconstruction[0, 1], atol=1e-3)


def test_gradient_reaches_everything_that_is_trained():
    network, objective = create()
    objective.loss(network, views(objective)).loss.backward()
    for parameter in (*network.parameters(), *objective.parameters()):
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert objective.mask_token.grad.abs().sum() > 0


# Patches


@pytest.mark.parametrize(("length", "step"), [(12, 4), (13, 4), (15, 4), (3, 4), (5, 1)])
def test_patches_are_the_samples_of_each_step(length, step):
    signal = records(3, length)
    patch, valid = patches(signal, step)
    steps = math.ceil(length / step)
    assert patch.shape == (3, steps, 2 * step)
    assert valid.shape == (steps, 2 * step)
    for index in range(steps):
        for lead in range(2):
            for offset in range(step):
                time, place = index * step + offset, lead * step + offset
                assert bool(valid[index, place]) == (time < length)
                expected = signal[:, lead, time] if time < length else torch.zeros(3)
                assert torch.equal(patch[:, index, place], expected)


def test_normalised_patches_forget_scale_and_offset_and_keep_ratios_between_leads():
    patch, valid = patches(records(4, 50), 16)
    normalised = normalise_patches(patch, valid)
    for record, step in ((0, 0), (3, 2), (1, 3)):
        inside = normalised[record, step][valid[step]]
        assert float(inside.mean()) == pytest.approx(0, abs=1e-5)
        assert float(inside.var()) == pytest.approx(1, abs=1e-3)
    again = normalise_patches(torch.where(valid, 3 * patch + 2, 0), valid)
    torch.testing.assert_close(again, normalised, rtol=1e-3, atol=1e-4)
    louder = patch.clone()
    louder[..., :16] *= 3
    assert not torch.allclose(normalise_patches(louder, valid), normalised, atol=0.1)


def test_a_flat_step_is_a_target_of_zeros():
    patch, valid = patches(torch.full((1, 2, 17), 0.5), 16)
    assert normalise_patches(patch, valid).abs().max() == 0


# Settings


@pytest.mark.parametrize(("ratio", "hidden"), [(0.75, 9), (0.5, 6), (0.01, 1), (0.99, 11)])
def test_the_ratio_of_steps_is_hidden(ratio, hidden):
    _, objective = create(mask_ratio=ratio)
    mask = views(objective)["mask"]
    assert mask.shape == (6, 12)
    assert mask.sum(dim=1).eq(hidden).all()
    assert not torch.equal(mask[0], mask[1])


def test_the_decoder_is_half_as_wide_as_the_encoder_but_not_too_narrow():
    network = encoders.create("net1d", size="small", in_channels=1)
    assert objectives.create("mae", network).embed.out_features == 128
    network = encoders.create("net1d", size="tiny", in_channels=1)
    assert objectives.create("mae", network).embed.out_features == 64
    assert objectives.create("mae", network, decoder_heads=5).embed.out_features == 70


@pytest.mark.parametrize(("width", "heads"), [(30, 4), (9, 3)])
def test_a_width_that_does_not_fit_the_heads_is_refused(width, heads):
    network = encoders.create("net1d", size="tiny", in_channels=1)
    with pytest.raises(BadInputError, match="decoder_width"):
        objectives.create("mae", network, decoder_width=width, decoder_heads=heads)


def test_a_view_of_one_step_is_refused():
    _, objective = create("net1d")
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        views(objective, crop_seconds=0.6)


def test_loss_changes_no_state():
    network, objective = create()
    before = copy.deepcopy(objective.state_dict())
    given = views(objective)
    assert torch.equal(objective.loss(network, given).loss, objective.loss(network, given).loss)
    after = objective.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def waves(count, seed):
    generator = torch.Generator().manual_seed(seed)
    hertz = 0.4 + 0.4 * torch.rand(count, 1, 1, generator=generator)
    phase = torch.rand(count, 2, 1, generator=generator)
    return torch.sin(2 * math.pi * (hertz * torch.arange(300) / 100 + phase))


def test_it_learns_to_fill_in_waves():
    network, objective = create(mask_ratio=0.3, decoder_width=32, norm_pix_loss=False)
    optimizer = torch.optim.AdamW([*network.parameters(), *objective.parameters()], lr=3e-3)
    explained = []
    for step in range(100):
        output = objective.loss(network, views(objective, waves(24, step), 2.0, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        explained.append(float(output.parts["explained"]))
    assert explained[0] < 0.1
    assert sum(explained[-5:]) / 5 > 0.5
    assert float(output.parts["reconstruction_sd"]) > 0.3
