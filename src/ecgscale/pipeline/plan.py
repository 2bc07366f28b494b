"""What a study will find and what it costs, before anything of it has run."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import ValidationError

from ecgscale.errors import BadInputError
from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.files import write_whole
from ecgscale.pipeline.repro import edited
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import RunRecord, read_results, result_path
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import MIN_SIZES, Group
from ecgscale.scaling.noise import Noise, estimate_noise, planned_power, spread
from ecgscale.scaling.power import POWER, variance_limits
from ecgscale.scaling.variance import Blocks, axes, regular
from ecgscale.settings import first_problem
from ecgscale.study.cells import study_cells
from ecgscale.study.design import study_design
from ecgscale.study.file import Study, load_study

MOST_REPLICATES = 64
"""Beyond them a plan looks no further."""
SHOWN_REPLICATES = (2, 3, 4, 5, 6, 8, 10)
FEWEST_SIZES, MOST_SIZES = 5, 9
"""Of the grids that a plan looks for; fewer tell no curve from another. A study that has fewer
itself has chosen so."""


@dataclass(frozen=True)
class Rate:
    """What a cell of one objective and encoder took in a pilot; NaN where it is not known."""

    flops: float = math.nan
    """Of a step."""
    seconds: float = math.nan
    """Of a step, times processes."""
    fixed: float = math.nan
    """Seconds beside the steps, evaluation included."""
    bytes: float = math.nan
    """Of model and records."""


@dataclass(frozen=True)
class Pilot:
    """What a plan takes from runs that are there.

    Attributes
    ----------
    steps
        Of its training.
    rates
        By objective and encoder.
    records_per_patient
        Of its subsets.
    notes
        What the noise leaves out.
    """

    name: str
    noise: Noise
    steps: int
    device: str
    rates: dict[tuple[str, str], Rate]
    records_per_patient: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cost:
    """What all cells of a grid take, controls included; NaN where it is not known."""

    cells: int
    steps: float
    samples: float
    flops: float
    device_hours: float
    gigabytes: float


@dataclass(frozen=True)
class Row:
    """A grid, what it finds, and what it costs.

    Attributes
    ----------
    power, power_low, power_high
        Probability of the verdict "rises" at the plan's slope; the same where runs vary as much,
        or as little, as the pilot leaves possible (80% interval).
    no_effect
        Probability of "no effect of interest" where there is none at all.
    detectable
        Slope that is found with the wanted power; NaN without a test.
    """

    steps: int
    sizes: tuple[int, ...]
    blocks: tuple[tuple[int, int], ...]
    power: float
    power_low: float
    power_high: float
    no_effect: float
    detectable: float
    cost: Cost


@dataclass(frozen=True)
class Plan:
    """The answer of `plan`.

    Attributes
    ----------
    slope
        For which power is stated, per doubling, in `unit`.
    as_written
        The study's own grid.
    replicates
        The study's sizes with other numbers of replicates.
    sufficient
        For each number of sizes, and of steps, the fewest replicates that reach the wanted power.
    cheapest
        Of these; None if none is enough.
    """

    study: str
    unit: str
    slope: float
    smallest_effect: float
    tests: int
    confidence: float
    wanted: float
    as_written: Row
    replicates: list[Row]
    sufficient: list[Row]
    cheapest: Row | None
    notes: list[str] = field(default_factory=list)


def plan(
    study: Study,
    pilots: Sequence[Pilot],
    *,
    slope: float | None = None,
    steps: Sequence[int] = (),
    fewest_sizes: int | None = None,
    wanted: float = POWER,
) -> Plan:
    """Return what a study's rule finds over sizes, replicates and steps, and what that costs.

    Parameters
    ----------
    pilots
        Each number of steps is planned with the noise of the pilot whose steps are nearest.
    slope
        True change of the primary metric per doubling; default the smallest effect of interest.
    steps
        Numbers of steps to consider; default the study's.
    fewest_sizes
        Of the grids that are looked for, default 5 or the study's own number where that is less;
        they lie evenly on a logarithmic scale between the study's smallest and largest.
    wanted
        Power to reach.

    Raises
    ------
    BadInputError
        As `ecgscale.study.design.study_design`.
    """
    design = study_design(study)
    effect = abs(slope) if slope is not None else design.smallest_effect
    asked = tuple(dict.fromkeys(steps)) or (study.training.steps,)
    search = _Search(study, design, pilots, effect, 1 - study.report.confidence, wanted)
    own, blocks = design.sizes, design.blocks
    written = search.row(study.training.steps, own, blocks)
    counts = sorted({*SHOWN_REPLICATES, len(blocks)})
    rows = [search.row(asked[0], own, _replicates(blocks, count)) for count in counts]
    fewest = fewest_sizes or min(FEWEST_SIZES, len(own))
    sufficient = [
        found
        for taken in asked
        for count in range(max(fewest, MIN_SIZES), max(MOST_SIZES, len(own)) + 1)
        if (found := search.fewest_replicates(taken, _sizes(own, count)))
    ]
    metric = design.primary.metric
    return Plan(
        study=study.study.name,
        unit=metric.unit or metric.short,
        slope=effect,
        smallest_effect=design.smallest_effect,
        tests=design.tests,
        confidence=study.report.confidence,
        wanted=wanted,
        as_written=written,
        replicates=rows,
        sufficient=sufficient,
        cheapest=_cheapest(sufficient),
        notes=[note for pilot in pilots for note in pilot.notes] + search.notes(asked),
    )


def _cheapest(rows: Sequence[Row]) -> Row | None:
    """Return the grid with the fewest device-hours; where not all are known, the fewest steps."""
    timed = not any(math.isnan(row.cost.device_hours) for row in rows)

    def expense(row: Row) -> tuple[float, float, int]:
        return (row.cost.device_hours if timed else 0.0, row.cost.steps, row.cost.cells)

    return min(rows, key=expense, default=None)


@dataclass(frozen=True)
class _Search:
    study: Study
    design: Design
    pilots: Sequence[Pilot]
    slope: float
    alpha: float
    wanted: float

    def pilot(self, steps: int) -> Pilot:
        return min(self.pilots, key=lambda pilot: abs(math.log(pilot.steps / steps)))

    def notes(self, asked: Sequence[int]) -> list[str]:
        return [
            f"At {steps:,} steps the noise is taken as that of {pilot.name}, at {pilot.steps:,}."
            for steps in asked
            if (pilot := self.pilot(steps)).steps != steps
        ]

    def row(self, steps: int, sizes: tuple[int, ...], blocks: Blocks) -> Row:
        noise = self.pilot(steps).noise
        powers = [
            planned_power(
                noise, sizes, blocks, tests=self.design.tests, alpha=self.alpha, factor=factor
            )
            for factor in (
                1.0,
                *((1.0, 1.0) if math.isinf(noise.df) else variance_limits(noise.df)),
            )
        ]
        found, high, low = (power.found(self.slope) if power else 0.0 for power in powers)
        power = powers[0]
        return Row(
            steps,
            sizes,
            tuple(blocks),
            found,
            low,
            high,
            power.no_effect(self.design.smallest_effect) if power else 0.0,
            power.detectable(self.wanted) if power else math.nan,
            self.cost(steps, sizes, blocks),
        )

    def fewest_replicates(self, steps: int, sizes: tuple[int, ...]) -> Row | None:
        """Return the grid with the fewest replicates that reach the wanted power."""
        noise = self.pilot(steps).noise

        def enough(count: int) -> bool:
            blocks = _replicates((), count)
            power = planned_power(noise, sizes, blocks, tests=self.design.tests, alpha=self.alpha)
            return power is not None and power.found(self.slope) >= self.wanted

        low, high = 1, MOST_REPLICATES
        if not enough(high):
            return None
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle, high)
        return self.row(steps, sizes, _replicates(self.design.blocks, high))

    def cost(self, steps: int, sizes: tuple[int, ...], blocks: Blocks) -> Cost:
        """Return what a grid takes: that of one replicate, times their number."""
        from ecgscale.objectives.base import objectives

        pilot, study = self.pilot(steps), self.study
        grid = study.grid.model_copy(
            update={"sizes": sizes, "replicates": study.grid.replicates[:1]}
        )
        training = study.training.model_copy(update={"steps": steps})
        one = study.model_copy(update={"grid": grid, "training": training})
        cells = study_cells(one)
        total = np.zeros(5)
        for cell in cells:
            trained = objectives.get(one.objectives[cell.objective].kind).needs_training
            taken = _steps(one, cell, pilot.records_per_patient) if trained else 0.0
            rate = _rate(pilot.rates, cell)
            samples = taken * one.training_for(cell.objective).batch_size
            flops = taken * rate.flops if taken else 0.0
            seconds = (taken * rate.seconds if taken else 0.0) + rate.fixed
            total += (taken, samples, flops, seconds / 3600, rate.bytes / 1e9)
        steps_of, samples, flops, hours, gigabytes = (len(blocks) * total).tolist()
        return Cost(len(blocks) * len(cells), steps_of, samples, flops, hours, gigabytes)


def _steps(study: Study, cell: Cell, records_per_patient: float) -> float:
    training = study.training_for(cell.objective)
    if training.regime == "fixed_steps":
        return training.steps
    # A control without sizes trains on all labels, of which at least the largest subset's worth.
    records = (cell.size or max(study.grid.sizes)) * records_per_patient
    return math.ceil(training.epochs * records / training.batch_size)


def _rate(rates: dict[tuple[str, str], Rate], cell: Cell) -> Rate:
    """Return the rate of an objective, or the mean of those with the encoder, or of all."""
    known = rates.get((cell.objective, cell.encoder))
    if known:
        return known
    alike = [rate for (_, encoder), rate in rates.items() if encoder == cell.encoder]
    among = alike or list(rates.values())
    return _mean(among)


def _mean(rates: Sequence[Rate]) -> Rate:
    """Return the mean of what is known."""
    known = {
        name: [value for rate in rates if math.isfinite(value := getattr(rate, name))]
        for name in vars(Rate())
    }
    return Rate(**{name: float(np.mean(values)) for name, values in known.items() if values})


def _replicates(known: Blocks, count: int) -> tuple[tuple[int, int], ...]:
    """Return replicates with an order and a seed of their own: the known ones, then further."""
    own: list[tuple[int, int]] = []
    for block in known:
        if all(block[axis] not in {other[axis] for other in own} for axis in (0, 1)):
            own.append(block)
    used = [{block[axis] for block in own} for axis in (0, 1)]
    fresh = [(n for n in range(count + len(known) + 1) if n not in taken) for taken in used]
    while len(own) < count:
        own.append((next(fresh[0]), next(fresh[1])))
    return tuple(own[:count])


def _sizes(own: tuple[int, ...], count: int) -> tuple[int, ...]:
    """Return sizes evenly apart on a logarithmic scale; the study's own where it has as many."""
    if count == len(own):
        return own
    return tuple(int(size) for size in np.unique(np.geomspace(own[0], own[-1], count).round()))


