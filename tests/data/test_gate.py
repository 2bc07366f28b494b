"""The gate: what it lets through to the bit, and what it refuses, each by its reason."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data.gate import Channel, admit
from ecgscale.data.sources import QuarantineError

STEPS = np.array([5, -7, 100, 3], dtype=np.int16)


def channel(name="II", samples=STEPS, fs=500.0, **stated):
    return Channel(name, np.asarray(samples), fs, **{"gain": 200.0, **stated})


def refused(*channels, **kwargs):
    with pytest.raises(QuarantineError) as caught:
        admit("r.hea", channels, **kwargs)
    assert "r.hea" in caught.value.detail
    return caught.value


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(["i1", "<i2", ">i2", "i4", "i8", "u2", "f4", "f8"]),
    gain=st.floats(1.0, 1e5),
    baseline=st.integers(-40_000, 40_000),
    unit=st.sampled_from(["mV", "uV", "µV", "nV", "V", " MV "]),
    seed=st.integers(0, 1000),
)
def test_values_are_computed_in_float64_from_the_samples(dtype, gain, baseline, unit, seed):
    steps = np.random.default_rng(seed).integers(0, 127, (2, 30))
    scale = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "nv": 1e-6, "v": 1e3}[unit.strip().lower()]
    stated = {"unit": unit, "gain": gain * scale, "baseline": baseline}
    one, two = steps.astype(dtype)
    found = admit("r", [channel("I", one, **stated), channel("II", two, **stated)])
    expected = ((steps.astype(np.float64) - baseline) / (gain * scale / scale)).astype(np.float32)
    np.testing.assert_array_equal(found.signal, expected)
    assert found.signal.dtype == np.float32
    assert (found.leads, found.fs) == (("I", "II"), 500.0)
    assert all("from its median" in note for note in found.notes)  # under a low gain


def test_integers_and_floats_side_by_side():
    found = admit("r", [channel("I"), channel("II", [0.5, np.nan, np.inf, -1.0], gain=1.0)])
    np.testing.assert_array_equal(found.signal[0], (STEPS / 200).astype(np.float32))
    np.testing.assert_array_equal(found.signal[1], np.float32([0.5, np.nan, np.inf, -1.0]))


@pytest.mark.parametrize(
    ("stated", "reason"),
    [
        ({"gain": None}, "bad-gain"),
        *[({"gain": gain}, "bad-gain") for gain in (0.0, -200.0, np.nan, np.inf, 0.5, 2e7)],
        ({"gain": 0.5, "unit": "uV", "samples": [1.0, 2.0], "baseline": np.nan}, "bad-gain"),
        *[({"gain": gain, "samples": [1.0, 2.0]}, "bad-gain") for gain in (0.0, -1.0, np.inf)],
        ({"baseline": 2.0**32}, "bad-gain"),
        ({"unit": "mmHg"}, "bad-gain"),
        ({"name": "resp", "unit": "NU"}, "bad-gain"),
        ({"checksum": 102}, "checksum-mismatch"),
        ({"stated": 5}, "truncated-signal"),
        ({"stated": 3}, "wrong-rate"),
        ({"samples": np.zeros(0, dtype=np.int16)}, "truncated-signal"),
        ({"name": " "}, "missing-lead"),
        *[({"fs": fs}, "wrong-rate") for fs in (0.0, -500.0, np.nan, np.inf, 5.0, 1e5)],
        ({"samples": np.array([1, -32768], dtype=np.int16)}, "nan-samples"),
        ({"samples": np.array([1, -(2**31)], dtype=np.int32)}, "nan-samples"),
        ({"samples": [1, -2048], "invalid": (-2048,)}, "nan-samples"),
        ({"samples": [1.0, -32768.0], "invalid": (-32768,)}, "nan-samples"),
        ({"samples": ["1", "2"]}, "unreadable-header"),
        ({"samples": [[1, 2], [3, 4]]}, "unreadable-header"),
        ({"samples": [True, False]}, "unreadable-header"),
    ],
)
def test_what_cannot_be_right_is_refused(stated, reason):
    assert refused(channel(**stated)).reason == reason
    good = channel("V1", np.resize(STEPS, len(np.asarray(stated.get("samples", STEPS)))))
    if stated.get("name") != "resp":  # beside a good lead, that alone is left out
        assert refused(good, channel(**stated)).reason == reason


def test_a_true_checksum_passes_in_every_spelling():
    total = int(STEPS.sum())
    for stated in (total, total + 65536, total - 65536):
        assert admit("r", [channel(checksum=stated, stated=4)]).signal.shape == (1, 4)


def test_the_marker_of_another_channel_is_a_sample():
    found = admit("r", [channel("I", [1, -2048]), channel("II", [1, 2], invalid=(-2048,))])
    assert found.signal[0, 1] == np.float32(-2048 / 200)


@pytest.mark.parametrize(
    ("names", "lead_names"),
    [
        (("II", "II"), {}),
        (("II", "ii "), {}),
        (("MLII", "II"), {"MLII": "II"}),
        (("A", "B"), {"A": "V1", "B": "v1"}),
    ],
)
def test_a_lead_named_twice_is_refused(names, lead_names):
    error = refused(*(channel(name) for name in names), lead_names=lead_names)
    assert error.reason == "repeated-lead"


def test_names_are_mapped_before_they_are_spelled():
    found = admit("r", [channel("MLII"), channel("AVR"), channel("")], {"MLII": "II", "": "v1"})
    assert found.leads == ("II", "aVR", "V1")


def test_what_is_no_voltage_is_left_out_with_a_note():
    twice = [channel("ABP", unit="mmHg", gain=None, fs=1.0), channel("ABP", unit="mmHg", fs=62.5)]
    found = admit("r", [channel("II"), *twice, channel("", unit="%")])
    assert (found.leads, found.fs) == (("II",), 500.0)
    assert found.notes == ("not a voltage, left out: ABP, ABP, nameless",)


def test_channels_at_another_rate_than_most_leads_are_left_out_with_a_note():
    resp = [channel(name, STEPS[:2], fs=125.0) for name in ("RESP", "CO2", "X")]
    found = admit("r", [channel("I"), channel("II"), channel("V1", STEPS[:1], fs=62.5), *resp])
    assert (found.leads, found.fs) == (("I", "II"), 500.0)
    assert found.notes == (
        "not at 500 Hz, left out: V1 (62.5 Hz), RESP (125 Hz), CO2 (125 Hz), X (125 Hz)",
    )
    found = admit("r", [channel("V1", STEPS[:2], fs=250.0), channel("V2")])
    assert (found.leads, found.fs) == (("V2",), 500.0)


def test_leads_of_one_rate_have_one_length():
    assert refused(channel("I"), channel("II", STEPS[:3])).reason == "truncated-signal"


def test_no_channels():
    assert refused().reason == "missing-lead"


RAMP = np.arange(-300, 300)


@pytest.mark.parametrize("unit", ["mV", "uV", "V", "nV"])
@pytest.mark.parametrize("dtype", ["i2", ">i2", "i4", "i8", "f4", "f8"])
def test_the_marker_of_16_bit_in_any_type_and_unit(dtype, unit):
    marked = RAMP.copy()
    marked[77:79] = -32768
    gain = 1000 / {"mV": 1, "uV": 1e3, "V": 1e-3, "nV": 1e6}[unit]
    stated = {"unit": unit, "gain": gain}
    pair = channel("I", RAMP.astype(dtype), **stated), channel("V1", marked.astype(dtype), **stated)
    error = refused(*pair)
    assert (error.reason, "lead V1 of r.hea has 2 invalid" in error.detail) == ("nan-samples", True)
    if dtype in ("i2", ">i2"):
        return
    beyond = RAMP.copy()
    beyond[5] = 32768
    found = admit("r", [channel("I", beyond.astype(dtype), **stated), pair[1]])
    assert found.signal[1, 77] == np.float32(-32.768)
    known = channel("V1", marked.astype(dtype), all_invalid=True, **stated)
    found = admit("r", [pair[0], known])
    assert found.signal[1, 77] == np.float32(-32.768)
    assert found.notes[0] == "2 samples of lead V1 are -32768"


def test_fractions_are_no_steps():
    found = admit("r", [channel("I", [0.5, -32768.0, 3.0], gain=1e5)])
    assert (found.signal[0, 1], found.notes) == (np.float32(-0.32768), ())


@pytest.mark.parametrize("end", [32767, -32767])
def test_the_other_ends_of_16_bit_are_noted(end):
    samples = np.where(RAMP == 7, end, RAMP)
    found = admit("r", [channel("I", samples.astype("f4"), gain=1e4)])
    assert found.notes == (f"1 samples of lead I are {end}",)


@pytest.mark.parametrize(
    ("places", "value", "count"),
    [
        ([50], -9.999, 1),
        (range(50, 60), -9.999, 10),
        ([0], 99.9, 1),
        ([599], 99.9, 1),
        ([10, 20, 30], 10.0, 3),
        ([50], 7.5, None),
        (range(500), 20.0, 500),
    ],
)
def test_single_samples_far_from_the_others_are_noted(places, value, count):
    signal = np.sin(RAMP / 20)
    signal[list(places)] += value
    found = admit("r", [channel("I", np.sin(RAMP / 9), gain=1.0), channel("V1", signal, gain=1.0)])
    np.testing.assert_array_equal(found.signal[1], signal.astype(np.float32))
    if count is None:
        assert found.notes == ()
        return
    (note,) = found.notes
    far = 100 if count == 500 else count  # what most samples have is the median
    assert note.startswith(f"{far} samples of lead V1 are more than 8 mV from its median")


def test_what_rises_slowly_is_not_noted():
    slow = 20 * np.sin(RAMP / 100)
    assert admit("r", [channel("I", slow, gain=1.0)]).notes == ()
    broken = np.where(RAMP == 3, np.nan, slow)
    assert admit("r", [channel("I", broken, gain=1.0)]).notes == ()
    assert admit("r", [channel("I", np.full(9, np.nan), gain=1.0)]).notes == ()
