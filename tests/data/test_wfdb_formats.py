"""Every format of WFDB: the samples are those of the wfdb package, and each guard holds in each."""

import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import wfdb
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.data import wfdb as records
from ecgscale.data.sources import QuarantineError
from ecgscale.data.wfdb import decode, read_wfdb
from ecgscale.data.wfdb_header import read_header

BITS = {
    **{"8": 9, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16, "212": 12},
    **{"310": 10, "311": 10, "508": 8, "516": 16, "524": 24},
}
FLAC = ("508", "516", "524")
NAMES = ("I", "II", "V1", "V2", "V3", "V4")


def encode(fmt, flat):
    """Samples in the order of the file to its bytes, as signal(5) describes them."""
    if fmt in ("16", "32", "61"):
        return flat.astype({"16": "<i2", "32": "<i4", "61": ">i2"}[fmt]).tobytes()
    if fmt in ("80", "160"):
        return (
            (flat + {"80": 2**7, "160": 2**15}[fmt])
            .astype({"80": "u1", "160": "<u2"}[fmt])
            .tobytes()
        )
    if fmt == "24":
        return b"".join(int(value).to_bytes(3, "little", signed=True) for value in flat)
    if fmt == "212":
        a, b = np.pad(flat, (0, len(flat) % 2)).reshape(-1, 2).T & 0xFFF
        packed = np.stack([a & 255, a >> 8 | (b >> 8) << 4, b & 255], axis=1).astype("u1").tobytes()
        return packed[: -(len(flat) % 2) or None]
    a, b, c = np.pad(flat, (0, -len(flat) % 3)).reshape(-1, 3).T & 0x3FF
    if fmt == "310":
        words = [a << 1 & 255, a >> 7 | c << 3 & 255, b << 1 & 255, b >> 7 | c >> 5 << 3]
        return np.stack(words, axis=1).astype("u1").tobytes()
    return (a | b << 10 | c << 20).astype("<u4").tobytes()


