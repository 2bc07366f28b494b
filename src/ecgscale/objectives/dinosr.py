"""DinoSR: name the cluster that a slower copy of the encoder puts each hidden step into."""

from typing import ClassVar

import torch
import torch.distributed as dist
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.distributed import world_size
from ecgscale.encoders.base import Encoder
from ecgscale.objectives.base import LossOutput, ObjectiveParams, objectives
from ecgscale.objectives.data2vec import (
    MaskedDistillation,
    MaskedDistillationParams,
    same_shape_layers,
)
from ecgscale.objectives.search_space import FloatRange, IntRange, SearchSpace
from ecgscale.objectives.target import masked_mean

PROBE_STEPS = 4
"""Steps of the input on which the encoder's layers are counted."""


class DinosrParams(MaskedDistillationParams):
    """Parameters of `Dinosr`."""

    mask_probability: float = Field(default=0.8, gt=0, le=1)
    """As in data2vec. Published: .8, in spans of 10 (public code, ``config/base.yaml``)."""
    codewords: int = Field(default=256, ge=2)
    """V, for each layer. Published: 256 (public code); so has the ECG study."""
    codebook_decay: float = Field(default=0.9, ge=0, lt=1)
    """gamma. Published: .9 (public code); so has the ECG study."""
    teacher_freeze: float = Field(default=0.5, ge=0, le=1)
    """Share of the training after which the teacher stays as it is. Published: 200,000 of 400,000
    updates (public code); the ECG study never stops."""


