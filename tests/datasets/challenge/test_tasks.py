from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from ecgscale.datasets.challenge.tasks import Chapman38
from ecgscale.errors import BadInputError

NAMES = Chapman38.metadata.label_names
LISTS = {"train": "train", "validation": "val", "test": "test"}


@pytest.fixture(scope="module")
def lists(recordings) -> pd.DataFrame:
    """The published lists: record, split, acronyms of the header, one column per label."""
    parts = [
        pd.read_csv(recordings / "csn-split" / f"chapman_{file}.csv").assign(split=split)
        for split, file in LISTS.items()
    ]
    table = pd.concat(parts)
    table.index = [Path(path).stem for path in table["ecg_path"]]
    return table


def listed(row: pd.Series) -> set[str]:
    return {name for name in NAMES if row[name] == 1}


def header_codes(path: Path) -> list[str]:
    line = next(line for line in path.read_text().splitlines() if line.startswith("#Dx"))
    return [code.strip() for code in line.partition(":")[2].split(",")]


def test_only_listed_records_are_taken_with_their_listed_labels(make_records):
    records = make_records(
        [
            {"split": "train", "split_labels": ["SR", "TWC"], "labels": ["427084000"]},
            {"split": None, "labels": ["426783006"]},
            {"split": "test", "split_labels": []},
            {"split": "validation", "split_labels": ["AF"]},
        ]
    )
    targets = Chapman38.targets(records)
    assert list(targets.rows) == [0, 2, 3]
    assert list(targets.split) == ["train", "test", "validation"]
    present = [{n for n, v in zip(NAMES, row, strict=True) if v} for row in targets.y]
    assert present == [{"SR", "TWC"}, set(), {"AF"}]


def test_a_listed_label_outside_the_38_is_named(make_records):
    records = make_records([{"record_id": "JS1", "split": "train", "split_labels": ["SB"]}])
    with pytest.raises(BadInputError, match=r"chapman-38: split label 'SB' of record JS1 "):
        Chapman38.targets(records)


@pytest.mark.real
def test_counts_and_labels_are_those_of_the_published_lists(lists):
    assert lists["split"].value_counts().to_dict() == Chapman38.metadata.published_counts
    assert tuple(lists.columns[3:41]) == NAMES
    assert lists.index.is_unique


@pytest.mark.real
def test_targets_reproduce_the_published_columns(lists, make_records):
    some = pd.concat([lists.iloc[::50], lists[lists[list(NAMES)].sum(axis=1) == 0]])
    rows = [
        {"record_id": name, "split": row["split"], "split_labels": sorted(listed(row))}
        for name, row in some.iterrows()
    ]
    targets = Chapman38.targets(make_records(rows))
    assert targets.y.tolist() == some[list(NAMES)].to_numpy().tolist()


@pytest.mark.real
def test_every_listed_label_is_an_acronym_found_as_text(lists):
    """The known issue of the metadata and docs/tasks.md, with its numbers."""
    extra, positives = Counter(), Counter()
    for row, text in zip(lists[list(NAMES)].to_numpy(), lists["diagnose"], strict=True):
        present = {name for name, value in zip(NAMES, row, strict=True) if value}
        assert present == {name for name in NAMES if name in text}
        positives.update(present)
        extra.update(present - set(text.split(",")))
    assert {name: (extra[name], positives[name]) for name in extra} == {
        "AF": (1413, 4753),
        "ST": (1184, 6338),
        "SA": (721, 2828),
        "AVB": (737, 913),
        "VB": (913, 916),
        "CR": (141, 216),
        "2AVB": (16, 38),
    }
    assert lists["diagnose"].str.split(",").map(lambda names: "SB" in names).sum() == 3903
    assert set(lists["age"]) == {12}


@pytest.mark.real
def test_header_codes_agree_with_the_lists_but_for_the_known_issue(lists, recordings):
    name_of = {code: label.name for label in Chapman38.metadata.labels for code in label.codes}
    headers = sorted(
        path
        for folder in ("chapman-shaoxing", "ningbo")
        for path in (recordings / folder).glob("*.hea")
        if path.stem in lists.index
    )
    assert len(headers) == 34
    differing = {}
    for path in headers:
        row = lists.loc[path.stem]
        from_header = {name_of[code] for code in header_codes(path) if code in name_of}
        assert from_header == set(row["diagnose"].split(",")) & set(NAMES)
        if listed(row) != from_header:
            differing[path.stem] = (listed(row) - from_header, from_header - listed(row))
    assert differing == {
        "JS00001": ({"AF"}, set()),
        "JS00005": ({"ST"}, set()),
        "JS01560": ({"ST"}, set()),
    }
