"""From run records to one flat table, and what is missing from the study's grid."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ecgscale.cells import study_cells
from ecgscale.config import Study
from ecgscale.errors import BadInputError
from ecgscale.results import RunRecord

if TYPE_CHECKING:
    from ecgscale.tracking import TrackedRecord

FloatArray = npt.NDArray[np.float64]

BASELINES: tuple[str, ...] = ("baseline/age-sex", "baseline/prevalence")
"""Cells that every study has, whatever its grid."""

COLUMNS: tuple[str, ...] = (
    "cell",
    "objective",
    "kind",
    "role",
    "control_of",
    "encoder",
    "regime",
    "size",
    "order",
    "seed",
    "patients",
    "records",
    "hours",
    "sources",
    "samples_seen",
    "epochs",
    "flops",
    "collapsed",
    "task",
    "macro_auroc",
    "low",
    "high",
    "macro_average_precision",
    "probe_loss",
    "labels_used",
    "labels_absent",
    "pretrain_run_id",
    "evaluate_run_id",
    "git_commit",
    "git_dirty",
)
"""Columns of the flat table, one row per (cell, task)."""

_AXES = ("objective", "kind", "role", "control_of", "encoder", "regime", "size", "order", "seed")
_SCALE = ("patients", "records", "hours", "sources", "samples_seen", "epochs", "flops")
_TASK_METRICS = {
    "macro_auroc": "macro_auroc",
    "low": "macro_auroc_low",
    "high": "macro_auroc_high",
    "macro_average_precision": "macro_average_precision",
    "probe_loss": "probe_loss",
    "labels_used": "labels_used",
    "labels_absent": "labels_absent",
}


@dataclass(frozen=True)
class Gap:
    """A cell of the grid that is not there, or not wholly."""

    cell: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """Everything that the statistics read.

    Attributes
    ----------
    table
        The flat table with `COLUMNS`, one row per (cell, task), sorted by cell in the order of the
        study's grid and by task in the study's order.
    replicates
        (cell, task) to the macro AUROC of each bootstrap resample of the test patients, shape
        (resample,), NaN where a resample has none. The b-th resample of a task holds the same
        patients in every cell.
    labels
        Task to its per-label rows ("name", "positives", "included", ...), as the first cell
        of the table that has the task recorded them.
    gaps
        Cells of the grid that are missing or incomplete, with the reason.
    outside
        Cells that were recorded but are no longer in the study's grid; they are left out.
    expected
        Number of cells that the study asks for, baselines included.
    """

    table: pd.DataFrame
    replicates: dict[tuple[str, str], FloatArray]
    labels: dict[str, list[dict[str, Any]]]
    gaps: tuple[Gap, ...]
    outside: tuple[str, ...]
    expected: int

    @property
    def complete(self) -> bool:
        """Whether every cell of the grid has every task."""
        return not self.gaps


def collect(
    study: Study, pretrain: Sequence["TrackedRecord"], evaluate: Sequence["TrackedRecord"]
) -> Collection:
    """Flatten the runs of a study and hold them against its grid.

    Parameters
    ----------
    study
        The study, which says which cells and tasks there should be.
    pretrain, evaluate
        The tracked runs of the two phases (`ecgscale.tracking.query`), in any order.

    Raises
    ------
    BadInputError
        If a cell has two runs of one phase, or a run lacks an axis of its cell.
    """
    scaled = {c.name for c in study_cells(study) if c.objective in study.grid.objectives}
    wanted = [*(cell.name for cell in study_cells(study)), *BASELINES]
    pretrained, evaluated = _by_cell(pretrain, "pretrain"), _by_cell(evaluate, "evaluate")
    rows: list[dict[str, Any]] = []
    replicates: dict[tuple[str, str], FloatArray] = {}
    labels: dict[str, list[dict[str, Any]]] = {}
    gaps: list[Gap] = []
    for cell in wanted:
        before, after = pretrained.get(cell), evaluated.get(cell)
        reason = _gap(study, before, after, needs_pretraining=cell in scaled)
        if reason:
            gaps.append(Gap(cell, reason))
        if after is None:
            continue
        details = after.record.details.get("tasks", {})
        for task in (name for name in study.evaluation.tasks if name in details):
            rows.append(_row(cell, task, before, after))
            replicates[cell, task] = _floats(details[task].get("replicates") or [])
            labels.setdefault(task, details[task].get("labels") or [])
    known = set(wanted)
    outside = sorted((pretrained.keys() | evaluated.keys()) - known)
    return Collection(
        table=pd.DataFrame(rows, columns=list(COLUMNS)),
        replicates=replicates,
        labels=labels,
        gaps=tuple(gaps),
        outside=tuple(outside),
        expected=len(wanted),
    )


def _by_cell(records: Iterable["TrackedRecord"], phase: str) -> dict[str, "TrackedRecord"]:
    found: dict[str, TrackedRecord] = {}
    for record in records:
        other = found.setdefault(record.cell, record)
        if other is not record:
            raise BadInputError(
                f"cell {record.cell} has two {phase} runs: {other.run_id} and {record.run_id}"
            )
    return found


def _gap(
    study: Study,
    pretrain: "TrackedRecord | None",
    evaluate: "TrackedRecord | None",
    needs_pretraining: bool,
) -> str:
    if pretrain is None and evaluate is None:
        return "not run"
    if evaluate is None:
        return "pretrained, not evaluated"
    if needs_pretraining and pretrain is None:
        return "evaluated, but its pretraining run is not recorded"
    metrics = evaluate.record.metrics
    absent = [
        task
        for task in study.evaluation.tasks
        if not math.isfinite(metrics.get(f"{task}.macro_auroc", math.nan))
    ]
    return f"no macro AUROC for {', '.join(absent)}" if absent else ""


def _row(
    cell: str, task: str, pretrain: "TrackedRecord | None", evaluate: "TrackedRecord"
) -> dict[str, Any]:
    record = evaluate.record
    if "role" not in record.axes:
        raise BadInputError(f"evaluate run {evaluate.run_id} of cell {cell} has no axis 'role'")
    before = pretrain.record if pretrain else None
    return {
        "cell": cell,
        **{axis: record.axes.get(axis) for axis in _AXES},
        **{name: _scale(name, before, record) for name in _SCALE},
        "collapsed": bool(before and before.metrics.get("collapsed", 0.0) == 1.0),
        "task": task,
        **{
            column: record.metrics.get(f"{task}.{metric}", math.nan)
            for column, metric in _TASK_METRICS.items()
        },
        "pretrain_run_id": pretrain.run_id if pretrain else None,
        "evaluate_run_id": evaluate.run_id,
        "git_commit": record.tags.get("git_commit"),
        "git_dirty": record.tags.get("git_dirty"),
    }


def _scale(name: str, pretrain: RunRecord | None, evaluate: RunRecord) -> float:
    values = [pretrain.metrics.get(name), pretrain.axes.get(name)] if pretrain else []
    for value in (*values, evaluate.axes.get(name)):
        if isinstance(value, (int, float)):
            return float(value)
    return math.nan


def _floats(values: Iterable[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
