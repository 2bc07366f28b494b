"""CLEF: contrastive learning guided by the cardiovascular risk of the patients."""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from ecgscale.data.augment import Augmenter
from ecgscale.distributed import gather, gather_pairs
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import Batch, LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.contrastive import (
    PairObjective,
    cosine_matrix,
    embed_pair,
    nt_xent,
    similarity_parts,
    tile_pairs,
)
from ecgscale.objectives.search_space import FloatRange, SearchSpace

Weighting = Literal["paper", "public_code", "uniform", "uniform_public_code"]

SMALLEST_RANGE = 1e-6
"""Least range of cosines that the alignment stretches to [0, 1]; below it all have collapsed."""


class ClefParams(ObjectiveParams):
    """Parameters of `Clef`."""

    temperature: float = Field(default=0.07, gt=0)
    """tau."""
    floor: float = Field(default=0.2, ge=0, le=1)
    """alpha, the dissimilarity of two records of equal risk."""
    weighting: Weighting = "paper"
    """How dissimilarity becomes the weight of a negative: see `Clef`."""
    missing_metadata: bool = True
    """Whether the missing-metadata term M takes part."""
    alignment: float = Field(default=1.0, ge=0)
    """Weight of L_d against L_w; 0 leaves L_w alone."""
    shuffle_risk: bool = False
    """Control: risk (with its completeness) is dealt out anew among the records of each batch."""


@objectives.register("clef")
class Clef(PairObjective):
    r"""CLEF: risk-weighted negatives and dissimilarity alignment.

    Records i, k of a batch of B have risk r and completeness c = (A - m)/A, where m of the A inputs
    of the risk score are missing. Cosines s are those of the embeddings of 2B views, without a
    projection head. Matrices over records, shape (B, B), are tiled for the 2B views.

        d_ik = (r_i - r_k)^2 / max (r - r)^2                     in [0, 1]
        D_ik = alpha + (1 - alpha) d_ik,   D_ii = 0
        M_ik = exp(-c_i c_k)
        W    = D * M
        L_w  = -mean_i log( e^{s_ip/tau} / (e^{s_ip/tau} + sum_{j in N(i)} w_ij e^{s_ij/tau}) )
        L_d  = mean_ij ( minmax(s)_ij - (1 - W_ij) )^2
        L    = (L_w + a L_d) / (1 + a),   a = `alignment` = 1 as published

    p is the other view of the same record, N(i) the views of other records. L_d runs over all
    pairs of views, also a view with itself and with its positive, whose target is 1.

    The equations leave open how W becomes w. The public code (Nokia-Bell-Labs/ecg-foundation-model)
    takes a softmax over each full row of 2B before it drops the view itself and its positive: the
    negatives then enter as a weighted *mean*, log(2B) nats weaker than the *sum* of SimCLR, so a
    comparison of the two measures mostly that. `weighting` takes a side:

    ======================= ======================================= ===============================
    `weighting`             w_ij                                    stands for
    ======================= ======================================= ===============================
    ``paper``               W_ij / (mean of W_ik over k != i)       a weighted sum, as in SimCLR
    ``uniform``             1                                       its control: exactly NT-Xent
    ``public_code``         e^{W_ij} / (sum of e^{W_ik}, 2B terms)  the public code
    ``uniform_public_code`` 1 / 2B                                  its control
    ======================= ======================================= ===============================

    Where else the public code departs, and what is done here:

    - M never runs there; here it does, unless `missing_metadata` is false. As published, M weighs
      pairs with complete metadata *less* (e^-1 against 1 for a pair with none).
    - An unknown risk becomes 0 there, the lowest risk of all. Here a pair with an unknown risk has
      the mean d of the known pairs of the batch, and has no part in L_d.
    - ``1e-6`` is added to the ranges of d and of the cosines there; here equal risks give d = 0,
      and a range of cosines below 1e-6 counts as 1e-6.

    The public code's loss is thus ``weighting="public_code", missing_metadata=False``.

    `shuffle_risk` is the control for what risk itself gives: the same weights, on the wrong pairs
    (of several processes, each deals among its own records).
    """

    Params: ClassVar[type[ObjectiveParams]] = ClefParams
    reference: ClassVar[str] = "CLEF, arXiv 2512.02180"
    searched: ClassVar[SearchSpace] = {
        "params.temperature": FloatRange(0.02, 1.0, log=True),
        "params.floor": FloatRange(0.0, 1.0),
        "params.alignment": FloatRange(0.1, 10.0, log=True),
    }

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return two augmented views, "first" and "second", with "risk" and "completeness"."""
        pair = super().views(batch, augment)
        risk, completeness = batch.risk, batch.completeness
        if self.params.shuffle_risk:
            order = torch.randperm(len(risk), generator=augment.generator, device=risk.device)
            risk, completeness = risk[order], completeness[order]
        return pair | {"risk": risk, "completeness": completeness}

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return (L_w + a L_d) / (1 + a) over all processes' records; L_w and L_d are parts."""
        params = self.params
        similarity = cosine_matrix(gather_pairs(embed_pair(encoder, views)))
        risk = gather(views["risk"])
        known = ~risk.isnan()
        dissimilarity = risk_dissimilarity(risk, params.floor)
        if params.missing_metadata:
            term = missing_metadata_term(gather(views["completeness"]))
            dissimilarity = dissimilarity * term
        weights = negative_weights(dissimilarity, params.weighting)
        loss = weighted = nt_xent(similarity, params.temperature, weights)
        parts = {"weighted_nt_xent": weighted.detach()}
        if params.alignment:
            alignment = alignment_loss(similarity, dissimilarity, known)
            loss = (weighted + params.alignment * alignment) / (1 + params.alignment)
            parts["alignment"] = alignment.detach()
        return LossOutput(loss, parts | similarity_parts(similarity))


