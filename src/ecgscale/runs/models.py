"""Encoders as MLflow models: logged beside their run, registered by name, found by alias.

MLflow holds a pointer (`ecgscale.runs.pointer`), not the weights, which DVC has. Everything is
written from records, by whoever carries them (`ecgscale.runs.tracking`), and what is there is not
written again.
"""

import json
import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from ecgscale.runs import agreement
from ecgscale.runs.pointer import POINTER, Pointer
from ecgscale.runs.record import RunRecord
from ecgscale.settings import digest_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import Model

log = logging.getLogger(__name__)

LOADER = "ecgscale.evaluation.raw"
"""Module that loads what a pointer names, and embeds raw recordings with it."""
RECORD, PROJECT = "ecgscale.record", "ecgscale.project"
"""Tags of a model and of its versions: digest of the pretraining record, and whose it is."""
SCORE = "ecgscale.validation_score"
"""Tag of a version: by which the best one is found."""
MODEL = "ecgscale.model"
"""Tag of a version, and of a run that has read it: id of the logged model."""
BEST = "best"
_EXAMPLE = "input_example.json"
_VERSIONS = "mlflow.modelVersions"
"""Tag by which MLflow's pages find the versions of a logged model."""


def registered_name(record: RunRecord) -> str:
    """Return under which name an encoder is registered: ``ecgscale-<objective>-<encoder>``."""
    return f"ecgscale-{record.axes['objective']}-{record.axes['encoder']}"


def is_encoder(record: RunRecord) -> bool:
    """Return whether a record is of an encoder that was written; trials of a search have none."""
    named = record.axes.get("objective") and record.axes.get("encoder")
    return record.phase == "pretrain" and bool(named) and "model_digest" in record.tags


def validation_score(record: RunRecord) -> float:
    """Return how good an evaluated encoder is without looking at a test example.

    The mean, over the classification tasks under their first protocol, of the main metric on the
    validation examples; where all tasks are regressions, minus the mean error. NaN where one of
    them is undefined, as means over different tasks cannot be compared.
    """
    of_kind: dict[bool, list[float]] = {True: [], False: []}
    for endpoint, told in record.details.get("tasks", {}).items():
        if "@" not in endpoint:
            name = f"{endpoint}.validation_{told['metric']}"
            of_kind[told["kind"] != "regression"].append(record.metrics.get(name, math.nan))
    values = of_kind[True] or [-error for error in of_kind[False]]
    return sum(values) / len(values) if values else math.nan


class LoggedModels:
    """The logged models of the pretraining experiment, by the record that each is of."""

    def __init__(self, client: "MlflowClient", experiment_id: str, record: str = "") -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._found: dict[str, LoggedModel] = {}
        wanted = f"tags.`{RECORD}` = '{record}'" if record else None
        token = None
        while True:
            page = client.search_logged_models([experiment_id], wanted, page_token=token)
            for model in page:
                # The oldest, should two processes have made one at once.
                known = self._found.setdefault(model.tags.get(RECORD, ""), model)
                if model.creation_timestamp < known.creation_timestamp:
                    self._found[model.tags[RECORD]] = model
            token = page.token
            if not token:
                break

    def of(self, record: RunRecord, run_id: str, project: str) -> "LoggedModel":
        """Return a record's model, which is logged now if it is not there."""
        from mlflow.entities.logged_model_status import LoggedModelStatus

        model = self._found.get(record.digest)
        if model is None:
            model = self._client.create_logged_model(
                self._experiment_id,
                name=record.cell.replace("/", "-"),
                source_run_id=run_id,
                tags=_tags(record, project),
                params=_texts(record),
                model_type="ecg-encoder",
            )
        if model.status != LoggedModelStatus.READY:  # or a kill came between
            with TemporaryDirectory() as aside:
                write_model(record, Path(aside), model.model_id, run_id)
                self._client.log_model_artifacts(model.model_id, aside)
            model = self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._found[record.digest] = model
        return model


def write_model(record: RunRecord, folder: Path, model_id: str, run_id: str) -> None:
    """Write what MLflow keeps of an encoder, about 10 kB: a pointer, a signature, an example."""
    from mlflow import pyfunc
    from mlflow.models import Model

    (folder / "data").mkdir()
    (folder / "data" / POINTER).write_text(Pointer.of(record).to_json(), encoding="utf-8")
    (folder / _EXAMPLE).write_text(
        json.dumps(_example(record), separators=(",", ":")), encoding="utf-8"
    )
    needed = ["ecgscale", f"torch=={record.tags['torch']}" if "torch" in record.tags else "torch"]
    (folder / "requirements.txt").write_text("\n".join(needed) + "\n", encoding="utf-8")
    model = Model(model_id=model_id, run_id=run_id, signature=_signature(record))
    model.saved_input_example_info = {
        **{"artifact_path": _EXAMPLE, "type": "dataframe", "pandas_orient": "split"},
    }
    pyfunc.add_to_model(model, loader_module=LOADER, data=f"data/{POINTER}")
    _save(model, folder)


