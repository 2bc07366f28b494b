"""MLflow, and nothing else of the project imports it.

Every run of a study is one MLflow run, mirrored from its `RunRecord`. Training never depends on the
tracking store: what could not be logged is reported once, and `sync` writes it later from the JSON.
"""

import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from filelock import FileLock

from ecgscale.errors import BadInputError
from ecgscale.files import write_whole
from ecgscale.runs.record import Phase, RunRecord, Scalar, read_results

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

T = TypeVar("T")
Points = dict[str, list[tuple[int, float]]]

log = logging.getLogger(__name__)

STUDY, CELL, PHASE, RECORD = "ecgscale.study", "ecgscale.cell", "ecgscale.phase", "ecgscale.record"
PRETRAIN_RUN = "pretrain_run_id"
RECORD_FILE = "record.json"
PHASES: tuple[Phase, ...] = ("pretrain", "evaluate", "tune")

PARAM_LIMIT, TAG_LIMIT, DIGEST_LIMIT, BATCH_LIMIT, PARAMS_PER_BATCH = 6000, 5000, 36, 1000, 100
"""What MLflow accepts: longer parameters are cut by it, longer dataset digests refused."""
ATTEMPTS = 3


@dataclass(frozen=True)
class SyncSummary:
    """What `sync` found and did."""

    created: list[str]
    """Cells whose run was written now."""
    present: list[str]
    """Cells whose run was there."""


@dataclass(frozen=True)
class TrackedRecord:
    """A finished run as the tracking store holds it."""

    run_id: str
    cell: str
    tags: dict[str, str]
    record: RunRecord
    """The run's record; its parameters and metrics are those the store answered with."""


def tracking_uri(root: Path) -> str:
    """Return the store: ``MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the project.

    The default is absolute, since MLflow resolves a relative one against the working directory.
    """
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{root.resolve() / 'mlflow.db'}"


def experiment_name(phase: Phase) -> str:
    """Return the experiment that holds the runs of a phase."""
    return f"ecgscale-{phase}"


def check_store(root: Path) -> None:
    """Reach the store; a local one that does not exist yet is made, with its experiments.

    Two processes that first touch an empty SQLite store break each other's migrations, so this is
    called once before anything writes in parallel (and a lock file makes a second process wait).

    Raises
    ------
    BadInputError
        If it cannot be reached.
    """
    with _reachable(root):
        _client(root)


def experiment_pages(root: Path) -> dict[Phase, str]:
    """Return the page of MLflow's UI that lists the runs of each phase.

    Raises
    ------
    BadInputError
        If the store cannot be reached.
    """
    with _reachable(root):
        client = _client(root)
        return {phase: f"#/experiments/{_experiment_id(client, phase)}/runs" for phase in PHASES}