@objectives.register("dinosr")
class Dinosr(MaskedDistillation):
    """DinoSR: self-distillation and online clustering.

    Each of the K layers has a codebook of V codewords e^k_v, and the targets z^k of
    `MaskedDistillation` name one of them. With the student's token f_t and a linear map A^k per
    layer,

        c^k_t = argmin_v |z^k_t - e^k_v|^2
        L     = mean_{t in M} 1/K sum_k -log softmax(A^k f_t)[c^k_t]

    The mean runs over the hidden steps M of all records. They alone move the codebook: with
    S^k_v = {t in M: c^k_t = v} over the whole batch, where it is not empty,

        s^k_v <- gamma s^k_v + (1 - gamma) sum_{t in S^k_v} z^k_t      shape (K, V, dim)
        n^k_v <- gamma n^k_v + (1 - gamma) |S^k_v|                     shape (K, V)
        e^k_v  = s^k_v / n^k_v

    At the start n is 1 and s is normal, brought to mean 0 and variance 1 over the V codewords, as
    the public code (Alexander-H-Liu/dinosr) has it. In data-parallel training S runs over all
    processes, so that they keep the same codebook.

    The public code also freezes the student's convolutional front when the teacher stops, since the
    two share it; here they share nothing. The ECG study's code moves the codebook by all steps,
    hidden or not, and lets s and n of an empty cluster fade; here the published code is followed.
    """

    Params: ClassVar[type[ObjectiveParams]] = DinosrParams
    reference: ClassVar[str] = (
        "Liu et al., DinoSR: Self-Distillation and Online Clustering for Self-supervised Speech "
        "Representation Learning, NeurIPS 2023, arXiv 2305.10005"
    )
    searched: ClassVar[SearchSpace] = MaskedDistillation.searched | {
        "params.codewords": IntRange(16, 1024, log=True),
        "params.codebook_decay": FloatRange(0.5, 0.99),
    }
    codebook_sums: Tensor
    codebook_counts: Tensor

    def __init__(self, encoder: Encoder, params: DinosrParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        layers, words, width = self._count_layers(encoder), params.codewords, encoder.embed_dim
        self.heads = nn.Linear(width, layers * words)
        start = F.instance_norm(torch.randn(layers, width, words)).transpose(1, 2)
        self.register_buffer("codebook_sums", start.contiguous())
        self.register_buffer("codebook_counts", torch.ones(layers, words))
        self._batch_clusters: tuple[Tensor, Tensor] | None = None

    @property
    def codebooks(self) -> Tensor:
        """The codewords e, shape (layer, codeword, dim)."""
        return self.codebook_sums / self.codebook_counts.unsqueeze(-1)

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return L; the parts are means over layers, of the hidden steps.

        `accuracy` is the share of steps whose cluster the student names; the perplexities (e to the
        entropy of how often each cluster occurs, at most V) of targets and predictions are 1 when
        all steps fall into one cluster.
        """
        mask = views["mask"]
        targets = self.target_layers(views)
        clusters = nearest(targets, self.codebooks)
        chosen = F.one_hot(clusters, self.params.codewords) * mask[..., None].float()
        self._batch_clusters = cluster_sums(targets, chosen)
        scores = self.heads(self.student(encoder, views)).float()
        # (batch, step, layer * word) to (layer, batch, step, word), as the targets are.
        log_odds = scores.unflatten(-1, (len(targets), -1)).movedim(2, 0).log_softmax(dim=-1)
        surprise = -log_odds.gather(-1, clusters.unsqueeze(-1)).squeeze(-1)
        loss = masked_mean(surprise.mean(dim=0), mask)
        return LossOutput(loss, _parts(log_odds.detach(), clusters, chosen, mask))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Move the codebooks by the batch of the last `loss`, then the teacher."""
        assert self._batch_clusters is not None, "after_step follows loss"
        sums, counts = self._batch_clusters
        if world_size() > 1:
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        self._update_codebooks(sums, counts)
        if progress <= self.params.teacher_freeze:
            super().after_step(encoder, progress)

    @torch.no_grad()
    def _update_codebooks(self, sums: Tensor, counts: Tensor) -> None:
        share = (1 - self.params.codebook_decay) * (counts > 0)
        self.codebook_sums.lerp_(sums, share.unsqueeze(-1))
        self.codebook_counts.lerp_(counts, share)

    @torch.no_grad()
    def _count_layers(self, encoder: Encoder) -> int:
        """Return how many layers have targets, from a pass of the teacher over zeros."""
        network = self.teacher.eval().network
        x = torch.zeros(1, encoder.params.in_channels, PROBE_STEPS * encoder.step_samples)
        states = network.hidden_states(x.to(next(network.parameters())))
        self.teacher.train(encoder.training)
        return len(same_shape_layers(states)[-self.params.top_layers :])


def nearest(targets: Tensor, codebooks: Tensor) -> Tensor:
    """Return the number of the codeword closest to each target.

    Targets (layer, batch, step, dim) and codebooks (layer, codeword, dim) to (layer, batch, step).
    """
    with torch.autocast(targets.device.type, enabled=False):
        # The target's own square is the same for all codewords.
        product = torch.einsum("kbtd,kvd->kbtv", targets, codebooks)
        closeness = 2 * product - codebooks.square().sum(dim=-1)[:, None, None]
    return closeness.argmax(dim=-1)


@torch.no_grad()
def cluster_sums(targets: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum and the number of the targets in each cluster.

    Targets (layer, batch, step, dim) and what they chose, (layer, batch, step, codeword), 1 for a
    hidden step's codeword, else 0, to (layer, codeword, dim) and (layer, codeword).
    """
    with torch.autocast(targets.device.type, enabled=False):
        # A matrix product, because adding by index has no fixed order on a GPU.
        sums = torch.einsum("kbtv,kbtd->kvd", chosen, targets)
    return sums, chosen.sum(dim=(1, 2))


@torch.no_grad()
def _parts(log_odds: Tensor, clusters: Tensor, chosen: Tensor, mask: Tensor) -> dict[str, Tensor]:
    correct = (log_odds.argmax(dim=-1) == clusters).float().mean(dim=0)
    named = log_odds.exp() * mask[..., None]
    return {
        "accuracy": masked_mean(correct, mask),
        "target_perplexity": _perplexity(chosen),
        "prediction_perplexity": _perplexity(named),
    }


def _perplexity(weights: Tensor) -> Tensor:
    """Return the mean over layers of ``exp(entropy)``: (layer, batch, step, word) to a scalar."""
    total = weights.sum(dim=(1, 2))
    share = total / total.sum(dim=-1, keepdim=True)
    entropy: Tensor = torch.special.entr(share).sum(dim=-1)
    return entropy.exp().mean()
