"""CSV and Parquet files of one's own: what a header says is believed, and never read past."""

import tempfile
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pyarrow import parquet

from ecgscale.data.sources import sources
from ecgscale.data.sources.base import QuarantineError
from ecgscale.errors import BadInputError

ROWS = "0.1,-0.2,0.3\n0.4,-0.5,0.6\n"
READ = [[0.1, 0.4], [-0.2, -0.5], [0.3, 0.6]]
"""Shape (lead, time), of I, II and V1."""
MLII = {"lead_names": {"MLII": "II"}}


def folder(root, **keys):
    stated = {"format": "csv", "fs": 100, "units": "mV", "leads": ["I", "II", "V1"], **keys}
    (root / "source.yaml").write_text(yaml.safe_dump(stated, allow_unicode=True))
    return sources.get("folder")(root, "own", {})


def of_text(root, text, **keys):
    content = text if isinstance(text, bytes) else text.encode()
    (root / "x.csv").write_bytes(content)
    (record,) = folder(root, **keys).iter_records()
    return record


def refused(root, text, **keys):
    with pytest.raises(QuarantineError) as error:
        of_text(root, text, **keys)
    return error.value.reason, error.value.detail


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("I,II,V1\n" + ROWS, {}),
        ("i, ii ,v1\n" + ROWS, {}),
        ("Lead I,Lead II,Lead V1\n" + ROWS, {}),
        ("ECG I (mV),EKG_II [mV],V1_mV\n" + ROWS, {}),
        ("II,V1,I\n-0.2,0.3,0.1\n-0.5,0.6,0.4\n", {}),
        ("MLII,V1,I\n-0.2,0.3,0.1\n-0.5,0.6,0.4\n", MLII),
        ("V1,MLII,I\n0.3,-0.2,0.1\n0.6,-0.5,0.4\n", {"leads": ["I", "MLII", "V1"], **MLII}),
        (ROWS, {"leads": ["I", "MLII", "V1"], **MLII, "header": False}),
        ("time,I,II,V1\n0,0.1,-0.2,0.3\n0.01,0.4,-0.5,0.6\n", {}),
        ("I,II,V1,time (ms)\n0.1,-0.2,0.3,5\n0.4,-0.5,0.6,15\n", {}),
        ("n,a,b,c\n7,0.1,-0.2,0.3\n8,0.4,-0.5,0.6\n", {"columns": ["a", "b", "c"]}),
        ("I;II;V1\n0,1;-0,2;0,3\n0,4;-0,5;0,6\n", {"delimiter": ";", "decimal": ","}),
        ('"I"\t"II"\t"V1"\n"0.1"\t"-0.2"\t"0.3"\n0.4\t-0.5\t0.6\n', {"delimiter": "\t"}),
        ("\ufeffI,II,V1\r\n" + ROWS.replace("\n", "\r\n"), {}),
        ("I,II,V1\r\r\n" + ROWS.replace("\n", "\r\r\n"), {}),
        ("I,II,V1\r" + ROWS.replace("\n", "\r"), {}),
        (("\ufeffI,II,V1\n" + ROWS).encode("utf-16-le"), {}),
        ("\n\n# made by a device\nI,II,V1\n" + ROWS + "\n\n", {}),
        ("# I II V1\n" + ROWS, {}),
        ("# V1,II,I\n0.3,-0.2,0.1\n0.6,-0.5,0.4\n", {"header": False}),
        (ROWS, {"header": False}),
        ("# by a device\n" + ROWS, {"header": False}),
        ("1,2,3\n" + ROWS, {"columns": ["1", "2", "3"]}),
        ("I (µV),II (µV),V1 (µV)\n100,-200,300\n400,-500,600\n", {"units": "uV"}),
        ("I (V),II (V),V1 (V)\n1e-4,-2e-4,3e-4\n4e-4,-5e-4,6e-4\n", {"units": "V"}),
        ("I,II,V1\n100,-200,300\n400,-500,600\n", {"units": "adu", "gain": 1000}),
    ],
)
def test_the_true_values_are_read(tmp_path, text, keys):
    record = of_text(tmp_path, text, **keys)
    assert record.leads == ("I", "II", "V1")
    np.testing.assert_allclose(record.signal, READ, rtol=1e-6)
    assert record.notes == ()


