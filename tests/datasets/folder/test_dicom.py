"""DICOM waveforms, written byte by byte, and by DCMTK."""

import tempfile
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
from support.dicom import CODES, group, write_dicom

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
MEANINGS = (
    *("Lead I", "Lead II", "Lead III", "aVR, augmented voltage, right"),
    *("aVL, augmented voltage, left", "aVF, augmented voltage, foot"),
    *(f"Lead V{number}" for number in range(1, 7)),
)
TWELVE = list(zip(CODES, MEANINGS, strict=True))
TWO = TWELVE[:2]


def folder(root, **keys):
    root.mkdir(parents=True, exist_ok=True)
    (root / "source.yaml").write_text(yaml.safe_dump({"format": "dicom", **keys}))
    return sources.get("folder")(root, "own", {})


def read(root, *groups, keys=(), **elements):
    write_dicom(root / "x.dcm", groups, **elements)
    (record,) = folder(root, **dict(keys)).iter_records()
    return record


def refused(root, *groups, **elements):
    with pytest.raises(QuarantineError) as error:
        read(root, *groups, **elements)
    return error.value.reason


def some(leads, seconds=10, seed=0, fs=500, low=-3000, high=3000):
    return np.random.default_rng(seed).integers(low, high, (leads, seconds * fs))


@pytest.fixture(scope="module")
def two():
    return some(2, 1)


@pytest.mark.parametrize("scheme", ["MDC", "SCPECG"])
@pytest.mark.parametrize(
    "syntax",
    ["explicit", "implicit", "deflated"],
)
def test_codes_and_transfer_syntaxes(tmp_path, scheme, syntax):
    samples = some(12)
    record = read(tmp_path, group(samples, TWELVE[::-1], scheme=scheme), syntax=syntax)
    np.testing.assert_allclose(record.signal, samples / 1000, rtol=1e-6)
    assert (record.leads, record.fs, record.notes) == (LEADS[::-1], 500, ())


@pytest.mark.parametrize(
    ("interpretation", "low", "high"),
    [
        *[("SB", -127, 127), ("UB", 0, 255), ("SS", -3000, 3000)],
        *[("US", 0, 9000), ("SL", -99_999, 99_999), ("UL", 0, 99_999)],
    ],
)
def test_sizes_of_samples(tmp_path, interpretation, low, high):
    samples = some(2, 1, low=low, high=high)[:, :499]
    record = read(tmp_path, group(samples, TWO, interpretation=interpretation))
    np.testing.assert_allclose(record.signal, samples / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    ("unit", "scale"), [("uV", 1e-3), ("mV", 1), ("V", 1e3), ("nV", 1e-6), ("µV", 1e-3)]
)
def test_sensitivity_factor_and_baseline(tmp_path, two, unit, scale):
    step = 0.00488 / scale
    made = group(two, TWO, unit=unit, sensitivity=f"{step:.6g}", factor="0.5", baseline="-2.5")
    record = read(tmp_path, made, SpecificCharacterSet="ISO_IR 192")
    expected = (two * float(f"{step:.6g}") * 0.5 - 2.5) * scale
    np.testing.assert_allclose(record.signal, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("leads", "found"),
    [
        ([("", "Lead I"), ("", "II")], ("I", "II")),
        ([("", "AVR"), ("", "Lead V3 (Einthoven)")], ("aVR",)),
        ([("62", "aVR"), ("8", "")], ("aVR", "V6")),
        ([("9", "Lead V7"), ("2", "Lead II")], ("II",)),
        ([("", "MDC_ECG_LEAD_AVF"), ("", "MLII")], ("aVF", "II")),
    ],
)
def test_names_of_leads(tmp_path, two, leads, found):
    record = read(tmp_path, group(two, leads), keys={"lead_names": {"MLII": "II"}})
    assert record.leads == found


def test_a_label_where_there_is_no_code(tmp_path, two):
    made = group(two, TWO)
    for channel, name in zip(made["ChannelDefinitionSequence"], ("V1", "v2"), strict=True):
        del channel["ChannelSourceSequence"]
        channel["ChannelLabel"] = name
    assert read(tmp_path, made).leads == ("V1", "V2")


