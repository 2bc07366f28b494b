"""What every encoder supplies, and how encoders are created, saved and loaded."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgscale.errors import BadInputError
from ecgscale.files import file_digest, whole_file, write_whole
from ecgscale.registry import Registry
from ecgscale.settings import Settings, digest_of, read_mapping

WEIGHTS = "encoder.safetensors"
CONFIG = "config.yaml"
CARD = "MODEL_CARD.md"


class EncoderParams(Settings):
    """Base of every encoder's typed parameters; unknown names are an error."""

    in_channels: int = Field(default=12, ge=1)
    """Leads that the network takes."""


class Encoder(nn.Module):
    """A network from an ECG to a sequence of tokens.

    Steps of an input can be hidden from it, which is what masked and predictive objectives need.
    Step i of a record covers the samples from ``i * step_samples`` on, `step_samples` of them (the
    last step may be shorter).
    """

    Params: ClassVar[type[EncoderParams]] = EncoderParams
    """The typed parameters, among them `in_channels`."""
    reference: ClassVar[str]
    """The paper, as a citation with its identifier."""
    name: str
    """The registered name it was created under."""
    params: Any
    """The parameters it was created with; together with `name` they rebuild it."""

    def __init__(self, params: Any) -> None:
        super().__init__()
        self.params = params
        self.name = ""

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding."""
        raise NotImplementedError

    @property
    def step_samples(self) -> int:
        """Samples per token."""
        raise NotImplementedError

    @property
    def published(self) -> str:
        """The published parameter count beside ours, a sentence for the model card; or empty."""
        return ""

    @property
    def mask_dim(self) -> int:
        """Width of a `fill`: the input leads, or the frames of a `SequenceEncoder`."""
        return int(self.params.in_channels)

    def n_steps(self, length: int) -> int:
        """Return the number of tokens of a record of `length` samples."""
        return -(-length // self.step_samples)

    def hidden_states(
        self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None
    ) -> list[Tensor]:
        """Return the output of every block, from the first to the last.

        Parameters
        ----------
        x
            Shape (batch, lead, time).
        mask
            Shape (batch, step), boolean, true for a step that is hidden; None hides nothing.
        fill
            Shape (`mask_dim`,): what stands in the place of a hidden step. None takes it away: an
            encoder that can (attention) computes as if the step were not there, any other puts
            zeros.

        Returns
        -------
        list
            Each of shape (batch, steps of the block, dim of the block); the last are the tokens.
        """
        raise NotImplementedError

    def forward(self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None) -> Tensor:
        """Map (batch, lead, time) to tokens (batch, step, dim); see `hidden_states`."""
        return self.hidden_states(x, mask, fill)[-1]

    def embed(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to (batch, dim): the mean of the tokens."""
        return self.forward(x).mean(dim=1)


