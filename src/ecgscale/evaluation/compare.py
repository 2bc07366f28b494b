"""The difference between two evaluated cells, endpoint by endpoint, with a paired interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import CONFIDENCE, paired_interval
from ecgscale.runs.record import RunRecord

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Difference:
    """How two cells differ on one endpoint.

    Attributes
    ----------
    endpoint
        ``<task>`` or ``<task>@<protocol>``.
    metric
        ``macro_auroc`` (more is better) or ``mae`` (less is better).
    first, second
        The metric of each on all test examples.
    low, high
        Percentile interval of `difference`, NaN without resamples.
    resamples
        Resamples of the test patients that both share.
    """

    endpoint: str
    metric: str
    first: float
    second: float
    low: float
    high: float
    resamples: int

    @property
    def difference(self) -> float:
        """``first - second``."""
        return self.first - self.second


def compare(
    first: RunRecord, second: RunRecord, confidence: float = CONFIDENCE
) -> list[Difference]:
    """Compare two evaluated cells on every endpoint that both have.

    The b-th resample of a task holds the same patients in every cell, so replicates are subtracted
    resample by resample: what makes a test set easy or hard for both cancels. Of different numbers
    of resamples the shared first ones are used. The order is that of the endpoints of `first`.

    Raises
    ------
    BadInputError
        If a record is no evaluation, the cells share no endpoint, or an endpoint's test examples,
        labels or resamples are not the same in both.
    """
    ones, others = _endpoints(first), _endpoints(second)
    shared = [endpoint for endpoint in ones if endpoint in others]
    if not shared:
        raise BadInputError(f"{first.cell} and {second.cell} share no endpoint")
    differences = []
    for endpoint in shared:
        _check_pair(endpoint, first, second)
        metric = ones[endpoint]["metric"]
        # None stands for NaN in JSON.
        one, other = (
            np.array(details[endpoint]["replicates"], dtype=np.float64)
            for details in (ones, others)
        )
        resamples = min(len(one), len(other))
        ends = paired_interval(one[:resamples], other[:resamples], confidence)
        a, b = (record.metrics[f"{endpoint}.{metric}"] for record in (first, second))
        differences.append(Difference(endpoint, metric, a, b, *ends, resamples))
    return differences


def difference_table(
    first: RunRecord, second: RunRecord, differences: Sequence[Difference]
) -> "Table":
    """Lay out what `compare` returned for `rich.print`; an interval that excludes 0 has a *."""
    from rich.table import Table

    table = Table(title=f"first: {first.cell}\nsecond: {second.cell}", title_justify="left")
    table.add_column("endpoint")
    table.add_column("metric")
    for heading in ("first", "second", "first - second", "interval", "resamples"):
        table.add_column(heading, justify="right")
    for row in differences:
        clear = "*" if row.low > 0 or row.high < 0 else ""
        table.add_row(
            row.endpoint,
            row.metric,
            f"{row.first:.4g}",
            f"{row.second:.4g}",
            f"{row.difference:+.4f}{clear}",
            f"{row.low:+.4f} to {row.high:+.4f}",
            str(row.resamples),
        )
    return table


def _endpoints(record: RunRecord) -> dict[str, dict[str, Any]]:
    if record.phase != "evaluate":
        raise BadInputError(f"{record.cell} is a run of phase {record.phase}, not evaluate")
    endpoints: dict[str, dict[str, Any]] = record.details.get("tasks", {})
    for endpoint, details in endpoints.items():
        if not {"metric", "replicates"} <= details.keys():
            raise BadInputError(f"{record.cell} has no replicates of {endpoint}: evaluate it again")
    return endpoints


def _check_pair(endpoint: str, first: RunRecord, second: RunRecord) -> None:
    """Refuse endpoints whose replicates do not belong together."""
    task = endpoint.partition("@")[0]
    same = {
        "test examples": _digest(first, task) == _digest(second, task),
        "labels": _included(first, endpoint) == _included(second, endpoint),
        "resamples": first.params.get("bootstrap_seed") == second.params.get("bootstrap_seed"),
    }
    for what, agrees in same.items():
        if not agrees:
            raise BadInputError(
                f"{endpoint} cannot be compared: {first.cell} and {second.cell} "
                f"were evaluated on different {what}"
            )


def _digest(record: RunRecord, task: str) -> str:
    for source in record.inputs:
        if source.name == task and source.context == "test":
            return source.digest
    raise BadInputError(f"{record.cell} does not say on which examples of {task} it was evaluated")


def _included(record: RunRecord, endpoint: str) -> list[str]:
    """Return the labels of the macro mean; a regression has none."""
    rows = record.details["tasks"][endpoint].get("labels", [])
    return [row["name"] for row in rows if row["included"]]
