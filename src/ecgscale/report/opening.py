"""The first screen: what was asked of what data, whether pretraining helps, whether more does."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from ecgscale.report.analysis import Analysis
from ecgscale.report.prose import headline
from ecgscale.report.words import (
    count,
    ends,
    listed,
    number,
    percent,
    signed,
    title_of,
    with_interval,
)
from ecgscale.scaling.claims import Claim
from ecgscale.scaling.gain import RANDOM

FEATURES, SUPERVISED = "ecg-features", "supervised"
"""The baseline of hand-crafted features, and the kind of what learns from all labels."""
UNTRAINED = "the untrained encoder"
_MOST = 3
"""Objectives of which the first screen speaks; the page's tables hold all."""


@dataclass(frozen=True)
class Part:
    """One of the three questions: its answer in a sentence, and with all its numbers."""

    question: str
    short: str
    answer: str


def opening(analysis: Analysis, sources: Sequence[str], simulated: Sequence[str]) -> list[Part]:
    """Return the three parts of the first screen.

    Parameters
    ----------
    sources
        Names of the sources that subsets are drawn from.
    simulated
        Those sources behind the study's numbers that are simulated.
    """
    return [
        Part("What was asked", _data(analysis, sources, simulated), _asked(analysis, sources)),
        Part("Does pretraining help at all?", _better(analysis), _helps(analysis)),
        Part("Does more of it help?", _verdicts(analysis), _more(analysis)),
    ]


def _data(analysis: Analysis, sources: Sequence[str], simulated: Sequence[str]) -> str:
    design = analysis.design
    kind = "Simulated data" if simulated else "Recordings"
    return (
        f"{kind}: {design.sizes[0]:,} to {design.sizes[-1]:,} patients of {listed(sources)}, "
        f"{count(len(design.tasks), 'task')}; the primary one is {title_of(design.primary)}."
    )


def _better(analysis: Analysis) -> str:
    """Say in how many tasks pretraining is better than none."""
    untrained = [name for name, words in _controls(analysis).items() if words == UNTRAINED]
    if not untrained:
        return "Open: no untrained encoder was run."
    said: list[str] = []
    for objective, encoder in product(analysis.design.declared[:_MOST], analysis.design.encoders):
        held = [
            one
            for one in analysis.further.tallies
            if (one.objective, one.encoder) == (objective, encoder) and one.control in untrained
        ]
        better = sum(len(one.better) for one in held)
        tasks = better + sum(len(one.worse) + len(one.unclear) for one in held)
        name = f"{objective} ({encoder})" if len(analysis.design.encoders) > 1 else objective
        if not tasks:
            said.append(f"{name}: open")
        elif _is_single(analysis):
            said.append(f"{name}: not tested, with one replicate")
        else:
            what = "" if any(UNTRAINED in text for text in said) else f"better than {UNTRAINED} "
            said.append(f"{name}: {what}in {better} of {count(tasks, 'task')}")
    return f"{'; '.join(said)}."


def _is_single(analysis: Analysis) -> bool:
    """Return whether one replicate leaves unknown how runs differ, so that nothing is tested."""
    return len(analysis.design.blocks) < 2


def _verdicts(analysis: Analysis) -> str:
    """Return the verdicts, and whether the study could have told."""
    said = []
    for claim in analysis.claims[:_MOST]:
        group, found = claim.group, claim.correlation
        name = f"{group.objective} ({group.encoder})"
        if len(analysis.design.encoders) == 1:
            name = group.objective
        slope = ""
        if found is not None:
            metric = group.endpoint.metric
            value = signed(found.slope.value, metric.slope_digits)
            slope = f" ({value} {metric.unit or metric.short} per doubling)"
        said.append(f"{name}: {_verdict(claim)}{slope}")
    seen, sight = {claim.could_see for claim in analysis.claims}, ""
    if seen == {True}:
        sight = " The positive control rises: an effect could be seen."
    elif seen == {False}:
        sight = " The positive control does not rise"
        is_seen = any(claim.verdict in ("rises", "falls") for claim in analysis.claims)
        sight += "." if is_seen else ": no effect could have been seen."
    return f"{'; '.join(said)}.{sight}"


def _verdict(claim: Claim) -> str:
    """Return the verdict in a word; of an error, which falls where accuracy rises, in its own."""
    if claim.group.endpoint.metric.higher_is_better:
        return claim.verdict
    return {"rises": "improves", "falls": "worsens"}.get(claim.verdict, claim.verdict)


def _asked(analysis: Analysis, sources: Sequence[str]) -> str:
    design, metric, names = analysis.design, analysis.primary_metric, _declared(analysis)
    scale = "; 0.5 is guessing, 1 is without error" if metric.short == "AUROC" else ""
    return (
        f"When an encoder ({listed(design.encoders)}) is pretrained by {listed(names)} on more "
        f"patients of {listed(sources)}, without their labels, does {metric.title} on "
        f"{title_of(design.primary)} improve{scale}? {count(len(design.sizes), 'size')}, each "
        f"{_repeats(len(design.blocks))}; tested on patients that it never saw."
    )


