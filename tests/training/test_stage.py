import dataclasses
import json
import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from ecgscale import encoders
from ecgscale.data.augment import millivolts
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.data.store import StoreWriter, open_store
from ecgscale.data.subsets import build_subsets, read_subset
from ecgscale.data.surrogate import surrogates
from ecgscale.errors import BadInputError
from ecgscale.runs import carrier, store, tracking
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.study.file import Study
from ecgscale.study.resolve import pretraining
from ecgscale.tasks.targets import training_targets, write_targets
from ecgscale.training.data import load_training_data
from ecgscale.training.monitors import is_collapsed
from ecgscale.training.settings import Pretraining
from ecgscale.training.stage import initial_encoder, pretrain
from ecgscale.training.trainer import Trainer, subset_data
from support.stores import finish
from support.tracked import find

RECIPE = Recipe(seconds=1.5, minimum_seconds=1.0)
TASKS = ("ptb-xl-superdiagnostic", "ptb-xl-rhythm")
CODES = ("NORM", "IMI", "LVH", "SR", "AFIB")
CLEF = Cell("clef", "tiny", 24, 0, 1)
WEIGHTS, CARD = "encoder.safetensors", "MODEL_CARD.md"


def make_study(**training: object) -> Study:
    settings = {"steps": 4, "batch_size": 8, "log_every": 2, "monitor_every": 3, **training}
    place = {"reader": "ptb-xl", "root": "raw", "watch": "raw"}
    return Study(
        study={"name": "small", "device": "cpu"},
        recipe=RECIPE.model_dump(),
        sources={"one": place, "two": place},
        pool={"one": {"folds": (1, 2, 3, 4, 5, 6, 7, 8)}, "two": {}},
        grid={
            "objectives": ("clef", "simclr", "without-two"),
            "encoders": ("tiny",),
            "sizes": (12, 24),
        },
        encoders={
            "tiny": {"kind": "net1d", "params": {"size": "tiny", "in_channels": 1}},
            "twelve": {"kind": "net1d", "params": {"size": "tiny"}},
        },
        objectives={
            "clef": {"kind": "clef", "params": {"temperature": 0.1}},
            "simclr": {"kind": "simclr"},
            "random": {"kind": "random"},
            "supervised": {"kind": "supervised", "training": {"lr": 0.002}},
            "positive": {"kind": "supervised", "role": "positive-control"},
            "shuffled": {
                **{"kind": "supervised", "role": "negative-control", "control_of": "positive"},
                "data": {"shuffled_labels": True},
            },
            "without-two": {"kind": "simclr", "arm_of": "simclr", "data": {"without": ["two"]}},
            "surrogates": {
                **{"kind": "simclr", "role": "negative-control", "control_of": "simclr"},
                "data": {"surrogates": True},
            },
        },
        training=settings,
        augment={"crop_seconds": 1.0},
        evaluation={"data": {"ptb-xl": "one"}, "tasks": TASKS},
        report={"primary_task": TASKS[0]},
        tune={"encoder": "tiny", "sizes": (12,), "task": TASKS[0]},
    )


