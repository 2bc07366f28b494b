"""Figures as SVG: text stays text, colours follow the page's light or dark scheme."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.scaling.claims import number, signed
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Correlation, Group, level_estimate
from ecgscale.study.file import Study

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Layout = Literal["wide", "narrow"]

INK, MUTED, LINE = "#1b1f23", "#5c6670", "#d5d9de"
SERIES: tuple[str, ...] = ("#0063a6", "#c14a00", "#00755a", "#a3477f", "#7a5c00", "#3f5bd9")
"""Colours told apart with any colour vision (after Okabe and Ito), dark enough for text."""
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")
VARIABLES: dict[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(SERIES)},
}
"""Colours of the drawing to the page's custom properties."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgscale",
    "font.family": "sans-serif",
    "font.size": 10.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.minor.visible": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Drawing:
    """One figure in the layouts for wide and narrow screens.

    Attributes
    ----------
    name
        File stem, and prefix of the SVG's ids.
    alt
        What the figure shows, in words.
    wide, narrow
        SVG documents with fixed colours.
    tips
        Id of an element to the text shown when it is pointed at.
    """

    name: str
    caption: str
    alt: str
    wide: str
    narrow: str
    tips: dict[str, str]

    def inline(self, layout: Layout) -> str:
        """Return the SVG to be put into the page: unique ids, the page's colours and tool tips."""
        svg = self.wide if layout == "wide" else self.narrow
        return _inline(svg, f"{self.name}-{layout}", self.alt, self.tips)


@dataclass(frozen=True)
class Reference:
    """A control or baseline without sizes: a horizontal line."""

    name: str
    value: float


@dataclass(frozen=True)
class Panel:
    """What one set of axes shows: one endpoint, encoder and regime.

    Attributes
    ----------
    series
        The groups drawn, each with its colour number (the objective's place in the grid).
    runs
        Rows of the flat table that belong here, collapsed runs included.
    """

    endpoint: Endpoint
    title: str
    encoder: str
    regime: str
    series: tuple[tuple[int, Group], ...]
    runs: pd.DataFrame
    references: tuple[Reference, ...]


def panels(
    study: Study, collection: Collection, found: Sequence[Group], titles: dict[str, str]
) -> list[Panel]:
    """Sort the groups into panels; regimes and encoders are never mixed.

    Parameters
    ----------
    titles
        Name of an endpoint to its title.
    """
    table = collection.table
    keys = dict.fromkeys((g.endpoint, g.encoder, g.regime) for g in found)
    several = len({(encoder, regime) for _, encoder, regime in keys}) > 1
    result = []
    for endpoint, encoder, regime in keys:
        mine = [
            g for g in found if (g.endpoint, g.encoder, g.regime) == (endpoint, encoder, regime)
        ]
        objectives = [g.objective for g in mine]
        here = table[(table["endpoint"] == endpoint.name) & table["score"].notna()]
        suffix = f" \N{EN DASH} {encoder}, {regime.replace('_', ' ')}" if several else ""
        result.append(
            Panel(
                endpoint,
                titles[endpoint.name] + suffix,
                encoder,
                regime,
                tuple((study.grid.objectives.index(g.objective), g) for g in mine),
                here[(here["encoder"] == encoder) & here["objective"].isin(objectives)],
                _references(study, here, encoder),
            )
        )
    return result


def _references(study: Study, here: pd.DataFrame, encoder: str) -> tuple[Reference, ...]:
    fixed = here[
        ~here["objective"].isin(study.grid.objectives)
        & (here["encoder"].isna() | (here["encoder"] == encoder))
    ]
    means = fixed.groupby("objective", sort=False)["score"].mean()
    return tuple(Reference(str(name), float(value)) for name, value in means.items())


