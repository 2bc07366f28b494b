"""EDF and EDF+ files, written by pyEDFlib, and altered where it writes no such thing."""

import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources import sources
from ecgscale.data.sources.base import QuarantineError
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.errors import BadInputError
from support.edf import FS
from support.edf import write_edf as save

FIELDS = {
    **{"label": (0, 16), "unit": (96, 8), "physical_min": (104, 8), "physical_max": (112, 8)},
    **{"digital_min": (120, 8), "digital_max": (128, 8), "samples": (216, 8)},
}
"""Where a signal's header fields begin, in bytes a signal, and how long they are."""


def alter(path, field, value, signal=0):
    """Write a field of a signal's header, or bytes at a place of the file."""
    data = bytearray(path.read_bytes())
    if isinstance(field, str):
        count = int(data[252:256])
        start, length = FIELDS[field]
        place = 256 + start * count + length * signal
        value = value.encode("latin-1").ljust(length)
    else:
        place = field
    data[place : place + len(value)] = value
    path.write_bytes(bytes(data))


def folder(root, **keys):
    root.mkdir(parents=True, exist_ok=True)
    (root / "source.yaml").write_text(yaml.safe_dump({"format": "edf", **keys}))
    return sources.get("folder")(root, "own", {})


def read(root, **keys):
    (record,) = folder(root, **keys).iter_records()
    return record


def refused(root, **keys):
    with pytest.raises(QuarantineError) as error:
        read(root, **keys)
    return error.value.reason


@pytest.fixture
def samples():
    """Shape (2, time), int16."""
    return np.random.default_rng(0).integers(-9000, 9000, (2, 5 * FS)).astype(np.int16)


def microvolts(samples, physical=3276.8):
    """What the standard says that digital samples are."""
    return -physical + (samples + 32768.0) * (2 * physical) / 65535


@pytest.mark.parametrize("plus", [True, False])
@pytest.mark.parametrize(
    ("unit", "scale", "physical"),
    [
        *[("uV", 1e-3, 3276.8), ("microV", 1e-3, 5000), ("mV", 1, 3.2768), ("MV", 1, 5)],
        *[("V", 1e3, 0.004), ("nV", 1e-6, 3276800)],
    ],
)
def test_samples_are_those_that_the_standard_gives(tmp_path, samples, plus, unit, scale, physical):
    save(tmp_path / "p1" / "x.edf", samples, ["I", "II"], unit=unit, physical=physical, plus=plus)
    record = read(tmp_path)
    expected = microvolts(samples, physical) * scale
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-6)
    assert (record.record_id, record.leads, record.fs) == ("p1/x", ("I", "II"), 100)
    assert record.notes == ()


@pytest.mark.parametrize("unit", [b"\xb5V", b"\xc2\xb5V", b"\xce\xbcV", b"uv"])
def test_a_micro_in_any_encoding(tmp_path, samples, unit):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    for signal in (0, 1):
        alter(tmp_path / "x.edf", 256 + 96 * 3 + 8 * signal, unit.ljust(8))
    np.testing.assert_allclose(read(tmp_path).signal, microvolts(samples) / 1000, rtol=1e-5)


@pytest.mark.parametrize(
    ("labels", "leads"),
    [
        (["ECG I", "EKG II"], ("I", "II")),
        (["ECG V1-Ref", "ekg avr"], ("V1", "aVR")),
        (["Lead III", "ECG_AVF"], ("III", "aVF")),
        (["ecg-V6", "ECG.aVL"], ("V6", "aVL")),
        (["MLII", "EKG V5"], ("II", "V5")),
    ],
)
def test_labels_of_devices(tmp_path, samples, labels, leads):
    save(tmp_path / "x.edf", samples, labels)
    assert read(tmp_path, lead_names={"MLII": "II"}).leads == leads


