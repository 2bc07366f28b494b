import cmath
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
from ecgscale.objectives.hubert import POWER_FLOOR, features_per_lead, perplexity, spectral_features

RECIPE = Recipe(leads=("I", "II"))
SMALL = {"clusters": (4, 6), "projection_dim": 8, "window": 16, "kmeans_iterations": 5}

TOY = {
    "params": {"clusters": (16, 32), "mask_probability": 0.33, "mask_length": 1},
    "lr": 3e-3,
    "crop": 6.0,
}
"""At 20 samples a step, vit1d's features are of the step's own samples."""


def create(encoder="vit1d", seed=0, **params):
    torch.manual_seed(seed)
    network = encoders.create(encoder, size="tiny", in_channels=2)
    return network, objectives.create("hubert", network, **(SMALL | params))


def records(count=12, samples=250, seed=0):
    """Waves of random frequency under a little noise: there is something to cluster."""
    generator = torch.Generator().manual_seed(seed)
    hertz = 1 + 9 * torch.rand(count, 2, 1, generator=generator)
    phase = torch.rand(count, 2, 1, generator=generator)
    time = torch.arange(samples) / 100
    noise = 0.1 * torch.randn(count, 2, samples, generator=generator)
    return torch.sin(2 * math.pi * (hertz * time + phase)) + noise


def views(objective, signal=None, crop_seconds=2.3, seed=0):
    config = AugmentConfig(crop_seconds=crop_seconds)
    generator = torch.Generator().manual_seed(seed)
    augment = Augmenter(config, 100.0, 2, RECIPE, generator)
    signal = records() if signal is None else signal
    known = torch.ones(len(signal))
    return objective.views(Batch(signal=signal, risk=known, completeness=known), augment)


def refreshed(times, encoder="vit1d", **params):
    network, objective = create(encoder, **params)
    for _ in range(times):
        objective.refresh(network, records(40, 500, seed=1))
    return network, objective


# The loss


def loss_reference(objective, tokens, mask, targets):
    total = 0.0
    for codebook, (project, codewords) in enumerate(
        zip(objective.projections, objective.codewords, strict=True)
    ):
        hidden, seen = [], []
        for record in range(len(tokens)):
            for step in range(tokens.shape[1]):
                p = project(tokens[record, step])
                logits = [
                    float(p @ e / (p.norm() * e.norm())) / objective.params.temperature
                    for e in codewords
                ]
                right = logits[int(targets[codebook][record, step])]
                error = math.log(sum(map(math.exp, logits))) - right
                (hidden if mask[record, step] else seen).append(error)
        alpha = objective.params.alpha
        total += alpha * sum(hidden) / len(hidden) + (1 - alpha) * sum(seen) / len(seen)
    return total


@pytest.mark.parametrize("alpha", [0.75, 1.0, 0.0])
@pytest.mark.parametrize("times", [0, 1, 2])
def test_loss_matches_the_equation(times, alpha):
    encoder, objective = refreshed(times, alpha=alpha, mask_length=2, mask_probability=0.5)
    given = views(objective, records(5))
    with torch.no_grad():
        tokens = encoder(given["view"], given["mask"], objective.mask_embedding)
        expected = loss_reference(
            objective, tokens, given["mask"], objective.targets(given["view"])
        )
    output = objective.loss(encoder, given)
    assert float(output.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert 0 <= output.parts["masked_accuracy"] <= 1


def test_gradient_reaches_what_is_seen_and_what_is_trained_and_nothing_else():
    encoder, objective = refreshed(2)
    given = views(objective)
    given["view"].requires_grad_()
    objective.loss(encoder, given).loss.backward()
    trained = [*encoder.parameters(), objective.mask_embedding, *objective.codewords]
    trained += objective.projections.parameters()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in trained)
    assert all(p.grad.abs().sum() > 0 for p in (objective.mask_embedding, *objective.codewords))
    assert all(p.grad is None and not p.requires_grad for p in objective.teacher.parameters())
    hidden = given["mask"].repeat_interleave(encoder.step_samples, dim=1)[:, None, :230]
    gradient = given["view"].grad.abs()
    assert (gradient * hidden).sum() == 0
    assert (gradient * ~hidden).sum() > 0


def test_mask_hides_spans_and_leaves_steps():
    _, objective = create(mask_length=4, mask_probability=0.6)
    mask = views(objective, records(64, 500), crop_seconds=None)["mask"]
    assert mask.shape == (64, 25)
    assert mask.any(dim=1).all()
    assert (~mask).any(dim=1).all()
    edges = torch.nn.functional.pad(mask.int(), (1, 1)).diff(dim=1)
    starts, ends = (edges == sign for sign in (1, -1))
    lengths = ends.nonzero()[:, 1] - starts.nonzero()[:, 1]
    assert lengths.min() == 4


