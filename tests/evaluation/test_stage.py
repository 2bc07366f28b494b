import json
import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ecgscale.config import Study
from ecgscale.data.store import open_store
from ecgscale.data.subsets import build_subset
from ecgscale.encoders.base import model_digest
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import embed_store
from ecgscale.evaluation.stage import evaluate, evaluate_baseline, evaluate_encoder
from ecgscale.results import RunRecord
from ecgscale.tasks import Targets, Task, TaskMetadata, tasks
from ecgscale.tasks.base import Label
from ecgscale.tasks.materialise import materialise, read_targets
from ecgscale.tracking import TrackedRun, query

CELL = "simclr/small/n20-o0-s0"
TASKS = ("made-up-first", "made-up-second")


def made_up_task(name: str, codes: tuple[str, ...], keep: int) -> type[Task]:
    """A task on the store's labels: `codes`, of the first `keep` records."""
    metadata = TaskMetadata(
        name=name,
        version=1,
        title="made up",
        kind="multi-label",
        dataset="made-up",
        labels=tuple(Label(name=code, codes=(code,), description="made up") for code in codes),
        selection_rule="made up",
        label_rule="made up",
        split_rule="made up",
        patient_key="patient_id",
        main_metric="macro_auroc",
        higher_is_better=True,
        minimum_positives=5,
        published_counts={"train": 1, "validation": 1, "test": 1},
        counts_source="made up",
        licence="made up",
        access="open",
        url="",
        citation="made up",
    )

    def targets(records):
        chosen = records.iloc[:keep]
        y = [[code in labels for code in codes] for labels in chosen["labels"]]
        return Targets(
            rows=np.arange(keep),
            split=chosen["split"].to_numpy(str),
            y=np.array(y, dtype=np.float32),
            patient_id=chosen["patient_id"].to_numpy(str),
        )

    methods = {"metadata": metadata, "targets": staticmethod(targets)}
    return type("MadeUp", (Task,), methods)


@pytest.fixture
def study(recipe):
    return Study(
        study={"name": "made-up", "device": "cpu"},
        recipe=recipe,
        sources={
            name: {"reader": "packed", "root": "data", "watch": "data"} for name in ("pool", "test")
        },
        pool={"pool": {}},
        grid={"objectives": ["simclr"], "encoders": ["small"], "sizes": [20]},
        encoders={"small": {"kind": "filters", "params": {"in_channels": 1}}},
        objectives={name: {"kind": name} for name in ("simclr", "random", "supervised")},
        training={"batch_size": 4},
        evaluation={
            "data": {"made-up": "test"},
            "tasks": TASKS,
            "bootstrap": 40,
            "probe": {"penalties": [1e-3, 1e-1]},
        },
        report={"primary_task": TASKS[0]},
        tune={"objectives": ["simclr"], "encoder": "small", "size": 20, "task": TASKS[0]},
    )


