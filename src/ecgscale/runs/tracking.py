"""MLflow, which nothing else of the project imports but `ecgscale.runs.models`, beside it.

Every run of a study is one MLflow run, a view of its `RunRecord`. No run ever waits for the
tracking store: what it says lies in the spool (`ecgscale.runs.spool`) until a courier, the next
command or `sync` has carried it. What is carried twice is there once: a run is found again by its
attempt (`ecgscale.runs.record.RunIdentity`), and has what it has.
"""

import hashlib
import json
import logging
import math
import os
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from filelock import FileLock, Timeout

from ecgscale.errors import BadInputError
from ecgscale.files import file_digest, is_full
from ecgscale.runs import agreement, models, spool
from ecgscale.runs.address import (
    driver_trouble,
    is_server,
    redacted,
    sqlite_file,
    store_trouble,
    tracking_uri,
    trouble,
)
from ecgscale.runs.lineage import state_files
from ecgscale.runs.record import Phase, RunIdentity, RunRecord, Scalar, read_results, result_path

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

Points = dict[str, list[tuple[int, float]]]

log = logging.getLogger(__name__)

STUDY, CELL, PHASE, RECORD = "ecgscale.study", "ecgscale.cell", "ecgscale.phase", "ecgscale.record"
WORK, ATTEMPT, PROJECT = "ecgscale.work", "ecgscale.attempt", "ecgscale.project"
SUPERSEDED = "ecgscale.superseded_by"
"""Tag of a finished run of this project that its cell's record is not of: digest of that record."""
PRETRAIN_RUN = "pretrain_run_id"
RECORD_FILE = "record.json"
ENCODER_FOLDER, FIGURE_FOLDER, STATE_FOLDER = "encoder", "figures", "state"
PHASES: tuple[Phase, ...] = ("pretrain", "evaluate", "tune", "literature")

BATCH_LIMIT, PARAMS_PER_BATCH = 1000, 100
"""What MLflow accepts in one call."""
LOOK = 5.0
"""Seconds after which a run under way sees again to it that there is a courier."""
TOO_SLOW = 5.0
"""Seconds a run, on the average of those written, at which nobody waits for a server."""
PATIENCE = 10.0
"""Seconds that whoever is in a hurry waits for another process that writes to the store."""


class StoreTroubleError(BadInputError):
    """The tracking store cannot be used now; nothing but the view of the work depends on it."""


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
    """"" for a run that the store lacks."""
    cell: str
    tags: dict[str, str]
    record: RunRecord
    """The run's record; from `query`, with the metrics that the store answered with."""
    problems: tuple[str, ...] = ()
    """What the store says otherwise than the record, each naming its key."""


def experiment_name(phase: Phase) -> str:
    """Return the experiment that holds the runs of a phase."""
    return f"ecgscale-{phase}"


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
    with _reachable(root):
        _client(root)
        path = sqlite_file(tracking_uri(root))
        if whole and path is not None:
            with closing(sqlite3.connect(path)) as database:
                said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
            if said != "ok":
                raise sqlite3.DatabaseError(f"malformed: {said}")


def experiment_pages(root: Path) -> dict[Phase, str]:
    """Return the page of MLflow's UI that lists the runs of each phase.

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    """
    with _reachable(root):
        client = _client(root)
        return {phase: f"#/experiments/{_experiment_id(client, phase)}/runs" for phase in PHASES}


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


