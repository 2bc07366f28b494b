"""Which patients pretraining must not see."""

import json

import pandas as pd
import pytest

from ecgscale.data.splits import assert_disjoint, held_out_patients
from ecgscale.errors import BadInputError

FORM = [("ptb-xl:1", "train"), ("ptb-xl:2", "validation"), ("ptb-xl:3", "test")]
RHYTHM = [("ptb-xl:1", "test"), ("ptb-xl:3", "train"), ("chapman:9", "validation")]


@pytest.fixture
def write_tasks(tmp_path):
    def write(**tasks):
        for task, rows in tasks.items():
            table = pd.DataFrame(rows, columns=["patient_id", "split"])
            table.assign(row=range(len(table)), y=[[0.0]] * len(table)).to_parquet(
                tmp_path / f"{task}.parquet"
            )
        manifest = {task: {"counts": len(rows)} for task, rows in tasks.items()}
        (tmp_path / "manifest.json").write_text(json.dumps(manifest))
        return tmp_path

    return write


def test_validation_and_test_patients_of_every_task(write_tasks):
    folder = write_tasks(form=FORM, rhythm=RHYTHM)
    assert held_out_patients(folder) == {"ptb-xl:1", "ptb-xl:2", "ptb-xl:3", "chapman:9"}


def test_disjoint_patients_pass(write_tasks):
    assert_disjoint({"ptb-xl:1", "pool:4"}, write_tasks(form=FORM))


def test_an_overlap_names_patient_and_task(write_tasks):
    folder = write_tasks(form=FORM, rhythm=RHYTHM)
    with pytest.raises(BadInputError, match=r"chapman:9 is in .* held out by task rhythm \(1 such"):
        assert_disjoint(["chapman:9", "pool:4"], folder)


def test_tasks_not_made_yet(tmp_path):
    with pytest.raises(BadInputError, match=r"manifest\.json does not exist: run the tasks stage"):
        held_out_patients(tmp_path)


@pytest.mark.parametrize(("text", "problem"), [("{", "is not JSON"), ("{}", "lists no task")])
def test_unusable_manifest(tmp_path, text, problem):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(BadInputError, match=problem):
        held_out_patients(tmp_path)


def test_a_listed_task_that_is_missing(write_tasks):
    folder = write_tasks(form=FORM, rhythm=RHYTHM)
    (folder / "rhythm.parquet").unlink()
    with pytest.raises(BadInputError, match="lists rhythm, not found"):
        held_out_patients(folder)


def test_a_task_that_no_manifest_lists_is_held_out_too(write_tasks):
    write_tasks(rhythm=RHYTHM)
    assert "chapman:9" in held_out_patients(write_tasks(form=FORM))


def test_a_damaged_task(write_tasks):
    folder = write_tasks(form=FORM)
    (folder / "form.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(BadInputError, match=r"form\.parquet is not a table of task form"):
        held_out_patients(folder)


def test_a_table_without_patients(write_tasks):
    folder = write_tasks(form=FORM)
    pd.DataFrame({"split": ["test"]}).to_parquet(folder / "form.parquet")
    with pytest.raises(BadInputError, match=r"form\.parquet is not a table of task form"):
        held_out_patients(folder)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([*FORM, ("ptb-xl:5", "dev")], "has the split 'dev'"),
        ([*FORM, (None, "test")], "held-out row without a patient_id"),
        ([("ptb-xl:1", "train")], "holds out no patient"),
    ],
)
def test_rows_that_cannot_be_trusted(write_tasks, rows, problem):
    with pytest.raises(BadInputError, match=problem):
        held_out_patients(write_tasks(form=rows))
