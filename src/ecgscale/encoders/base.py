"""What every encoder supplies, and how encoders are created, saved and loaded."""

from pathlib import Path
from typing import Any, ClassVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ecgscale.config import digest_of, first_problem
from ecgscale.errors import BadInputError
from ecgscale.lineage import file_digest
from ecgscale.registry import Registry

WEIGHTS = "encoder.safetensors"
CONFIG = "config.yaml"
CARD = "MODEL_CARD.md"


class EncoderParams(BaseModel):
    """Base of every encoder's typed parameters; unknown names are an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    in_channels: int = Field(default=12, ge=1)
    """Leads that the network takes."""


class Encoder(nn.Module):
    """A network from an ECG to a sequence of tokens.

    Attributes
    ----------
    Params
        The typed parameters, among them `in_channels`.
    reference
        The paper, as a citation with its identifier.
    name
        The registered name it was created under.
    params
        The parameters it was created with; together with `name` they rebuild it.
    """

    Params: ClassVar[type[EncoderParams]] = EncoderParams
    reference: ClassVar[str]

    def __init__(self, params: Any) -> None:
        super().__init__()
        self.params = params
        self.name = ""

    @property
    def embed_dim(self) -> int:
        """Width of a token and of the embedding."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to tokens (batch, step, dim)."""
        raise NotImplementedError

    def embed(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to (batch, dim): the mean of the tokens."""
        return self.forward(x).mean(dim=1)


encoders: Registry[Encoder] = Registry("encoder", "ecgscale.encoders")


def parse_params(name: str, params: dict[str, Any]) -> EncoderParams:
    """Validate the parameters of the encoder `name`.

    Raises
    ------
    BadInputError
        If the encoder does not exist or a parameter is unknown or out of range.
    """
    cls = encoders.get(name)
    try:
        return cls.Params(**params)
    except ValidationError as error:
        raise BadInputError(f"encoder {name}, parameter {first_problem(error)}") from error


def create(name: str, **params: Any) -> Encoder:
    """Create a random-initialised encoder.

    The weights come from torch's global generator: seed it first for reproducible weights.

    Raises
    ------
    BadInputError
        As `parse_params`.
    """
    encoder = encoders.get(name)(parse_params(name, params))
    encoder.name = name
    return encoder


def save(encoder: Encoder, directory: Path, recipe: dict[str, Any], card: str) -> None:
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
    """
    directory.mkdir(parents=True, exist_ok=True)
    state = {key: value.detach().cpu().contiguous() for key, value in encoder.state_dict().items()}
    save_file(state, directory / WEIGHTS)
    config = {
        "encoder": {"name": encoder.name, "params": encoder.params.model_dump(mode="json")},
        "recipe": recipe,
    }
    (directory / CONFIG).write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    (directory / CARD).write_text(card, encoding="utf-8")


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
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise BadInputError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(config, dict) or not {"encoder", "recipe"} <= set(config):
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
        encoder.load_state_dict(load_file(weights), strict=True)
    except SafetensorError as error:
        raise BadInputError(f"{weights} is not a safetensors file: {error}") from error
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise BadInputError(f"{weights} does not fit its {CONFIG}: {reason}") from error
    return encoder.to(device).eval()
