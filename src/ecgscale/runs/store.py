"""The tracking store: whether it is there, its experiments and pages, and its runs."""

import logging
import os
import sqlite3
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from ecgscale.errors import BadInputError
from ecgscale.files import is_full
from ecgscale.runs import display, moved
from ecgscale.runs.address import (
    driver_trouble,
    is_server,
    redacted,
    sqlite_file,
    store_trouble,
    tracking_uri,
    trouble,
)
from ecgscale.runs.display import Experiment
from ecgscale.runs.record import Phase, RunIdentity, RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


log = logging.getLogger(__name__)

STUDY, CELL, PHASE, RECORD = "ecgscale.study", "ecgscale.cell", "ecgscale.phase", "ecgscale.record"
WORK, ATTEMPT, PROJECT = "ecgscale.work", "ecgscale.attempt", "ecgscale.project"
SUPERSEDED = "ecgscale.superseded_by"
"""Tag of a finished run of this project that its cell's record is not of: digest of that record."""
PHASES: tuple[Phase, ...] = ("pretrain", "evaluate", "tune", "literature")
EXPERIMENTS: tuple[Experiment, ...] = (*PHASES, "report")


class StoreTroubleError(BadInputError):
    """The tracking store cannot be used now; nothing but the view of the work depends on it."""


def experiment_name(kind: Experiment) -> str:
    """Return the name of the experiment that holds the runs of a phase, or reports."""
    return f"ecgscale-{kind}"


def check_store(root: Path, whole: bool = False) -> None:
    """Reach the store; a local one that does not exist yet is made, with its experiments.

    Two processes that first touch an empty SQLite store break each other's migrations, so this is
    called once before anything writes in parallel (and a lock file makes a second process wait).
    An experiment that was deleted is restored.

    Parameters
    ----------
    whole
        Whether to read all of a SQLite file, and not its beginning alone, to see whether it is
        damaged.

    Raises
    ------
    StoreTroubleError
        If it cannot be reached, is held by another program or damaged.
    """
    with reachable(root):
        open_store(root)
        path = sqlite_file(tracking_uri(root))
        if whole and path is not None:
            with closing(sqlite3.connect(path)) as database:
                said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise sqlite3.DatabaseError(f"malformed: {said}")


def experiment_pages(root: Path) -> dict[Experiment, str]:
    """Return the page of MLflow's UI that lists the runs of each phase.

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    """
    with reachable(root):
        client = open_store(root)
        return {kind: f"#/experiments/{experiment_id(client, kind)}/runs" for kind in EXPERIMENTS}


def serve(root: Path, port: int) -> None:
    """Serve MLflow's pages for the store on the loopback address until interrupted."""
    check_store(root)
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        # Not on the command line, which everyone on the machine can read.
        "MLFLOW_BACKEND_STORE_URI": tracking_uri(root),
    }
    with suppress(KeyboardInterrupt):
        subprocess.run([*command, "--workers", "1"], env=environment, check=False)