def test_latin_1_is_read_where_names_agree(tmp_path):
    text = "Zeit (µs),Größe\n1,0.5\n2,0.6\n".encode("latin-1")
    record = of_text(tmp_path, text, leads=["I"], columns=["Größe"])
    np.testing.assert_allclose(record.signal, [[0.5, 0.6]], rtol=1e-6)
    assert record.notes == ("not in UTF-8, read as Latin-1",)
    micro = "I (µV)\n1\n2\n".encode("latin-1")
    np.testing.assert_allclose(
        of_text(tmp_path, micro, leads=["I"], units="uV").signal, [[0.001, 0.002]]
    )


@pytest.mark.parametrize(
    ("text", "keys", "reason", "said"),
    [
        (ROWS, {}, "unreadable-header", "x.csv starts with numbers, not with names; `header: fa"),
        ("1,2,3\n" + ROWS, {}, "unreadable-header", "starts with numbers"),
        ("nan,0.1,\n" + ROWS, {}, "unreadable-header", "starts with numbers"),
        ("I,II,V1\n" + ROWS, {"header": False}, "unreadable-header", "starts with 'I', no number"),
        ("I,II,III\n" + ROWS, {}, "missing-lead", "columns of x.csv are 'I', 'II', 'III', not the"),
        ("I,II\n1,2\n", {}, "missing-lead", "not the leads I, II, V1"),
        ("I,II,V1,V2\n1,2,3,4\n", {}, "missing-lead", "`columns` or `lead_names` says which"),
        ("ch1,ch2,ch3\n" + ROWS, {}, "missing-lead", "'ch1'"),
        (",I,II,V1\n0,1,2,3\n", {}, "missing-lead", "'', 'I'"),
        ("I,II,V1,\n1,2,3,4\n", {}, "missing-lead", "'V1', ''"),
        ("I,II,V1-V2\n" + ROWS, {}, "missing-lead", "V1-V2"),
        ("I,II,-V1\n" + ROWS, {}, "missing-lead", "-V1"),
        ("# I II aVF\n" + ROWS, {"header": False}, "missing-lead", "'aVF'"),
        ("I;II;V1\n1;2;3\n", {}, "missing-lead", "are 'I;II;V1'"),
        ("I,II,V1,I\n1,2,3,4\n", {}, "repeated-lead", "several columns of lead I"),
        ("I,II,V1,MLII\n1,2,3,4\n", MLII, "repeated-lead", "lead II"),
        ("a,b,b\n1,2,3\n", {"columns": ["a", "b", "c"]}, "repeated-lead", "several columns 'b'"),
        ("a,b,d\n1,2,3\n", {"columns": ["a", "b", "c"]}, "missing-lead", "no column 'c'"),
        ("I (uV),II,V1\n" + ROWS, {}, "bad-gain", "'I (uV)', units: mV is stated"),
        ("I (mV),II,V1\n" + ROWS, {"units": "adu", "gain": 200}, "bad-gain", "units: adu"),
        ("t,I,II,V1\n0,1,2,3\n0.002,1,2,3\n", {}, "wrong-rate", "steps of 0.002, not of 100 Hz"),
        ("time (ms),I,II,V1\n0,1,2,3\n0.01,1,2,3\n", {}, "wrong-rate", "steps of 0.01"),
        ("t,I,II,V1\n3,1,2,3\n2,1,2,3\n", {}, "wrong-rate", "steps of -1"),
        ("1,2,3,4\n1,2,3,4\n", {"header": False}, "missing-lead", "4 columns for 3 leads"),
        ("1,2\n1,2\n", {"header": False}, "missing-lead", "2 columns for 3 leads"),
        ("0,1,0,2\n0,1,0,2\n", {"header": False, "leads": ["I", "II"]}, "missing-lead", "4 col"),
        ("I,II,V1\n1,2,3\n1,2\n", {}, "truncated-signal", "Expected 3 columns, got 2"),
        ("I,II,V1\n1,2,3,\n1,2,3,\n", {}, "truncated-signal", "Expected 3 columns, got 4"),
        ("I,II,V1\n", {}, "truncated-signal", "x.csv"),
        ("\n\n", {}, "truncated-signal", "x.csv is empty"),
        ("I,II,V1\n1,2,high\n", {}, "nan-samples", "'high'"),
        ("I,II,V1\nmV,mV,mV\n1,2,3\n", {}, "nan-samples", "'mV'"),
        ("I;II;V1\n0,1;0,2;0,3\n", {"delimiter": ";"}, "nan-samples", "0,1"),
        ('I,II,V1\n"1,234.5",2,3\n', {}, "nan-samples", "1,234.5"),
        ("I,II,V1\n1,2,3\n# end\n", {}, "truncated-signal", "got 1"),
        (b"I,II,V1\n1,2,\x00\n", {}, "unreadable-header", "x.csv is not text"),
        (b"\xff\xfeI\x00,", {}, "unreadable-header", "x.csv"),
        ("I,II,V1\n1,-32768,3\n", {"units": "adu", "gain": 9}, "nan-samples", "lead II"),
        ("I,II,V1\n1,-9,3\n", {"invalid": [-9]}, "nan-samples", "lead II of x.csv has 1 inval"),
    ],
)
def test_what_is_refused_says_why(tmp_path, text, keys, reason, said):
    found, detail = refused(tmp_path, text, **keys)
    assert found == reason
    assert said in detail
    assert "\n" not in detail


