import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import f1_score, log_loss, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from ecgscale import encoders
from ecgscale.data.recipe import Recipe
from ecgscale.data.store import open_store
from ecgscale.data.subsets import build_subsets
from ecgscale.encoders.base import model_digest
from ecgscale.encoders.seen import UNKNOWN, Seen
from ecgscale.errors import BadInputError
from ecgscale.evaluation import stage
from ecgscale.evaluation.bootstrap import SCHEME
from ecgscale.evaluation.embed import embed_store
from ecgscale.evaluation.encoder import evaluate_encoder
from ecgscale.evaluation.readouts.knn import Knn
from ecgscale.evaluation.readouts.linear import Linear
from ecgscale.runs.carrier import Carrier
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import RunRecord
from ecgscale.runs.tracking import query
from ecgscale.study.cells import cell_axes, check_cell
from ecgscale.study.file import Study
from ecgscale.study.resolve import evaluation
from ecgscale.tasks import Targets, Task, TaskMetadata, tasks
from ecgscale.tasks.base import Label
from ecgscale.tasks.targets import read_manifest, read_targets, write_targets

CELL = "simclr/small/n20-o0-s0"
TASKS = ("made-up-first", "made-up-second")
KINDS = ("multi-label", "multi-class", "binary", "regression")
QUICK = {"epochs": 2, "batch_size": 32}


def evaluate(study: Study, name: str, root: Path) -> RunRecord:
    """Evaluate a cell as the command does."""
    cell = Cell.parse(name)
    check_cell(study, cell)
    return stage.evaluate(evaluation(study), cell, cell_axes(study, cell), root)


def evaluate_baseline(study: Study, name: str, root: Path) -> RunRecord:
    return stage.evaluate_baseline(evaluation(study, name), name, root)


def evaluate_directory(study: Study, *arguments) -> RunRecord:
    return stage.evaluate_directory(evaluation(study), *arguments)


def made_up_targets(kind: str, present: np.ndarray) -> np.ndarray:
    """The targets of a kind that follow from which codes are present."""
    if kind == "regression":
        return 100 + 10 * present.sum(axis=1, keepdims=True)
    if kind == "multi-class":
        return np.eye(present.shape[1])[present.argmax(axis=1)]
    return present


def made_up_task(
    name: str, codes: tuple[str, ...], keep: int, kind: str = "multi-label"
) -> type[Task]:
    """A task on the store's labels: `codes`, of the first `keep` records."""
    regression = kind == "regression"
    names = ("value",) if regression else codes
    metadata = TaskMetadata(
        name=name,
        version=1,
        title="made up",
        kind=kind,
        dataset="made-up",
        labels=tuple(Label(name=name, codes=(name,), description="made up") for name in names),
        selection_rule="made up",
        label_rule="made up",
        split_rule="made up",
        patient_key="patient_id",
        unit="mmHg" if regression else None,
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
        present = [[code in labels for code in codes] for labels in chosen["labels"]]
        y = made_up_targets(kind, np.array(present, dtype=np.float32))
        return Targets(
            rows=np.arange(keep),
            split=chosen["split"].to_numpy(str),
            y=y.astype(np.float32),
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
            "readouts": {"linear": {"penalties": [1e-3, 1e-1]}},
        },
        report={"primary_task": TASKS[0]},
        tune={"objectives": ["simclr"], "encoder": "small", "sizes": [20], "task": TASKS[0]},
    )


@pytest.fixture
def root(tmp_path, monkeypatch, study, make_store, save_encoder):
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
    write_targets(study.evaluation.tasks, study.evaluation.data, stores, tasks_dir)
    build_subsets(study.pool, 20, [0], None, stores, tasks_dir, project / "data/subsets/n20")
    save_encoder(project / "models" / CELL)
    return project