@pytest.fixture
def pretrained(tmp_path, monkeypatch, study, make_store, save_encoder):
    """A project whose ingest, tasks, subset and pretrain stages are done."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tasks.names()
    first = made_up_task(TASKS[0], ("f0", "f1", "f2", "nowhere"), 200)
    second = made_up_task(TASKS[1], ("f3",), 150)
    monkeypatch.setitem(tasks._entries, TASKS[0], first)
    monkeypatch.setitem(tasks._entries, TASKS[1], second)
    project = tmp_path / "project"
    stores, tasks_dir = project / "data/store", project / "data/tasks"
    split = [("train", "train", "validation", "test", "test")[n // 2 % 5] for n in range(200)]
    make_store(stores / "test", records=200, split=split)
    make_store(stores / "pool", records=60, seed=1)
    materialise(study, stores, tasks_dir)
    build_subset(study, 20, 0, stores, tasks_dir, project / "data/subsets/n20-o0")
    save_encoder(project / "models" / CELL)
    return project


@pytest.fixture
def root(pretrained, monkeypatch):
    """The same without a tracking store, which would cost a second per evaluation."""
    monkeypatch.setattr(TrackedRun, "_open", lambda *arguments: None)
    monkeypatch.setattr(TrackedRun, "write", lambda *arguments: None)
    return pretrained


def test_every_evaluation_is_a_tracked_run(study, pretrained):
    record = evaluate(study, CELL, pretrained)
    baseline = evaluate_baseline(study, "prevalence", pretrained)
    tracked = query(study.study.name, "evaluate", pretrained)
    assert [run.cell for run in tracked] == ["baseline/prevalence", CELL]
    assert [run.record.digest for run in tracked] == [baseline.digest, record.digest]


def test_metrics_are_those_of_scikit_learn_on_the_same_embeddings(
    study, root, save_encoder, recipe, tmp_path
):
    record = evaluate(study, CELL, root)
    encoder = save_encoder(tmp_path / "same")
    store = open_store(root / "data/store/test")
    for task in TASKS:
        table = read_targets(root / "data/tasks", task)
        x = embed_store(encoder, store, table.frame["row"].to_numpy(), recipe, "II", 64)
        train, test = table.where("train"), table.where("test")
        x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
        penalty = record.metrics[f"{task}.penalty"]
        assert penalty in study.evaluation.probe.penalties
        values = []
        for column, label in enumerate(record.details["tasks"][task]["labels"]):
            y = table.y[:, column]
            assert label["name"] == table.labels[column]
            assert label["positives"] == int(y[test].sum())
            if label["name"] == "nowhere":
                assert math.isnan(label["auroc"])
                assert label["constant"]
                continue
            model = LogisticRegression(C=1 / (train.sum() * penalty), tol=1e-8, max_iter=5000)
            scores = model.fit(x[train], y[train]).decision_function(x[test])
            values.append(roc_auc_score(y[test], scores))
            assert label["auroc"] == pytest.approx(values[-1], abs=0.01)
            assert label["low"] <= label["auroc"] <= label["high"]
        assert record.metrics[f"{task}.macro_auroc"] == pytest.approx(np.mean(values), abs=0.01)
        assert record.metrics[f"{task}.macro_auroc"] > 0.6


def test_the_record(study, root):
    record = evaluate(study, CELL, root)
    assert RunRecord.read(root / "results/evaluate" / f"{CELL}.json").digest == record.digest
    metrics = {name.split(".")[1] for name in record.metrics}
    assert metrics == {
        *("macro_auroc", "macro_auroc_low", "macro_auroc_high", "macro_average_precision"),
        *("probe_loss", "labels_used", "labels_absent", "validation_macro_auroc", "penalty"),
    }
    assert record.metrics[f"{TASKS[0]}.labels_used"] == 3
    assert record.metrics[f"{TASKS[0]}.labels_absent"] == 1
    assert record.metrics[f"{TASKS[1]}.labels_used"] == 1
    manifest = json.loads((root / "data/subsets/n20-o0/manifest.json").read_text())
    assert record.axes == {
        **{"objective": "simclr", "kind": "simclr", "encoder": "small", "regime": "fixed_steps"},
        **{"size": 20, "order": 0, "seed": 0, "role": "objective", "control_of": None},
        **{"patients": 20, "records": manifest["records"], "hours": manifest["hours"]},
        "sources": 1,
    }
    assert record.tags["subset_digest"] == manifest["digest"]
    assert record.tags["model_digest"] == model_digest(root / "models" / CELL)
    assert record.tags["recipe_digest"] == study.recipe.digest
    assert [item.name for item in record.inputs] == list(TASKS)
    details = record.details["tasks"][TASKS[0]]
    assert len(details["replicates"]) == 40
    low = record.metrics[f"{TASKS[0]}.macro_auroc_low"]
    assert low == pytest.approx(np.quantile(details["replicates"], 0.025), abs=1e-6)
    assert [row["penalty"] for row in details["penalties"]] == [1e-1, 1e-3]
    best = max(details["penalties"], key=lambda row: row["validation_macro_auroc"])
    assert record.metrics[f"{TASKS[0]}.penalty"] == best["penalty"]


def test_twice_gives_the_same_numbers_and_embeds_once(study, root, filters):
    first = evaluate(study, CELL, root)
    calls = filters.calls
    second = evaluate(study, CELL, root)
    assert filters.calls == calls
    assert second.metrics == pytest.approx(first.metrics, rel=0, abs=0, nan_ok=True)
    assert len(list((root / ".ecgscale/embeddings").iterdir())) == 1


def test_resamples_are_paired_across_cells(study, root, save_encoder):
    save_encoder(root / "models/simclr/small/n20-o0-s1", seed=0)
    save_encoder(root / "models/random/small/n0-o0-s0", seed=5, width=4)
    one, same, other = (
        evaluate(study, cell, root)
        for cell in (CELL, "simclr/small/n20-o0-s1", "random/small/n0-o0-s0")
    )
    replicates = [np.array(r.details["tasks"][TASKS[1]]["replicates"]) for r in (one, same, other)]
    assert np.array_equal(replicates[0], replicates[1])
    assert not np.array_equal(replicates[0], replicates[2])
    assert other.axes["role"] == "control"
    assert other.axes["patients"] == 0
    assert other.tags["subset_digest"] == "none"


@pytest.mark.parametrize("name", ["prevalence", "age-sex"])
def test_baselines(study, root, name):
    record = evaluate_baseline(study, name, root)
    assert record.cell == f"baseline/{name}"
    assert record.axes["role"] == "baseline"
    assert record.axes["objective"] == name
    path = root / "results/evaluate/baseline" / f"{name}.json"
    assert RunRecord.read(path).digest == record.digest
    for task in TASKS:
        assert 0.3 < record.metrics[f"{task}.macro_auroc"] < 0.7
        assert 0 < record.metrics[f"{task}.probe_loss"] < 1
    if name == "prevalence":
        assert record.metrics[f"{TASKS[0]}.macro_auroc"] == 0.5


def test_test_targets_decide_nothing(study, root):
    tables = [read_targets(root / "data/tasks", task) for task in TASKS]
    spoiled = []
    for table in tables:
        y, test = table.y.copy(), table.where("test")
        y[test] = np.roll(y[test], 1, axis=0)
        spoiled.append(replace(table, y=y))
    before, after = (
        evaluate_encoder(
            root / "models" / CELL,
            given,
            {"test": open_store(root / "data/store/test")},
            study.evaluation,
            study.recipe,
            cache=root / ".ecgscale/embeddings",
        )
        for given in (tables, spoiled)
    )
    for task in TASKS:
        assert after[task].details["penalties"] == before[task].details["penalties"]
        assert after[task].metrics["penalty"] == before[task].metrics["penalty"]
        assert after[task].metrics["macro_auroc"] < before[task].metrics["macro_auroc"] - 0.05


def test_labels_below_the_minimum_stay_out_of_the_macro_mean(study, root):
    settings = study.evaluation.model_copy(update={"minimum_positives": 1000})
    record = evaluate(study.model_copy(update={"evaluation": settings}), CELL, root)
    assert record.metrics[f"{TASKS[0]}.labels_used"] == 0
    assert math.isnan(record.metrics[f"{TASKS[0]}.macro_auroc"])
    assert math.isnan(record.metrics[f"{TASKS[0]}.macro_auroc_low"])
    labels = record.details["tasks"][TASKS[0]]["labels"]
    assert [label["included"] for label in labels] == [False] * 4
    assert [math.isnan(label["auroc"]) for label in labels] == [False, False, False, True]


def test_an_encoder_of_another_recipe_is_refused(study, root, save_encoder, recipe):
    other = recipe.model_copy(update={"band": (1.0, 15.0)})
    save_encoder(root / "models" / CELL, recipe=other)
    with pytest.raises(BadInputError, match=f"recipe {other.digest}, the study has"):
        evaluate(study, CELL, root)


def test_tasks_of_another_store_are_refused(study, root, make_store, tmp_path):
    manifest = root / "data/tasks/manifest.json"
    digest = open_store(root / "data/store/test").digest
    manifest.write_text(manifest.read_text().replace(digest, "0" * 64))
    with pytest.raises(BadInputError, match=r"made from another state of .*store/test"):
        evaluate(study, CELL, root)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("nonsense", "is not a cell"),
        ("byol/small/n20-o0-s0", "the study has no objective 'byol'"),
        ("simclr/small/n21-o0-s0", r"n21-o0.*does not exist"),
        ("simclr/small/n20-o0-s7", "is not an encoder directory"),
    ],
)
def test_cells_that_are_not_there(study, root, cell, message):
    with pytest.raises(BadInputError, match=message):
        evaluate(study, cell, root)
