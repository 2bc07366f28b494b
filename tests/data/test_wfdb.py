"""Format-16 records against the wfdb package, and against damage."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
import wfdb
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ecgscale.data.sources import QuarantineError
from ecgscale.data.wfdb import decode
from ecgscale.data.wfdb_header import read_header


@settings(max_examples=25, deadline=None)
@example(leads=1, length=4, gain=4880.0, baseline=0, unit="mV", seed=92)
@given(
    leads=st.integers(1, 12),
    length=st.integers(1, 50),
    gain=st.sampled_from([200.0, 1000.0, 204.8, 4880.0]),
    baseline=st.integers(-500, 500),
    unit=st.sampled_from(["mV", "uV", "V"]),
    seed=st.integers(0, 100),
)
def test_reads_what_the_wfdb_package_writes_and_reads(leads, length, gain, baseline, unit, seed):
    samples = np.random.default_rng(seed).integers(-30_000, 30_000, (length, leads))
    names = [f"V{number}" for number in range(leads)]
    per_unit = {"mV": gain, "uV": gain / 1000, "V": gain * 1000}[unit]
    with tempfile.TemporaryDirectory() as folder:
        wfdb.wrsamp(
            "r1",
            fs=257,
            units=[unit] * leads,
            sig_name=names,
            d_signal=samples,
            fmt=["16"] * leads,
            adc_gain=[per_unit] * leads,
            baseline=[baseline] * leads,
            comments=["Age: 50", "Dx: 1,2"],
            write_dir=folder,
        )
        reference = wfdb.rdrecord(f"{folder}/r1")
        header = read_header(Path(folder) / "r1.hea")
        signal = decode(Path(folder), header).signal
    scale = {"mV": 1.0, "uV": 1e-3, "V": 1e3}[unit]
    np.testing.assert_allclose(signal, reference.p_signal.T * scale, rtol=1e-6, atol=1e-6)
    assert header.fs == 257
    assert header.leads == tuple(names)
    assert header.comments == {"age": "50", "dx": "1,2"}


def test_record_line_of_the_2020_release(tmp_path, write):
    samples = write.beats()
    path = write.wfdb(tmp_path, "E00001", samples, record_line="E00001.mat 12 100 1000 05-May-2020")
    found = decode(tmp_path, read_header(path))
    np.testing.assert_array_equal(found.signal, (samples / 1000).astype(np.float32))


def test_comments_with_and_without_a_space(tmp_path, write):
    path = write.wfdb(tmp_path, "a", write.beats(), comments=("# Age: 7", "#Dx: 1", "#free text"))
    assert read_header(path).comments == {"age": "7", "dx": "1"}


def test_length_is_taken_from_the_file_where_the_header_states_none(tmp_path, write):
    path = write.wfdb(tmp_path, "a", write.beats(), record_line="a 12 100")
    assert decode(tmp_path, read_header(path)).signal.shape == (12, 1000)


@pytest.mark.parametrize("index", range(4))
def test_damaged_files_are_refused_never_crash(tmp_path, write, index):
    """Random bytes put into header and signal: read, or a QuarantineError, and nothing else."""
    rng = np.random.default_rng(index)
    path = write.wfdb(tmp_path, "a", write.beats(seconds=0.2))
    intact = path.read_bytes()
    outcomes = set()
    for _ in range(250):
        damaged = bytearray(intact)
        for _ in range(rng.integers(1, 6)):
            position = int(rng.integers(len(damaged)))
            if rng.random() < 0.3:
                del damaged[position : position + int(rng.integers(1, 30))]
            else:
                pool = b"0123456789/()+-.: \n#exN\\\0\xff"
                damaged[position] = pool[rng.integers(len(pool))]
        path.write_bytes(bytes(damaged))
        try:
            header = read_header(path)
            signal = decode(tmp_path, header).signal
        except QuarantineError as error:
            outcomes.add(error.reason)
        else:
            outcomes.add("read")
            assert np.isfinite(signal).all()
    assert len(outcomes) >= 4
