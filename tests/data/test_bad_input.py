"""Why records are set aside; each data set's own cases lie with its tests."""

import pytest

from ecgscale.data.sources import REASONS, QuarantineError
from support.sources import DATASETS, load


def test_every_reason_is_tested_and_documented(project):
    cases = [case for path in DATASETS.glob("*/test_bad_input.py") for case in load(path).CASES]
    # What no check foresaw has no case of a data set: tests/data/sources/test_base.py raises it.
    assert {case[0] for case in cases} == set(REASONS) - {"unexpected-error"}
    text = (project / "docs" / "sources.md").read_text(encoding="utf-8")
    assert all(f"| `{reason}` | {meaning} |" in text for reason, meaning in REASONS.items())


def test_a_reason_must_be_known():
    with pytest.raises(ValueError, match="nonsense"):
        QuarantineError("nonsense", "")
