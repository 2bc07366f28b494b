"""Fine-tuning of the whole encoder."""

import re

from pydantic import Field
from torch import Tensor, nn

from ecgscale.encoders.base import Encoder
from ecgscale.evaluation.readouts.base import Predictions, Problem, Readout, readouts
from ecgscale.evaluation.readouts.network import (
    Layer,
    NetworkSettings,
    seed_readout,
    train_network,
)

_BLOCK = re.compile(r"(?:blocks|layers)\.(\d+)\.")
"""How the parameters of a block are named."""


@readouts.register("finetune")
class Finetune(Readout):
    """A copy of the encoder, trained with a linear head on its embedding.

    Training sees whole records, without augmentation, as frozen evaluation does. Batch norm and
    dropout run in training mode while training, and the best epoch's batch statistics are restored
    with its weights. Parameters that the encoder itself keeps fixed stay so.
    """

    class Settings(NetworkSettings):
        """Training of the whole encoder with a linear head on the embedding."""

        epochs: int = Field(default=30, ge=1)
        """Passes over the training examples at most."""
        layer_decay: float = Field(default=0.75, gt=0, le=1)
        """Factor of the learning rate from each block to the one below it; 1 for one rate."""

    title = "fine-tuned"
    method = "training all of the encoder on the labels"
    reference = (
        "CLEF, arXiv 2512.02180 (Adam, rate 1e-3, batch 64, at most 100 epochs, patience 5); "
        "layer-wise decay: Clark et al., ELECTRA, ICLR 2020, arXiv 2003.10555, "
        "and Bao et al., BEiT, ICLR 2022, arXiv 2106.08254"
    )

    def predict(self, problem: Problem) -> Predictions:
        """Train encoder and head with early stopping on validation."""
        settings: Finetune.Settings = problem.settings
        encoder = problem.encoder()
        seed_readout(problem, "finetune")
        network = Finetuned(encoder, problem.y.shape[1]).to(problem.device)
        layers = [
            *encoder_layers(encoder, settings.layer_decay),
            Layer(list(network.head.parameters())),
        ]
        return train_network(problem, network, layers, problem.signals)


class Finetuned(nn.Module):
    """An encoder, trained in place, and a linear head of some outputs on its embedding."""

    def __init__(self, encoder: Encoder, outputs: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = nn.Linear(encoder.embed_dim, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, lead, time) to (batch, output)."""
        out: Tensor = self.head(self.encoder.embed(x))
        return out


def encoder_layers(encoder: Encoder, decay: float) -> list[Layer]:
    """Group the trainable parameters of an encoder by depth, from the stem up.

    With n blocks, block i (from 0) learns at ``decay ** (n - i)`` of the head's rate and the stem
    at ``decay ** (n + 1)``, as in BEiT. Blocks are the parameters named ``blocks.<i>.`` (net1d,
    vit1d, xresnet1d) or ``layers.<i>.`` (s4); what is registered before the first block is the
    stem, and what comes after the last (a final normalisation) learns at the head's rate. An
    encoder without such names learns at the head's rate as a whole.
    """
    named = [(name, p) for name, p in encoder.named_parameters() if p.requires_grad]
    blocks = [int(match[1]) for name, _ in named if (match := _BLOCK.match(name))]
    if not blocks:
        return [Layer([parameter for _, parameter in named])]
    top = max(blocks) + 2
    layers: list[list[nn.Parameter]] = [[] for _ in range(top + 1)]
    seen = False
    for name, parameter in named:
        match = _BLOCK.match(name)
        seen = seen or match is not None
        depth = int(match[1]) + 1 if match else (top if seen else 0)
        layers[depth].append(parameter)
    return [
        Layer(parameters, decay ** (top - depth))
        for depth, parameters in enumerate(layers)
        if parameters
    ]