def test_a_bad_file_costs_no_other(tmp_path):
    good = "I,II,V1\n" + ROWS
    (tmp_path / "b.csv").write_text(good)
    (tmp_path / "c.csv").write_bytes("Ableitung Ä,II,V1\n1,2,3\n".encode("latin-1"))
    (tmp_path / "d.csv").write_text("0.0,0.0,0.0\n" + ROWS)
    (tmp_path / "e.csv").write_text("I,I,I\n1,2,3\n")
    quarantined = {}
    (record,) = folder(tmp_path).iter_records(quarantined)
    assert record.record_id == "b"
    assert sorted(quarantined) == ["c", "d", "e"]


def test_a_missing_row_shows_in_the_times(tmp_path):
    times = np.delete(np.arange(50), [20, 21, 22]) / 100
    rows = "".join(f"{time:.2f},1,2,3\n" for time in times)
    reason, detail = refused(tmp_path, "t,I,II,V1\n" + rows, columns=["I", "II", "V1"])
    assert (reason, detail) in [
        ("wrong-rate", "column 't' of x.csv has gaps"),
        ("wrong-rate", "column 't' of x.csv has steps of 0.0106522, not of 100 Hz"),
    ]


@pytest.mark.parametrize("digits", [2, 3, 6])
def test_times_may_be_rounded_and_start_anywhere(tmp_path, digits):
    rows = "".join(f"{7 + n / 360:.{digits}f},1,2,3\n" for n in range(720))
    assert of_text(tmp_path, "time,I,II,V1\n" + rows, fs=360).signal.shape == (3, 720)


def test_times_of_a_clock(tmp_path):
    rows = "".join(f"2020-01-01 10:00:00.{n * 10:03d},1,2,3\n" for n in range(20))
    assert of_text(tmp_path, "timestamp,I,II,V1\n" + rows).notes == ()
    assert refused(tmp_path, "timestamp,I,II,V1\n" + rows, fs=500)[0] == "wrong-rate"
    record = of_text(tmp_path, "time,I,II,V1\na,1,2,3\nb,1,2,3\n")
    assert record.notes == ("column 'time' was not compared with the rate of 100 Hz",)


@pytest.mark.parametrize("leads", [["II"], ["I", "II"]])
def test_an_empty_line_in_between_is_a_missing_sample(tmp_path, leads):
    header, row = ",".join(leads), ",".join(["0.5"] * len(leads))
    record = of_text(tmp_path, f"{header}\n{row}\n\n{row}\n", leads=leads)
    np.testing.assert_array_equal(np.isnan(record.signal), [[False, True, False]] * len(leads))


def test_steps_beyond_16_bit_are_no_markers(tmp_path):
    keys = {"units": "adu", "gain": 100_000}
    record = of_text(tmp_path, "I,II,V1\n1,-32768,40000\n", **keys)
    np.testing.assert_allclose(record.signal[1], [-0.32768], rtol=1e-6)
    narrow = of_text(tmp_path, "I,II,V1\n1,-32768,32767\n", **keys, invalid=[])
    np.testing.assert_allclose(narrow.signal[1], [-0.32768], rtol=1e-6)
    assert narrow.notes == ("1 samples of lead II are -32768", "1 samples of lead V1 are 32767")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"columns": ["II", "I", "V1"]}, "columns names 'II' for lead I"),
        ({"decimal": ","}, "delimiter and decimal are both ','"),
        ({"comments": True}, "comments goes with format: wfdb, edf, dicom"),
    ],
)
def test_what_contradicts_itself_in_the_description(tmp_path, keys, said):
    (tmp_path / "x.csv").write_text("I,II,V1\n" + ROWS)
    with pytest.raises(BadInputError, match=said):
        list(folder(tmp_path, **keys).iter_records())


