import ast
import csv
import math
from importlib.resources import files

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.datasets.ptb_xl.tasks import Diagnostic, Subdiagnostic, Superdiagnostic
from ecgscale.errors import BadInputError
from ecgscale.tasks.base import check_patient_disjoint, tasks

KINDS = ("diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
SIZES = {"diagnostic": 44, "subdiagnostic": 23, "superdiagnostic": 5, "form": 19, "rhythm": 12}
TABLE = pd.read_csv(
    str(files("ecgscale.datasets.ptb_xl").joinpath("scp_statements.csv")), index_col=0
)


def reference(kind: str, scp_codes: dict[str, float]) -> set[str]:
    """The published aggregation, written out with plain dictionaries."""
    found = set()
    for code in scp_codes:
        if code not in TABLE.index:
            continue
        statement = TABLE.loc[code]
        if kind in ("form", "rhythm"):
            if statement[kind] == 1.0:
                found.add(code)
        elif statement["diagnostic"] == 1.0:
            found.add(
                {
                    "diagnostic": code,
                    "subdiagnostic": statement["diagnostic_subclass"],
                    "superdiagnostic": statement["diagnostic_class"],
                }[kind]
            )
    return found


def split_of(fold: int) -> str:
    return {9: "validation", 10: "test"}.get(fold, "train")


def compare_with_reference(kind: str, records: pd.DataFrame, codes: list[dict[str, float]]) -> None:
    task = tasks.get(f"ptb-xl-{kind}")
    targets = task.targets(records)
    expected = [(row, reference(kind, scp)) for row, scp in enumerate(codes)]
    expected = [(row, labels) for row, labels in expected if labels]
    assert list(targets.rows) == [row for row, _ in expected]
    for position, (row, labels) in enumerate(expected):
        present = {
            name
            for name, value in zip(task.metadata.label_names, targets.y[position], strict=True)
            if value == 1
        }
        assert present == labels
        assert targets.split[position] == split_of(records["fold"].iloc[row])


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_labels_are_the_published_ones(kind):
    assert len(tasks.get(f"ptb-xl-{kind}").metadata.labels) == SIZES[kind]


@pytest.mark.parametrize("kind", KINDS)
@given(
    codes=st.lists(
        st.dictionaries(
            st.sampled_from([*TABLE.index, "NOT_A_CODE"]),
            st.sampled_from([0.0, 15.0, 50.0, 100.0]),
            max_size=5,
        ),
        min_size=1,
        max_size=8,
    ),
    data=st.data(),
)
def test_targets_match_the_reference(kind, make_records, codes, data):
    folds = data.draw(st.lists(st.integers(1, 10), min_size=len(codes), max_size=len(codes)))
    rows = [{"labels": list(scp), "fold": f} for scp, f in zip(codes, folds, strict=True)]
    compare_with_reference(kind, make_records(rows), codes)


def test_the_three_diagnostic_tasks_take_the_same_records():
    text = (
        files("ecgscale.datasets.ptb_xl").joinpath("scp_statements.csv").read_text(encoding="utf-8")
    )
    diagnostic = [row for row in csv.DictReader(text.splitlines()) if row["diagnostic"] == "1.0"]
    assert all(row["diagnostic_class"] and row["diagnostic_subclass"] for row in diagnostic)
    counts = [task.metadata.published_counts for task in (Diagnostic, Subdiagnostic)]
    assert counts == [Superdiagnostic.metadata.published_counts] * 2


@pytest.mark.parametrize("fold", [None, 0, 11])
def test_a_record_without_a_fold_is_named(make_records, fold):
    records = make_records([{"labels": ["NORM"], "fold": 1}, {"labels": ["NORM"], "fold": fold}])
    with pytest.raises(BadInputError, match=r"ptb-xl-superdiagnostic needs a fold in 1-10.* r1 "):
        Superdiagnostic.targets(records)


@pytest.mark.real
@pytest.mark.parametrize("kind", KINDS)
def test_real_records_match_the_reference(kind, recordings, make_records):
    database = pd.read_csv(recordings / "ptb-xl" / "ptbxl_database.csv")
    codes = [ast.literal_eval(text) for text in database["scp_codes"]]
    records = make_records(
        [
            {
                "record_id": str(row.ecg_id),
                "patient_id": f"ptb-xl:{int(row.patient_id)}",
                "age": row.age,
                "sex": None if math.isnan(row.sex) else "MF"[int(row.sex)],
                "fold": int(row.strat_fold),
                "labels": list(scp),
            }
            for row, scp in zip(database.itertuples(), codes, strict=True)
        ]
    )
    compare_with_reference(kind, records, codes)
    check_patient_disjoint(kind, tasks.get(f"ptb-xl-{kind}").targets(records))


@pytest.mark.real
def test_the_packaged_table_is_the_published_one(recordings):
    published = pd.read_csv(recordings / "ptb-xl" / "scp_statements.csv", index_col=0)
    pd.testing.assert_frame_equal(TABLE, published)
