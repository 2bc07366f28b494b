"""Where the numbers of a report come from: commits, code and tracked runs."""

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from ecgscale.runs.record import RunRecord

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord

log = logging.getLogger(__name__)

_TAGS = (
    *("git_commit", "git_dirty", "ecgscale_version", "python", "torch", "platform", "device"),
    "recipe_digest",
)


def checked(run: "TrackedRecord", record: RunRecord) -> "TrackedRecord":
    """Return a tracked run with what its record says, and warn of what the store says otherwise.

    The record is the truth and a dependency of the report; the store is a view of it, which people
    and programs can edit.

    Parameters
    ----------
    run
        As the store answered (`ecgscale.runs.tracking.query`).
    record
        From ``results/``.
    """
    found = run.record
    wrong = [
        f"{name} is {stored:.6g}, its record says {value:.6g}"
        for name, value in record.metrics.items()
        if not _same(stored := found.metrics.get(name, math.nan), value)
    ]
    if _without_metrics(found).digest != _without_metrics(record).digest:
        wrong.append("the record kept in the store is not that in results/")
    for problem in wrong:
        log.warning("run %s of %s: %s; the record is used", run.run_id, record.cell, problem)
    return replace(run, record=record)


def _without_metrics(record: RunRecord) -> RunRecord:
    return record.model_copy(update={"metrics": {}})


def _same(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b))


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

    Each has its ``cell``, ids (``pretrain``, ``evaluate``; "" where there is none) and addresses
    (``pretrain_url``, ``evaluate_url``; "" where the store is not a web server).
    """
    server = os.environ.get("MLFLOW_TRACKING_URI", "").rstrip("/")
    base = f"{server}/#/experiments/0/runs/" if server.startswith("http") else ""
    links = []
    for row in table.drop_duplicates("cell").to_dict("records"):
        link = {"cell": str(row["cell"])}
        for phase in ("pretrain", "evaluate"):
            run = str(row[f"{phase}_run_id"] or "")
            link |= {phase: run, f"{phase}_url": base + run if base and run else ""}
        links.append(link)
    return links
