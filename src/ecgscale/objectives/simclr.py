"""SimCLR: two views of a record attract, views of other records repel."""

from typing import ClassVar

from pydantic import Field
from torch import Tensor, nn

from ecgscale.distributed import gather_pairs
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.contrastive import (
    PairObjective,
    cosine_matrix,
    embed_pair,
    nt_xent,
    similarity_parts,
)
from ecgscale.objectives.search_space import FloatRange, SearchSpace


class SimclrParams(ObjectiveParams):
    """Parameters of `Simclr`."""

    temperature: float = Field(default=0.1, gt=0)
    """tau. Published: .1, the best of {.05, .1, .5, 1} on ImageNet (Table 5)."""
    projector_dim: int = Field(default=128, ge=0)
    """Width of the projection; 0 takes the loss on the embedding, as CLEF's baseline does."""


@objectives.register("simclr")
class Simclr(PairObjective):
    """SimCLR.

    The loss is NT-Xent (`ecgscale.objectives.contrastive.nt_xent` without weights) on the cosines
    of projected embeddings of 2B views. The projector is the published two-layer perceptron
    ``W2 relu(W1 h)``: as wide as the embedding h inside (published: 2,048), 128 at its end. It is
    dropped after pretraining.
    """

    Params: ClassVar[type[ObjectiveParams]] = SimclrParams
    reference: ClassVar[str] = (
        "Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, "
        "ICML 2020, arXiv 2002.05709"
    )
    searched: ClassVar[SearchSpace] = {"params.temperature": FloatRange(0.02, 1.0, log=True)}

    def __init__(self, encoder: Encoder, params: SimclrParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        width = encoder.embed_dim
        self.projector: nn.Module = nn.Identity()
        if params.projector_dim:
            self.projector = nn.Sequential(
                nn.Linear(width, width), nn.ReLU(), nn.Linear(width, params.projector_dim)
            )

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return NT-Xent over the 2B views (of all processes)."""
        projections = gather_pairs(self.projector(embed_pair(encoder, views)))
        similarity = cosine_matrix(projections)
        loss = nt_xent(similarity, self.params.temperature)
        return LossOutput(loss, similarity_parts(similarity))
