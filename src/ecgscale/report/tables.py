"""Tables of the report: plain text cells, the same for HTML and Markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint, protocol_words
from ecgscale.report.levels import Levels, level_text
from ecgscale.scaling.claims import Claim, interval, number, p_text, signed
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Comparison, Correlation, Estimate, Group
from ecgscale.scaling.laws import LawComparison
from ecgscale.study.endpoints import USUAL, endpoints
from ecgscale.study.file import Study

Rows = list[list[str]]
LOWER = " Of an error (MAE) lower is better."


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes
    ----------
    name
        Its id on the page.
    caption
        What the rows are, in one or two sentences.
    columns
        Headings.
    rows
        Cells as text, one list a row; the first `stub` cells name the row.
    """

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: Rows
    stub: int = 1


def correlations_table(
    found: Sequence[Group],
    correlations: Sequence[Correlation | None],
    titles: dict[str, str],
    confidence: float,
    name: str = "correlations",
) -> Table:
    """Return the coefficients and slopes of the groups, complete or not.

    Parameters
    ----------
    correlations
        One for each of `found`; None where the group has a problem.
    titles
        Name of an endpoint to its title.
    name
        Of the table, unique on the page.
    """
    several = len({(g.encoder, g.regime) for g in found}) > 1
    mixed = _has_errors([g.endpoint for g in found])
    rows: Rows = []
    for group, found_one in zip(found, correlations, strict=True):
        measure = group.endpoint.measure
        names = [_task(group.endpoint, titles), group.objective]
        names += [group.encoder, group.regime.replace("_", " ")] if several else []
        if found_one is None:
            rows.append([*names, f"not estimable: {group.problem}", *[""] * 6])
            continue
        rows.append(
            [
                *names,
                _with_interval(found_one.rho, 2),
                p_text(found_one.rho_test.p).removeprefix("= "),
                _with_interval(found_one.tau, 2),
                p_text(found_one.tau_test.p).removeprefix("= "),
                _with_interval(found_one.slope, measure.slope_digits),
                number(found_one.detectable_slope, measure.slope_digits),
                number(found_one.reseed_sd, measure.slope_digits),
            ]
        )
    extra = ("Encoder", "Regime") if several else ()
    return Table(
        name,
        f"{'The main metric' if mixed else 'Macro AUROC'} against log2 of the pretraining "
        f"patients, with {confidence:.0%} intervals. "
        "p values are of single tests; tasks share test patients and are not independent."
        f"{LOWER if mixed else ''}",
        (
            "Task",
            "Objective",
            *extra,
            "Spearman \u03c1",
            "p",
            "Kendall \u03c4b",
            "p",
            "Slope per doubling",
            "Detectable slope",
            "Reseed SD",
        ),
        rows,
        stub=2 + len(extra),
    )


def levels_table(
    study: Study, levels: Levels, measured: Sequence[Endpoint], titles: dict[str, str]
) -> Table:
    """Return mean scores of objectives at the largest size, of controls and of baselines."""
    several, mixed = len(study.grid.encoders) > 1, _has_errors(measured)
    rows: Rows = [
        [
            _task(endpoint, titles),
            *([encoder] if several else []),
            *(
                level_text(levels.mean(endpoint, encoder, name), endpoint.measure)
                for name in levels.columns
            ),
        ]
        for endpoint in measured
        for encoder in study.grid.encoders
    ]
    return Table(
        "levels",
        f"Mean test {'score' if mixed else 'macro AUROC'}: objectives at {levels.largest:,} "
        "pretraining patients, then controls and baselines, which see none. Objectives with a "
        f"missing run show a dash.{LOWER if mixed else ''}",
        ("Task", *(["Encoder"] if several else []), *levels.columns),
        rows,
        stub=2 if several else 1,
    )


def readouts_table(
    study: Study,
    pairs: Sequence[tuple[Group, Correlation | None]],
    collection: Collection,
    confidence: float,
) -> Table:
    """Return the slopes of one task, a row for each protocol.

    Parameters
    ----------
    pairs
        Groups of the task with their correlations, None where a group has a problem.
    """
    measure = pairs[0][0].endpoint.measure
    several = len(study.grid.encoders) > 1
    found = {(g.endpoint, g.encoder, g.objective): c for g, c in pairs}
    rows: Rows = [
        [
            protocol_words(endpoint.protocol),
            *([encoder] if several else []),
            _labelled(collection, endpoint),
            *(
                _with_interval(c.slope, measure.slope_digits) if c else "\u2013"
                for c in (found[endpoint, encoder, name] for name in study.grid.objectives)
            ),
        ]
        for endpoint, encoder in dict.fromkeys((g.endpoint, g.encoder) for g, _ in pairs)
    ]
    return Table(
        "readouts",
        f"Slope of {measure.label} per doubling on the primary task, with {confidence:.0%} "
        "intervals. The first row is that of the answer; the others were not declared as tests. A "
        f"dash: not estimable.{'' if measure.higher_is_better else LOWER}",
        (
            "Readout",
            *(["Encoder"] if several else []),
            "Labelled patients",
            *study.grid.objectives,
        ),
        rows,
        stub=2 if several else 1,
    )


