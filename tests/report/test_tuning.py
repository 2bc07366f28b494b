"""What the report says of settings that a search found at its smallest size."""

import math

import pandas as pd
import pytest

from ecgscale.report.stage import write_report
from ecgscale.report.tuning import METRIC, read_transfers
from support import runs as synthetic
from support.tracked import keep, record

SMALL = {"trial-002": 0.71, "trial-000": 0.66, "trial-001": 0.70, "default": 0.60}
LARGE = {"trial-002": 0.80, "trial-000": 0.82, "trial-001": 0.81, "default": 0.70}


@pytest.fixture
def study():
    made = synthetic.make_study(tasks=synthetic.TASKS[:1])
    objective = made.grid.objectives[0]
    return made.model_copy(
        update={"tune": made.tune.model_copy(update={"objectives": (objective,)})}
    )


def searched(root, study, small=SMALL, large=LARGE, search="one"):
    """Write the records of a search, and of its best settings at two sizes."""
    (objective,) = study.tune.objectives
    given = {"phase": "tune", "study": study.study.name, "tags": {"search": search}, "curves": {}}
    axes = {"objective": objective, "encoder": "net1d-tiny", "seed": 0}
    winner = {"details": {"trial": 2}, "axes": {**axes, "size": 64}, "metrics": {METRIC: 0.72}}
    keep(root, record(cell=f"{objective}/winner", **given, **winner))
    for size, values in ((64, small), (1000, large)):
        for name, value in values.items():
            cell = f"{objective}/transfer/{name}/n{size}-o0-s1"
            details = {"setting": name, "failure": ""}
            axes = {**axes, "size": size, "seed": 1}
            metrics = {METRIC: value}
            keep(root, record(cell=cell, **given, axes=axes, metrics=metrics, details=details))
    return objective


def test_the_page_says_whether_the_winner_wins_at_the_larger_size(study, tmp_path):
    objective = searched(tmp_path, study)
    found = read_transfers(study, tmp_path / "results")
    page = write_report(study, *synthetic.make_runs(study), tmp_path / "reports", transfers=found)
    said = (
        f"{objective}: the settings that a search chose at 64 patients ranked 3 of 4 at 1,000 "
        "patients (0.0200 below the best, trial 000)."
    )
    for file in (page.html, page.markdown):
        assert said in file.read_text(encoding="utf-8")
        assert (
            "\u03c1 +0.20 (p = 0.92, exact; perfect agreement would have 0.083)"
            in file.read_text(encoding="utf-8")
        )
    table = pd.read_csv(tmp_path / "reports/further/tuning.csv")
    assert dict(zip(table["setting"], table["at_large"], strict=True)) == LARGE
    assert table.loc[table["chosen"], "setting"].tolist() == ["trial-002"]
    assert set(table["regret"].round(6)) == {0.02}


def test_a_winner_that_wins_or_fails_at_the_larger_size_is_said(study, tmp_path):
    searched(tmp_path, study, large={**LARGE, "trial-002": 0.9})
    (wins,) = read_transfers(study, tmp_path / "results")
    assert "chose at 64 patients won at 1,000 patients too." in wins.sentence
    searched(tmp_path, study, large={**LARGE, "trial-002": math.nan})
    (fails,) = read_transfers(study, tmp_path / "results")
    assert "ranked 4 of 4 at 1,000 patients (a training of it failed there)." in fails.sentence


def test_nothing_is_said_without_a_search_or_of_an_older_one(study, tmp_path):
    assert read_transfers(study, tmp_path / "results") == []
    searched(tmp_path, study)
    (objective,) = study.tune.objectives
    winner = {"details": {"trial": 2}, "tags": {"search": "another"}, "axes": {"encoder": "x"}}
    keep(
        tmp_path,
        record(phase="tune", study=study.study.name, cell=f"{objective}/winner", **winner),
    )
    assert read_transfers(study, tmp_path / "results") == []
    page = write_report(study, *synthetic.make_runs(study), tmp_path / "reports")
    assert "Tuned settings" not in page.markdown.read_text(encoding="utf-8")
    assert pd.read_csv(tmp_path / "reports/further/tuning.csv").empty
