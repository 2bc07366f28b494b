"""The figures of the report: scores against size, and slopes with their intervals."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.report.analysis import Analysis
from ecgscale.report.svg import MUTED, Drawing, Layout, blank, drawing, style_of
from ecgscale.report.words import if_error, name_of_change, number, signed, title_of
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import level_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Panel:
    """What one set of axes shows, of one endpoint, encoder and regime.

    Attributes
    ----------
    series
        The groups drawn, each with its colour number (the objective's place in the grid).
    runs
        Rows of the flat table that belong here, collapsed runs included.
    references
        Controls and baselines, which have no sizes, with their mean score: horizontal lines.
    """

    endpoint: Endpoint
    title: str
    series: tuple[tuple[int, Group], ...]
    runs: pd.DataFrame
    references: dict[str, float]


def panels(analysis: Analysis) -> list[Panel]:
    """Sort the groups of all tasks into panels; regimes and encoders are never mixed."""
    table, objectives = analysis.collection.table, analysis.design.objectives
    found = [group for group, _ in analysis.results_of(analysis.design.tasks)]
    keys = dict.fromkeys((g.endpoint, g.encoder, g.regime) for g in found)
    several = len({(encoder, regime) for _, encoder, regime in keys}) > 1
    result = []
    for endpoint, encoder, regime in keys:
        series = tuple(
            (objectives.index(g.objective), g)
            for g in found
            if (g.endpoint, g.encoder, g.regime) == (endpoint, encoder, regime)
        )
        here = table[(table["endpoint"] == endpoint.name) & table["score"].notna()]
        here = here[here["encoder"].isna() | (here["encoder"] == encoder)]
        suffix = f" \N{EN DASH} {encoder}, {regime.replace('_', ' ')}" if several else ""
        fixed = here[~here["objective"].isin(objectives)]
        means = fixed.groupby("objective", sort=False)["score"].mean()
        result.append(
            Panel(
                endpoint,
                title_of(endpoint) + suffix,
                series,
                here[here["objective"].isin([g.objective for _, g in series])],
                {str(name): float(value) for name, value in means.items()},
            )
        )
    return result


def scaling_figure(name: str, panel: Panel, confidence: float) -> Drawing:
    """Draw the runs, means and intervals of one panel against log2 of the patients."""
    metric, tips = panel.endpoint.metric, dict[str, str]()

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        figure = blank(8.6, 4.7) if wide else blank(4.9, 4.9)
        right = 0.80 if wide else 0.665
        axes = figure.add_axes((0.082 if wide else 0.13, 0.125, right - 0.1, 0.835))
        _draw_panel(axes, panel, confidence, tips if wide else {}, every=1, small=False)
        axes.set_ylabel(f"Test {metric.label}")
        axes.set_xlabel("Pretraining patients (log scale)")
        _direct_labels(axes, panel)
        return figure

    return drawing(
        name,
        f"{panel.title}. Dots are runs, lines their mean at each size, bands pointwise "
        f"{confidence:.0%} intervals ({_band_covers(panel)}); dashed lines are encoders and "
        f"baselines that saw no pretraining data.{_direction(panel.endpoint)}",
        _alt(panel),
        draw,
        tips,
    )


def multiples_figure(name: str, shown: Sequence[Panel], confidence: float) -> Drawing:
    """Draw one small panel per task, each with its own scale; all of one kind of metric."""
    labels = [panel.endpoint.metric.label for panel in shown]
    named, metric = [text[0].upper() + text[1:] for text in labels], shown[0].endpoint.metric

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        columns = min(3 if wide else 2, len(shown))
        rows = math.ceil(len(shown) / columns)
        width, height = (8.6, 2.35) if wide else (4.9, 2.0)
        figure = blank(width, rows * height + 0.35)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, (ax, panel) in enumerate(zip(axes, shown, strict=False)):
            _draw_panel(ax, panel, confidence, {}, every=1 if wide else 2, small=True)
            ax.set_title(fill(panel.title, 22 if wide else 20), pad=6)
            if place % columns == 0 or named[place] != named[place - 1]:
                ax.set_ylabel(named[place])
            if place + columns >= len(shown):
                ax.set_xlabel("Patients")
        for ax in axes[len(shown) :]:
            ax.remove()
        figure.tight_layout(pad=0.4, w_pad=1.2, h_pad=1.2)
        return figure

    return drawing(
        name,
        f"The other {'tasks' if metric.higher_is_better else 'regressions'}, "
        f"each with its own scale of {metric.short}; colours and bands as "
        "above. Controls and baselines far off a scale are left to the table of controls."
        f"{_direction(shown[0].endpoint)}",
        " ".join(_alt(panel) for panel in shown),
        draw,
    )


def slopes_figures(
    name: str,
    analysis: Analysis,
    endpoints: Sequence[Endpoint],
    row_title: Callable[[Endpoint], str],
    caption: str,
) -> list[Drawing]:
    """Draw slopes per doubling with their intervals, each metric on axes of its own.

    One figure, or none where nothing could be estimated.
    """
    objectives = analysis.design.objectives
    estimates = [found for _, found in analysis.results_of(endpoints) if found is not None]
    if not estimates:
        return []
    several = len({(c.group.encoder, c.group.regime) for c in estimates}) > 1
    drawn = [name for name in objectives if any(c.group.objective == name for c in estimates)]
    parts = [
        [c for c in estimates if c.group.endpoint.metric == metric]
        for metric in dict.fromkeys(c.group.endpoint.metric for c in estimates)
    ]

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        row, lengths = 0.2 * len(drawn) + 0.32, [len(_rows(part)) for part in parts]
        figure = blank(8.6 if wide else 4.9, row * sum(lengths) + 0.75 * len(parts))
        every = figure.subplots(len(parts), 1, squeeze=False, height_ratios=lengths).ravel()
        for axes, part in zip(every, parts, strict=True):
            rows = _rows(part)
            for estimate in part:
                objective, slope = estimate.group.objective, estimate.slope
                place, series = drawn.index(objective), objectives.index(objective)
                off_centre = (place - (len(drawn) - 1) / 2) * 0.7 / len(drawn)
                y = rows.index(_row(estimate)) + off_centre
                colour, marker = style_of(series)
                axes.plot([slope.low, slope.high], [y, y], color=colour, linewidth=1.6)
                axes.plot([slope.value], [y], marker, color=colour, markersize=5)
            axes.axvline(0, color=MUTED, linewidth=0.9)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            labels = [
                row_title(endpoint) + (f", {encoder}, {regime}" if several else "")
                for endpoint, encoder, regime in rows
            ]
            axes.set_yticks(range(len(rows)), [fill(text, 34 if wide else 18) for text in labels])
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=6 if wide else 4)
            axes.set_xlabel(f"{name_of_change(rows[0][0].metric)} per doubling of patients")
        figure.tight_layout(pad=0.4, h_pad=1.2)
        return figure

    slopes = "; ".join(_slope_alt(estimate, row_title) for estimate in estimates)
    directions = dict.fromkeys(_direction(part[0].group.endpoint) for part in parts)
    figure = drawing(
        name,
        f"{caption} The vertical line is no effect.{''.join(directions)}",
        f"Slopes per doubling of patients. {slopes}.",
        draw,
    )
    return [figure]


def _row(estimate: Correlation) -> tuple[Endpoint, str, str]:
    group = estimate.group
    return group.endpoint, group.encoder, group.regime


def _rows(estimates: Sequence[Correlation]) -> list[tuple[Endpoint, str, str]]:
    return list(dict.fromkeys(_row(estimate) for estimate in estimates))


def _slope_alt(estimate: Correlation, row_title: Callable[[Endpoint], str]) -> str:
    group, slope = estimate.group, estimate.slope
    metric = group.endpoint.metric
    value, low, high = (
        signed(end, metric.slope_digits) for end in (slope.value, slope.low, slope.high)
    )
    return (
        f"{group.objective}, {row_title(group.endpoint)}: {metric.short} {value}"
        f"{metric.suffix} ({low} to {high})"
    )


def _draw_panel(
    axes: "Axes", panel: Panel, confidence: float, tips: dict[str, str], every: int, small: bool
) -> None:
    from matplotlib.ticker import FuncFormatter

    metric = panel.endpoint.metric
    axes.set_xscale("log", base=2)
    sizes = sorted({int(size) for _, group in panel.series for size in group.sizes})
    for place, (series, group) in enumerate(panel.series):
        colour, marker = style_of(series)
        runs = panel.runs[panel.runs["objective"] == group.objective]
        for row in runs.to_dict("records"):
            size, order, seed, value = (row[k] for k in ("size", "order", "seed", "score"))
            gid = f"{group.objective}-n{size}-o{order}-s{seed}"
            tips[gid] = (
                f"{group.objective}, {size:,} patients, order {order}, seed {seed}: "
                f"{value:.{metric.slope_digits}f}{metric.suffix}"
                f"{', collapsed' if row['collapsed'] else ''}"
            )
            axes.plot(
                [size],
                [value],
                "x" if row["collapsed"] else marker,
                color=colour,
                alpha=0.55,
                markersize=3 if small else 5,
                markeredgewidth=1.2 if row["collapsed"] else 0,
                gid=None if small else gid,
            )
        if group.problem:
            continue
        measured = (group.score, group.replicates, group.blocks)
        level = [level_estimate(*measured, i, confidence) for i in range(len(group.sizes))]
        means, lows, highs = ([getattr(e, p) for e in level] for p in ("value", "low", "high"))
        width = 1.4 if small else 2.0
        axes.plot(group.sizes, means, color=colour, linewidth=width, zorder=3 + place)
        if not math.isnan(lows[0]):
            axes.fill_between(group.sizes, lows, highs, color=colour, alpha=0.10, linewidth=0)
    low, high = axes.get_ylim()
    reach = 1.2 * max(high - low, 0.02)  # what lies further off would flatten the curves
    for value in panel.references.values():
        if low - reach <= value <= high + reach:
            axes.axhline(value, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    shown = sizes[::every] if not small else sizes[:: max(every, math.ceil(len(sizes) / 4))]
    axes.set_xticks(shown, [f"{size:,}" if size < 10_000 else f"{size // 1000}k" for size in shown])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.18, sizes[-1] * 1.18)
    axes.locator_params(axis="y", nbins=4 if small else 7)
    ticks = axes.get_yticks()
    fewest = range(2 if metric.higher_is_better else 0, 4)
    digits = next((d for d in fewest if np.allclose(ticks, np.round(ticks, d))), 3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}f}"))


def _direct_labels(axes: "Axes", panel: Panel) -> None:
    """Name lines at their right end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.047 * (high - low)
    within = {name: value for name, value in panel.references.items() if low <= value <= high}
    beyond = [(name, value) for name, value in panel.references.items() if name not in within]
    entries = [(value, name, MUTED, "normal") for name, value in within.items()]
    for line, (name, value) in enumerate(sorted(beyond, key=lambda entry: -entry[1])):
        arrow = "\N{DOWNWARDS ARROW}" if value < low else "\N{UPWARDS ARROW}"
        axes.annotate(
            f"{name} {value:.{panel.endpoint.metric.digits - 1}f} {arrow}",
            xy=(1.045, low - (line + 0.2) * gap),
            xycoords=axes.get_yaxis_transform(),
            color=MUTED,
            va="center",
            annotation_clip=False,
        )
    for series, group in panel.series:
        runs = panel.runs[panel.runs["objective"] == group.objective]
        if len(runs):
            last = runs[runs["size"] == runs["size"].max()]
            entries.append(
                (float(last["score"].mean()), group.objective, style_of(series)[0], "bold")
            )
    entries.sort(key=lambda entry: entry[0])
    places = _spread([entry[0] for entry in entries], gap, low + gap / 2, high - gap / 2)
    for place, (value, text, colour, weight) in zip(places, entries, strict=True):
        axes.annotate(
            text,
            xy=(1.0, value),
            xytext=(1.045, place),
            xycoords=axes.get_yaxis_transform(),
            textcoords=axes.get_yaxis_transform(),
            color=colour,
            fontweight=weight,
            va="center",
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": colour, "linewidth": 0.7, "shrinkB": 0},
        )


def _spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return ascending places near `values`, `gap` apart, within the limits if they fit."""
    places = np.maximum(np.array(values, dtype=float), low)
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    if len(places) and places[-1] > high:
        places[-1] = high
        for i in range(len(places) - 2, -1, -1):
            places[i] = min(places[i], places[i + 1] - gap)
    return [float(place) for place in places]


def _band_covers(panel: Panel) -> str:
    texts = {
        level_estimate(group.score, group.replicates, group.blocks, 0, 0.95).covers
        for _, group in panel.series
        if not group.problem
    }
    return "covering " + ", or ".join(sorted(texts)) if texts else "none: no complete group"


def _direction(endpoint: Endpoint) -> str:
    metric = endpoint.metric
    return if_error(metric, f" Lower {metric.short} is better.")


def _alt(panel: Panel) -> str:
    parts, metric = [], panel.endpoint.metric
    for _, group in panel.series:
        if group.problem:
            parts.append(f"{group.objective}: {group.problem}")
            continue
        first, last = (float(value) for value in group.score.mean(axis=0)[[0, -1]])
        parts.append(
            f"{group.objective}: mean {metric.label} {number(first, metric.digits)} at "
            f"{group.sizes[0]:,} patients, {number(last, metric.digits)} at {group.sizes[-1]:,}"
        )
    parts += [
        f"{name}: {number(value, metric.digits)} without pretraining data"
        for name, value in panel.references.items()
    ]
    return f"{panel.title}. {'; '.join(parts)}."
