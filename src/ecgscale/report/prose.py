"""What the report says in sentences, derived from the numbers by fixed rules."""

import math
from collections.abc import Sequence

from ecgscale.evaluation.metrics import MainMetric
from ecgscale.report.words import count, if_error, interval, number, p_text, signed
from ecgscale.scaling.claims import Claim, Verdict
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.compare import Comparison
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import Estimate

_REGIME_LIMITS = {
    "fixed_steps": (
        "Steps are fixed: larger subsets are repeated less often, so the slope is that of unique "
        "data at equal compute."
    ),
    "fixed_epochs": (
        "Epochs are fixed: data and compute grow together and their effects cannot be told apart."
    ),
}


def answer(claims: Sequence[Claim], confidence: float) -> list[str]:
    """Return the answer with its numbers, one sentence or more for each pre-declared test."""
    sentences = []
    for claim in claims:
        text = headline(claim)
        if claim.correlation is not None:
            text += f" {_numbers(claim, claim.correlation, len(claims), confidence)}"
        sentences.append(text)
    return sentences


def headline(claim: Claim) -> str:
    """Return what one pre-declared test allows to be said: one short sentence without numbers."""
    group = claim.group
    return f"{group.objective} ({group.encoder}): {_finding(claim.verdict, group)}"


def _finding(verdict: Verdict, group: Group) -> str:
    metric, what = group.endpoint.metric, group.endpoint.metric.subject
    if verdict == "not estimable":
        return f"the correlation is not estimable, because {group.problem}."
    if verdict == "none":
        return "no correlation with the number of pretraining patients was detected."
    if verdict == "these patients only":
        return (
            f"{what} follows the number of pretraining patients on these test patients, but the "
            "interval of the slope includes zero, so it is not established for others."
        )
    verb = "rises" if metric.higher_is_better == (verdict == "better") else "falls"
    verb += if_error(metric, " (lower is better)")
    if verdict == "better":
        return f"{what} {verb} with the number of pretraining patients."
    return f"{what} {verb} as the number of pretraining patients grows."


def _numbers(claim: Claim, correlation: Correlation, tests: int, confidence: float) -> str:
    percent, metric = f"{confidence:.0%}", claim.group.endpoint.metric
    test, digits = correlation.rho_test, metric.slope_digits
    kind = "exact permutation" if not test.draws else f"permutation ({test.draws:,} draws)"
    over = f" (Holm-adjusted over {tests} tests: {p_text(claim.p_holm)})" if tests > 1 else ""
    of = if_error(metric, f" of {metric.short} with size")
    return (
        f"Spearman's rho{of} {signed(correlation.rho.value, 2)} "
        f"({percent} interval {interval(correlation.rho, 2)}), {kind} p {p_text(test.p)}{over}; "
        f"{_moves(correlation.slope, metric, claim.verdict)} per doubling "
        f"({percent} interval {interval(correlation.slope, digits)}"
        f"{if_error(metric, ', lower is better')}). "
        f"The smallest slope that this design would detect with 80% power is "
        f"{number(correlation.detectable_slope, digits)}{metric.suffix} per doubling."
    )


def _moves(slope: Estimate, metric: MainMetric, verdict: Verdict) -> str:
    """Return a slope in words that claim a direction only where one is established."""
    digits = metric.slope_digits
    if verdict not in ("better", "worse"):
        return f"slope {signed(slope.value, digits)} {metric.unit or metric.short}"
    verb = "rises" if slope.value > 0 else "falls"
    return f"{metric.short} {verb} by {number(abs(slope.value), digits)}{metric.suffix}"


def notes(claim: Claim, confidence: float) -> list[str]:
    """Return what must be said with a claim: collapsed runs, one block, an unreachable level."""
    group, found, sentences = claim.group, claim.correlation, []
    left_out = [f"Left out: {text}." for text in group.left_out]
    if found is None:
        return left_out
    slope, reseed, smallest_p = abs(found.slope.value), found.reseed_sd, found.rho_test.smallest_p
    metric, alpha = group.endpoint.metric, 1 - confidence
    if len(group.blocks) == 1:
        sentences.append(
            "One replicate per size: how much a rerun would differ is not estimable, and the "
            "intervals cover the sampling of test patients only."
        )
    if not len(group.replicates):
        sentences.append("No resamples of the test patients were stored: no interval covers them.")
    if smallest_p > alpha:
        sentences.append(
            f"With {len(group.sizes)} sizes and {count(len(group.blocks), 'replicate')}, p cannot "
            f"fall below {number(smallest_p, 3)}: this design cannot show a correlation at "
            f"{alpha:.2g}."
        )
    if math.isfinite(reseed) and slope < reseed:
        by, sd = (number(x, metric.slope_digits) + metric.suffix for x in (slope, reseed))
        sentences.append(
            f"One doubling moves {metric.short} less ({by}) than a new order and seed do (SD {sd})."
        )
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
            "Runs and blocks",
            f"Each run is one pretraining, read out by {'; or by '.join(readouts)}. Sizes are "
            "nested subsets of patients; one nesting order with one seed is a block, with one run "
            "at every size.",
        ),
        (
            "Correlation",
            f"Spearman's \u03c1 and Kendall's \u03c4b of {score} against size, within each "
            "block and averaged over blocks. p is two-sided: the sizes of the runs are permuted "
            "within each block, over all arrangements where they can be enumerated. The test is "
            "conditional on these test patients. Pre-declared tests (each objective on the primary "
            "task) are adjusted by Holm's method.",
        ),
        (
            "Slope",
            f"Least-squares slope of {'the score' if errors else score} on log2 of the patients, "
            "one intercept a block. "
            f"Its {confidence:.0%} interval adds the run-to-run variance (block \u00d7 size "
            "interaction) and the variance over resamples of the test patients, paired across "
            "runs, with Student's t at Satterthwaite's degrees of freedom. Intervals of \u03c1 and "
            "\u03c4b resample runs and patients together.",
        ),
        (
            "Smallest detectable slope",
            "The true slope that a study of this design and noise would find, two-sided at level "
            "0.05, with probability 0.8.",
        ),
        (
            "Test-set resampling",
            f"{resamples:,} resamples of the test patients, stratified by label, so that none "
            "loses its positives. Every run is given the same ones, under every readout.",
        ),
        (
            "Controls",
            "Random: the untrained encoder under the same readout. Supervised: the encoder trained "
            f"from scratch on labels. {_baselines(design.baselines)}Variants of an objective are "
            "paired with it by order and seed.",
        ),
    ]


def _baselines(names: Sequence[str]) -> str:
    from ecgscale.evaluation.baselines import baselines

    predicted_from = "; ".join(baselines.get(name).words for name in names)
    if not names:
        return ""
    return f"Baselines read no encoder and learn from all labels: {predicted_from}. "


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
    sentences += [_REGIME_LIMITS[regime] for regime in sorted(set(design.regimes.values()))]
    sentences.append(
        "One recipe per objective: hyper-parameters were not tuned again at each size, and another "
        "recipe may scale otherwise."
    )
    return sentences
