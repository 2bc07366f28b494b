"""All 18 tasks of both suites on small cohorts in the published layouts, by several readouts."""

import json

import pandas as pd
import pytest

from ecgscale.tasks import SUITES

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

PROTOCOLS = [{"readout": "linear"}, {"readout": "knn"}, {"readout": "linear", "fraction": 0.1}]
NAMES = ("linear", "knn", "linear-10pct")


def shrink(study):
    study["study"]["name"] = "suite"
    for cohort in study["simulate"].values():
        cohort["patients"] = min(cohort["patients"], 300)
    study["grid"].update(
        objectives=["clef"],
        sizes=[16],
        replicates=[{"order": 0, "seed": 0}],
        labelled=[],
        controls=["random"],
    )
    study["training"].update(steps=8, batch_size=16, monitor_every=8, log_every=2)
    study["evaluation"].update(protocols=PROTOCOLS, bootstrap=50, minimum_positives=1)
    study["report"].update(permutations=200, bootstrap=200)
    study["tune"].update(sizes=[16])


@pytest.fixture(scope="module")
def suite(checkout):
    made = checkout(shrink)
    made.run("repro", "--jobs", "1")
    return made


def test_every_task_has_a_score_under_every_protocol(suite):
    runs = pd.read_csv(suite.root / "reports" / "runs.csv")
    declared = [task for one in SUITES.values() for task in one.declared]
    ours = runs[runs["cell"] == "clef/net1d-tiny/n16-o0-s0"]
    assert sorted(ours["task"].unique()) == sorted(declared)
    assert sorted(ours["endpoint"]) == sorted(
        task if name == "linear" else f"{task}@{name}" for task in declared for name in NAMES
    )
    assert ours["score"].notna().all()
    assert set(ours.loc[ours["metric"] == "mae", "task"]) == set(SUITES["chaparral-reg5"].declared)
    assert ours.loc[ours["metric"] == "macro_auroc", "score"].between(0, 1).all()
    assert runs["evaluate_run_id"].notna().all()


def test_hand_crafted_features_beat_prevalence_on_the_primary_task(suite):
    runs = pd.read_csv(suite.root / "reports" / "runs.csv").set_index(["cell", "endpoint"])
    scores = runs["score"]
    assert scores["baseline/ecg-features", "chapman-38"] > 0.6
    assert scores["baseline/prevalence", "chapman-38"] == 0.5


def test_the_catalogue_and_the_score_say_that_all_is_there(suite):
    listed = json.loads(suite.run("tasks", "--json").stdout)
    assert {entry["state"] for entry in listed} == {"installed"}
    directory = "models/clef/net1d-tiny/n16-o0-s0"
    for name, words in (
        ("chaparral-cls13", "of all 13 tasks"),
        ("chaparral-reg5", "of all 5 tasks"),
    ):
        printed = suite.run("evaluate", "--encoder", directory, "--suite", name).stdout
        assert words in printed
        assert "not evaluated" not in printed
