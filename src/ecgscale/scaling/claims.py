"""The verdict of each pre-declared test, by fixed rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.groups import Group

Verdict = Literal["better", "worse", "these patients only", "none", "not estimable"]


@dataclass(frozen=True)
class Claim:
    """What one pre-declared test allows to be said.

    Attributes
    ----------
    correlation
        None where the group has a problem.
    verdict
        "better" or "worse": with more pretraining patients the score improves or worsens, whatever
        the direction of the metric.
    p_holm
        Adjusted over the pre-declared tests; NaN where not estimable.
    """

    group: Group
    correlation: Correlation | None
    verdict: Verdict
    p_holm: float


def claims(
    results: Sequence[tuple[Group, Correlation | None]], primary: Endpoint, confidence: float
) -> list[Claim]:
    """Return one claim per pre-declared test, in the order of `results`, all groups of a study.

    Pre-declared is every objective that is no variant of another, at the primary endpoint. A test
    rejects at one minus the confidence.
    """
    declared = [
        (group, found)
        for group, found in results
        if group.endpoint == primary and group.control_of is None
    ]
    adjusted = holm([found.rho_test.p if found else math.nan for _, found in declared])
    return [
        Claim(group, found, _verdict(found, p, 1 - confidence), p)
        for (group, found), p in zip(declared, adjusted, strict=True)
    ]


def holm(values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values (Holm 1979); NaN stays NaN and is not counted.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(
        (i for i, value in enumerate(values) if not math.isnan(value)), key=lambda i: values[i]
    )
    adjusted, running = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        # No p may fall below that of a test which was easier to reject.
        running = max(running, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = running
    return adjusted


def _verdict(correlation: Correlation | None, p_holm: float, alpha: float) -> Verdict:
    if correlation is None:
        return "not estimable"
    if p_holm > alpha:
        return "none"
    # The permutation test is about these test patients: noise that they share over all runs can
    # order the sizes in every block. The interval of the slope covers other patients as well.
    slope, rho = correlation.slope, correlation.rho.value
    if slope.low <= 0 <= slope.high or slope.value * rho < 0:
        return "these patients only"
    return "better" if correlation.group.endpoint.metric.better(rho) else "worse"
