"""What the report says in sentences, derived from the numbers by fixed rules."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ecgscale.evaluation.metrics import MainMetric
from ecgscale.report.words import (
    count,
    ends,
    if_error,
    interval,
    number,
    p_text,
    percent,
    signed,
    title_of,
)
from ecgscale.scaling.claims import Claim, Verdict
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.compare import Comparison
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.design import Design
from ecgscale.scaling.variance import Estimate

if TYPE_CHECKING:
    from ecgscale.report.analysis import Analysis

_REGIME_LIMITS = {
    "fixed_steps": (
        "Steps are fixed: larger subsets are repeated less often, so the slope is that of unique "
        "data at equal compute."
    ),
    "fixed_epochs": (
        "Epochs are fixed: data and compute grow together and their effects cannot be told apart."
    ),
}


def answer(claims: Sequence[Claim]) -> list[str]:
    """Return the answer with its numbers, one sentence or more for each pre-declared test."""
    sentences = []
    for claim in claims:
        text = headline(claim)
        if claim.correlation is not None:
            text += f" {_numbers(claim, claim.correlation, len(claims))}"
        sentences.append(text)
    return sentences


def headline(claim: Claim) -> str:
    """Return what one pre-declared test allows to be said: one short sentence, few numbers."""
    group = claim.group
    return f"{group.objective} ({group.encoder}): {_finding(claim)}"


def _finding(claim: Claim) -> str:
    group, metric = claim.group, claim.group.endpoint.metric
    what, verdict = metric.subject, claim.verdict
    if verdict == "not estimable":
        return f"the correlation is not estimable, because {group.problem}."
    if verdict == "no test":
        return (
            f"whether {what} follows the number of pretraining patients was not tested, because "
            "one run at each size does not show how runs differ."
        )
    if verdict in ("no effect of interest", "undecided") and claim.could_see is False:
        return (
            "this study could not have seen an effect of data: its positive control, which must "
            f"gain from more patients, does not rise. Whether {what} follows their number is open."
        )
    if verdict == "undecided":
        return f"whether {what} follows the number of pretraining patients is undecided."
    if verdict == "no effect of interest":
        return (
            "no effect of interest: with each doubling of the pretraining patients "
            f"{what} changes by less than {_smallest(claim)}."
        )
    verb = "rises" if metric.higher_is_better == (verdict == "rises") else "falls"
    verb += if_error(metric, " (lower is better)")
    less = f", by less than the smallest effect of interest, {_smallest(claim)} per doubling"
    if verdict == "rises":
        text = f"{what} {verb} with the number of pretraining patients"
    else:
        text = f"{what} {verb} as the number of pretraining patients grows"
    return f"{text}{less if claim.negligible else ''}."


def _smallest(claim: Claim) -> str:
    metric = claim.group.endpoint.metric
    # As declared, not rounded to the digits of a slope.
    return f"{claim.smallest_effect:g} {metric.unit or metric.short}"


def _numbers(claim: Claim, correlation: Correlation, tests: int) -> str:
    metric, slope = claim.group.endpoint.metric, correlation.slope
    digits, interval = metric.slope_digits, claim.interval
    level = f"{percent(interval.confidence)} interval"
    over = f", p {p_text(slope.p)}"
    if tests > 1:
        over += f", Holm-adjusted over {tests} tests {p_text(claim.p_holm)}"
        level += " at the level of its test"
    of = if_error(metric, f" of {metric.short} with size")
    moves = _moves(slope, metric, claim.verdict)
    return (
        f"{moves[0].upper()}{moves[1:]} per doubling "
        f"({level} {ends(interval.low, interval.high, digits)}"
        f"{if_error(metric, ', lower is better')}, covering {slope.covers}{over}). "
        f"{_size_of_effect(claim)}"
        f"Spearman's rho{of} within a replicate {signed(correlation.rho.value, 2)}. "
        f"{_detectable(correlation, metric, tests)}"
    )


def _size_of_effect(claim: Claim) -> str:
    """Say how the slope lies to the smallest effect of interest, as far as its interval goes."""
    metric, interval, equal = claim.group.endpoint.metric, claim.interval, claim.equivalence
    if claim.verdict in ("no test", "not estimable"):
        return ""
    if claim.negligible:
        return (
            f"Its {percent(equal.confidence)} interval, "
            f"{ends(equal.low, equal.high, metric.slope_digits)}, lies within the smallest effect "
            f"of interest, {_smallest(claim)} (p of equivalence {p_text(claim.p_equivalence)}). "
        )
    if claim.verdict == "undecided":
        return (
            "Neither a slope of zero nor one as large as the smallest effect of interest, "
            f"{_smallest(claim)}, is ruled out. "
        )
    nearest = min(abs(interval.low), abs(interval.high))
    if nearest >= claim.smallest_effect:
        return f"That is at least the smallest effect of interest, {_smallest(claim)}. "
    return f"Whether it is as large as the smallest of interest, {_smallest(claim)}, is open. "


def _detectable(correlation: Correlation, metric: MainMetric, tests: int) -> str:
    """Say what the rule finds with the noise of this study, and how well that noise is known."""
    if math.isnan(correlation.detectable_slope):
        return "No slope could have been found: one replicate is no test."
    slope, low, high = (
        number(value, metric.slope_digits)
        for value in (
            correlation.detectable_slope,
            correlation.detectable_low,
            correlation.detectable_high,
        )
    )
    family = f" over {count(tests, 'test')}" if tests > 1 else ""
    return (
        f"With noise as estimated here this rule{family} finds a slope of {slope}{metric.suffix} "
        f"per doubling with 80% power; since few runs tell how large the noise is, that may be "
        f"{low} to {high}."
    )


def _moves(slope: Estimate, metric: MainMetric, verdict: Verdict) -> str:
    """Return a slope in words that claim a direction only where one is established."""
    digits = metric.slope_digits
    if verdict not in ("rises", "falls"):
        return f"slope {signed(slope.value, digits)} {metric.unit or metric.short}"
    verb = "rises" if slope.value > 0 else "falls"
    return f"{metric.short} {verb} by {number(abs(slope.value), digits)}{metric.suffix}"


def sensitivity(positive: Sequence[Claim], negative: Sequence[Claim]) -> list[str]:
    """Say whether the study could have seen an effect, and what rises that should not."""
    sentences = [f"Positive control {headline(c)}{_estimate(c)}" for c in positive]
    for claim in negative:
        if claim.verdict == "rises":
            sentences.append(
                f"Warning: the negative control {headline(claim)}{_estimate(claim)} It learns from "
                "records that hold nothing to gain: not all that rises in this study is an effect "
                "of what the data hold."
            )
        else:
            sentences.append(f"Negative control {headline(claim)}{_estimate(claim)}")
    return sentences


def _estimate(claim: Claim) -> str:
    if claim.correlation is None:
        return ""
    metric, interval = claim.group.endpoint.metric, claim.interval
    digits = metric.slope_digits
    return (
        f" Slope {signed(claim.correlation.slope.value, digits)} {metric.unit or metric.short} per "
        f"doubling ({percent(interval.confidence)} interval "
        f"{ends(interval.low, interval.high, digits)}, p {p_text(claim.p_holm)})."
    )


def unadjusted(analysis: "Analysis") -> list[str]:
    """Say how many slopes were looked at beside the tests, and what the smallest p is."""
    said = {id(claim.group) for claim in analysis.said}
    looked = [
        found
        for _, found in analysis.results_of(analysis.design.tasks)
        if found is not None and id(found.group) not in said and not math.isnan(found.slope.p)
    ]
    if not looked:
        return []
    alpha = 1 - analysis.confidence
    least = min(looked, key=lambda found: found.slope.p)
    below = sum(found.slope.p <= alpha for found in looked)
    metric, adjusted = least.group.endpoint.metric, min(1.0, least.slope.p * len(looked))
    return [
        f"Beside the pre-declared tests stand {len(looked)} slopes that were not declared: with "
        f"none of them real, about {alpha * len(looked):.1g} would have a p of {alpha:.2g} or "
        f"less; {below} {'has' if below == 1 else 'have'}. The smallest is that of "
        f"{least.group.objective} on {title_of(least.group.endpoint)}: "
        f"{signed(least.slope.value, metric.slope_digits)} {metric.unit or metric.short} per "
        f"doubling ({interval(least.slope, metric.slope_digits)}), p {p_text(least.slope.p)}, "
        f"times {len(looked)} (Bonferroni) {p_text(adjusted)}."
    ]


def notes(claim: Claim) -> list[str]:
    """Return what must be said with a claim: few runs, one seed or order, collapsed runs."""
    group, sentences = claim.group, []
    left_out = [f"Left out: {text}." for text in group.left_out]
    if claim.correlation is None:
        return left_out
    orders, seeds = (len(set(axis)) for axis in zip(*group.blocks, strict=True))
    if len(group.blocks) == 1:
        sentences.append(
            "One replicate per size: how much a rerun would differ is not estimable, and the "
            "intervals cover the sampling of test patients only."
        )
    elif seeds == 1 or orders == 1:
        axis, drawn = ("seed", "weights and batches") if seeds == 1 else ("order", "patients")
        sentences.append(
            f"All runs have one {axis}: what other {drawn} would change is in no interval."
        )
    if not len(group.replicates):
        sentences.append("No resamples of the test patients were stored: no interval covers them.")
    if claim.correlation.slope.df < 2:
        wide = "an interval is then up to 6.5 times as wide as with many runs of the same noise"
        sentences.append(f"Runs differ by one degree of freedom only: {wide}.")
    return sentences + left_out


def comparison_sentence(comparison: Comparison, confidence: float) -> str:
    """Say what a comparison with a control shows."""
    group, metric, parts = comparison.group, comparison.group.endpoint.metric, []
    if comparison.slope is not None:
        what = f"slope{if_error(metric, f' of {metric.short}')} per doubling"
        slope_digits = metric.slope_digits
        parts.append(_difference(what, comparison.slope, metric, slope_digits, confidence))
    what = f"{metric.short} at {group.sizes[-1]:,} patients"
    parts.append(_difference(what, comparison.level, metric, metric.digits, confidence))
    return f"{group.objective} against {comparison.control}: {'; '.join(parts)}."


def _difference(
    what: str, estimate: Estimate, metric: MainMetric, digits: int, confidence: float
) -> str:
    if math.isnan(estimate.low):
        state = "difference without an interval"
    elif estimate.low <= 0 <= estimate.high:
        state = "no detectable difference"
    else:
        state = "higher" if estimate.low > 0 else "lower"
        better = metric.better(estimate.value)
        state += if_error(metric, ", better" if better else ", worse")
    return (
        f"{what} {state} ({signed(estimate.value, digits)}{metric.suffix}, "
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


def methods(design: Design, confidence: float, resamples: int) -> list[tuple[str, str]]:
    """Return how each number is made, by the name of the method; resamples are of test patients."""
    from ecgscale.evaluation.readouts import readouts as known

    errors = any(not endpoint.metric.higher_is_better for endpoint in design.endpoints)
    score = "macro AUROC (of a regression: the mean absolute error)" if errors else "macro AUROC"
    readouts = dict.fromkeys(known.get(e.protocol.readout).method for e in design.endpoints)
    return [
        (
            "Runs and replicates",
            f"Each run is one pretraining, read out by {'; or by '.join(readouts)}. Sizes are "
            "nested subsets of patients; one nesting order with one seed is a replicate, with one "
            f"run at every size. {_layout(design)}",
        ),
        (
            "Slope and its test",
            f"Least-squares slope of {'the score' if errors else score} on log2 of the patients, "
            f"one for each replicate, and their mean. Its {confidence:.0%} interval adds the mean "
            "square between replicates, over their number, and the covariance that the test "
            "patients cause between them (Obuchowski and Rockette 1995). The distribution is that "
            "of Student's t from the runs plus a normal part from the patients (Behrens and "
            "Fisher). p is two-sided and follows from the same distribution, so that it is below "
            f"{1 - confidence:.2g} just where the interval leaves out zero. Pre-declared tests "
            "(each objective on the primary task) are adjusted by Holm's method; one without a "
            "number counts as 1. The interval in the answer is at the level at which Holm's method "
            "tests it, so that it agrees with the adjusted p.",
        ),
        (
            "Verdicts",
            "Rises or falls: the adjusted p of the slope is at most "
            f"{1 - confidence:.2g}. No effect of interest: two one-sided tests, adjusted likewise, "
            f"exclude a slope of {design.smallest_effect:g} "
            f"{design.primary.metric.unit or design.primary.metric.short} per doubling or more, "
            "which the study declared as the smallest effect of interest. Undecided: neither.",
        ),
        (
            "Correlation",
            f"Spearman's \u03c1 and Kendall's \u03c4b of {score} against size, within each "
            "replicate and averaged over replicates, describe the order of the sizes; they depend "
            "on noise as much as on scaling. Their intervals resample runs and patients together "
            "and take the runs of a replicate as independent.",
        ),
        (
            "Smallest detectable slope",
            "The true slope that the rule of the verdicts, with Holm's adjustment over the "
            "pre-declared tests, finds with probability 0.8 in simulated studies of this design "
            "and noise, where the other objectives have no slope. The noise is an estimate: the "
            "range holds its 80% interval.",
        ),
        (
            "Test-set resampling",
            f"{resamples:,} resamples of the test patients, stratified by label, so that none "
            "loses its positives. Every run is given the same ones, under every readout.",
        ),
        (
            "Controls",
            "Random: the untrained encoder under the same readout. Supervised: the encoder trained "
            f"from scratch on labels. {_baselines(design.baselines)}Variants of an objective and "
            "controls are paired with it by order and seed.",
        ),
    ]


def _layout(design: Design) -> str:
    orders, seeds = (len(set(axis)) for axis in zip(*design.blocks, strict=True))
    if orders == seeds == len(design.blocks):
        return "Every replicate has an order and a seed of its own."
    return (
        f"Here {count(orders, 'order')} {'are' if orders > 1 else 'is'} crossed with "
        f"{count(seeds, 'seed')}."
    )


def _baselines(names: Sequence[str]) -> str:
    from ecgscale.evaluation.baselines import baselines

    predicted_from = "; ".join(baselines.get(name).words for name in names)
    if not names:
        return ""
    return f"Baselines read no encoder and learn from all labels: {predicted_from}. "


def _regimes(design: Design) -> list[str]:
    """Say what a slope under each regime is, and whose slope that is if there are several."""
    regimes = sorted(set(design.regimes.values()))
    if len(regimes) == 1:
        return [_REGIME_LIMITS[regimes[0]]]
    under = {r: [name for name, of in design.regimes.items() if of == r] for r in regimes}
    return [f"{', '.join(under[regime])}: {_REGIME_LIMITS[regime]}" for regime in regimes]


def limits(design: Design, simulated: Sequence[str]) -> list[str]:
    """Return what the numbers of a study, with these simulated sources, cannot say."""
    sentences = []
    if simulated:
        sentences.append(
            f"Simulated data: {', '.join(simulated)}. The numbers show that the instrument works; "
            "they say nothing about patients."
        )
    blocks = len(design.blocks)
    if blocks < 3:
        sentences.append(
            f"{blocks} replicate{'s' if blocks > 1 else ''} per size: run-to-run variance is "
            f"{'known poorly' if blocks > 1 else 'not known'}."
        )
    if len(design.sizes) < 6:
        sentences.append(
            f"{len(design.sizes)} sizes: enough to order, too few to tell curves apart."
        )
    sentences += _regimes(design)
    sentences.append(
        "One recipe per objective: hyper-parameters were not tuned again at each size, and another "
        "recipe may scale otherwise."
    )
    return sentences
