"""A run of the store, written from a record; what is written twice is there once."""

import json
import math
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecgscale.runs import agreement, display, models, spool
from ecgscale.runs.artifacts import RECORD_FILE, local_folder, log_artifacts
from ecgscale.runs.record import Points, RunIdentity, RunRecord, Scalar
from ecgscale.runs.store import (
    ATTEMPT,
    CELL,
    PHASE,
    PROJECT,
    RECORD,
    STUDY,
    WORK,
    experiment_id,
    search,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


PRETRAIN_RUN = "pretrain_run_id"
BATCH_LIMIT, PARAMS_PER_BATCH = 1000, 100
"""What MLflow accepts in one call."""


def write_record(client: "MlflowClient", record: RunRecord, root: Path, run: "Run | None") -> None:
    """Write a whole run from its record, into `run`, that of its own attempt, if it has begun."""
    if run is None:
        start = milliseconds(record.started)
        encoder = record.params.get("directory", "")
        said = f"python -m ecgscale evaluate --encoder {encoder}"
        run_id = create_run(client, record.identity, start, root, said)
        last_step: dict[str, int] = {}
    elif run.data.tags.get(RECORD) == record.digest and run.info.status == "FINISHED":
        return
    else:
        run_id, last_step = run.info.run_id, last_steps(client, run, set(record.curves))
    log_params(client, run_id, agreement.params_of(record))
    log_points(client, run_id, record.curves, last_step, milliseconds(record.ended))
    _log_metrics(client, run_id, record)
    _log_inputs(client, run_id, record)
    log_artifacts(client, run_id, record, root)
    link = _pretrain_run(client, record)
    tags = {**_tags(record, root), RECORD: record.digest}
    log_tags(client, run_id, {**tags, PRETRAIN_RUN: link} if link else tags)
    if models.is_encoder(record):
        logged = models.LoggedModels(client, experiment_id(client, "pretrain"), record.digest)
        model = logged.of(record, run_id, spool.project_id(root))
        models.link(client, model.model_id, run_id, None)
    client.set_terminated(run_id, "FINISHED", milliseconds(record.ended))


def mend(client: "MlflowClient", run: "Run", record: RunRecord, root: Path) -> bool:
    """Bring back what a finished run has lost: its status, numbers, texts, artifacts.

    Returns whether anything but artifacts was lost. What is there and differs is left as it is, to
    be named.
    """
    run_id, data = run.info.run_id, run.data
    is_unfinished = run.info.status != "FINISHED"
    metrics = agreement.expected_metrics(record).keys() - data.metrics.keys()
    params = agreement.params_of(record).keys() - data.params.keys()
    tags = {n: text for n, text in _tags(record, root).items() if n not in data.tags}
    if metrics:
        log_points(client, run_id, record.curves, last_steps(client, run, record.curves), 0)
        _log_metrics(client, run_id, record, metrics)
    if params:
        log_params(client, run_id, agreement.params_of(record))
    if tags:
        log_tags(client, run_id, tags)
    if is_unfinished:
        client.set_terminated(run_id, "FINISHED", milliseconds(record.ended))
    folder = local_folder(run)
    # Where a store's artifacts lie in a folder, it is seen at once that they are gone. A whole
    # project that is gone is not made again for them.
    is_lost = folder is not None and not (folder / RECORD_FILE).is_file()
    if folder and is_lost and len(folder.parents) > 3 and folder.parents[3].is_dir():
        log_artifacts(client, run_id, record, root)
    return bool(is_unfinished or metrics or params or tags)


def own_tags(record: RunRecord) -> dict[str, str]:
    """Return the tags that make a run that of a record."""
    return {**_identity_tags(record.identity), RECORD: record.digest}


def _identity_tags(identity: RunIdentity) -> dict[str, str]:
    return {
        STUDY: identity.study,
        CELL: identity.cell,
        PHASE: identity.phase,
        ATTEMPT: identity.attempt,
        **({WORK: identity.work} if identity.work else {}),
    }


def _pretrain_run(client: "MlflowClient", record: RunRecord) -> str | None:
    if record.phase != "evaluate":
        return None
    for run in search(client, "pretrain", record.study, cell=record.cell):
        if run.data.tags.get("model_digest") == record.tags.get("model_digest"):
            return str(run.info.run_id)
    return None


def create_run(
    client: "MlflowClient", identity: RunIdentity, start: int, root: Path, said: str
) -> str:
    """Begin a run; `said` is the command of one that is no cell of a study."""
    is_external = identity.cell.startswith("external/")
    tags = {
        **_identity_tags(identity),
        PROJECT: spool.project_id(root),
        "mlflow.source.name": said
        if is_external
        else display.command_of(identity.phase, identity.cell),
        "mlflow.source.type": "LOCAL",
    }
    run = client.create_run(
        experiment_id(client, identity.phase),
        start,
        tags=tags,
        run_name=display.run_name(identity.cell),
    )
    return str(run.info.run_id)


def last_steps(client: "MlflowClient", run: "Run", names: Iterable[str]) -> dict[str, int]:
    """Return the last step that a run has of each of some curves."""
    return {
        name: max(point.step for point in client.get_metric_history(run.info.run_id, name))
        for name in map(display.curve_name, names)
        if name in run.data.metrics
    }


def log_params(client: "MlflowClient", run_id: str, params: dict[str, Scalar]) -> None:
    """Log parameters that the run does not have yet (MLflow's are immutable)."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    texts = {key: agreement.param_text(value) for key, value in params.items() if key not in known}
    _log(client, run_id, "params", [Param(key, text) for key, text in texts.items()])


def log_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    """Set tags, cut to what MLflow holds."""
    from mlflow.entities import RunTag

    _log(
        client,
        run_id,
        "tags",
        [RunTag(key, agreement.tag_text(text)) for key, text in tags.items()],
    )


def log_points(
    client: "MlflowClient", run_id: str, points: Points, last_step: dict[str, int], when: int
) -> None:
    """Append points after those that the run has; `last_step` is brought up to date."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, math.nan if value is None else value, when, step)
        for name, curve in ((display.curve_name(name), curve) for name, curve in points.items())
        for step, value in curve
        if step > last_step.get(name, -1)
    ]
    _log(client, run_id, "metrics", metrics)
    for metric in metrics:
        last_step[metric.key] = max(metric.step, last_step.get(metric.key, -1))