def test_the_recording_and_not_the_median_beat(tmp_path):
    rhythm, beat = group(some(12), TWELVE), some(12, 1, seed=1)
    median = group(beat, TWELVE, WaveformOriginality="DERIVED", MultiplexGroupLabel="MEDIAN BEAT")
    for groups in ((rhythm, median), (median, rhythm)):
        record = read(tmp_path, *groups)
        np.testing.assert_allclose(record.signal, some(12) / 1000, rtol=1e-6)
        assert record.notes == ("other waveforms left out: MEDIAN BEAT (DERIVED, 1 s)",)
    unlabelled = {**median, "MultiplexGroupLabel": ""}
    assert read(tmp_path, unlabelled, rhythm).signal.shape == (12, 5000)
    wrongly = {**median, "WaveformOriginality": "ORIGINAL"}
    assert read(tmp_path, wrongly, rhythm).signal.shape == (12, 5000)
    assert refused(tmp_path, median) == "unreadable-header"
    filtered = {**rhythm, "WaveformOriginality": "DERIVED"}
    assert read(tmp_path, filtered).notes == ("the waveforms are derived, not as recorded",)


def test_of_several_recordings_that_with_the_most_leads(tmp_path):
    three, twelve = group(some(3, 60), TWELVE[:3]), group(some(12), TWELVE)
    record = read(tmp_path, three, twelve)
    assert record.signal.shape == (12, 5000)
    assert record.notes == ("other waveforms left out: RHYTHM (ORIGINAL, 60 s)",)
    short = group(some(12, 5), TWELVE)
    assert read(tmp_path, short, twelve).signal.shape == (12, 5000)


def test_channels_that_are_no_leads(tmp_path):
    made = group(some(3, 1), [*TWO, ("", "Pacer")])
    record = read(tmp_path, made)
    assert record.leads == ("I", "II")
    assert record.notes == ("not leads, left out: Pacer",)


@pytest.mark.parametrize(
    ("changes", "channel", "reason"),
    [
        ({"SamplingFrequency": None}, {}, "wrong-rate"),
        ({"SamplingFrequency": "0"}, {}, "wrong-rate"),
        ({"SamplingFrequency": "fast"}, {}, "unreadable-header"),
        ({"NumberOfWaveformSamples": 501}, {}, "truncated-signal"),
        ({"NumberOfWaveformSamples": 4_000_000_000}, {}, "truncated-signal"),
        ({"NumberOfWaveformSamples": 499}, {}, "wrong-rate"),
        ({"NumberOfWaveformSamples": 0}, {}, "wrong-rate"),
        ({"NumberOfWaveformSamples": None}, {}, "unreadable-header"),
        ({"NumberOfWaveformChannels": 1}, {}, "unreadable-header"),
        ({"NumberOfWaveformChannels": 0}, {}, "unreadable-header"),
        ({"WaveformBitsAllocated": 32}, {}, "truncated-signal"),
        ({"WaveformBitsAllocated": 0}, {}, "unreadable-header"),
        ({"WaveformSampleInterpretation": "SB"}, {}, "unreadable-header"),
        ({"WaveformSampleInterpretation": "MB"}, {}, "unreadable-header"),
        ({"WaveformData": None}, {}, "unreadable-header"),
        ({"WaveformData": b""}, {}, "unreadable-header"),
        ({"ChannelDefinitionSequence": []}, {}, "missing-lead"),
        ({}, {"ChannelSensitivity": None}, "bad-gain"),
        ({}, {"ChannelSensitivity": "0"}, "bad-gain"),
        ({}, {"ChannelSensitivity": "-1"}, "bad-gain"),
        ({}, {"ChannelSensitivity": "1e99"}, "bad-gain"),
        ({}, {"ChannelSensitivityCorrectionFactor": "0"}, "bad-gain"),
        ({}, {"ChannelSensitivityUnitsSequence": None}, "bad-gain"),
        ({}, {"ChannelSensitivityUnitsSequence": [{"CodeValue": "mm[Hg]"}]}, "bad-gain"),
        ({}, {"ChannelSourceSequence": [{"CodeMeaning": "Lead II"}]}, "repeated-lead"),
        (
            {},
            {"ChannelSourceSequence": [{"CodeValue": "2:1", "CodeMeaning": "Lead II"}]},
            "missing-lead",
        ),
    ],
)
def test_what_cannot_be_right(tmp_path, two, changes, channel, reason):
    assert refused(tmp_path, group(two, TWO, channel=channel, **changes)) == reason