def write_store(root: Path, source: str, n: int, rng: np.random.Generator) -> None:
    folder = root / "data/store" / source
    folder.mkdir(parents=True)
    writer = StoreWriter(folder, RECIPE.leads, RECIPE.n_samples)
    time_axis = np.arange(RECIPE.n_samples) / RECIPE.fs
    for number in range(n):
        wave = np.sin(2 * np.pi * rng.uniform(1, 3) * time_axis) ** 7
        samples = rng.normal(size=(12, 1)) * wave + 0.05 * rng.normal(size=(12, RECIPE.n_samples))
        labels = list(rng.choice(CODES, 2, replace=False))
        row = {
            "record_id": f"{source}-{number}",
            "patient_id": f"{source}:{number // 2 if number < 8 else number}",
            "source": source,
            "age": float(rng.integers(40, 90)),
            "sex": "FM"[number % 2],
            "fold": number // 2 % 10 + 1 if number < 8 else number % 10 + 1,
            "split": None,
            "labels": labels,
            "likelihoods": [100.0, 100.0],
            "split_labels": [],
            "unit": "mV",
            "fs_original": 500.0,
            "seconds": 10.0,
            "valid_samples": RECIPE.n_samples - number % 3,
            "notes": [],
            "signal_digest": f"{source}{number}",
            **dict.fromkeys(CLINICAL_FIELDS, None),
            "sbp": float(rng.integers(100, 180)),
        }
        writer.add(row, np.rint(1000 * samples).astype(np.int16))
    finish(writer, source, RECIPE)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project that is ready for pretraining."""
    root = tmp_path_factory.mktemp("project")
    rng = np.random.default_rng(0)
    write_store(root, "one", 60, rng)
    write_store(root, "two", 20, rng)
    study = make_study()
    write_targets(
        study.evaluation.tasks, study.evaluation.data, root / "data/store", root / "data/tasks"
    )
    for size in study.grid.sizes:
        out = root / "data/subsets" / f"n{size}"
        build_subsets(study.pool, size, [0], None, root / "data/store", root / "data/tasks", out)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        yield root


@pytest.fixture(scope="module")
def clef(root: Path) -> RunRecord:
    return pretrain(pretraining(make_study(), CLEF), root)


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_writes_the_encoder_and_the_record(root: Path, clef: RunRecord) -> None:
    folder = root / "models" / CLEF.name
    assert set(content(folder)) == {WEIGHTS, "config.yaml", CARD}
    encoder = encoders.load(folder)
    assert encoder.embed(torch.zeros(2, 1, RECIPE.n_samples)).shape == (2, encoder.embed_dim)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert config["recipe"]["digest"] == RECIPE.digest
    assert Recipe(**{k: v for k, v in config["recipe"].items() if k != "digest"}) == RECIPE
    written = RunRecord.read(result_path(root / "results", "pretrain", CLEF.name))
    assert written.to_json() == clef.to_json()
    assert not list((root / ".ecgscale/work").iterdir())
    assert not list(folder.parent.glob(".*"))


def test_record_says_what_was_done(root: Path, clef: RunRecord) -> None:
    _, manifest = read_subset(root / "data/subsets/n24/o0")
    metrics = clef.metrics
    assert set(metrics) == {
        *("loss", "embedding_sd", "effective_rank", "knn", "collapsed", "steps", "samples_seen"),
        *("epochs", "flops", "seconds", "pairs_per_second", "parameters"),
        *("patients", "unknown_patients", "records", "hours", "sources"),
    }
    assert (metrics["patients"], metrics["records"]) == (24, manifest.records)
    assert metrics["hours"] == manifest.hours
    assert metrics["sources"] == 2
    assert (metrics["steps"], metrics["samples_seen"]) == (4, 32)
    assert metrics["epochs"] == 32 / manifest.records
    assert metrics["flops"] > 0
    weights = encoders.load(root / "models" / CLEF.name).parameters()
    assert metrics["parameters"] == sum(weight.numel() for weight in weights)
    assert metrics["collapsed"] == is_collapsed(metrics)
    assert clef.axes == {
        **dataclasses.asdict(CLEF),
        "kind": "clef",
        "regime": "fixed_steps",
        "role": "objective",
        **dict.fromkeys(("control_of", "arm_of", "without")),
        "patients": 24,
        "unknown_patients": 0,
        "records": manifest.records,
        "hours": manifest.hours,
        "sources": 2,
    }
    assert clef.params["objective.temperature"] == 0.1
    assert clef.params["recipe.leads"] == json.dumps(list(RECIPE.leads))
    assert clef.tags["subset_digest"] == manifest.digest
    assert clef.inputs[0].source == "data/subsets/n24/o0"
    assert [step for step, _ in clef.curves["embedding_sd"]] == [0, 3, 4]
    assert [step for step, _ in clef.curves["train/loss"]] == [2, 4]
    assert all((root / path).is_file() for path in clef.artifacts)


def test_tracked_run_agrees_with_the_record(root: Path, clef: RunRecord) -> None:
    carrier.Carrier(root).carry()
    (tracked,) = tracking.query("small", "pretrain", root, {clef.digest})
    assert tracked.cell == CLEF.name
    assert tracked.record.metrics == pytest.approx(clef.metrics)


def test_same_inputs_same_directory(root: Path, clef: RunRecord) -> None:
    folder = root / "models" / CLEF.name
    before = content(folder)
    again = pretrain(pretraining(make_study(), CLEF), root)
    assert content(folder) == before
    assert again.curves == clef.curves


def test_card_says_what_the_model_is(root: Path, clef: RunRecord) -> None:
    card = (root / "models" / CLEF.name / CARD).read_text()
    encoder = encoders.load(root / "models" / CLEF.name)
    for fact in (
        f"# {CLEF.name}",
        f"{sum(p.numel() for p in encoder.parameters()):,} parameters",
        f'encoders.load("models/{CLEF.name}")',
        RECIPE.digest,
        clef.tags["subset_digest"],
        "24 patients",
        "temperature: 0.1",
        "arXiv 2512.02180",
        f"| effective_rank | {clef.metrics['effective_rank']:.4g} |",
        "not for diagnosis",
    ):
        assert fact in card
    assert str(root) not in card


def test_cells_with_one_seed_start_from_the_same_weights(root: Path) -> None:
    study = make_study()
    control = Cell("random", "tiny", 0, 0, 1)
    record = pretrain(pretraining(study, control), root)
    encoder = pretraining(study, CLEF).encoder
    start = initial_encoder(encoder, CLEF.seed).state_dict()
    stored = encoders.load(root / "models" / control.name).state_dict()
    assert all(torch.equal(value, stored[name]) for name, value in start.items())
    other = initial_encoder(encoder, seed=2).state_dict()
    assert not all(torch.equal(value, other[name]) for name, value in start.items())
    assert record.axes["role"] == "control"
    assert record.metrics["steps"] == record.metrics["flops"] == record.metrics["patients"] == 0
    assert np.isnan(record.metrics["loss"])
    assert record.inputs == []


def test_supervised_control_learns_from_the_training_split_of_all_tasks(root: Path) -> None:
    study = make_study()
    cell = Cell("supervised", "tiny", 0, 0, 1)
    record = pretrain(pretraining(study, cell), root)
    rows = training_targets(root / "data/tasks", TASKS)
    assert record.axes["size"] == 0
    assert record.metrics["records"] == len(rows)
    assert record.metrics["patients"] == rows["patient_id"].nunique()
    valid = open_store(root / "data/store/one").records["valid_samples"].iloc[rows["row"]]
    assert record.metrics["hours"] == pytest.approx(valid.sum() / RECIPE.fs / 3600)
    assert record.params["training.lr"] == 0.002
    assert np.isfinite(record.metrics["loss"])


def test_a_positive_control_learns_the_labels_of_the_subset(root: Path) -> None:
    _, manifest = read_subset(root / "data/subsets/n24/o0")
    records = {
        name: pretrain(pretraining(make_study(), Cell(name, "tiny", 24, 0, 1)), root)
        for name in ("positive", "shuffled")
    }
    roles = {name: record.axes["role"] for name, record in records.items()}
    assert roles == {"positive": "positive-control", "shuffled": "negative-control"}
    digests = {manifest.digest}
    for name, words in (("positive", "labels"), ("shuffled", "shuffled labels")):
        record = records[name]
        assert (record.axes["size"], record.metrics["patients"]) == (24, 24)
        assert record.metrics["records"] == manifest.records
        assert record.metrics["hours"] == manifest.hours
        source, subset, *tables = record.inputs
        assert (subset.name, subset.digest) == (manifest.name, manifest.digest)
        assert [table.name for table in tables] == [f"{task}/training" for task in TASKS]
        assert (source.name, source.source) == (f"n24-o0 with {words}", "data/subsets/n24/o0")
        digests.add(source.digest)
    assert len(digests) == 3
    assert records["positive"].metrics["loss"] != records["shuffled"].metrics["loss"]


def test_labels_of_a_subset_are_those_of_the_tasks(root: Path) -> None:
    trainer = Trainer(pretraining(make_study(), Cell("positive", "tiny", 24, 0, 1)), root)
    known = training_targets(root / "data/tasks", TASKS).set_index(["source", "record_id"])["y"]
    rows = trainer._rows
    labelled = [not np.isnan(y).all() for y in rows["y"]]
    assert set(rows["source"][labelled]) == {"one"}
    for row in rows[labelled].to_dict("records"):
        assert np.array_equal(row["y"], known[row["source"], row["record_id"]], equal_nan=True)
    dealt = Trainer(pretraining(make_study(), Cell("shuffled", "tiny", 24, 0, 1)), root)._rows
    assert [np.isnan(y).all() for y in dealt["y"]] == [not has for has in labelled]
    seeded = Trainer(pretraining(make_study(), Cell("shuffled", "tiny", 24, 0, 2)), root)._rows
    vectors = [np.stack(x["y"].to_list()) for x in (rows, dealt, seeded)]
    pairs = [(vectors[0], vectors[1]), (vectors[1], vectors[2])]
    assert not any(np.array_equal(a, b, equal_nan=True) for a, b in pairs)


def test_surrogates_stand_for_the_recordings_in_training(root: Path) -> None:
    plan = pretraining(make_study(), Cell("surrogates", "tiny", 24, 0, 1))
    record = pretrain(plan, root)
    assert record.inputs[0].name == "n24-o0 as surrogates"
    assert record.params["data.surrogates"] is True
    plain = pretrain(pretraining(make_study(), Cell("simclr", "tiny", 24, 0, 1)), root)
    assert record.inputs[0].digest == plain.inputs[0].digest
    assert record.metrics["loss"] != plain.metrics["loss"]
    rows, _ = read_subset(root / "data/subsets/n24/o0")
    stores = {name: open_store(root / "data/store" / name) for name in ("one", "two")}
    mixed = rows.sample(frac=1, random_state=0)
    device = torch.device("cpu")
    made = load_training_data(mixed, stores, RECIPE, device, surrogate_seed=1).signal.numpy()
    for number, row in enumerate(mixed.to_dict("records")):
        store = stores[row["source"]]
        valid = store.records["valid_samples"].iloc[row["row"]]
        key = f"{row['source']}/{row['record_id']}"
        expected = surrogates(store.raw([row["row"]], RECIPE.leads), [valid], [key], 1)
        assert np.array_equal(made[number], expected[0])


def test_an_arm_without_a_source_sees_nothing_of_it(root: Path) -> None:
    plan = pretraining(make_study(), Cell("without-two", "tiny", 24, 0, 1))
    trainer = Trainer(plan, root)
    drawn, manifest = read_subset(root / "data/subsets/n24/o0")
    kept = drawn[drawn["source"] == "one"]
    assert 8 <= len(kept) < len(drawn)
    assert trainer._rows["record_id"].tolist() == kept["record_id"].tolist()
    seen = trainer.trained_on
    assert seen.sources == {"one": len(kept)}
    assert (seen.patients, seen.records) == (kept["patient_id"].nunique(), len(kept))
    assert seen.hours == pytest.approx(kept["stored_seconds"].sum() / 3600)
    assert seen.name == "n24-o0 without two"
    assert seen.digest != manifest.digest
    record = pretrain(plan, root)
    assert record.axes["arm_of"] == "simclr"
    assert (record.axes["size"], record.axes["patients"]) == (24, seen.patients)
    assert record.params["data.without"] == '["two"]'
    plain = pretraining(make_study(), Cell("simclr", "tiny", 24, 0, 1))
    assert plan.objective.digest != plain.objective.digest


def test_twelve_lead_encoders_train_too(root: Path) -> None:
    record = pretrain(pretraining(make_study(), Cell("simclr", "twelve", 12, 0, 0)), root)
    assert np.isfinite(record.metrics["loss"])


def test_trains_without_a_tracker(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mlflow", "dvc"):
        monkeypatch.setitem(sys.modules, name, None)
    record = pretrain(pretraining(make_study(), Cell("simclr", "tiny", 12, 0, 3)), root)
    path = result_path(root / "results", "pretrain", record.cell)
    assert RunRecord.read(path).digest == record.digest


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (Cell("mocov9", "tiny", 12, 0, 0), "no objective 'mocov9'"),
        (Cell("clef", "huge", 12, 0, 0), "no encoder 'huge'"),
        (Cell("clef", "tiny", 99, 0, 0), "n99/o0"),
    ],
)
def test_bad_cells_are_refused(root: Path, cell: Cell, message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        pretrain(pretraining(make_study(), cell), root)


def test_subset_smaller_than_a_batch_is_refused(root: Path) -> None:
    study = make_study()
    broad = study.model_copy(
        update={"training": study.training.model_copy(update={"batch_size": 99})}
    )
    with pytest.raises(BadInputError, match="batch_size is 99"):
        pretrain(pretraining(broad, CLEF), root)


def test_loaded_data_are_those_of_the_stores(root: Path) -> None:
    rows, _ = read_subset(root / "data/subsets/n24/o0")
    rows = rows.sample(frac=1, random_state=0)
    stores = {name: open_store(root / "data/store" / name) for name in ("one", "two")}
    data = load_training_data(rows, stores, RECIPE, torch.device("cpu"))
    batch = data.batch(np.arange(len(rows)))
    for number, (source, row) in enumerate(zip(rows["source"], rows["row"], strict=True)):
        expected = stores[source].signals([row], RECIPE.leads)[0]
        assert np.allclose(millivolts(batch.signal)[number].numpy(), expected, atol=1e-6)
    assert batch.targets is None
    assert batch.risk.isfinite().all()
    assert torch.allclose(batch.completeness, torch.tensor(3 / 7))


def test_store_of_another_recipe_is_refused(root: Path) -> None:
    with pytest.raises(BadInputError, match="ingest it again"):
        subset_data(root / "data/subsets/n12/o0", root, Recipe(), torch.device("cpu"))


def test_killed_at_any_moment_it_ends_with_the_same_bytes_in_the_same_run(root: Path) -> None:
    shutil.rmtree(root / ".ecgscale/work", ignore_errors=True)
    study = make_study(steps=40, log_every=1, monitor_every=7, checkpoint_seconds=0)
    cell = Cell("clef", "tiny", 24, 0, 5)
    whole = pretrain(pretraining(study, cell), root)
    expected = content(root / "models" / cell.name)
    shutil.rmtree(root / "models" / cell.name)
    result_path(root / "results", "pretrain", cell.name).unlink()

    draw = random.Random(0)
    kills, process = 0, None
    while process is None or process.exitcode != 0:
        assert kills < 100
        process = start(pretraining(study, cell), root)
        if kills < 4:
            kill_at_work(process, root, draw, while_writing=kills % 2 == 1)
            kills += process.exitcode == -signal.SIGKILL
            carrier.Carrier(root).carry()
        process.join()
        assert process.exitcode in (0, -signal.SIGKILL)

    assert kills == 4
    assert content(root / "models" / cell.name) == expected
    record = RunRecord.read(result_path(root / "results", "pretrain", cell.name))
    assert record.curves == whole.curves
    carrier.Carrier(root).carry()
    tracked = find(root, record.identity)  # the one run of all attempts
    assert tracked.data.tags[store.RECORD] == record.digest
    assert loss_history(root, tracked.info.run_id) == whole.curves["train/loss"]


def test_two_processes_on_one_cell_do_not_disturb_each_other(root: Path, clef: RunRecord) -> None:
    expected = content(root / "models" / CLEF.name)
    both = [start(pretraining(make_study(), CLEF), root) for _ in range(2)]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert content(root / "models" / CLEF.name) == expected


def start(plan: Pretraining, root: Path) -> BaseProcess:
    """Pretrain in a process of its own, forked from one that has the imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["ecgscale.training.trainer", "torch._dynamo", "mlflow.store.tracking.sqlalchemy_store"]
    )
    process = context.Process(target=pretrain, args=(plan, root))
    process.start()
    return process


def kill_at_work(
    process: BaseProcess, root: Path, draw: random.Random, *, while_writing: bool
) -> None:
    """SIGKILL a training some time after it has saved something new, or while it is saving."""
    before = set(root.glob(".ecgscale/work/*/checkpoints/*.pt"))
    pattern = ".step-*" if while_writing else "*.pt"
    while process.is_alive():
        if set(root.glob(f".ecgscale/work/*/checkpoints/{pattern}")) - before:
            break
        time.sleep(0.0005)
    if not while_writing:
        time.sleep(draw.uniform(0, 0.1))
    process.kill()
    process.join()


def loss_history(root: Path, run_id: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    history = MlflowClient(tracking.tracking_uri(root)).get_metric_history(run_id, "2 train/loss")
    return sorted((point.step, point.value) for point in history)
