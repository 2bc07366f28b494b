"""Where the numbers of a report come from: commits, code and tracked runs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord

_TAGS = (
    *("git_commit", "git_dirty", "ecgscale_version", "python", "torch", "platform", "device"),
    "recipe_digest",
)


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