class TrackedRun:
    """The run of a cell as it is shown while under way; use it in a ``with`` block.

    Nothing here waits for the store, or raises because of it.

    Parameters
    ----------
    identity
        Whose run it is: one that was killed and is continued stays the same.
    root
        The project.
    live_after
        Seconds after which the run is shown while it is under way; one that ends before is carried
        with the next ones.
    """

    def __init__(self, identity: RunIdentity, root: Path, live_after: float = 0.0) -> None:
        self._root = root
        self._live_from = time.time() + live_after
        self._looked = -math.inf
        self._finished = False
        self._spool = None
        if find_spec("mlflow") is None:
            log.info("MLflow is not installed; the record alone is kept")
        else:
            self._spool = spool.Spool(root, identity, self._live_from)
        self._call()

    def log_params(self, params: dict[str, Scalar]) -> None:
        """Show parameters."""
        self._write("params", params)

    def log_tags(self, tags: dict[str, str]) -> None:
        """Show tags."""
        self._write("tags", tags)

    def log_points(self, points: Points) -> None:
        """Append points of curves; those of steps that were shown before are left out."""
        self._write("points", points)

    def finish(self, record: RunRecord) -> None:
        """Leave the run to be brought to all that its record says, which is written."""
        self._finished = True
        if self._spool:
            self._spool.end(status="FINISHED", record=record.digest)
        self._call()

    def __enter__(self) -> "TrackedRun":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._finished:
            return
        if self._spool:
            is_failure = kind is not None and issubclass(kind, Exception)
            self._spool.end(status="FAILED" if is_failure else "KILLED")
        self._live_from = 0.0  # a run that fails is shown, however short it was
        self._looked = -math.inf
        self._call()

    def _write(self, kind: str, value: Any) -> None:
        if self._spool:
            self._spool.write(kind, value)
        self._call()

    def _call(self) -> None:
        """See to it that a courier is under way once there is something for it."""
        if self._spool and time.time() >= self._live_from:
            now = time.monotonic()
            if now - self._looked > LOOK:
                self._looked = now
                spool.start_courier(self._root)


@dataclass
class _Shown:
    """A run that is shown while under way, and how much of it is."""

    run_id: str
    last_step: dict[str, int]
    events: int = 0