def stated(
    study: Study, *, run: float, slope: float = 0.0, patients: float = 0.0, speed: float = math.nan
) -> Pilot:
    """Return a pilot that has not run: SDs as of `Noise`, and a speed in samples a second."""
    cells = {(cell.objective, cell.encoder): cell for cell in study_cells(study)}
    rates = {
        key: Rate(seconds=study.training_for(key[0]).batch_size / speed, fixed=0.0)
        for key in (cells if math.isfinite(speed) else ())
    }
    noise = Noise(run, slope, patients, math.inf, spread(study.grid.sizes))
    return Pilot("what is stated", noise, study.training.steps, "", rates, 1.0)


def read_pilot(given: Path, root: Path, design: Design) -> Pilot:
    """Read a pilot: the runs of a study file in this project, or of a folder of results.

    Parameters
    ----------
    given
        A study file, whose runs lie in ``<root>/results``; or a folder ``results``, or one that
        holds it, with the runs of one study.
    design
        Of the study that is planned: its primary endpoint is read, and its declared objectives
        where the pilot has any of them.

    Raises
    ------
    BadInputError
        If there is no such file or folder, it holds several studies, or no runs from which the
        noise of the endpoint can be told.
    """
    folder = given / "results" if (given / "results").is_dir() else given
    results = folder if given.is_dir() else root / "results"
    records = {phase: read_results(results, phase) for phase in ("pretrain", "evaluate")}
    names = {record.study for record in records["evaluate"]}
    if given.is_dir():
        if len(names) > 1:
            raise BadInputError(
                f"{given} holds runs of several studies, {', '.join(sorted(names))}: give the "
                "study file of one"
            )
    else:
        names = {load_study(given).study.name}
    kept = {
        phase: {r.cell: r for r in found if r.study in names and r.axes.get("role") != "external"}
        for phase, found in records.items()
    }
    groups = _groups(kept["pretrain"], kept["evaluate"], design.primary)
    groups = [g for g in groups if g.objective in design.declared] or groups
    if not groups:
        known = {name for r in kept["evaluate"].values() for name in r.details.get("tasks", {})}
        raise BadInputError(
            f"{given} has no complete replicate of an objective on {design.primary.name}, the "
            f"primary task; its runs have: {', '.join(sorted(known)) or 'nothing'}"
        )
    trained = [
        r
        for r in kept["pretrain"].values()
        if int(r.axes.get("size") or 0) and r.metrics.get("steps", 0) > 0
    ]
    noise = estimate_noise(groups)
    return Pilot(
        str(given),
        noise,
        round(float(np.median([r.metrics["steps"] for r in trained]))) if trained else 1,
        ", ".join(sorted({str(r.params.get("device", "")) for r in trained} - {""})),
        _rates(kept["pretrain"], kept["evaluate"], results),
        float(np.mean([r.metrics["records"] / r.metrics["patients"] for r in trained]))
        if trained
        else 1.0,
        _left_out(given, groups, noise),
    )


