"""Encoders in the tracking store: logged once, registered, pointed at, and found by alias."""

import json
import math

import pytest
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from ecgscale.runs import models, store, tracking
from support.server import mlflow_server
from support.tracked import client, find, keep, record, runs_of

NAME = "ecgscale-clef-net1d-tiny"
TABLE = [{"name": "t", "digest": "ee" * 32, "context": "test", "source": "data/tasks/t.parquet"}]


def pretrained(size=64, order=0, **changes):
    cell = f"clef/net1d-tiny/n{size}-o{order}-s{order}"
    given = {
        "axes": {"objective": "clef", "encoder": "net1d-tiny", "size": size, "order": order},
        "params": {"recipe.leads": json.dumps(["I", "II", "V1"]), "recipe.minimum_seconds": 5.0},
        "tags": {"model_digest": f"m{size}{order}", "recipe_digest": "r1", "torch": "2.0"},
        "details": {"embed_dim": 16},
        **changes,
    }
    return record(cell=cell, **given)


def evaluated(of, validation, **changes):
    told = {
        "t": {"kind": "multi-label", "metric": "macro_auroc"},
        "t@knn": {"kind": "multi-label", "metric": "macro_auroc"},
        "age": {"kind": "regression", "metric": "mae"},
    }
    numbers = {"t.validation_macro_auroc": validation, "t.macro_auroc": 1 - validation}
    given = {
        "metrics": {**numbers, "t@knn.validation_macro_auroc": 0.99, "age.validation_mae": 9.0},
        "details": {"tasks": told},
        "tags": {"model_digest": of.tags["model_digest"]},
        "inputs": TABLE,
        **changes,
    }
    return record("evaluate", of.cell, axes=of.axes, **given)


def sync(root):
    return tracking.sync(root / "results", root)


def study(root, scores):
    """Keep records of cells by (size, order) with validation scores; carry them."""
    for (size, order), score in scores.items():
        kept = keep(root, pretrained(size, order))
        keep(root, evaluated(kept, score))
    sync(root)


def aliases(root, name=NAME):
    """Alias to the cell that it names."""
    registered = client(root).get_registered_model(name)
    return {
        alias: client(root).get_model_version(name, version).tags["ecgscale.cell"]
        for alias, version in registered.aliases.items()
    }


def everything(root):
    """Every model, version, alias and link of the store, as text."""
    mlflow = client(root)
    experiment = mlflow.get_experiment_by_name("ecgscale-pretrain").experiment_id
    return sorted(
        [
            *(model.model_id for model in mlflow.search_logged_models([experiment])),
            *(f"{v.name} {v.version} {v.source}" for v in mlflow.search_model_versions()),
            *(f"{m.name} {sorted(m.aliases.items())}" for m in mlflow.search_registered_models()),
            *(
                f"{run.info.run_id} {run.inputs.model_inputs} {run.outputs.model_outputs}"
                for found in mlflow.search_runs(["1", "2"])
                for run in [mlflow.get_run(found.info.run_id)]
            ),
        ]
    )


def test_an_encoder_is_logged_registered_and_linked_once(root):
    kept = pretrained()
    study(root, {(64, 0): 0.8})
    (version,) = client(root).search_model_versions(f"name = '{NAME}'")
    run, reader = find(root, kept.identity), find(root, evaluated(kept, 0.8).identity)
    model = client(root).get_logged_model(version.tags["ecgscale.model"])
    assert str(model.status) == "READY"
    assert (model.source_run_id, version.run_id) == (run.info.run_id, run.info.run_id)
    assert model.tags["ecgscale.record"] == version.tags["ecgscale.record"] == kept.digest
    assert model.params["cell.size"] == "64"
    assert [item.model_id for item in run.outputs.model_outputs] == [model.model_id]
    read = client(root).get_run(reader.info.run_id).inputs.model_inputs
    assert [item.model_id for item in read] == [model.model_id]
    assert version.tags[models.SCORE] == "0.800000"
    before = everything(root)
    sync(root)
    assert everything(root) == before
    problems = [run.problems for run in tracking.held([kept, evaluated(kept, 0.8)], root, True)]
    assert problems == [(), ()]


def test_the_store_holds_a_pointer_a_signature_and_an_example_and_no_weights(root):
    weights = root / "models" / pretrained().cell / "encoder.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"w" * 100_000)
    study(root, {(64, 0): 0.8})
    sizes = {
        path.name: path.stat().st_size
        for path in (root / "mlartifacts").rglob("*")
        if path.is_file() and "models" in path.parts
    }
    assert set(sizes) == {"MLmodel", "pointer.json", "input_example.json", "requirements.txt"}
    assert sum(sizes.values()) < 20_000
    folder = next((root / "mlartifacts/pretrain/models").glob("*/artifacts"))
    pointer = json.loads((folder / "data/pointer.json").read_text())
    assert pointer["path"] == f"models/{pretrained().cell}"
    assert (pointer["model_digest"], pointer["recipe_digest"]) == ("m640", "r1")
    model = Model.load(str(folder))
    assert model.signature.inputs.input_names() == ["signal", "fs", "leads"]
    assert model.signature.outputs.inputs[0].shape == (-1, 16)
    example = model.load_input_example(str(folder))
    assert example["leads"][0] == ["II", "I"]  # of the recipe's, not in its order
    assert [len(lead) for lead in example["signal"][0]] == [500, 500]


