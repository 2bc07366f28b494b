"""The difference between two evaluated cells, endpoint by endpoint, over their replicates."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgscale.errors import BadInputError
from ecgscale.evaluation.bootstrap import CONFIDENCE, paired_interval
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.scaling.variance import contrast_estimate, regular

if TYPE_CHECKING:
    from rich.table import Table

Pair = tuple[RunRecord, RunRecord]
Pairs = dict[tuple[int, int], Pair]


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
        The metric of each on all test examples, the mean over `pairs`.
    low, high
        Interval of `difference`, NaN without resamples.
    pairs
        Replicates that both cells have been run with.
    covers
        What the interval covers, in words.
    resamples
        Resamples of the test patients that all of them share.
    """

    endpoint: str
    metric: str
    first: float
    second: float
    low: float
    high: float
    pairs: int
    covers: str
    resamples: int

    @property
    def difference(self) -> float:
        """``first - second``."""
        return self.first - self.second

    @property
    def established(self) -> bool:
        """Whether the interval covers other runs as well and leaves 0 out."""
        return self.pairs > 1 and (self.low > 0 or self.high < 0)


ONE_PAIR = "test patients, of these two runs only"
UNSAID = "scheme not recorded"
"""What a record from before the scheme was stated says of how its resamples were drawn."""


def replicates_of(name: str, results: Path) -> list[RunRecord]:
    """Return the evaluated cells that differ from one in order or seed alone, itself first.

    Of ``external/<name>`` or ``baseline/<name>``, which have no replicates, only itself.
    """
    own = result_path(results, "evaluate", name)
    cell = _cell(name)
    if cell is None:
        return [RunRecord.read(own)]
    alike = sorted(own.parent.glob(f"n{cell.size}-*.json"))
    return [RunRecord.read(path) for path in (own, *(other for other in alike if other != own))]


def compare(
    first: Sequence[RunRecord], second: Sequence[RunRecord], confidence: float = CONFIDENCE
) -> list[Difference]:
    """Compare two evaluated cells on every endpoint that both have.

    The b-th resample of a task holds the same patients in every cell, so replicates are subtracted
    resample by resample: what makes a test set easy or hard for both cancels. Where both cells have
    replicates of the same order and seed, they are subtracted pair by pair, and the interval covers
    another order and seed as well (`ecgscale.scaling.variance.contrast_estimate`); an encoder that
    was not trained here is paired with all. With one pair
    the interval is that of the test patients alone. Of different numbers of resamples the shared
    first ones are used. The order is that of the endpoints of the first record.

    Parameters
    ----------
    first, second
        The cell itself and then its replicates (`replicates_of`).

    Raises
    ------
    BadInputError
        If a record is no evaluation, the cells share no endpoint, or an endpoint's test examples,
        labels, resamples or the scheme that drew them are not the same in all.
    """
    ones, others = _endpoints(first[0]), _endpoints(second[0])
    shared = [endpoint for endpoint in ones if endpoint in others]
    if not shared:
        raise BadInputError(f"{first[0].cell} and {second[0].cell} share no endpoint")
    pairs, alone = _pairs(first, second), (first[0], second[0])
    return [_difference(endpoint, pairs, alone, confidence) for endpoint in shared]


def _difference(endpoint: str, pairs: Pairs, alone: Pair, confidence: float) -> Difference:
    having = {
        block: pair
        for block, pair in pairs.items()
        if all(endpoint in _endpoints(record) for record in pair)
    }
    blocks = regular(sorted(having))
    chosen = [having[block] for block in blocks] if len(blocks) > 1 else [alone]
    for pair in chosen:
        for record in pair:
            _check_pair(endpoint, chosen[0][0], record)
    metric = _endpoints(chosen[0][0])[endpoint]["metric"]
    # None stands for NaN in JSON.
    drawn = [
        [np.array(_endpoints(r)[endpoint]["replicates"], dtype=np.float64) for r in pair]
        for pair in chosen
    ]
    resamples = min(len(values) for pair in drawn for values in pair)
    ones, others = np.array([[v[:resamples] for v in pair] for pair in drawn]).swapaxes(0, 1)
    score = np.array([[r.metrics[f"{endpoint}.{metric}"] for r in pair] for pair in chosen])
    a, b = (float(value) for value in score.mean(axis=0))
    if len(chosen) == 1:
        ends = paired_interval(ones[0], others[0], confidence)
        return Difference(endpoint, metric, a, b, *ends, 1, ONE_PAIR, resamples)
    found = contrast_estimate(score[:, 0] - score[:, 1], (ones - others).T, blocks, confidence)
    ends = (found.low, found.high)
    return Difference(endpoint, metric, a, b, *ends, len(chosen), found.covers, resamples)


def _pairs(first: Sequence[RunRecord], second: Sequence[RunRecord]) -> Pairs:
    """Return the records to subtract by (order, seed)."""
    one, other = (_cell(records[0].cell) for records in (first, second))
    if one and other and replace(one, order=other.order, seed=other.seed) == other:
        return {}  # two replicates of one thing
    pairs: Pairs = {}
    for a, b in product(first, second):
        block = _block(_cell(a.cell), _cell(b.cell))
        if block is not None:
            pairs[block] = (a, b)
    return pairs


def _block(one: Cell | None, other: Cell | None) -> tuple[int, int] | None:
    """Return the order and seed that two cells have in common, or None."""
    if one is None or other is None:
        cell = one or other
        return (cell.order, cell.seed) if cell else None
    alike = (one.order, one.seed) == (other.order, other.seed)
    return (one.order, one.seed) if alike else None


def _cell(name: str) -> Cell | None:
    try:
        return Cell.parse(name)
    except BadInputError:
        return None


def difference_table(
    first: RunRecord, second: RunRecord, differences: Sequence[Difference]
) -> "Table":
    """Lay out what `compare` returned for `rich.print`; what is `established` has a *."""
    from rich.table import Table

    pairs = max(row.pairs for row in differences)
    several = f"\nmeans over {pairs} replicates of both" if pairs > 1 else ""
    title = f"first: {first.cell}\nsecond: {second.cell}{several}"
    table = Table(title=title, title_justify="left")
    table.add_column("endpoint")
    table.add_column("metric")
    for heading in ("first", "second", "first - second", "interval", "resamples"):
        table.add_column(heading, justify="right")
    table.add_column("interval covers")
    for row in differences:
        table.add_row(
            row.endpoint,
            row.metric,
            f"{row.first:.4g}",
            f"{row.second:.4g}",
            f"{row.difference:+.4f}{'*' if row.established else ''}",
            f"{row.low:+.4f} to {row.high:+.4f}",
            str(row.resamples),
            row.covers,
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
    drawn = [r.details["tasks"][endpoint].get("resampling", UNSAID) for r in (first, second)]
    if drawn[0] != drawn[1]:
        raise BadInputError(
            f"{endpoint} cannot be compared: {first.cell} and {second.cell} were resampled "
            f"otherwise ({drawn[0]}; {drawn[1]}), so their resamples are not of the same patients: "
            "evaluate both again"
        )
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