def _left_out(given: Path, groups: Sequence[Group], noise: Noise) -> tuple[str, ...]:
    notes = []
    blocks = groups[0].blocks
    orders, seeds = (len(set(axis)) for axis in zip(*blocks, strict=True))
    names = ", ".join(sorted({group.objective for group in groups}))
    if len(blocks) < 2:
        notes.append(
            f"{given} has one replicate: the noise of runs is the scatter of {names} about a line, "
            "and what all runs of a replicate have in common is not in it."
        )
    elif min(orders, seeds) < 2:
        one, others = ("seed", "seeds") if seeds < 2 else ("order", "orders")
        notes.append(
            f"{given} has one {one}: what other {others} would change is not in the noise."
        )
    notes.append(
        f"The noise is that of {names} in {given}, known with {noise.df:.0f} degrees of freedom "
        "if objectives count as independent; ranges are its 80% interval."
    )
    if not any(len(group.replicates) for group in groups):
        notes.append(f"{given} has no resamples: test patients are not in the noise.")
    return tuple(notes)


def _groups(
    pretrain: dict[str, RunRecord], evaluate: dict[str, RunRecord], endpoint: Endpoint
) -> list[Group]:
    """Return the runs of every objective and encoder in blocks that have all of its sizes."""
    runs: dict[tuple[str, str], dict[tuple[int, int], dict[int, RunRecord]]] = {}
    for cell, record in evaluate.items():
        axes, details = record.axes, record.details.get("tasks", {}).get(endpoint.name, {})
        before = pretrain.get(cell)
        collapsed = before is not None and before.metrics.get("collapsed") == 1.0
        if details.get("metric") != endpoint.metric.name or not axes.get("size") or collapsed:
            continue
        group = runs.setdefault((str(axes["objective"]), str(axes["encoder"])), {})
        block = (int(axes["order"] or 0), int(axes["seed"] or 0))
        group.setdefault(block, {})[int(axes["size"] or 0)] = record
    sizes = sorted({size for group in runs.values() for block in group.values() for size in block})
    found = []
    for (objective, encoder), group in runs.items():
        blocks = regular(sorted(b for b, by_size in group.items() if len(by_size) == len(sizes)))
        if not blocks:
            continue
        table = [[group[block][size] for size in sizes] for block in blocks]
        score = [
            [r.metrics[f"{endpoint.name}.{endpoint.metric.name}"] for r in row] for row in table
        ]
        drawn = [
            [r.details["tasks"][endpoint.name].get("replicates") or [] for r in row]
            for row in table
        ]
        count = min(len(values) for row in drawn for values in row)
        resampled = np.array([[v[:count] for v in row] for row in drawn], dtype=np.float64)
        found.append(
            Group(
                objective,
                encoder,
                "",
                endpoint,
                np.array(sizes, dtype=np.int64),
                blocks,
                np.array(score, dtype=np.float64),
                np.moveaxis(resampled, -1, 0),
            )
        )
    return found