def test_aliases_name_the_best_by_validation_and_move(root):
    study(root, {(64, 0): 0.8, (64, 1): 0.7, (128, 0): 0.75, (128, 1): 0.85})
    cell = "clef/net1d-tiny/n{}-o{}-s{}".format
    assert aliases(root) == {
        "best": cell(128, 1, 1),
        "n64": cell(64, 0, 0),
        "n128": cell(128, 1, 1),
    }
    keep(root, evaluated(pretrained(64, 1), 0.9, tags={"model_digest": "m641", "work_digest": "w"}))
    keep(root, evaluated(pretrained(128, 1), math.nan))
    sync(root)
    assert aliases(root) == {
        "best": cell(64, 1, 1),
        "n64": cell(64, 1, 1),
        "n128": cell(128, 0, 0),
    }
    scores = {v.tags["ecgscale.cell"]: v.tags[models.SCORE] for v in versions(root)}
    assert scores[cell(128, 1, 1)] == "nan"
    assert len(scores) == len(versions(root)) == 4


def versions(root):
    return client(root).search_model_versions(f"name = '{NAME}'")


def test_scores_of_other_tables_are_not_compared(root):
    study(root, {(64, 0): 0.8})
    other = keep(root, pretrained(64, 1))
    table = [{**TABLE[0], "digest": "ff" * 32}]
    keep(root, evaluated(other, 0.7, inputs=table, ended="2026-02-01T00:00:00+00:00"))
    sync(root)
    assert set(aliases(root).values()) == {other.cell}  # alone on the newest tables


@pytest.mark.long
def test_a_cell_trained_again_has_a_version_more_which_the_aliases_name(root):
    study(root, {(64, 0): 0.8})
    again = keep(root, pretrained(tags={"model_digest": "m2", "work_digest": "w2"}))
    keep(root, evaluated(again, 0.6, ended="2026-02-01T00:00:00+00:00"))
    sync(root)
    assert len(versions(root)) == 2
    version = client(root).get_model_version_by_alias(NAME, "best")
    model = client(root).get_logged_model(version.tags["ecgscale.model"])
    assert model.tags["model_digest"] == "m2"


def test_an_alias_of_another_project_stays(root, tmp_path, monkeypatch, caplog):
    study(root, {(64, 0): 0.6})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root / 'mlflow.db'}")
    there = tmp_path / "another"
    there.mkdir()
    study(there, {(64, 1): 0.9, (128, 1): 0.8})
    cell = "clef/net1d-tiny/n{}-o{}-s{}".format
    assert aliases(root) == {
        "best": cell(64, 0, 0),
        "n64": cell(64, 0, 0),
        "n128": cell(128, 1, 1),
    }
    assert f"the alias best of {NAME} names version 1, of another project" in caplog.text
    (run,) = runs_of(root, pretrained().identity)
    assert len(run.outputs.model_outputs) == 1


def test_what_a_kill_left_half_logged_is_made_whole(root, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    keep(root, pretrained())
    with monkeypatch.context() as patch:
        patch.setattr(models, "write_model", killed)
        with pytest.raises(KeyboardInterrupt):
            sync(root)
    sync(root)
    experiment = client(root).get_experiment_by_name("ecgscale-pretrain").experiment_id
    (model,) = client(root).search_logged_models([experiment])
    assert str(model.status) == "READY"
    assert len(versions(root)) == 1
    assert client(root).list_logged_model_artifacts(model.model_id)


@pytest.mark.long
def test_a_slow_store_is_left_in_time_and_gone_on_with(root, monkeypatch, caplog):
    keep(root, pretrained())
    monkeypatch.setattr(tracking.spool, "LAST_MINUTE", -1.0)
    tracking.sync(root / "results", root, hurry=True)
    assert not versions(root)
    assert "not all encoders are registered now" in caplog.text
    sync(root)
    assert len(versions(root)) == 1


def test_a_moved_project_has_its_models_with_it(root):
    study(root, {(64, 0): 0.8})
    there = root.rename(root.with_name("moved"))
    store.check_store(there)
    place = client(there).get_model_version_download_uri(NAME, "1")
    assert place.startswith(there.as_uri())
    assert Model.load(place.removeprefix("file://")).signature is not None


@pytest.mark.long
def test_a_lost_registry_is_written_again(root):
    study(root, {(64, 0): 0.8, (64, 1): 0.9})
    client(root).delete_registered_model(NAME)
    with pytest.raises(MlflowException):
        aliases(root)
    sync(root)
    assert aliases(root)["best"].endswith("n64-o1-s1")


@pytest.mark.long
def test_a_server_holds_the_same(tmp_path, monkeypatch):
    with mlflow_server(tmp_path / "server") as address:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
        root = tmp_path / "project"
        root.mkdir()
        study(root, {(64, 0): 0.8, (64, 1): 0.9})
        before = everything(root)
        sync(root)
        assert everything(root) == before
        assert aliases(root)["best"].endswith("n64-o1-s1")
        version = client(root).get_model_version_by_alias(NAME, "best")
        model = version.tags["ecgscale.model"]
        held = client(root).list_logged_model_artifacts(model)
        assert {"MLmodel", "data"} <= {item.path for item in held}


def test_only_regressions_are_judged_by_their_error():
    told = {"details": {"tasks": {"age": {"kind": "regression", "metric": "mae"}}}}
    assert models.validation_score(evaluated(pretrained(), 0.5, **told)) == -9.0
    assert models.validation_score(evaluated(pretrained(), 0.5)) == 0.5
    assert math.isnan(models.validation_score(record("evaluate")))


def test_trials_and_baselines_are_no_encoders():
    assert models.is_encoder(pretrained())
    assert not models.is_encoder(record("tune"))
    assert not models.is_encoder(evaluated(pretrained(), 0.5))
