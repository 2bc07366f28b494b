"""What holds for every source, and the helpers they share."""

import pickle
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from ecgscale.data.simulate import cohort_options
from ecgscale.data.simulate.layout import layouts
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.base import (
    is_inside,
    parse_age,
    parse_fold,
    parse_sex,
    read_clinical,
    read_table,
)
from ecgscale.errors import BadInputError

PACKED = {"signals": "signals.npz", "table": "table.csv"}
OPTIONS = {"packed": PACKED}
SIMULATED = {
    "mimic-iv-ecg": {"fs": 100, "nan_lead": 0, "lost_signal": 0, "unknown_patients": 0},
    "mc-med": {"fs": 100, "unmonitored": 0, "gaps": 0, "lost_signal": 0},
    "icentia11k": {
        **{"segment_seconds": 20, "undefined": 0, "unannotated": 0, "detached": 0},
        "lost_signal": 0,
    },
    "music": {
        **{"recording_seconds": 40, "no_holter": 0, "late_start": 0, "flat": 0},
        "lost_signal": 0,
    },
    "aurora-bp": {
        **{"measurement_seconds": 2, "measurements": 1, "unrecorded": 0, "late": 0, "gaps": 0},
        "lost_signal": 0,
    },
    "code-15": {"blank": 0, "lost_signal": 0},
}
"""Options of the cohorts of sources that are written by their simulated layout."""
UNREAD = {
    "mimic-iv-ecg": ("machine_measurements.csv",),
    "icentia11k": (".dat",),
    "music": (".dat",),
    "mc-med": (".dat", "split_random_train.csv", "split_random_val.csv", "split_random_test.csv"),
}
"""How the names of published files end that a source does not read, or not as a whole."""


def make(name, root, write):
    """Write two records in the layout of a source; return the source."""
    if name == "ptb-xl":
        write.ptb_xl(root, [{}, {}])
    elif name in ("challenge", "wfdb-tree", "folder"):
        write.wfdb(root, "a", write.beats(0))
        write.wfdb(root, "b", write.beats(1))
        if name == "folder":
            (root / "source.yaml").write_text("format: wfdb\n")
    elif name == "packed":
        write.packed(root, [{}, {}])
    elif name in SIMULATED:
        options = {**SIMULATED[name], "extra_record": 0}
        recipe = CohortSettings(layout=name, patients=2, options=options)
        layout = layouts.get(name)(cohort_options(recipe), 1)
        root.mkdir(parents=True)
        layout.tables(root, layout.write(root, 0, 2, 1))
    return sources.get(name)(root, "space", OPTIONS.get(name))


@pytest.mark.parametrize("name", sources.names())
class TestEverySource:
    def test_says_what_it_is(self, name):
        cls = sources.get(name)
        for field in ("title", "licence", "unit", "patient_key", "citation", "url"):
            assert getattr(cls, field)
        assert cls.access in ("open", "registered", "credentialed")
        assert cls.__doc__

    def test_reads_records_from_pickled_references(self, name, tmp_path, write):
        source = make(name, tmp_path / "in", write)
        refs = pickle.loads(pickle.dumps(source.index()))
        again = type(source)(source.root, source.namespace, OPTIONS.get(name))
        records = [again.read(ref) for ref in refs]
        assert len({record.record_id for record in records}) == 2
        for record, other in zip(records, source.iter_records(), strict=True):
            assert set(record.leads) == set(source.leads or write.leads)
            assert record.signal.dtype == np.float32
            assert record.patient_id.startswith("space:")
            np.testing.assert_array_equal(record.signal, other.signal)

    def test_names_the_files_it_reads(self, name, tmp_path, write):
        source = make(name, tmp_path / "in", write)
        files = [path for ref in source.index() for path in source.files(ref)]
        named = {path for path in [*files, *source.tables()] if path.is_file()}
        held = {path for path in (tmp_path / "in").rglob("*") if path.is_file()}
        assert named == {path for path in held if not path.name.endswith(UNREAD.get(name, ()))}

    def test_unknown_option(self, name, tmp_path):
        with pytest.raises(BadInputError, match="nonsense"):
            sources.get(name)(tmp_path, "s", {**OPTIONS.get(name, {}), "nonsense": 1})

    def test_absent_folder(self, name, tmp_path):
        source = sources.get(name)(tmp_path / "absent", "s", OPTIONS.get(name))
        with pytest.raises(BadInputError, match="absent does not exist"):
            source.index()

    def test_empty_folder(self, name, tmp_path):
        source = sources.get(name)(tmp_path, "s", OPTIONS.get(name))
        with pytest.raises(BadInputError):
            source.index()


def test_iter_records_raises_or_collects(tmp_path, write):
    write.wfdb(tmp_path, "a", write.beats(0))
    write.wfdb(tmp_path, "b", write.beats(1), gain="0/mV")
    source = sources.get("challenge")(tmp_path, "s")
    with pytest.raises(QuarantineError, match="bad-gain"):
        list(source.iter_records())
    bad = {}
    assert [record.record_id for record in source.iter_records(bad)] == ["a"]
    assert bad["b"].reason == "bad-gain"


@pytest.mark.parametrize(
    ("text", "age", "noted"),
    [
        ("56.0", 56.0, False),
        (" 0 ", 0.0, False),
        ("300", 90.0, True),
        ("300.0", 90.0, True),
        ("", None, False),
        ("NaN", None, False),
        ("Unknown", None, False),
        ("-3", None, True),
        ("121", None, True),
        ("inf", None, True),
        ("old", None, True),
    ],
)
def test_ages(text, age, noted):
    got, notes = parse_age(text)
    assert got == age
    assert bool(notes) == noted


@pytest.mark.parametrize(
    ("text", "sex"),
    [("Male", "M"), ("M", "M"), ("FEMALE", "F"), ("f", "F"), ("Unknown", None), ("", None)],
)
def test_sexes(text, sex):
    assert parse_sex(text) == sex


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
