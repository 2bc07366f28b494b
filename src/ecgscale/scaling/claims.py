"""What may be said: sentences derived from the numbers by fixed rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Comparison, Correlation, Estimate, Group
from ecgscale.study.endpoints import primary
from ecgscale.study.file import Study

Verdict = Literal["better", "worse", "these patients only", "none", "not estimable"]


@dataclass(frozen=True)
class Claim:
    """What one pre-declared test allows to be said.

    Attributes
    ----------
    verdict
        "better" or "worse": with more pretraining patients the score improves or worsens, whatever
        the direction of the metric.
    headline
        One short sentence without numbers.
    sentence
        The same with its numbers.
    notes
        What must be said with it (collapsed runs, one block, an unreachable level).
    p_holm
        Adjusted over the pre-declared tests; NaN where not estimable.
    """

    objective: str
    encoder: str
    endpoint: Endpoint
    verdict: Verdict
    headline: str
    sentence: str
    notes: tuple[str, ...]
    p_holm: float
    correlation: Correlation | None
    group: Group


def primaries(study: Study, found: Sequence[Group]) -> list[Group]:
    """Return the pre-declared groups: every objective that is no control, at the primary one."""
    return [
        group
        for group in found
        if group.endpoint == primary(study) and study.objectives[group.objective].control_of is None
    ]


def holm(values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p values (Holm 1979); NaN stays NaN and is not counted."""
    order = sorted(
        (i for i, value in enumerate(values) if not math.isnan(value)), key=lambda i: values[i]
    )
    adjusted, running = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = running
    return adjusted


def claims(
    study: Study, found: Sequence[Group], correlations: Sequence[Correlation | None]
) -> list[Claim]:
    """Return one claim per pre-declared group, in the order of the study's grid.

    Parameters
    ----------
    correlations
        One for each of `found`; None where the group has a problem.
    """
    declared = {id(group) for group in primaries(study, found)}
    pairs = [pair for pair in zip(found, correlations, strict=True) if id(pair[0]) in declared]
    adjusted = holm([c.rho_test.p if c else math.nan for _, c in pairs])
    alpha = 1 - study.report.confidence
    return [
        _claim(study, group, correlation, p, alpha, len(pairs))
        for (group, correlation), p in zip(pairs, adjusted, strict=True)
    ]


def _claim(
    study: Study,
    group: Group,
    correlation: Correlation | None,
    p_holm: float,
    alpha: float,
    tests: int,
) -> Claim:
    who = f"{group.objective} ({group.encoder})"
    if correlation is None:
        verdict: Verdict = "not estimable"
        headline = f"{who}: the correlation is not estimable, because {group.problem}."
        sentence, notes = headline, tuple(f"Left out: {text}." for text in group.left_out)
    else:
        verdict = _verdict(correlation, p_holm, alpha)
        headline = f"{who}: {_headlines(group.endpoint.measure)[verdict]}"
        numbers = _numbers(correlation, verdict, p_holm, tests, study.report.confidence)
        sentence = f"{headline} {numbers}"
        notes = tuple(_notes(correlation, alpha))
    return Claim(
        group.objective,
        group.encoder,
        group.endpoint,
        verdict,
        headline,
        sentence,
        notes,
        p_holm,
        correlation,
        group,
    )


def _headlines(measure: MainMetric) -> dict[Verdict, str]:
    """Return what each verdict says of a metric."""
    what, rise, fall = measure.subject, "rises", "falls"
    if not measure.higher_is_better:
        rise, fall = "falls (lower is better)", "rises (lower is better)"
    return {
        "better": f"{what} {rise} with the number of pretraining patients.",
        "worse": f"{what} {fall} as the number of pretraining patients grows.",
        "these patients only": (
            f"{what} follows the number of pretraining patients on these test patients, but the "
            "interval of the slope includes zero, so it is not established for others."
        ),
        "none": "no correlation with the number of pretraining patients was detected.",
    }


def _verdict(correlation: Correlation, p_holm: float, alpha: float) -> Verdict:
    if p_holm > alpha:
        return "none"
    slope, rho = correlation.slope, correlation.rho.value
    if slope.low <= 0 <= slope.high or slope.value * rho < 0:
        return "these patients only"
    return "better" if correlation.group.endpoint.measure.better(rho) else "worse"


