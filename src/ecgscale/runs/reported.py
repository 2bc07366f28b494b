"""A report as a run of the tracking store: its page, its figures as images, its numbers."""

import hashlib
import logging
import time
from collections.abc import Mapping
from pathlib import Path

from ecgscale.runs import display, spool
from ecgscale.runs.address import redacted
from ecgscale.runs.store import (
    PROJECT,
    STUDY,
    SUPERSEDED,
    experiment_id,
    open_store,
    reachable,
    search,
)

log = logging.getLogger(__name__)

CONTENT = "ecgscale.report"
"""Tag of a report's run: digest of what the report says, its links to runs left out."""
_LINKED = ("index.html", "runs.csv")
"""Files that name runs, and so differ where their content does not."""


def show_report(
    study: str, answer: str, numbers: Mapping[str, float], folder: Path, root: Path
) -> None:
    """Show a report in the tracking store, unless it is there; the study's others are marked.

    The files are the report; a store that cannot be used is said and changes nothing.

    Parameters
    ----------
    answer
        What it says, in sentences: the run's description.
    numbers
        Metrics of the run, by name.
    folder
        Where it was written.
    root
        The project.
    """
    try:
        with reachable(root), spool.writing(root, spool.LAST_MINUTE):
            _show(study, answer, numbers, folder, root)
    except Exception as error:  # as everywhere: tracking never stops the work
        log.warning("the report is not shown in the tracking store: %s", redacted(str(error)))


def _show(study: str, answer: str, numbers: Mapping[str, float], folder: Path, root: Path) -> None:
    client = open_store(root)
    digest, project = _content(folder), spool.project_id(root)
    mine = [run for run in search(client, "report", study) if run.data.tags.get(PROJECT) == project]
    same = [run for run in mine if run.data.tags.get(CONTENT) == digest]
    for run in mine:
        if run not in same and SUPERSEDED not in run.data.tags:
            client.set_tag(run.info.run_id, SUPERSEDED, digest)
    for run in same:
        if SUPERSEDED in run.data.tags:  # a report that was made again, as of an older commit
            client.delete_tag(run.info.run_id, SUPERSEDED)
    if same:
        return
    tags = {
        **{STUDY: study, PROJECT: project, CONTENT: digest, display.NOTE: answer},
        **{"mlflow.source.name": "python -m ecgscale report", "mlflow.source.type": "LOCAL"},
    }
    run = client.create_run(
        experiment_id(client, "report"), int(time.time() * 1000), tags, run_name=f"report {study}"
    )
    for name, value in numbers.items():
        client.log_metric(run.info.run_id, name, value)
    client.log_artifacts(run.info.run_id, str(folder))
    client.set_terminated(run.info.run_id)


def _content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name not in _LINKED:
            digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:32]