class Carrier:
    """Carries the spool to the store: what runs under way say, and the records of finished ones."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._client: MlflowClient | None = None
        self._shown: dict[Path, _Shown] = {}
        self._read: dict[Path, spool.Entry] = {}

    def is_wanted(self) -> bool:
        """Return whether anything is to be carried now; costs no question to the store."""
        return any(self._is_due(entry) for entry in spool.entries(self._root, self._read))

    def carry(self, until: float | None = None) -> None:
        """Carry all that waits for the present store.

        Parameters
        ----------
        until
            Time (`time.monotonic`) after which no further run is begun with; then also a store that
            is slow (`TOO_SLOW`) is given up.

        Raises
        ------
        Exception
            Whatever the store does; what was not carried waits.
        """
        due = [entry for entry in spool.entries(self._root, self._read) if self._is_due(entry)]
        if due and self._client is None:
            self._client = _client(self._root)
        began = time.monotonic()
        for number, entry in enumerate(due):
            now = time.monotonic()
            is_slow = now - began > TOO_SLOW * number > 0
            if until is not None and (now > until or is_slow):
                return
            with spool.writing(self._root):  # for each anew: others may wait
                assert self._client is not None
                self._try_to_carry(self._client, entry)

    def carry_all(self, client: "MlflowClient", there: set[str]) -> None:
        """Carry all that is not in the store yet; the caller holds it for writing.

        Parameters
        ----------
        there
            Digests of the records whose runs are known to be in the store.
        """
        for entry in spool.entries(self._root):
            if entry.ended and entry.ended.get("record") in there:
                entry.remove()
            elif self._is_due(entry):
                self._try_to_carry(client, entry)

    def _is_due(self, entry: spool.Entry) -> bool:
        shown = self._shown.get(entry.path)
        if shown and entry.is_alive and not entry.ended:
            return shown.events < len(entry.events)
        return (
            not entry.is_alive or entry.ended is not None or time.time() >= entry.opened.live_from
        )

    def _try_to_carry(self, client: "MlflowClient", entry: spool.Entry) -> None:
        """Carry a run; one that the store refuses, while it answers, keeps no other back."""
        try:
            self._carry(client, entry)
        except Exception as error:
            if trouble(self._root):
                raise
            self._shown.pop(entry.path, None)
            cell = f"{entry.opened.phase} of {entry.opened.cell}"
            log.warning("%s is not carried now: %s", cell, redacted(_first_line(error)))

    def _carry(self, client: "MlflowClient", entry: spool.Entry) -> None:
        ended = entry.ended
        if ended and "record" in ended:
            self._carry_record(client, entry, ended["record"])
            return
        is_early = not entry.events or entry.events[-1]["at"] < entry.opened.live_from * 1000
        if not ended and not entry.is_alive and is_early:
            entry.remove()  # killed before it was to be shown, and so not begun there
            return
        shown = self._shown.get(entry.path) or self._begin(client, entry)
        if shown is None:
            if not entry.is_alive:
                self._done(entry)
            return
        self._shown[entry.path] = shown
        for event in entry.events[shown.events :]:
            self._show(client, shown, event)
            shown.events += 1
        if ended or not entry.is_alive:
            status = ended["status"] if ended else "KILLED"
            client.set_terminated(shown.run_id, status, entry.events[-1]["at"])
            self._done(entry)

    def _carry_record(self, client: "MlflowClient", entry: spool.Entry, digest: str) -> None:
        opened = entry.opened
        path = result_path(self._root / "results", opened.phase, opened.cell)
        record = RunRecord.read(path) if path.is_file() else None
        if record and record.digest == digest:
            _write_record(client, record, self._root, _find(client, record.identity))
        else:  # repeated since, or removed
            run = _find(client, opened.identity)
            if run and RECORD not in run.data.tags:
                client.set_terminated(run.info.run_id, "KILLED")
        self._done(entry)

    def _done(self, entry: spool.Entry) -> None:
        self._shown.pop(entry.path, None)
        self._read.pop(entry.path, None)
        entry.remove()

    def _begin(self, client: "MlflowClient", entry: spool.Entry) -> _Shown | None:
        """Return the run of an entry, begun or found; None if it is finished already."""
        opened = entry.opened
        run = _find(client, opened.identity)
        if run is None:
            start = _milliseconds(opened.started)
            return _Shown(
                _create_run(client, opened.identity, start, self._root, opened.source), {}
            )
        if RECORD in run.data.tags:
            return None
        run_id = run.info.run_id
        if run.info.status != "RUNNING" and entry.is_alive:
            client.update_run(run_id, status="RUNNING")
        said = [event["points"] for event in entry.events if "points" in event]
        return _Shown(
            run_id, _last_steps(client, run, {name for points in said for name in points})
        )

    def _show(self, client: "MlflowClient", shown: _Shown, event: spool.Event) -> None:
        if "params" in event:
            _log_params(client, shown.run_id, event["params"])
        elif "tags" in event:
            _log_tags(client, shown.run_id, event["tags"])
        elif "points" in event:
            _log_points(client, shown.run_id, event["points"], shown.last_step, event["at"])


def sync(results: Path, root: Path, hurry: bool = False) -> SyncSummary:
    """Write every run that the store lacks from its JSON record, and mend what was lost of others.

    Runs of this project that were repeated since are marked (`SUPERSEDED`). Nothing is written into
    a run of another project, or of another attempt.

    Parameters
    ----------
    hurry
        Whether to give up on a store that is slow (`TOO_SLOW`).

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    BadInputError
        If a record is malformed.
    """
    with _reachable(root), spool.writing(root, PATIENCE if hurry else -1):
        records = {phase: read_results(results, phase) for phase in PHASES}
        client = _client(root)
        began = time.monotonic()
        created, present = [], []
        for phase in PHASES:
            found = Found(client, phase)
            for record in records[phase]:
                name = f"{phase}/{record.cell}"
                run = found.of(record)
                if run is not None and RECORD in run.data.tags:
                    _mend(client, run, record, root)
                    present.append(name)
                    continue
                _write_record(client, record, root, run)
                created.append(name)
                took = time.monotonic() - began
                if hurry and is_server(tracking_uri(root)) and took > TOO_SLOW * len(created):
                    raise StoreTroubleError(
                        f"the tracking store {redacted(tracking_uri(root))} is slow "
                        f"({took / len(created):.1f} seconds a run)"
                    )
        Carrier(root).carry_all(client, {r.digest for phase in PHASES for r in records[phase]})
        for phase in PHASES:
            _mark_superseded(client, phase, records[phase], root)
        _mend_links(client, root)
        until = time.monotonic() + spool.LAST_MINUTE if hurry else None
        _register_encoders(client, records["pretrain"], records["evaluate"], root, until)
        _nest_trials(client, root)
        _analyze(root)
    return SyncSummary(created, present)


def held(records: Sequence[RunRecord], root: Path, thorough: bool = False) -> list[TrackedRecord]:
    """Return the run of each record, with what the store says otherwise.

    Parameters
    ----------
    records
        Of any phases and studies.
    thorough
        Whether to compare every point of every curve and the content of every artifact too, which
        takes a question for each. The record that each run keeps is always compared.

    Returns
    -------
    list of TrackedRecord
        In the order of the records, each with the record that was given; of one that the store
        lacks the run's id is "".

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    """
    with _reachable(root):
        client = _client(root)
        found = {phase: Found(client, phase) for phase in {record.phase for record in records}}
        answer = []
        for record in records:
            run = found[record.phase].of(record)
            if run is None or RECORD not in run.data.tags:
                answer.append(TrackedRecord("", record.cell, {}, record))
                continue
            problems = agreement.disagreements(run, record, _own_tags(record))
            problems += _artifact_problems(client, run, record, root, thorough)
            if thorough:
                problems += _curve_problems(client, run, record)
            answer.append(
                TrackedRecord(
                    run.info.run_id, record.cell, dict(run.data.tags), record, tuple(problems)
                )
            )
    return answer


def query(
    study: str, phase: Phase, root: Path, records: set[str] | None = None
) -> list[TrackedRecord]:
    """Return the finished runs of a study as the store has them, sorted by cell.

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
        found = {run.data.tags[RECORD]: _tracked(client, run) for run in sorted(runs, key=_age)}
    missing = (records or set()) - set(found)
    if missing:
        raise BadInputError(
            f"the tracking store lacks {len(missing)} {phase} runs of study {study}: "
            "run `python -m ecgscale sync` first"
        )
    return sorted(found.values(), key=lambda tracked: tracked.cell)


