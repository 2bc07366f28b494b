"""Run records survive the disk unchanged, and a broken one is named."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.runs.record import RunRecord, read_results, result_path

numbers = st.floats(allow_infinity=False, width=64)


def record(**changes):
    base = {
        "phase": "pretrain",
        "study": "s",
        "cell": "a/b/n1-o0-s0",
        "axes": {"size": 1, "control_of": None},
        "params": {"lr": 0.1},
        "metrics": {"loss": 0.5},
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
    }
    return RunRecord(**{**base, **changes})


@given(
    st.dictionaries(st.text(min_size=1), numbers),
    st.lists(st.tuples(st.integers(0, 10**6), numbers)),
)
def test_what_is_written_reads_back(tmp_path_factory, metrics, curve):
    path = tmp_path_factory.mktemp("r") / "x.json"
    written = record(metrics=metrics, curves={"loss": curve})
    written.write(path)
    read = RunRecord.read(path)
    assert read.digest == written.digest
    assert read.to_json() == written.to_json()
    for name, value in metrics.items():
        assert read.metrics[name] == value or (math.isnan(value) and math.isnan(read.metrics[name]))


def test_the_digest_follows_every_field():
    assert record().digest == record().digest
    assert record().digest != record(metrics={"loss": 0.6}).digest
    assert record().digest != record(ended="2026-01-01T00:02:00+00:00").digest


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "is not a run record"), ('{"metrics": {}}', "not a run record")],
)
def test_a_broken_record_is_named(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=rf"x\.json {message}|x\.json is {message}"):
        RunRecord.read(path)


def test_results_are_found_by_phase_and_sorted(tmp_path):
    for seed in (2, 0, 1):
        cell = f"a/b/n1-o0-s{seed}"
        record(cell=cell).write(result_path(tmp_path, "pretrain", cell))
    assert [r.cell[-1] for r in read_results(tmp_path, "pretrain")] == ["0", "1", "2"]
    assert read_results(tmp_path, "evaluate") == []
