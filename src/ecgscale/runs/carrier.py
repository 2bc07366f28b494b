"""Carries the spool to the store, whichever process does it."""

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ecgscale.runs import spool
from ecgscale.runs.address import redacted, trouble
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.runs.store import RECORD, find, first_line, open_store
from ecgscale.runs.view import (
    create_run,
    last_steps,
    log_params,
    log_points,
    log_tags,
    milliseconds,
    write_record,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient


log = logging.getLogger(__name__)

TOO_SLOW = 5.0
"""Seconds a run, on the average of those written, at which nobody waits for a server."""


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
            self._client = open_store(self._root)
        began = time.monotonic()
        for number, entry in enumerate(due):
            now = time.monotonic()
            is_slow = now - began > TOO_SLOW * number > 0
            if until is not None and (now > until or is_slow):
                return
            with spool.writing(self._root):  # for each anew: others may wait
                assert self._client is not None
                self._try_to_carry(self._client, entry)

    def carry_all(self, client: "MlflowClient", there: set[str]) -> bool:
        """Carry all that is not in the store yet; the caller holds it for writing.

        Returns whether there was anything.

        Parameters
        ----------
        there
            Digests of the records whose runs are known to be in the store.
        """
        due = False
        for entry in spool.entries(self._root):
            if entry.ended and entry.ended.get("record") in there:
                entry.remove()
            elif self._is_due(entry):
                due = True
                self._try_to_carry(client, entry)
        return due

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
            log.warning("%s is not carried now: %s", cell, redacted(first_line(error)))

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
            write_record(client, record, self._root, find(client, record.identity))
        else:  # repeated since, or removed
            run = find(client, opened.identity)
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
        run = find(client, opened.identity)
        if run is None:
            start = milliseconds(opened.started)
            return _Shown(create_run(client, opened.identity, start, self._root, opened.source), {})
        if RECORD in run.data.tags:
            return None
        run_id = run.info.run_id
        if run.info.status != "RUNNING" and entry.is_alive:
            client.update_run(run_id, status="RUNNING")
        said = [event["points"] for event in entry.events if "points" in event]
        return _Shown(run_id, last_steps(client, run, {name for points in said for name in points}))

    def _show(self, client: "MlflowClient", shown: _Shown, event: spool.Event) -> None:
        if "params" in event:
            log_params(client, shown.run_id, event["params"])
        elif "tags" in event:
            log_tags(client, shown.run_id, event["tags"])
        elif "points" in event:
            log_points(client, shown.run_id, event["points"], shown.last_step, event["at"])
