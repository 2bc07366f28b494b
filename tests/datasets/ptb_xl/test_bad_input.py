"""PTB-XL: every way a record can be bad; its neighbour is stored."""

import pytest

from support.sources import edit, quarantined

CASES = [
    ("missing-signal-file", {"filename_lr": "records100/00000/09999_lr"}, "09999_lr"),
    ("path-traversal", {"filename_lr": "../outside/secret"}, "../outside/secret"),
    ("path-traversal", {"filename_lr": "/etc/passwd"}, "/etc/passwd"),
    ("unknown-label", {"scp_codes": "{'NORM': 100.0, 'WHAT': 50.0}"}, "'WHAT'"),
    ("bad-metadata", {"scp_codes": "NORM"}, "NORM"),
    ("bad-metadata", {"scp_codes": "{'NORM': None}"}, "None"),
    ("bad-metadata", {"strat_fold": "three"}, "three"),
    ("bad-metadata", {"weight": "heavy"}, "heavy"),
    ("bad-metadata", {"patient_id": ""}, "patient_id"),
    ("duplicate-record", {"ecg_id": "1"}, "same id"),
]


@pytest.mark.parametrize(("reason", "changes", "detail"), CASES)
def test_ptb_xl(tmp_path, write, reason, changes, detail):
    root = write.ptb_xl(tmp_path / "in", [{}, changes])
    (row,) = quarantined(tmp_path, "ptb-xl", root)
    assert (row["reason"], row["record_id"]) == (reason, str(changes.get("ecg_id", 2)))
    assert detail in row["detail"]


def test_ptb_xl_header_of_the_other_rate(tmp_path, write):
    root = write.ptb_xl(tmp_path / "in", [{}, {}])
    edit(root / "records100/00000/00002_lr.hea", "_lr 12 100 1000", "_lr 12 500 1000")
    (row,) = quarantined(tmp_path, "ptb-xl", root)
    assert row["reason"] == "wrong-rate"
    assert "500 Hz, not 100" in row["detail"]