def write(
    folder, fmt, signals, name="r", *, offset=0, fs=100, per_frame=None, length=None, **fields
):
    """Write samples (time,) of each signal; fields replace parts of the signal lines."""
    folder.mkdir(exist_ok=True, parents=True)
    per_frame = per_frame or [1] * len(signals)
    frames = len(signals[0]) // per_frame[0]
    lines = [f"{name} {len(signals)} {fs} {frames if length is None else length}"]
    for number, (signal, width) in enumerate(zip(signals, per_frame, strict=True)):
        own = {
            "file": f"{name}.dat",
            "layout": f"{fmt}{f'x{width}' if width > 1 else ''}{f'+{offset}' if offset else ''}",
            "gain": "200(3)/mV",
            "initial": 5 if fmt == "8" else signal[0],
            "sum": int(signal.sum()) % 65536,
            "lead": NAMES[number],
            **{
                key: value[number] if isinstance(value, list) else value
                for key, value in fields.items()
            },
        }
        lines.append("{file} {layout} {gain} 0 0 {initial} {sum} 0 {lead}".format(**own))
    (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    path = folder / f"{name}.dat"
    rows = [np.asarray(s).reshape(-1, width) for s, width in zip(signals, per_frame, strict=True)]
    if fmt in FLAC:
        flac = np.stack([np.r_[np.zeros(offset, int), signal] for signal in signals], axis=1)
        shifted = (flac << (32 - BITS[fmt])).astype(np.int32)
        kind = {"508": "PCM_S8", "516": "PCM_16", "524": "PCM_24"}[fmt]
        soundfile.write(path, shifted, 96000, kind, format="FLAC")
    elif fmt == "8":
        steps = [np.diff(row.ravel(), prepend=5).reshape(row.shape) for row in rows]
        path.write_bytes(bytes(offset) + np.concatenate(steps, axis=1).astype("i1").tobytes())
    else:
        path.write_bytes(bytes(offset) + encode(fmt, np.concatenate(rows, axis=1).reshape(-1)))
    return folder / f"{name}.hea"


def draw(fmt, rng, size):
    """Samples without the marker of an invalid one; for format 8 of small steps."""
    if fmt == "8":
        return 5 + rng.integers(-127, 128, size).cumsum()
    edge = 2 ** (BITS[fmt] - 1)
    return rng.integers(-edge + 1, edge, size)


def millivolts(samples):
    return ((np.asarray(samples) - 3) / 200).astype(np.float32)


def read(path, **kwargs):
    return read_wfdb(path.parent, path, **kwargs)


def refusal(path, **kwargs):
    with pytest.raises(QuarantineError) as caught:
        read(path, **kwargs)
    return caught.value.reason


@settings(max_examples=60, deadline=None)
@given(
    fmt=st.sampled_from(list(BITS)),
    leads=st.integers(1, 5),
    frames=st.integers(2, 30),
    width=st.sampled_from([1, 1, 3]),
    offset=st.sampled_from([0, 24]),
    seed=st.integers(0, 1000),
)
def test_samples_of_every_format(fmt, leads, frames, width, offset, seed):
    """Whole and in part; the wfdb package reads the same."""
    rng = np.random.default_rng(seed)
    signals = [draw(fmt, rng, frames * width) for _ in range(leads)]
    start = int(rng.integers(frames - 1))
    stop = int(rng.integers(start + 1, frames + 1))
    with tempfile.TemporaryDirectory() as name:
        path = write(Path(name), fmt, signals, offset=offset, per_frame=[width] * leads)
        reference = wfdb.rdrecord(str(path.with_suffix("")), smooth_frames=False)
        found = read(path)
        part = decode(path.parent, read_header(path), start, stop)
        first = read(path, start=start, seconds=0.01)
    np.testing.assert_array_equal(found.signal, millivolts(signals))
    np.testing.assert_allclose(found.signal, np.stack(reference.e_p_signal), rtol=1e-6)
    np.testing.assert_array_equal(part.signal, found.signal[:, start * width : stop * width])
    np.testing.assert_array_equal(
        first.signal, found.signal[:, start * width : (start + 1) * width]
    )
    assert (found.fs, found.leads) == (100 * width, NAMES[:leads])
    assert all(" samples of lead " in note for note in found.notes)  # far off, or at an end


@pytest.fixture
def signals():
    rng = np.random.default_rng(7)
    return [rng.integers(-50, 50, 303).cumsum() % 101 - 50 for _ in range(3)]


@pytest.mark.parametrize("fmt", list(BITS))
class TestGuardsOfEveryFormat:
    """What was kept for format 16 alone before."""

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"gain": "0/mV"}, "bad-gain"),
            ({"gain": "-200/mV"}, "bad-gain"),
            ({"gain": "nan/mV"}, "bad-gain"),
            ({"gain": "200/mmHg"}, "bad-gain"),
            ({"lead": ["I", "II", "i"]}, "repeated-lead"),
            ({"lead": ["I", "", "V1"]}, "missing-lead"),
            ({"sum": 17}, "checksum-mismatch"),
            ({"length": 302}, "wrong-rate"),
            ({"length": 304}, "truncated-signal"),
            ({"length": 10**9}, "truncated-signal"),
            ({"fs": 5}, "wrong-rate"),
            ({"fs": "1_00"}, "wrong-rate"),
            ({"file": "../r.dat"}, "path-traversal"),
            ({"file": "other.dat"}, "missing-signal-file"),
            ({"file": ["r.dat", "s.dat", "r.dat"]}, "unreadable-header"),
            ({"layout": "999"}, "unreadable-header"),
        ],
    )
    def test_what_a_header_states(self, tmp_path, signals, fmt, fields, reason):
        assert refusal(write(tmp_path, fmt, signals, **fields)) == reason

    def test_the_signal_file(self, tmp_path, signals, fmt):
        path = write(tmp_path, fmt, signals)
        data = path.with_suffix(".dat")
        whole = data.read_bytes()
        data.write_bytes(whole[: len(whole) // 2])
        assert refusal(path) in ("truncated-signal", "checksum-mismatch")
        data.write_bytes(b"")
        assert refusal(path) in ("truncated-signal", "unreadable-header")
        data.write_bytes(bytes(len(whole)))
        assert refusal(path) in ("checksum-mismatch", "unreadable-header")
        if fmt not in FLAC:  # which may have anything after its end
            data.write_bytes(whole + bytes(len(whole) // 9))
            assert refusal(path) == "wrong-rate"

    def test_no_measurement(self, tmp_path, signals, fmt):
        if fmt == "8":  # has differences, and no such value
            assert read(write(tmp_path, fmt, signals)).signal.shape == (3, 303)
            return
        signals[1][200] = -(2 ** (BITS[fmt] - 1))
        path = write(tmp_path, fmt, signals)
        assert refusal(path) == "nan-samples"
        np.testing.assert_array_equal(
            read(path, seconds=2).signal, millivolts(signals)[:, :200], "before it"
        )


@pytest.mark.parametrize(
    ("leads", "block", "fmt"), [(1, 3, "212"), (3, 3, "212"), (1, 4, "310"), (1, 4, "311")]
)
def test_a_last_block_may_be_padded_and_no_more(tmp_path, signals, leads, block, fmt):
    odd = [signal[:301] for signal in signals[:leads]]
    path = write(tmp_path, fmt, odd)
    data = path.with_suffix(".dat")
    whole = data.read_bytes()
    data.write_bytes(whole + bytes(-len(whole) % block))
    np.testing.assert_array_equal(read(path).signal, millivolts(odd))
    data.write_bytes(whole + bytes(-len(whole) % block + 1))
    assert refusal(path) == "wrong-rate"


def test_a_length_that_is_not_stated_is_that_of_the_file(tmp_path, signals):
    for fmt in ("16", "24", "8", "516"):
        path = write(tmp_path, fmt, signals, length=0)
        np.testing.assert_array_equal(read(path).signal, millivolts(signals))
    for fmt in ("212", "310", "311"):  # a last block may or may not be padded
        assert refusal(write(tmp_path, fmt, signals, length=0)) == "unreadable-header"
    path = write(tmp_path, "16", signals, length=0)
    path.with_suffix(".dat").write_bytes(path.with_suffix(".dat").read_bytes()[:-1])
    assert refusal(path) == "wrong-rate"


class TestFrames:
    def test_signals_of_several_rates(self, tmp_path):
        """Leads at 500 Hz and respiration at 62.5 Hz in frames of 62.5 Hz."""
        rng = np.random.default_rng(1)
        one, two = rng.integers(-900, 900, (2, 800))
        slow, air = rng.integers(-900, 900, (2, 100))
        path = write(
            *(tmp_path, "16", [one, slow, two, air]),
            **{"fs": 62.5, "per_frame": [8, 1, 8, 1], "lead": ["I", "RESP", "II", "ABP"]},
            gain=["200(3)/mV", "200/mV", "200(3)/mV", "0/mmHg"],
        )
        found = read(path)
        np.testing.assert_array_equal(found.signal, millivolts([one, two]))
        assert (found.fs, found.leads) == (500, ("I", "II"))
        assert found.notes == (
            "not a voltage, left out: ABP",
            "not at 500 Hz, left out: RESP (62.5 Hz)",
        )
        late = read(path, start=50, seconds=0.32)
        np.testing.assert_array_equal(late.signal, found.signal[:, 400:560])

    def test_frames_may_be_slower_than_any_signal(self, tmp_path):
        samples = [np.arange(1000) % 77]
        found = read(write(tmp_path, "212", samples, fs=2, per_frame=[250]))
        assert (found.fs, found.signal.shape) == (500, (1, 1000))
        assert refusal(write(tmp_path, "212", samples, fs=2, per_frame=[5])) == "wrong-rate"

    def test_a_frame_has_samples(self, tmp_path, signals):
        path = write(tmp_path, "16", signals, layout=["16", "16x0", "16"])
        assert refusal(path) == "unreadable-header"


class TestSkew:
    def test_a_signal_that_begins_earlier(self, tmp_path, signals):
        path = write(tmp_path, "16", signals, layout=["16", "16:3", "16:1"])
        expected = [signals[0][:300], signals[1][3:], signals[2][1:301]]
        found = read(path)
        np.testing.assert_array_equal(found.signal, millivolts(expected))
        assert found.notes == ("3 frames at the end, which not all signals have, left out",)
        late = read(path, start=100, seconds=0.5)
        np.testing.assert_array_equal(late.signal, found.signal[:, 100:150])
        path = write(tmp_path, "16", signals, layout=["16", "16:3", "16:1"], sum=9)
        assert refusal(path) == "checksum-mismatch"

    def test_more_than_there_is(self, tmp_path, signals):
        path = write(tmp_path, "16", signals, layout=["16", "16:303", "16"])
        assert refusal(path) == "truncated-signal"


class TestChecksums:
    def test_placeholders_are_not_compared(self, tmp_path, signals):
        found = read(write(tmp_path, "212", signals, initial=0, sum=0))
        np.testing.assert_array_equal(found.signal, millivolts(signals))
        assert found.notes == ("checksums and first samples of 0 taken as not stated",)
        assert (
            refusal(write(tmp_path, "212", signals, initial=0, sum=[0, 1, 0]))
            == "checksum-mismatch"
        )

    def test_another_first_sample_is_noted(self, tmp_path, signals):
        stated = [signals[0][0], signals[1][0] + 1, signals[2][0]]
        found = read(write(tmp_path, "16", signals, initial=stated))
        assert found.notes == ("not the first sample that is stated: II",)

    def test_of_a_long_recording_a_part_is_read(self, tmp_path, signals, monkeypatch):
        path = write(tmp_path, "16", signals, sum=5)
        assert refusal(path, seconds=1) == "checksum-mismatch"
        monkeypatch.setattr(records, "LARGEST_SUMMED", 100)
        found = read(path, seconds=1)
        np.testing.assert_array_equal(found.signal, millivolts(signals)[:, :100])
        assert found.notes == ("a part is read, its checksum is not known",)


class TestFiles:
    def test_several_files_of_several_formats(self, tmp_path, signals):
        files, formats = ["a.dat", "b.dat", "b.dat"], ["212", "516", "516"]
        write(tmp_path, "212", signals[:1], name="a")
        write(tmp_path, "516", signals[1:], name="b")
        path = write(tmp_path, "16", signals, file=files, layout=formats)
        np.testing.assert_array_equal(read(path).signal, millivolts(signals))
        np.testing.assert_array_equal(
            read(path, start=7, seconds=1).signal, millivolts(signals)[:, 7:107]
        )
        write(tmp_path, "516", [signal[:-1] for signal in signals[1:]], name="b")
        path = write(tmp_path, "16", signals, file=files, layout=formats)
        assert refusal(path) == "truncated-signal"

    def test_one_file_has_one_format(self, tmp_path, signals):
        path = write(tmp_path, "16", signals, layout=["16", "16", "61"])
        assert refusal(path) == "unreadable-header"
        path = write(tmp_path, "16", signals, layout=["16", "16+2", "16"])
        assert refusal(path) == "unreadable-header"

    def test_flac_of_another_shape_or_resolution(self, tmp_path, signals):
        for fmt, kept in (("508", signals), ("524", signals[:2])):
            path = write(tmp_path, "524", kept)
            text = path.read_text().replace(" 524 ", f" {fmt} ")
            lines = text.splitlines()
            path.write_text(
                text if fmt == "508" else "\n".join(["r 3 100 303", *lines[1:], lines[1]])
            )
            assert refusal(path) in ("unreadable-header", "repeated-lead")


class TestSegments:
    @pytest.fixture
    def parts(self, tmp_path, signals):
        """A of 100 frames, nothing for 50, b of 200 with another gain and format, lacking V1."""
        a = [signal[:100] for signal in signals]
        b = [signal[100:300] for signal in signals[:2]]
        write(tmp_path, "212", a, name="a")
        write(tmp_path, "16", b, name="b", gain="100(3)/mV")
        expected = np.full((3, 350), np.nan, dtype=np.float32)
        expected[:, :100] = millivolts(a)
        expected[:2, 150:] = 2 * millivolts(b)
        return expected

    @pytest.mark.parametrize("layout", ["", "layout 0\n"])
    def test_gaps_and_missing_leads_are_nan(self, tmp_path, parts, layout):
        path = tmp_path / "m.hea"
        path.write_text(f"m/{3 + bool(layout)} 3 100 350\n{layout}a 100\n~ 50\nb 200\n")
        found = read(path)
        np.testing.assert_array_equal(found.signal, parts)
        assert found.leads == ("I", "II", "V1")
        part = read(path, start=60, seconds=1.5)
        np.testing.assert_array_equal(part.signal, parts[:, 60:210])
        late = read(path, start=200, seconds=1)
        np.testing.assert_array_equal(late.signal, parts[:2, 200:300])
        assert late.leads == ("I", "II")
        assert refusal(path, start=110, seconds=0.3) == "nan-samples"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("m/2 3 100 350\na 100\n~ 50\nb 200\n", "unreadable-header"),
            ("m/3 3 100 351\na 100\n~ 50\nb 200\n", "unreadable-header"),
            ("m/2 3 100 301\na 101\nb 200\n", "wrong-rate"),
            ("m/2 3 200 300\na 100\nb 200\n", "wrong-rate"),
            ("m/1 3 100 100\n../a 100\n", "path-traversal"),
            ("m/1 3 100 100\nm 100\n", "unreadable-header"),
            ("m/1 3 100 100\nc 100\n", "unreadable-header"),
            ("m/1 3 100\n~ 100\n", "nan-samples"),
            ("m/2 3 100\na 100\n~ 1000000000\n", "unreadable-header"),
        ],
    )
    def test_contradictions(self, tmp_path, parts, text, reason):
        (tmp_path / "m.hea").write_text(text)
        assert refusal(tmp_path / "m.hea") == reason

    def test_more_signals_than_the_segments_have_are_noted(self, tmp_path, parts):
        for count, said in ((3, ()), (2, ()), (5, ("5 signals, what is read of its segments 3",))):
            (tmp_path / "m.hea").write_text(f"m/2 {count} 100\na 100\nb 200\n")
            notes = read(tmp_path / "m.hea").notes
            assert tuple(note.removeprefix("the header states ") for note in notes) == said

    def test_segments_of_a_misstated_gain_are_read_alike(self, tmp_path):
        beat = np.tile(np.r_[np.zeros(90, int), np.arange(0, 1000, 200), np.zeros(5, int)], 5)
        for name, size in (("a", 5), ("b", 1), ("c", 5)):
            write(tmp_path, "16", [beat[: 100 * size]], name=name, gain="4880/mV")
        (tmp_path / "m.hea").write_text("m/2 1 100\na 500\nc 500\n")
        np.testing.assert_allclose(read(tmp_path / "m.hea").signal[0, :500], beat / 1000, rtol=1e-6)
        (tmp_path / "m.hea").write_text("m/2 1 100\na 500\nb 100\n")
        assert refusal(tmp_path / "m.hea") == "bad-gain"

    def test_a_segment_passes_the_gate(self, tmp_path, signals, parts):
        write(tmp_path, "16", [signal[100:300] for signal in signals[:2]], name="b", gain="0/mV")
        (tmp_path / "m.hea").write_text("m/2 3 100\na 100\nb 200\n")
        assert refusal(tmp_path / "m.hea") == "bad-gain"


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffr 3 100 303\n{lines}",
        "# before\r\n\r\nr 3 100/1000(0) 303 10:11:12 01/02/2003\r\n{lines}",
        "r\t3  100(7)\t303\n{tabs}\n",
        "r.dat 3 1e2 303 05-May-2020\n{lines}#Age: 50\n",
        "r 3 100 303\r{lines}",
    ],
)
def test_spellings_of_headers(tmp_path, signals, text):
    path = write(tmp_path, "212", signals)
    lines = path.read_text().partition("\n")[2]
    path.write_text(text.format(lines=lines, tabs=lines.replace(" ", "\t")), newline="")
    np.testing.assert_array_equal(read(path).signal, millivolts(signals))


