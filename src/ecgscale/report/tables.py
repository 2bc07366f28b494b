"""Tables of the report: plain text cells, the same for HTML and Markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ecgscale.config import Study
from ecgscale.scaling.claims import Claim, interval, number, p_text, signed
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Comparison, Correlation, Estimate, Group
from ecgscale.scaling.laws import LawComparison

Rows = list[list[str]]


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
) -> Table:
    """Return the coefficients and slopes of every group, complete or not."""
    several = len({(g.encoder, g.regime) for g in found}) > 1
    rows: Rows = []
    for group, found_one in zip(found, correlations, strict=True):
        names = [titles.get(group.task, group.task), group.objective]
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
                _with_interval(found_one.slope, 4),
                number(found_one.detectable_slope, 4),
                number(found_one.reseed_sd, 4),
            ]
        )
    extra = ("Encoder", "Regime") if several else ()
    return Table(
        "correlations",
        f"Macro AUROC against log2 of the pretraining patients, with {confidence:.0%} intervals. "
        "p values are of single tests; tasks share test patients and are not independent.",
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


def levels_table(study: Study, collection: Collection, titles: dict[str, str]) -> Table:
    """Return mean macro AUROC of objectives at the largest size, of controls and of baselines."""
    table = collection.table
    largest = max(study.grid.sizes)
    chosen = table[
        ((table["size"] == largest) | ~table["objective"].isin(study.grid.objectives))
        & ~table["collapsed"].astype(bool)
    ]
    columns = [
        name for name in dict.fromkeys(chosen["objective"]) if (chosen["objective"] == name).any()
    ]
    several = len(study.grid.encoders) > 1
    rows: Rows = []
    for task in study.evaluation.tasks:
        for encoder in study.grid.encoders:
            here = chosen[
                (chosen["task"] == task)
                & (chosen["encoder"].isna() | (chosen["encoder"] == encoder))
            ]
            rows.append(
                [
                    titles.get(task, task),
                    *([encoder] if several else []),
                    *(_level(study, here[here["objective"] == name]) for name in columns),
                ]
            )
    return Table(
        "levels",
        f"Mean test macro AUROC: objectives at {largest:,} pretraining patients, then controls and "
        "baselines, which see none. Objectives with a missing run show a dash.",
        ("Task", *(["Encoder"] if several else []), *columns),
        rows,
        stub=2 if several else 1,
    )


def _level(study: Study, rows: pd.DataFrame) -> str:
    if rows.empty or rows["macro_auroc"].isna().any():
        return "\u2013"
    wanted = len(study.grid.orders) * len(study.grid.seeds)
    scaled = rows["objective"].iloc[0] in study.grid.objectives
    if scaled and len(rows) < wanted:
        return "\u2013"
    return number(float(rows["macro_auroc"].mean()), 3)


def comparisons_table(comparisons: Sequence[Comparison], confidence: float) -> Table:
    """Return the objectives against their controls."""
    several = len({(c.encoder, c.regime) for c in comparisons}) > 1
    return Table(
        "comparisons",
        "Objective minus control on the primary task, "
        f"paired by order and seed where the control scales too, with {confidence:.0%} intervals.",
        (
            "Objective",
            "Control",
            *(["Encoder"] if several else []),
            "Slope per doubling",
            "AUROC at the largest size",
            "Interval covers",
        ),
        [
            [
                c.objective,
                c.control,
                *([c.encoder] if several else []),
                _with_interval(c.slope, 4) if c.slope else "\u2013",
                _with_interval(c.level, 3),
                c.level.covers,
            ]
            for c in comparisons
        ],
        stub=2,
    )


def laws_table(laws: Sequence[tuple[Group, LawComparison]]) -> Table:
    """Return the scaling laws of the primary groups."""
    rows: Rows = []
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
                    signed(law.extrapolation, 4),
                ]
            )
    return Table(
        "laws",
        "Laws of the error 1 \u2212 AUROC, best first. A difference of AICc below 2 does not tell "
        "two laws apart. The last column is the predicted minus the observed AUROC at the largest "
        "size, from a fit that had not seen it.",
        ("Objective", "Law", "Form", "Fit", "\u0394 AICc", "Held-out largest size"),
        rows,
        stub=2,
    )


def tasks_table(study: Study, collection: Collection, titles: dict[str, str]) -> Table:
    """Return what each task measures: labels used, labels left out, test positives."""
    rows: Rows = []
    for task in study.evaluation.tasks:
        labels = collection.labels.get(task, [])
        used = [label for label in labels if label.get("included")]
        positives = [int(label.get("positives") or 0) for label in used]
        absent = [str(label["name"]) for label in labels if not label.get("included")]
        rows.append(
            [
                titles.get(task, task),
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
        c = claim.correlation
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
                "slope": signed(c.slope.value, 4),
                "slope_interval": interval(c.slope, 4),
                "detectable": number(c.detectable_slope, 4),
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
