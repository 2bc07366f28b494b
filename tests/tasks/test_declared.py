"""Tasks that YAML declares: their targets by value, and the sentence for each mistake."""

import numpy as np
import pytest
import yaml

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import check_patient_disjoint
from ecgscale.tasks.declared import declared_tasks
from ecgscale.tasks.targets import read_manifest, read_targets, write_targets

TABLE = """file,pid,dx,out,lvh,lbbb,class,ef,part,fold
a,p1,AF;PACE,died,1,0,sick,35,train,1
b,p2,NORM,alive,0,0,well,60,val,2
c,p3,,,0,1,well,55.5,test,3
d,p4,AFL,alive,1,1,sick,,TEST,3
e,p5,NORM;AF,died,0,NA,unknown,48,,4
f,p1,LBBB,alive,1,0,well,70,train,1
"""
SPLIT = {"fold": {"validation": [2], "test": [3]}}


@pytest.fixture
def folder(tmp_path, write):
    """Six recordings with a table; `declare` writes the description with tasks."""
    root = tmp_path / "clinic"
    root.mkdir()
    for number, name in enumerate("abcdef"):
        np.savetxt(
            root / f"{name}.csv",
            write.beats(number).T,
            "%d",
            ",",
            header=",".join(LEADS),
            comments="",
        )
    (root / "patients.csv").write_text(TABLE)
    return root


def describe(root, tasks, **more):
    table = {"path": "patients.csv", "record": "file", "patient": "pid", "fold": "fold"}
    described = {
        **{"format": "csv", "files": "?.csv", "fs": 100, "units": "uV", "leads": list(LEADS)},
        "table": {**table, "labels": "dx", "label_separator": ";"},
        "tasks": tasks,
    }
    (root / "source.yaml").write_text(yaml.safe_dump({**described, **more}))
    return SourceConfig(reader="folder", root=root)


def targets(folder, **task):
    """Return the targets of one declared task as {record: (split, y)}, and what was left out."""
    config = describe(folder, {"own": {"split": SPLIT, **task}})
    out = folder.parent / "store"
    ingest("clinic", config, Recipe(fs=50, seconds=1), out)
    records = open_store(out).records
    made = declared_tasks("clinic", config)["own"].targets(records)
    ids = records["record_id"].to_numpy()[made.rows]
    found = {
        name: (split, *y) for name, split, y in zip(ids, made.split, made.y.tolist(), strict=True)
    }
    return found, made.left_out


KINDS = {
    "codes": (
        {"kind": "multi-label", "labels": {"AF": ["AF", "AFL"], "norm": "NORM"}},
        {"a": (1, 0), "b": (0, 1), "d": (1, 0), "e": (1, 1), "f": (0, 0)},
        {"without any code": 1},
    ),
    "codes, none is negative": (
        {"kind": "binary", "positive": "AF", "unlabelled": "negative"},
        {"a": (1,), "b": (0,), "c": (0,), "d": (0,), "e": (1,), "f": (0,)},
        {},
    ),
    "classes of codes": (
        {"kind": "multi-class", "labels": {"AF": ["AF", "AFL"], "normal": ["NORM"]}},
        {"a": (1, 0), "b": (0, 1), "d": (1, 0)},
        {"without a code of a class": 2, "of several classes": 1},
    ),
    "columns of 0 and 1": (
        {"kind": "multi-label", "columns": ["lvh", "lbbb"]},
        {"a": (1, 0), "b": (0, 0), "c": (0, 1), "d": (1, 1), "f": (1, 0)},
        {"with an empty cell": 1},
    ),
    "a column and its positive value": (
        {"kind": "binary", "column": "out", "positive": ["died"]},
        {"a": (1,), "b": (0,), "d": (0,), "e": (1,), "f": (0,)},
        {"with an empty cell": 1},
    ),
    "a column of classes": (
        {"kind": "multi-class", "column": "class", "labels": ["well", "sick"]},
        {"a": (0, 1), "b": (1, 0), "c": (1, 0), "d": (0, 1), "f": (1, 0)},
        {"with an empty cell": 1},
    ),
    "a class that is called unknown": (
        {"kind": "multi-class", "column": "class", "labels": ["well", "sick", "unknown"]},
        {
            "a": (0, 1, 0),
            "b": (1, 0, 0),
            "c": (1, 0, 0),
            "d": (0, 1, 0),
            "e": (0, 0, 1),
            "f": (1, 0, 0),
        },
        {},
    ),
    "numbers": (
        {"kind": "regression", "column": "ef", "unit": "%", "range": [10, 80]},
        {"a": (35,), "b": (60,), "c": (55.5,), "e": (48,), "f": (70,)},
        {"with an empty cell": 1},
    ),
}
FOLDS = {"a": "train", "b": "validation", "c": "test", "d": "test", "e": "train", "f": "train"}


@pytest.mark.parametrize("kind", KINDS)
def test_targets_of_every_kind(folder, kind):
    task, expected, left_out = KINDS[kind]
    found, counted = targets(folder, **task)
    assert found == {name: (FOLDS[name], *y) for name, y in expected.items()}
    assert counted == left_out


def test_a_split_by_a_column_leaves_out_who_has_none(folder):
    found, counted = targets(folder, kind="binary", column="lvh", split={"column": "part"})
    assert {name: split for name, (split, _) in found.items()} == {
        "a": "train",
        "b": "validation",
        "c": "test",
        "d": "test",
        "f": "train",
    }
    assert counted == {"without a split": 1}