def _rates(
    pretrain: dict[str, RunRecord], evaluate: dict[str, RunRecord], results: Path
) -> dict[tuple[str, str], Rate]:
    """Return the mean rate of every objective and encoder."""
    found: dict[tuple[str, str], list[Rate]] = {}
    for cell, before in pretrain.items():
        after = evaluate.get(cell)
        if after is None:
            continue
        spent = before.metrics
        processes = float(before.params.get("processes") or 1)
        steps = spent.get("steps", 0.0)
        files = [result_path(results, record.phase, cell) for record in (before, after)]
        files += [results.parent / name for name in before.artifacts]
        present = all(file.is_file() for file in files)
        rate = Rate(
            flops=spent.get("flops", math.nan) / steps if steps else math.nan,
            seconds=processes * spent.get("seconds", math.nan) / steps if steps else math.nan,
            fixed=processes * (_seconds(before) - spent.get("seconds", 0.0)) + _seconds(after),
            bytes=float(sum(file.stat().st_size for file in files)) if present else math.nan,
        )
        key = (str(before.axes.get("objective")), str(before.axes.get("encoder")))
        found.setdefault(key, []).append(rate)
    return {key: _mean(rates) for key, rates in found.items()}


def _seconds(record: RunRecord) -> float:
    began, ended = (datetime.fromisoformat(time) for time in (record.started, record.ended))
    return (ended - began).total_seconds()


