"""The forest plot: slopes with their intervals by task, and their mean over the tasks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import TYPE_CHECKING

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.report.analysis import Analysis
from ecgscale.report.svg import MUTED, Drawing, Layout, blank, drawing, style_of
from ecgscale.report.words import if_error, interval, name_of_change, number, signed
from ecgscale.scaling.variance import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEAN = "Mean over these tasks"


@dataclass(frozen=True)
class _Slope:
    """One interval of the plot."""

    metric: MainMetric
    row: str
    objective: str
    found: Estimate
    p: float
    is_pooled: bool = False


def forest_figures(
    name: str,
    analysis: Analysis,
    endpoints: Sequence[Endpoint],
    row_title: Callable[[Endpoint], str],
    caption: str,
    simulated: bool,
) -> list[Drawing]:
    """Draw slopes per doubling with their intervals, each metric on axes of its own.

    Of the objectives that the tests are about, and of the positive controls. Below tasks of one
    unit stands their mean as a diamond. One figure, or none where nothing could be estimated.
    """
    design, tips = analysis.design, dict[str, str]()
    named = [n for n in design.objectives if n in (*design.declared, *design.positive_controls)]
    slopes = _slopes(analysis, endpoints, row_title, named)
    drawn = [n for n in named if any(one.objective == n for one in slopes)]
    metrics = list(dict.fromkeys(one.metric for one in slopes))
    if not slopes:
        return []

    def draw(layout: Layout) -> "Figure":
        wide = layout == "wide"
        parts = [[one for one in slopes if one.metric == metric] for metric in metrics]
        lengths = [len({one.row for one in part}) for part in parts]
        height = (0.17 * len(drawn) + 0.26) * sum(lengths) + 0.75 * len(parts) + 0.2
        figure = blank(8.6 if wide else 4.9, height)
        every = figure.subplots(len(parts), 1, squeeze=False, height_ratios=lengths).ravel()
        for axes, part in zip(every, parts, strict=True):
            _draw_part(axes, part, drawn, design.objectives, wide, tips)
        figure.tight_layout(pad=0.4, h_pad=1.2, rect=(0, 0, 1, 1 - 0.2 / height))
        return figure

    lower = "".join(dict.fromkeys(if_error(m, f" Lower {m.short} is better.") for m in metrics))
    mean = " Diamonds are means over the tasks, as wide as their intervals."
    pooled = mean if any(one.is_pooled for one in slopes) else ""
    figure = drawing(
        name,
        f"{caption} The vertical line is no effect.{pooled}{lower}",
        _alt(slopes, drawn),
        draw,
        tips,
        simulated,
    )
    return [figure]


def _slopes(
    analysis: Analysis,
    endpoints: Sequence[Endpoint],
    row_title: Callable[[Endpoint], str],
    objectives: Sequence[str],
) -> list[_Slope]:
    results = [r for r in analysis.results_of(endpoints) if r[0].objective in objectives]
    several = len({(group.encoder, group.regime) for group, _ in results}) > 1

    def more(encoder: str, regime: str) -> str:
        return f", {encoder}, {regime.replace('_', ' ')}" if several else ""

    found = [
        _Slope(
            group.endpoint.metric,
            row_title(group.endpoint) + more(group.encoder, group.regime),
            group.objective,
            one.slope,
            one.slope.p,
        )
        for group, one in results
        if one is not None
    ]
    tasks = {endpoint.name: endpoint.metric for endpoint in endpoints}
    return found + [
        _Slope(
            tasks[one.endpoints[0]],
            _MEAN + more(one.encoder, one.regime),
            one.objective,
            one.pool.these,
            one.pool.these.p,
            is_pooled=True,
        )
        for one in analysis.further.pooled
        if one.pool is not None
        and one.objective in objectives
        and set(one.endpoints) <= set(tasks)
        # Errors in different units are pooled by their logarithm, which is on none of the axes.
        and not tasks[one.endpoints[0]].in_unit_of_target
    ]


def _draw_part(
    axes: "Axes",
    part: Sequence[_Slope],
    drawn: Sequence[str],
    objectives: Sequence[str],
    wide: bool,
    tips: dict[str, str],
) -> None:
    rows = list(dict.fromkeys(one.row for one in part))
    metric = part[0].metric
    for one in part:
        off_centre = (drawn.index(one.objective) - (len(drawn) - 1) / 2) * 0.7 / len(drawn)
        y = rows.index(one.row) + off_centre
        colour, marker = style_of(objectives.index(one.objective))
        gid = f"slope-{one.objective}-{metric.name}-{rows.index(one.row)}"
        tips[gid] = (
            f"{one.objective}, {one.row}: {signed(one.found.value, metric.slope_digits)}"
            f"{metric.suffix} per doubling ({interval(one.found, metric.slope_digits)}), "
            f"p {number(one.p, 3)}"
        )
        if one.is_pooled:
            half = 0.3 / len(drawn)
            xs = [one.found.low, one.found.value, one.found.high, one.found.value]
            axes.fill(xs, [y, y - half, y, y + half], color=colour, gid=gid, zorder=4)
        else:
            axes.plot([one.found.low, one.found.high], [y, y], color=colour, linewidth=1.6)
            axes.plot([one.found.value], [y], marker, color=colour, markersize=5, gid=gid)
    if any(one.is_pooled for one in part):
        axes.axhline(len(rows) - 1.5, color=MUTED, linewidth=0.6)
    axes.axvline(0, color=MUTED, linewidth=0.9)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_yticks(range(len(rows)), [fill(text, 34 if wide else 18) for text in rows])
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.locator_params(axis="x", nbins=6 if wide else 4)
    axes.set_xlabel(f"{name_of_change(metric)} per doubling of patients")


def _alt(slopes: Sequence[_Slope], drawn: Sequence[str]) -> str:
    said = []
    for name in drawn:
        own = [one for one in slopes if one.objective == name and not one.is_pooled]
        gains = [one for one in own if one.metric.better(one.found.value)]
        outside = [one for one in own if one.found.low > 0 or one.found.high < 0]
        said.append(
            f"of {name} {len(gains)} of {len(own)} improve, {len(outside)} with an interval that "
            "leaves out zero"
        )
    return f"Slopes per doubling of patients with their intervals: {'; '.join(said)}."
