"""More of the answer: over tasks, from zero data on, shape, rivals, other axes."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ecgscale.report.tables import Rows, Table
from ecgscale.report.words import (
    DASH,
    number,
    p_text,
    with_interval,
)
from ecgscale.scaling.further import Further
from ecgscale.scaling.gain import Gain
from ecgscale.scaling.groups import Group
from ecgscale.scaling.laws import LawComparison
from ecgscale.scaling.pooled import Pool
from ecgscale.scaling.shape import Form, Shape
from ecgscale.scaling.variance import Estimate

_FORMS: dict[Form, str] = {
    "improves throughout": "improves throughout: over the first sizes and over the last",
    "only the first step": "only the first step improves, what follows is negligible",
    "negligible": "the whole slope is negligible",
    "slows down": "improves, less and less",
    "not told apart": "not told apart",
    "no gain": "no improvement was detected",
    "not tested": "not tested: one run at each size",
}


def further_tables(found: Further, primary: str) -> list[Table]:
    """Return the tables of the page, those of single tasks for the primary endpoint alone."""
    tables = [
        _pooled_table(found),
        _tallies_table(found),
        _gains_table(found, primary),
        _shapes_table(found, primary),
        _duels_table(found),
        _ranks_table(found),
        _axes_table(found),
        _composition_table(found),
    ]
    return [table for table in tables if table.rows]


def _pooled_table(found: Further) -> Table:
    rows: Rows = []
    for one in found.pooled:
        names = [one.objective, one.encoder, one.measure, str(len(one.endpoints))]
        if one.pool is None:
            rows.append([*names, f"not pooled: {one.problem}", "", "", ""])
            continue
        pool = one.pool
        rows.append(
            [
                *names,
                with_interval(pool.these, 4),
                with_interval(pool.alike, 4),
                _of_range(*_roots(pool), digits=4),
                _of_range(100 * pool.i2, 100 * pool.i2_low, 100 * pool.i2_high, 0),
            ]
        )
    return Table(
        "pooled",
        "Mean slope per doubling over the tasks, each of the same weight, with "
        f"{found.confidence:.0%} intervals: of these tasks, and of tasks like these, which is "
        "wider by how the tasks differ. Tasks share test patients and runs, and intervals know. "
        "Tau is the SD of the true slopes between tasks, I\u00b2 its share (percent) of the "
        "variance between them. Errors are pooled as logarithms: \u22120.01 is 1% less per "
        "doubling.",
        (
            *("Objective", "Encoder", "Score", "Tasks", "Slope of these tasks"),
            *("Slope of tasks like these", "Tau", "I\u00b2"),
        ),
        rows,
        stub=3,
    ).without("Encoder", unless=len({one.encoder for one in found.pooled}) > 1)


def _roots(pool: Pool) -> tuple[float, float, float]:
    return math.sqrt(pool.tau2), math.sqrt(pool.tau2_low), math.sqrt(pool.tau2_high)


def _tallies_table(found: Further) -> Table:
    rows: Rows = [
        [
            *(one.objective, one.control, one.encoder, one.measure),
            _both(one.better, one.better_holm),
            str(len(one.unclear)),
            _both(one.worse, one.worse_holm),
        ]
        for one in found.tallies
    ]
    return Table(
        "beaten",
        "In how many tasks an objective at its largest size is better or worse than a control: the "
        f"difference's {found.confidence:.0%} interval leaves zero out, in brackets after "
        "Holm's adjustment over the tasks. Unclear is not equal.",
        ("Objective", "Control", "Encoder", "Score", "Better", "Unclear", "Worse"),
        rows,
        stub=2,
    ).without("Encoder", unless=len({one.encoder for one in found.tallies}) > 1)


def _both(single: Sequence[str], adjusted: Sequence[str]) -> str:
    return f"{len(single)} ({len(adjusted)})"


def _gains_table(found: Further, primary: str) -> Table:
    chosen = [one for one in found.gains if one.group.endpoint.name == primary]
    sizes = chosen[0].group.sizes.tolist() if chosen else []
    rows: Rows = []
    for one in chosen:
        names = [one.group.objective, one.group.encoder]
        if one.problem:
            rows.append([*names, f"not estimable: {one.problem}", *[""] * (len(sizes) + 1)])
            continue
        digits = one.group.endpoint.metric.digits
        rows.append(
            [
                *names,
                *(with_interval(gain, digits) for gain in one.gains),
                "none" if one.starts is None else f"{sizes[one.starts]:,}",
                _share_text(one),
            ]
        )
    return Table(
        "gains",
        "Primary task: score minus that of the random encoder, the curve at zero patients, with "
        f"{found.confidence:.0%} intervals. A gain starts at the smallest size at which it is "
        "established, tested from the largest down. The last column is the part of the gain at the "
        "largest size that is there at the smallest.",
        (
            *("Objective", "Encoder", *(f"{size:,} patients" for size in sizes)),
            *("Established from", "Share at the smallest"),
        ),
        rows,
        stub=2,
    ).without("Encoder", unless=len({one.group.encoder for one in chosen}) > 1)


def _share_text(gain: Gain) -> str:
    share = gain.share
    if share is None or share.problem:
        return f"not estimable: {share.problem}" if share else DASH
    return _of_range(share.value, share.low, share.high, 2)


def _of_range(value: float, low: float, high: float, digits: int) -> str:
    if math.isnan(low):
        return number(value, digits)
    return f"{number(value, digits)} ({number(low, digits)} to {number(high, digits)})"


def form_text(one: Shape) -> str:
    """Say what the shape of a curve is."""
    if one.form == "saturates" and one.saturates_from is not None:
        size = int(one.group.sizes[one.saturates_from])
        return f"saturates from {size:,} patients: the slope from there on is negligible"
    return _FORMS[one.form]


def _shapes_table(found: Further, primary: str) -> Table:
    chosen = [one for one in found.shapes if one.group.endpoint.name == primary]
    rows: Rows = []
    for one in chosen:
        digits = one.group.endpoint.metric.slope_digits
        slopes = (one.first, one.last_three, one.last_two, one.quadratic)
        rows.append(
            [
                *(one.group.objective, one.group.encoder, form_text(one)),
                *(with_interval(each, digits) for each in slopes),
                ", ".join(
                    number(value, one.group.endpoint.metric.digits) for value in one.isotonic
                ),
            ]
        )
    bounds = {one.negligible for one in chosen}
    bound = next(iter(bounds)) if len(bounds) == 1 else math.nan
    negligible = (
        "no bound was declared below which a slope is negligible"
        if math.isnan(bound)
        else f"negligible is a slope below {bound:g} per doubling"
    )
    return Table(
        "shapes",
        f"Primary task: the shape of the curve, with {found.confidence:.0%} intervals of slopes "
        f"per doubling; {negligible}. Bend is the coefficient of the squared log2 of the patients.",
        (
            *("Objective", "Encoder", "Shape", "First three sizes", "Last three", "Last two"),
            *("Bend", "Isotonic fit"),
        ),
        rows,
        stub=2,
    ).without("Encoder", unless=len({one.group.encoder for one in chosen}) > 1)


def _duels_table(found: Further) -> Table:
    rows: Rows = []
    for one in found.duels:
        metric = one.first.endpoint.metric
        digits = metric.digits if one.size else metric.slope_digits
        where = f"{one.size:,} patients" if one.size else "slope per doubling"
        rows.append(
            [
                *(one.first.objective, one.second.objective, one.first.encoder, where),
                with_interval(one.difference, digits),
                p_text(one.difference.p).removeprefix("= "),
                p_text(one.p_holm).removeprefix("= "),
            ]
        )
    return Table(
        "rivals",
        "Primary task: objective against objective, first minus second, paired by replicate, with "
        f"{found.confidence:.0%} intervals. Holm's adjustment is over all rows of an encoder.",
        ("First", "Second", "Encoder", "At", "Difference", "p", "p, Holm"),
        rows,
        stub=4,
    ).without("Encoder", unless=len({one.first.encoder for one in found.duels}) > 1)


def _ranks_table(found: Further) -> Table:
    rows: Rows = []
    for encoder, one in found.concordances.items():
        if one.problem:
            continue
        kept = f"{number(one.w, 2)} ({number(one.low, 2)} to {number(one.high, 2)})"
        mean = [sum(column) / len(column) for column in zip(*one.ranks, strict=True)]
        ranks = zip(one.objectives, mean, strict=True)
        said = ", ".join(f"{name} {number(rank, 1)}" for name, rank in ranks)
        rows.append([encoder, kept, said, one.covers])
    return Table(
        "rank-stability",
        "Primary task: do objectives keep their ranks from size to size? Kendall's W is 1 if all "
        "sizes rank them alike and 0 if they have nothing in common.",
        ("Encoder", "Kendall's W", "Mean rank over sizes, 1 is best", "Interval covers"),
        rows,
    )


def _axes_table(found: Further) -> Table:
    rows: Rows = []
    for one in [*found.scales, *found.losses]:
        digits = one.group.endpoint.metric.slope_digits
        names = [one.group.objective, one.group.encoder, one.axis.replace("_", " ")]
        said = one.problem if one.slope is None else with_interval(one.slope, digits)
        spread = "" if math.isnan(one.low) else f"{one.low:.4g} to {one.high:.4g}"
        rho = with_interval(one.rho, 2) if one.rho else ""
        rows.append([*names, one.outcome.replace("_", " "), spread, said, rho])
    return Table(
        "axes",
        "Primary task: slopes on other axes, per doubling, and of the pretraining loss of the last "
        "steps per unit of loss, with "
        f"{found.confidence:.0%} intervals. Descriptions of the same runs, not tests: what grows "
        "together cannot be told apart.",
        ("Objective", "Encoder", "Axis", "Of", "Range", "Slope", "Spearman \u03c1"),
        rows,
        stub=4,
    ).without("Encoder", unless=len({one.group.encoder for one in found.scales}) > 1)


def _composition_table(found: Further) -> Table:
    sizes = found.composition[0].sizes if found.composition else ()
    rows: Rows = []
    for part in found.composition:
        digits = 1 if part.name == "mean age" else 3
        ends = [(float(column.min()), float(column.max())) for column in part.values.T]
        cells = [f"{number(low, digits)} to {number(high, digits)}" for low, high in ends]
        rows.append([part.name, *cells, with_interval(part.trend, digits + 1)])
    return Table(
        "composition",
        "What the pretraining subsets are made of, as shares of the records: range over nesting "
        f"orders, and change per doubling with a {found.confidence:.0%} interval over orders. Ages "
        "are in years, from bands of ten.",
        ("Part", *(f"{size:,} patients" for size in sizes), "Per doubling"),
        rows,
    )


def further_frames(
    found: Further, laws: Sequence[tuple[Group, LawComparison]]
) -> dict[str, pd.DataFrame]:
    """Return tables for machines by their name, a row for every number of a group, pair or law."""
    rows: dict[str, list[dict[str, Any]]] = {
        "pooled": [
            {
                **_names(one.objective, one.encoder, one.regime),
                **{"measure": one.measure, "higher_is_better": one.higher_is_better},
                **{"tasks": len(one.endpoints), "endpoints": "; ".join(one.endpoints)},
                **{"left_out": "; ".join(one.left_out), "problem": one.problem},
                **(_pool_columns(one.pool) if one.pool else {}),
            }
            for one in found.pooled
        ],
        "beaten": [
            {
                **_names(one.objective, one.encoder, one.regime),
                **{"control": one.control, "measure": one.measure},
                **{
                    key: "; ".join(getattr(one, key))
                    for key in ("better", "better_holm", "unclear", "worse", "worse_holm")
                },
            }
            for one in found.tallies
        ],
        "gains": [
            {
                **group_columns(one.group),
                **{"control": one.control, "problem": ""},
                **(estimate_columns("zero", one.zero) if one.zero else {}),
                **{"size": size, **estimate_columns("gain", gain)},
                "established": one.starts is not None and place >= one.starts,
                **(_share_columns(one) if place == 0 else {}),
            }
            for one in found.gains
            for place, (size, gain) in enumerate(zip(one.group.sizes, one.gains, strict=False))
        ]
        + [
            {**group_columns(one.group), "control": one.control, "problem": one.problem}
            for one in found.gains
            if one.problem
        ],
        "shapes": [
            {
                **group_columns(one.group),
                "form": one.form,
                "saturates_from": None
                if one.saturates_from is None
                else one.group.sizes[one.saturates_from],
                "negligible": one.negligible,
                **estimate_columns("first", one.first),
                **estimate_columns("last_three", one.last_three),
                **estimate_columns("last_two", one.last_two),
                **estimate_columns("quadratic", one.quadratic),
                "isotonic": "; ".join(f"{value:.6g}" for value in one.isotonic),
            }
            for one in found.shapes
        ],
        "rivals": [
            {
                **group_columns(one.first),
                **{"second": one.second.objective, "size": one.size},
                **estimate_columns("difference", one.difference),
                "p_holm": one.p_holm,
            }
            for one in found.duels
        ],
        "ranks": [
            {
                **{"encoder": encoder, "problem": one.problem, "w": one.w},
                **{"w_low": one.low, "w_high": one.high, "interval_covers": one.covers},
                "objectives": "; ".join(one.objectives),
                "ranks": " | ".join(" ".join(f"{rank:g}" for rank in row) for row in one.ranks),
            }
            for encoder, one in found.concordances.items()
        ],
        "axes": [
            {
                **group_columns(one.group),
                **{"axis": one.axis, "outcome": one.outcome, "from": one.low, "to": one.high},
                "problem": one.problem,
                **(estimate_columns("rho", one.rho) if one.rho else {}),
                **(estimate_columns("slope", one.slope) if one.slope else {}),
            }
            for one in [*found.scales, *found.losses]
        ],
        "composition": [
            {
                **{"part": part.name, "size": size, "low": low, "high": high},
                **estimate_columns("trend", part.trend),
            }
            for part in found.composition
            for size, low, high in zip(
                part.sizes, part.values.min(axis=0), part.values.max(axis=0), strict=True
            )
        ],
        "laws": [
            {
                **group_columns(group),
                **{"law": law.name, "formula": law.formula, "problem": law.problem},
                **{"aicc": law.aicc, "parameter": name, "value": value},
                **dict(zip(("low", "high"), law.intervals.get(name, ()), strict=False)),
                **{"unidentified": law.unidentified, "extrapolation": law.extrapolation},
                **{"predicted": law.predicted, "refuted": law.refuted},
                **{"predicted_low": law.predicted_low, "predicted_high": law.predicted_high},
                "interval_covers": comparison.covers,
            }
            for group, comparison in laws
            for law in comparison.laws
            for name, value in (law.params or {"": math.nan}).items()
        ],
    }
    return {name: pd.DataFrame(table) for name, table in rows.items()}


def _names(objective: str, encoder: str, regime: str) -> dict[str, str]:
    return {"objective": objective, "encoder": encoder, "regime": regime}


def group_columns(group: Group) -> dict[str, Any]:
    """Return the columns that name a group."""
    endpoint = group.endpoint
    return {
        **_names(group.objective, group.encoder, group.regime),
        **{"endpoint": endpoint.name, "metric": endpoint.metric.name, "unit": endpoint.metric.unit},
        "higher_is_better": endpoint.metric.higher_is_better,
    }


def estimate_columns(name: str, found: Estimate) -> dict[str, Any]:
    """Return the columns of an estimate: itself, its interval, its p, what they cover."""
    return {
        **{name: found.value, f"{name}_low": found.low, f"{name}_high": found.high},
        **{f"{name}_p": found.p, f"{name}_covers": found.covers},
    }


def _pool_columns(pool: Pool) -> dict[str, Any]:
    numbers = {key: value for key, value in vars(pool).items() if isinstance(value, float)}
    return {
        **estimate_columns("slope", pool.these),
        **estimate_columns("slope_of_tasks_alike", pool.alike),
        **numbers,
    }


def _share_columns(one: Gain) -> dict[str, Any]:
    share = one.share
    if share is None:
        return {}
    said = {"share": share.value, "share_low": share.low, "share_high": share.high}
    return {**said, "share_problem": share.problem}
