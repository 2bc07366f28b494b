"""Tables of the report: plain text cells, the same for HTML and Markdown."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint, Measure, protocol_words
from ecgscale.report.numbers import (
    DASH,
    if_error,
    name_of_change,
    number,
    p_text,
    score_text,
    signed,
    with_interval,
)
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.compare import Comparison
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group
from ecgscale.scaling.laws import LawComparison
from ecgscale.scaling.means import MeanScores

Rows = list[list[str]]
Results = Sequence[tuple[Group, Correlation | None]]
"""Groups with their correlations, None where a group has a problem."""
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
    results: Results, titles: dict[str, str], confidence: float, name: str = "correlations"
) -> Table:
    """Return the coefficients and slopes of the groups, complete or not.

    Parameters
    ----------
    titles
        Name of an endpoint to its title.
    name
        Of the table, unique on the page.
    """
    several = len({(group.encoder, group.regime) for group, _ in results}) > 1
    mixed = _has_errors([group.endpoint for group, _ in results])
    rows: Rows = []
    for group, found in results:
        digits = group.endpoint.measure.slope_digits
        names = [_task(group.endpoint, titles), group.objective, group.encoder]
        names.append(group.regime.replace("_", " "))
        rows.append(
            [*names, f"not estimable: {group.problem}", *[""] * 6]
            if found is None
            else [
                *names,
                with_interval(found.rho, 2),
                p_text(found.rho_test.p).removeprefix("= "),
                with_interval(found.tau, 2),
                p_text(found.tau_test.p).removeprefix("= "),
                with_interval(found.slope, digits),
                number(found.detectable_slope, digits),
                number(found.reseed_sd, digits),
            ]
        )
    table = Table(
        name,
        f"{'The main metric' if mixed else 'Macro AUROC'} against log2 of the pretraining "
        f"patients, with {confidence:.0%} intervals. "
        "p values are of single tests; tasks share test patients and are not independent."
        f"{LOWER if mixed else ''}",
        (
            *("Task", "Objective", "Encoder", "Regime"),
            *("Spearman \u03c1", "p", "Kendall \u03c4b", "p"),
            *("Slope per doubling", "Detectable slope", "Reseed SD"),
        ),
        rows,
        stub=4,
    )
    return table.without("Encoder", unless=several).without("Regime", unless=several)


def means_table(design: Design, means: MeanScores, titles: dict[str, str]) -> Table:
    """Return mean scores of objectives at the largest size, of controls and of baselines."""
    mixed = _has_errors(design.tasks)
    names = {endpoint: _task(endpoint, titles) for endpoint in design.tasks}
    return Table(
        "levels",
        f"Mean test {'score' if mixed else 'macro AUROC'}: objectives at {means.largest:,} "
        "pretraining patients, then controls and baselines, which see none. Objectives with a "
        f"missing run show a dash.{LOWER if mixed else ''}",
        ("Task", "Encoder", *means.columns),
        _mean_rows(design, means, names, means.columns),
        stub=2,
    ).without("Encoder", unless=len(design.encoders) > 1)


def readout_means_table(design: Design, means: MeanScores) -> Table:
    """Return the mean scores of the primary task under each protocol; baselines have no readout."""
    measure = design.primary.measure
    names = {endpoint: protocol_words(endpoint.protocol) for endpoint in design.readouts}
    return Table(
        "readout-levels",
        f"Mean test {measure.label} of the same: objectives at {means.largest:,} pretraining "
        "patients, then controls, which see none. A dash: a run is missing."
        f"{if_error(measure, LOWER)}",
        ("Readout", "Encoder", *means.with_encoder),
        _mean_rows(design, means, names, means.with_encoder),
        stub=2,
    ).without("Encoder", unless=len(design.encoders) > 1)


def _mean_rows(
    design: Design, means: MeanScores, names: dict[Endpoint, str], columns: Sequence[str]
) -> Rows:
    return [
        [
            name,
            encoder,
            *(score_text(means.mean(endpoint, encoder, c), endpoint.measure) for c in columns),
        ]
        for endpoint, name in names.items()
        for encoder in design.encoders
    ]


def readouts_table(
    design: Design, results: Results, collection: Collection, confidence: float
) -> Table:
    """Return the slopes of the primary task, a row for each protocol.

    Parameters
    ----------
    results
        Those of the primary task.
    """
    measure = design.primary.measure
    found = {(group.endpoint, group.encoder, group.objective): c for group, c in results}
    slopes = {
        key: with_interval(c.slope, measure.slope_digits) if c else DASH for key, c in found.items()
    }
    rows: Rows = [
        [
            protocol_words(endpoint.protocol),
            encoder,
            _labelled(collection.table, endpoint),
            *(slopes[endpoint, encoder, name] for name in design.objectives),
        ]
        for endpoint in design.readouts
        for encoder in design.encoders
    ]
    return Table(
        "readouts",
        f"Slope of {measure.label} per doubling on the primary task, with {confidence:.0%} "
        "intervals. The first row is that of the answer; the others were not declared as tests. A "
        f"dash: not estimable.{if_error(measure, LOWER)}",
        ("Readout", "Encoder", "Labelled patients", *design.objectives),
        rows,
        stub=2,
    ).without("Encoder", unless=len(design.encoders) > 1)


def _labelled(table: pd.DataFrame, endpoint: Endpoint) -> str:
    read_out = (table["endpoint"] == endpoint.name) & table["encoder"].notna()
    return _range(table.loc[read_out, "train_patients"].dropna(), 0)


def _task(endpoint: Endpoint, titles: dict[str, str]) -> str:
    """Return the title of a row; what is not an AUROC is named with its unit."""
    measure = endpoint.measure
    return titles[endpoint.name] + if_error(measure, f": {measure.label}")


def _has_errors(measured: Sequence[Endpoint]) -> bool:
    return any(not endpoint.measure.higher_is_better for endpoint in measured)


def comparisons_table(
    comparisons: Sequence[Comparison], measure: Measure, confidence: float
) -> Table:
    """Return the objectives against their controls, at one endpoint with its measure."""
    rows: Rows = [
        [
            c.objective,
            c.control,
            c.encoder,
            with_interval(c.slope, measure.slope_digits) if c.slope else DASH,
            with_interval(c.level, measure.digits),
            c.level.covers,
        ]
        for c in comparisons
    ]
    return Table(
        "comparisons",
        "Objective minus control on the primary task, "
        f"paired by order and seed where the control scales too, with {confidence:.0%} intervals."
        f"{if_error(measure, LOWER)}",
        (
            *("Objective", "Control", "Encoder", "Slope per doubling"),
            *(f"{name_of_change(measure)} at the largest size", "Interval covers"),
        ),
        rows,
        stub=2,
    ).without("Encoder", unless=len({(c.encoder, c.regime) for c in comparisons}) > 1)


def laws_table(laws: Sequence[tuple[Group, LawComparison]], measure: Measure) -> Table:
    """Return the scaling laws of the primary groups; `measure` is that of their endpoint."""
    rows: Rows = []
    error = "error 1 \u2212 AUROC" if measure.higher_is_better else measure.label
    for group, comparison in laws:
        if comparison.problem:
            rows.append([group.objective, f"not fitted: {comparison.problem}", "", "", "", ""])
        usable = [law.aicc for law in comparison.laws if not law.problem]
        for law in comparison.laws:
            names = [group.objective, law.name, law.formula]
            if law.problem:
                rows.append([*names, law.problem, "", ""])
                continue
            rows.append(
                [
                    *names,
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


def tasks_table(
    measured: Sequence[Endpoint], labels: dict[str, list[dict[str, Any]]], titles: dict[str, str]
) -> Table:
    """Return what each task measures: labels used, labels left out, test positives.

    Parameters
    ----------
    labels
        As in `Collection`.
    """
    rows: Rows = []
    for endpoint in measured:
        if not endpoint.measure.higher_is_better:
            rows.append([_task(endpoint, titles), "a number", DASH, DASH, "none"])
            continue
        known = labels.get(endpoint.name, [])
        used = [label for label in known if label.get("included")]
        positives = [int(label.get("positives") or 0) for label in used]
        absent = [str(label["name"]) for label in known if not label.get("included")]
        rows.append(
            [
                titles[endpoint.name],
                f"{len(used)} of {len(known)}",
                f"{sum(positives):,}" if positives else DASH,
                f"{min(positives):,}" if positives else DASH,
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


def data_table(objectives: Sequence[str], table: pd.DataFrame) -> Table:
    """Return what each pretraining size held; ranges are over nesting orders and objectives."""
    scaled = table[table["objective"].isin(objectives)].drop_duplicates("cell")
    rows: Rows = [
        [
            f"{size:,}",
            str(regime).replace("_", " "),
            _range(here["records"], 0),
            _range(here["hours"], 1),
            _range(here["sources"], 0),
            _range(here["samples_seen"], 0),
            _range(here["epochs"], 1),
        ]
        for (regime, size), here in scaled.groupby(["regime", "size"], sort=True)
    ]
    return Table(
        "data",
        "Pretraining data at each size: subsets of patients, nested within an order. A range is "
        "over orders and objectives.",
        ("Patients", "Regime", "Records", "Hours", "Sources", "Samples seen", "Epochs"),
        rows,
    ).without("Regime", unless=scaled["regime"].nunique() > 1)


def gaps_table(collection: Collection) -> Table:
    """Return the cells that are missing or incomplete."""
    return Table(
        "gaps",
        "Cells of the study's grid that are missing or incomplete.",
        ("Cell", "What is missing"),
        [[gap.cell, gap.reason] for gap in collection.gaps],
    )


def collapse_table(objectives: Sequence[str], table: pd.DataFrame) -> Table:
    """Return the collapsed runs."""
    collapsed = table["objective"].isin(objectives) & table["collapsed"].astype(bool)
    return Table(
        "collapsed",
        "Runs whose embeddings collapsed during pretraining. They are drawn as crosses, and the "
        "whole block (order and seed) of each is left out of every estimate.",
        ("Cell", "Patients", "Order", "Seed"),
        [
            [row["cell"], f"{row['size']:,}", str(row["order"]), str(row["seed"])]
            for row in table[collapsed].drop_duplicates("cell").to_dict("records")
        ],
    )


def _range(values: pd.Series, digits: int) -> str:
    low, high = float(values.min()), float(values.max())
    if math.isnan(low):
        return DASH
    if round(low, digits) == round(high, digits):
        return f"{low:,.{digits}f}"
    return f"{low:,.{digits}f}{DASH}{high:,.{digits}f}"
