"""BYOL: one view predicts how a slowly following network sees the other."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ecgscale.distributed import gather_pairs
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.contrastive import PairObjective, embed_pair
from ecgscale.objectives.search_space import FloatRange, SearchSpace
from ecgscale.objectives.target import TargetNetwork, cosine_momentum, spread, unit_rows


class ByolParams(ObjectiveParams):
    """Parameters of `Byol`."""

    momentum: float = Field(default=0.996, ge=0, le=1)
    """tau at the start. Published: .996 (1,000 epochs; CLEF's baseline too); the public code
    (google-deepmind/deepmind-research) has .99 for 100 and 300 epochs and .97 for 40."""
    momentum_schedule: Literal["cosine", "constant"] = "cosine"
    """cosine: tau rises to 1, as published; constant: as in CLEF's baseline."""
    projector_dim: int = Field(default=256, ge=0)
    """Width of projection and prediction. Published: 256; 0 leaves the projector out, as CLEF's
    baseline does."""
    hidden_dim: int | None = Field(default=None, ge=1)
    """Hidden width of projector and predictor; None: twice the embedding. Published: 4,096, which
    is twice the 2,048 of ResNet-50. CLEF's baseline: half the embedding."""


@objectives.register("byol")
class Byol(PairObjective):
    r"""BYOL.

    For views v, v' of a record, the online network gives the prediction ``p = q(g(f(v)))`` and the
    target network the projection ``z' = g'(f'(v'))``, both of shape (dim,): f is the encoder, g the
    projector, q the predictor, and f', g' follow f, g. Over a batch,

        L = mean [ 2 - 2 cos(p(v), z'(v')) + 2 - 2 cos(p(v'), z'(v)) ]        in [0, 8]

    without gradient through z'. After each step ``theta' <- tau theta' + (1 - tau) theta``, with
    tau rising from its start to 1 by `cosine_momentum`. There are no negatives: the loss means the
    same at any number of records.

    The target network averages over about ``1 / (1 - tau)`` steps. The published .996 belongs to
    some 300,000 steps (1,000 epochs of ImageNet, batches of 4,096); a run of a few hundred steps
    with it stays close to predicting the initial network.

    g and q are two-layer perceptrons with batch norm and ReLU in between, on each view's batch
    alone, as published. Batch norm always takes the batch's statistics, over all processes: the
    heads are dropped after pretraining and never see another mode. Their layers have no bias: batch
    norm would take away the first, and the public code leaves out the second.

    Both views of a batch pass through the encoder at once. One with batch norm then takes the
    statistics of both views, the published one those of each.

    CLEF's baseline (arXiv 2512.02180, Nokia-Bell-Labs/ecg-foundation-model) is ``projector_dim=0,
    momentum_schedule="constant"`` and a `hidden_dim` of half the embedding, but for the bias of
    its second layer.
    """

    Params: ClassVar[type[ObjectiveParams]] = ByolParams
    reference: ClassVar[str] = (
        "Grill et al., Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning, "
        "NeurIPS 2020, arXiv 2006.07733"
    )
    searched: ClassVar[SearchSpace] = {"params.momentum": FloatRange(0.9, 0.9999)}

    def __init__(self, encoder: Encoder, params: ByolParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        width = encoder.embed_dim
        dim, hidden = params.projector_dim or width, params.hidden_dim or 2 * width
        self.projector = perceptron(width, hidden, dim) if params.projector_dim else nn.Identity()
        self.predictor = perceptron(dim, hidden, dim)
        self.target_encoder = TargetNetwork(encoder)
        self.target_projector = TargetNetwork(self.projector)

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return L; the parts are `spread` of the embeddings and of the target's projections."""
        embedding = gather_pairs(embed_pair(encoder, views))
        first, second = (self._predict(view) for view in embedding.chunk(2))
        with torch.no_grad():
            followed = gather_pairs(embed_pair(self.target_encoder.network, views))
            target = [unit_rows(self.target_projector.network(e)) for e in followed.chunk(2)]
        cosines = (first * target[1]).sum(dim=1) + (second * target[0]).sum(dim=1)
        loss = (4 - 2 * cosines).mean()
        parts = {
            "embedding_spread": spread(unit_rows(embedding.detach())),
            "target_spread": spread(torch.cat(target)),
        }
        return LossOutput(loss, parts)

    def _predict(self, embedding: Tensor) -> Tensor:
        return unit_rows(self.predictor(self.projector(embedding)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Move the target network by ``1 - tau``."""
        tau = self.params.momentum
        if self.params.momentum_schedule == "cosine":
            tau = cosine_momentum(tau, progress)
        self.target_encoder.update(encoder, tau)
        self.target_projector.update(self.projector, tau)


def perceptron(width: int, hidden: int, out: int) -> nn.Sequential:
    """Return the published head ``W2 relu(BN(W1 x))``: (row, width) to (row, out)."""
    return nn.Sequential(
        nn.Linear(width, hidden, bias=False),
        nn.BatchNorm1d(hidden, track_running_stats=False),
        nn.ReLU(),
        nn.Linear(hidden, out, bias=False),
    )
