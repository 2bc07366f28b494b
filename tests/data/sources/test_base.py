"""What holds for every source, and the helpers they share."""

import re
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
    read_names,
    read_table,
    rows_by_key,
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
    path.write_bytes(b"a,b\n1,2\n\n3,4,,\n")
    assert read_table(path, ("a",)) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    with pytest.raises(BadInputError, match="no column 'c'"):
        read_table(path, ("c",))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a,b\n1,2\n\xff,1\n", "line 3 is not UTF-8 text (byte 0xff)"),
        (b"\xff\xfea\0,\0b\0", "line 1 is not UTF-8 text"),
        (b"a,b\n1,2\0\n", "line 2 has a NUL byte"),
        (b"a,b\n<<<<<<< HEAD\n1,2\n", "line 2 is a conflict marker of git"),
        (b"a,b\n1,2\n=======\n1,3\n", "line 3 is a conflict marker of git"),
        (b"a,b\n1\n", "line 2 has 1 values for 2 columns"),
        (b"a,b\r\n1,2\r\n1,2,3\r\n", "line 3 has 3 values for 2 columns"),
        (b'a,b\n1,"2\n3,4\n', "line 3: unexpected end of data"),
        (b"a,b," + b"x" * 200_000 + b"\n", "line 1: field larger than field limit"),
        (b"a,b,a\n1,2,3\n", "names the column 'a' twice"),
        (b"", "is empty"),
        (b"\n", "is empty"),
    ],
)
def test_what_is_wrong_with_a_table_is_one_sentence(tmp_path, content, sentence):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=re.escape(sentence)) as caught:
        read_table(path, ("a",))
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_rows_of_one_identifier_must_agree(tmp_path):
    rows = [{"id": "7.0", "x": "1"}, {"id": "8", "x": "2"}]
    assert rows_by_key([*rows, rows[0]], "id", tmp_path) == {"7": rows[0], "8": rows[1]}
    with pytest.raises(BadInputError, match="two different rows with the id '7'"):
        rows_by_key([*rows, {"id": "7.0", "x": "3"}], "id", tmp_path)


def test_names_in_latin_1_are_read_if_they_are_there(tmp_path):
    path = tmp_path / "RECORDS"
    path.write_bytes("caf\xe9\nplain\n".encode("latin-1"))
    with pytest.raises(BadInputError, match="line 1 is not UTF-8 text"):
        read_names(path, (".hea",))
    (tmp_path / "caf\xe9.hea").touch()
    assert read_names(path, (".hea",)) == ["caf\xe9", "plain"]


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), ZeroDivisionError("x\ny"), OSError("odd")]
)
def test_any_error_is_that_of_one_record(tmp_path, write, monkeypatch, error):
    for name in "ab":
        write.wfdb(tmp_path, name, write.beats(ord(name)))
    cls = sources.get("challenge")
    read = cls.read

    def broken(self, ref):
        if ref.record_id == "a":
            raise error
        return read(self, ref)

    monkeypatch.setattr(cls, "read", broken)
    bad = {}
    assert [record.record_id for record in cls(tmp_path, "s").iter_records(bad)] == ["b"]
    assert bad["a"].reason == (
        "unreadable-file" if isinstance(error, OSError) else "unexpected-error"
    )
    assert bad["a"].detail.startswith("a.hea: ")
    assert isinstance(error, OSError) or type(error).__name__ in bad["a"].detail
    assert "\n" not in bad["a"].detail


def test_an_error_that_no_index_foresees_is_one_sentence(tmp_path, monkeypatch):
    cls = sources.get("challenge")
    monkeypatch.setattr(cls, "index", lambda self: [1 / 0])
    with pytest.raises(BadInputError, match="cannot be listed: ZeroDivisionError: division"):
        cls(tmp_path, "s").listed()


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
