"""Runs of a study in MLflow: one while it is under way, and all of them against their records.

Every run of a study is one MLflow run, a view of its `RunRecord`. No run ever waits for the
tracking store: what it says lies in the spool (`ecgscale.runs.spool`) until a courier, the next
command or `sync` has carried it. What is carried twice is there once: a run is found again by its
attempt (`ecgscale.runs.record.RunIdentity`), and has what it has.
"""

import logging
import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ecgscale.errors import BadInputError
from ecgscale.runs import agreement, display, models, spool
from ecgscale.runs.address import is_server, redacted, tracking_uri
from ecgscale.runs.agreement import curve_problems
from ecgscale.runs.artifacts import RECORD_FILE, artifact_problems
from ecgscale.runs.carrier import TOO_SLOW, Carrier
from ecgscale.runs.record import Phase, Points, RunIdentity, RunRecord, Scalar, read_results
from ecgscale.runs.store import (
    CELL,
    PHASES,
    PROJECT,
    RECORD,
    STUDY,
    SUPERSEDED,
    Runs,
    StoreTroubleError,
    age,
    analyze,
    experiment_id,
    open_store,
    reachable,
    search,
)
from ecgscale.runs.view import (
    PRETRAIN_RUN,
    mend,
    own_tags,
    write_record,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


log = logging.getLogger(__name__)

LOOK = 5.0
"""Seconds after which a run under way sees again to it that there is a courier."""
PATIENCE = 10.0
"""Seconds that whoever is in a hurry waits for another process that writes to the store."""


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
    with reachable(root), spool.writing(root, PATIENCE if hurry else -1):
        records = {phase: read_results(results, phase) for phase in PHASES}
        return _sync(Runs(open_store(root)), records, root, hurry)


def synced(
    every: Mapping[Phase, Sequence[RunRecord]], records: Sequence[RunRecord], root: Path
) -> list[TrackedRecord]:
    """Do as `sync` in a hurry and `held`, and ask the store for all its runs once.

    Parameters
    ----------
    every
        All that is in ``results/``, by phase.
    records
        Those of them whose runs are wanted.

    Raises
    ------
    StoreTroubleError
        If the store cannot be used.
    """
    with reachable(root), spool.writing(root, PATIENCE):
        runs = Runs(open_store(root))
        _sync(runs, every, root, hurry=True)
        return _held(runs, records, root, thorough=False)


def _sync(
    runs: "Runs", records: Mapping[Phase, Sequence[RunRecord]], root: Path, hurry: bool
) -> SyncSummary:
    client = runs.client
    began = time.monotonic()
    created, present = [], []
    for phase in PHASES:
        found = runs.of(phase)
        for record in records[phase]:
            name = f"{phase}/{record.cell}"
            run = found.of(record)
            if run is not None and RECORD in run.data.tags:
                if mend(client, run, record, root):
                    runs.forget(phase)
                present.append(name)
                continue
            write_record(client, record, root, run)
            runs.forget(phase)
            created.append(name)
            took = time.monotonic() - began
            if hurry and is_server(tracking_uri(root)) and took > TOO_SLOW * len(created):
                raise StoreTroubleError(
                    f"the tracking store {redacted(tracking_uri(root))} is slow "
                    f"({took / len(created):.1f} seconds a run)"
                )
    if Carrier(root).carry_all(client, {r.digest for phase in PHASES for r in records[phase]}):
        for phase in PHASES:
            runs.forget(phase)
    for phase in PHASES:
        _mark_superseded(runs, phase, records[phase], root)
    _mend_links(runs, root)
    until = time.monotonic() + spool.LAST_MINUTE if hurry else None
    _register_encoders(runs, records["pretrain"], records["evaluate"], root, until)
    _nest_trials(runs, root)
    if created:
        analyze(root)
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
    with reachable(root):
        return _held(Runs(open_store(root)), records, root, thorough)


def _held(
    runs: "Runs", records: Sequence[RunRecord], root: Path, thorough: bool
) -> list[TrackedRecord]:
    answer = []
    for record in records:
        run = runs.of(record.phase).of(record)
        if run is None or RECORD not in run.data.tags:
            answer.append(TrackedRecord("", record.cell, {}, record))
            continue
        problems = agreement.disagreements(run, record, own_tags(record))
        problems += artifact_problems(runs.client, run, record, root, thorough)
        if thorough:
            problems += curve_problems(runs.client, run, record)
        tags = dict(run.data.tags)
        answer.append(TrackedRecord(run.info.run_id, record.cell, tags, record, tuple(problems)))
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
    with reachable(root):
        client = open_store(root)
        runs = [
            run
            for run in search(client, phase, study)
            if RECORD in run.data.tags and (records is None or run.data.tags[RECORD] in records)
        ]
        found = {run.data.tags[RECORD]: _tracked(client, run) for run in sorted(runs, key=age)}
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
    with reachable(root):
        client = open_store(root)
        runs = [run for phase in PHASES for run in search(client, phase, status=None)]
    # The oldest stands, as in `Found`.
    return {
        run.data.tags[RECORD]: run.info.run_id
        for run in sorted(runs, key=age, reverse=True)
        if RECORD in run.data.tags
    }


def nest_trials(root: Path) -> None:
    """Put the trials of every search under its winner's run, as MLflow nests runs."""
    try:
        with reachable(root), spool.writing(root, PATIENCE):
            client = open_store(root)
            Carrier(root).carry_all(client, set())
            _nest_trials(Runs(client), root)
    except Exception as error:  # as everywhere: tracking never stops the work
        log.warning("the trials are not nested under their winner: %s", redacted(str(error)))


def _mark_superseded(runs: Runs, phase: Phase, records: Sequence[RunRecord], root: Path) -> None:
    """Mark this project's finished runs that are not those of its records, and no others."""
    found, project = runs.of(phase), spool.project_id(root)
    current = {(record.study, record.cell): record for record in records}
    kept = {run.info.run_id for record in records if (run := found.of(record))}
    for run in found.runs:
        tags = run.data.tags
        record = current.get((tags.get(STUDY, ""), tags.get(CELL, "")))
        if run.info.run_id in kept:
            if SUPERSEDED in tags:
                runs.client.delete_tag(run.info.run_id, SUPERSEDED)
                del tags[SUPERSEDED]
        elif record and RECORD in tags and tags.get(PROJECT) == project:
            runs.tag(run, SUPERSEDED, record.digest)


def _mend_links(runs: Runs, root: Path) -> None:
    """Point this project's evaluations at the pretraining run of the same cell and weights."""

    def weights(run: "Run") -> tuple[str | None, ...]:
        return tuple(run.data.tags.get(tag) for tag in (STUDY, CELL, "model_digest"))

    project = spool.project_id(root)
    pretrained: dict[tuple[str | None, ...], list[str]] = defaultdict(list)
    trained = runs.of("pretrain").finished
    for run in sorted(trained, key=lambda run: SUPERSEDED in run.data.tags):
        pretrained[weights(run)].append(run.info.run_id)
    for run in runs.of("evaluate").finished:
        sources = pretrained.get(weights(run), [])
        is_linked = run.data.tags.get(PRETRAIN_RUN) in sources
        if sources and not is_linked and run.data.tags.get(PROJECT) == project:
            runs.tag(run, PRETRAIN_RUN, sources[0])


def _register_encoders(
    runs: Runs,
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
        for found in [runs.of(phase)]
    )
    client = runs.client
    experiment, project = experiment_id(client, "pretrain"), spool.project_id(root)
    models.carry(client, experiment, wrote, read, project, until)


def _nest_trials(every: Runs, root: Path) -> None:
    """Point this project's trials at the newest winner of the same search."""
    project = spool.project_id(root)
    # Those that failed too.
    runs = [run for run in every.of("tune").runs if run.data.tags.get(PROJECT) == project]
    winners = {
        run.data.tags.get("search"): run.info.run_id
        for run in sorted(runs, key=age)
        if run.data.tags.get(CELL, "").endswith("/winner")
    }
    for run in runs:
        parent = winners.get(run.data.tags.get("search"))
        is_trial = not run.data.tags.get(CELL, "").endswith("/winner")
        if parent and is_trial and run.data.tags.get("mlflow.parentRunId") != parent:
            every.tag(run, "mlflow.parentRunId", parent)


def _tracked(client: "MlflowClient", run: "Run") -> TrackedRecord:
    path = Path(client.download_artifacts(run.info.run_id, RECORD_FILE))
    record = RunRecord.read(path)
    stored = run.data.metrics
    metrics = {
        name: stored.get(shown, math.nan) for name, shown in display.metric_names(record).items()
    }
    return TrackedRecord(
        run_id=run.info.run_id,
        cell=record.cell,
        tags=dict(run.data.tags),
        record=record.model_copy(update={"metrics": metrics}),
    )