def _log(client: "MlflowClient", run_id: str, kind: str, items: list[Any]) -> None:
    """Log "params", "tags" or "metrics", in as many batches as MLflow's limits ask for."""
    size = BATCH_LIMIT if kind == "metrics" else PARAMS_PER_BATCH
    for start in range(0, len(items), size):
        part: dict[str, Any] = {kind: items[start : start + size]}
        client.log_batch(run_id, **part)


def _log_metrics(
    client: "MlflowClient", run_id: str, record: RunRecord, wanted: Collection[str] | None = None
) -> None:
    """Log final values; that of a curve goes to the curve's last step, unless it is there.

    `wanted` are the names as shown of those that are logged, None for all.
    """
    from mlflow.entities import Metric

    when = milliseconds(record.ended)
    last = {name: points[-1] for name, points in record.curves.items() if points}
    metrics = [Metric(name, value, when, 0) for name, value in display.sizes(record).items()]
    metrics += [
        Metric(shown, record.metrics[name], when, last.get(name, (0, 0.0))[0])
        for name, shown in display.metric_names(record).items()
        if name not in last or not agreement.same_number(last[name][1], record.metrics[name])
    ]
    chosen = [one for one in metrics if wanted is None or one.key in wanted]
    # A run's page lists them as they were logged.
    _log(client, run_id, "metrics", sorted(chosen, key=lambda one: one.key))


def _log_inputs(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for item in record.inputs:
        place = json.dumps({"uri": item.source})
        dataset = Dataset(item.name, item.digest[: agreement.DIGEST_LIMIT], "local", place)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", item.context)]))
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _tags(record: RunRecord, root: Path) -> dict[str, str]:
    """Return a record's tags, and those that MLflow's own pages look for."""
    commit = record.tags.get("git_commit")
    shown = {"mlflow.source.git.commit": commit} if commit else {}
    return {**record.tags, **shown, display.NOTE: display.description(record, root)}


def milliseconds(moment: str) -> int:
    """Return a moment in ISO 8601 as MLflow counts time."""
    parsed = datetime.fromisoformat(moment)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
