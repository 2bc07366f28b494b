"""A suite's summary: a mean never hides how many tasks are behind it."""

import math
from pathlib import Path

import pytest

from ecgscale.errors import BadInputError
from ecgscale.evaluation.suite import SuiteResult, evaluate_suite
from ecgscale.runs.record import RunRecord
from ecgscale.study.file import load_study
from ecgscale.study.resolve import evaluation
from ecgscale.tasks import tasks
from ecgscale.tasks.catalogue import catalogue

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def entries(tmp_path):
    study = load_study(REPOSITORY / "params.yaml")
    return {entry.metadata.name: entry for entry in catalogue(study.evaluation.data, tmp_path)}


def result(metrics, absent=()):
    """An encoder's result with these main metrics by endpoint."""
    flat, details = {}, {}
    for endpoint, (metric, value) in metrics.items():
        flat |= {f"{endpoint}.{metric}": value, f"{endpoint}.{metric}_low": value - 0.1}
        flat[f"{endpoint}.r2"] = 0.25
        unit = tasks.get(endpoint.partition("@")[0]).metadata.unit or ""
        details[endpoint] = {"metric": metric, "unit": unit}
    record = RunRecord(
        phase="evaluate",
        study="s",
        cell="external/x",
        axes={},
        params={},
        metrics=flat,
        details={"tasks": details},
        started="",
        ended="",
    )
    return SuiteResult("a suite, version 1", record, tuple(absent))


def test_all_tasks_give_the_score(entries):
    whole = result({"chapman-38": ("macro_auroc", 0.8), "ptb-xl-form": ("macro_auroc", 0.6)})
    assert whole.summary() == "a suite, version 1: mean macro AUROC 0.7000 of all 2 tasks"


def test_missing_and_undefined_tasks_are_named_and_the_mean_is_not_the_score(entries):
    metrics = {"chapman-38": ("macro_auroc", 0.8), "ptb-xl-form": ("macro_auroc", math.nan)}
    first, second = result(metrics, [entries["music-outcome"]]).summary().splitlines()
    assert "0.8000 of 1 of 3 tasks, which is not the suite's score" in first
    assert second.startswith("not evaluated: music-outcome (")


def test_other_protocols_have_rows_and_no_part_in_the_mean(entries):
    metrics = {"chapman-38": ("macro_auroc", 0.8), "chapman-38@knn": ("macro_auroc", 0.2)}
    both = result(metrics)
    assert [row[0] for row in both.table()] == ["endpoint", *metrics]
    assert "0.8000 of all 1 tasks" in both.summary()


def test_errors_of_different_units_are_not_averaged(entries):
    errors = result({"mimic-lvef": ("mae", 8.0), "mc-med-sbp": ("mae", 14.0)})
    assert errors.summary().endswith("mean R² 0.2500 of all 2 tasks")
    assert [row[-1] for row in errors.table()] == ["unit", "%", "mmHg"]


def test_a_suite_of_a_task_that_does_not_exist_is_refused(entries, tmp_path):
    plan = evaluation(load_study(REPOSITORY / "params.yaml"))
    known = [entry for name, entry in entries.items() if name != "music-outcome"]
    with pytest.raises(BadInputError, match="no task is named 'music-outcome'"):
        evaluate_suite(plan, tmp_path, "chaparral-cls13", known, tmp_path)