def test_a_view_of_one_step_is_refused():
    _, objective = create("net1d")
    with pytest.raises(BadInputError, match=r"augment\.crop_seconds"):
        views(objective, crop_seconds=0.6)


# The features of the first iteration


# First and last frequency of each band, in cycles per window: octaves, the rest with the last.
BANDS = {
    8: [(1, 1), (2, 4)],
    16: [(1, 1), (2, 3), (4, 8)],
    25: [(1, 1), (2, 3), (4, 12)],
    64: [(1, 1), (2, 3), (4, 7), (8, 15), (16, 32)],
}


def features_reference(signal, step_samples, window):
    leads, length = signal.shape
    hann = [math.sin(math.pi * n / window) ** 2 for n in range(window)]
    rows = []
    for step in range(math.ceil(length / step_samples)):
        first = step * step_samples + step_samples // 2 - window // 2
        row = []
        for lead in range(leads):
            around = range(first, first + window)
            x = [float(signal[lead, t]) if 0 <= t < length else 0.0 for t in around]
            mean = sum(x) / window
            row += [mean, min(x), max(x)]
            for low, high in BANDS[window]:
                power = 0.0
                for f in range(low, high + 1):
                    wave = sum(
                        (x[n] - mean) * hann[n] * cmath.exp(-2j * math.pi * f * n / window)
                        for n in range(window)
                    )
                    power += 2 * abs(wave) ** 2 / (window * sum(w * w for w in hann))
                row.append(math.log(POWER_FLOOR + power))
        rows.append(row)
    return rows


