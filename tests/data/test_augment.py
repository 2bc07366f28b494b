import math

import numpy as np
import pytest
import torch

from ecgscale.data import augment
from ecgscale.data.augment import Augmenter
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError

FS = 100.0
RECIPE = Recipe()
RAW = Recipe(normalise="none")
PLAIN = {
    "crop_seconds": None,
    "noise_prob": 0.0,
    "wander_prob": 0.0,
    "scale_range": (1.0, 1.0),
    "mask_prob": 0.0,
    "lead_drop_prob": 0.0,
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(batch=64, leads=12, length=1000):
    """Every value is different, none is zero, and says where it stood."""
    return torch.arange(1, batch * leads * length + 1).double().view(batch, leads, length)


def signals(batch=64, leads=12, length=1000, seed=7):
    return torch.randn(batch, leads, length, generator=generator(seed))


def augmenter(n_leads=12, recipe=RAW, seed=0, **changes):
    return Augmenter(AugmentConfig(**(PLAIN | changes)), FS, n_leads, recipe, generator(seed))


# The pieces, one by one


def test_take_lead_takes_the_stated_lead_of_each_record():
    x = numbered(batch=5)
    lead = torch.tensor([0, 11, 3, 3, 7])
    taken = augment.take_lead(x, lead)
    for record in range(5):
        assert torch.equal(taken[record, 0], x[record, lead[record]])


def test_crop_is_a_contiguous_piece_at_one_place_for_all_leads_of_a_record():
    x = numbered()
    cropped = augment.random_crop(x, 500, generator())
    assert cropped.shape == (64, 12, 500)
    starts = []
    for record in range(64):
        start = int((x[record, 0] == cropped[record, 0, 0]).nonzero())
        starts.append(start)
        for lead in range(12):
            assert torch.equal(cropped[record, lead], x[record, lead, start : start + 500])
    assert len(set(starts)) > 30


def test_crop_starts_are_uniform_from_first_to_last():
    x = numbered(batch=6000, leads=1, length=13)
    starts = augment.random_crop(x, 10, generator())[:, 0, 0] - x[:, 0, 0]
    counts = np.bincount(starts.long().numpy(), minlength=4)
    assert len(counts) == 4
    assert abs(counts - 1500).max() < 5 * math.sqrt(1500)


def test_crop_stays_within_the_recorded_part():
    x = numbered(batch=500, leads=2, length=100)
    x[:, :, 60:] = 0
    x[:, 1, 55:] = 0
    cropped = augment.random_crop(x, 50, generator())
    assert (cropped[:, 0] != 0).all()
    short = augment.random_crop(x, 80, generator())
    assert torch.equal(short, x[:, :, :80])


def test_crop_of_the_whole_record_is_the_record():
    x = numbered()
    assert torch.equal(augment.random_crop(x, 1000, generator()), x)


@pytest.mark.parametrize("n_samples", [0, 1001])
def test_crop_that_does_not_fit_is_bad_input(n_samples):
    with pytest.raises(BadInputError, match="crop_seconds"):
        augment.random_crop(numbered(), n_samples, generator())


def test_recorded_part_and_amplitude_match_a_loop():
    x = signals(batch=6, leads=3, length=50)
    x[1, :, 30:] = 0
    x[2, 0, 20:] = 0
    x[3] = 0
    x[4, 1] = 0
    recorded = augment.recorded_part(x)
    sd = augment.amplitude(x, recorded)
    for record in range(6):
        filled = [t for t in range(50) if any(x[record, lead, t] != 0 for lead in range(3))]
        length = filled[-1] + 1 if filled else 0
        assert recorded[record, 0].tolist() == [t < length for t in range(50)]
        for lead in range(3):
            piece = x[record, lead, :length].numpy()
            expected = piece.std() if length else 0.0
            assert float(sd[record, lead, 0]) == pytest.approx(float(expected), abs=1e-6)


def test_gain_is_one_factor_per_record_log_uniform_within_bounds():
    x = signals(batch=4000, leads=2, length=8).double()
    factors = augment.random_gain(x, (0.5, 2.0), generator()) / x
    spread = factors.flatten(1)
    assert torch.allclose(spread, spread[:, :1])
    gains = spread[:, 0].log2()
    assert gains.min() >= -1 - 1e-6
    assert gains.max() <= 1 + 1e-6
    assert abs(gains.mean()) < 5 * (2 / math.sqrt(12)) / math.sqrt(4000)
    assert float(gains.std()) == pytest.approx(2 / math.sqrt(12), rel=0.05)


def test_noise_has_the_stated_amplitude_in_the_stated_part_of_the_records():
    x = torch.zeros(2000, 2, 200)
    sd = torch.tensor([0.1, 0.0]).view(1, 2, 1).expand(2000, 2, 1)
    noisy = augment.add_noise(x, sd, 0.3, generator())
    assert torch.equal(noisy[:, 1], x[:, 1])
    hit = noisy[:, 0].abs().sum(-1) > 0
    assert abs(hit.double().mean() - 0.3) < 5 * math.sqrt(0.21 / 2000)
    noise = noisy[hit, 0]
    assert float(noise.std()) == pytest.approx(0.1, rel=0.02)
    neighbours = (noise[:, 1:] * noise[:, :-1]).mean() / noise.square().mean()
    assert abs(neighbours) < 0.02


def test_wander_matches_a_sum_of_sinusoids_written_out():
    batch, leads, length, count = 5, 3, 120, augment.SINUSOIDS
    x = signals(batch, leads, length)
    sd = torch.rand(batch, leads, 1, generator=generator(3))
    wandered = augment.add_wander(x, sd, 1.0, (0.05, 0.5), FS, generator(9))
    source = generator(9)
    draw = torch.rand((batch, count, 1), generator=source)
    parts = torch.randn((batch, leads, 2 * count), generator=source)
    for record in range(batch):
        for lead in range(leads):
            for t in range(0, length, 17):
                wander = 0.0
                for k in range(count):
                    hertz = 0.05 + 0.45 * float(draw[record, k, 0])
                    phase = 2 * math.pi * hertz * t / FS
                    wander += float(parts[record, lead, k]) * math.cos(phase)
                    wander += float(parts[record, lead, count + k]) * math.sin(phase)
                expected = float(x[record, lead, t])
                expected += wander * float(sd[record, lead, 0]) / math.sqrt(count)
                assert float(wandered[record, lead, t]) == pytest.approx(expected, abs=1e-5)


def test_wander_has_the_stated_amplitude_at_every_time_and_is_slow():
    x = torch.zeros(4000, 1, 1000)
    wander = augment.add_wander(x, torch.full((4000, 1, 1), 0.2), 1.0, (0.05, 0.5), FS, generator())
    for t in (0, 250, 999):
        assert float(wander[:, 0, t].square().mean().sqrt()) == pytest.approx(0.2, rel=0.05)
    power = torch.fft.rfft(wander[:200, 0] * torch.hann_window(1000)).abs().square().sum(0)
    hertz = torch.fft.rfftfreq(1000, 1 / FS)
    assert power[hertz > 1.0].sum() < 1e-3 * power.sum()


def test_mask_is_one_contiguous_span_of_allowed_length_shared_by_the_leads():
    x = numbered(batch=3000, leads=2, length=50)
    masked = augment.mask_span(x, (0.1, 0.3), 0.4, generator())
    zero = masked == 0
    assert torch.equal(masked[~zero], x[~zero])
    assert torch.equal(zero[:, 0], zero[:, 1])
    hit = zero[:, 0].any(dim=1)
    assert abs(hit.double().mean() - 0.4) < 5 * math.sqrt(0.24 / 3000)
    lengths, covered = set(), np.zeros(50)
    for row in zero[hit, 0].numpy():
        where = np.flatnonzero(row)
        assert where[-1] - where[0] + 1 == len(where)
        lengths.add(len(where))
        covered[where] += 1
    assert lengths == set(range(5, 16))
    assert covered[0] > 0
    assert covered[-1] > 0


def test_leads_drop_at_the_stated_rate_but_never_all():
    x = numbered(batch=3000, leads=12, length=2)
    kept = augment.drop_leads(x, 0.1, generator())
    gone = kept == 0
    assert torch.equal(kept[~gone], x[~gone])
    assert torch.equal(gone[:, :, 0], gone[:, :, 1])
    assert abs(gone.double().mean() - 0.1) < 0.01
    for leads in (1, 2):
        always = augment.drop_leads(numbered(200, leads, 2), 1.0, generator())
        assert ((always[:, :, 0] != 0).sum(dim=1) == 1).all()


# Together


def test_with_everything_off_a_view_is_the_normalised_record():
    x = signals()
    torch.testing.assert_close(augmenter()(x), x)
    torch.testing.assert_close(augmenter(recipe=RECIPE)(x), normalise(x, RECIPE))


def test_default_views_have_the_crop_length_are_normalised_and_differ():
    x = signals()
    first, second = Augmenter(AugmentConfig(), FS, 12, RECIPE, generator()).pair(x)
    for view in (first, second):
        assert view.shape == (64, 12, 250)
        assert view.dtype == torch.float32
        assert view.isfinite().all()
        flat = (view == 0).all(dim=-1)
        assert 0.02 < flat.double().mean() < 0.2
        sd = view.std(dim=-1)[~flat]
        torch.testing.assert_close(sd, torch.ones_like(sd), rtol=0.25, atol=0)
    assert not torch.equal(first, second)


def test_same_generator_state_same_bits_and_other_seed_other_bits():
    x = signals()

    def views(seed):
        return torch.stack(Augmenter(AugmentConfig(), FS, 12, RECIPE, generator(seed)).pair(x))

    assert torch.equal(views(0), views(0))
    assert not torch.equal(views(0), views(1))


def test_the_stream_resumes_from_a_saved_generator_state():
    x = signals()
    straight = Augmenter(AugmentConfig(), FS, 12, RECIPE, generator())
    straight(x)
    state = straight.generator.get_state()
    expected = straight.pair(x)
    resumed = Augmenter(AugmentConfig(), FS, 12, RECIPE, torch.Generator())
    resumed.generator.set_state(state)
    for view, again in zip(expected, resumed.pair(x), strict=True):
        assert torch.equal(view, again)


def test_the_number_of_draws_does_not_depend_on_the_values():
    def state_after(x):
        augment_ = Augmenter(AugmentConfig(), FS, 12, RECIPE, generator())
        augment_.pair(x)
        return augment_.generator.get_state()

    assert torch.equal(state_after(signals(seed=1)), state_after(torch.zeros(64, 12, 1000)))


def test_torch_global_generator_and_the_input_are_left_alone():
    x = signals()
    before, state = x.clone(), torch.get_rng_state()
    Augmenter(AugmentConfig(), FS, 12, RECIPE, generator()).pair(x)
    Augmenter(AugmentConfig(crop_seconds=None), FS, 12, RECIPE, generator())(x)
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), state)