class Runs:
    """All runs that the store holds, of whatever project; each phase is asked for once."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client
        self._found: dict[Phase, Found] = {}

    def of(self, phase: Phase) -> "Found":
        """Return the runs of a phase."""
        if phase not in self._found:
            self._found[phase] = Found(search(self.client, phase, status=None))
        return self._found[phase]

    def forget(self, phase: Phase) -> None:
        """Let a phase be asked for again, as something was written."""
        self._found.pop(phase, None)

    def tag(self, run: "Run", name: str, value: str) -> None:
        """Tag a run, in the store and here."""
        self.client.set_tag(run.info.run_id, name, value)
        run.data.tags[name] = value


class Found:
    """Runs of a phase by whose they are."""

    def __init__(self, runs: "Iterable[Run]") -> None:
        self.runs = sorted(runs, key=age)
        self._by_attempt: dict[str, list[Run]] = defaultdict(list)
        self._by_record: dict[str, list[Run]] = defaultdict(list)
        for run in self.runs:
            tags = run.data.tags
            if ATTEMPT in tags:
                self._by_attempt[tags[ATTEMPT]].append(run)
            if RECORD in tags:
                self._by_record[tags[RECORD]].append(run)

    @property
    def finished(self) -> "list[Run]":
        """Those that are finished, the oldest first."""
        return [run for run in self.runs if run.info.status == "FINISHED"]

    def of(self, record: RunRecord) -> "Run | None":
        """Return the run of a record: of its own attempt, else a finished one that says so.

        Of several, as two stores that were merged hold them, that which is whole and oldest.
        """
        own = self._by_attempt.get(record.identity.attempt, [])
        others = self._by_record.get(record.digest, [])
        for choice in (
            [run for run in own if run.data.tags.get(RECORD) == record.digest],
            [run for run in others if run.info.status == "FINISHED"],
            others,
            own,
        ):
            if choice:
                return choice[0]
        return None


def find(client: "MlflowClient", identity: RunIdentity) -> "Run | None":
    """Return the run of an attempt, if it has begun."""
    runs = search(client, identity.phase, status=None, attempt=identity.attempt)
    return min(runs, key=age) if runs else None


def age(run: "Run") -> tuple[int, str]:
    """Return what runs are sorted by: the oldest first."""
    return run.info.start_time, run.info.run_id


def open_store(root: Path) -> "MlflowClient":
    """Return a client of the store; an experiment that lacks is made, a deleted one restored."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("mlflow.store").setLevel(logging.WARNING)
    uri = tracking_uri(root)
    from mlflow import MlflowClient
    from mlflow.store.db import utils

    # That the database's server is there is known by now; MLflow would ask for two minutes.
    utils.MAX_RETRY_COUNT = 3
    lock = root / ".ecgscale" / "tracking.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if sqlite_file(uri) == root.resolve() / "mlflow.db":
            moved.follow(root, [experiment_name(kind) for kind in EXPERIMENTS])
        client = MlflowClient(tracking_uri=uri)
        for kind in EXPERIMENTS:
            experiment = client.get_experiment_by_name(experiment_name(kind))
            if experiment is None:
                client.create_experiment(experiment_name(kind), _artifact_location(root, uri, kind))
            elif experiment.lifecycle_stage != "active":
                client.restore_experiment(experiment.experiment_id)
                log.warning("experiment %s was deleted; it is restored", experiment.name)
            if experiment is None or display.NOTE not in experiment.tags:
                client.set_experiment_tag(
                    experiment_id(client, kind), display.NOTE, display.EXPERIMENTS[kind]
                )
    return client


def _artifact_location(root: Path, uri: str, kind: Experiment) -> str | None:
    """Return where artifacts go: into the project for a local store, else where the server says."""
    if is_server(uri) or uri.startswith("databricks"):
        return None
    return (root.resolve() / "mlartifacts" / kind).as_uri()


def analyze(root: Path) -> None:
    """Refresh SQLite's statistics: without them, sorting runs by a metric takes minutes."""
    path = sqlite_file(tracking_uri(root))
    if path is not None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE")
            connection.commit()


@contextmanager
def reachable(root: Path) -> Iterator[None]:
    """Turn trouble with the store into one sentence."""
    name = f"the tracking store {redacted(tracking_uri(root))}"
    said = trouble(root)
    if said:
        raise StoreTroubleError(f"{name} {said}")
    if find_spec("mlflow") is None:
        raise StoreTroubleError("MLflow is not installed")
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (MlflowException, SQLAlchemyError, sqlite3.Error) as error:
        raise StoreTroubleError(f"{name} {store_trouble(first_line(error))}") from error
    except ImportError as error:  # a database's driver
        raise StoreTroubleError(f"{name} cannot be used: {driver_trouble(error)}") from error
    except Timeout as error:
        told = "is being written to by another process of this project"
        raise StoreTroubleError(f"{name} {told}") from error
    except OSError as error:
        if is_full(error):
            raise
        raise StoreTroubleError(f"{name} {store_trouble(first_line(error))}") from error


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return (str(error) or type(error).__name__).splitlines()[0]


def experiment_id(client: "MlflowClient", kind: Experiment) -> str:
    """Return the id of an experiment, which is there once the store was opened."""
    experiment = client.get_experiment_by_name(experiment_name(kind))
    assert experiment is not None
    return str(experiment.experiment_id)


def search(
    client: "MlflowClient",
    kind: Experiment,
    study: str | None = None,
    cell: str | None = None,
    status: str | None = "FINISHED",
    attempt: str | None = None,
) -> "list[Run]":
    """Return the runs of an experiment that have all that is not None."""
    wanted = {STUDY: study, CELL: cell, ATTEMPT: attempt}
    conditions = [f"tags.`{tag}` = '{value}'" for tag, value in wanted.items() if value is not None]
    conditions += [f"attributes.status = '{status}'"] if status else []
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id(client, kind)],
            " and ".join(conditions),
            max_results=1000,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs
