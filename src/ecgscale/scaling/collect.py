"""From run records to one flat table, and what is missing from the study's grid."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgscale.errors import BadInputError
from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import metrics
from ecgscale.evaluation.settings import Protocol
from ecgscale.runs.record import RunRecord
from ecgscale.scaling.design import Design
from ecgscale.scaling.variance import FloatArray

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord


_AXES = (
    *("objective", "kind", "role", "control_of", "arm_of", "without"),
    *("encoder", "regime", "size", "order", "seed"),
)
_SCALE = (
    *("patients", "unknown_patients", "records", "hours", "sources"),
    *("samples_seen", "epochs", "flops", "parameters"),
)
_METRICS = (*metrics.names(), "labels_used", "labels_absent")
COLUMNS: tuple[str, ...] = (
    *("cell", *_AXES, *_SCALE, "pretrain_loss", "collapsed"),
    *("endpoint", "task", "task_kind", "readout", "fraction", "depth"),
    *("train_examples", "train_patients"),
    *("metric", "unit", "higher_is_better", "score", "low", "high", *_METRICS),
    *("pretrain_run_id", "evaluate_run_id", "git_commit", "git_dirty"),
)
"""Columns of the flat table, one row per (cell, endpoint)."""


@dataclass(frozen=True)
class Collection:
    """Everything that the statistics read.

    Attributes
    ----------
    table
        The flat table with `COLUMNS`, one row per (cell, endpoint), sorted by cell in the order of
        the study's grid and by endpoint in the study's order. ``score`` is the endpoint's main
        metric (``metric``, in ``unit``), ``low`` and ``high`` its interval; metrics that an
        endpoint does not have are NaN.
    replicates
        (cell, endpoint) to the score of each bootstrap resample of the test patients, shape
        (resample,), NaN where a resample has none. The b-th resample weights a patient the same way
        in every cell, under every protocol, and in every task that has the patient.
    labels
        Endpoint to its per-label rows ("name", "positives", "included", ...; none for a
        regression), as the first cell of the table that has the endpoint recorded them.
    gaps
        Cells of the grid that are not there, or not wholly, with what is missing.
    outside
        Cells that were recorded but are no longer in the study's grid; they are left out.
    expected
        Number of cells that the study asks for, baselines included.
    """

    table: pd.DataFrame
    replicates: dict[tuple[str, str], FloatArray]
    labels: dict[str, list[dict[str, Any]]]
    gaps: dict[str, str]
    outside: tuple[str, ...]
    expected: int

    @property
    def complete(self) -> bool:
        """Whether every cell of the grid has every endpoint."""
        return not self.gaps


def collect(
    design: Design, pretrain: Sequence["TrackedRecord"], evaluate: Sequence["TrackedRecord"]
) -> Collection:
    """Flatten the runs of a study and hold them against its grid.

    Parameters
    ----------
    design
        Says which cells and endpoints there should be. Of baselines, which have no encoder to read
        out, only the first protocol is asked.
    pretrain, evaluate
        The tracked runs of the two phases (`ecgscale.runs.tracking.query`), in any order.

    Raises
    ------
    BadInputError
        If a cell has two runs of one phase, or a run lacks an axis of its cell.
    """
    pretrained, evaluated = _by_cell(pretrain, "pretrain"), _by_cell(evaluate, "evaluate")
    more = sorted(name for name in evaluated.keys() - set(design.cells) if _is_baseline(name))
    wanted = [*design.cells, *more]
    rows: list[dict[str, Any]] = []
    replicates: dict[tuple[str, str], FloatArray] = {}
    labels: dict[str, list[dict[str, Any]]] = {}
    gaps: dict[str, str] = {}
    for cell in wanted:
        before, after = pretrained.get(cell), evaluated.get(cell)
        asked = design.tasks if _is_baseline(cell) else design.endpoints
        reason = _gap(asked, before, after, needs_pretraining=cell in design.pretrained)
        if reason:
            gaps[cell] = reason
        if after is None:
            continue
        for endpoint in design.endpoints:
            details = _details(endpoint, after.record)
            if details is None:
                continue
            rows.append(_row(cell, endpoint, details, before, after))
            replicates[cell, endpoint.name] = _floats(details.get("replicates") or [])
            labels.setdefault(endpoint.name, details.get("labels") or [])
    return Collection(
        table=pd.DataFrame(rows, columns=list(COLUMNS)),
        replicates=replicates,
        labels=labels,
        gaps=gaps,
        outside=tuple(sorted((pretrained.keys() | evaluated.keys()) - set(wanted))),
        expected=len(wanted),
    )


def _by_cell(records: Iterable["TrackedRecord"], phase: str) -> dict[str, "TrackedRecord"]:
    found: dict[str, TrackedRecord] = {}
    # Encoders that no cell has trained have no place on the study's axes.
    for record in (r for r in records if r.record.axes.get("role") != "external"):
        other = found.setdefault(record.cell, record)
        if other is not record:
            raise BadInputError(
                f"cell {record.cell} has two {phase} runs: {other.run_id} and {record.run_id}"
            )
    return found


def _is_baseline(cell: str) -> bool:
    return cell.startswith("baseline/")


def _details(endpoint: Endpoint, record: RunRecord) -> dict[str, Any] | None:
    """Return what a record says of an endpoint; None if nothing, or of another protocol.

    A record names the protocol of what it holds; one from before there were protocols holds the
    default one. A baseline, which reads no encoder, has none and stands under the first.
    """
    found: dict[str, Any] | None = record.details.get("tasks", {}).get(endpoint.name)
    if found is None or record.axes.get("role") == "baseline":
        return found
    protocol = found.get("protocol", {})
    recorded = {name: protocol.get(name, field.default) for name, field in _PROTOCOL.items()}
    return found if recorded == endpoint.protocol.model_dump() else None


_PROTOCOL = Protocol.model_fields


def _gap(
    asked: Sequence[Endpoint],
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
    record = evaluate.record
    absent = [
        endpoint
        for endpoint in asked
        if _details(endpoint, record) is None
        or not math.isfinite(_metric(endpoint, record, endpoint.metric.name))
    ]
    return "; ".join(
        f"no {metric.title} for "
        + ", ".join(endpoint.name for endpoint in absent if endpoint.metric == metric)
        for metric in dict.fromkeys(endpoint.metric for endpoint in absent)
    )


def _metric(endpoint: Endpoint, record: RunRecord, name: str) -> float:
    return record.metrics.get(f"{endpoint.name}.{name}", math.nan)


def _row(
    cell: str,
    endpoint: Endpoint,
    details: dict[str, Any],
    pretrain: "TrackedRecord | None",
    evaluate: "TrackedRecord",
) -> dict[str, Any]:
    record = evaluate.record
    if "role" not in record.axes:
        raise BadInputError(f"evaluate run {evaluate.run_id} of cell {cell} has no axis 'role'")
    before = pretrain.record if pretrain else None
    metric, protocol = endpoint.metric, details.get("protocol", {})
    return {
        "cell": cell,
        **{axis: record.axes.get(axis) for axis in _AXES},
        **{name: _scale(name, before, record) for name in _SCALE},
        "pretrain_loss": before.metrics.get("loss", math.nan) if before else math.nan,
        "collapsed": bool(before and before.metrics.get("collapsed", 0.0) == 1.0),
        "endpoint": endpoint.name,
        "task": endpoint.task,
        "task_kind": details.get("kind"),
        **_coordinates(endpoint, details, record),
        **{name: protocol.get(name, math.nan) for name in ("train_examples", "train_patients")},
        **{"metric": metric.name, "unit": metric.unit, "higher_is_better": metric.higher_is_better},
        "score": _metric(endpoint, record, metric.name),
        **{end: _metric(endpoint, record, f"{metric.name}_{end}") for end in ("low", "high")},
        **{name: _metric(endpoint, record, name) for name in _METRICS},
        "pretrain_run_id": pretrain.run_id if pretrain else None,
        "evaluate_run_id": evaluate.run_id,
        **{tag: record.tags.get(tag) for tag in ("git_commit", "git_dirty")},
    }


def _coordinates(endpoint: Endpoint, details: dict[str, Any], record: RunRecord) -> dict[str, Any]:
    """Return readout, fraction and depth; of a baseline the fraction of labels alone."""
    if record.axes.get("role") != "baseline":
        return endpoint.protocol.model_dump()
    fraction = details.get("protocol", {}).get("fraction", 1.0)
    return {"readout": None, "fraction": fraction, "depth": math.nan}


def _scale(name: str, pretrain: RunRecord | None, evaluate: RunRecord) -> float:
    values = [pretrain.metrics.get(name), pretrain.axes.get(name)] if pretrain else []
    for value in (*values, evaluate.axes.get(name)):
        if isinstance(value, (int, float)):
            return float(value)
    return math.nan


def _floats(values: Iterable[float | None]) -> FloatArray:
    return np.array([math.nan if value is None else value for value in values], dtype=np.float64)