def test_units_and_comments_in_latin_1(tmp_path, signals):
    path = write(tmp_path, "16", signals, gain="0.2(3)/µV")
    text = path.read_text(encoding="utf-8") + "# Größe: 180\x85cm\n"
    path.write_bytes(text.encode("latin-1"))
    np.testing.assert_allclose(read(path).signal, millivolts(signals), rtol=1e-6)


def test_the_zero_of_the_converter_is_the_baseline_that_is_not_stated(tmp_path, signals):
    path = write(tmp_path, "16", signals, gain="200")
    path.write_text(path.read_text().replace(" 0 0 ", " 11 1024 "))
    expected = (np.stack(signals) - 1024) / 200
    np.testing.assert_array_equal(read(path).signal, expected.astype(np.float32))


@pytest.mark.parametrize("line", ["r.dat 212", "r.dat 212 200", "r.dat 212 200 12 0 0 0"])
def test_fields_that_are_missing_at_the_end(tmp_path, signals, line):
    path = write(tmp_path, "212", signals)
    path.write_text("r 3 100 303\n" + 3 * f"{line}\n")
    assert refusal(path) == ("bad-gain" if line == "r.dat 212" else "missing-lead")


@pytest.mark.parametrize(
    "line", ["r.dat 16 200/mV II", "r.dat 16 200/mV 16 0 II", "r.dat", "r.dat 16a 1"]
)
def test_fields_that_are_missing_before_the_name(tmp_path, signals, line):
    path = write(tmp_path, "16", signals)
    path.write_text(f"r 1 100 303\n{line}\n")
    assert refusal(path) == "unreadable-header"


