"""NPY and NPZ files of one's own: every type and layout, markers, and what claims too much."""

import io
import resource
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ecgscale.data.sources import sources
from ecgscale.data.sources.base import QuarantineError
from ecgscale.errors import BadInputError

LEADS = ["I", "II", "V1"]
RAMP = np.arange(30).reshape(3, 10)
"""Shape (lead, time)."""


def folder(root, **keys):
    stated = {"format": "npy", "fs": 100, "units": "uV", "leads": LEADS, **keys}
    (root / "source.yaml").write_text(yaml.safe_dump(stated))
    return sources.get("folder")(root, "own", {})


def read(root, array, **keys):
    np.save(root / "x.npy", array)
    (record,) = folder(root, **keys).iter_records()
    return record


def refused(root, array, **keys):
    with pytest.raises(QuarantineError) as error:
        read(root, array, **keys)
    return error.value.reason


@pytest.mark.parametrize(
    "kind", ["<i2", ">i2", "<i4", ">i8", "u2", "i1", "<f4", ">f8", "f2", "longdouble"]
)
@pytest.mark.parametrize("order", "CF")
def test_types_and_layouts(tmp_path, kind, order):
    for array in (RAMP, RAMP.T):
        record = read(tmp_path, np.asarray(array, dtype=kind, order=order))
        np.testing.assert_allclose(record.signal, RAMP / 1000, rtol=1e-6)
        assert record.leads == tuple(LEADS)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (RAMP > 3, "unreadable-header"),
        (RAMP * 1j, "unreadable-header"),
        (RAMP.astype(str), "unreadable-header"),
        (RAMP.astype("m8[s]"), "unreadable-header"),
        (np.zeros((3, 10), [("I", "f4")]), "unreadable-header"),
        (np.array([[{}] * 10] * 3), "unreadable-header"),
        (RAMP[:, :3], "missing-lead"),
        (RAMP[:2], "missing-lead"),
        (RAMP[None, None], "missing-lead"),
        (np.float64(1), "missing-lead"),
        (RAMP[:, :0], "truncated-signal"),
        (np.zeros((0, 3, 10)), "missing-lead"),
        (np.zeros((10**12, 0, 3)), "missing-lead"),
    ],
)
def test_what_is_refused(tmp_path, array, reason):
    assert refused(tmp_path, array) == reason


def test_infinite_and_missing_samples_are_passed_on(tmp_path):
    samples = RAMP.astype(np.float32)
    samples[0, 3], samples[1, 4] = np.nan, -np.inf
    record = read(tmp_path, samples)
    np.testing.assert_array_equal(record.signal, (samples / np.float64(1e3)).astype(np.float32))


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "f4", "f8"])
def test_the_marker_of_converters_is_no_amplitude(tmp_path, kind):
    samples = RAMP.astype(kind)
    samples[1, 4] = -32768
    with pytest.raises(QuarantineError, match=r"lead II of x\.npy has 1 invalid samples"):
        read(tmp_path, samples, units="adu", gain=1000)
    other = np.where(samples == -32768, -9999, samples)
    np.testing.assert_allclose(
        read(tmp_path, other, units="adu", gain=1000).signal[1, 4], -9.999, rtol=1e-6
    )
    with pytest.raises(QuarantineError, match="invalid samples"):
        read(tmp_path, other, units="adu", gain=1000, invalid=[-9999])


@pytest.mark.parametrize(("kind", "units"), [("i2", "uV"), ("i4", "uV"), ("i8", "mV")])
def test_the_smallest_of_a_type_is_no_amplitude_in_any_unit(tmp_path, kind, units):
    samples = RAMP.astype(kind)
    samples[2, 0] = np.iinfo(kind).min
    assert refused(tmp_path, samples, units=units) == "nan-samples"


def test_the_largest_is_noted(tmp_path):
    samples = RAMP.astype(np.int16)
    samples[0, :4] = 32767
    record = read(tmp_path, samples, units="adu", gain=1000)
    assert record.notes[0] == "4 samples of lead I are 32767"