def risk_dissimilarity(risk: Tensor, floor: float) -> Tensor:
    """Return D of `Clef`: risks (batch,), NaN where unknown, to (batch, batch).

    It is `floor`, alpha, to 1 off the diagonal and 0 on it.
    """
    known = ~risk.isnan()
    own = torch.eye(len(risk), dtype=torch.bool, device=risk.device)
    pairs = known.unsqueeze(0) & known.unsqueeze(1) & ~own
    value = risk.nan_to_num()
    squared = (value.unsqueeze(0) - value.unsqueeze(1)).square() * pairs
    largest = squared.max()
    scaled = squared / torch.where(largest > 0, largest, 1.0)
    neutral = scaled.sum() / pairs.sum().clamp_min(1)
    scaled = torch.where(pairs, scaled, neutral)
    return (floor + (1 - floor) * scaled).masked_fill(own, 0.0)


def missing_metadata_term(completeness: Tensor) -> Tensor:
    """Return M of `Clef`, ``exp(-c_i c_k)``: (batch,) to (batch, batch)."""
    return torch.exp(-completeness.unsqueeze(0) * completeness.unsqueeze(1))


def negative_weights(dissimilarity: Tensor, weighting: Weighting) -> Tensor:
    """Return w of `Clef` from W: (batch, batch) to (batch, batch); the diagonal means nothing."""
    records = len(dissimilarity)
    if weighting == "paper":
        mean = dissimilarity.sum(dim=1, keepdim=True) / (records - 1)
        return torch.where(mean > 0, dissimilarity / mean, 1.0)
    if weighting == "public_code":
        return dissimilarity.softmax(dim=1) / 2
    constant = 1.0 if weighting == "uniform" else 1 / (2 * records)
    return torch.full_like(dissimilarity, constant)


def alignment_loss(similarity: Tensor, dissimilarity: Tensor, known: Tensor) -> Tensor:
    """Return L_d of `Clef`.

    Parameters
    ----------
    similarity
        Cosines of the stacked views, shape (2 batch, 2 batch), with gradient.
    dissimilarity
        W, shape (batch, batch).
    known
        Shape (batch,), whether the risk is known. Pairs of records of which one is not known are
        left out; the pairs of a record with itself stay.

    Returns
    -------
    Tensor
        Scalar.
    """
    low, high = similarity.min(), similarity.max()
    stretched = (similarity - low) / (high - low).clamp_min(SMALLEST_RANGE)
    own = torch.eye(len(known), dtype=torch.bool, device=known.device)
    counted = tile_pairs((known.unsqueeze(0) & known.unsqueeze(1)) | own)
    error = (stretched - tile_pairs(1 - dissimilarity)).square()
    return (error * counted).sum() / counted.sum()
