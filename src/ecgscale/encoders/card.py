"""The model card that lies beside every encoder: its parts, and the card of an imported one."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder, count_parameters


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
    seen: str
    """What it is known to have been trained on, in a sentence."""


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
    return page(
        f"# {directory.removeprefix('models/')}",
        f"An ECG encoder that was trained elsewhere and imported: {origin.title}.",
        "## Encoder",
        encoder_part(encoder),
        "## Load",
        usage_part(directory, encoder, recipe),
        "## Origin",
        _origin(encoder, origin),
        "## Training data",
        f"{origin.seen} No result on one of these data sets is a result on unseen patients.",
        "## Preprocessing",
        preprocessing_part(recipe),
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


def page(*parts: str) -> str:
    """Return a card of parts, with what holds for every encoder at its end."""
    return "\n\n".join([*parts, "## Use and limits", _LIMITS]) + "\n"


def encoder_part(encoder: Encoder) -> str:
    """Return what the network is."""
    # Encoders whose published count differs from ours say so; the others have nothing to say.
    published = encoder.published
    return (
        f"`{encoder.name}`, {count_parameters(encoder):,} parameters, "
        f"embedding width {encoder.embed_dim}. {encoder.reference}.\n\n"
        + (f"{published}\n\n" if published else "")
        + yaml_block(encoder.params.model_dump(mode="json"))
    )


def _origin(encoder: Encoder, origin: CardOrigin) -> str:
    return (
        f"`{origin.file}`, format `{origin.format}`, SHA-256 `{origin.sha256}`. The published "
        f"network has {origin.published_parameters:,} parameters without its head, this one "
        f"{count_parameters(encoder):,}. Every entry of the file is in this one, but for:\n\n"
        + number_table("Passed over", "Entries", origin.passed_over, ",")
    )


def usage_part(directory: str, encoder: Encoder, recipe: Recipe) -> str:
    """Return how the encoder in a directory is loaded and called."""
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


def preprocessing_part(recipe: Recipe) -> str:
    """Return what its input must have had."""
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
        + yaml_block(recipe.model_dump(mode="json"))
    )


def number_table(what: str, number: str, rows: Mapping[str, float], form: str) -> str:
    """Return a table of names and numbers, formatted alike."""
    lines = [f"| {name} | {value:{form}} |" for name, value in rows.items()]
    return "\n".join([f"| {what} | {number} |", "|---|---:|", *lines])


def yaml_block(settings: dict[str, Any]) -> str:
    """Return settings as a block of YAML."""
    return f"```yaml\n{yaml.safe_dump(settings, sort_keys=False).rstrip()}\n```"