def readout_levels_table(study: Study, levels: Levels, measured: Sequence[Endpoint]) -> Table:
    """Return the mean scores of one task, a row for each protocol; baselines have no readout."""
    several, measure = len(study.grid.encoders) > 1, measured[0].measure
    rows: Rows = [
        [
            protocol_words(endpoint.protocol),
            *([encoder] if several else []),
            *(
                level_text(levels.mean(endpoint, encoder, name), measure)
                for name in levels.read_out
            ),
        ]
        for endpoint in measured
        for encoder in study.grid.encoders
    ]
    return Table(
        "readout-levels",
        f"Mean test {measure.label} of the same: objectives at {levels.largest:,} pretraining "
        "patients, then controls, which see none. A dash: a run is missing."
        f"{'' if measure.higher_is_better else LOWER}",
        ("Readout", *(["Encoder"] if several else []), *levels.read_out),
        rows,
        stub=2 if several else 1,
    )


def _labelled(collection: Collection, endpoint: Endpoint) -> str:
    table = collection.table
    read_out = (table["endpoint"] == endpoint.name) & table["encoder"].notna()
    return _range(table.loc[read_out, "train_patients"].dropna(), 0)


def _task(endpoint: Endpoint, titles: dict[str, str]) -> str:
    """Return the title of a row; what is not an AUROC is named with its unit."""
    measure = endpoint.measure
    return titles[endpoint.name] + ("" if measure.higher_is_better else f": {measure.label}")


def _has_errors(measured: Sequence[Endpoint]) -> bool:
    return any(not endpoint.measure.higher_is_better for endpoint in measured)


def comparisons_table(comparisons: Sequence[Comparison], confidence: float) -> Table:
    """Return the objectives against their controls, at one endpoint."""
    several = len({(c.encoder, c.regime) for c in comparisons}) > 1
    measure = comparisons[0].endpoint.measure if comparisons else USUAL
    return Table(
        "comparisons",
        "Objective minus control on the primary task, "
        f"paired by order and seed where the control scales too, with {confidence:.0%} intervals."
        f"{'' if measure.higher_is_better else LOWER}",
        (
            "Objective",
            "Control",
            *(["Encoder"] if several else []),
            "Slope per doubling",
            f"{measure.label.removeprefix('macro ')} at the largest size",
            "Interval covers",
        ),
        [
            [
                c.objective,
                c.control,
                *([c.encoder] if several else []),
                _with_interval(c.slope, measure.slope_digits) if c.slope else "\u2013",
                _with_interval(c.level, measure.digits),
                c.level.covers,
            ]
            for c in comparisons
        ],
        stub=2,
    )


def laws_table(laws: Sequence[tuple[Group, LawComparison]]) -> Table:
    """Return the scaling laws of the primary groups."""
    rows: Rows = []
    measure = laws[0][0].endpoint.measure if laws else USUAL
    error = f"error 1 \u2212 {measure.short}" if measure.higher_is_better else measure.label
    for group, comparison in laws:
        if comparison.problem:
            rows.append([group.objective, f"not fitted: {comparison.problem}", "", "", "", ""])
        usable = [law.aicc for law in comparison.laws if not law.problem]
        for law in comparison.laws:
            if law.problem:
                rows.append([group.objective, law.name, law.formula, law.problem, "", ""])
                continue
            rows.append(
                [
                    group.objective,
                    law.name,
                    law.formula,
                    ", ".join(f"{key} = {value:.4g}" for key, value in law.params.items()),
                    number(law.aicc - usable[0], 1),
                    signed(law.extrapolation, measure.slope_digits),
                ]
            )
    return Table(
        "laws",
        f"Laws of the {error}, "
        "best first. A difference of AICc below 2 does not tell two laws apart. The last column is "
        f"the predicted minus the observed {measure.short} at the largest size, from a fit that "
        "had not seen it.",
        ("Objective", "Law", "Form", "Fit", "\u0394 AICc", "Held-out largest size"),
        rows,
        stub=2,
    )