def test_a_split_by_patient_keeps_patients_whole_and_follows_the_seed(make_records):
    rows = [
        {"patient_id": f"c:{n // 2}", "labels": ["AF"] if n % 3 else ["N"]} for n in range(4000)
    ]
    records = make_records(rows)
    by_seed = []
    for seed in (0, 1):
        split = {"by": "patient", "validation": 0.1, "test": 0.3, "seed": seed}
        task = {"kind": "binary", "positive": "AF", "split": split}
        config = SourceConfig(reader="wfdb-tree", root="nowhere", options={"tasks": {"af": task}})
        made = declared_tasks("clinic", config)["af"].targets(records)
        check_patient_disjoint("af", made)
        assert abs((made.split == "test").mean() - 0.3) < 0.03
        assert abs((made.split == "validation").mean() - 0.1) < 0.02
        assert made.y[:, 0].tolist() == [float(n % 3 > 0) for n in range(4000)]
        by_seed.append(made.split.tolist())
    assert by_seed[0] != by_seed[1]


def test_what_later_stages_need_is_in_the_manifest(folder):
    task = {"kind": "regression", "column": "ef", "unit": "%", "split": SPLIT, "title": "EF"}
    config = describe(folder, {"own-ef": task})
    ingest("clinic", config, Recipe(fs=50, seconds=1), folder.parent / "stores" / "clinic")
    declared = declared_tasks("clinic", config)
    out = folder.parent / "tasks"
    write_targets(["own-ef"], {"clinic": "clinic"}, folder.parent / "stores", out, declared)
    entry = read_manifest(out)["own-ef"]
    assert (entry["kind"], entry["metric"], entry["unit"]) == ("regression", "mae", "%")
    assert entry["counts"] == {"train": 3, "validation": 1, "test": 1}
    assert entry["left_out"] == {"with an empty cell": 1}
    assert read_targets(out, "own-ef").y[:, 0].tolist() == [35, 60, 55.5, 48, 70]


WRONG = {
    "a code that no record has": (
        {"kind": "binary", "positive": ["AFF"]},
        "tasks.own.positive: no record has the code 'AFF'; there are: AF (2), NORM (2), PACE (1)",
    ),
    "a value that no record has": (
        {"kind": "binary", "column": "out", "positive": ["dead"]},
        "tasks.own.column: no record has 'dead' in the column out; there are: alive (3), died (2)",
    ),
    "a value that is no class": (
        {
            "kind": "multi-class",
            "column": "out",
            "labels": ["alive", "other"],
            "absent_codes": "allow",
        },
        "tasks.own.column: record a has 'died', which is no class",
    ),
    "a cell that is not 0 or 1": (
        {"kind": "multi-label", "columns": {"x": "ef"}},
        "tasks.own.columns.x: record a has '35', which is neither positive, negative nor missing",
    ),
    "a number out of range": (
        {"kind": "regression", "column": "ef", "unit": "%", "range": [40, 80]},
        "tasks.own.column: record a has '35', which is no number in (40.0, 80.0)",
    ),
    "a column that the table lacks": (
        {"kind": "binary", "column": "deaht"},
        "tasks.own.column: {root}/patients.csv has no 'deaht'",
    ),
    "a split that is none": (
        {"kind": "binary", "column": "lvh", "split": {"column": "class"}},
        "tasks.own.split.column: record a has 'sick', none of train, test, val, valid, validation",
    ),
    "no kind": ({"column": "lvh"}, "tasks.own.kind: Field required"),
    "a key that is unknown": ({"kind": "binary", "colum": "lvh"}, "tasks.own.colum: Extra inputs"),
    "a key of another kind": (
        {"kind": "binary", "column": "lvh", "unit": "%"},
        "tasks.own: unit does not go with kind: binary",
    ),
    "a key that is missing": (
        {"kind": "regression", "column": "ef"},
        "tasks.own: unit is missing; kind: regression needs it",
    ),
    "a truth value": (
        {"kind": "binary", "column": "lvh", "positive": [True]},
        "tasks.own.positive.0: YAML reads an unquoted yes, no, on, off as true or false",
    ),
    "two splits": (
        {"kind": "binary", "column": "lvh", "split": {"by": "patient", "column": "part"}},
        "tasks.own.split: says by and column; one of",
    ),
    "a class twice": (
        {
            "kind": "multi-class",
            "column": "class",
            "labels": {"a": ["well"], "b": ["well", "sick"]},
        },
        "tasks.own: labels: 'well' is in the classes a and b",
    ),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_one_sentence_with_file_and_key(folder, mistake):
    task, sentence = WRONG[mistake]
    with pytest.raises(BadInputError) as raised:
        targets(folder, **{"split": SPLIT, **task})
    expected = f"{folder / 'source.yaml'}: {sentence.format(root=folder)}"
    assert str(raised.value).startswith(expected), str(raised.value)
    assert "\n" not in str(raised.value)


def test_options_of_a_study_declare_too_and_change_no_store(folder, tmp_path):
    config = describe(folder, {})
    plain = ingest("clinic", config, Recipe(fs=50, seconds=1), tmp_path / "a").digest
    task = {"kind": "multi-label", "labels": ["AF"], "split": SPLIT}
    options = {"tasks": {"own-af": task}}
    config = SourceConfig(reader="folder", root=folder, options=options)
    assert ingest("clinic", config, Recipe(fs=50, seconds=1), tmp_path / "b").digest == plain
    made = declared_tasks("clinic", config)["own-af"].targets(open_store(tmp_path / "b").records)
    assert made.y[:, 0].tolist() == [1, 0, 0, 1, 0]
