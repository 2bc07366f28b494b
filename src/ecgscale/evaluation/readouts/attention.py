"""A frozen encoder with an attention-pooling head on its tokens."""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from ecgscale.evaluation.readouts.base import Predictions, Problem, Readout, readouts
from ecgscale.evaluation.readouts.network import (
    Layer,
    NetworkSettings,
    Positions,
    seed_readout,
    train_network,
)


@readouts.register("attention")
class Attention(Readout):
    """The tokens of a frozen encoder, pooled by learned attention, and a linear output.

    The encoder stays in evaluation mode and sees whole records; its tokens are kept in memory if
    they fit (`Settings.cache_mb`) and computed in every epoch otherwise.
    """

    class Settings(NetworkSettings):
        """An attention-pooling head on the tokens of a frozen encoder."""

        heads: int = Field(default=8, ge=1)
        cache_mb: int = Field(default=1024, ge=0)
        """Tokens are kept in memory if they take less than this, else computed in every epoch."""

    title = "attention head"
    method = "an attention-pooling head on the tokens of the frozen encoder"
    reference = (
        "Lee et al., Set Transformer (pooling by multi-head attention), ICML 2019, "
        "arXiv 1810.00825; as a probe of frozen encoders: Yu et al., CoCa, arXiv 2205.01917"
    )

    def predict(self, problem: Problem) -> Predictions:
        """Train the head with early stopping on validation."""
        settings: Attention.Settings = problem.settings
        encoder = problem.encoder().eval()
        seed_readout(problem, "attention")
        head = AttentionPooling(encoder.embed_dim, settings.heads, problem.y.shape[1])
        head = head.to(problem.device)
        tokens = _Tokens(problem, encoder, settings.cache_mb * 2**20)
        return train_network(problem, head, [Layer(list(head.parameters()))], tokens)


class AttentionPooling(nn.Module):
    """One learned query that attends to the tokens with several heads, then a linear map.

    With ``t`` the normalised tokens (LayerNorm), each head h gives
    ``p_h = sum_s softmax_s(q_h . K_h t_s / sqrt(d)) V_h t_s``; the output is linear in all ``p_h``.
    A head is ``max(1, dim // heads)`` wide, with `dim` the width of a token.
    """

    def __init__(self, dim: int, heads: int, outputs: int) -> None:
        super().__init__()
        width = max(1, dim // heads)
        self.norm = nn.LayerNorm(dim)
        self.query = nn.Parameter(torch.randn(heads, width))
        self.key = nn.Linear(dim, heads * width)
        self.value = nn.Linear(dim, heads * width)
        self.output = nn.Linear(heads * width, outputs)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (batch, step, dim) to (batch, output)."""
        tokens = self.norm(tokens)
        shape = (*tokens.shape[:2], *self.query.shape)
        similarity = torch.einsum("hd,bshd->bhs", self.query, self.key(tokens).view(shape))
        attention = torch.softmax(similarity / self.query.shape[1] ** 0.5, dim=-1)
        pooled = torch.einsum("bhs,bshd->bhd", attention, self.value(tokens).view(shape))
        out: Tensor = self.output(pooled.flatten(1))
        return out


class _Tokens:
    """Tokens of examples by position in the table, kept if all of them fit in `budget` bytes."""

    def __init__(self, problem: Problem, encoder: nn.Module, budget: int) -> None:
        self._problem = problem
        self._encoder = encoder
        used = np.flatnonzero(problem.train | ~problem.table.where("train"))
        example = self._compute(used[:1])
        self._kept: Tensor | None = None
        if example.nbytes * len(used) <= budget:
            self._place = np.zeros(len(problem.y), dtype=np.intp)
            self._place[used] = np.arange(len(used))
            size = problem.batch_size
            self._kept = example.new_empty(len(used), *example.shape[1:])
            for start in range(0, len(used), size):
                self._kept[start : start + size] = self._compute(used[start : start + size])

    def __call__(self, positions: Positions) -> Tensor:
        """Return shape (position, step, dim)."""
        if self._kept is None:
            return self._compute(positions)
        place = torch.from_numpy(self._place[positions])
        return self._kept[place.to(self._kept.device)]

    def _compute(self, positions: Positions) -> Tensor:
        with torch.no_grad():
            tokens: Tensor = self._encoder(self._problem.signals(positions))
        return tokens.float()
