"""What may be said: sentences derived from the numbers by fixed rules."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ecgscale.config import Study
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Comparison, Correlation, Estimate, Group

Verdict = Literal["positive", "negative", "these patients only", "none", "not estimable"]


@dataclass(frozen=True)
class Claim:
    """What one pre-declared test allows to be said.

    Attributes
    ----------
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
    task: str
    verdict: Verdict
    headline: str
    sentence: str
    notes: tuple[str, ...]
    p_holm: float
    correlation: Correlation | None
    group: Group


def primaries(study: Study, found: Sequence[Group]) -> list[Group]:
    """Return the pre-declared groups: every objective that is no control, on the primary task."""
    return [
        group
        for group in found
        if group.task == study.report.primary_task
        and study.objectives[group.objective].control_of is None
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
        headline = _HEADLINES[verdict].format(who=who)
        sentence = f"{headline} {_numbers(correlation, p_holm, tests, study.report.confidence)}"
        notes = tuple(_notes(correlation, alpha))
    return Claim(
        group.objective,
        group.encoder,
        group.task,
        verdict,
        headline,
        sentence,
        notes,
        p_holm,
        correlation,
        group,
    )


_HEADLINES: dict[Verdict, str] = {
    "positive": "{who}: accuracy rises with the number of pretraining patients.",
    "negative": "{who}: accuracy falls as the number of pretraining patients grows.",
    "these patients only": (
        "{who}: accuracy follows the number of pretraining patients on these test patients, but "
        "the interval of the slope includes zero, so it is not established for others."
    ),
    "none": "{who}: no correlation with the number of pretraining patients was detected.",
}


def _verdict(correlation: Correlation, p_holm: float, alpha: float) -> Verdict:
    if p_holm > alpha:
        return "none"
    slope, rho = correlation.slope, correlation.rho.value
    if slope.low <= 0 <= slope.high or slope.value * rho < 0:
        return "these patients only"
    return "positive" if rho > 0 else "negative"


def _numbers(correlation: Correlation, p_holm: float, tests: int, confidence: float) -> str:
    percent = f"{confidence:.0%}"
    test = correlation.rho_test
    kind = "exact permutation" if not test.draws else f"permutation ({test.draws:,} draws)"
    over = f" (Holm-adjusted over {tests} tests: {p_text(p_holm)})" if tests > 1 else ""
    return (
        f"Spearman's rho {signed(correlation.rho.value, 2)} "
        f"({percent} interval {interval(correlation.rho, 2)}), {kind} p {p_text(test.p)}{over}; "
        f"{signed(correlation.slope.value, 4)} AUROC per doubling "
        f"({percent} interval {interval(correlation.slope, 4)}). "
        f"The smallest slope that this design would detect with 80% power is "
        f"{number(correlation.detectable_slope, 4)} per doubling."
    )


def _notes(correlation: Correlation, alpha: float) -> list[str]:
    group, test, notes = correlation.group, correlation.rho_test, []
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
            f"One doubling moves AUROC less ({number(abs(correlation.slope.value), 4)}) than a new "
            f"order and seed do (SD {number(correlation.reseed_sd, 4)})."
        )
    notes += [f"Left out: {text}." for text in group.left_out]
    return notes


def comparison_sentence(comparison: Comparison, confidence: float) -> str:
    """Say what a comparison with a control shows."""
    parts = []
    if comparison.slope is not None:
        parts.append(_difference("slope per doubling", comparison.slope, 4, confidence))
    parts.append(
        _difference(f"AUROC at {comparison.size:,} patients", comparison.level, 3, confidence)
    )
    return f"{comparison.objective} against {comparison.control}: {'; '.join(parts)}."


def _difference(what: str, estimate: Estimate, digits: int, confidence: float) -> str:
    if math.isnan(estimate.low):
        state = "difference without an interval"
    elif estimate.low > 0:
        state = "higher"
    elif estimate.high < 0:
        state = "lower"
    else:
        state = "no detectable difference"
    return (
        f"{what} {state} ({signed(estimate.value, digits)}, {confidence:.0%} interval "
        f"{interval(estimate, digits)})"
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
