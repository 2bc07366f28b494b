"""Numbers that are claimed, held against what this study measured."""

from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.ledger.base import Check, CheckParams, Finding, Relation, checks, held_against
from ecgscale.ledger.study import StudyAtHand
from ecgscale.scaling.groups import paired_resamples
from ecgscale.scaling.variance import Estimate, contrast_estimate, regular
from ecgscale.tasks.base import tasks
from ecgscale.tasks.suites import suite


class MeasuredScoreParams(CheckParams):
    """Parameters of `MeasuredScore`.

    Attributes
    ----------
    objective
        Name of a registered objective, whatever the study calls it.
    encoder, encoder_params
        Kind of the encoder, and parameters that it must have.
    suite
        The score is the mean over the tasks of this suite; None: the primary task's.
    value, relation
        What is claimed of the score at the study's largest size.
    pretrained_on, patients
        Reader of the data set that the claim is about, and its patients; None: what the study has.
        On other data, or on fewer than 95% of the patients, a claim is not tested.
    """

    objective: str
    encoder: str
    encoder_params: dict[str, Any] = Field(default={})
    suite: str | None = None
    value: float
    relation: Relation = "equals"
    pretrained_on: str | None = None
    patients: int | None = Field(default=None, ge=1)


@checks.register("measured-score")
class MeasuredScore(Check):
    """An objective's score at the largest size is, or is at least or at most, a value."""

    Params: ClassVar[type[CheckParams]] = MeasuredScoreParams

    def run(self, study: StudyAtHand) -> Finding:
        """Compare the mean over the study's runs, with its interval, with the claimed value."""
        params = self.params
        endpoints = self._endpoints(study)
        cells = self._cells(study, endpoints)
        title = f"{params.objective} on {params.encoder}" + "".join(
            f" {value}" for value in params.encoder_params.values()
        )
        if not cells:
            return Finding(
                "not testable here",
                f"This study has no complete runs of {title}.",
                claimed=params.value,
            )
        estimate = _level(study, cells, endpoints)
        size = study.design.sizes[-1]
        over = f"{len(endpoints)} tasks" if params.suite else endpoints[0].task
        other = self._other_data(study, endpoints)
        verdict = (
            "not testable here"
            if other
            else held_against(
                estimate.value, estimate.low, estimate.high, params.value, params.relation
            )
        )
        return Finding(
            verdict,
            f"Claimed: {params.relation} {params.value:g}. Measured here for {title}, at {size:,} "
            f"patients over {over}: {estimate.value:.4f} ({estimate.low:.4f} to "
            f"{estimate.high:.4f}, covering {estimate.covers})."
            + (f" That is other data: {other}." if other else ""),
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            claimed=params.value,
            evidence=tuple(f"cell {cell} in runs.csv" for cell in cells.values()),
        )

    def _endpoints(self, study: StudyAtHand) -> list[Endpoint]:
        if self.params.suite is None:
            return [study.design.primary]
        declared = suite(self.params.suite).declared
        return [endpoint for endpoint in study.design.tasks if endpoint.task in declared]

    def _cells(self, study: StudyAtHand, endpoints: list[Endpoint]) -> dict[tuple[int, int], str]:
        """Return (order, seed) to the cell at the largest size that has all the endpoints."""
        table = study.collection.table
        encoders = study.encoders_like(self.params.encoder, self.params.encoder_params)
        rows = table[
            (table["kind"] == self.params.objective)
            & table["control_of"].isna()
            & table["encoder"].isin(encoders)
            & (table["size"] == study.design.sizes[-1])
            & table["endpoint"].isin([endpoint.name for endpoint in endpoints])
            & table["score"].notna()
            & ~table["collapsed"].astype(bool)
        ]
        rows = rows[rows["objective"] == (rows["objective"].iloc[0] if len(rows) else None)]
        counts = rows.groupby(["order", "seed", "cell"], sort=True).size()
        whole = [key for key, count in counts.items() if count == len(endpoints)]
        return {(int(order), int(seed)): str(cell) for order, seed, cell in whole}

    def _other_data(self, study: StudyAtHand, endpoints: list[Endpoint]) -> str:
        """Say how the study's data differ from the claim's; "" if they do not."""
        params = self.params
        if params.pretrained_on is None:
            return ""
        simulated = sorted(study.simulated)
        readers = sorted({study.readers.get(source, "") for source in study.pool})
        largest = study.design.sizes[-1]
        declared = len(suite(params.suite).declared) if params.suite else 1
        measured = {study.data.get(tasks.get(e.task).metadata.dataset) for e in endpoints}
        return "; ".join(
            text
            for text, differs in (
                (f"simulated sources {', '.join(simulated)}", bool(simulated)),
                (
                    f"pretrained on {', '.join(readers)}, not {params.pretrained_on}",
                    readers != [params.pretrained_on],
                ),
                (
                    f"{largest:,} pretraining patients, not {params.patients or 0:,}",
                    params.patients is not None and largest < 0.95 * params.patients,
                ),
                (f"{len(endpoints)} of {declared} tasks", len(endpoints) < declared),
                ("a task without a source", None in measured),
            )
            if differs
        )


def _level(
    study: StudyAtHand, cells: dict[tuple[int, int], str], endpoints: list[Endpoint]
) -> Estimate:
    """Return the mean over tasks and runs, with the interval of runs and test patients."""
    # The b-th resample gives a patient the same weight in every task, so that a mean over tasks
    # can be taken resample by resample.
    blocks = regular(list(cells))
    names = [cells[block] for block in blocks]
    table = study.collection.table.set_index(["cell", "endpoint"])["score"]
    scores = np.array([[table[cell, e.name] for e in endpoints] for cell in names])
    drawn = [paired_resamples(study.collection, [names], e.name)[:, 0] for e in endpoints]
    count = min(len(each) for each in drawn)
    resampled = np.mean([each[:count] for each in drawn], axis=0)
    return contrast_estimate(scores.mean(axis=1), resampled, blocks, study.confidence)


class MeasuredSlopeParams(CheckParams):
    """Parameters of `MeasuredSlope`; `objective` and `encoder` as the study calls them."""

    objective: str
    encoder: str | None = None
    task: str | None = None
    """Default: the primary task."""
    value: float
    """Change of the score per doubling of the pretraining patients."""
    relation: Relation = "at least"


@checks.register("measured-slope")
class MeasuredSlope(Check):
    """The slope of an objective is at least, at most, or equals a value, in this study."""

    Params: ClassVar[type[CheckParams]] = MeasuredSlopeParams

    def run(self, study: StudyAtHand) -> Finding:
        """Compare the slope, with its interval, with the claimed value."""
        params = self.params
        primary = study.design.primary
        for group, found in study.results:
            if (
                group.objective == params.objective
                and params.encoder in (None, group.encoder)
                and group.endpoint.name == (params.task or primary.name)
                and found is not None
            ):
                slope = found.slope
                return Finding(
                    held_against(slope.value, slope.low, slope.high, params.value, params.relation),
                    f"Claimed: {params.relation} {params.value:g} per doubling. Measured for "
                    f"{group.objective} on {group.encoder}, {group.endpoint.name}: "
                    f"{slope.value:+.4f} ({slope.low:+.4f} to {slope.high:+.4f}, covering "
                    f"{slope.covers}).",
                    value=slope.value,
                    low=slope.low,
                    high=slope.high,
                    claimed=params.value,
                    evidence=(f"{group.objective}, {group.endpoint.name} in correlations.csv",),
                )
        return Finding(
            "not testable here",
            f"This study has no slope of {params.objective} on {params.task or primary.name}.",
            claimed=params.value,
        )