def timed(times, form="{:.4f}"):
    """Numbered samples of three leads with a column of times."""
    cells = (f"{form.format(time)},{n},{n},{n}" for n, time in enumerate(times))
    return "time,I,II,V1\n" + "\n".join(cells) + "\n"


@pytest.mark.parametrize(
    "missing", [[1], [500], [998], [30, 31], [100, 400, 700], [50, 250, 450, 650, 850]]
)
@pytest.mark.parametrize("form", ["{:.2f}", "{:.6f}", "{:.3e}"])
def test_a_column_of_times_shows_each_missing_sample(tmp_path, missing, form):
    whole = 3 + np.arange(1000) / 100
    kept = of_text(tmp_path, timed(whole, form))
    np.testing.assert_array_equal(kept.signal[2], np.arange(1000))
    reason = refused(tmp_path, timed(np.delete(whole, missing), form))
    assert reason == ("wrong-rate", "column 'time' of x.csv has gaps")
    twice = np.insert(whole, missing[0], whole[missing[0]])
    assert refused(tmp_path, timed(twice, form))[0] == "wrong-rate"


def test_times_that_are_out_of_order(tmp_path):
    times = np.arange(100) / 100
    times[[40, 41]] = times[[41, 40]]
    reason, detail = refused(tmp_path, timed(times))
    assert (reason, "in another order than column 'time'" in detail) == ("wrong-rate", True)


@settings(max_examples=40, deadline=None)
@given(
    fs=st.sampled_from([100, 125, 128, 250, 257, 300, 360, 500, 512, 1000]),
    digits=st.integers(2, 7),
    start=st.floats(0, 1e4),
    drift=st.floats(0.995, 1.005),
)
def test_times_however_rounded_are_no_gaps(fs, digits, start, drift):
    exact = digits > 4  # 99.6 Hz in hundredths of a second cannot be told from missing samples
    # Written in steps as long as its own, a clock must not stand half-way between two.
    first = start if 10**digits > fs else round(start, digits)
    times = first + np.arange(700) / (fs * (drift if exact else 1))
    with tempfile.TemporaryDirectory() as name:
        record = of_text(Path(name), timed(times, f"{{:.{digits}f}}"), fs=fs)
    assert record.signal.shape == (3, 700)


def test_numbers_in_a_column_of_times_may_be_milliseconds(tmp_path):
    text = timed(np.arange(50), "{:.0f}")
    said = ("column 'time' goes up by 1, and is taken for numbers of samples",)
    assert of_text(tmp_path, text).notes == said
    assert of_text(tmp_path, text, fs=1000).notes == ()
    assert refused(tmp_path, text.replace("time", "time_ms"))[0] == "wrong-rate"


def test_a_comment_may_repeat_the_first_line(tmp_path):
    record = of_text(tmp_path, "# I,II,V1\nI,II,V1\n" + ROWS)
    np.testing.assert_allclose(record.signal, READ, rtol=1e-6)
    reason, detail = refused(tmp_path, "# V1,II,I\nI,II,V1\n" + ROWS)
    assert (reason, "name other columns" in detail) == ("unreadable-header", True)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("keys", [{}, {"header": False}, {"delimiter": ";"}])
def test_every_line_may_end_in_a_delimiter(tmp_path, keys, end):
    between = keys.get("delimiter", ",")
    text = ("" if keys.get("header") is False else "I,II,V1\n") + ROWS
    text = text.replace("\n", f",{end}").replace(",", between)
    np.testing.assert_allclose(of_text(tmp_path, text, **keys).signal, READ, rtol=1e-6)
    one_less = text.rstrip(f"{between}{end}") + end
    assert refused(tmp_path, one_less, **keys)[0] == "missing-lead"


