"""Pictures of a search: its history, how each rung went, what was varied and what mattered."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ecgscale.objectives.search_space import Choice, FloatRange, IntRange
from ecgscale.pipeline.tuning.search import Search
from ecgscale.report.svg import INK, MUTED, SERIES, blank, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from optuna.trial import FrozenTrial

VALUE = "Validation macro AUROC"
FEWEST = 4
"""Finished trials below which no importance is said."""
RESOLUTION = 130
"""Dots per inch."""


def draw(search: Search, folder: Path) -> list[Path]:
    """Write the pictures of a search as PNG; return their paths.

    ``history``: every trial's value and the best so far; ``rungs``: what each trial had at each
    reading; ``slices``: the value against each parameter; ``importance``: how much of the values'
    variance each parameter explains (PED-ANOVA, Watanabe et al., IJCAI 2023), of `FEWEST` finished
    trials and more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[Search], Figure]] = {
        "history": _history,
        "rungs": _rungs,
        "slices": _slices,
    }
    if len(search.by_end()["complete"]) >= FEWEST and len(search.search_space) > 1:
        pictures["importance"] = _importance
    paths = []
    for name, picture in pictures.items():
        paths.append(folder / f"{name}.png")
        with styled():
            # Without matplotlib's version: the same trials give the same bytes.
            picture(search).savefig(
                paths[-1], dpi=RESOLUTION, facecolor="white", metadata={"Software": None}
            )
    return paths


def _history(search: Search) -> "Figure":
    from matplotlib.ticker import MaxNLocator

    figure = blank(6.4, 3.6)
    axes = figure.add_subplot(title=f"{search.objective}: trials in the order of their beginning")
    ends = search.by_end()
    complete = ends["complete"]
    numbers = [trial.number for trial in complete]
    values = [float(trial.value or 0.0) for trial in complete]
    _points(axes, numbers, complete, "finished", SERIES[0], "o")
    _points(axes, [trial.number for trial in ends["pruned"]], ends["pruned"], "pruned", MUTED, "x")
    best = np.maximum.accumulate(values)
    axes.step(numbers, best, where="post", color=SERIES[1], label="best so far")
    for end, mark in (("failed", "v"), ("killed", "1")):
        if ends[end]:
            low = min(values)
            at = [trial.number for trial in ends[end]]
            axes.plot(at, [low] * len(at), mark, color=INK, ls="", label=f"{end} (no value)")
    _label(axes, "Trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=8.5)
    figure.tight_layout()
    return figure


def _rungs(search: Search) -> "Figure":
    figure = blank(6.4, 3.6)
    axes = figure.add_subplot(title=f"{search.objective}: the probe at each rung")
    for end, colour in (("pruned", MUTED), ("complete", SERIES[0])):
        for place, trial in enumerate(search.by_end()[end]):
            steps, values = zip(*sorted(trial.intermediate_values.items()), strict=True)
            label = ("finished" if end == "complete" else end) if place == 0 else None
            marked = "o" if end == "complete" else "x"
            axes.plot(steps, values, f"-{marked}", color=colour, lw=1, ms=4, label=label)
    _label(axes, "Step")
    axes.set_xticks(sorted({s for t in search.by_end()["complete"] for s in t.intermediate_values}))
    axes.legend(frameon=False, fontsize=8.5)
    figure.tight_layout()
    return figure


def _slices(search: Search) -> "Figure":
    names = list(search.search_space)
    figure = blank(2.9 * min(len(names), 3), 3.0 * -(-len(names) // 3))
    ends = search.by_end()
    for place, name in enumerate(names, 1):
        axes = figure.add_subplot(-(-len(names) // 3), min(len(names), 3), place)
        for end, colour, mark in (("pruned", MUTED, "x"), ("complete", SERIES[0], "o")):
            given = [trial.params[name] for trial in ends[end]]
            if not all(isinstance(value, (int, float)) for value in given):
                given = [str(value) for value in given]
            _points(axes, given, ends[end], end, colour, mark)
        _set_span(axes, search.search_space[name])
        _label(axes, name)
        if (place - 1) % 3:
            axes.set_ylabel("")
    figure.suptitle(f"{search.objective}: value by parameter (crosses: pruned)", fontsize=10.5)
    figure.tight_layout()
    return figure


def _importance(search: Search) -> "Figure":
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    found = get_param_importances(search.optuna, evaluator=PedAnovaImportanceEvaluator())
    figure = blank(6.4, 0.9 + 0.35 * len(found))
    axes = figure.add_subplot(title=f"{search.objective}: importance of each parameter")
    names = sorted(found, key=lambda name: found[name])
    axes.barh(names, [found[name] for name in names], color=SERIES[0], height=0.6)
    axes.set_xlabel(f"Share of importance, {len(search.by_end()['complete'])} finished trials")
    axes.grid(visible=False, axis="y")
    figure.tight_layout()
    return figure


def _points(
    axes: "Axes",
    at: list[float] | list[int] | list[str],
    trials: "list[FrozenTrial]",
    label: str,
    colour: str,
    mark: str,
) -> None:
    if trials:
        values = [float(trial.value if trial.value is not None else np.nan) for trial in trials]
        axes.plot(at, values, mark, color=colour, ms=5, label=label)


def _set_span(axes: "Axes", span: FloatRange | IntRange | Choice) -> None:
    """Show all that is tried, with three ticks on a logarithmic axis: more would not fit."""
    from matplotlib.ticker import NullLocator

    if isinstance(span, Choice) or not span.log:
        return
    axes.set_xscale("log")
    ticks = [span.low, math.sqrt(span.low * span.high), span.high]
    axes.set_xticks(ticks, labels=[f"{tick:.2g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(span.low / 1.1, span.high * 1.1)


def _label(axes: "Axes", below: str) -> None:
    axes.set_xlabel(below)
    axes.set_ylabel(VALUE)