def test_padding_is_no_amplitude(tmp_path, two):
    made = group(two, TWO, WaveformPaddingValue=np.int16(-2048).tobytes())
    samples = np.where(two == -2048, 0, two)
    made["WaveformData"] = samples.T.astype("<i2").tobytes()
    np.testing.assert_allclose(read(tmp_path, made).signal, samples / 1000, rtol=1e-6)
    samples[1, -20:] = -2048
    made["WaveformData"] = samples.T.astype("<i2").tobytes()
    assert refused(tmp_path, made) == "nan-samples"


def test_files_without_waveforms(tmp_path, two):
    image = "1.2.840.10008.5.1.4.1.1.2"
    with pytest.raises(QuarantineError, match=r"x\.dcm has no waveforms \(CT Image Storage\)"):
        read(tmp_path, SOPClassUID=image)
    assert refused(tmp_path, group(two, TWO), syntax="big-endian") == "unreadable-header"
    for content in (b"", b"nothing", bytes(128) + b"DICM", bytes(128) + b"DICM\xff\xff\xff"):
        (tmp_path / "x.dcm").write_bytes(content)
        with pytest.raises(QuarantineError) as error:
            list(folder(tmp_path).iter_records())
        assert error.value.reason == "unreadable-header"


def test_a_file_cut_anywhere_is_set_aside(tmp_path, two):
    write_dicom(tmp_path / "x.dcm", [group(two, TWO)])
    whole = (tmp_path / "x.dcm").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "x.dcm").write_bytes(whole[:length])
        with pytest.raises(QuarantineError):
            list(folder(tmp_path).iter_records())


def test_a_deflated_file_may_not_unfold_to_everything(tmp_path, two):
    made = group(two, TWO)
    noise = np.random.default_rng(0).bytes(1_200_000)
    made["WaveformData"] = noise
    with pytest.raises(QuarantineError, match="bytes are too many"):
        read(tmp_path, made, syntax="deflated")


