"""MoCo: a query is told from the keys of a momentum encoder that wait in a queue."""

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from ecgscale.data.augment import Augmenter, millivolts
from ecgscale.distributed import gather
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import Batch, LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.contrastive import PairObjective
from ecgscale.objectives.search_space import FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import TargetNetwork, spread, unit_rows


class MocoParams(ObjectiveParams):
    """Parameters of `Moco`; the defaults are those of MoCo v2."""

    queue_size: int = Field(default=65_536, ge=1)
    """K, keys in the queue. Published: 65,536 (v1, v2 and CLEF's baseline)."""
    momentum: float = Field(default=0.999, ge=0, le=1)
    """m of the momentum encoder. Published: .999 (v1, v2 and CLEF's baseline)."""
    temperature: float = Field(default=0.2, gt=0)
    """tau. Published: .2 (v2, section 3); .07 (v1 and CLEF's baseline)."""
    projector_dim: int = Field(default=128, ge=0)
    """Width of queries and keys. Published: 128; 0 takes the embedding, as CLEF's baseline does."""
    mlp: bool = True
    """Whether the projector has a hidden layer, as wide as the embedding (v2); else linear (v1)."""
    exclude_same_record: bool = False
    """Whether keys of the query's own record are left out of its negatives: see `Moco`."""