def _numbers(
    correlation: Correlation, verdict: Verdict, p_holm: float, tests: int, confidence: float
) -> str:
    percent, measure = f"{confidence:.0%}", correlation.group.endpoint.measure
    test = correlation.rho_test
    kind = "exact permutation" if not test.draws else f"permutation ({test.draws:,} draws)"
    over = f" (Holm-adjusted over {tests} tests: {p_text(p_holm)})" if tests > 1 else ""
    of = "" if measure.higher_is_better else f" of {measure.short} with size"
    direction = "" if measure.higher_is_better else ", lower is better"
    return (
        f"Spearman's rho{of} {signed(correlation.rho.value, 2)} "
        f"({percent} interval {interval(correlation.rho, 2)}), {kind} p {p_text(test.p)}{over}; "
        f"{_moves(correlation.slope, measure, verdict)} per doubling "
        f"({percent} interval {interval(correlation.slope, measure.slope_digits)}{direction}). "
        f"The smallest slope that this design would detect with 80% power is "
        f"{number(correlation.detectable_slope, measure.slope_digits)}{measure.suffix} per "
        "doubling."
    )


def _moves(slope: Estimate, measure: MainMetric, verdict: Verdict) -> str:
    """Return a slope in words that claim a direction only where one is established."""
    if verdict not in ("better", "worse"):
        return f"slope {signed(slope.value, measure.slope_digits)} {measure.unit or measure.short}"
    verb = "rises" if slope.value > 0 else "falls"
    return (
        f"{measure.short} {verb} by {number(abs(slope.value), measure.slope_digits)}"
        f"{measure.suffix}"
    )


def _notes(correlation: Correlation, alpha: float) -> list[str]:
    group, test, notes = correlation.group, correlation.rho_test, []
    measure = group.endpoint.measure
    if len(group.blocks) == 1:
        notes.append(
            "One replicate per size: how much a rerun would differ is not estimable, and the "
            "intervals cover the sampling of test patients only."
        )
    if not len(group.replicates):
        notes.append("No resamples of the test patients were stored: no interval covers them.")
    if test.smallest_p > alpha:
        notes.append(
            f"With {len(group.sizes)} sizes and {len(group.blocks)} "
            f"replicate{'s' if len(group.blocks) > 1 else ''}, p cannot fall below "
            f"{number(test.smallest_p, 3)}: this design cannot show a correlation at {alpha:.2g}."
        )
    if math.isfinite(correlation.reseed_sd) and (
        abs(correlation.slope.value) < correlation.reseed_sd
    ):
        notes.append(
            f"One doubling moves {measure.short} less "
            f"({number(abs(correlation.slope.value), measure.slope_digits)}{measure.suffix}) than "
            "a new order and seed do "
            f"(SD {number(correlation.reseed_sd, measure.slope_digits)}{measure.suffix})."
        )
    notes += [f"Left out: {text}." for text in group.left_out]
    return notes


def comparison_sentence(comparison: Comparison, confidence: float) -> str:
    """Say what a comparison with a control shows."""
    measure = comparison.endpoint.measure
    parts = []
    if comparison.slope is not None:
        of = "" if measure.higher_is_better else f" of {measure.short}"
        what, digits = f"slope{of} per doubling", measure.slope_digits
        parts.append(_difference(what, comparison.slope, measure, digits, confidence))
    what = f"{measure.short} at {comparison.size:,} patients"
    parts.append(_difference(what, comparison.level, measure, measure.digits, confidence))
    return f"{comparison.objective} against {comparison.control}: {'; '.join(parts)}."


def _difference(
    what: str, estimate: Estimate, measure: MainMetric, digits: int, confidence: float
) -> str:
    if math.isnan(estimate.low):
        state = "difference without an interval"
    elif estimate.low <= 0 <= estimate.high:
        state = "no detectable difference"
    else:
        state = "higher" if estimate.low > 0 else "lower"
        if not measure.higher_is_better:
            state += ", better" if measure.better(estimate.value) else ", worse"
    return (
        f"{what} {state} ({signed(estimate.value, digits)}{measure.suffix}, "
        f"{confidence:.0%} interval {interval(estimate, digits)})"
    )


def completeness(collection: Collection) -> str:
    """Say how much of the grid there is."""
    missing = len(collection.gaps)
    if not missing:
        return f"All {collection.expected} cells of the study are complete."
    return (
        f"{missing} of {collection.expected} cells of the study {'is' if missing == 1 else 'are'} "
        "missing or incomplete; "
        "what depends on them is not estimated."
    )


def number(value: float, digits: int) -> str:
    """Format a number; "n/a" for NaN."""
    return "n/a" if math.isnan(value) else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Format a number with its sign (a true minus); "n/a" for NaN."""
    if math.isnan(value):
        return "n/a"
    if round(value, digits) == 0:
        return f"{0:.{digits}f}"
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(estimate: Estimate, digits: int) -> str:
    """Format an interval: "+0.10 to +0.90"; "not estimable" for NaN."""
    if math.isnan(estimate.low):
        return "not estimable"
    return f"{signed(estimate.low, digits)} to {signed(estimate.high, digits)}"


def p_text(p: float) -> str:
    """Format a p value: "= 0.031", or "< 0.0001"."""
    if math.isnan(p):
        return "n/a"
    return "< 0.0001" if p < 0.0001 else f"= {p:.2g}"