def _save(model: "Model", folder: Path) -> None:
    model.save(str(folder / "MLmodel"))


def _signature(record: RunRecord) -> Any:
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import Array, ColSpec, DataType, Schema, TensorSpec

    inputs: list[ColSpec | TensorSpec] = [
        ColSpec(Array(Array(DataType.double)), "signal"),
        ColSpec(DataType.double, "fs"),
        ColSpec(Array(DataType.string), "leads"),
    ]
    width = int(record.details.get("embed_dim", -1))
    embedding = TensorSpec(np.dtype("float32"), (-1, width))
    return ModelSignature(inputs=Schema(inputs), outputs=Schema([embedding]))


def _example(record: RunRecord) -> dict[str, Any]:
    """Return a table of one made-up recording: 100 Hz, a few leads, in no standard order."""
    leads = json.loads(str(record.params.get("recipe.leads", '["I"]')))
    chosen = [name for name in ("V5", "II", "I") if name in leads] or leads[:1]
    seconds = float(record.params.get("recipe.minimum_seconds") or 5.0)
    beat = [_beat(step / 100 % 0.8) for step in range(round(100 * seconds))]
    signal = [[round(scale * x, 2) for x in beat] for scale in (1.0, 0.9, 0.7)[: len(chosen)]]
    return {"columns": ["signal", "fs", "leads"], "index": [0], "data": [[signal, 100.0, chosen]]}


def _beat(second: float) -> float:
    """Return mV of a made-up beat: P, QRS and T as bells (centre, width in s, height in mV)."""
    bells = (
        *((0.1, 0.02, 0.12), (0.27, 0.008, -0.1), (0.3, 0.011, 1.1)),
        *((0.33, 0.01, -0.25), (0.55, 0.04, 0.3)),
    )
    return sum(height * math.exp(-(((second - at) / wide) ** 2) / 2) for at, wide, height in bells)


def _tags(record: RunRecord, project: str) -> dict[str, str]:
    return {
        RECORD: record.digest,
        PROJECT: project,
        "ecgscale.study": record.study,
        "ecgscale.cell": record.cell,
        **{
            name: record.tags[name]
            for name in ("model_digest", "subset_digest", "recipe_digest", "git_commit")
            if name in record.tags
        },
    }


def _texts(record: RunRecord) -> dict[str, str]:
    return {
        name: agreement.param_text(value) for name, value in agreement.params_of(record).items()
    }


@dataclass(frozen=True)
class Registered:
    """An encoder of this project that is to be registered."""

    record: RunRecord
    """Of its pretraining."""
    run_id: str
    model: "LoggedModel"
    evaluation: RunRecord | None
    """Of the same weights; None if they were not evaluated."""

    @property
    def score(self) -> float:
        """As `validation_score`; NaN without an evaluation."""
        return validation_score(self.evaluation) if self.evaluation else math.nan


def carry(
    client: "MlflowClient",
    experiment_id: str,
    pretrained: "Sequence[tuple[RunRecord, Run | None]]",
    evaluated: "Sequence[tuple[RunRecord, Run | None]]",
    project: str,
    until: float | None = None,
) -> None:
    """Log and register the encoders of a project, and link each with the runs of its own.

    Parameters
    ----------
    experiment_id
        Of the pretraining runs, where models are logged.
    pretrained, evaluated
        Each record with its run, None where the store has none.
    project
        What tells its runs and versions from others', into which nothing is written.
    until
        Time (`time.monotonic`) after which the rest is left to the next ``sync``.
    """
    logged = LoggedModels(client, experiment_id)
    readers = {_weights(record): (record, run) for record, run in evaluated}
    encoders = []
    for record, run in pretrained:
        if run is None:
            continue
        if _is_late(until):
            return
        model = logged.of(record, run.info.run_id, project)
        evaluation, reader = readers.get(_weights(record), (None, None))
        encoders.append(Registered(record, run.info.run_id, model, evaluation))
        if run.data.tags.get(PROJECT) == project:
            is_own = reader is not None and reader.data.tags.get(PROJECT) == project
            link(client, model.model_id, run, reader if is_own else None)
    register(client, encoders, project, until)


def _is_late(until: float | None) -> bool:
    if until is None or time.monotonic() < until:
        return False
    log.warning(
        "the tracking store is slow: not all encoders are registered now; "
        "`python -m ecgscale sync` goes on with it"
    )
    return True


def _weights(record: RunRecord) -> tuple[str, str, str]:
    return record.study, record.cell, record.tags.get("model_digest", "")


