"""What holds for every source, and the helpers they share."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.base import (
    is_inside,
    parse_fold,
    read_clinical,
    read_table,
)
from ecgscale.errors import BadInputError


def test_iter_records_raises_or_collects(tmp_path, write):
    write.wfdb(tmp_path, "a", write.beats(0))
    write.wfdb(tmp_path, "b", write.beats(1), gain="0/mV")
    source = sources.get("challenge")(tmp_path, "s")
    with pytest.raises(QuarantineError, match="bad-gain"):
        list(source.iter_records())
    bad = {}
    assert [record.record_id for record in source.iter_records(bad)] == ["a"]
    assert bad["b"].reason == "bad-gain"


def test_folds():
    assert (parse_fold("3.0"), parse_fold("10"), parse_fold("")) == (3, 10, None)
    with pytest.raises(QuarantineError, match="bad-metadata"):
        parse_fold("3.5")


def test_clinical_table(tmp_path, write):
    assert read_clinical(tmp_path) == {}
    rows = [{"patient_id": "7.0", "sbp": "140", "hdl_cholesterol": ""}]
    write.csv(tmp_path / "patient_metadata.csv", rows)
    assert read_clinical(tmp_path) == {"7": {"sbp": 140.0}}
    write.csv(tmp_path / "patient_metadata.csv", [{"patient_id": "7", "sbp": "high"}])
    with pytest.raises(BadInputError, match="line 2: sbp is 'high'"):
        read_clinical(tmp_path)
    write.csv(tmp_path / "patient_metadata.csv", [{"patient_id": "7", "shoe": "44"}])
    with pytest.raises(BadInputError, match="unknown column 'shoe'"):
        read_clinical(tmp_path)


def test_tables_that_cannot_be_read(tmp_path):
    path = tmp_path / "t.csv"
    with pytest.raises(BadInputError, match=r"t\.csv does not exist"):
        read_table(path, ())
    path.write_bytes(b"a,b\n\xff,1\n")
    with pytest.raises(BadInputError, match=r"t\.csv cannot be read as CSV"):
        read_table(path, ())
    path.write_bytes(b"a,b\n1\n1,2,3\n")
    assert read_table(path, ("a",)) == [{"a": "1", "b": ""}, {"a": "1", "b": "2"}]
    with pytest.raises(BadInputError, match="no column 'c'"):
        read_table(path, ("c",))


def test_is_inside_follows_links(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "b")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a" / "loop")
    assert is_inside(tmp_path / "a", tmp_path / "a" / "x" / ".." / "y")
    assert not is_inside(tmp_path / "a", tmp_path / "a" / ".." / "b")
    assert not is_inside(tmp_path / "a", tmp_path / "a" / "link" / "x")
    assert not is_inside(tmp_path / "a", tmp_path / "a" / "x\0")
    is_inside(tmp_path / "a", tmp_path / "a" / "loop")


def test_the_example_in_the_documentation_works(tmp_path, write):
    """The code of "Add a source" is a working source."""
    text = (Path(__file__).parents[3] / "docs" / "sources.md").read_text(encoding="utf-8")
    code = text.split("## Add a source")[1].split("```python")[1].split("```")[0]
    code = code.replace('@sources.register("example")\n', "")
    module = types.ModuleType("example")
    sys.modules["example"] = module
    exec(compile(code, "example", "exec"), module.__dict__)
    np.save(tmp_path / "p1_a.npy", write.beats(0, fs=250) / 1000)
    np.save(tmp_path / "p1_b.npy", np.zeros((12, 7)))
    bad = {}
    (record,) = module.Example(tmp_path, "ex").iter_records(bad)
    del sys.modules["example"]
    assert (record.patient_id, record.fs) == ("ex:p1", 250)
    assert bad["p1_b"].reason == "wrong-rate"
