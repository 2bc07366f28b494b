"""A surrogate keeps spectra and cross-spectra of its recording, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.data.surrogate import _generator, surrogates


def made_up(records, leads, length, seed=0):
    """Return beats of sharp waves, as leads of one heart, with a little noise: int16 microvolts."""
    rng = np.random.default_rng(seed)
    time = np.arange(length)
    beats = np.zeros((records, length))
    for record in beats:
        for start in range(int(rng.integers(5, 20)), length, int(rng.integers(30, 60))):
            record += 1500 * np.exp(-(((time - start) / 1.5) ** 2))
    gain = rng.normal(size=(records, leads, 1))
    noise = rng.normal(0, 20, (records, leads, length))
    return np.rint(gain * beats[:, None] + noise).astype(np.int16)


def slow(wave, key, seed):
    """Return a surrogate of (lead, time), summed cosine by cosine."""
    leads, length = wave.shape
    time = np.arange(length)
    free = (length + 1) // 2 - 1
    phases = _generator(key, seed).uniform(0, 2 * np.pi, free)
    made = np.empty(wave.shape)
    for lead in range(leads):
        made[lead] = wave[lead].mean()
        for k in range(1, length // 2 + 1):
            angle = 2 * np.pi * k * time / length
            a, b = wave[lead] @ np.cos(angle), wave[lead] @ np.sin(angle)
            phase = phases[k - 1] if k <= free else 0.0
            scale = (1 if 2 * k == length else 2) / length
            made[lead] += scale * (a * np.cos(angle + phase) + b * np.sin(angle + phase))
    return made


@pytest.mark.parametrize("length", [1, 2, 3, 63, 64])
def test_it_is_the_slow_sum_of_cosines(length):
    signal = made_up(2, 3, length)
    made = surrogates(signal, [length, length], ["a", "b"], seed=4)
    for record, key in enumerate("ab"):
        expected = slow(signal[record].astype(float), key, 4)
        assert np.abs(made[record] - expected).max() <= 0.5 + 1e-6


@given(leads=st.integers(1, 4), length=st.integers(8, 400), seed=st.integers(0, 2**32))
def test_power_and_cross_spectra_are_kept(leads, length, seed):
    signal = made_up(1, leads, length, seed)
    made = surrogates(signal, [length], ["x"], seed)
    before, after = (np.fft.rfft(x[0].astype(float), axis=1) for x in (signal, made))
    # Rounding moves a coefficient by up to half a microvolt a sample.
    slack = 0.5 * length
    power = np.abs(before).max() + slack
    cross_before, cross_after = (x[:, None] * x[None].conj() for x in (before, after))
    assert np.abs(np.abs(before) - np.abs(after)).max() <= slack
    assert np.abs(cross_before - cross_after).max() <= 2 * power * slack + slack**2
    assert np.abs(signal.mean(axis=2) - made.mean(axis=2)).max() <= 0.5


def test_the_shape_is_gone():
    signal = made_up(20, 12, 1000)
    made = surrogates(signal, np.full(20, 1000), [f"r{n}" for n in range(20)], seed=0)

    def kurtosis(x):
        centred = x - x.mean(axis=2, keepdims=True)
        return (centred**4).mean(axis=2) / (centred**2).mean(axis=2) ** 2

    assert np.median(kurtosis(signal.astype(float))) > 8
    assert np.median(kurtosis(made.astype(float))) == pytest.approx(3, abs=0.6)
    at = np.abs([np.corrcoef(a[0], b[0])[0, 1] for a, b in zip(signal, made, strict=True)])
    assert np.median(at) < 0.2


def test_a_record_has_one_surrogate_for_each_seed_whatever_stands_beside_it():
    signal = made_up(3, 2, 100)
    made = surrogates(signal, [100] * 3, ["a", "b", "c"], seed=1)
    again = surrogates(signal[::-1], [100] * 3, ["c", "b", "a"], seed=1)
    assert np.array_equal(made, again[::-1])
    assert np.array_equal(surrogates(signal[1:2], [100], ["b"], seed=1), made[1:2])
    assert not np.array_equal(surrogates(signal, [100] * 3, ["a", "b", "c"], seed=2), made)
    same = surrogates(signal[[0, 0]], [100] * 2, ["a", "b"], seed=1)
    assert not np.array_equal(same[0], same[1])


def test_padding_stays_and_is_in_no_spectrum():
    signal = made_up(1, 2, 120)
    signal[:, :, 100:] = 0
    made = surrogates(signal, [100], ["a"], seed=0)
    assert not made[:, :, 100:].any()
    assert np.array_equal(made[:, :, :100], surrogates(signal[:, :, :100], [100], ["a"], seed=0))


def test_the_largest_values_do_not_wrap_round():
    signal = np.where(np.arange(64) % 2, 32767, -32768).astype(np.int16).reshape(1, 1, 64)
    signal[0, 0, :5] = 32767
    made = surrogates(signal, [64], ["a"], seed=0)
    # A value that wraps differs from its neighbours in spectrum: here all stays near the limits.
    expected = slow(signal[0].astype(float), "a", 0).clip(-32768, 32767)
    assert np.abs(made[0] - expected).max() <= 1