def test_views_carry_no_gradient_and_ignore_the_caller_autocast():
    x = signals().requires_grad_()
    plain = Augmenter(AugmentConfig(), FS, 12, RECIPE, generator())(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under_autocast = Augmenter(AugmentConfig(), FS, 12, RECIPE, generator())(x)
    assert not plain.requires_grad
    assert torch.equal(plain, under_autocast)


def test_records_are_augmented_independently():
    x = signals()
    changed = x.clone()
    changed[5] = 3 * changed[6] + 1
    config = AugmentConfig()
    one = Augmenter(config, FS, 12, RECIPE, generator())(x)
    other = Augmenter(config, FS, 12, RECIPE, generator())(changed)
    same = [torch.equal(a, b) for a, b in zip(one, other, strict=True)]
    assert same == [record != 5 for record in range(64)]


def test_flat_leads_stay_flat_and_filling_stays_zero():
    x = signals(length=1000)
    x[3, 4] = 0
    x[7, :, 700:] = 0
    config = AugmentConfig(crop_seconds=None, noise_prob=1, wander_prob=1, mask_prob=0)
    view = Augmenter(config, FS, 12, RECIPE, generator())(x)
    assert (view[3, 4] == 0).all()
    assert (view[7, :, 700:] == 0).all()
    assert (view[7, :, :700] != 0).double().mean() > 0.8


# Encoders with one lead


def test_a_single_view_draws_one_lead_uniformly():
    lead_number = torch.arange(1.0, 13).view(1, 12, 1).expand(6000, 12, 5)
    view = augmenter(n_leads=1)(lead_number)
    assert view.shape == (6000, 1, 5)
    counts = np.bincount(view[:, 0, 0].long().numpy(), minlength=13)[1:]
    assert abs(counts - 500).max() < 5 * math.sqrt(500)


@pytest.mark.parametrize("probability", [0.0, 0.8, 1.0])
def test_paired_leads_agree_as_often_as_clef_says(probability):
    lead_number = torch.arange(1.0, 13).view(1, 12, 1).expand(6000, 12, 5)
    first, second = augmenter(n_leads=1, same_lead_prob=probability).pair(lead_number)
    agree = float((first[:, 0, 0] == second[:, 0, 0]).double().mean())
    expected = probability + (1 - probability) / 12
    assert abs(agree - expected) <= 5 * math.sqrt(expected * (1 - expected) / 6000)
    for view in (first, second):
        counts = np.bincount(view[:, 0, 0].long().numpy(), minlength=13)[1:]
        assert abs(counts - 500).max() < 5 * math.sqrt(500)


def test_a_recipe_with_one_lead_needs_no_choice():
    recipe = Recipe(leads=("II",), normalise="none")
    x = signals(leads=1)
    torch.testing.assert_close(augmenter(n_leads=1, recipe=recipe)(x), x)


def test_an_encoder_with_some_of_the_leads_is_bad_input():
    with pytest.raises(BadInputError, match="8 input leads"):
        augmenter(n_leads=8)


@pytest.mark.parametrize("n_leads", [1, 12])
def test_views_of_stored_samples_are_those_of_millivolts(n_leads):
    draw = torch.Generator().manual_seed(0)
    stored = torch.randint(-3000, 3000, (4, 12, 1000), generator=draw).to(torch.int16)
    stored[0, :, 700:] = 0
    made = {}
    for name, signal in (("stored", stored), ("mV", stored.float() * 1e-3)):
        generator = torch.Generator().manual_seed(1)
        augment = Augmenter(AugmentConfig(), 100.0, n_leads, Recipe(), generator)
        made[name] = [*augment.pair(signal), augment(signal), augment.plain(signal)]
    for one, other in zip(*made.values(), strict=True):
        assert torch.equal(one, other)