def test_every_evaluation_is_a_tracked_run(study, root):
    record = evaluate(study, CELL, root)
    baseline = evaluate_baseline(study, "prevalence", root)
    other = evaluate_directory(study, root / "models" / CELL, [TASKS[1]], root, "mine")
    Carrier(root).carry()
    tracked = query(study.study.name, "evaluate", root)
    assert [run.cell for run in tracked] == ["baseline/prevalence", "external/mine", CELL]
    found = [run.record.digest for run in tracked]
    assert found == [baseline.digest, other.digest, record.digest]


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
        assert penalty in study.evaluation.readouts["linear"]["penalties"]
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
        *("macro_f1", "ece"),
    }
    assert record.metrics[f"{TASKS[0]}.labels_used"] == 3
    assert record.metrics[f"{TASKS[0]}.labels_absent"] == 1
    assert record.metrics[f"{TASKS[1]}.labels_used"] == 1
    manifest = json.loads((root / "data/subsets/n20/o0/manifest.json").read_text())
    assert record.axes == {
        **{"objective": "simclr", "kind": "simclr", "encoder": "small", "regime": "fixed_steps"},
        **{"size": 20, "order": 0, "seed": 0, "role": "objective", "control_of": None},
        **{"arm_of": None, "without": None},
        **{
            "patients": 20,
            "unknown_patients": 0,
            "records": manifest["records"],
            "hours": manifest["hours"],
        },
        "sources": 1,
    }
    assert record.tags["subset_digest"] == manifest["digest"]
    assert record.tags["model_digest"] == model_digest(root / "models" / CELL)
    assert record.tags["recipe_digest"] == study.recipe.digest
    parts = [(item.name, item.context) for item in record.inputs]
    assert parts == [
        part
        for task in TASKS
        for part in (
            (f"{task}/training", "training"),
            (f"{task}/validation", "validation"),
            (task, "test"),
        )
    ]
    details = record.details["tasks"][TASKS[0]]
    assert (details["kind"], details["metric"]) == ("multi-label", "macro_auroc")
    table = read_targets(root / "data/tasks", TASKS[0])
    assert details["protocol"] == {
        **{"name": "linear", "readout": "linear", "fraction": 1.0, "depth": 1.0},
        "train_examples": table.where("train").sum(),
        "train_patients": table.frame["patient_id"][table.where("train")].nunique(),
    }
    assert len(details["replicates"]) == 40
    assert details["resampling"] == SCHEME
    ends = (f"{TASKS[0]}.macro_auroc{end}" for end in ("_low", "", "_high"))
    low, value, high = (record.metrics[name] for name in ends)
    assert 0.5 < low < value < high < 1
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
            evaluation(study).settings,
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
    said = r"signals with recipe\.band \[1\.0, 15\.0\], the study has \[0\.5, 20\.0\]"
    with pytest.raises(BadInputError, match=said):
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
        ("simclr/small/n21-o0-s0", r"n21/o0.*does not exist"),
        ("simclr/small/n20-o0-s7", "is not an encoder directory"),
    ],
)
def test_cells_that_are_not_there(study, root, cell, message):
    with pytest.raises(BadInputError, match=message):
        evaluate(study, cell, root)


def with_evaluation(study, **changes):
    """The study with other settings of the evaluation, checked as in a file."""
    settings = {**study.evaluation.model_dump(), **changes}
    return Study(**{**study.model_dump(), "evaluation": settings})


@pytest.fixture
def kinds(study, root, monkeypatch):
    """A study with a task of every kind."""
    codes = {"binary": ("f1",), "multi-class": ("f0", "f1", "f2")}
    for kind in KINDS:
        task = made_up_task(kind, codes.get(kind, ("f0", "f1", "f2", "f3")), 200, kind)
        monkeypatch.setitem(tasks._entries, kind, task)
    study = Study(
        **{
            **study.model_dump(),
            "evaluation": {**study.evaluation.model_dump(), "tasks": KINDS},
            "report": {"primary_task": KINDS[0]},
            "tune": {**study.tune.model_dump(), "task": KINDS[0]},
        }
    )
    write_targets(
        study.evaluation.tasks, study.evaluation.data, root / "data/store", root / "data/tasks"
    )
    return study


