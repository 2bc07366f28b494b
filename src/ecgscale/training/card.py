"""The model card of an encoder that was pretrained here."""

from dataclasses import dataclass

from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder
from ecgscale.encoders.card import (
    encoder_part,
    number_table,
    page,
    preprocessing_part,
    usage_part,
    yaml_block,
)
from ecgscale.objectives.base import objectives
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import DatasetInput
from ecgscale.training.settings import ResolvedObjective


@dataclass(frozen=True)
class TrainedOn:
    """The data of a training, as its card and its record describe them."""

    name: str
    digest: str
    """Name and digest of the list of records."""
    place: str
    """Where that list lies, relative to the project."""
    stores: dict[str, str]
    """Source to the digest of its store."""
    patients: int
    records: int
    hours: float
    sources: dict[str, int]
    """Records per source."""
    unknown_patients: int = 0
    """Of `patients`, recordings that are counted as one each: nobody says whose they are."""
    parts: tuple[DatasetInput, ...] = ()
    """What the list was put together from, where it is no subset as it lies."""


NO_DATA = TrainedOn("none", "none", "none", {}, patients=0, records=0, hours=0.0, sources={})
"""What a control that is not trained has seen."""


def model_card(
    cell: Cell,
    encoder: Encoder,
    objective: ResolvedObjective,
    data: TrainedOn,
    recipe: Recipe,
    measured: dict[str, float],
) -> str:
    """Return the card as Markdown.

    It holds nothing that changes between two runs of the same inputs (no time, machine or commit),
    so the directory it lies in has the same digest too.

    Parameters
    ----------
    cell
        Names the model.
    encoder
        Described by name, parameters and reference.
    objective, data, recipe
        How, on what, and on which inputs it was trained.
    measured
        Final loss and collapse monitors; empty for an encoder that was not trained.
    """
    return page(
        f"# {cell.name}",
        _summary(cell, objective, data),
        "## Encoder",
        encoder_part(encoder),
        "## Load",
        usage_part(f"models/{cell.name}", encoder, recipe),
        "## Preprocessing",
        preprocessing_part(recipe),
        "## Data",
        _data(data),
        "## Objective",
        _objective(objective),
        "## Measured after training",
        _measured(measured),
    )


def _summary(cell: Cell, objective: ResolvedObjective, data: TrainedOn) -> str:
    if not data.records:
        return (
            "An ECG encoder with its initial, random weights: a control that has seen no data "
            f"(seed {cell.seed})."
        )
    return (
        f"An ECG encoder trained with {objective.kind} on {data.records:,} recordings of "
        f"{data.patients:,} patients (order {cell.order}, seed {cell.seed})."
    )


def _data(data: TrainedOn) -> str:
    if not data.records:
        return "None."
    known = (
        ""
        if not data.unknown_patients
        else (
            f" (of which {data.unknown_patients:,} are recordings counted as a patient each: their "
            "source does not say whose they are)"
        )
    )
    return (
        f"`{data.name}`, digest `{data.digest}`: {data.patients:,} patients{known}, "
        f"{data.records:,} recordings, {data.hours:.2f} hours.\n\n"
        + number_table("Source", "Recordings", dict(sorted(data.sources.items())), ",")
    )


def _objective(objective: ResolvedObjective) -> str:
    reference = objectives.get(objective.kind).reference
    head = f"`{objective.name}` (`{objective.kind}`). {reference}."
    return f"{head}\n\n{yaml_block(objective.settings)}"


def _measured(measured: dict[str, float]) -> str:
    if not measured:
        return "Nothing: it was not trained."
    return number_table("Quantity", "Value", measured, ".4g")
