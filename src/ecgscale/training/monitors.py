"""Is the encoder collapsing? Label-free measures on a fixed set of records."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder

COLLAPSED_SD = 0.05
"""`embedding_sd` below which an encoder counts as collapsed."""

COLLAPSED_RANK = 1.5
"""`effective_rank` below which an encoder counts as collapsed."""

_BATCH = 256


def embedding_sd(embeddings: Tensor) -> float:
    """Return how far embeddings (record, dim) spread over the sphere: 0 collapsed, 1 isotropic.

    The standard deviation of each dimension of the L2-normalised embeddings, averaged over the
    dimensions, times sqrt(dim): an isotropic distribution has 1 / sqrt(dim) in each (Chen & He,
    SimSiam, arXiv 2011.10566, section 4.1).
    """
    z = torch.nn.functional.normalize(embeddings.double(), dim=1)
    return float(z.std(dim=0, correction=0).mean()) * math.sqrt(embeddings.shape[1])


def effective_rank(embeddings: Tensor) -> float:
    """Return the effective rank of embeddings (record, dim), between 1 and min(record, dim).

    ``exp(-sum(p * log(p)))`` with ``p = s / sum(s)`` over the singular values ``s`` (Roy &
    Vetterli, EUSIPCO 2007; RankMe, arXiv 2210.02885). The embeddings are not centred, so that a
    constant embedding has rank 1. NaN if an embedding is not finite.
    """
    if not embeddings.isfinite().all():
        return math.nan
    singular = torch.linalg.svdvals(embeddings.double())
    total = singular.sum()
    if total == 0:
        return 1.0
    return float(torch.special.entr(singular / total).sum().exp())


def retrieval_accuracy(first: Tensor, second: Tensor) -> float:
    """Return how often a recording's other half is its nearest neighbour.

    ``mean_i [argmax_j cos(first_i, second_j) == i]``, averaged with the same from `second` to
    `first`: a 1-nearest-neighbour probe that needs no labels. Chance is 1 / record; a tie is
    not a hit. Embeddings of the first and the second half of each recording are both (record, dim).
    """
    a = torch.nn.functional.normalize(first.double(), dim=1)
    b = torch.nn.functional.normalize(second.double(), dim=1)
    similarity = a @ b.T
    own = similarity.diagonal().clone()
    similarity.fill_diagonal_(-math.inf)
    hits = (own > similarity.amax(dim=1)).double() + (own > similarity.amax(dim=0)).double()
    return float(hits.mean()) / 2


def is_collapsed(values: dict[str, float]) -> bool:
    """Return whether monitor values mean collapse (a value that is not finite does)."""
    alive = values["embedding_sd"] >= COLLAPSED_SD and values["effective_rank"] >= COLLAPSED_RANK
    return not alive


class CollapseMonitor:
    """Embedding SD, effective rank and half-to-half retrieval on fixed records.

    The signal, (record, lead, time) in mV, is on the training device and has the encoder's leads;
    the recipe says how it is normalised.
    """

    def __init__(self, signal: Tensor, recipe: Recipe) -> None:
        self._signal = signal
        self._recipe = recipe

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        """Return ``embedding_sd``, ``effective_rank`` and ``knn`` of an encoder as it stands."""
        half = self._signal.shape[-1] // 2
        whole = self._embed(encoder, lambda x: x)
        first = self._embed(encoder, lambda x: x[..., :half])
        second = self._embed(encoder, lambda x: x[..., half : 2 * half])
        return {
            "embedding_sd": embedding_sd(whole),
            "effective_rank": effective_rank(whole),
            "knn": retrieval_accuracy(first, second),
        }

    @torch.no_grad()
    def _embed(self, encoder: Encoder, cut: Callable[[Tensor], Tensor]) -> Tensor:
        was_training = encoder.training
        encoder.eval()
        parts = [
            encoder.embed(normalise(cut(part), self._recipe)).float()
            for part in torch.split(self._signal, _BATCH)
        ]
        encoder.train(was_training)
        return torch.cat(parts).cpu()