def test_every_kind_under_every_readout(kinds, root):
    readouts = ("linear", "knn", "attention", "finetune")
    protocols = [{"readout": readout} for readout in readouts]
    settings = {"attention": QUICK, "finetune": QUICK}
    kinds = with_evaluation(kinds, protocols=protocols, readouts=settings)
    record = evaluate(kinds, CELL, root)
    endpoints = [
        task if readout == "linear" else f"{task}@{readout}"
        for task in KINDS
        for readout in readouts
    ]
    assert list(record.details["tasks"]) == endpoints
    assert {name.rpartition(".")[0] for name in record.metrics} == set(endpoints)
    common = {"mae", "mae_low", "mae_high", "r2", "validation_mae"}
    for endpoint, details in record.details["tasks"].items():
        kind, _, readout = endpoint.partition("@")
        assert details["kind"] == kind
        assert details["protocol"]["readout"] == (readout or "linear")
        assert len(details["replicates"]) == 40
        names = {n.rpartition(".")[2] for n in record.metrics if n.startswith(f"{endpoint}.")}
        assert ("penalty" in names) == (readout == "")
        values = {name: record.metrics[f"{endpoint}.{name}"] for name in names}
        if kind == "regression":
            assert names - {"penalty"} == common
            assert details["metric"] == "mae"
            assert details["labels"] == []
            assert values["mae_low"] <= values["mae"] <= values["mae_high"]
        else:
            assert 0 < values["macro_f1"] <= 1
            assert 0 <= values["ece"] <= 1
            assert values["macro_auroc_low"] <= values["macro_auroc"] <= values["macro_auroc_high"]
            assert all(math.isfinite(label["f1"]) for label in details["labels"])
    assert record.metrics["regression.r2"] > 0.2
    assert record.metrics["multi-class.macro_auroc"] > 0.6
    assert record.params["protocols"] == "linear, knn, attention, finetune"
    assert record.params["finetune.epochs"] == 2


def test_regression_and_multi_class_metrics_against_their_definitions(kinds, root, recipe):
    record = evaluate(kinds, CELL, root)
    encoder = encoders.load(root / "models" / CELL)
    store = open_store(root / "data/store/test")
    table = read_targets(root / "data/tasks", "regression")
    x = embed_store(encoder, store, table.frame["row"].to_numpy(), recipe, "II", 64)
    train, test = table.where("train"), table.where("test")
    x = (x - x[train].mean(axis=0)) / x[train].std(axis=0)
    ridge = Ridge(alpha=train.sum() * record.metrics["regression.penalty"])
    error = table.y[test, 0] - ridge.fit(x[train], table.y[train, 0]).predict(x[test])
    assert record.metrics["regression.mae"] == pytest.approx(np.abs(error).mean(), rel=1e-4)
    r2 = 1 - (error**2).sum() / ((table.y[test, 0] - table.y[test, 0].mean()) ** 2).sum()
    assert record.metrics["regression.r2"] == pytest.approx(r2, rel=1e-3)

    y = read_targets(root / "data/tasks", "multi-class").y.argmax(axis=1)
    penalty = record.metrics["multi-class.penalty"]
    model = OneVsRestClassifier(LogisticRegression(C=1 / (train.sum() * penalty), tol=1e-8))
    probability = model.fit(x[train], y[train]).predict_proba(x[test])
    expected = {
        "macro_auroc": roc_auc_score(y[test], probability, multi_class="ovr"),
        "macro_f1": f1_score(y[test], probability.argmax(axis=1), average="macro"),
        "probe_loss": log_loss(y[test], probability),
    }
    for name, value in expected.items():
        assert record.metrics[f"multi-class.{name}"] == pytest.approx(value, abs=0.02)


def test_baselines_of_every_kind(kinds, root):
    for name in ("prevalence", "age-sex"):
        record = evaluate_baseline(kinds, name, root)
        assert list(record.details["tasks"]) == list(KINDS)
        assert all(math.isfinite(value) for value in record.metrics.values())
        if name == "prevalence":
            table = read_targets(root / "data/tasks", "regression")
            mean = table.y[table.where("train")].mean(dtype=np.float64)
            mae = np.abs(table.y[table.where("test")] - mean).mean()
            assert record.metrics["regression.mae"] == pytest.approx(mae)
            assert record.metrics["multi-class.macro_auroc"] == 0.5
    assert record.details["tasks"]["binary"]["protocol"]["name"] == "age-sex"