@objectives.register("moco")
class Moco(PairObjective):
    r"""MoCo: InfoNCE against a queue of keys.

    The query q_i is the projection of a record's first view, of shape (dim,), the key k_i that of
    its second view by the momentum encoder and projector, both of length 1. Q holds the K keys of
    the latest batches, oldest dropped first. For a batch of B,

        L = -mean_i log( e^{q_i k_i / tau} / (e^{q_i k_i / tau} + sum_{j in Q} e^{q_i k_j / tau}) )

    After each step the momentum networks move, ``theta_k <- m theta_k + (1 - m) theta_q``, and the
    batch's keys enter Q. Q starts as random unit vectors, as published: it takes K / B steps until
    all negatives are keys, and the momentum networks average over about ``1 / (1 - m)`` steps. In a
    run of a few hundred steps the published K and m come to little more than random negatives and
    the initial network as momentum encoder. The projector is dropped after pretraining.

    Variants: v2 is the default; v1 is ``mlp=False, temperature=0.07``; CLEF's baseline
    (arXiv 2512.02180, Nokia-Bell-Labs/ecg-foundation-model) is ``projector_dim=0,
    temperature=0.07``.

    **The queue and the amount of data.** Of N records, 1/N of the keys of a filled queue belong to
    the query's own record: K/N false negatives to one positive. On ImageNet that is .05; with 64
    records and K = 65,536 it is 1,024. Where the views of a record are all alike, the positive then
    stands 1 + K/N times in the denominator: the loss cannot fall below ``log(1 + K/N)``, and other
    records repel by as many nats less (7 in the example). A curve over N with the published K thus
    also measures how the loss itself changes with N; the part ``same_record`` shows K/N. Two ways
    to keep it the same, both departures from what is published: a `queue_size` well below the
    smallest N, or `exclude_same_record`. The latter knows a record by its samples (`record_key`);
    other records of the same patient stay.

    Where public code departs, and what is done here:

    - CLEF's code enqueues each batch's keys twice, the second time before scaling to length 1.
      Here once, scaled, as the paper has it.
    - Both public codes need K to be a multiple of the batch; here the queue wraps around.
    - Shuffling batch norm (v1, section 3.3) is not done. It concerns encoders with batch norm that
      are trained in several processes.
    """

    Params: ClassVar[type[ObjectiveParams]] = MocoParams
    reference: ClassVar[str] = (
        "He et al., Momentum Contrast for Unsupervised Visual Representation Learning, CVPR 2020, "
        "arXiv 1911.05722; Chen et al., Improved Baselines with Momentum Contrastive Learning, "
        "arXiv 2003.04297 (v2)"
    )
    searched: ClassVar[SearchSpace] = {
        "params.temperature": FloatRange(0.02, 1.0, log=True),
        "params.momentum": FloatRange(0.9, 0.9999),
        "params.queue_size": IntRange(256, 65_536, log=True),
    }
    queue: Tensor
    queue_record: Tensor
    pointer: Tensor

    def __init__(self, encoder: Encoder, params: MocoParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        self.projector = _projector(encoder.embed_dim, params)
        self.momentum_encoder = TargetNetwork(encoder)
        self.momentum_projector = TargetNetwork(self.projector)
        size, dim = params.queue_size, params.projector_dim or encoder.embed_dim
        self.register_buffer("queue", unit_rows(torch.randn(size, dim)))
        self.register_buffer("queue_record", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return two augmented views, "first" and "second", and the "record" they show."""
        return super().views(batch, augment) | {"record": record_key(millivolts(batch.signal))}

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return `info_nce` of the queries, with its parts and two more.

        ``same_record`` is the mean number of keys of the query's own record in the queue.
        ``key_spread`` is `spread` of the keys, 0 when they have collapsed; a collapse that goes on
        from step to step leaves the accuracy at 1.
        """
        query = unit_rows(self.projector(encoder.embed(views["first"])))
        with torch.no_grad():
            embedding = self.momentum_encoder.network.embed(views["second"])
            key = unit_rows(self.momentum_projector.network(embedding))
        self._latest = key, views["record"]
        same = views["record"].unsqueeze(1) == self.queue_record
        excluded = same if self.params.exclude_same_record else None
        loss, parts = info_nce(query, key, self.queue, self.params.temperature, excluded)
        parts |= {"same_record": same.sum(dim=1).float().mean(), "key_spread": spread(key)}
        return LossOutput(loss, parts)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Move the momentum networks, then put the keys of the latest loss into the queue."""
        self.momentum_encoder.update(encoder, self.params.momentum)
        self.momentum_projector.update(self.projector, self.params.momentum)
        key, record = self._latest
        self._enqueue(gather(key), gather(record))

    def _enqueue(self, key: Tensor, record: Tensor) -> None:
        # Of more keys than there are places only the newest stay: no place is written twice.
        size = len(self.queue)
        key, record = key[-size:], record[-size:]
        place = (self.pointer + torch.arange(len(key), device=key.device)) % size
        self.queue.index_copy_(0, place, key.to(self.queue.dtype))
        self.queue_record.index_copy_(0, place, record)
        self.pointer.add_(len(key)).remainder_(size)


def _projector(width: int, params: MocoParams) -> nn.Module:
    if not params.projector_dim:
        return nn.Identity()
    last = nn.Linear(width, params.projector_dim)
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), last) if params.mlp else last


def info_nce(
    query: Tensor,
    key: Tensor,
    queue: Tensor,
    temperature: float,
    excluded: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return L of `Moco`, in at least float32, and its parts.

    Parameters
    ----------
    query
        Shape (batch, dim), rows of length 1, with gradient.
    key
        Shape (batch, dim), rows of length 1: the positives.
    queue
        Shape (K, dim), rows of length 1: the negatives.
    temperature
        tau.
    excluded
        Shape (batch, K), boolean, true where a key is not a negative of the query; None for
        nowhere.

    Returns
    -------
    tuple
        The loss, a scalar, and without gradient: ``accuracy``, the share of queries nearer to their
        key than to any negative; ``positive_cosine``, the mean of q_i k_i.
    """
    # Under autocast the cosines would be rounded to bf16 (`contrastive.cosine_matrix`).
    with torch.autocast(query.device.type, enabled=False):
        positive = (query * key).sum(dim=1)
        negative = query @ queue.to(query.dtype).T
    if excluded is not None:
        negative = negative.masked_fill(excluded, -torch.inf)
    near, far = positive / temperature, (negative / temperature).logsumexp(dim=1)
    loss = (torch.logaddexp(near, far) - near).mean()
    hit = positive > negative.amax(dim=1)
    parts = {"accuracy": hit.float().mean(), "positive_cosine": positive.mean()}
    return loss, {name: value.detach() for name, value in parts.items()}


def record_key(signal: Tensor) -> Tensor:
    """Return a number per record that is the same for the same samples, on any device.

    Sums of the samples' bits weighted by their time, modulo 2^64: integers, so that neither the
    batch nor the order of summation matters. Two different records agree by chance only.
    Signals (batch, lead, time), float32, to (batch,), int64.
    """
    bits = signal.contiguous().view(torch.int32).sum(dim=1)
    return (bits * torch.arange(1, bits.shape[1] + 1, device=bits.device)).sum(dim=1)
