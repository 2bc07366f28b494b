"""The verdict of each pre-declared test, by fixed rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group

Verdict = Literal[
    "rises", "falls", "no effect of interest", "undecided", "no test", "not estimable"
]
Results = Sequence[tuple[Group, Correlation | None]]
"""Groups of a study with what was found, None where a group has a problem."""


@dataclass(frozen=True)
class Interval:
    """An interval of a slope and its level; NaN where there is none."""

    confidence: float
    low: float
    high: float


@dataclass(frozen=True)
class Claim:
    """What one pre-declared test allows to be said.

    Attributes
    ----------
    correlation
        None where the group has a problem.
    verdict
        "rises" or "falls": accuracy with more pretraining patients, whatever the direction of the
        metric. "no effect of interest": the slope is smaller than the smallest effect of interest,
        and may be zero. "undecided": none of these. "no test": one run at each size.
    p_holm, p_equivalence
        Of a slope of zero, and of one as large as the smallest effect of interest or larger, each
        adjusted over the family; 1 where there is none.
    interval
        At the level at which Holm's procedure tests the slope: it leaves zero out just where the
        verdict is "rises" or "falls".
    equivalence
        Twice as much is outside as the level at which Holm's procedure tests equivalence: it lies
        within the smallest effect of interest just where `negligible`.
    smallest_effect
        Of interest, per doubling, in the unit of the metric.
    negligible
        Whether the slope, zero or not, is below the smallest effect of interest.
    could_see
        Whether a positive control of the same encoder rises; None where there is none that was
        tested.
    """

    group: Group
    correlation: Correlation | None
    verdict: Verdict
    p_holm: float
    p_equivalence: float
    interval: Interval
    equivalence: Interval
    smallest_effect: float
    negligible: bool
    could_see: bool | None = None


def claims(results: Results, design: Design, confidence: float) -> list[Claim]:
    """Return one claim per pre-declared test, in the order of `results`, all groups of a study.

    Pre-declared is every objective that is no variant and no control (`Design.declared`), at the
    primary endpoint. A slope is tested against zero, and for equivalence to zero by two one-sided
    tests; for each of the two, Holm's procedure keeps the probability of any error in the family
    at one minus the confidence.
    """
    controls = family(results, design, design.positive_controls, confidence)
    tested = [c for c in controls if c.verdict not in ("no test", "not estimable")]
    sighted = {
        encoder: any(c.verdict == "rises" for c in tested if c.group.encoder == encoder)
        for encoder in {c.group.encoder for c in tested}
    }
    return [
        replace(claim, could_see=sighted.get(claim.group.encoder))
        for claim in family(results, design, design.declared, confidence)
    ]


def family(
    results: Results, design: Design, objectives: Sequence[str], confidence: float
) -> list[Claim]:
    """Return the claims about some objectives at the primary endpoint, as one family of tests."""
    chosen = [
        (group, found)
        for group, found in results
        if group.endpoint == design.primary and group.objective in objectives
    ]
    bound, alpha = design.smallest_effect, 1 - confidence
    of_zero = [found.slope.p if found else math.nan for _, found in chosen]
    of_bound = [
        found.variance.p_outside(found.slope.value, bound) if found else math.nan
        for _, found in chosen
    ]
    adjusted = zip(holm(of_zero), holm(of_bound), strict=True)
    levels = zip(holm_levels(of_zero, alpha), holm_levels(of_bound, alpha), strict=True)
    said = []
    for (group, found), (p, p_bound), (level, level_bound) in zip(
        chosen, adjusted, levels, strict=True
    ):
        interval, equivalence = _interval(found, level), _interval(found, 2 * level_bound)
        verdict = _verdict(found, p, p_bound, alpha)
        intervals, negligible = (interval, equivalence), p_bound <= alpha
        said.append(Claim(group, found, verdict, p, p_bound, *intervals, bound, negligible))
    return said


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
    for rank, i in enumerate(_ascending(known)):
        # No p may fall below that of a test which was easier to reject.
        running = max(running, min(1.0, (len(known) - rank) * known[i]))
        adjusted[i] = running
    return adjusted


def holm_levels(values: Sequence[float], alpha: float) -> list[float]:
    """Return the level at which Holm's procedure tests each p: it rejects the p up to it.

    Examples
    --------
    >>> [round(level, 4) for level in holm_levels([0.9, 0.001, 0.8], 0.06)]
    [0.03, 0.02, 0.03]
    """
    known = [1.0 if math.isnan(value) else value for value in values]
    rejected = sum(p <= alpha for p in holm(known))
    levels = [alpha] * len(known)
    for rank, i in enumerate(_ascending(known)):
        levels[i] = alpha / (len(known) - min(rank, rejected))
    return levels


def _ascending(values: Sequence[float]) -> list[int]:
    return sorted(range(len(values)), key=lambda i: values[i])


def _interval(found: Correlation | None, alpha: float) -> Interval:
    if found is None:
        return Interval(1 - alpha, math.nan, math.nan)
    reach = found.variance.reach(alpha)
    return Interval(1 - alpha, found.slope.value - reach, found.slope.value + reach)


def _verdict(found: Correlation | None, p: float, p_bound: float, alpha: float) -> Verdict:
    if found is None:
        return "not estimable"
    if math.isnan(found.slope.p):
        return "no test"
    if p <= alpha:
        return "rises" if found.group.endpoint.metric.better(found.slope.value) else "falls"
    return "no effect of interest" if p_bound <= alpha else "undecided"
