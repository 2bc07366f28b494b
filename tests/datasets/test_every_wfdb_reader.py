"""Headers that lie are refused by every reader of WFDB files, whichever it is."""

import re

import numpy as np
import pytest

from ecgscale.data.sources import sources
from support.sources import example, write_example

READERS = ("challenge", "ptb-xl", "mimic-iv-ecg", "icentia11k", "music", "mc-med", "wfdb-tree")
MORE = ("heedb", "cinc-2011")
"""These are `wfdb-tree` with its options filled in."""
OF_WINDOWS = ("icentia11k", "music", "mc-med")
"""These never read all of a recording, and so know no sum of its samples."""


def outcomes(name, root):
    """The records by id, and the reasons for which the others are set aside."""
    source = sources.get(name)(root, "x", getattr(example(name), "OPTIONS", {}))
    problems = {}
    records = {record.record_id: record for record in source.iter_records(problems)}
    return records, {error.reason for error in problems.values()}


@pytest.fixture(scope="module", params=[*READERS, *MORE])
def tree(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    write_example(request.param, root)
    texts = {path: path.read_text() for path in root.rglob("*.hea")}
    assert len(texts) >= 2
    records, reasons = outcomes(request.param, root)
    assert len(records) >= 2
    assert not reasons

    def change(edit):
        for path, text in texts.items():
            rows = [row.split(" ") for row in text.splitlines()]
            signals = [row for row in rows[1:] if not row[0].startswith("#")]
            edit(rows[0], signals)
            path.write_text("\n".join(" ".join(row) for row in rows) + "\n")
        return outcomes(request.param, root)

    yield request.param, change, records
    for path, text in texts.items():
        path.write_text(text)


@pytest.mark.parametrize("gain", ["0/mV", "-200/mV", "0.5/mV", "x/mV", "200/mmHg"])
def test_a_gain_that_cannot_be(tree, gain):
    _, change, _ = tree

    def edit(_, signals):
        for row in signals:
            row[2] = gain

    assert change(edit) == ({}, {"bad-gain"})


def test_another_sum(tree):
    name, change, _ = tree

    def edit(_, signals):
        signals[0][6] = str(int(signals[0][6]) + 1)

    found = change(edit)
    assert found[1] == set() if name in OF_WINDOWS else found == ({}, {"checksum-mismatch"})


@pytest.mark.parametrize(("change_of", "reason"), [(1, "truncated-signal"), (-1, "wrong-rate")])
def test_another_length(tree, change_of, reason):
    name, change, _ = tree

    def edit(record, _):
        record[3] = str(int(record[3]) + change_of)

    records, reasons = change(edit)
    if (name, reason) == ("music", "wrong-rate"):  # whose published files go on after the last one
        assert not reasons
    else:
        assert (records, reasons) == ({}, {reason})


def test_a_lead_named_twice(tree):
    name, change, _ = tree

    def edit(record, signals):
        if len(signals) > 1:
            signals[-1][-1] = signals[0][-1]
        else:
            record[1] = "2"
            signals[0][-1] += "\n" + " ".join(signals[0])

    records, reasons = change(edit)
    assert not records
    others = {
        "icentia11k": "unreadable-header",
        "mc-med": "truncated-signal",
    }  # which have one lead
    assert reasons == {others.get(name, "repeated-lead")}


def test_several_samples_in_a_frame(tree):
    """Files that are said to be in frames have the rate of their samples, never of the frames."""
    name, change, expected = tree

    def edit(record, signals):
        record[2] = f"{float(record[2]) / 5:g}"
        record[3] = str(int(record[3]) // 5)
        for row in signals:
            row[1] = re.sub(r"^(\d+)", r"\1x5", row[1])

    records, reasons = change(edit)
    if name == "icentia11k":  # whose annotations count samples
        assert reasons == {"unreadable-header"}
    elif name in ("mc-med", "music"):
        assert records.keys() == expected.keys()
    else:  # their samples lie in another order now, and add up to other sums
        assert (records, reasons) == ({}, {"checksum-mismatch"})
    for key, record in records.items():
        assert record.fs == expected[key].fs
        assert record.signal.shape == expected[key].signal.shape
        if name == "mc-med":
            np.testing.assert_array_equal(record.signal, expected[key].signal)


def test_the_tree_itself_is_read(tree):
    _, change, expected = tree
    records, reasons = change(lambda record, signals: None)
    assert not reasons
    for key, record in records.items():
        np.testing.assert_array_equal(record.signal, expected[key].signal)