def tasks_table(study: Study, collection: Collection, titles: dict[str, str]) -> Table:
    """Return what each task measures: labels used, labels left out, test positives."""
    rows: Rows = []
    for endpoint in endpoints(study)[: len(study.evaluation.tasks)]:
        if not endpoint.measure.higher_is_better:
            what = "a number"
            rows.append([_task(endpoint, titles), what, "\u2013", "\u2013", "none"])
            continue
        labels = collection.labels.get(endpoint.name, [])
        used = [label for label in labels if label.get("included")]
        positives = [int(label.get("positives") or 0) for label in used]
        absent = [str(label["name"]) for label in labels if not label.get("included")]
        rows.append(
            [
                titles[endpoint.name],
                f"{len(used)} of {len(labels)}",
                f"{sum(positives):,}" if positives else "\u2013",
                f"{min(positives):,}" if positives else "\u2013",
                ", ".join(absent) or "none",
            ]
        )
    return Table(
        "tasks",
        "Labels that enter each macro mean. A label with too few test positives has no usable "
        "AUROC and is left out of the mean, not counted as 0 or 1.",
        ("Task", "Labels used", "Test positives", "Fewest per label", "Left out"),
        rows,
    )


def data_table(study: Study, collection: Collection) -> Table:
    """Return what each pretraining size held; ranges are over nesting orders and objectives."""
    table = collection.table
    scaled = table[table["objective"].isin(study.grid.objectives)].drop_duplicates("cell")
    several = scaled["regime"].nunique() > 1
    rows: Rows = []
    for (regime, size), here in scaled.groupby(["regime", "size"], sort=True):
        rows.append(
            [
                f"{size:,}",
                *([str(regime).replace("_", " ")] if several else []),
                _range(here["records"], 0),
                _range(here["hours"], 1),
                _range(here["sources"], 0),
                _range(here["samples_seen"], 0),
                _range(here["epochs"], 1),
            ]
        )
    return Table(
        "data",
        "Pretraining data at each size: subsets of patients, nested within an order. A range is "
        "over orders and objectives.",
        (
            "Patients",
            *(["Regime"] if several else []),
            "Records",
            "Hours",
            "Sources",
            "Samples seen",
            "Epochs",
        ),
        rows,
    )


def gaps_table(collection: Collection) -> Table:
    """Return the cells that are missing or incomplete."""
    return Table(
        "gaps",
        "Cells of the study's grid that are missing or incomplete.",
        ("Cell", "What is missing"),
        [[gap.cell, gap.reason] for gap in collection.gaps],
    )


def collapse_table(study: Study, collection: Collection) -> Table:
    """Return the collapsed runs."""
    table = collection.table
    scaled = table["objective"].isin(study.grid.objectives)
    cells = table[scaled & table["collapsed"].astype(bool)].drop_duplicates("cell")
    return Table(
        "collapsed",
        "Runs whose embeddings collapsed during pretraining. They are drawn as crosses, and the "
        "whole block (order and seed) of each is left out of every estimate.",
        ("Cell", "Patients", "Order", "Seed"),
        [
            [row["cell"], f"{row['size']:,}", str(row["order"]), str(row["seed"])]
            for row in cells.to_dict("records")
        ],
    )


def primary_rows(claims: Sequence[Claim], confidence: float) -> list[dict[str, str]]:
    """Return the figures of the answer card, one dictionary a claim, for the templates."""
    cards = []
    for claim in claims:
        c, measure = claim.correlation, claim.endpoint.measure
        card = {
            "objective": claim.objective,
            "encoder": claim.encoder,
            "verdict": claim.verdict,
            "headline": claim.headline,
        }
        if c is not None:
            orders = {order for order, _ in c.group.blocks}
            seeds = {seed for _, seed in c.group.blocks}
            card |= {
                "rho": signed(c.rho.value, 2),
                "rho_interval": interval(c.rho, 2),
                "p": p_text(c.rho_test.p),
                "p_kind": f"{c.rho_test.draws:,} draws" if c.rho_test.draws else "exact",
                "p_holm": p_text(claim.p_holm),
                "slope": signed(c.slope.value, measure.slope_digits),
                "slope_of": measure.label.removeprefix("macro "),
                "direction": "" if measure.higher_is_better else "lower is better",
                "slope_interval": interval(c.slope, measure.slope_digits),
                "detectable": number(c.detectable_slope, measure.slope_digits) + measure.suffix,
                "confidence": f"{confidence:.0%}",
                "design": f"{_count(len(c.group.sizes), 'size')}, {_count(len(orders), 'order')}, "
                f"{_count(len(seeds), 'seed')}",
                "covers": c.slope.covers,
            }
        cards.append(card)
    return cards


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}{'' if n == 1 else 's'}"


def _with_interval(estimate: Estimate, digits: int) -> str:
    return f"{signed(estimate.value, digits)} ({interval(estimate, digits)})"


def _range(values: pd.Series, digits: int) -> str:
    low, high = float(values.min()), float(values.max())
    if math.isnan(low):
        return "\u2013"
    if round(low, digits) == round(high, digits):
        return f"{low:,.{digits}f}"
    return f"{low:,.{digits}f}\u2013{high:,.{digits}f}"
