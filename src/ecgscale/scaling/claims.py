"""The verdict of each pre-declared test, by fixed rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.groups import Group

Verdict = Literal["better", "worse", "none", "no test", "not estimable"]


@dataclass(frozen=True)
class Claim:
    """What one pre-declared test allows to be said.

    Attributes
    ----------
    correlation
        None where the group has a problem.
    verdict
        "better" or "worse": with more pretraining patients the score improves or worsens, whatever
        the direction of the metric. "no test": one run at each size.
    p_holm
        That of the slope, adjusted over the pre-declared tests; 1 where there is none.
    """

    group: Group
    correlation: Correlation | None
    verdict: Verdict
    p_holm: float


def claims(
    results: Sequence[tuple[Group, Correlation | None]], primary: Endpoint, confidence: float
) -> list[Claim]:
    """Return one claim per pre-declared test, in the order of `results`.

    `results` are the groups of a study's declared objectives (`Design.declared`). Pre-declared is
    each of them that is no variant of another, at the primary endpoint. A test rejects at one minus
    the confidence.
    """
    declared = [
        (group, found)
        for group, found in results
        if group.endpoint == primary and group.control_of is None
    ]
    adjusted = holm([found.slope.p if found else math.nan for _, found in declared])
    return [
        Claim(group, found, _verdict(found, p, 1 - confidence), p)
        for (group, found), p in zip(declared, adjusted, strict=True)
    ]


def holm(values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values (Holm 1979); a NaN counts as 1.

    A test without a number, of an objective that crashed, was declared all the same: if it did not
    count, the others would become significant by its crash.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03, float("nan")])
    [0.04, 0.09, 0.09, 1.0]
    """
    known = [1.0 if math.isnan(value) else value for value in values]
    adjusted, running = [1.0] * len(known), 0.0
    for rank, i in enumerate(sorted(range(len(known)), key=lambda i: known[i])):
        # No p may fall below that of a test which was easier to reject.
        running = max(running, min(1.0, (len(known) - rank) * known[i]))
        adjusted[i] = running
    return adjusted


def _verdict(correlation: Correlation | None, p_holm: float, alpha: float) -> Verdict:
    if correlation is None:
        return "not estimable"
    slope = correlation.slope
    if math.isnan(slope.p):
        return "no test"
    if p_holm > alpha:
        return "none"
    return "better" if correlation.group.endpoint.metric.better(slope.value) else "worse"
