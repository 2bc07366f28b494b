"""Packed arrays: every way a record can be bad; its neighbour is stored."""

import numpy as np
import pytest

from support.sources import quarantined

CASES = [
    ("missing-signal-file", {"uid": "other"}, "no entry"),
    ("bad-gain", {"amplitude": "counts"}, "counts"),
    ("bad-metadata", {"patient_id": "odd"}, "does not match"),
    ("bad-metadata", {"labels": "{broken"}, "broken"),
    ("bad-metadata", {"strat_fold": "x"}, "x"),
    ("bad-metadata", {"n_orig": "many"}, "n_orig"),
    ("wrong-rate", {"n_orig": "1000"}, "2 s"),
    ("wrong-rate", {"fs_orig": "0"}, "fs_orig"),
]


@pytest.mark.parametrize(("reason", "changes", "detail"), CASES)
def test_packed(tmp_path, write, reason, changes, detail):
    uids = np.array(["set_0", "set_1"])
    root = write.packed(tmp_path / "in", [{}, changes], uids=uids)
    options = {"signals": "signals.npz", "table": "table.csv", "patient_pattern": "p_(.+)"}
    rows = quarantined(tmp_path, "packed", root, options)
    assert rows[0]["reason"] == reason
    assert detail in rows[0]["detail"]
    if "uid" in changes:
        assert rows[1] == {
            "record_id": "set_1",
            "reason": "bad-metadata",
            "detail": "no row in table.csv",
        }
