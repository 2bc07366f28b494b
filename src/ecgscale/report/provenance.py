"""Where the numbers of a report come from: commits, code and tracked runs."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ecgscale.report.words import count
from ecgscale.runs.address import is_server, redacted, tracking_uri
from ecgscale.runs.record import Phase, RunRecord

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord

log = logging.getLogger(__name__)

AWAY = (
    "The tracking store could not be used when this page was made: no run is linked. Every number "
    "is that of a record in results/."
)

_MOST_RUNS, _MOST_PROBLEMS = 20, 5
"""Of what the store says otherwise, as much as is shown."""
LOCAL = "http://127.0.0.1:5000"
"""Where ``python -m ecgscale ui`` shows a store that is no server."""

_TAGS = (
    *("git_commit", "git_dirty", "ecgscale_version", "python", "torch", "platform", "device"),
    "recipe_digest",
)


def with_runs(
    every: Mapping[Phase, Sequence[RunRecord]], records: Sequence[RunRecord], root: Path
) -> tuple[list["TrackedRecord"], list[str]]:
    """Return each record's run in the tracking store, and what the store says otherwise.

    The records are the truth and dependencies of the report. The store is a view of them, which
    people and programs can edit, and which may be away: then no run has an id.

    Parameters
    ----------
    every
        All of ``results/``, by phase; those that the store lacks are written to it.
    records
        Those that the report shows.

    Returns
    -------
    runs
        In the order of the records.
    sentences
        Each names run and key; they are also logged.
    """
    from ecgscale.runs import tracking
    from ecgscale.runs.store import StoreTroubleError

    try:
        runs = tracking.synced(every, records, root)
    except StoreTroubleError as error:
        log.warning("%s; the report is of the records in results/, without links to runs", error)
        return [tracking.TrackedRecord("", record.cell, {}, record) for record in records], [AWAY]
    differing = [run for run in runs if run.problems]
    sentences = [
        f"run {run.run_id} ({run.record.phase} of {run.cell}): {problem}; the record is used"
        for run in differing[:_MOST_RUNS]
        for problem in [*run.problems[:_MOST_PROBLEMS], *_rest(run.problems)]
    ]
    further = len(differing) - _MOST_RUNS
    if further > 0:
        sentences.append(
            f"{count(further, 'further run')} differ from their records, which are used: "
            "`python -m ecgscale doctor` names them all"
        )
    for sentence in sentences:
        log.warning("%s", sentence)
    return runs, sentences


def _rest(problems: Sequence[str]) -> list[str]:
    more = len(problems) - _MOST_PROBLEMS
    return [f"{count(more, 'further difference')}"] if more > 0 else []


def provenance(runs: Sequence["TrackedRecord"]) -> list[tuple[str, str]]:
    """Return name and value of what runs say of themselves; nothing is dated but by them."""
    records = [run.record for run in runs]
    found: list[tuple[str, str]] = []
    for key in _TAGS:
        values = sorted({record.tags[key] for record in records if key in record.tags})
        if values:
            found.append((key.replace("_", " "), ", ".join(values)))
    for axis in ("objective", "encoder"):
        used = {
            f"{record.axes[axis]} {record.tags[f'{axis}_digest'][:12]}"
            for record in records
            if f"{axis}_digest" in record.tags
        }
        if used:
            found.append((f"recipe and code of each {axis}", ", ".join(sorted(used))))
    if records:
        found.append(("first run started", min(record.started for record in records)))
        found.append(("last run ended", max(record.ended for record in records)))
    return found


def run_links(table: pd.DataFrame) -> list[dict[str, str]]:
    """Return the tracked runs of every cell of the flat table.

    Each has its ``cell``, ids (``pretrain``, ``evaluate``; "" where there is none), addresses
    (``pretrain_url``, ``evaluate_url``; "" where there is no run), and in ``address`` where the
    cell is shown: its evaluation, or its row on this page. Runs of a store in a file are shown by
    ``python -m ecgscale ui``, on this machine.
    """
    uri = tracking_uri(Path())
    server = redacted(uri).rstrip("/") if is_server(uri) else LOCAL
    base = f"{server}/#/experiments/0/runs/"
    links = []
    for row in table.drop_duplicates("cell").to_dict("records"):
        link = {"cell": str(row["cell"])}
        for phase in ("pretrain", "evaluate"):
            run = str(row[f"{phase}_run_id"] or "")
            link |= {phase: run, f"{phase}_url": base + run if run else ""}
        here = f"#run-{link['cell'].replace('/', '-')}"
        links.append({**link, "address": link["evaluate_url"] or here})
    return links
