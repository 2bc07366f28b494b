"""Tables of the report: plain text cells, the same for HTML and Markdown."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.report.analysis import Analysis
from ecgscale.report.words import (
    DASH,
    if_error,
    name_of_change,
    number,
    p_text,
    readout_of,
    score_text,
    signed,
    title_of,
    with_interval,
)
from ecgscale.scaling.laws import Law

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

    @property
    def csv(self) -> str:
        """What is shown, as a file of comma-separated values."""
        return pd.DataFrame(self.rows, columns=list(self.columns)).to_csv(index=False)

    def without(self, column: str, unless: bool) -> "Table":
        """Return the table without a column that would say the same in every row."""
        if unless:
            return self
        place = self.columns.index(column)
        return replace(
            self,
            columns=self.columns[:place] + self.columns[place + 1 :],
            rows=[row[:place] + row[place + 1 :] for row in self.rows],
            stub=self.stub - (place < self.stub),
        )


def correlations_table(
    analysis: Analysis, endpoints: Sequence[Endpoint], name: str = "correlations"
) -> Table:
    """Return the coefficients and slopes of the groups of some endpoints, complete or not."""
    results = analysis.results_of(endpoints)
    several = len({(group.encoder, group.regime) for group, _ in results}) > 1
    mixed = _has_errors(endpoints)
    rows: Rows = []
    for group, found in results:
        digits, cells = group.endpoint.metric.slope_digits, [f"not estimable: {group.problem}"]
        if found is not None:
            cells = [
                with_interval(found.slope, digits),
                p_text(found.slope.p).removeprefix("= "),
                with_interval(found.rho, 2),
                with_interval(found.tau, 2),
                number(found.detectable_slope, digits),
                number(found.reseed_sd, digits),
            ]
        names = [_task(group.endpoint), group.objective, group.encoder]
        rows.append([*names, group.regime.replace("_", " "), *cells, *[""] * (6 - len(cells))])
    table = Table(
        name,
        f"{'The main metric' if mixed else 'Macro AUROC'} against log2 of the pretraining "
        f"patients, with {analysis.confidence:.0%} intervals. "
        "p is of the slope and of a single test; tasks share test patients and are not "
        "independent. "
        "A detectable slope is found with 80% power as one of the pre-declared tests."
        f"{LOWER if mixed else ''}",
        (
            *("Task", "Objective", "Encoder", "Regime"),
            *("Slope per doubling", "p", "Spearman \u03c1", "Kendall \u03c4b"),
            *("Detectable slope", "Reseed SD"),
        ),
        rows,
        stub=4,
    )
    return table.without("Encoder", unless=several).without("Regime", unless=several)


def components_table(analysis: Analysis) -> Table:
    """Return where the variance of a slope of the primary endpoint comes from, as SDs."""
    digits = analysis.primary_metric.slope_digits
    rows: Rows = []
    for group, found in analysis.results_of([analysis.design.primary]):
        if found is not None:
            parts = vars(found.components).values()
            sds = [number(math.sqrt(part), digits) for part in parts]
            rows.append([group.objective, group.encoder, *sds])
    several = len({row[1] for row in rows}) > 1
    return Table(
        "components",
        "Standard deviations of one run's slope per doubling on the primary task, by source. What "
        "is left of runs holds their own error with these test patients and, where orders and "
        "seeds are not crossed, order and seed. n/a: not estimable in this design.",
        ("Objective", "Encoder", "Order", "Seed", "Rest of runs", "Test patients, all runs alike"),
        rows,
        stub=2,
    ).without("Encoder", unless=several)


def means_table(analysis: Analysis) -> Table:
    """Return mean scores of objectives at the largest size, of controls and of baselines."""
    means, tasks = analysis.means, analysis.design.tasks
    mixed = _has_errors(tasks)
    caption = (
        f"Mean test {'score' if mixed else 'macro AUROC'}: objectives at {means.largest:,} "
        "pretraining patients, then controls and baselines, which see none. Objectives with a "
        f"missing run show a dash.{LOWER if mixed else ''}"
    )
    return _table_of_means(analysis, "levels", caption, "Task", _task, tasks, means.columns)


def readout_slopes_table(analysis: Analysis) -> Table:
    """Return the slopes of the primary task, a row for each protocol."""
    design, table, metric = analysis.design, analysis.collection.table, analysis.primary_metric
    slopes = {
        (group.endpoint, group.encoder, group.objective): (
            with_interval(found.slope, metric.slope_digits) if found else DASH
        )
        for group, found in analysis.results_of(design.readouts)
    }
    return Table(
        "readouts",
        f"Slope of {metric.label} per doubling on the primary task, with "
        f"{analysis.confidence:.0%} intervals. The first row is that of the answer; the others "
        f"were not declared as tests. A dash: not estimable.{if_error(metric, LOWER)}",
        ("Readout", "Encoder", "Labelled patients", *design.objectives),
        [
            [
                readout_of(endpoint),
                encoder,
                _labelled(table, endpoint),
                *(slopes[endpoint, encoder, objective] for objective in design.objectives),
            ]
            for endpoint, encoder in product(design.readouts, design.encoders)
        ],
        stub=2,
    ).without("Encoder", unless=len(design.encoders) > 1)


def readout_means_table(analysis: Analysis) -> Table:
    """Return the mean scores of the primary task, a row for each protocol.

    Baselines have no readout, so they have no column.
    """
    means, metric, readouts = analysis.means, analysis.primary_metric, analysis.design.readouts
    caption = (
        f"Mean test {metric.label} of the same: objectives at {means.largest:,} pretraining "
        "patients, then controls, which see none. A dash: a run is missing."
        f"{if_error(metric, LOWER)}"
    )
    shown = (readout_of, readouts, means.with_encoder)
    return _table_of_means(analysis, "readout-levels", caption, "Readout", *shown)


def _table_of_means(
    analysis: Analysis,
    name: str,
    caption: str,
    heading: str,
    row_title: Callable[[Endpoint], str],
    endpoints: Sequence[Endpoint],
    columns: Sequence[str],
) -> Table:
    means, encoders = analysis.means, analysis.design.encoders
    rows: Rows = [
        [row_title(e), encoder, *(score_text(means.mean(e, encoder, c), e.metric) for c in columns)]
        for e, encoder in product(endpoints, encoders)
    ]
    table = Table(name, caption, (heading, "Encoder", *columns), rows, stub=2)
    return table.without("Encoder", unless=len(encoders) > 1)


def _labelled(table: pd.DataFrame, endpoint: Endpoint) -> str:
    read_out = (table["endpoint"] == endpoint.name) & table["encoder"].notna()
    return _range(table.loc[read_out, "train_patients"].dropna(), 0)


def _task(endpoint: Endpoint) -> str:
    """Return the title of a row; what is not an AUROC is named with its unit."""
    return title_of(endpoint) + if_error(endpoint.metric, f": {endpoint.metric.label}")


def _has_errors(measured: Sequence[Endpoint]) -> bool:
    return any(not endpoint.metric.higher_is_better for endpoint in measured)


def comparisons_table(analysis: Analysis) -> Table:
    """Return the objectives against their controls, at the primary endpoint."""
    comparisons, metric = analysis.primary_comparisons, analysis.primary_metric
    rows: Rows = [
        [
            c.group.objective,
            c.control,
            c.group.encoder,
            with_interval(c.slope, metric.slope_digits) if c.slope else DASH,
            with_interval(c.level, metric.digits),
            c.level.covers,
        ]
        for c in comparisons
    ]
    return Table(
        "comparisons",
        "Objective minus control on the primary task, paired by order and seed, with "
        f"{analysis.confidence:.0%} intervals.{if_error(metric, LOWER)}",
        (
            *("Objective", "Control", "Encoder", "Slope per doubling"),
            *(f"{name_of_change(metric)} at the largest size", "Interval covers"),
        ),
        rows,
        stub=2,
    ).without("Encoder", unless=len({(c.group.encoder, c.group.regime) for c in comparisons}) > 1)


def laws_table(analysis: Analysis) -> Table:
    """Return the scaling laws of the primary groups."""
    rows: Rows = []
    metric = analysis.primary_metric
    error = f"error 1 \u2212 {metric.short}" if metric.higher_is_better else metric.label
    for group, comparison in analysis.laws:
        if comparison.problem:
            rows.append([group.objective, f"not fitted: {comparison.problem}", "", "", "", ""])
        usable = [law.aicc for law in comparison.laws if not law.problem]
        for law in comparison.laws:
            cells = [law.problem, "", ""]
            if not law.problem:
                cells = [
                    ", ".join(_parameter(law, name) for name in law.params)
                    + (f"; {law.unidentified}" if law.unidentified else ""),
                    number(law.aicc - usable[0], 1),
                    _held_out(law, metric.slope_digits),
                ]
            rows.append([group.objective, law.name, law.formula, *cells])
    return Table(
        "laws",
        f"Laws of the {error}, "
        f"best first, with {analysis.confidence:.0%} intervals from refits to draws of runs and "
        "test patients. A difference of AICc below 2 does not tell two laws apart. The last column "
        f"is the predicted minus the observed {metric.short} at the largest size, from a fit that "
        "had not seen it, and where that fit expects the observed mean.",
        ("Objective", "Law", "Form", "Fit", "\u0394 AICc", "Held-out largest size"),
        rows,
        stub=2,
    )


def _parameter(law: Law, name: str) -> str:
    text = f"{name} = {law.params[name]:.4g}"
    if name not in law.intervals:
        return text
    low, high = law.intervals[name]
    return f"{text} ({low:.4g} to {high:.4g})"


def _held_out(law: Law, digits: int) -> str:
    text = signed(law.extrapolation, digits)
    if math.isnan(law.predicted_low):
        return text
    ends = f"{number(law.predicted_low, digits)} to {number(law.predicted_high, digits)}"
    return f"{text} (expected {ends}{': refuted' if law.refuted else ''})"


def tasks_table(analysis: Analysis) -> Table:
    """Return what each task measures: labels used, labels left out, test positives."""
    rows: Rows = []
    for endpoint in analysis.design.tasks:
        if not endpoint.metric.higher_is_better:
            rows.append([_task(endpoint), "a number", DASH, DASH, "none"])
            continue
        known = analysis.collection.labels.get(endpoint.name, [])
        positives = [int(label.get("positives") or 0) for label in known if label.get("included")]
        absent = [str(label["name"]) for label in known if not label.get("included")]
        used = f"{len(positives)} of {len(known)}"
        counts = [f"{of(positives):,}" if positives else DASH for of in (sum, min)]
        rows.append([title_of(endpoint), used, *counts, ", ".join(absent) or "none"])
    return Table(
        "tasks",
        "Labels that enter each macro mean. A label with too few test positives has no usable "
        "AUROC and is left out of the mean, not counted as 0 or 1.",
        ("Task", "Labels used", "Test positives", "Fewest per label", "Left out"),
        rows,
    )


def data_table(analysis: Analysis) -> Table:
    """Return what each pretraining size held; ranges are over nesting orders and objectives."""
    scaled = analysis.scaled_rows.drop_duplicates("cell")
    shown = {"records": 0, "hours": 1, "sources": 0, "samples_seen": 0, "epochs": 1}
    rows: Rows = []
    for (regime, size), here in scaled.groupby(["regime", "size"], sort=True):
        ranges = (_range(here[column], digits) for column, digits in shown.items())
        rows.append([f"{size:,}", str(regime).replace("_", " "), *ranges])
    unknown = scaled["unknown_patients"].max()
    counted = (
        f" Up to {unknown:,.0f} of the patients of a subset are recordings whose source does not "
        "say whose they are, each counted as a patient."
    )
    return Table(
        "data",
        "Pretraining data at each size: subsets of patients, nested within an order. A range is "
        "over orders and objectives." + (counted if unknown > 0 else ""),
        ("Patients", "Regime", "Records", "Hours", "Sources", "Samples seen", "Epochs"),
        rows,
    ).without("Regime", unless=scaled["regime"].nunique() > 1)


def gaps_table(analysis: Analysis) -> Table:
    """Return the cells that are missing or incomplete."""
    return Table(
        "gaps",
        "Cells of the study's grid that are missing or incomplete.",
        ("Cell", "What is missing"),
        [[cell, reason] for cell, reason in analysis.collection.gaps.items()],
    )


def collapse_table(analysis: Analysis) -> Table:
    """Return the collapsed runs."""
    runs = analysis.scaled_rows.drop_duplicates("cell")
    return Table(
        "collapsed",
        "Runs whose embeddings collapsed during pretraining. They are drawn as crosses, and the "
        "whole block (order and seed) of each is left out of every estimate.",
        ("Cell", "Patients", "Order", "Seed"),
        [
            [row["cell"], f"{row['size']:,}", str(row["order"]), str(row["seed"])]
            for row in runs[runs["collapsed"].astype(bool)].to_dict("records")
        ],
    )


def _range(values: pd.Series, digits: int) -> str:
    low, high = float(values.min()), float(values.max())
    if math.isnan(low):
        return DASH
    if round(low, digits) == round(high, digits):
        return f"{low:,.{digits}f}"
    return f"{low:,.{digits}f}{DASH}{high:,.{digits}f}"