def run_ids(root: Path) -> dict[str, str]:
    """Return the id of the run of every finished record that the store holds, by its digest.

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    """
    with _reachable(root):
        client = _client(root)
        runs = [run for phase in PHASES for run in _runs(client, phase, status=None)]
    # The oldest stands, as in `Found`.
    return {
        run.data.tags[RECORD]: run.info.run_id
        for run in sorted(runs, key=_age, reverse=True)
        if RECORD in run.data.tags
    }


def nest_trials(root: Path) -> None:
    """Put the trials of every search under its winner's run, as MLflow nests runs."""
    try:
        with _reachable(root), spool.writing(root, PATIENCE):
            client = _client(root)
            Carrier(root).carry_all(client, set())
            _nest_trials(client, root)
    except Exception as error:  # as everywhere: tracking never stops the work
        log.warning("the trials are not nested under their winner: %s", redacted(str(error)))


class Found:
    """All runs of a phase that the store holds, of whatever project, by whose they are."""

    def __init__(self, client: "MlflowClient", phase: Phase) -> None:
        self._by_attempt: dict[str, list[Run]] = defaultdict(list)
        self._by_record: dict[str, list[Run]] = defaultdict(list)
        for run in sorted(_runs(client, phase, status=None), key=_age):
            tags = run.data.tags
            if ATTEMPT in tags:
                self._by_attempt[tags[ATTEMPT]].append(run)
            if RECORD in tags:
                self._by_record[tags[RECORD]].append(run)

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