def scaling_figure(name: str, panel: Panel, confidence: float) -> Drawing:
    """Draw the runs, means and intervals of one panel against log2 of the patients."""
    tips: dict[str, str] = {}

    def draw(layout: Layout) -> str:
        size = (8.6, 4.7) if layout == "wide" else (4.9, 4.9)
        figure = _figure(*size)
        right = 0.80 if layout == "wide" else 0.665
        axes = figure.add_axes((0.082 if layout == "wide" else 0.13, 0.125, right - 0.1, 0.835))
        _draw_panel(axes, panel, confidence, tips if layout == "wide" else {}, every=1)
        axes.set_ylabel(f"Test {panel.endpoint.measure.label}")
        axes.set_xlabel("Pretraining patients (log scale)")
        _direct_labels(axes, panel)
        return _svg(figure)

    wide, narrow = _styled(draw, "wide"), _styled(draw, "narrow")
    return Drawing(
        name,
        f"{panel.title}. Dots are runs, lines their mean at each size, bands pointwise "
        f"{confidence:.0%} intervals ({_band_covers(panel)}); dashed lines are encoders and "
        f"baselines that saw no pretraining data.{_direction(panel.endpoint.measure)}",
        _alt(panel),
        wide,
        narrow,
        tips,
    )


def multiples_figure(name: str, shown: Sequence[Panel], confidence: float) -> Drawing:
    """Draw one small panel per task, each with its own scale; all of one kind of metric."""
    named = [_capital(panel.endpoint.measure.label) for panel in shown]

    def draw(layout: Layout) -> str:
        columns = min(3 if layout == "wide" else 2, len(shown))
        rows = math.ceil(len(shown) / columns)
        width, height = (8.6, 2.35) if layout == "wide" else (4.9, 2.0)
        figure = _figure(width, rows * height + 0.35)
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for place, (ax, panel) in enumerate(zip(axes, shown, strict=False)):
            _draw_panel(ax, panel, confidence, {}, every=1 if layout == "wide" else 2, small=True)
            ax.set_title(_wrapped(panel.title, 22 if layout == "wide" else 20), pad=6)
            if place % columns == 0 or named[place] != named[place - 1]:
                ax.set_ylabel(named[place])
            if place + columns >= len(shown):
                ax.set_xlabel("Patients")
        for ax in axes[len(shown) :]:
            ax.remove()
        figure.tight_layout(pad=0.4, w_pad=1.2, h_pad=1.2)
        return _svg(figure)

    return Drawing(
        name,
        f"The other {'tasks' if shown[0].endpoint.measure.higher_is_better else 'regressions'}, "
        f"each with its own scale of {shown[0].endpoint.measure.short}; colours and bands as "
        "above. Controls and baselines far off a scale are left to the table of controls."
        f"{_direction(shown[0].endpoint.measure)}",
        " ".join(_alt(panel) for panel in shown),
        _styled(draw, "wide"),
        _styled(draw, "narrow"),
        {},
    )


def slopes_figure(
    name: str,
    study: Study,
    estimates: Sequence[Correlation],
    titles: dict[str, str],
    caption: str,
) -> Drawing:
    """Draw the slope per doubling of every endpoint and objective with its interval.

    Parameters
    ----------
    estimates
        At least one; each measure has its own axes.
    titles
        Name of an endpoint to the title of its row.
    caption
        What the rows are.
    """
    several = len({(c.group.encoder, c.group.regime) for c in estimates}) > 1
    objectives = [
        name for name in study.grid.objectives if any(c.group.objective == name for c in estimates)
    ]
    parts = [
        [c for c in estimates if c.group.endpoint.measure == measure]
        for measure in dict.fromkeys(c.group.endpoint.measure for c in estimates)
    ]

    def draw(layout: Layout) -> str:
        row, lengths = 0.2 * len(objectives) + 0.32, [len(_rows(part)) for part in parts]
        figure = _figure(8.6 if layout == "wide" else 4.9, row * sum(lengths) + 0.75 * len(parts))
        every = figure.subplots(len(parts), 1, squeeze=False, height_ratios=lengths).ravel()
        for axes, part in zip(every, parts, strict=True):
            rows = _rows(part)
            for estimate in part:
                place = objectives.index(estimate.group.objective)
                y = rows.index(_row(estimate)) + _offset(place, len(objectives))
                _draw_slope(axes, estimate, y, study)
            axes.axvline(0, color=MUTED, linewidth=0.9)
            axes.set_ylim(len(rows) - 0.4, -0.6)
            labels = [
                titles[endpoint.name] + (f", {encoder}, {regime}" if several else "")
                for endpoint, encoder, regime in rows
            ]
            width = 34 if layout == "wide" else 18
            axes.set_yticks(range(len(rows)), [_wrapped(label, width) for label in labels])
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="x")
            axes.grid(visible=False, axis="y")
            axes.spines["left"].set_visible(False)
            axes.locator_params(axis="x", nbins=6 if layout == "wide" else 4)
            measure = rows[0][0].measure
            axes.set_xlabel(f"{measure.label.removeprefix('macro ')} per doubling of patients")
        figure.tight_layout(pad=0.4, h_pad=1.2)
        return _svg(figure)

    directions = dict.fromkeys(_direction(part[0].group.endpoint.measure) for part in parts)
    return Drawing(
        name,
        f"{caption} The vertical line is no effect.{''.join(directions)}",
        f"Slopes per doubling of patients. {'; '.join(_slope_alt(c, titles) for c in estimates)}.",
        _styled(draw, "wide"),
        _styled(draw, "narrow"),
        {},
    )


