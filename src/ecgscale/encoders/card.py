"""The model card that lies beside every encoder, pretrained here or imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import objectives
from ecgscale.runs.cell import Cell
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


NO_DATA = TrainedOn("none", "none", "none", {}, patients=0, records=0, hours=0.0, sources={})
"""What a control that is not trained has seen."""


@dataclass(frozen=True)
class CardOrigin:
    """What the card of an imported encoder says of the file it came from."""

    file: str
    sha256: str
    """Name and SHA-256 of the checkpoint."""
    format: str
    title: str
    """Name of its format, and the project that publishes it."""
    published_parameters: int
    """Parameters of the published network, without its head."""
    passed_over: dict[str, int]
    """What was recognised and left out, with the number of entries."""
    beyond_recipe: str
    """What of the published preprocessing the recipe cannot express."""


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
    return _page(
        f"# {cell.name}",
        _summary(cell, objective, data),
        "## Encoder",
        _encoder(encoder),
        "## Load",
        _usage(f"models/{cell.name}", encoder, recipe),
        "## Preprocessing",
        _preprocessing(recipe),
        "## Data",
        _data(data),
        "## Objective",
        _objective(objective),
        "## Measured after training",
        _measured(measured),
    )


def imported_card(directory: str, encoder: Encoder, origin: CardOrigin, recipe: Recipe) -> str:
    """Return the card of an encoder made of a published checkpoint, as Markdown.

    Parameters
    ----------
    directory
        The encoder directory, relative to the project.
    encoder
        Described by name, parameters and reference.
    origin
        The file it came from.
    recipe
        What a recipe can express of the published preprocessing.
    """
    return _page(
        f"# {directory.removeprefix('models/')}",
        f"An ECG encoder that was trained elsewhere and imported: {origin.title}.",
        "## Encoder",
        _encoder(encoder),
        "## Load",
        _usage(directory, encoder, recipe),
        "## Origin",
        _origin(encoder, origin),
        "## Preprocessing",
        _preprocessing(recipe),
        f"Published, and not expressed by the recipe: {origin.beyond_recipe}",
    )


_LIMITS = """\
- Made for research on how pretraining data relates to downstream accuracy. **Not a medical device:
  not for diagnosis, treatment, monitoring or any clinical use.**
- The output is a representation without a stated meaning. It was not examined for fairness across
  age, sex, ethnicity or recording devices; it knows the people whom its training data held.
- It may fail on recordings that differ from its data: other rates, filters, units, electrode
  positions or durations than the preprocessing above.
- Code and format are licensed under Apache-2.0. Weights may be bound by the licences and data use
  agreements of the sources they were trained on; check those before passing the weights on."""


def _page(*parts: str) -> str:
    return "\n\n".join([*parts, "## Use and limits", _LIMITS]) + "\n"


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


def _encoder(encoder: Encoder) -> str:
    # Encoders whose published count differs from ours say so; the others have nothing to say.
    published = encoder.published
    return (
        f"`{encoder.name}`, {_count(encoder):,} parameters, embedding width {encoder.embed_dim}. "
        f"{encoder.reference}.\n\n"
        + (f"{published}\n\n" if published else "")
        + _yaml(encoder.params.model_dump(mode="json"))
    )


def _count(encoder: Encoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())


def _origin(encoder: Encoder, origin: CardOrigin) -> str:
    return (
        f"`{origin.file}`, format `{origin.format}`, SHA-256 `{origin.sha256}`. The published "
        f"network has {origin.published_parameters:,} parameters without its head, this one "
        f"{_count(encoder):,}. Every entry of the file is in this one, but for:\n\n"
        + _table("Passed over", "Entries", origin.passed_over, ",")
    )


def _usage(directory: str, encoder: Encoder, recipe: Recipe) -> str:
    leads = encoder.params.in_channels
    shape = f"(batch, {leads}, {recipe.n_samples})"
    given = "any one lead" if leads == 1 else ", ".join(recipe.leads)
    return (
        "```python\n"
        "from ecgscale import encoders\n"
        f'encoder = encoders.load("{directory}")\n'
        f"embedding = encoder.embed(x)  # float32 {shape} to (batch, {encoder.embed_dim})\n"
        "```\n\n"
        f"`x` has had the preprocessing below; its leads: {given}."
    )


def _preprocessing(recipe: Recipe) -> str:
    low, high = recipe.band
    last = (
        "each lead brought to mean 0 and standard deviation 1 over time "
        "(`ecgscale.data.normalise.normalise`)"
        if recipe.normalise == "zscore"
        else "left in mV"
    )
    return (
        f"Band-pass {low:g} to {high:g} Hz (zero-phase Butterworth), {recipe.fs:g} Hz, "
        f"{recipe.seconds:g} s ({recipe.n_samples} samples; longer recordings cut, shorter ones "
        f"padded with zeros), {last}. Recipe digest `{recipe.digest}`:\n\n"
        + _yaml(recipe.model_dump(mode="json"))
    )


def _data(data: TrainedOn) -> str:
    if not data.records:
        return "None."
    return (
        f"`{data.name}`, digest `{data.digest}`: {data.patients:,} patients, {data.records:,} "
        f"recordings, {data.hours:.2f} hours.\n\n"
        + _table("Source", "Recordings", dict(sorted(data.sources.items())), ",")
    )


def _objective(objective: ResolvedObjective) -> str:
    reference = objectives.get(objective.kind).reference
    head = f"`{objective.name}` (`{objective.kind}`). {reference}."
    return f"{head}\n\n{_yaml(objective.settings)}"


def _measured(measured: dict[str, float]) -> str:
    if not measured:
        return "Nothing: it was not trained."
    return _table("Quantity", "Value", measured, ".4g")


def _table(what: str, number: str, rows: Mapping[str, float], form: str) -> str:
    lines = [f"| {name} | {value:{form}} |" for name, value in rows.items()]
    return "\n".join([f"| {what} | {number} |", "|---|---:|", *lines])


def _yaml(settings: dict[str, Any]) -> str:
    return f"```yaml\n{yaml.safe_dump(settings, sort_keys=False).rstrip()}\n```"
