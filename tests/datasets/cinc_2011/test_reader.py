"""CinC 2011: read without an option, as the tree reader reads it with all of them."""

import numpy as np
import pytest
import wfdb

from ecgscale.data.sources import sources
from support.sources import example

OPTIONS = {
    "label_lists": {
        "set-a/RECORDS-acceptable": "quality:acceptable",
        "set-a/RECORDS-unacceptable": "quality:unacceptable",
    },
    "unknown_ages": [0],
}


@pytest.fixture
def cinc_2011(tmp_path):
    root = tmp_path / "challenge-2011"
    example("cinc-2011").write(root)
    return root


@pytest.mark.parametrize(("reader", "options"), [("cinc-2011", {}), ("wfdb-tree", OPTIONS)])
@pytest.mark.parametrize("listed", [False, True])
def test_cinc_2011_is_read(cinc_2011, listed, reader, options):
    if listed:
        (cinc_2011 / "RECORDS").write_text("set-a/\nset-b/\n")
    records = list(sources.get(reader)(cinc_2011, "tree", options).iter_records())
    assert [record.record_id for record in records] == [
        "set-a/1002603:0",
        "set-a/1002867:0",
        "set-a/1003574:0",
        "set-b/1004502:0",
    ]
    good, bad = {"quality:acceptable": 100.0}, {"quality:unacceptable": 100.0}
    assert [record.labels for record in records] == [good, good, bad, {}]
    assert [(r.age, r.sex) for r in records] == [(80, "F"), (None, "M"), (90, None), (80, "F")]
    for record in records:
        path = str(cinc_2011 / record.record_id.split(":")[0])
        np.testing.assert_allclose(record.signal, wfdb.rdrecord(path).p_signal.T, rtol=1e-6)