def test_names_may_be_exchanged(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    assert read(tmp_path, lead_names={"I": "II", "II": "I"}).leads == ("II", "I")


def test_signals_that_are_no_leads_are_left_out_with_a_note(tmp_path, samples):
    other = samples[0, ::2]
    labels = ["EEG Fpz-Cz", "ECG II", "SaO2", "V1-V2"]
    save(
        tmp_path / "x.edf", [samples[0], samples[1], other, other], labels, rates=[100, 100, 50, 50]
    )
    record = read(tmp_path)
    assert record.leads == ("II",)
    np.testing.assert_allclose(record.signal, microvolts(samples[1:]) / 1000, rtol=1e-5)
    assert record.notes == ("not leads, left out: EEG Fpz-Cz, SaO2, V1-V2",)
    assert refused(tmp_path, lead_names={"ECG II": "SaO2", "V1-V2": "II"}) == "repeated-lead"
    save(tmp_path / "x.edf", samples, ["ECG", "SaO2"])
    assert refused(tmp_path) == "missing-lead"
    assert read(tmp_path, lead_names={"ECG": "I"}).leads == ("I",)
    assert read(tmp_path, leads=["ECG"]).leads == ("ECG",)


def test_a_lead_of_another_rate_is_left_out_with_a_note(tmp_path, samples):
    save(
        tmp_path / "x.edf",
        [samples[0], samples[1], samples[1, ::2]],
        ["I", "II", "V1"],
        rates=[100, 100, 50],
    )
    record = read(tmp_path)
    assert record.leads == ("I", "II")
    assert record.notes == ("not at 100 Hz, left out: V1 (50 Hz)",)


def test_a_lead_named_twice(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["ECG II", "II"])
    assert refused(tmp_path) == "repeated-lead"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"physical_max": "-3276.8"}, "bad-gain"),
        ({"digital_max": "-32768"}, "bad-gain"),
        ({"digital_min": "32767", "digital_max": "-32768"}, "bad-gain"),
        ({"physical_max": "9e9"}, "bad-gain"),
        ({"physical_max": "nan"}, "bad-gain"),
        ({"physical_max": "1e999"}, "unreadable-header"),
        ({"physical_max": "high"}, "unreadable-header"),
        ({"digital_min": ""}, "unreadable-header"),
        ({"unit": ""}, "bad-gain"),
        ({"unit": "%"}, "bad-gain"),
        ({"samples": "0"}, "unreadable-header"),
        ({"samples": "-100"}, "unreadable-header"),
        ({"samples": "200"}, "truncated-signal"),
        ({"samples": "99999999"}, "truncated-signal"),
        ({"samples": "many"}, "unreadable-header"),
    ],
)
def test_a_signals_header_that_cannot_be_right(tmp_path, samples, changes, reason):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    for field, value in changes.items():
        alter(tmp_path / "x.edf", field, value)
    assert refused(tmp_path) == reason


def test_a_negative_gain_is_turned_over(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    alter(tmp_path / "x.edf", "physical_min", "3276.8")
    alter(tmp_path / "x.edf", "physical_max", "-3276.8")
    record = read(tmp_path)
    expected = microvolts(samples) / 1000 * np.array([[-1], [1]])
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-7)
    assert record.notes == ("lead I has a negative gain, and is turned over as EDF defines",)


def test_samples_outside_the_digital_range(tmp_path, samples):
    samples[0, :3] = -32768, 2100, -2100
    save(tmp_path / "x.edf", np.clip(samples, -32768, 2200), ["I", "II"])
    lowest = read(tmp_path)
    assert lowest.signal[0, 0] == np.float32(-3.2768)
    assert lowest.notes == ("1 samples of lead I are -32768",)
    for field, value in {"digital_min": "-2048", "digital_max": "2047"}.items():
        alter(tmp_path / "x.edf", field, value)
    assert refused(tmp_path) == "nan-samples"
    samples[0] = 0
    samples[0, 1:3] = 2100, -2100
    save(tmp_path / "x.edf", samples, ["I", "II"])
    for field, value in {"digital_min": "-2048", "digital_max": "2047"}.items():
        alter(tmp_path / "x.edf", field, value)
    assert read(tmp_path).notes == ("2 samples of lead I are outside its digital range",)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, b"\xffBIOSEMI", "unreadable-header"),
        (192, b"EDF+D", "unreadable-header"),
        (236, b"4       ", "wrong-rate"),
        (236, b"6       ", "truncated-signal"),
        (236, b"x       ", "unreadable-header"),
        (244, b"0       ", "unreadable-header"),
        (244, b"-1      ", "wrong-rate"),
        (244, b"100     ", "wrong-rate"),
        (184, b"256     ", "unreadable-header"),
        (252, b"9999", "unreadable-header"),
        (252, b"-1  ", "unreadable-header"),
        (252, b"0   ", "unreadable-header"),
    ],
)
def test_a_files_header_that_cannot_be_right(tmp_path, samples, place, value, reason):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    alter(tmp_path / "x.edf", place, value)
    assert refused(tmp_path) == reason