def _row(estimate: Correlation) -> tuple[Endpoint, str, str]:
    group = estimate.group
    return group.endpoint, group.encoder, group.regime


def _rows(estimates: Sequence[Correlation]) -> list[tuple[Endpoint, str, str]]:
    return list(dict.fromkeys(_row(estimate) for estimate in estimates))


def _draw_slope(axes: "Axes", estimate: Correlation, y: float, study: Study) -> None:
    series, slope = study.grid.objectives.index(estimate.group.objective), estimate.slope
    axes.plot([slope.low, slope.high], [y, y], color=_colour(series), linewidth=1.6)
    axes.plot(
        [slope.value], [y], MARKERS[series % len(MARKERS)], color=_colour(series), markersize=5
    )


def _slope_alt(estimate: Correlation, titles: dict[str, str]) -> str:
    group, slope = estimate.group, estimate.slope
    measure = group.endpoint.measure
    value, low, high = (
        signed(end, measure.slope_digits) for end in (slope.value, slope.low, slope.high)
    )
    return (
        f"{group.objective}, {titles[group.endpoint.name]}: {measure.short} {value}"
        f"{measure.suffix} ({low} to {high})"
    )


def _styled(draw: Callable[[Layout], str], layout: Layout) -> str:
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        return draw(layout)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure


def _svg(figure: "Figure") -> str:
    from io import StringIO

    buffer = StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _colour(series: int) -> str:
    return SERIES[series % len(SERIES)]


def _offset(place: int, count: int) -> float:
    return (place - (count - 1) / 2) * 0.7 / max(count, 1)