def _write_record(client: "MlflowClient", record: RunRecord, root: Path, run: "Run | None") -> None:
    """Write a whole run from its record, into `run`, that of its own attempt, if it has begun."""
    if run is None:
        start = _milliseconds(record.started)
        encoder = record.params.get("directory", "")
        said = f"python -m ecgscale evaluate --encoder {encoder}"
        run_id = _create_run(client, record.identity, start, root, said)
        last_step: dict[str, int] = {}
    elif run.data.tags.get(RECORD) == record.digest and run.info.status == "FINISHED":
        return
    else:
        run_id, last_step = run.info.run_id, _last_steps(client, run, set(record.curves))
    _log_params(client, run_id, agreement.params_of(record))
    _log_points(client, run_id, record.curves, last_step, _milliseconds(record.ended))
    _log_metrics(client, run_id, record)
    _log_inputs(client, run_id, record)
    _log_artifacts(client, run_id, record, root)
    link = _pretrain_run(client, record)
    tags = {**record.tags, **_commit(record), **_note(record, root), RECORD: record.digest}
    _log_tags(client, run_id, {**tags, PRETRAIN_RUN: link} if link else tags)
    if models.is_encoder(record):
        logged = models.LoggedModels(client, _experiment_id(client, "pretrain"), record.digest)
        model = logged.of(record, run_id, spool.project_id(root))
        models.link(client, model.model_id, run_id, None)
    client.set_terminated(run_id, "FINISHED", _milliseconds(record.ended))


def _mend(client: "MlflowClient", run: "Run", record: RunRecord, root: Path) -> None:
    """Bring back what a finished run has lost: its status, its artifacts."""
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED", _milliseconds(record.ended))
    folder = _local_artifacts(run)
    # Where a store's artifacts lie in a folder, it is seen at once that they are gone. A whole
    # project that is gone is not made again for them.
    is_lost = folder is not None and not (folder / RECORD_FILE).is_file()
    if folder and is_lost and len(folder.parents) > 3 and folder.parents[3].is_dir():
        _log_artifacts(client, run.info.run_id, record, root)


def _local_artifacts(run: "Run") -> Path | None:
    uri = run.info.artifact_uri or ""
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def _find(client: "MlflowClient", identity: RunIdentity) -> "Run | None":
    """Return the run of an attempt, if it has begun."""
    runs = _runs(client, identity.phase, status=None, attempt=identity.attempt)
    return min(runs, key=_age) if runs else None


def _age(run: "Run") -> tuple[int, str]:
    return run.info.start_time, run.info.run_id


def _own_tags(record: RunRecord) -> dict[str, str]:
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


def _mark_superseded(
    client: "MlflowClient", phase: Phase, records: Sequence[RunRecord], root: Path
) -> None:
    """Mark this project's finished runs that are not those of its records, and no others."""
    found, project = Found(client, phase), spool.project_id(root)
    current = {(record.study, record.cell): record for record in records}
    kept = {run.info.run_id for record in records if (run := found.of(record))}
    for run in _runs(client, phase, status=None):
        tags = run.data.tags
        record = current.get((tags.get(STUDY, ""), tags.get(CELL, "")))
        if run.info.run_id in kept:
            if SUPERSEDED in tags:
                client.delete_tag(run.info.run_id, SUPERSEDED)
        elif record and RECORD in tags and tags.get(PROJECT) == project:
            client.set_tag(run.info.run_id, SUPERSEDED, record.digest)


def _mend_links(client: "MlflowClient", root: Path) -> None:
    """Point this project's evaluations at the pretraining run of the same cell and weights."""

    def weights(run: "Run") -> tuple[str | None, ...]:
        return tuple(run.data.tags.get(tag) for tag in (STUDY, CELL, "model_digest"))

    project = spool.project_id(root)
    pretrained: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    for run in sorted(_runs(client, "pretrain"), key=lambda run: SUPERSEDED in run.data.tags):
        pretrained[weights(run)].append(run.info.run_id)
    for run in _runs(client, "evaluate"):
        sources = pretrained.get(weights(run), [])
        is_linked = run.data.tags.get(PRETRAIN_RUN) in sources
        if sources and not is_linked and run.data.tags.get(PROJECT) == project:
            client.set_tag(run.info.run_id, PRETRAIN_RUN, sources[0])


def _register_encoders(
    client: "MlflowClient",
    pretrained: Sequence[RunRecord],
    evaluated: Sequence[RunRecord],
    root: Path,
    until: float | None,
) -> None:
    """Log and register the encoders of all records, and link them with their runs."""
    of_phase: tuple[tuple[Phase, Sequence[RunRecord]], ...] = (
        ("pretrain", [record for record in pretrained if models.is_encoder(record)]),
        ("evaluate", evaluated),
    )
    wrote, read = (
        [(record, found.of(record)) for record in records]
        for phase, records in of_phase
        for found in [Found(client, phase)]
    )
    experiment, project = _experiment_id(client, "pretrain"), spool.project_id(root)
    models.carry(client, experiment, wrote, read, project, until)