@pytest.mark.parametrize(
    ("elements", "known"),
    [
        ({"PatientAge": "034Y", "PatientSex": "F"}, (34, "F")),
        ({"PatientAge": "018M", "PatientSex": "M"}, (1.5, "M")),
        ({"PatientBirthDate": "19510503", "AcquisitionDateTime": "20110502093000"}, (59, None)),
        ({"PatientBirthDate": "19510503", "StudyDate": "20110503"}, (60, None)),
        ({"PatientBirthDate": "19510503", "PatientSex": "O"}, (None, None)),
        ({"PatientBirthDate": "", "PatientAge": "", "PatientSex": ""}, (None, None)),
        ({"PatientAge": "999Y"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_age_and_sex_are_read_where_asked_for(tmp_path, two, elements, known):
    made = group(two, TWO)
    record = read(tmp_path, made, keys={"comments": True}, PatientName="Doe^Jane", **elements)
    assert (record.age, record.sex) == known
    assert "Doe" not in repr(record)
    silent = read(tmp_path, made, **elements)
    assert (silent.age, silent.sex) == (None, None)


def test_ingest(tmp_path, write):
    root = tmp_path / "in"
    folder(root, files="**/*", patient_pattern="^(p[0-9]+)/", comments=True)
    for number in range(3):
        made = group(write.beats(number), TWELVE, fs=100)
        write_dicom(root / f"p{number}" / "1.2.3", [made], PatientAge="050Y")
    (root / "p3").mkdir()
    (root / "p3" / "1.2.3").write_text("nothing")
    config = SourceConfig(reader="folder", root=root, watch=root, max_quarantined=0.5)
    summary = ingest("own", config, Recipe(), tmp_path / "store")
    assert (summary.stored, summary.quarantined) == (3, {"unreadable-header": 1})


@settings(max_examples=30, deadline=None)
@given(
    arrays.arrays(np.float64, (2, 40), elements=st.floats(-5, 5)),
    st.sampled_from([("uV", 1000.0), ("mV", 1.0)]),
    st.sampled_from([0.001, 0.00244, 0.005]),
)
def test_what_is_written_is_read_to_half_a_step(signal, unit, step):
    made = group(
        np.rint(signal / step), TWO, unit=unit[0], sensitivity=f"{step * unit[1]:.6g}", fs=40
    )
    with tempfile.TemporaryDirectory() as name:
        record = read(Path(name), made)
    np.testing.assert_allclose(record.signal, signal, atol=step / 2 + 1e-6)


@pytest.mark.parametrize("name", ["explicit", "implicit", "deflated"])
def test_files_that_dcmtk_wrote(tmp_path, project, name):
    """``dump2dcm +te``, ``+ti -e`` and ``+td`` made them of ecg.dump (DCMTK 3.6.7)."""
    theirs = project / "tests" / "datasets" / "folder" / "dcmtk"
    source = folder(tmp_path, comments=True)
    (tmp_path / "x.dcm").write_bytes((theirs / f"{name}.dcm").read_bytes())
    (record,) = source.iter_records()
    lines = (theirs / "ecg.dump").read_text().splitlines()
    written = next(line.split(" OW ")[1] for line in lines if "(5400,1010)" in line)
    words = np.array([int(word, 16) for word in written.split("\\")], np.uint16)
    samples = words.astype(np.int16).reshape(-1, 2).T
    np.testing.assert_allclose(record.signal, (samples * 2.5 * 0.5 + 10) / 1000, rtol=1e-6)
    assert (record.leads, record.fs) == (("I", "II"), 50)
    assert (record.age, record.sex) == (61, "F")
    assert record.notes == ("other waveforms left out: MEDIAN BEAT (DERIVED, 0.5 s)",)


def test_a_big_endian_file_of_dcmtk_is_refused(tmp_path, project):
    source = folder(tmp_path)
    theirs = project / "tests" / "datasets" / "folder" / "dcmtk" / "big.dcm"
    (tmp_path / "x.dcm").write_bytes(theirs.read_bytes())
    with pytest.raises(QuarantineError, match="big-endian files"):
        list(source.iter_records())


@pytest.mark.parametrize(
    ("skews", "places"),
    [
        ([{"ChannelSampleSkew": "0"}, {"ChannelSampleSkew": "0"}], (0, 0)),
        ([{}, {"ChannelSampleSkew": "50"}], (50, 0)),
        ([{}, {"ChannelTimeSkew": "0.1"}], (50, 0)),
        ([{"ChannelSampleSkew": "30"}, {"ChannelSampleSkew": "-20"}], (0, 50)),
        ([{"ChannelTimeSkew": "0.0002"}, {"ChannelTimeSkew": "0.0004"}], (0, 0)),
        ([{"ChannelSampleSkew": "7"}, {"ChannelSampleSkew": "7"}], (0, 0)),
    ],
)
def test_channels_that_begin_at_other_times_are_cut_to_the_same(tmp_path, two, skews, places):
    one = group(two, TWO)
    for channel, skew in zip(one["ChannelDefinitionSequence"], skews, strict=True):
        channel.update(skew)
    record = read(tmp_path, one)
    length = two.shape[1] - max(places)
    expected = [row[at : at + length] / 1000 for row, at in zip(two, places, strict=True)]
    np.testing.assert_allclose(record.signal, expected, rtol=1e-6)
    said = f"{max(places)} samples at the ends, which not all leads have, left out"
    assert record.notes == ((said,) if max(places) else ())


def test_channels_that_are_never_recorded_together(tmp_path, two):
    one = group(two, TWO)
    one["ChannelDefinitionSequence"][1]["ChannelSampleSkew"] = str(two.shape[1])
    assert refused(tmp_path, one) == "truncated-signal"


def test_a_unit_in_a_label_is_that_of_the_channel(tmp_path, two):
    one = group(two, [("", "")] * 2)
    for channel, label in zip(one["ChannelDefinitionSequence"], ("I", "II (mV)"), strict=True):
        channel["ChannelLabel"] = label
    assert refused(tmp_path, one) == "bad-gain"