def serve(root: Path, port: int) -> None:
    """Serve MLflow's pages for the store on the loopback address until interrupted."""
    check_store(root)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    store = ["--backend-store-uri", tracking_uri(root), "--workers", "1"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with suppress(KeyboardInterrupt):
        subprocess.run([*command, *store], env=environment, check=False)


class TrackedRun:
    """The MLflow run of a cell, begun or continued; use it in a ``with`` block.

    Trouble with the store is remembered, never raised.

    Parameters
    ----------
    phase
        Chooses the experiment.
    study, cell
        Become the tags by which runs are found.
    root
        The project.
    id_file
        Where the run's id is kept: while the file is there, the same run is continued.
    live_after
        Seconds after which the run is opened in the store. To import MLflow and reach the store
        costs seconds; a run that ends before is left to `sync`.

    Attributes
    ----------
    run_id
        The MLflow run; None before the run is opened, and if none could be made.
    trouble
        The first problem met, or None.
    """

    def __init__(
        self,
        phase: Phase,
        study: str,
        cell: str,
        root: Path,
        id_file: Path | None = None,
        live_after: float = 0.0,
    ) -> None:
        self.phase, self.study, self.cell, self.root = phase, study, cell, root
        self.run_id: str | None = None
        self.trouble: str | None = None
        self._id_file = id_file
        self._live_from = time.monotonic() + live_after
        self._waiting: list[Callable[[], None]] = []
        self._client: MlflowClient | None = None
        self._last_step: dict[str, int] = {}
        self._finished = False
        self._do(lambda: None)

    def log_params(self, params: dict[str, Scalar]) -> None:
        """Log parameters that the run does not have yet (MLflow's are immutable)."""
        self._do(lambda: self._log_params(params))

    def log_tags(self, tags: dict[str, str]) -> None:
        """Set tags."""
        self._do(lambda: self._log_tags(tags))

    def log_points(self, points: Points) -> None:
        """Append points of curves; steps that the run already has are left out."""
        self._do(lambda: self._log_points(points))

    def finish(self, record: RunRecord) -> None:
        """Bring the run to all that its record says, and mark it finished.

        A run that is not open yet is left to `sync`, which writes many at the price of one.
        """
        self._finished = True
        if not self._is_early():
            self._do(lambda: self.write(record))

    def attach(self, client: "MlflowClient", run: "Run | None", start: int) -> None:
        """Open the run by hand: an unfinished one, or a new one that began at `start` (ms)."""
        self._client = client
        if run is None:
            self.run_id = _create_run(client, self.phase, self.study, self.cell, start)
        else:
            self.run_id = run.info.run_id
            self._last_step = _last_steps(client, run)

    def write(self, record: RunRecord) -> None:
        """Bring the run to all that its record says; trouble is raised, not kept."""
        client, run_id = self._writer()
        axes = {f"cell.{name}": value for name, value in record.axes.items() if value is not None}
        self._log_params({**record.params, **axes})
        self._log_points(record.curves)
        _log_metrics(client, run_id, record)
        _log_inputs(client, run_id, record)
        _log_artifacts(client, run_id, record, self.root)
        link = _pretrain_run(client, record)
        tags = {**record.tags, **_commit(record), **_note(record, self.root), RECORD: record.digest}
        self._log_tags({**tags, PRETRAIN_RUN: link} if link else tags)
        self._terminate("FINISHED", record.ended)

    def __enter__(self) -> "TrackedRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None or self._finished:
            return
        status = "FAILED" if issubclass(kind, Exception) else "KILLED"
        self._live_from = 0.0  # a run that fails is shown, however short it was
        self._do(lambda: self._terminate(status))

    def _is_early(self) -> bool:
        """Return whether the run is not open and need not be yet."""
        resumed = self._id_file is not None and self._id_file.is_file()
        return self._client is None and not resumed and time.monotonic() < self._live_from

    def _do(self, action: Callable[[], None]) -> None:
        """Do an action on the run, or keep it until the run is opened."""
        self._waiting.append(action)
        if self._is_early():
            return
        if self._client is None:
            self._try(self._open)
        waiting, self._waiting = self._waiting, []
        for kept in waiting:
            self._try(kept)

    def _try(self, action: Callable[[], None]) -> None:
        """Run an action, again if it fails; after the last failure the store is left alone."""
        for attempt in range(ATTEMPTS):
            if self.trouble:
                return
            try:
                action()
            except ModuleNotFoundError:
                self.trouble = "MLflow is not installed"
            except Exception as error:  # whatever the store does, training goes on
                if attempt + 1 < ATTEMPTS:
                    time.sleep(0.5 * 2**attempt)
                    continue
                self.trouble = f"{type(error).__name__}: {error}"
            else:
                return
        log.warning(
            "tracking stopped (%s); the record is kept as JSON: `python -m ecgscale sync` "
            "writes it to the store",
            self.trouble,
        )

    def _open(self) -> None:
        self._client = _client(self.root)
        file = self._id_file
        kept = file.read_text().strip() if file and file.is_file() else None
        if kept and self._reopen(kept):
            return
        self.run_id = _create_run(self._client, self.phase, self.study, self.cell, _now_ms())
        if file:
            write_whole(file, self.run_id)

    def _reopen(self, run_id: str) -> bool:
        from mlflow.exceptions import MlflowException

        assert self._client is not None
        try:
            run = self._client.get_run(run_id)
        except MlflowException:
            return False  # another store than the one the run was begun in
        self.run_id = run_id
        self._client.update_run(run_id, status="RUNNING")
        self._last_step = _last_steps(self._client, run)
        return True

    def _writer(self) -> "tuple[MlflowClient, str]":
        assert self._client is not None
        assert self.run_id is not None
        return self._client, self.run_id

    def _log_params(self, params: dict[str, Scalar]) -> None:
        from mlflow.entities import Param

        client, run_id = self._writer()
        known = client.get_run(run_id).data.params
        new = [Param(key, _cut(value)) for key, value in params.items() if key not in known]
        _log(client, run_id, "params", new)

    def _log_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        client, run_id = self._writer()
        _log(client, run_id, "tags", [RunTag(key, tags[key][:TAG_LIMIT]) for key in tags])

    def _log_points(self, points: Points) -> None:
        from mlflow.entities import Metric

        client, run_id = self._writer()
        now = _now_ms()
        metrics = [
            Metric(name, value, now, step)
            for name, curve in points.items()
            for step, value in curve
            if step > self._last_step.get(name, -1)
        ]
        _log(client, run_id, "metrics", metrics)
        for metric in metrics:
            self._last_step[metric.key] = max(metric.step, self._last_step.get(metric.key, -1))

    def _terminate(self, status: str, ended: str | None = None) -> None:
        client, run_id = self._writer()
        client.set_terminated(run_id, status, _milliseconds(ended) if ended else None)


def sync(results: Path, root: Path) -> SyncSummary:
    """Write every run that the store lacks from its JSON record, and mend the links.

    Raises
    ------
    BadInputError
        If a record is malformed or the store cannot be reached.
    """
    with _reachable(root):
        client = _client(root)
        created, present = [], []
        for phase in PHASES:
            known = {run.data.tags.get(RECORD) for run in _runs(client, phase)}
            for record in read_results(results, phase):
                if record.digest in known:
                    present.append(f"{phase}/{record.cell}")
                else:
                    _write_record(client, record, root)
                    created.append(f"{phase}/{record.cell}")
        _mend_links(client)
        _nest_trials(client)
        _analyze(root)
    return SyncSummary(created, present)


def query(
    study: str, phase: Phase, root: Path, records: set[str] | None = None
) -> list[TrackedRecord]:
    """Return the finished runs of a study from the store, sorted by cell.

    Parameters
    ----------
    records
        Digests of the records wanted; runs of a study that were since repeated are thereby left
        out. None takes every finished run.

    Raises
    ------
    BadInputError
        If the store cannot be reached, or a wanted record is not in it.
    """
    with _reachable(root):
        client = _client(root)
        runs = [
            run
            for run in _runs(client, phase, study)
            if RECORD in run.data.tags and (records is None or run.data.tags[RECORD] in records)
        ]
        found = {run.data.tags[RECORD]: _tracked(client, run) for run in runs}
    missing = (records or set()) - set(found)
    if missing:
        raise BadInputError(
            f"the tracking store lacks {len(missing)} {phase} runs of study {study}: "
            "run `python -m ecgscale sync` first"
        )
    return sorted(found.values(), key=lambda tracked: tracked.cell)


def nest_trials(root: Path) -> None:
    """Put the trials of every search under its winner's run, as MLflow nests runs."""
    try:
        _nest_trials(_client(root))
    except Exception as error:  # as everywhere: tracking never stops the work
        log.warning("the trials are not nested under their winner: %s", error)


def _write_record(client: "MlflowClient", record: RunRecord, root: Path) -> None:
    """Write a whole run from its record, into the unfinished run it left behind if there is one."""
    run = TrackedRun(record.phase, record.study, record.cell, root, live_after=math.inf)
    run.attach(client, _orphan(client, record), _milliseconds(record.started))
    run.write(record)


def _orphan(client: "MlflowClient", record: RunRecord) -> "Run | None":
    """Return the run that the record's process began and could not finish.

    A run begun after the record ended is a newer attempt at the same cell and is left alone.
    """
    ended = _milliseconds(record.ended)
    for run in _runs(client, record.phase, record.study, status="RUNNING"):
        if run.data.tags.get(CELL) == record.cell and run.info.start_time <= ended:
            return run
    return None


def _mend_links(client: "MlflowClient") -> None:
    """Point every evaluation at the pretraining run of the same cell and weights."""

    def weights(run: "Run") -> tuple[str | None, ...]:
        return tuple(run.data.tags.get(tag) for tag in (STUDY, CELL, "model_digest"))

    pretrained = {weights(run): run.info.run_id for run in _runs(client, "pretrain")}
    for run in _runs(client, "evaluate"):
        source = pretrained.get(weights(run))
        if source and run.data.tags.get(PRETRAIN_RUN) != source:
            client.set_tag(run.info.run_id, PRETRAIN_RUN, source)


def _nest_trials(client: "MlflowClient") -> None:
    """Point every trial at the newest winner of the same search."""
    runs = _runs(client, "tune")
    winners = {
        run.data.tags.get("search"): run.info.run_id
        for run in sorted(runs, key=lambda run: run.info.start_time)
        if run.data.tags.get(CELL, "").endswith("/winner")
    }
    for run in runs:
        parent = winners.get(run.data.tags.get("search"))
        if parent and not run.data.tags.get(CELL, "").endswith("/winner"):
            client.set_tag(run.info.run_id, "mlflow.parentRunId", parent)


def _pretrain_run(client: "MlflowClient", record: RunRecord) -> str | None:
    if record.phase != "evaluate":
        return None
    for run in _runs(client, "pretrain", record.study, cell=record.cell):
        if run.data.tags.get("model_digest") == record.tags.get("model_digest"):
            return str(run.info.run_id)
    return None


def _client(root: Path) -> "MlflowClient":
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    uri = tracking_uri(root)
    lock = root / ".ecgscale" / "tracking.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        client = MlflowClient(tracking_uri=uri)
        for phase in PHASES:
            if client.get_experiment_by_name(experiment_name(phase)) is None:
                client.create_experiment(
                    experiment_name(phase), _artifact_location(root, uri, phase)
                )
    return client


def _artifact_location(root: Path, uri: str, phase: Phase) -> str | None:
    """Return where artifacts go: into the project for a local store, else where the server says."""
    if uri.startswith(("http://", "https://", "databricks")):
        return None
    return (root.resolve() / "mlartifacts" / phase).as_uri()


def _analyze(root: Path) -> None:
    """Refresh SQLite's statistics: without them, sorting runs by a metric takes minutes."""
    uri = tracking_uri(root)
    if uri.startswith("sqlite:///"):
        with suppress(sqlite3.Error):
            connection = sqlite3.connect(uri.removeprefix("sqlite:///"))
            connection.execute("ANALYZE")
            connection.commit()
            connection.close()


@contextmanager
def _reachable(root: Path) -> Iterator[None]:
    """Turn trouble with the store into one sentence."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise BadInputError(f"the tracking store {tracking_uri(root)} failed: {first}") from error


def _create_run(client: "MlflowClient", phase: Phase, study: str, cell: str, start: int) -> str:
    tags = {
        STUDY: study,
        CELL: cell,
        PHASE: phase,
        "mlflow.source.name": " ".join(["python -m ecgscale", *sys.argv[1:2]]),
        "mlflow.source.type": "LOCAL",
    }
    run = client.create_run(
        _experiment_id(client, phase), start_time=start, tags=tags, run_name=cell
    )
    return str(run.info.run_id)


def _experiment_id(client: "MlflowClient", phase: Phase) -> str:
    experiment = client.get_experiment_by_name(experiment_name(phase))
    assert experiment is not None  # made by _client
    return str(experiment.experiment_id)


def _runs(
    client: "MlflowClient",
    phase: Phase,
    study: str | None = None,
    cell: str | None = None,
    status: str = "FINISHED",
) -> "list[Run]":
    experiment = _experiment_id(client, phase)
    conditions = [f"attributes.status = '{status}'"]
    if study is not None:
        conditions.append(f"tags.`{STUDY}` = '{study}'")
    if cell is not None:
        conditions.append(f"tags.`{CELL}` = '{cell}'")
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment], " and ".join(conditions), max_results=1000, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _tracked(client: "MlflowClient", run: "Run") -> TrackedRecord:
    path = Path(client.download_artifacts(run.info.run_id, RECORD_FILE))
    record = RunRecord.read(path)
    stored = run.data.metrics
    metrics = {name: stored.get(_metric_name(name), math.nan) for name in record.metrics}
    return TrackedRecord(
        run_id=run.info.run_id,
        cell=record.cell,
        tags=dict(run.data.tags),
        record=record.model_copy(update={"metrics": metrics}),
    )


def _last_steps(client: "MlflowClient", run: "Run") -> dict[str, int]:
    """Return the last step of every curve of a run."""
    return {
        name: max(point.step for point in client.get_metric_history(run.info.run_id, name))
        for name in run.data.metrics
    }


def _log(client: "MlflowClient", run_id: str, kind: str, items: list[Any]) -> None:
    """Log "params", "tags" or "metrics", in as many batches as MLflow's limits ask for."""
    size = BATCH_LIMIT if kind == "metrics" else PARAMS_PER_BATCH
    for start in range(0, len(items), size):
        part: dict[str, Any] = {kind: items[start : start + size]}
        client.log_batch(run_id, **part)


def _log_metrics(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    """Log final values; a metric that is also a curve gets its value at the curve's last step."""
    from mlflow.entities import Metric

    when = _milliseconds(record.ended)
    last = {name: points[-1][0] for name, points in record.curves.items() if points}
    metrics = [
        Metric(_metric_name(name), value, when, last.get(name, 0))
        for name, value in record.metrics.items()
    ]
    _log(client, run_id, "metrics", metrics)


def _metric_name(name: str) -> str:
    """Return a metric's name as MLflow accepts it: an endpoint's @ is refused."""
    return name.replace("@", ":")


def _log_inputs(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for item in record.inputs:
        place = json.dumps({"uri": item.source})
        dataset = Dataset(item.name, item.digest[:DIGEST_LIMIT], "local", place)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", item.context)]))
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _log_artifacts(client: "MlflowClient", run_id: str, record: RunRecord, root: Path) -> None:
    client.log_text(run_id, record.to_json(), RECORD_FILE)
    for name in record.artifacts:
        if (root / name).is_file():
            client.log_artifact(run_id, str(root / name), "encoder")


def _note(record: RunRecord, root: Path) -> dict[str, str]:
    """Return the model card as the run's description."""
    for name in record.artifacts:
        path = root / name
        if path.suffix == ".md" and path.is_file():
            return {"mlflow.note.content": path.read_text(encoding="utf-8")}
    return {}


def _commit(record: RunRecord) -> dict[str, str]:
    """Return the commit under the name that MLflow's own pages look for."""
    commit = record.tags.get("git_commit")
    return {"mlflow.source.git.commit": commit} if commit else {}


def _cut(value: Scalar) -> str:
    text = str(value)
    return text if len(text) <= PARAM_LIMIT else text[: PARAM_LIMIT - 1] + "…"


def _now_ms() -> int:
    return int(time.time() * 1000)


def _milliseconds(moment: str) -> int:
    parsed = datetime.fromisoformat(moment)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