@pytest.mark.parametrize(
    ("length", "step", "window"),
    [(30, 4, 8), (50, 16, 16), (61, 2, 16), (70, 25, 25), (130, 9, 64)],
)
def test_features_match_a_slow_fourier_transform(length, step, window):
    signal = torch.randn(2, length, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    features = spectral_features(signal[None], step, window)[0]
    expected = torch.tensor(features_reference(signal, step, window), dtype=torch.float64)
    assert features.shape[1] == 2 * features_per_lead(window)
    torch.testing.assert_close(features, expected)


def test_power_is_that_of_the_signal():
    noise = torch.randn(1, 1, 64_000, generator=torch.Generator().manual_seed(0))
    power = spectral_features(noise, 64, 64)[..., 3:].exp() - POWER_FLOOR
    assert float(power.sum(dim=-1).mean()) == pytest.approx(1, abs=0.05)
    wave = torch.sin(2 * math.pi * 5 / 64 * torch.arange(64.0))[None, None]
    bands = (spectral_features(wave, 64, 64)[0, 0, 3:].exp() - POWER_FLOOR).tolist()
    assert bands.index(max(bands)) == 2


def test_features_know_the_sign_of_a_wave_and_are_finite_on_flat_leads():
    wave = records(1, 64)
    assert not torch.allclose(spectral_features(wave, 64, 64), spectral_features(-wave, 64, 64))
    flat = spectral_features(torch.zeros(1, 2, 64), 64, 64)
    assert flat.isfinite().all()


# Clusters


def nearest_reference(features, centroids):
    ids = [
        [
            int(min(range(len(centroids)), key=lambda c: float((x - centroids[c]).norm())))
            for x in row
        ]
        for row in features
    ]
    return torch.tensor(ids)


def test_the_first_clusters_are_of_standardised_features():
    _, objective = refreshed(1)
    fitted_to = spectral_features(records(40, 500, seed=1), 20, 20).flatten(0, 1)
    mean, sd = fitted_to.mean(dim=0), fitted_to.std(dim=0, correction=0)
    torch.testing.assert_close(objective.features_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(objective.features_sd, sd, rtol=1e-4, atol=1e-5)
    view = views(objective)["view"]
    features = (spectral_features(view, 20, 20) - mean) / sd
    for index, target in enumerate(objective.targets(view)):
        centroids = objective.get_buffer(f"spectral_centroids_{index}")
        assert torch.equal(target, nearest_reference(features, centroids))


@pytest.mark.parametrize(("layer", "block"), [(0.25, 0), (0.5, 1), (0.6, 1), (1.0, 3)])
def test_later_clusters_are_of_a_middle_block_of_the_encoder_as_it_was_then(layer, block):
    encoder, objective = refreshed(2, layer=layer)
    then = copy.deepcopy(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    view = views(objective)["view"]
    with torch.no_grad():
        output = then.hidden_states(view)[block]
    features = output / output.norm(dim=-1, keepdim=True)
    objective.after_step(encoder, 0.5)
    for index, target in enumerate(objective.targets(view)):
        centroids = objective.get_buffer(f"hidden_centroids_{index}")
        assert torch.equal(target, nearest_reference(features, centroids))


def test_a_cnn_is_clustered_by_the_last_stage():
    encoder, objective = refreshed(2, "net1d", layer=0.25)
    view = views(objective)["view"]
    with torch.no_grad():
        tokens = encoder(view)
    features = tokens / tokens.norm(dim=-1, keepdim=True)
    centroids = objective.get_buffer("hidden_centroids_0")
    assert torch.equal(objective.targets(view)[0], nearest_reference(features, centroids))


@pytest.mark.parametrize("times", [1, 2])
def test_clusters_are_used_and_codewords_start_anew(times):
    encoder, objective = refreshed(times - 1)
    before = [codewords.detach().clone() for codewords in objective.codewords]
    objective.refresh(encoder, records(40, 500, seed=1))
    for k, target in zip((4, 6), objective.targets(records(40, 500, seed=1)), strict=True):
        assert len(target.unique()) == k
    for old, new in zip(before, objective.codewords, strict=True):
        assert not torch.equal(old, new)


def test_clusters_are_fitted_to_at_most_so_many_steps_and_do_not_depend_on_chunks():
    _, objective = create(kmeans_points=50)
    assert objective._points(records(20, 500)).shape[0] == 40
    assert objective._points(records(100, 500)).shape[0] == 50
    _, everything = create(kmeans_points=10_000)
    points = everything._points(records(70, 500))
    whole = spectral_features(records(70, 500), 20, 20).flatten(0, 1)
    assert torch.equal(points.sort(dim=0).values, whole.sort(dim=0).values)


def test_refresh_is_a_function_of_the_global_seed():
    def fitted(seed):
        encoder, objective = create()
        torch.manual_seed(seed)
        objective.refresh(encoder, records(40, 500))
        return objective.get_buffer("spectral_centroids_0").clone()

    assert torch.equal(fitted(1), fitted(1))
    assert not torch.equal(fitted(1), fitted(2))


@pytest.mark.parametrize(
    ("iterations", "steps", "expected"),
    [(1, 100, (0,)), (2, 100, (0, 50)), (3, 100, (0, 33, 66)), (3, 2, (0, 1))],
)
def test_clusters_are_refitted_at_equal_distances(iterations, steps, expected):
    _, objective = create(iterations=iterations)
    fits = objective.refresh_steps(steps)
    assert fits[0] == 0
    assert len(set(fits)) == len(fits)
    assert fits == expected


def test_one_iteration_needs_no_frozen_copy():
    encoder, objective = refreshed(1, iterations=1)
    assert not any(key.startswith(("teacher", "hidden")) for key in objective.state_dict())
    assert objective.loss(encoder, views(objective)).loss.isfinite()


# State


@pytest.mark.parametrize("times", [0, 1, 2])
def test_a_resumed_objective_has_all_that_was_fitted(times):
    encoder, objective = refreshed(times)
    _, resumed = create(seed=7)
    resumed.load_state_dict(copy.deepcopy(objective.state_dict()))
    given = views(objective)
    assert torch.equal(resumed.loss(encoder, given).loss, objective.loss(encoder, given).loss)


@pytest.mark.parametrize("times", [0, 1, 2])
def test_loss_and_after_step_change_no_state(times):
    encoder, objective = refreshed(times)
    before = copy.deepcopy(objective.state_dict())
    given = views(objective)
    first = objective.loss(encoder, given).loss
    objective.after_step(encoder, 0.5)
    assert torch.equal(objective.loss(encoder, given).loss, first)
    after = objective.state_dict()
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_the_frozen_copy_is_always_evaluated():
    _, objective = create()
    for mode in (None, True, False):
        if mode is not None:
            objective.train(mode)
        assert not any(module.training for module in objective.teacher.modules())
        assert objective.projections.training == (mode is not False)


def test_perplexity_is_the_number_of_clusters_in_equal_use():
    assert float(perplexity(torch.zeros(3, 4, dtype=torch.long), 8)) == pytest.approx(1)
    assert float(perplexity(torch.arange(5).repeat(4), 8)) == pytest.approx(5)
    skewed = torch.tensor([0, 0, 0, 1])
    expected = math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))
    assert float(perplexity(skewed, 2)) == pytest.approx(expected)


def test_identical_steps_show_as_perplexity_one():
    encoder, objective = refreshed(1)
    given = {"view": torch.zeros(4, 2, 200), "mask": views(objective, records(4), 2.0)["mask"]}
    assert float(objective.loss(encoder, given).parts["target_perplexity"]) == pytest.approx(1)


def test_it_learns_to_name_hidden_steps():
    encoder, objective = refreshed(1, mask_length=2, mask_probability=0.4)
    trained = [*encoder.parameters(), *(p for p in objective.parameters() if p.requires_grad)]
    optimizer = torch.optim.AdamW(trained, lr=3e-3)
    signal = records(32, 250, seed=3)
    losses = []
    for step in range(60):
        output = objective.loss(encoder, views(objective, signal, seed=step))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        losses.append(float(output.loss.detach()))
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert float(output.parts["prediction_perplexity"]) > 2