def _declared(analysis: Analysis) -> list[str]:
    names = list(analysis.design.declared)
    more = len(names) - _MOST
    return names if more <= 0 else [*names[:_MOST], f"{more} more"]


def _repeats(blocks: int) -> str:
    if blocks == 1:
        return "once"
    return f"{blocks} times, with other patients and other random numbers (a replicate)"


def _helps(analysis: Analysis) -> str:
    said = [
        text
        for name in analysis.design.declared[:_MOST]
        for encoder in analysis.design.encoders
        if (text := _against_all(analysis, name, encoder))
    ]
    if _is_single(analysis):
        said.insert(0, "One replicate does not show how runs differ, so no difference is tested.")
    return " ".join(said) or "Open: no objective has numbers to hold against a control."


def _against_all(analysis: Analysis, objective: str, encoder: str) -> str:
    """Say in how many tasks an objective is better than what saw no pretraining data."""
    design, primary = analysis.design, analysis.design.primary
    counts: list[str] = []
    names: list[str] = []
    for control, words in _controls(analysis).items():
        of = (objective, encoder, control)
        held = [t for t in analysis.further.tallies if (t.objective, t.encoder, t.control) == of]
        if not held:
            continue
        better, worse, unclear = (
            sum(len(getattr(one, key)) for one in held) for key in ("better", "worse", "unclear")
        )
        of_tasks = f" of {count(better + worse + unclear, 'task')}" if not counts else ""
        less = f" (worse in {worse})" if worse else ""
        counts.append(f"than {words} in {better}{of_tasks}{less}")
        names.append(control)
    if not counts:
        return ""
    scores = [
        number(analysis.means.mean(primary, encoder, name), primary.metric.digits)
        for name in (objective, *names)
    ]
    which = f"{objective} ({encoder})" if len(design.encoders) > 1 else objective
    return (
        f"{which} at {design.sizes[-1]:,} patients is better {listed(counts)}; on the primary task "
        f"it reaches {scores[0]} against {listed(scores[1:])}."
    )


def _controls(analysis: Analysis) -> dict[str, str]:
    """Return what an objective is held against here: its name, and what it is in words."""
    table, scaled = analysis.collection.table, analysis.design.objectives
    kinds = dict(zip(table["objective"], table["kind"], strict=True))
    known = {
        RANDOM: UNTRAINED,
        FEATURES: "hand-crafted features",
        SUPERVISED: "an encoder trained on all labels",
    }
    found = {
        name: name if name == FEATURES else kind
        for name, kind in kinds.items()
        if name not in scaled
    }
    ordered = sorted(
        (name for name, kind in found.items() if kind in known),
        key=lambda name: list(known).index(found[name]),
    )
    return {name: known[found[name]] for name in ordered}


def _more(analysis: Analysis) -> str:
    said = [_of_claim(analysis, claim) for claim in analysis.claims[:_MOST]]
    further = len(analysis.claims) - _MOST
    if further > 0:
        said.append(f"The verdicts of {count(further, 'further objective')} stand below.")
    return " ".join([*said, *_of_controls(analysis)])


def _of_claim(analysis: Analysis, claim: Claim) -> str:
    found, group = claim.correlation, claim.group
    if found is None:
        return headline(claim)
    metric = group.endpoint.metric
    digits, key = metric.slope_digits, (group.objective, group.encoder, group.regime)
    text = f"{headline(claim)} {_slope(claim)} per doubling of the patients"
    for one in analysis.further.pooled:
        same = (one.objective, one.encoder, one.regime) == key and one.measure == metric.title
        if same and one.pool is not None:
            mean = with_interval(one.pool.these, digits)
            text += f", {mean} in the mean over {count(len(one.endpoints), 'task')}"
    if math.isnan(found.detectable_slope):
        return f"{text}."
    least = number(found.detectable_slope, digits)
    return f"{text}; a slope of {least} would have been found four times out of five."


def _of_controls(analysis: Analysis) -> list[str]:
    """Say whether the study could have seen an effect, and what rises that should not."""
    said = []
    for claim in analysis.positive_controls:
        name = f"the positive control ({claim.group.objective}, which learns from labels)"
        if claim.correlation is None:
            said.append(f"Whether it could have seen an effect is open: {name} has no numbers.")
        elif claim.verdict == "no test":
            said.append(f"Whether it could have seen an effect is open: {name} was not tested.")
        elif claim.verdict == "rises":
            said.append(f"It could see an effect: {name} {_verdict(claim)}, {_slope(claim)}.")
        else:
            said.append(f"It could not have seen an effect: {name} does not rise, {_slope(claim)}.")
    return said + [
        f"Warning: the negative control ({claim.group.objective}) rises as well, {_slope(claim)}: "
        "not all that rises here is an effect of what recordings hold."
        for claim in analysis.negative_controls
        if claim.verdict == "rises"
    ]


def _slope(claim: Claim) -> str:
    if claim.correlation is None:
        return ""
    metric, interval = claim.group.endpoint.metric, claim.interval
    value = signed(claim.correlation.slope.value, metric.slope_digits)
    return (
        f"{value} {metric.unit or metric.short} ({percent(interval.confidence)} interval "
        f"{ends(interval.low, interval.high, metric.slope_digits)})"
    )