class TestParquet:
    def read(self, root, table, **keys):
        parquet.write_table(table, root / "x.parquet")
        (record,) = folder(root, format="parquet", **keys).iter_records()
        return record

    def refused(self, root, table, **keys):
        with pytest.raises(QuarantineError) as error:
            self.read(root, table, **keys)
        return error.value.reason

    def test_columns_by_name_in_any_order_and_type(self, tmp_path):
        table = pa.table(
            {
                "V1": pa.array([0.3, 0.6], pa.float32()),
                "i": pa.array([0.1, 0.4]).dictionary_encode(),
                "II": pa.array(["-0.2", "-0.5"]).cast(pa.decimal128(3, 1)),
                "__index_level_0__": [4, 9],
            }
        )
        np.testing.assert_allclose(self.read(tmp_path, table).signal, READ, rtol=1e-6)

    def test_what_is_no_number_is_refused(self, tmp_path):
        good = pa.array([1.0, 2.0])
        for bad in ([[1.0], [2.0]], ["1", "2"], [True, False], [{"a": 1}, {"a": 2}]):
            table = pa.table({"I": good, "II": bad, "V1": good})
            assert self.refused(tmp_path, table) == "nan-samples"
        twice = pa.table([good, good, good, good], names=["I", "II", "V1", "II"])
        assert self.refused(tmp_path, twice) == "repeated-lead"
        assert self.refused(tmp_path, pa.table({"I": good, "II": good})) == "missing-lead"
        nested = pa.table({"a.b": good, "a": [{"b": 1}, {"b": 2}]})
        record = self.read(tmp_path, nested, columns=["a.b"], leads=["I"])
        np.testing.assert_allclose(record.signal, [[1, 2]])

    def test_gaps_and_markers_of_whole_numbers(self, tmp_path):
        whole = {"I": pa.array([1, None, 3], pa.int16())}
        keys = {"leads": ["I"], "units": "uV"}
        record = self.read(tmp_path, pa.table(whole), **keys)
        np.testing.assert_array_equal(record.signal, np.float32([[0.001, np.nan, 0.003]]))
        for values in ([-32768, 2], [-32768, None]):
            marked = pa.table({"I": pa.array(values, pa.int16())})
            if None in values:
                assert np.isnan(self.read(tmp_path, marked, **keys).signal).all()
            else:
                assert self.refused(tmp_path, marked, **keys) == "nan-samples"

    def test_times_are_compared(self, tmp_path):
        names = {"I": [1.0, 2.0], "II": [1.0, 2.0], "V1": [1.0, 2.0]}
        times = pa.array([0, 10_000_000], pa.timestamp("ns"))
        assert self.read(tmp_path, pa.table({"time": times, **names})).notes == ()
        assert self.refused(tmp_path, pa.table({"time": times, **names}), fs=50) == "wrong-rate"

    @pytest.mark.parametrize("name", [None, "sample"])
    def test_the_index_of_pandas_says_the_order(self, tmp_path, name):
        frame = pd.DataFrame(np.arange(30.0).reshape(10, 3), columns=["I", "II", "V1"])
        frame.index = pd.Index([3 * n for n in range(10)], name=name)
        keys = {"columns": ["I", "II", "V1"]}

        def of(changed):
            changed.to_parquet(tmp_path / "x.parquet")
            (record,) = folder(tmp_path, format="parquet", **keys).iter_records()
            return record.signal

        np.testing.assert_array_equal(of(frame), frame.to_numpy(np.float32).T)
        backwards = frame.reset_index(drop=True)[::-1]
        for wrong in (frame.sample(frac=1, random_state=0), frame.drop(index=12), backwards):
            with pytest.raises(QuarantineError, match=r"wrong-rate"):
                of(wrong)
        clock = pd.date_range("2020", periods=10, freq="10ms")
        np.testing.assert_array_equal(of(frame.set_index(clock)), frame.to_numpy(np.float32).T)
        with pytest.raises(QuarantineError, match=r"wrong-rate.*steps of 0\.02"):
            of(frame.set_index(pd.date_range("2020", periods=10, freq="20ms")))
        text = frame.set_index(pd.Index(list("abcdefghij")))
        np.testing.assert_array_equal(of(text), frame.to_numpy(np.float32).T)

    def test_a_small_file_of_many_samples_takes_no_memory(self, tmp_path):
        many = pa.array(np.zeros(40_000_000, np.int8))
        parquet.write_table(pa.table({"I": many}), tmp_path / "x.parquet")
        with pytest.raises(QuarantineError, match="claims 40000000 samples"):
            list(folder(tmp_path, format="parquet", leads=["I"]).iter_records())


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(2, 20)),
        elements=st.floats(-5, 5, width=32),
    ),
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from(["csv", "parquet"]),
)
def test_what_is_written_is_read_whatever_the_order_of_the_columns(signal, order, form):
    names = ("I", "II", "V1")
    with tempfile.TemporaryDirectory() as folder_name:
        root = Path(folder_name)
        table = pa.table({names[place]: signal[place].astype(np.float64) for place in order})
        if form == "csv":
            table.to_pandas().to_csv(root / "x.csv", index=False)
        else:
            parquet.write_table(table, root / "x.parquet")
        (record,) = folder(root, format=form).iter_records()
    np.testing.assert_array_equal(record.signal, signal)
    assert record.leads == names