def heading(found: Plan) -> list[str]:
    """Return what a plan is about, in sentences."""
    family = f"{found.tests} pre-declared test{'s' if found.tests != 1 else ''}"
    return [
        f"{found.study}: {family}, Holm's level {1 - found.confidence:.2g}; power to find a slope "
        f"of {found.slope:g} {found.unit} per doubling, where the others have none.",
    ]


def table(found: Plan) -> list[tuple[str, ...]]:
    """Return the rows of a plan as text, the heading first."""
    head = (
        *("grid", "sizes", "replicates", "steps", "power", "range", "no effect"),
        *("detectable", "cells", "samples", "FLOPs", "device hours", "GB"),
    )
    kinds = [
        *(("as written", row) for row in [found.as_written]),
        *(("", row) for row in found.replicates),
        *((f"{found.wanted:.0%}", row) for row in found.sufficient),
    ]
    return [head, *((kind, *_cells(row)) for kind, row in kinds)]


def _cells(row: Row) -> tuple[str, ...]:
    cost = row.cost
    return (
        str(len(row.sizes)),
        _layout(row.blocks),
        f"{row.steps:,}",
        f"{row.power:.0%}",
        f"{row.power_low:.0%} to {row.power_high:.0%}",
        f"{row.no_effect:.0%}",
        _known(row.detectable, ".4f"),
        f"{cost.cells:,}",
        _known(cost.samples, ",.0f"),
        _known(cost.flops, ".2g"),
        _known(cost.device_hours, ",.2f"),
        _known(cost.gigabytes, ",.3f"),
    )