def test_a_recorder_that_was_not_done(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    alter(tmp_path / "x.edf", 236, b"-1      ")
    record = read(tmp_path)
    np.testing.assert_allclose(record.signal, microvolts(samples) / 1000, rtol=1e-5)
    assert record.notes == ("the header states no number of data records, those held are read",)


def test_a_file_cut_anywhere_is_set_aside(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I", "II"])
    whole = (tmp_path / "x.edf").read_bytes()
    for length in (0, 7, 255, 256, 300, 900, 1024, 1025, 2000, len(whole) - 1):
        (tmp_path / "x.edf").write_bytes(whole[:length])
        assert refused(tmp_path) in ("unreadable-header", "truncated-signal")
    (tmp_path / "x.edf").write_bytes(whole + b"\0\0")
    assert refused(tmp_path) == "wrong-rate"


@pytest.mark.parametrize(
    ("born", "sex", "day", "known"),
    [
        ("02 may 1951", "Female", (2011, 5, 2), (60, "F")),
        ("03 may 1951", "Male", (2011, 5, 2), (59, "M")),
        ("", "", (2011, 5, 2), (None, None)),
        ("03 may 2021", "Male", (2011, 5, 2), (None, "M")),
    ],
)
def test_age_and_sex_are_read_where_asked_for(tmp_path, samples, born, sex, day, known):
    header = {
        "PatientName": "Doe",
        "Birthdate": datetime.strptime(born, "%d %b %Y").date() if born else "",
        "Sex": sex or None,
        "Startdatetime": datetime(*day, 9, 30),
    }
    save(tmp_path / "x.edf", samples, ["I", "II"], **{k: v for k, v in header.items() if v})
    record = read(tmp_path, comments=True)
    assert (record.age, record.sex) == known
    assert "Doe" not in repr(record)
    silent = read(tmp_path)
    assert (silent.age, silent.sex) == (None, None)


def test_free_text_is_no_patient(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I", "II"], plus=False)
    alter(tmp_path / "x.edf", 8, b"Smith M 01-JAN-1950 Smith".ljust(80))
    record = read(tmp_path, comments=True)
    assert (record.age, record.sex) == (None, None)


@pytest.mark.parametrize("key", ["fs", "units", "invalid"])
def test_what_the_files_say_is_not_stated(tmp_path, key):
    value = {"fs": 500, "units": "mV", "invalid": [0, 1]}[key]
    with pytest.raises(BadInputError, match=f"{key} is in the headers of edf files"):
        folder(tmp_path, **{key: value})


def test_ingest(tmp_path, write):
    root = tmp_path / "in"
    folder(root, patient_pattern="^(p[0-9]+)/", comments=True)
    for number in range(3):
        beats = write.beats(number)
        save(root / f"p{number}" / "x.edf", 10 * beats, [f"ECG {x}" for x in write.leads])
    (root / "p3").mkdir()
    (root / "p3" / "x.edf").write_text("nothing")
    config = SourceConfig(reader="folder", root=root, watch=root, max_quarantined=0.5)
    summary = ingest("own", config, Recipe(), tmp_path / "store")
    assert (summary.stored, summary.quarantined) == (3, {"unreadable-header": 1})


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.float64, (2, 2 * FS), elements=st.floats(-3, 3)),
    st.sampled_from([("uV", 1e3), ("mV", 1.0)]),
)
def test_what_is_written_is_read_to_half_a_step(signal, unit):
    physical = 3.2 * unit[1]
    steps = np.rint((signal * unit[1] + physical) * 65535 / (2 * physical) - 32768).astype(np.int16)
    with tempfile.TemporaryDirectory() as name:
        save(Path(name) / "x.edf", steps, ["I", "II"], unit=unit[0], physical=physical)
        record = read(Path(name))
    np.testing.assert_allclose(record.signal, signal, atol=3.2 / 65535 + 1e-6)


def test_a_unit_in_a_label_is_that_of_the_signal(tmp_path, samples):
    save(tmp_path / "x.edf", samples, ["I (uV)", "ECG II [µV]".replace("µ", "u")])
    np.testing.assert_allclose(read(tmp_path).signal, microvolts(samples) / 1000, atol=1e-6)
    save(tmp_path / "x.edf", samples, ["I", "II (mV)"])
    with pytest.raises(QuarantineError, match=r"bad-gain.*'II \(mV\)', units: uV is stated"):
        read(tmp_path)