@pytest.mark.parametrize("fmt", ["8", "16", "212", "516"])
def test_a_claim_of_a_billion_samples_costs_no_memory(tmp_path, signals, fmt):
    path = write(tmp_path, fmt, signals, length=10**9)
    if fmt == "16":  # what is there takes no disk
        with path.with_suffix(".dat").open("r+b") as file:
            file.truncate(6 * 10**9)
    tracemalloc.start()
    try:
        assert refusal(path) in ("truncated-signal", "unreadable-header")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**24


def test_damaged_records_are_refused_never_crash(tmp_path, signals):
    """Random bytes in headers and signal files of all formats; what is read is finite."""
    rng = np.random.default_rng(3)
    outcomes = set()
    for turn in range(260):
        path = write(tmp_path, list(BITS)[turn % len(BITS)], [s[:20] for s in signals])
        damaged = path if turn % 3 else path.with_suffix(".dat")
        content = bytearray(damaged.read_bytes())
        for _ in range(rng.integers(1, 5)):
            position = int(rng.integers(len(content)))
            if rng.random() < 0.3:
                del content[position : position + int(rng.integers(1, 9))]
            else:
                content[position] = b"0123456789/()+-.: x#~\n\0\xff"[rng.integers(24)]
        damaged.write_bytes(bytes(content))
        try:
            found = read(path)
        except QuarantineError as error:
            outcomes.add(error.reason)
        else:
            outcomes.add("read")
            assert np.isfinite(found.signal).all()
    assert len(outcomes) >= 6