def _layout(blocks: Blocks) -> str:
    orders, seeds = axes(blocks)
    crossed = len(blocks) > max(orders, seeds)
    return f"{orders} x {seeds} crossed" if crossed else str(len(blocks))


def _known(value: float, form: str) -> str:
    return "n/a" if math.isnan(value) else format(value, form)


def conclusion(found: Plan) -> list[str]:
    """Return what a plan comes to, in sentences."""
    best = found.cheapest
    if best is None:
        said = (
            f"No grid with up to {MOST_REPLICATES} replicates finds this slope with "
            f"{found.wanted:.0%} power."
        )
    else:
        sizes = ", ".join(f"{size:,}" for size in best.sizes)
        said = (
            f"The cheapest grid that reaches {found.wanted:.0%}: {len(best.blocks)} replicates of "
            f"{len(best.sizes)} sizes ({sizes}), {best.steps:,} steps, {best.cost.cells:,} cells."
        )
    return [
        said,
        "no effect: how often the verdict is no effect of interest "
        f"({found.smallest_effect:g} {found.unit}) where there is no effect at all. Cells count "
        "controls; baselines take no device.",
        *found.notes,
    ]


def write_plan(source: Path, row: Row, out: Path) -> list[str]:
    """Write a study file with the grid of a plan; comments and all else stay.

    Parameters
    ----------
    source
        The study file that was planned.
    out
        Where to write; `source` itself may be given.

    Returns
    -------
    list of str
        What else had to change, in sentences.

    Raises
    ------
    BadInputError
        If the study would not be valid.
    """
    notes: list[str] = []

    def change(study: Any) -> bool:
        grid, tune = study["grid"], study.get("tune")
        _put(grid, "sizes", list(row.sizes))
        _put(grid, "replicates", [{"order": order, "seed": seed} for order, seed in row.blocks])
        if study.get("training", {}).get("steps") != row.steps:
            study.setdefault("training", {})["steps"] = row.steps
        if tune:
            moved = {size: _nearest(size, row.sizes) for size in tune["sizes"]}
            notes.extend(
                f"tune.sizes had {size:,}, which is no size now: {near:,}."
                for size, near in moved.items()
                if near != size
            )
            _put(tune, "sizes", sorted(set(moved.values())))
        if tune and tune.get("order", 0) not in {order for order, _ in row.blocks}:
            notes.append(f"tune.order was {tune['order']}, which is no order now.")
            tune["order"] = row.blocks[0][0]
        return True

    text = edited(source.read_text(encoding="utf-8"), change)
    try:
        Study.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        raise BadInputError(f"{out} is not written: {first_problem(error)}") from error
    write_whole(out, text)
    return notes


def _nearest(size: int, sizes: Sequence[int]) -> int:
    """Return the size that differs by the smallest factor."""
    return min(sizes, key=lambda other: abs(math.log(other / size)))


def _put(section: Any, key: str, values: list[Any]) -> None:
    """Change a list in place, so that its style and the comments beside it stay."""
    if list(section.get(key, ())) == values:
        return
    if isinstance(section.get(key), list):
        section[key][:] = values
    else:
        section[key] = values