def _nest_trials(client: "MlflowClient", root: Path) -> None:
    """Point this project's trials at the newest winner of the same search."""
    project = spool.project_id(root)
    every = _runs(client, "tune", status=None)  # those that failed too
    runs = [run for run in every if run.data.tags.get(PROJECT) == project]
    winners = {
        run.data.tags.get("search"): run.info.run_id
        for run in sorted(runs, key=_age)
        if run.data.tags.get(CELL, "").endswith("/winner")
    }
    for run in runs:
        parent = winners.get(run.data.tags.get("search"))
        is_trial = not run.data.tags.get(CELL, "").endswith("/winner")
        if parent and is_trial and run.data.tags.get("mlflow.parentRunId") != parent:
            client.set_tag(run.info.run_id, "mlflow.parentRunId", parent)


def _pretrain_run(client: "MlflowClient", record: RunRecord) -> str | None:
    if record.phase != "evaluate":
        return None
    for run in _runs(client, "pretrain", record.study, cell=record.cell):
        if run.data.tags.get("model_digest") == record.tags.get("model_digest"):
            return str(run.info.run_id)
    return None


def _source(phase: Phase, cell: str) -> str:
    """Return the command that does the work of a cell, whichever process does it or shows it."""
    if phase == "literature":
        return "python -m ecgscale literature"
    if cell.startswith("baseline/"):
        return f"python -m ecgscale {cell.replace('/', ' ')}"
    return f"python -m ecgscale {phase} {cell.rpartition('/')[0] if phase == 'tune' else cell}"


def _client(root: Path) -> "MlflowClient":
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
            _follow_project(root)
        client = MlflowClient(tracking_uri=uri)
        for phase in PHASES:
            experiment = client.get_experiment_by_name(experiment_name(phase))
            if experiment is None:
                client.create_experiment(
                    experiment_name(phase), _artifact_location(root, uri, phase)
                )
            elif experiment.lifecycle_stage != "active":
                client.restore_experiment(experiment.experiment_id)
                log.warning("experiment %s was deleted; it is restored", experiment.name)
    return client


_PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Tables and columns of MLflow that hold absolute places of artifacts."""


def _follow_project(root: Path) -> None:
    """Let the project's own store name the folder that the project is in, moved or copied.

    MLflow keeps absolute places alone, so that a copy would read, and write, the old folder's.
    """
    path = root.resolve() / "mlflow.db"
    if not path.is_file() or not path.stat().st_size:
        return
    now = root.resolve().as_uri() + "/"
    with closing(sqlite3.connect(path, timeout=5)) as database:
        tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
        if "experiments" not in tables:
            return
        ours = (experiment_name(phase) for phase in PHASES)
        before = {
            row[0].removesuffix("mlartifacts/" + name.removeprefix("ecgscale-"))
            for name in ours
            for row in database.execute(
                "SELECT artifact_location FROM experiments WHERE name = ?", (name,)
            )
        } - {now}
        for place in sorted(before):
            for table, column in _PLACES:
                if table in tables:
                    database.execute(
                        f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                        f"WHERE substr({column}, 1, ?) = ?",
                        (now, len(place) + 1, len(place), place),
                    )
        database.commit()


def _artifact_location(root: Path, uri: str, phase: Phase) -> str | None:
    """Return where artifacts go: into the project for a local store, else where the server says."""
    if is_server(uri) or uri.startswith("databricks"):
        return None
    return (root.resolve() / "mlartifacts" / phase).as_uri()


def _analyze(root: Path) -> None:
    """Refresh SQLite's statistics: without them, sorting runs by a metric takes minutes."""
    path = sqlite_file(tracking_uri(root))
    if path is not None:
        with suppress(sqlite3.Error), closing(sqlite3.connect(path)) as connection:
            connection.execute("ANALYZE")
            connection.commit()


