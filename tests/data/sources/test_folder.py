"""Data sets that are one YAML file: found by their name, and a mistake costs one of them."""

import sys
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from ecgscale.data.sources import sources
from ecgscale.data.sources.folder import described
from ecgscale.errors import BadInputError
from ecgscale.registry import Registry

SHIPPED = sorted(Path(str(files("ecgscale.datasets"))).glob("*.yaml"))
SAID = dict.fromkeys(
    ("about", "title", "licence", "unit", "patient_key", "citation", "url"), "as published"
)
ARRAYS = {"format": "npy", "fs": 100, "units": "mV", "leads": ["I"]}
READ = {"format": "wfdb", "patient_pattern": "^(p[0-9]+)/"}


def write(path, **changes):
    stated = {**SAID, "access": "open", "read": READ, **changes}
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({key: value for key, value in stated.items() if value}))
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_file_of_the_package_is_found(path):
    assert sources.get(path.stem).title == described(path).title
    assert sources.get(path.stem).written_in == path


def test_options_come_over_what_the_file_says(tmp_path, write_records):
    table = {"path": "t.csv", "record": "file", "patient": "pid"}
    kind = described(write(tmp_path / "mine.yaml", read={"format": "wfdb", "table": table}))
    write_records(tmp_path / "in")
    (tmp_path / "in" / "t.csv").write_text("file,pid,age\np1/a,7,50\n")
    (tmp_path / "in" / "u.csv").write_text("file,pid\np1/a,8\n")
    (first,) = kind(tmp_path / "in", "s").iter_records()
    (second,) = kind(tmp_path / "in", "s", {"table": "u.csv"}).iter_records()
    (third,) = kind(tmp_path / "in", "s", {"table": {"age": "age"}}).iter_records()
    assert (first.patient_id, second.patient_id, third.patient_id) == ("s:7", "s:8", "s:7")
    assert (first.age, third.age) == (None, 50)


@pytest.fixture
def write_records(write):
    return lambda root: write.wfdb(root / "p1", "a", write.beats(0))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"title": None}, "bad.yaml: title: Field required"),
        ({"colour": "red"}, "bad.yaml: colour: Extra inputs are not permitted"),
        ({"access": "secret"}, "bad.yaml: access: Input should be 'open', 'registered' or"),
        ({"read": {**READ, "windos": 3}}, "bad.yaml: read: windos: Extra inputs"),
        ({"read": {**READ, "windows": 0}}, "bad.yaml: read: windows: Input should be greater"),
        ({"read": {**READ, "fs": 500}}, "bad.yaml: read: .*fs is in the headers of wfdb files"),
        ({"read": {**READ, "table": {"path": "t", "colum": "r"}}}, "read: table.colum: Extra"),
        (
            {"read": {"format": "npy", "uids": "u", "fs": 1, "units": "mV", "leads": ["I"]}},
            "signal",
        ),
    ],
)
def test_a_mistake_is_one_sentence_and_costs_no_other_data_set(
    tmp_path, monkeypatch, changes, said
):
    package = tmp_path / "some_data_sets"
    write(package / "bad.yaml", **changes)
    write(package / "good.yaml")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "some_data_sets", raising=False)
    found = Registry("source", "some_data_sets", "reader", "ecgscale.data.sources.folder")
    assert found.names() == ["good"]
    with pytest.raises(BadInputError, match=said) as error:
        found.get("bad")
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_yaml(tmp_path):
    (tmp_path / "a.yaml").write_text("a: [")
    with pytest.raises(BadInputError, match=r"a\.yaml cannot be read as YAML"):
        described(tmp_path / "a.yaml")


def test_windows_and_archives_go_with_their_formats(tmp_path):
    csv = {**ARRAYS, "format": "csv"}
    for key, value in (("window_seconds", 5), ("comments", True), ("signals", "a.npz")):
        with pytest.raises(BadInputError, match=f"{key} goes with format"):
            described(write(tmp_path / "a.yaml", read={**csv, key: value}))


def test_the_example_in_the_documentation_is_a_data_set(tmp_path, project, write_records):
    text = (project / "docs" / "sources.md").read_text(encoding="utf-8")
    code = text.split("## Add a source")[1].split("```yaml")[1].split("```")[0]
    (tmp_path / "example.yaml").write_text(code)
    write_records(tmp_path / "in")
    (record,) = described(tmp_path / "example.yaml")(tmp_path / "in", "s").iter_records()
    assert (record.record_id, record.patient_id, record.age) == ("p1/a:0", "s:p1", 50)
