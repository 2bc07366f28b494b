"""Arms, model sizes, labels and sources: what the page says of them, and their tables."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ecgscale.evaluation.metrics import MainMetric
from ecgscale.report.further import estimate_columns, group_columns
from ecgscale.report.tables import Rows, Table
from ecgscale.report.words import count, if_error, number, p_text, with_interval
from ecgscale.scaling.arms import Arm
from ecgscale.scaling.further import Further
from ecgscale.scaling.labels import Exchange, Labels
from ecgscale.scaling.surface import TERMS, Surface
from ecgscale.scaling.variance import Estimate
from ecgscale.scaling.without import LeftOut

_OF_REGIME = {
    "fixed_steps": "data at equal compute",
    "fixed_epochs": "data and compute together",
}


@dataclass(frozen=True)
class Contrast:
    """A part of the page: a title, sentences that follow the numbers by fixed rules, a table."""

    title: str
    sentences: list[str]
    table: Table


def contrasts(found: Further, primary: str) -> list[Contrast]:
    """Return the parts that a study has something for, of the primary task alone."""
    arms = [one for one in found.arms if one.arm.endpoint.name == primary]
    surfaces = [one for one in found.surfaces if one.groups[0].endpoint.name == primary]
    means = [one for one in found.left_out if one.size is None]
    level, alpha = found.confidence, 1 - found.confidence
    parts = [
        Contrast(
            "Arms: the same objective under another training",
            [_arm_sentence(one, arms, level) for one in arms if one.size is None],
            _arms_table(arms, level),
        ),
        Contrast(
            "Without a source",
            [_source_sentence(one, means, alpha) for one in means],
            _sources_table(found.left_out, level),
        ),
        Contrast(
            "Data and model size",
            [_surface_sentence(one, len(surfaces), alpha) for one in surfaces],
            _surfaces_table(surfaces, level),
        ),
        Contrast(
            "Do pretraining patients stand in for labels?",
            [_labels_sentence(one, len(found.labels), alpha) for one in found.labels],
            _labels_table(found.labels, level),
        ),
    ]
    return [part for part in parts if part.sentences]


def _change(value: float, p: float, alpha: float, metric: MainMetric) -> str:
    """Return "higher" or "lower", of an error with what that means; "" where it is not told."""
    if not p <= alpha:
        return ""
    better = metric.better(value)
    word = "higher" if value > 0 else "lower"
    return word + if_error(metric, f", {'better' if better else 'worse'}")


def _tested(found: Estimate, p_holm: float, tests: int) -> str:
    """Say what an interval covers, and its p with the family that it is adjusted over."""
    over = f", Holm-adjusted over {count(tests, 'contrast')} {p_text(p_holm)}" if tests > 1 else ""
    return f"covering {found.covers}, p {p_text(found.p)}{over}"


def _unit(metric: MainMetric) -> str:
    return metric.unit or metric.short


def _not_told(estimate: Estimate, so: str) -> str:
    """Say that nothing is established, and what is therefore open."""
    if math.isnan(estimate.p):
        return f"not tested, since one replicate does not show how runs differ: {so} is open"
    return f"not told apart from zero: {so} is open"


def _arm_sentence(one: Arm, arms: Sequence[Arm], confidence: float) -> str:
    arm, parent, metric = one.arm, one.parent, one.arm.endpoint.metric
    names = f"{arm.objective} against {parent.objective} ({arm.encoder})"
    if one.difference is None or one.of_arm is None or one.of_parent is None:
        return f"{names}: not estimable, because of {one.problem}."
    digits = metric.slope_digits
    tests = sum(other.size is None for other in arms)
    told = _change(one.difference.value, one.p_holm, 1 - confidence, metric)
    said = (
        f"the arm's slope is {told}"
        if told
        else _not_told(one.difference, "whether the slopes differ")
    )
    text = (
        f"{names}: slope {with_interval(one.of_arm, digits)} against "
        f"{with_interval(one.of_parent, digits)} {_unit(metric)} per doubling of the patients, "
        f"difference {with_interval(one.difference, digits)}, "
        f"{_tested(one.difference, one.p_holm, tests)}; {said}."
    )
    if arm.regime == parent.regime:
        return text
    kinds = [f"that of {g.objective} is of {_OF_REGIME[g.regime]}" for g in (arm, parent)]
    return (
        f"{text} Of the two slopes {kinds[0]}, {kinds[1]}. At one size they differ in compute "
        "as well, by how many steps and epochs were asked for, so their levels do not show what "
        "data do."
    )


def _arms_table(arms: Sequence[Arm], confidence: float) -> Table:
    rows: Rows = []
    for one in arms:
        metric = one.arm.endpoint.metric
        where = "slope per doubling" if one.size is None else f"{one.size:,} patients"
        digits = metric.slope_digits if one.size is None else metric.digits
        rows.append(
            [
                *(one.arm.objective, one.parent.objective, one.arm.encoder),
                *(one.arm.regime.replace("_", " "), one.parent.regime.replace("_", " "), where),
                *(_or_empty(e, digits) for e in (one.of_arm, one.of_parent)),
                _or_problem(one.difference, digits, one.problem),
                p_text(one.p_holm).removeprefix("= "),
            ]
        )
    return Table(
        "arms",
        "Primary task: arms against their parents, paired by replicate, with "
        f"{confidence:.0%} intervals. Holm's adjustment is over the slopes of all arms, and apart "
        "from them over all their sizes.",
        (
            *("Arm", "Parent", "Encoder", "Regime of the arm", "Of the parent", "At"),
            *("Arm's", "Parent's", "Difference", "p, Holm"),
        ),
        rows,
        stub=6,
    ).without("Encoder", unless=len({one.arm.encoder for one in arms}) > 1)


def _or_empty(estimate: Estimate | None, digits: int) -> str:
    return "" if estimate is None else with_interval(estimate, digits)


def _or_problem(estimate: Estimate | None, digits: int, problem: str) -> str:
    return problem if estimate is None else with_interval(estimate, digits)


def _source_sentence(one: LeftOut, means: Sequence[LeftOut], alpha: float) -> str:
    arm, parent, metric = one.arm, one.parent, one.arm.endpoint.metric
    names = f"{arm.objective} against {parent.objective} ({arm.encoder})"
    sources = " or ".join(one.sources)
    if one.same_patients is None:
        return f"{names}: not estimable, because of {one.problem}."
    found = one.same_patients
    told = _change(found.value, one.p_holm, alpha, metric)
    worth = "less" if metric.better(found.value) else "more"
    said = (
        f"a patient of {sources} is worth {worth} than the average patient of the pool"
        if told
        else _not_told(
            found, f"whether a patient of {sources} is worth more or less than the average one"
        )
    )
    lost = ""
    if one.same_size is not None:
        lost = (
            f" Of the same draw, with none in their place: arm minus parent "
            f"{with_interval(one.same_size, metric.digits)}."
        )
    return (
        f"{names}: arm minus parent at as many patients "
        f"{with_interval(found, metric.digits)} {_unit(metric)}, mean over the "
        f"{count(one.sizes, 'size')} that can be compared, "
        f"{_tested(found, one.p_holm, len(means))}; {said}.{lost}"
    )


def _sources_table(found: Sequence[LeftOut], confidence: float) -> Table:
    rows: Rows = []
    for one in found:
        digits = one.arm.endpoint.metric.digits
        rows.append(
            [
                *(one.arm.objective, one.parent.objective, one.arm.encoder),
                "mean over sizes" if one.size is None else f"{one.size:,}",
                "" if math.isnan(one.left) else number(one.left, 0),
                _or_empty(one.same_size, digits),
                _or_problem(one.same_patients, digits, one.problem),
                "" if one.size else p_text(one.p_holm).removeprefix("= "),
            ]
        )
    return Table(
        "without-sources",
        "Primary task: an arm without some sources minus its parent, paired by replicate, with "
        f"{confidence:.0%} intervals: at the size before these patients were dropped, and at as "
        "many patients as are left, where the parent's curve is read between its sizes along "
        "straight lines over log2 of the patients. Holm's adjustment is over the means of all "
        "arms.",
        (
            *("Arm", "Parent", "Encoder", "Patients drawn", "Patients left"),
            *("Arm minus parent, same draw", "Arm minus parent, as many patients", "p, Holm"),
        ),
        rows,
        stub=4,
    ).without("Encoder", unless=len({one.arm.encoder for one in found}) > 1)


def _surface_sentence(one: Surface, tests: int, alpha: float) -> str:
    names = f"{one.groups[0].objective} on {', '.join(group.encoder for group in one.groups)}"
    metric = one.groups[0].endpoint.metric
    if not one.terms:
        return f"{names}: not estimable, because of {one.problem}."
    digits, product = metric.slope_digits, one.terms["product"]
    more = "more" if metric.better(product.value) else "less"
    told = _change(product.value, one.p_holm, alpha, metric)
    said = (
        f"of these encoders larger ones gain {more} from patients"
        if told
        else _not_told(product, "whether larger encoders gain more from patients")
    )
    return (
        f"{names} ({', '.join(f'{n:,.0f}' for n in one.parameters)} parameters): per doubling of "
        f"the patients {with_interval(one.terms['patients'], digits)} {_unit(metric)} in the "
        f"middle of the encoders, per doubling of the parameters "
        f"{with_interval(one.terms['parameters'], digits)} in the middle of the sizes; each "
        f"doubling of the parameters changes the slope on patients by "
        f"{with_interval(product, digits)}, {_tested(product, one.p_holm, tests)}; {said}."
    )


def _surfaces_table(found: Sequence[Surface], confidence: float) -> Table:
    rows: Rows = []
    for one in found:
        metric = one.groups[0].endpoint.metric
        names = [
            one.groups[0].objective,
            ", ".join(group.encoder for group in one.groups),
            ", ".join(f"{n:,.0f}" for n in one.parameters),
        ]
        if not one.terms:
            rows.append([*names, f"not estimable: {one.problem}", "", "", "", ""])
            continue
        digits = dict.fromkeys(TERMS, metric.slope_digits) | {"level": metric.digits}
        cells = [with_interval(one.terms[name], digits[name]) for name in TERMS]
        rows.append([*names, *cells, p_text(one.p_holm).removeprefix("= ")])
    return Table(
        "surface",
        "Primary task: score over log2 of patients and of encoder parameters, a least-squares "
        f"surface in each replicate, with {confidence:.0%} intervals. Both axes are centred; the "
        "product is what a doubling of the parameters adds to the slope per doubling of the "
        "patients. Intervals are about these encoders, which differ in shape and compute as well, "
        "not about all of their kind. Holm's adjustment of the product is over the rows.",
        (
            *("Objective", "Encoders", "Parameters", "Level in the middle"),
            *("Per doubling of patients", "Per doubling of parameters", "Product", "p, Holm"),
        ),
        rows,
        stub=3,
    )


def _labels_sentence(one: Labels, tests: int, alpha: float) -> str:
    few, metric = one.few, one.few.endpoint.metric
    names = f"{few.objective} ({few.encoder}, {few.endpoint.protocol.name})"
    if one.interaction is None or one.of_few is None or one.of_full is None:
        return f"{names}: not estimable, because {one.problem}."
    digits = metric.slope_digits
    told = _change(one.interaction.value, one.p_holm, alpha, metric)
    more = "more" if metric.better(one.interaction.value) else "less"
    said = (
        f"pretraining patients add {more} with few labels than with all"
        if told
        else _not_told(one.interaction, "whether patients add more with few labels")
    )
    size = one.few.sizes
    return (
        f"{names}: slope {with_interval(one.of_few, digits)} {_unit(metric)} per doubling with "
        f"{one.fraction:.0%} of the labels, {with_interval(one.of_full, digits)} with all, "
        f"difference {with_interval(one.interaction, digits)}, "
        f"{_tested(one.interaction, one.p_holm, tests)}; {said}. To equal "
        f"{size[-1]:,} pretraining patients with {one.fraction:.0%} of the labels, {size[0]:,} "
        f"need {_exchange_sentence(one.exchange)}."
    )


def _exchange_sentence(found: Exchange) -> str:
    ends = "" if math.isnan(found.low) else f" (interval {_range(found)})"
    if found.problem:
        return f"a number of labels that cannot be read off: {found.problem}{ends}"
    return f"{number(found.times, 2)} times as many labels{ends}"


def _range(found: Exchange) -> str:
    """Return the ends of an exchange; one that lies outside of what was measured is open."""
    low = "open" if found.low == 0 else number(found.low, 2)
    high = "open" if math.isinf(found.high) else number(found.high, 2)
    return f"{low} to {high}"


def _labels_table(found: Sequence[Labels], confidence: float) -> Table:
    rows: Rows = []
    for one in found:
        few, digits = one.few, one.few.endpoint.metric.slope_digits
        exchange = one.exchange
        times = exchange.problem or number(exchange.times, 2)
        rows.append(
            [
                *(few.objective, few.encoder, few.endpoint.protocol.name),
                *(_or_empty(e, digits) for e in (one.of_few, one.of_full)),
                _or_problem(one.interaction, digits, one.problem),
                p_text(one.p_holm).removeprefix("= "),
                "" if one.interaction is None else times,
                "" if math.isnan(exchange.low) else _range(exchange),
            ]
        )
    return Table(
        "labels",
        "Primary task: slope per doubling of the pretraining patients with a share of the labels "
        f"and with all, paired by replicate, with {confidence:.0%} intervals. Scores have an "
        "upper end, near which all slopes are small. The exchange is how many times the share of "
        "labels the smallest pretraining size needs to equal the largest, read between the shares "
        "that were measured along straight lines over log2; open is outside of them. A share is "
        "one draw of labelled patients, the same in every run: what another would change is in no "
        "interval. Holm's adjustment is over the rows.",
        (
            *("Objective", "Encoder", "Readout", "Slope, few labels", "Slope, all labels"),
            *("Difference", "p, Holm", "Exchange", "Its interval"),
        ),
        rows,
        stub=3,
    ).without("Encoder", unless=len({one.few.encoder for one in found}) > 1)


def contrast_frames(found: Further) -> dict[str, pd.DataFrame]:
    """Return tables for machines by their name, a row for every comparison."""
    rows: dict[str, list[dict[str, Any]]] = {
        "arms": [
            {
                **group_columns(one.arm),
                **{"parent": one.parent.objective, "parent_regime": one.parent.regime},
                **{"size": one.size, "problem": one.problem},
                **_known("arm", one.of_arm),
                **_known("parent_value", one.of_parent),
                **_known("difference", one.difference),
                "p_holm": one.p_holm,
            }
            for one in found.arms
        ],
        "sources": [
            {
                **group_columns(one.arm),
                **{"parent": one.parent.objective, "size": one.size, "patients_left": one.left},
                **{"sizes": one.sizes, "problem": one.problem},
                **_known("same_size", one.same_size),
                **_known("same_patients", one.same_patients),
                "p_holm": one.p_holm,
            }
            for one in found.left_out
        ],
        "surface": [
            {
                **{**group_columns(one.groups[0]), "encoder": None},
                "encoders": "; ".join(group.encoder for group in one.groups),
                "encoder_parameters": "; ".join(f"{n:.0f}" for n in one.parameters),
                "problem": one.problem,
                **{
                    key: value
                    for name, term in one.terms.items()
                    for key, value in estimate_columns(name, term).items()
                },
                "product_p_holm": one.p_holm,
            }
            for one in found.surfaces
        ],
        "labels": [
            {
                **group_columns(one.few),
                **{"fraction": one.fraction, "problem": one.problem},
                **_known("slope_few", one.of_few),
                **_known("slope_full", one.of_full),
                **_known("interaction", one.interaction),
                "p_holm": one.p_holm,
                **{f"exchange_{key}": value for key, value in vars(one.exchange).items()},
            }
            for one in found.labels
        ],
    }
    return {name: pd.DataFrame(table) for name, table in rows.items()}


def _known(name: str, estimate: Estimate | None) -> dict[str, Any]:
    return estimate_columns(name, estimate) if estimate else {}