@contextmanager
def _reachable(root: Path) -> Iterator[None]:
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
        raise StoreTroubleError(f"{name} {store_trouble(_first_line(error))}") from error
    except ImportError as error:  # a database's driver
        raise StoreTroubleError(f"{name} cannot be used: {driver_trouble(error)}") from error
    except Timeout as error:
        told = "is being written to by another process of this project"
        raise StoreTroubleError(f"{name} {told}") from error
    except OSError as error:
        if is_full(error):
            raise
        raise StoreTroubleError(f"{name} {store_trouble(_first_line(error))}") from error


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _create_run(
    client: "MlflowClient", identity: RunIdentity, start: int, root: Path, said: str
) -> str:
    """Begin a run; `said` is the command of one that is no cell of a study."""
    is_external = identity.cell.startswith("external/")
    tags = {
        **_identity_tags(identity),
        PROJECT: spool.project_id(root),
        "mlflow.source.name": said if is_external else _source(identity.phase, identity.cell),
        "mlflow.source.type": "LOCAL",
    }
    run = client.create_run(
        _experiment_id(client, identity.phase), start, tags=tags, run_name=identity.cell
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
    status: str | None = "FINISHED",
    attempt: str | None = None,
) -> "list[Run]":
    wanted = {STUDY: study, CELL: cell, ATTEMPT: attempt}
    conditions = [f"tags.`{tag}` = '{value}'" for tag, value in wanted.items() if value is not None]
    conditions += [f"attributes.status = '{status}'"] if status else []
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [_experiment_id(client, phase)],
            " and ".join(conditions),
            max_results=1000,
            page_token=token,
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _tracked(client: "MlflowClient", run: "Run") -> TrackedRecord:
    path = Path(client.download_artifacts(run.info.run_id, RECORD_FILE))
    record = RunRecord.read(path)
    stored = run.data.metrics
    metrics = {name: stored.get(agreement.metric_name(name), math.nan) for name in record.metrics}
    return TrackedRecord(
        run_id=run.info.run_id,
        cell=record.cell,
        tags=dict(run.data.tags),
        record=record.model_copy(update={"metrics": metrics}),
    )


def _last_steps(client: "MlflowClient", run: "Run", names: Iterable[str]) -> dict[str, int]:
    """Return the last step that a run has of each of some curves."""
    return {
        name: max(point.step for point in client.get_metric_history(run.info.run_id, name))
        for name in names
        if name in run.data.metrics
    }


def _log_params(client: "MlflowClient", run_id: str, params: dict[str, Scalar]) -> None:
    """Log parameters that the run does not have yet (MLflow's are immutable)."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    texts = {key: agreement.param_text(value) for key, value in params.items() if key not in known}
    _log(client, run_id, "params", [Param(key, text) for key, text in texts.items()])


def _log_tags(client: "MlflowClient", run_id: str, tags: dict[str, str]) -> None:
    from mlflow.entities import RunTag

    _log(
        client,
        run_id,
        "tags",
        [RunTag(key, agreement.tag_text(text)) for key, text in tags.items()],
    )


def _log_points(
    client: "MlflowClient", run_id: str, points: Points, last_step: dict[str, int], when: int
) -> None:
    """Append points after those that the run has; `last_step` is brought up to date."""
    from mlflow.entities import Metric

    metrics = [
        Metric(name, math.nan if value is None else value, when, step)
        for name, curve in points.items()
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


def _log_metrics(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    """Log final values; that of a curve goes to the curve's last step, unless it is there."""
    from mlflow.entities import Metric

    when = _milliseconds(record.ended)
    last = {name: points[-1] for name, points in record.curves.items() if points}
    metrics = [
        Metric(agreement.metric_name(name), value, when, last.get(name, (0, 0.0))[0])
        for name, value in record.metrics.items()
        if name not in last or not agreement.same_number(last[name][1], value)
    ]
    _log(client, run_id, "metrics", metrics)


