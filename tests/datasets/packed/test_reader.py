"""An array with a table."""

import numpy as np
import pytest

from ecgscale.data.sources import sources
from ecgscale.errors import BadInputError

FILES = {"signals": "signals.npz", "table": "table.csv"}


def read(root, **options):
    return list(sources.get("packed")(root, "ptb-xl", {**FILES, **options}).iter_records())


def test_one_record(tmp_path, write):
    changes = {"patient_id": "ptbxl_8697", "clipped": "True"}
    (record,) = read(write.packed(tmp_path, [changes]), patient_pattern="ptbxl_(.+)")
    assert (record.record_id, record.patient_id) == ("set_0", "ptb-xl:8697")
    assert (record.age, record.sex, record.fold, record.unit) == (61, "M", 2, "mV")
    assert record.labels == {"NORM": 100.0}
    assert record.notes == ("clipped by the recorder",)
    assert record.fs == 100
    np.testing.assert_allclose(record.signal, write.beats(0) / 1000, rtol=1e-6)


def test_standard_deviations_and_plain_labels(tmp_path, write):
    changes = {"amplitude": "zscore(bp0.5-40Hz)", "labels": "acceptable"}
    (record,) = read(write.packed(tmp_path, [changes, {"labels": ""}][:1]))
    assert (record.unit, record.labels) == ("z", {"acceptable": 100.0})


def test_signals_are_found_by_uid_not_by_position(tmp_path, write):
    signals = np.stack([write.beats(1), write.beats(0)])
    uids = np.array(["set_1", "set_0"])
    records = read(write.packed(tmp_path, [{}, {}], signals=signals, uids=uids))
    for number, record in enumerate(records):
        np.testing.assert_allclose(record.signal, write.beats(number) / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    "signals",
    [
        np.zeros((1, 12, 1000), dtype=np.float32),
        np.zeros((1, 8, 1000), dtype=np.int16),
        np.zeros((12, 1000), dtype=np.int16),
        np.zeros((2, 12, 1000), dtype=np.int16),
        np.array([{"not": "numbers"}], dtype=object),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, write, signals):
    with pytest.raises(BadInputError, match=r"signals\.npz"):
        read(write.packed(tmp_path, [{}], signals=signals))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken"])
def test_files_that_are_not_archives(tmp_path, write, content):
    write.packed(tmp_path)
    (tmp_path / "signals.npz").write_bytes(content)
    with pytest.raises(BadInputError, match=r"signals\.npz"):
        read(tmp_path)


@pytest.mark.parametrize("pattern", ["no group", "(", "()("])
def test_patterns_without_a_group(tmp_path, pattern):
    with pytest.raises(BadInputError, match="patient_pattern"):
        read(tmp_path, patient_pattern=pattern)