@pytest.mark.parametrize("recipe", [Recipe(fs=100.0, seconds=5.0, band=(0.5, 40.0))])
def test_hand_crafted_features_as_a_baseline(study, root):
    record = evaluate_baseline(study, "ecg-features", root)
    assert record.cell == "baseline/ecg-features"
    assert list(record.details["tasks"]) == list(TASKS)
    # The slowest sine is a swing of the baseline, which amplitudes and spectrum tell.
    assert record.details["tasks"][TASKS[0]]["labels"][0]["auroc"] > 0.6


def test_label_fractions_and_depths(study, root, filters):
    protocols = [
        *({"readout": "linear", "fraction": fraction} for fraction in (1.0, 0.1, 0.01)),
        *({"readout": "linear", "depth": depth} for depth in (0.99, 0.5)),
        {"readout": "knn", "fraction": 0.1, "depth": 0.5},
    ]
    plain = evaluate(study, CELL, root)
    filters.calls = 0
    record = evaluate(with_evaluation(study, protocols=protocols), CELL, root)
    assert filters.calls == 1  # depth 1 was cached, one pass of one batch gives the rest
    found = {name: record.details["tasks"][name] for name in record.details["tasks"]}
    assert list(found)[:6] == [
        TASKS[0],
        *(f"{TASKS[0]}@linear-{name}" for name in ("10pct", "1pct", "d99", "d50")),
        f"{TASKS[0]}@knn-10pct-d50",
    ]
    patients = [found[name]["protocol"]["train_patients"] for name in list(found)[:3]]
    assert patients[1:] == [round(0.1 * patients[0]), 1]
    assert found[f"{TASKS[0]}@linear-1pct"]["protocol"]["train_examples"] == 2
    # The first protocol is what there was before there were protocols.
    for name, value in plain.metrics.items():
        assert record.metrics[name] == pytest.approx(value, rel=0, abs=0, nan_ok=True)
    # Of two blocks, 99 % are both: the same scores and, resamples being paired, replicates.
    same, half = (found[f"{TASKS[0]}@linear-{depth}"] for depth in ("d99", "d50"))
    assert same["replicates"] == found[TASKS[0]]["replicates"]
    assert half["replicates"] != found[TASKS[0]]["replicates"]
    for label in found[f"{TASKS[0]}@linear-1pct"]["labels"]:
        assert label["constant"] or 0 <= label["auroc"] <= 1
        if label["constant"] and label["name"] != "nowhere":
            assert label["auroc"] == 0.5


def test_a_killed_evaluation_goes_on_where_it_was(study, root, monkeypatch):
    protocols = [{"readout": "linear"}, {"readout": "knn"}]
    study = with_evaluation(study, protocols=protocols)
    whole = evaluate(study, CELL, root)
    (root / "results/evaluate" / f"{CELL}.json").unlink()
    predict, seen = Knn.predict, []

    def killed(self, problem):
        seen.append(problem.table.task)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return predict(self, problem)

    monkeypatch.setattr(Knn, "predict", killed)
    with pytest.raises(KeyboardInterrupt):
        evaluate(study, CELL, root)
    (folder,) = (root / ".ecgscale/work").iterdir()
    begun = (folder / "started").read_text()
    assert sorted(file.name for file in (folder / "endpoints").iterdir()) == [
        f"{TASKS[0]}.json",
        f"{TASKS[0]}@knn.json",
        f"{TASKS[1]}.json",
    ]
    again = evaluate(study, CELL, root)
    assert seen == [TASKS[0], TASKS[1], TASKS[1]]
    assert again.started == begun
    times = {"started": whole.started, "ended": whole.ended}
    assert again.model_copy(update=times).to_json() == whole.to_json()
    assert list((root / ".ecgscale/work").iterdir()) == []


def test_a_plan_holds_the_settings_of_what_it_uses_and_no_others(study):
    settings = {"linear": {"max_iterations": 50}, "knn": {"k": 3}}
    study = with_evaluation(study, protocols=[{"readout": "knn"}], readouts=settings)
    assert evaluation(study).settings.readouts == {"knn": {"k": 3}}
    probe = evaluation(study, "age-sex").settings.readouts
    assert probe == {"linear": {**Linear.Settings(max_iterations=50).model_dump(mode="json")}}
    assert evaluation(study, "prevalence").settings.readouts == {}