def _draw_panel(
    axes: "Axes",
    panel: Panel,
    confidence: float,
    tips: dict[str, str],
    every: int,
    small: bool = False,
) -> None:
    from matplotlib.ticker import FuncFormatter

    measure = panel.endpoint.measure
    axes.set_xscale("log", base=2)
    sizes = sorted({int(size) for _, group in panel.series for size in group.sizes})
    for place, (series, group) in enumerate(panel.series):
        colour, marker = _colour(series), MARKERS[series % len(MARKERS)]
        runs = panel.runs[panel.runs["objective"] == group.objective]
        for row in runs.to_dict("records"):
            size, order, seed, value = (row[k] for k in ("size", "order", "seed", "score"))
            gid = f"{group.objective}-n{size}-o{order}-s{seed}"
            tips[gid] = (
                f"{group.objective}, {size:,} patients, order {order}, seed {seed}: "
                f"{value:.{measure.slope_digits}f}{measure.suffix}"
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
        level = [
            level_estimate(group.score, group.replicates, i, confidence)
            for i in range(len(group.sizes))
        ]
        axes.plot(
            group.sizes,
            [estimate.value for estimate in level],
            color=colour,
            linewidth=1.4 if small else 2.0,
            zorder=3 + place,
        )
        if not math.isnan(level[0].low):
            axes.fill_between(
                group.sizes,
                [estimate.low for estimate in level],
                [estimate.high for estimate in level],
                color=colour,
                alpha=0.10,
                linewidth=0,
            )
    for reference in _near(axes.get_ylim(), panel.references):
        axes.axhline(reference.value, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)), zorder=1)
    shown = sizes[::every] if not small else sizes[:: max(every, math.ceil(len(sizes) / 4))]
    axes.set_xticks(shown, [f"{size:,}" if size < 10_000 else f"{size // 1000}k" for size in shown])
    axes.minorticks_off()
    axes.set_xlim(sizes[0] / 1.18, sizes[-1] * 1.18)
    axes.locator_params(axis="y", nbins=4 if small else 7)
    ticks = axes.get_yticks()
    fewest = range(2 if measure.higher_is_better else 0, 4)
    digits = next((d for d in fewest if np.allclose(ticks, np.round(ticks, d))), 3)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.{digits}f}"))


def _near(limits: tuple[float, float], references: Sequence[Reference]) -> list[Reference]:
    """Return the references that can be drawn without flattening the curves."""
    low, high = limits
    reach = 1.2 * max(high - low, 0.02)
    return [r for r in references if low - reach <= r.value <= high + reach]


def _direct_labels(axes: "Axes", panel: Panel) -> None:
    """Name lines at their right end, pushed apart where they would overlap."""
    low, high = axes.get_ylim()
    gap = 0.047 * (high - low)
    entries = [
        (reference.value, reference.name, MUTED, "normal")
        for reference in panel.references
        if low <= reference.value <= high
    ]
    beyond = [r for r in panel.references if not low <= r.value <= high]
    for line, r in enumerate(sorted(beyond, key=lambda r: -r.value)):
        arrow = "\N{DOWNWARDS ARROW}" if r.value < low else "\N{UPWARDS ARROW}"
        axes.annotate(
            f"{r.name} {r.value:.{panel.endpoint.measure.digits - 1}f} {arrow}",
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
            entries.append((float(last["score"].mean()), group.objective, _colour(series), "bold"))
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
        level_estimate(group.score, group.replicates, 0, 0.95).covers
        for _, group in panel.series
        if not group.problem
    }
    return "covering " + ", or ".join(sorted(texts)) if texts else "none: no complete group"


def _direction(measure: MainMetric) -> str:
    return "" if measure.higher_is_better else f" Lower {measure.short} is better."


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _alt(panel: Panel) -> str:
    parts, measure = [], panel.endpoint.measure
    for _, group in panel.series:
        if group.problem:
            parts.append(f"{group.objective}: {group.problem}")
            continue
        first, last = (float(value) for value in group.score.mean(axis=0)[[0, -1]])
        parts.append(
            f"{group.objective}: mean {measure.label} {number(first, measure.digits)} at "
            f"{group.sizes[0]:,} patients, {number(last, measure.digits)} at {group.sizes[-1]:,}"
        )
    parts += [
        f"{r.name}: {number(r.value, measure.digits)} without pretraining data"
        for r in panel.references
    ]
    return f"{panel.title}. {'; '.join(parts)}."


def _wrapped(text: str, width: int) -> str:
    from textwrap import fill

    return fill(text, width)


def _inline(svg: str, prefix: str, alt: str, tips: dict[str, str]) -> str:
    body = svg
    for gid, tip in tips.items():
        body = body.replace(f'<g id="{gid}">', f'<g id="{gid}"><title>{escape(tip)}</title>')
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, variable)
    head = re.search(r'viewBox="([^"]+)"', body)
    view = head.group(1) if head else "0 0 1 1"
    label = f'role="img" aria-label="{escape(alt)}"'
    return re.sub(r"<svg[^>]*>", f'<svg viewBox="{view}" {label}>', body, count=1)
