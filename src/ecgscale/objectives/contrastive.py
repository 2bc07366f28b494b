"""What contrastive objectives share: paired embeddings, cosines and the NT-Xent loss.

Views are stacked as ``[first views; second views]``: of 2B rows, rows i and i + B are the two views
of record i.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ecgscale.data.augment import Augmenter
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import Batch, Objective
from ecgscale.objectives.target import unit_rows


class PairObjective(Objective):
    """An objective on two augmented views of each record."""

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return two augmented views, "first" and "second"."""
        first, second = augment.pair(batch.signal)
        return {"first": first, "second": second}


def embed_pair(encoder: Encoder, views: dict[str, Tensor]) -> Tensor:
    """Embed ``views["first"]`` and ``views["second"]`` in one pass: (2 batch, dim)."""
    return encoder.embed(torch.cat([views["first"], views["second"]]))


def cosine_matrix(features: Tensor) -> Tensor:
    """Return all cosine similarities: (row, dim) to (row, row), in at least float32.

    Autocast would round them to bf16, which at a temperature of .07 is an error of .05 nats.
    """
    with torch.autocast(features.device.type, enabled=False):
        features = unit_rows(features)
        return features @ features.T


def tile_pairs(matrix: Tensor) -> Tensor:
    """Repeat a matrix over records for their two views: (batch, batch) to (2 batch, 2 batch)."""
    return matrix.repeat(2, 2)


def positives(similarity: Tensor) -> Tensor:
    """Return each view's similarity to the other view of its record: (2 batch,)."""
    rows = similarity.shape[0]
    return similarity.diagonal(rows // 2).repeat(2)


def nt_xent(similarity: Tensor, temperature: float, weights: Tensor | None = None) -> Tensor:
    """Return the normalised-temperature cross entropy with weighted negatives.

    With s the cosines, p(i) the other view of view i's record and N(i) the views of other records,

        L = -mean_i log( e^{s_ip(i)/tau} / (e^{s_ip(i)/tau} + sum_{j in N(i)} w_ij e^{s_ij/tau}) )

    Parameters
    ----------
    similarity
        Cosines s of the stacked views, shape (2 batch, 2 batch), with gradient.
    temperature
        tau.
    weights
        Shape (batch, batch), non-negative; w between records, the diagonal is not read. None is 1
        everywhere: the loss of SimCLR (Chen et al. 2020, arXiv 2002.05709, equation 1).

    Returns
    -------
    Tensor
        Scalar.
    """
    rows = similarity.shape[0]
    own = torch.eye(rows, dtype=torch.bool, device=similarity.device)
    logits = (similarity / temperature).masked_fill(own, -torch.inf)
    if weights is not None:
        same_record = tile_pairs(torch.eye(rows // 2, dtype=torch.bool, device=own.device))
        logits = logits + tile_pairs(weights).log().masked_fill(same_record, 0.0)
    other_view = torch.arange(rows, device=similarity.device).roll(rows // 2)
    return F.cross_entropy(logits, other_view)


@torch.no_grad()
def similarity_parts(similarity: Tensor) -> dict[str, Tensor]:
    """Return the mean cosine of positive pairs and of negative pairs, for the curves."""
    rows = similarity.shape[0]
    positive = positives(similarity)
    total = similarity.sum() - similarity.diagonal().sum() - positive.sum()
    negatives = max(rows * (rows - 2), 1)
    return {"positive_cosine": positive.mean(), "negative_cosine": total / negatives}