def test_the_record_says_the_settings_of_what_was_used(study, root):
    record = evaluate(study, CELL, root)
    used = {name: value for name, value in record.params.items() if "." in name}
    assert used == {"linear.penalties": "0.001, 0.1", "linear.max_iterations": 100}
    record = evaluate_baseline(study, "prevalence", root)
    assert not [name for name in record.params if "." in name]


def test_other_settings_take_nothing_from_a_killed_evaluation(study, root, monkeypatch):
    study = with_evaluation(study, protocols=[{"readout": "linear"}, {"readout": "knn"}])
    with monkeypatch.context() as broken:
        broken.setattr(Knn, "predict", lambda self, problem: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            evaluate(study, CELL, root)
    other = with_evaluation(study, bootstrap=7)
    replicates = evaluate(other, CELL, root).details["tasks"][TASKS[0]]["replicates"]
    assert len(replicates) == 7


@pytest.fixture
def external(root, save_encoder):
    save_encoder(root / "models/external/mine", seed=3, width=8)
    return root / "models/external/mine"


def test_any_encoder_directory(study, root, external):
    record = evaluate_directory(study, external, [TASKS[1], "chapman-38"], root, "mine")
    assert record.cell == "external/mine"
    path = root / "results/evaluate/external/mine.json"
    assert RunRecord.read(path).digest == record.digest
    assert record.axes["role"] == "external"
    assert record.axes["encoder"] == "filters"
    assert {v for k, v in record.axes.items() if k not in ("role", "encoder")} == {None}
    assert record.details["without_data"] == ["chapman-38"]
    assert (record.details["seen"], record.details["seen_datasets"]) == (UNKNOWN, None)
    assert list(record.details["tasks"]) == [TASKS[1]]
    assert record.params["tasks"] == TASKS[1]
    assert record.params["directory"] == "models/external/mine"
    assert record.tags["model_digest"] == model_digest(external)
    assert record.metrics[f"{TASKS[1]}.macro_auroc"] > 0.5


def test_an_imported_encoder_that_has_seen_a_held_out_data_set(study, root, external, monkeypatch):
    dataset = read_manifest(root / "data/tasks")[TASKS[1]]["dataset"]
    seen = Seen(datasets=("heedb", dataset), source="there", open="nothing")
    monkeypatch.setattr("ecgscale.evaluation.stage.seen_by", lambda _: seen)
    record = evaluate_directory(study, external, [TASKS[1]], root, "mine")
    assert record.details["seen"] == seen.sentence()
    assert record.details["seen_datasets"] == [dataset]


@pytest.mark.parametrize(
    ("names", "name", "message"),
    [
        (["chapman-38"], "mine", "has none of the tasks chapman-38"),
        ([TASKS[0]], "../mine", "name '../mine' must be letters"),
    ],
)
def test_external_encoders_without_data(study, root, external, names, name, message):
    with pytest.raises(BadInputError, match=message):
        evaluate_directory(study, external, names, root, name)


def test_an_external_encoder_of_another_rate_is_refused(study, root, save_encoder, recipe):
    save_encoder(root / "fast", recipe=recipe.model_copy(update={"fs": 500.0}))
    said = r"fast was trained on signals with recipe\.fs 500\.0, the study has 50\.0"
    with pytest.raises(BadInputError, match=said):
        evaluate_directory(study, root / "fast", TASKS, root, "fast")


def test_stores_of_another_recipe_than_the_study_are_refused(study, root, save_encoder, recipe):
    other = recipe.model_copy(update={"normalise": "none"})
    save_encoder(root / "models" / CELL, recipe=other)
    with pytest.raises(BadInputError, match=r"recipe\.normalise none, .*store/test has zscore"):
        evaluate(study.model_copy(update={"recipe": other}), CELL, root)


@pytest.mark.parametrize(
    ("protocols", "message"),
    [
        ([{"readout": "linear"}, {"readout": "linear", "fraction": 1.0}], "protocols repeats one"),
        ([{"readout": "linear", "fraction": 0.005}], "fraction must be a whole number"),
        ([], "protocols"),
    ],
)
def test_protocols_that_are_none(study, protocols, message):
    with pytest.raises(ValidationError, match=message):
        with_evaluation(study, protocols=protocols)