def test_a_bad_record_of_an_array_costs_no_other(tmp_path):
    samples = np.stack([RAMP, RAMP + 1, RAMP + 2]).astype(np.int16)
    samples[1, 0, 0] = -32768
    np.save(tmp_path / "x.npy", samples)
    quarantined = {}
    records = list(folder(tmp_path, units="adu", gain=1000).iter_records(quarantined))
    assert [record.record_id for record in records] == ["x:0", "x:2"]
    assert {name: error.reason for name, error in quarantined.items()} == {"x:1": "nan-samples"}


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def npy(shape, kind="<f8"):
    """The file of an array that holds 80 bytes and claims more."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": kind, "fortran_order": False, "shape": shape}
    )
    return file.getvalue() + bytes(80)


@pytest.mark.parametrize("shape", [(3, 10**12), (10**12, 3), (10**9, 3, 10**9), (3, -5)])
def test_a_header_that_claims_too_much_takes_no_memory(tmp_path, shape):
    (tmp_path / "x.npy").write_bytes(npy(shape))
    before = peak()
    with pytest.raises(QuarantineError) as error:
        list(folder(tmp_path).iter_records())
    assert error.value.reason == "unreadable-header"
    assert peak() - before < 2**18  # KiB


@pytest.mark.parametrize(
    "content", [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\xff\xff{'descr'", b"PK"]
)
def test_what_is_no_array(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(QuarantineError) as error:
        list(folder(tmp_path).iter_records())
    assert error.value.reason == "unreadable-header"


class TestArchive:
    def source(self, root, **keys):
        table = {"path": "t.csv", "record": "uid"}
        (root / "t.csv").write_text("uid\na\nb\n")
        own = {"signals": "x.npz", "uids": "uid", "table": table}
        return folder(root, **{"units": "adu", "gain": 1000, **own, **keys})

    def test_a_marked_record_costs_no_other(self, tmp_path):
        signals = np.stack([RAMP, RAMP + 7]).astype(np.int16)
        signals[0, 1, 5] = -32768
        np.savez(tmp_path / "x.npz", uid=["a", "b"], signals=signals)
        quarantined = {}
        (record,) = self.source(tmp_path).iter_records(quarantined)
        np.testing.assert_allclose(record.signal, (RAMP + 7) / 1000, rtol=1e-6)
        assert quarantined["a"].reason == "nan-samples"

    @pytest.mark.parametrize("shape", [(2, 3, 10**12), (10**12, 3, 10)])
    def test_an_array_that_claims_too_much_is_one_sentence(self, tmp_path, shape):
        with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
            archive.writestr("signals.npy", npy(shape, "<i2"))
            archive.writestr("uid.npy", npy((10,), "<f8"))
        before = peak()
        with pytest.raises(BadInputError, match=r"signals\.npy claims \d+ bytes"):
            self.source(tmp_path).index()
        assert peak() - before < 2**18  # KiB

    def test_a_damaged_archive_is_one_sentence(self, tmp_path):
        np.savez_compressed(tmp_path / "x.npz", uid=["a", "b"], signals=np.stack([RAMP, RAMP]))
        whole = (tmp_path / "x.npz").read_bytes()
        for content in (
            whole[:100],
            whole[:60] + bytes(80) + whole[140:],
            b"",
            b"PK\5\6" + bytes(18),
        ):
            (tmp_path / "x.npz").write_bytes(content)
            with pytest.raises(BadInputError, match=r"x\.npz is not an \.npz file with") as error:
                self.source(tmp_path).index()
            assert "\n" not in str(error.value)


@settings(max_examples=40, deadline=None)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.just(3), st.integers(4, 20)),
        elements=st.floats(-5, 5, width=32),
    ),
    st.sampled_from([100, 200, 1000, 4880]),
    st.booleans(),
)
def test_what_is_written_is_read_to_half_a_step(signal, gain, transposed):
    steps = np.rint(signal.astype(np.float64) * gain).astype(np.int16)
    with tempfile.TemporaryDirectory() as name:
        record = read(Path(name), steps.T if transposed else steps, units="adu", gain=gain)
    np.testing.assert_allclose(record.signal, signal, atol=0.5 / gain + 1e-6)
