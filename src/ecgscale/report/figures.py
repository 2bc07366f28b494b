"""The curves of the report: scores against size from zero data on, and paired changes."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.report.analysis import Analysis
from ecgscale.report.svg import CELL, MUTED, Drawing, Layout, blank, drawing, style_of
from ecgscale.report.words import if_error, interval, number, signed, title_of
from ecgscale.scaling.gain import RANDOM
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import Estimate, contrast_estimate, level_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DASHES = ((4, 3), (1, 2), (6, 2, 1, 2), (8, 3), (3, 1, 1, 1, 1, 1))
"""Dash patterns of the named reference lines."""


@dataclass(frozen=True)
class Series:
    """One objective in a panel.

    Attributes
    ----------
    place
        The objective's place in the grid: its colour and marker.
    is_control
        Drawn with less weight.
    """

    place: int
    group: Group
    is_control: bool


@dataclass(frozen=True)
class Panel:
    """What one set of axes shows, of one endpoint, encoder and regime.

    Attributes
    ----------
    runs
        Rows of the flat table that belong here, collapsed runs included.
    untrained
        Rows of the random encoder: the curve at zero data.
    zero
        Their mean with its interval; None where they were not run with the replicates' seeds.
    references
        Controls and baselines that have no sizes, with their mean score: horizontal lines.
    """

    endpoint: Endpoint
    title: str
    series: tuple[Series, ...]
    runs: pd.DataFrame
    untrained: pd.DataFrame
    zero: Estimate | None
    references: dict[str, float]

    @property
    def complete(self) -> list[Series]:
        """Those that have numbers."""
        return [one for one in self.series if not one.group.problem]


def panels(analysis: Analysis) -> list[Panel]:
    """Sort the groups of all tasks into panels; regimes and encoders are never mixed."""
    table, design = analysis.collection.table, analysis.design
    found = [group for group, _ in analysis.results_of(design.tasks)]
    keys = dict.fromkeys((g.endpoint, g.encoder, g.regime) for g in found)
    several = len({(encoder, regime) for _, encoder, regime in keys}) > 1
    zeros = {
        (one.group.endpoint, one.group.encoder): one.zero for one in analysis.further.gains[::-1]
    }
    result = []
    for endpoint, encoder, regime in keys:
        series = tuple(
            Series(design.objectives.index(g.objective), g, g.objective not in design.declared)
            for g in found
            if (g.endpoint, g.encoder, g.regime) == (endpoint, encoder, regime)
        )
        here = table[(table["endpoint"] == endpoint.name) & table["score"].notna()]
        here = here[here["encoder"].isna() | (here["encoder"] == encoder)]
        suffix = f" \N{EN DASH} {encoder}, {regime.replace('_', ' ')}" if several else ""
        fixed = here[~here["objective"].isin(design.objectives)]
        untrained = fixed["kind"] == RANDOM
        means = fixed[~untrained].groupby("objective", sort=False)["score"].mean()
        result.append(
            Panel(
                endpoint,
                title_of(endpoint) + suffix,
                series,
                here[here["objective"].isin([one.group.objective for one in series])],
                fixed[untrained],
                zeros.get((endpoint, encoder)),
                {str(name): float(value) for name, value in means.items()},
            )
        )
    return result


def scaling_figure(name: str, panel: Panel, confidence: float, simulated: bool) -> Drawing:
    """Draw one panel: runs, means and intervals by size, and beside it paired changes."""
    metric, tips = panel.endpoint.metric, dict[str, str]()
    changes = [(one, _changes(one.group, confidence)) for one in panel.complete]
    smallest = min((int(one.group.sizes[0]) for one in panel.complete), default=0)

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        figure = blank(8.6, 4.9) if wide else blank(4.9, 8.4)
        axes = figure.add_axes((0.078, 0.12, 0.40, 0.80) if wide else (0.13, 0.53, 0.54, 0.43))
        places = _Places(panel, labels=7 if wide else 4)
        _draw_curves(axes, panel, places, confidence, tips)
        axes.set_ylabel(f"Test {metric.label}")
        axes.set_xlabel("Pretraining patients (log scale)")
        axes.set_title("Score", pad=8)
        _direct_labels(axes, panel)
        beside = figure.add_axes((0.715, 0.12, 0.275, 0.80) if wide else (0.17, 0.06, 0.80, 0.36))
        fewer = _Places(panel, labels=4)
        _draw_changes(beside, changes, fewer, metric.slope_digits, tips)
        beside.set_xlabel("Pretraining patients")
        beside.set_title(f"Change from {smallest:,} patients", pad=8)
        return figure

    return drawing(
        name,
        f"{panel.title}. Left: dots are runs, larger marks their mean at each size with pointwise "
        f"{confidence:.0%} intervals ({_covers(panel)}); at 0 patients stands the untrained "
        "encoder, dashed lines are what saw no pretraining data. Right: the change from the "
        "smallest size within the same replicate (the same order, seed and test patients), whose "
        "interval leaves out what a replicate's sizes have in common."
        f"{_direction(panel.endpoint)}",
        _alt(panel),
        draw,
        tips,
        simulated,
    )


def multiples_figure(
    name: str, shown: Sequence[Panel], confidence: float, simulated: bool
) -> Drawing:
    """Draw one small panel per task, each with its own scale; all of one kind of metric."""
    labels = [panel.endpoint.metric.label for panel in shown]
    named, metric = [text[0].upper() + text[1:] for text in labels], shown[0].endpoint.metric
    references = list(dict.fromkeys(name for panel in shown for name in panel.references))

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        columns = min(3 if wide else 2, len(shown))
        rows = math.ceil(len(shown) / columns)
        width, height = (8.6, 2.35) if wide else (4.9, 2.1)
        figure = blank(width, rows * height + 0.6)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        drawn: set[str] = set()
        for place, (ax, panel) in enumerate(zip(axes, shown, strict=False)):
            places = _Places(panel, labels=3)
            drawn |= _draw_small(ax, panel, places, confidence, references)
            ax.set_title(fill(panel.title, 24 if wide else 21), pad=6, fontsize=9.5)
            if place % columns == 0 or named[place] != named[place - 1]:
                ax.set_ylabel(named[place])
            if place + columns >= len(shown):
                ax.set_xlabel("Patients")
        for ax in axes[len(shown) :]:
            ax.remove()
        _legend_of_lines(figure, [name for name in references if name in drawn], references, wide)
        below = (0.35 if wide else 0.55) / figure.get_figheight()
        figure.tight_layout(pad=0.4, w_pad=1.2, h_pad=1.2, rect=(0, below, 1, 0.98))
        return figure

    kind = "tasks" if metric.higher_is_better else "regressions"
    return drawing(
        name,
        f"The other {kind}, each with its own scale of {metric.short}; at 0 patients stands the "
        "untrained encoder. References far off a scale are left to the table of controls."
        f"{_direction(shown[0].endpoint)}",
        f"{len(shown)} small panels, one for each of the other {kind}: {metric.short} against "
        "pretraining patients. The slopes are in the next figure and its table.",
        draw,
        simulated=simulated,
    )


class _Places:
    """Where sizes stand on the x axis: log2 of the patients, and zero data to the left of them."""

    def __init__(self, panel: Panel, labels: int) -> None:
        sizes = sorted({int(size) for one in panel.series for size in one.group.sizes})
        logs = [math.log2(size) for size in sizes]
        step = (logs[-1] - logs[0]) / max(len(logs) - 1, 1) or 1.0
        self.has_zero = len(panel.untrained) > 0
        self.zero = logs[0] - 1.35 * step
        self._step, self._drawn = step, len(panel.series)
        shown = sizes[:: max(1, math.ceil((len(sizes) - 1) / (labels - 1)))]
        self._ticks = [(math.log2(size), _size_text(size)) for size in shown]
        self._ends = logs[0], logs[-1]

    def at(self, size: int, place: int) -> float:
        """Return the x of a size; objectives stand beside each other, not upon each other."""
        off_centre = place - (self._drawn - 1) / 2
        return math.log2(size) + off_centre * min(0.11, 0.5 / self._drawn) * self._step

    def lay_out(self, axes: "Axes", with_zero: bool) -> None:
        """Set limits and ticks."""
        from_zero = with_zero and self.has_zero
        ticks = [(self.zero, "0")] * from_zero + self._ticks
        axes.set_xticks([x for x, _ in ticks], [text for _, text in ticks])
        low = self.zero if from_zero else self._ends[0]
        axes.set_xlim(low - 0.45 * self._step, self._ends[1] + 0.4 * self._step)
        if from_zero:  # the axis is broken between zero and the smallest size
            x = (self.zero + self._ends[0]) / 2
            axes.plot([x], [0], marker=[(-1, -1), (1, 1)], markersize=9, color=MUTED, clip_on=False,
                      transform=axes.get_xaxis_transform(), zorder=9)  # fmt: skip


def _size_text(size: int) -> str:
    return f"{size:,}" if size < 10_000 else f"{size // 1000}k"


def _draw_curves(
    axes: "Axes", panel: Panel, places: _Places, confidence: float, tips: dict[str, str]
) -> None:
    metric = panel.endpoint.metric
    digits = metric.slope_digits
    if places.has_zero:
        for row in panel.untrained.to_dict("records"):
            _dot(axes, row, places.zero, (MUTED, "o"), _tip(row, "untrained encoder", digits), tips)
    if panel.zero is not None:
        text = f"untrained encoder: {_value(panel.zero, digits)}{metric.suffix}"
        _mark(axes, places.zero, panel.zero, (MUTED, "o"), "mean-zero", text, tips)
    for order, one in enumerate(panel.series):
        group, style = one.group, style_of(one.place)
        runs = panel.runs[panel.runs["objective"] == group.objective]
        for row in runs.to_dict("records"):
            size = int(row["size"])
            said = _tip(row, f"{group.objective}, {size:,} patients", digits)
            _dot(axes, row, places.at(size, order), style, said, tips)
        if group.problem:
            continue
        at = [places.at(int(size), order) for size in group.sizes]
        levels = _levels(group, confidence)
        if places.has_zero and panel.zero is not None:
            first = [panel.zero.value, levels[0].value]
            axes.plot([places.zero, at[0]], first, color=style[0], linewidth=0.9, linestyle=":")
        width, line = (1.2, "--") if one.is_control else (2.0, "-")
        means = [level.value for level in levels]
        axes.plot(at, means, color=style[0], linewidth=width, linestyle=line, zorder=3)
        for x, size, level in zip(at, group.sizes, levels, strict=True):
            text = (
                f"{group.objective}, {size:,} patients, mean of "
                f"{len(group.blocks)}: {_value(level, digits)}{metric.suffix}"
            )
            _mark(axes, x, level, style, f"mean-{group.objective}-n{size}", text, tips)
    _draw_references(axes, panel.references, list(panel.references))
    _finish(axes, panel, places, with_zero=True, bins=7)


def _draw_small(
    axes: "Axes", panel: Panel, places: _Places, confidence: float, references: Sequence[str]
) -> set[str]:
    """Draw means with their intervals; return the references that are on this scale."""
    if panel.zero is not None:
        _whisker(axes, places.zero, panel.zero, MUTED, 1.0)
        axes.plot([places.zero], [panel.zero.value], "o", color=MUTED, markersize=3)
    for order, one in enumerate(panel.series):
        if one.group.problem:
            continue
        colour, marker = style_of(one.place)
        at = [places.at(int(size), order) for size in one.group.sizes]
        levels = _levels(one.group, confidence)
        for x, level in zip(at, levels, strict=True):
            _whisker(axes, x, level, colour, 1.0)
        width, line = (0.9, "--") if one.is_control else (1.4, "-")
        means = [level.value for level in levels]
        axes.plot(at, means, marker, linestyle=line, color=colour, linewidth=width, markersize=3)
    drawn = _draw_references(axes, panel.references, references)
    _finish(axes, panel, places, with_zero=True, bins=4)
    return drawn


def _draw_changes(
    axes: "Axes",
    changes: Sequence[tuple[Series, list[Estimate]]],
    places: _Places,
    digits: int,
    tips: dict[str, str],
) -> None:
    axes.axhline(0, color=MUTED, linewidth=0.9)
    for order, (one, estimates) in enumerate(changes):
        group, style = one.group, style_of(one.place)
        at = [places.at(int(size), order) for size in group.sizes]
        width, line = (1.0, "--") if one.is_control else (1.6, "-")
        values = [0.0, *(estimate.value for estimate in estimates)]
        axes.plot(at, values, color=style[0], linewidth=width, linestyle=line, zorder=3)
        for x, size, estimate in zip(at[1:], group.sizes[1:], estimates, strict=True):
            text = (
                f"{group.objective}, {size:,} against {group.sizes[0]:,} patients in the same "
                f"replicate: {signed(estimate.value, digits)} ({interval(estimate, digits)})"
            )
            _mark(axes, x, estimate, style, f"change-{group.objective}-n{size}", text, tips)
    places.lay_out(axes, with_zero=False)
    axes.locator_params(axis="y", nbins=6)


def _changes(group: Group, confidence: float) -> list[Estimate]:
    """Return the change from the smallest size to each other one, paired within replicates."""
    score = group.score[:, 1:] - group.score[:, :1]
    drawn = group.replicates[:, :, 1:] - group.replicates[:, :, :1]
    return [
        contrast_estimate(score[:, i], drawn[:, :, i], group.blocks, confidence)
        for i in range(score.shape[1])
    ]


def _levels(group: Group, confidence: float) -> list[Estimate]:
    measured = (group.score, group.replicates, group.blocks)
    return [level_estimate(*measured, i, confidence) for i in range(len(group.sizes))]


def _value(found: Estimate, digits: int) -> str:
    if math.isnan(found.low):
        return number(found.value, digits)
    ends = f"{number(found.low, digits)} to {number(found.high, digits)}"
    return f"{number(found.value, digits)} ({ends}, covering {found.covers})"


def _tip(row: Mapping[Hashable, Any], name: str, digits: int) -> str:
    low, value, high = (float(row[key]) for key in ("low", "score", "high"))
    return (
        f"{name}, order {row['order']}, seed {row['seed']}: {number(value, digits)} "
        f"({number(low, digits)} to {number(high, digits)} over test patients)"
        f"{', collapsed' if row['collapsed'] else ''}"
    )


def _dot(
    axes: "Axes",
    row: Mapping[Hashable, Any],
    x: float,
    style: tuple[str, str],
    text: str,
    tips: dict[str, str],
) -> None:
    """Draw one run, a link to it."""
    collapsed = bool(row["collapsed"])
    gid = str(row["cell"]).replace("/", "-")
    tips[gid] = text
    (dot,) = axes.plot(
        [x],
        [float(row["score"])],
        "x" if collapsed else style[1],
        color=style[0],
        alpha=0.45,
        markersize=4,
        markeredgewidth=1.2 if collapsed else 0,
        gid=gid,
    )
    dot.set_url(f"{CELL}{row['cell']}")


def _mark(
    axes: "Axes",
    x: float,
    found: Estimate,
    style: tuple[str, str],
    gid: str,
    text: str,
    tips: dict[str, str],
) -> None:
    """Draw a mean with its interval."""
    tips[gid] = text
    _whisker(axes, x, found, style[0], 1.5)
    axes.plot([x], [found.value], style[1], color=style[0], markersize=6.5, zorder=5, gid=gid)


def _whisker(axes: "Axes", x: float, found: Estimate, colour: str, width: float) -> None:
    if not math.isnan(found.low):
        axes.plot([x, x], [found.low, found.high], color=colour, linewidth=width, zorder=4)


def _draw_references(
    axes: "Axes", values: dict[str, float], names: Sequence[str], reach: float = 1.2
) -> set[str]:
    """Draw those that do not flatten the curves; each name has its dashes in all panels."""
    low, high = axes.get_ylim()
    room = reach * max(high - low, 0.02)
    # In the order of the study: sets have another order in each process, and files other bytes.
    drawn = [name for name, value in values.items() if low - room <= value <= high + room]
    for name in drawn:
        dashes = _DASHES[names.index(name) % len(_DASHES)]
        axes.axhline(values[name], color=MUTED, linewidth=1.0, linestyle=(0, dashes), zorder=1)
    return set(drawn)


def _legend_of_lines(
    figure: "Figure", names: Sequence[str], references: Sequence[str], wide: bool
) -> None:
    from matplotlib.lines import Line2D

    dashes = [(0, _DASHES[references.index(name) % len(_DASHES)]) for name in names]
    handles = [Line2D([], [], color=MUTED, linewidth=1.0, linestyle=d) for d in dashes]
    if handles:
        figure.legend(
            handles, names, loc="lower center", ncols=min(len(names), 4 if wide else 2),
            frameon=False, fontsize=9, handlelength=3,
        )  # fmt: skip


def _finish(axes: "Axes", panel: Panel, places: _Places, with_zero: bool, bins: int) -> None:
    from matplotlib.ticker import FuncFormatter

    places.lay_out(axes, with_zero)
    axes.locator_params(axis="y", nbins=bins)
    ticks = axes.get_yticks()
    fewest = range(2 if panel.endpoint.metric.higher_is_better else 0, 4)
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
    for one in panel.series:
        runs = panel.runs[panel.runs["objective"] == one.group.objective]
        if len(runs):
            last = runs[runs["size"] == runs["size"].max()]
            weight = "normal" if one.is_control else "bold"
            name, colour = one.group.objective, style_of(one.place)[0]
            entries.append((float(last["score"].mean()), name, colour, weight))
    entries.sort(key=lambda entry: entry[0])
    places = _spread([entry[0] for entry in entries], gap, low + gap / 2, high - gap / 2)
    for place, (value, text, colour, weight) in zip(places, entries, strict=True):
        transform, ends = axes.get_yaxis_transform(), ([1.0, 1.035], [value, place])
        axes.plot(*ends, color=colour, linewidth=0.7, transform=transform, clip_on=False)
        axes.annotate(
            text,
            xy=(1.045, place),
            xycoords=transform,
            color=colour,
            fontweight=weight,
            va="center",
            annotation_clip=False,
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


def _covers(panel: Panel) -> str:
    texts = {
        level_estimate(one.group.score, one.group.replicates, one.group.blocks, 0, 0.95).covers
        for one in panel.complete
    }
    return "covering " + ", or ".join(sorted(texts)) if texts else "none: no complete group"


def _direction(endpoint: Endpoint) -> str:
    metric = endpoint.metric
    return if_error(metric, f" Lower {metric.short} is better.")


def _alt(panel: Panel) -> str:
    parts, metric = [], panel.endpoint.metric
    for one in panel.series:
        group = one.group
        if group.problem:
            parts.append(f"{group.objective} is not estimable")
            continue
        first, last = (number(float(v), metric.digits) for v in group.score.mean(axis=0)[[0, -1]])
        parts.append(
            f"{group.objective} {first} at {group.sizes[0]:,} patients and {last} at "
            f"{group.sizes[-1]:,}"
        )
    fixed = [f"{name} {number(value, metric.digits)}" for name, value in panel.references.items()]
    if panel.zero is not None:
        fixed.insert(0, f"the untrained encoder {number(panel.zero.value, metric.digits)}")
    without = f" Without pretraining data: {', '.join(fixed)}." if fixed else ""
    return f"{metric.label} on {panel.title}: {'; '.join(parts)}.{without}"