def _log_inputs(client: "MlflowClient", run_id: str, record: RunRecord) -> None:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    for item in record.inputs:
        place = json.dumps({"uri": item.source})
        dataset = Dataset(item.name, item.digest[: agreement.DIGEST_LIMIT], "local", place)
        inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", item.context)]))
    if inputs:
        client.log_inputs(run_id, datasets=inputs)


def _log_artifacts(client: "MlflowClient", run_id: str, record: RunRecord, root: Path) -> None:
    client.log_text(run_id, record.to_json(), RECORD_FILE)
    for place, path in _artifacts(record, root).items():
        client.log_artifact(run_id, str(path), place.rpartition("/")[0])


def _artifacts(record: RunRecord, root: Path) -> dict[str, Path]:
    """Return the files of a run beside its record, by their places among its artifacts."""
    states = set(state_files(record.tags).values())
    return {
        _artifact_place(root / name, name in states): root / name
        for name in record.artifacts
        if (root / name).is_file()
    }


def _artifact_place(path: Path, is_state: bool) -> str:
    """Return where a file lies among a run's artifacts; a picture is shown there by MLflow."""
    is_figure = path.suffix in (".png", ".svg")
    folder = STATE_FOLDER if is_state else FIGURE_FOLDER if is_figure else ENCODER_FOLDER
    return f"{folder}/{path.name}"


def _artifact_problems(
    client: "MlflowClient", run: "Run", record: RunRecord, root: Path, thorough: bool
) -> list[str]:
    """Return which artifacts are missing or not what they were, each a clause.

    Parameters
    ----------
    thorough
        Whether to compare more than the sizes of files beside the record.
    """
    found = []
    with _artifact(client, run, RECORD_FILE) as path:
        if path is None:
            found.append(f"artifact {RECORD_FILE} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest()[:32] != record.digest:
            found.append(f"artifact {RECORD_FILE} is not the record in results/")
    for place, source in _artifacts(record, root).items():
        size = _artifact_size(client, run, place)
        is_same = size == source.stat().st_size
        if is_same and thorough:
            with _artifact(client, run, place) as path:
                is_same = path is not None and file_digest(path) == file_digest(source)
        if size is None:
            found.append(f"artifact {place} is missing")
        elif not is_same:
            found.append(f"artifact {place} is not {source.relative_to(root)}")
    return found


@contextmanager
def _artifact(client: "MlflowClient", run: "Run", place: str) -> Iterator[Path | None]:
    """Give an artifact as a file, where it lies if it lies in a folder; None if it is missing."""
    from mlflow.exceptions import MlflowException

    folder = _local_artifacts(run)
    if folder is not None:
        yield folder / place if (folder / place).is_file() else None
        return
    with TemporaryDirectory() as aside:
        try:
            path = Path(client.download_artifacts(run.info.run_id, place, aside))
        except MlflowException:
            path = None
        yield path


def _artifact_size(client: "MlflowClient", run: "Run", place: str) -> int | None:
    folder = _local_artifacts(run)
    if folder is not None:
        return (folder / place).stat().st_size if (folder / place).is_file() else None
    listed = client.list_artifacts(run.info.run_id, place.rpartition("/")[0])
    return next((item.file_size for item in listed if item.path == place), None)


def _curve_problems(client: "MlflowClient", run: "Run", record: RunRecord) -> list[str]:
    """Return where curves differ from the record's, each a clause."""
    found = []
    for name, points in record.curves.items():
        final = record.metrics.get(name, points[-1][1] if points else math.nan)
        if points and not agreement.same_number(points[-1][1], final):
            points = [*points, (points[-1][0], final)]
        history = client.get_metric_history(run.info.run_id, name)
        # As text, NaN is NaN.
        stored = Counter((point.step, repr(point.value)) for point in history)
        expected = Counter((step, repr(float(value))) for step, value in points)
        if stored != expected:
            step, value = min((stored - expected) or (expected - stored))
            what = "has a point that its record lacks" if stored - expected else "lacks a point"
            found.append(f"curve {name} {what}: {value} at step {step}")
    return found


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


def _milliseconds(moment: str) -> int:
    parsed = datetime.fromisoformat(moment)
    return int((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)