def register(
    client: "MlflowClient",
    encoders: Sequence[Registered],
    project: str,
    until: float | None = None,
) -> None:
    """Register encoders, and let the aliases name the best of each size and of all.

    The best is the one with the highest `validation_score` among those that were evaluated alike:
    on the same tables, in the study of the newest evaluation. An alias that names another project's
    version, as in a shared store, is left as it is.

    Parameters
    ----------
    encoders
        All of the project, in no order.
    project
        What tells its versions from others'.
    until
        As for `carry`; names are done one after the other, and the aliases of each with it.
    """
    groups: dict[str, list[Registered]] = defaultdict(list)
    for encoder in encoders:
        groups[registered_name(encoder.record)].append(encoder)
    for name, group in sorted(groups.items()):
        if _is_late(until):
            return
        versions = _versions(client, name, group)
        mine = {
            encoder.record.digest: _version(client, name, encoder, versions, project)
            for encoder in sorted(group, key=lambda e: (e.record.started, e.record.cell))
        }
        wanted = {alias: mine[best.record.digest].version for alias, best in _best(group).items()}
        ours = {version.version for version in mine.values()}
        _point(client, name, wanted, ours, project)


def _versions(
    client: "MlflowClient", name: str, group: Sequence[Registered]
) -> "dict[str, ModelVersion]":
    """Return the versions of a name, which is made if it is not there, by their record."""
    if not client.search_registered_models(f"name = '{name}'"):
        axes = group[0].record.axes
        client.create_registered_model(
            name,
            tags={"ecgscale.objective": str(axes["objective"])},
            description=(
                f"ECG encoders {axes['encoder']}, pretrained with {axes['objective']}. A version "
                "takes raw recordings (any rate, any order of leads, mV) and gives embeddings. "
                "Aliases: `best`, and of each size `n<patients>`, by validation score."
            ),
        )
    found: dict[str, ModelVersion] = {}
    token = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found.update({version.tags.get(RECORD, ""): version for version in page})
        token = page.token
        if not token:
            return found


def _version(
    client: "MlflowClient",
    name: str,
    encoder: Registered,
    versions: "Mapping[str, ModelVersion]",
    project: str,
) -> "ModelVersion":
    record = encoder.record
    score = f"{encoder.score:.6f}"
    version = versions.get(record.digest)
    if version is None:
        model = encoder.model
        version = client.create_model_version(
            name,
            # Its place, as MLflow looks up a name like models:/m-1 in the process's own store.
            model.artifact_location,
            run_id=encoder.run_id,
            tags={**_tags(record, project), SCORE: score, MODEL: model.model_id},
            description=f"{record.cell} of study {record.study}; its weights are in DVC.",
            model_id=model.model_id,
        )
        told = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(model.model_id, {_VERSIONS: told})
        return version
    if version.tags.get(SCORE) != score:
        client.set_model_version_tag(name, version.version, SCORE, score)
    return version


def _best(group: Sequence[Registered]) -> dict[str, Registered]:
    """Return which encoder each alias is to name."""
    judged = [e for e in group if e.evaluation and math.isfinite(e.score)]
    if not judged:
        return {}
    newest = max(judged, key=lambda encoder: encoder.evaluation.ended if encoder.evaluation else "")
    alike = [encoder for encoder in judged if _how(encoder) == _how(newest)]
    # The first in order of cells, should two be equal.
    alike.sort(key=lambda encoder: (-encoder.score, encoder.record.cell))
    found: dict[str, Registered] = {}
    for encoder in alike:
        for alias in (BEST, f"n{encoder.record.axes['size']}"):
            found.setdefault(alias, encoder)
    return found


def _how(encoder: Registered) -> str:
    """Return what two evaluations must share for their scores to be compared."""
    record = encoder.evaluation
    assert record is not None
    return digest_of([record.study, sorted((item.name, item.digest) for item in record.inputs)])


def _point(
    client: "MlflowClient", name: str, wanted: Mapping[str, str], ours: set[str], project: str
) -> None:
    there = client.get_registered_model(name).aliases
    for alias, version in sorted(wanted.items()):
        now = there.get(alias)
        if now == version:
            continue
        holder = client.get_model_version(name, now) if now and now not in ours else None
        if holder and holder.tags.get(PROJECT) != project:
            said = "the alias %s of %s names version %s, of another project, and stays as it is"
            log.warning(said, alias, name, now)
        else:
            client.set_registered_model_alias(name, alias, version)


def link(client: "MlflowClient", model_id: str, wrote: "Run | str", read: "Run | None") -> None:
    """Show a model as what a pretraining run has written, and an evaluation run has read.

    Parameters
    ----------
    wrote
        The run, or the id of a new one.
    read
        None where there is none.
    """
    from mlflow.entities import LoggedModelInput, LoggedModelOutput

    if isinstance(wrote, str) or model_id not in _written(wrote):
        run_id = wrote if isinstance(wrote, str) else wrote.info.run_id
        client.log_outputs(run_id, [LoggedModelOutput(model_id, 0)])
    # A search for runs does not answer with the models that they read, so a tag says it too.
    if read is not None and read.data.tags.get(MODEL) != model_id:
        if model_id not in _read(client.get_run(read.info.run_id)):
            client.log_inputs(read.info.run_id, models=[LoggedModelInput(model_id)])
        client.set_tag(read.info.run_id, MODEL, model_id)


def _written(run: "Run") -> set[str]:
    return {item.model_id for item in run.outputs.model_outputs} if run.outputs else set()


def _read(run: "Run") -> set[str]:
    return {item.model_id for item in run.inputs.model_inputs} if run.inputs else set()