class SequenceEncoder(Encoder):
    """An encoder in two parts: local frames, then a context that keeps their number.

    Hidden steps are hidden between the two. Frames are what contrastive predictive coding predicts.
    """

    @property
    def mask_dim(self) -> int:
        """Width of a frame: that of a token, unless an encoder says otherwise."""
        return self.embed_dim

    @property
    def causal(self) -> bool:
        """Whether a token depends on no later frame."""
        return False

    def frames(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to frames (batch, step, `mask_dim`)."""
        raise NotImplementedError

    def contextualise(self, frames: Tensor, visible: Tensor | None = None) -> list[Tensor]:
        """Map frames to the output of every block, each (batch, step, dim).

        Parameters
        ----------
        frames
            Shape (batch, step, `mask_dim`).
        visible
            Shape (batch, step), boolean, false for steps that are taken away; None for all. An
            encoder with attention leaves them out of every sum. The others may ignore it: such
            frames are zero.
        """
        raise NotImplementedError

    def hidden_states(
        self, x: Tensor, mask: Tensor | None = None, fill: Tensor | None = None
    ) -> list[Tensor]:
        """Return the output of every block; see `Encoder.hidden_states`."""
        frames = self.frames(x)
        if mask is None:
            return self.contextualise(frames)
        hidden = mask.unsqueeze(-1)
        if fill is None:
            return self.contextualise(frames.masked_fill(hidden, 0.0), ~mask)
        return self.contextualise(torch.where(hidden, fill.to(frames.dtype), frames))


def outputs(blocks: Iterable[nn.Module], x: Tensor, *further: Tensor | None) -> list[Tensor]:
    """Return the output of every block; each is given that of the one before, and `further`."""
    states = []
    for block in blocks:
        x = block(x, *further)
        states.append(x)
    return states


def hide_samples(x: Tensor, mask: Tensor | None, fill: Tensor | None, step_samples: int) -> Tensor:
    """Replace the samples of hidden steps in (batch, lead, time), for encoders without frames.

    `mask` and `fill` are as in `Encoder.hidden_states`; `fill` has a value per lead, None is zeros.
    """
    if mask is None:
        return x
    hidden = mask.repeat_interleave(step_samples, dim=1)[:, None, : x.shape[-1]]
    if fill is None:
        return x.masked_fill(hidden, 0.0)
    return torch.where(hidden, fill.to(x.dtype).unsqueeze(-1), x)


encoders: Registry[Encoder] = Registry("encoder", "ecgscale.encoders")


def create(name: str, **params: Any) -> Encoder:
    """Create a random-initialised encoder.

    The weights come from torch's global generator: seed it first for reproducible weights.

    Raises
    ------
    BadInputError
        If the encoder does not exist or a parameter is unknown or out of range.

    Examples
    --------
    >>> import torch
    >>> from ecgscale import encoders
    >>> encoder = encoders.create("net1d", size="tiny", in_channels=1)
    >>> encoder.embed(torch.zeros(2, 1, 500)).shape == (2, encoder.embed_dim)
    True
    """
    encoder = encoders.get(name)(encoders.params(name, params))
    encoder.name = name
    return encoder


def save(
    encoder: Encoder,
    directory: Path,
    recipe: dict[str, Any],
    card: str,
    imported_as: str | None = None,
) -> None:
    """Write an encoder directory: weights, configuration and model card.

    Parameters
    ----------
    encoder
        Created by `create` or `load`.
    directory
        Made if absent; its three files are replaced.
    recipe
        The preprocessing that inputs must have had (``Recipe.model_dump()`` and its digest).
    card
        The model card, Markdown.
    imported_as
        The format of the published checkpoint that it was made of, if it was.

    Examples
    --------
    >>> import tempfile
    >>> from ecgscale import encoders
    >>> from ecgscale.data.recipe import Recipe
    >>> recipe = Recipe()
    >>> folder = Path(tempfile.mkdtemp())
    >>> encoder = encoders.create("net1d", size="tiny", in_channels=1)
    >>> made_for = recipe.model_dump(mode="json") | {"digest": recipe.digest}
    >>> encoders.save(encoder, folder, made_for, card="# Mine")
    >>> sorted(path.name for path in folder.iterdir())
    ['MODEL_CARD.md', 'config.yaml', 'encoder.safetensors']
    >>> encoders.load(folder).name
    'net1d'
    """
    directory.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
    with whole_file(directory / WEIGHTS) as path:
        save_file(state, path)
    config = {
        "encoder": {"name": encoder.name, "params": encoder.params.model_dump(mode="json")},
        "recipe": recipe,
        **({"imported_as": imported_as} if imported_as else {}),
    }
    write_whole(directory / CONFIG, yaml.safe_dump(config, sort_keys=False))
    write_whole(directory / CARD, card)


def count_parameters(encoder: Encoder) -> int:
    """Return how many numbers an encoder learns."""
    return sum(parameter.numel() for parameter in encoder.parameters())


def read_config(directory: Path) -> dict[str, Any]:
    """Read the configuration of an encoder directory.

    Raises
    ------
    BadInputError
        If the directory or its configuration is missing or malformed.
    """
    path = directory / CONFIG
    if not path.is_file():
        raise BadInputError(f"{directory} is not an encoder directory: it has no {CONFIG}")
    config = read_mapping(path)
    if not {"encoder", "recipe"} <= set(config):
        raise BadInputError(f"{path} must have the keys 'encoder' and 'recipe'")
    encoder = config["encoder"]
    if not isinstance(encoder, dict) or set(encoder) != {"name", "params"}:
        raise BadInputError(f"{path}: 'encoder' must have the keys 'name' and 'params'")
    return config


def model_digest(directory: Path) -> str:
    """Return the SHA-256 of an encoder directory's weights and encoder settings.

    Raises
    ------
    BadInputError
        If it is not an encoder directory.
    """
    settings = read_config(directory)["encoder"]
    weights = directory / WEIGHTS
    if not weights.is_file():
        raise BadInputError(f"{directory} has no {WEIGHTS}")
    return digest_of([settings, file_digest(weights)])


def load(directory: str | Path, device: str | torch.device = "cpu") -> Encoder:
    """Load an encoder written by `save`, strictly: nothing is left at random.

    Raises
    ------
    BadInputError
        If a file is missing or malformed, or the weights have other names or shapes than the
        network.
    """
    directory = Path(directory)
    config = read_config(directory)["encoder"]
    encoder = create(config["name"], **config["params"])
    weights = directory / WEIGHTS
    if not weights.is_file():
        raise BadInputError(f"{directory} has no {WEIGHTS}")
    try:
        state = load_file(weights)
        # Strict as it is, torch fills in what a file lacks of a batch norm's counts.
        for name in sorted(encoder.state_dict().keys() - state.keys()):
            raise RuntimeError(f"{name} is missing")
        encoder.load_state_dict(state, strict=True)
    except SafetensorError as error:
        raise BadInputError(f"{weights} is not a safetensors file: {error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{weights} does not fit its {CONFIG}: {reason}") from error
    return encoder.to(device).eval()
