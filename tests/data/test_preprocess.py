"""Resampling, filtering, cutting and quantising, against slow references."""

from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import butter, sosfreqz

from ecgscale.data.preprocess import (
    FLAT_FRACTION,
    LIMIT,
    STEP,
    band_pass,
    keep,
    process,
    quantise,
    saturation_notes,
)
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS, Record
from ecgscale.data.sources import QuarantineError


def record(signal, fs=100.0, leads=LEADS, **fields):
    signal = np.asarray(signal, dtype=np.float32)
    return Record("r", "s:r", signal, fs, leads, **fields)


def tones(fs, seconds, *frequencies):
    time = np.arange(round(fs * seconds)) / fs
    return sum(np.sin(2 * np.pi * f * time) for f in frequencies)[None, None]


@pytest.mark.parametrize("fs", [100.0, 128.0, 250.0, 257.0, 500.0, 1000.0])
def test_resampling_keeps_a_tone_and_its_phase(fs):
    recipe = Recipe(band=(0, 1000))
    got = process(tones(fs, 10, 7), fs, recipe)
    middle = slice(100, 900)
    np.testing.assert_allclose(got[..., middle], tones(100, 10, 7)[..., middle], atol=2e-3)
    assert got.shape == (1, 1, 1000)


def test_resampling_removes_what_the_new_rate_cannot_carry():
    got = process(tones(500, 10, 80), 500, Recipe(band=(0, 1000)))
    assert np.abs(got[..., 100:900]).max() < 2e-3


def test_band_pass_keeps_the_band_without_delay_and_removes_the_rest():
    got = process(tones(100, 10, 10) + 3 + tones(100, 10, 0.05), 100, Recipe())
    np.testing.assert_allclose(got[..., 200:800], tones(100, 10, 10)[..., 200:800], atol=0.02)


def test_band_pass_response_is_the_squared_butterworth():
    """An impulse through the filter has the response of the section, run twice."""
    impulse = np.zeros((1, 1, 4000))
    impulse[..., 2000] = 1
    recipe = Recipe(seconds=40)
    got = np.abs(np.fft.rfft(process(impulse, 100, recipe)[0, 0]))
    frequency = np.fft.rfftfreq(4000, 1 / 100)
    _, response = sosfreqz(
        butter(3, (0.5, 40), "bandpass", fs=100, output="sos"), frequency, fs=100
    )
    np.testing.assert_allclose(got[5:-1], np.abs(response[5:-1]) ** 2, atol=1e-4)


@pytest.mark.parametrize(
    ("band", "fs", "passes", "stops"),
    [
        ((0.5, 40.0), 60.0, 25.0, 0.05),
        ((0.0, 20.0), 100.0, 0.05, 45.0),
    ],
)
def test_an_edge_that_cannot_exist_is_left_out(band, fs, passes, stops):
    _, response = sosfreqz(band_pass(band, fs), [passes, stops], fs=fs)
    assert np.abs(response[0]) > 0.95
    assert np.abs(response[1]) < 0.05


def test_no_edge_at_all():
    assert band_pass((0.0, 50.0), 100.0) is None


def test_a_filtered_source_is_not_filtered_again():
    signal = tones(100, 10, 0.1, 10)
    np.testing.assert_array_equal(process(signal, 100, Recipe(), filtered=True), signal)


@pytest.mark.parametrize(("seconds", "kept"), [(6, 600), (10, 1000), (30, 1000)])
def test_short_records_are_padded_and_long_ones_cut(seconds, kept):
    got = process(tones(100, seconds, 5), 100, Recipe(band=(0, 1000)))
    assert got.shape[-1] == 1000
    np.testing.assert_array_equal(got[..., :kept], tones(100, seconds, 5)[..., :kept])
    assert not got[..., kept:].any()


def test_a_record_does_not_depend_on_its_batch():
    signals = np.random.default_rng(0).normal(size=(7, 3, 2500)).astype(np.float32)
    batch = process(signals, 250, Recipe())
    for one, together in zip(signals, batch, strict=True):
        np.testing.assert_array_equal(process(one[None], 250, Recipe())[0], together)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-LIMIT, LIMIT), min_size=1, max_size=50))
def test_stored_steps_survive_a_round_trip(steps):
    steps = np.array(steps, dtype=np.int16)
    millivolts = steps.astype(np.float32) * np.float32(STEP)
    got, cut = quantise(millivolts[None, None])
    np.testing.assert_array_equal(got[0, 0], steps)
    assert cut.tolist() == [0]


def test_samples_beyond_the_range_are_cut_and_counted():
    got, cut = quantise(np.array([[[40.0, -40.0, 1.0]], [[1.0, 2.0, -32.767]]]))
    assert got.tolist() == [[[LIMIT, -LIMIT, 1000]], [[1000, 2000, -LIMIT]]]
    assert cut.tolist() == [2, 0]
    assert saturation_notes(0, 1000) == ()
    assert saturation_notes(10, 1000) == ("10 samples cut to 32.767",)
    with pytest.raises(QuarantineError, match="11 of 1000"):
        saturation_notes(11, 1000)


def test_leads_are_put_in_the_order_of_the_recipe(write):
    samples = write.beats() / 1000
    shuffled = np.random.default_rng(0).permutation(12)
    names = tuple(LEADS[number] for number in shuffled)
    got, notes = keep(record(samples[shuffled], leads=names), Recipe())
    np.testing.assert_array_equal(got, samples.astype(np.float32))
    assert notes == ()


def test_only_the_kept_part_is_checked(write):
    samples = write.beats(seconds=20) / 1000
    samples[2, 1500] = np.nan
    got, _ = keep(record(samples), Recipe())
    assert got.shape == (12, 1000)
    with pytest.raises(QuarantineError, match="III"):
        keep(record(samples), Recipe(seconds=20))


@settings(max_examples=60, deadline=None)
@given(
    runs=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=6),
)
def test_flat_leads_against_run_lengths(runs):
    row = np.concatenate([np.full(length, value) for value, length in runs]).astype(np.float32)
    row = np.resize(row, 600)
    longest = max(len(list(group)) for _, group in groupby(row.tolist()))
    signal = np.stack([row, np.random.default_rng(0).normal(size=600)])
    recipe = Recipe(leads=("I", "II"))
    if longest >= FLAT_FRACTION * 600:
        with pytest.raises(QuarantineError, match=r"flat-lead.*lead I'"):
            keep(record(signal, leads=("I", "II")), recipe)
    else:
        keep(record(signal, leads=("I", "II")), recipe)
