import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ecgscale import encoders
from ecgscale.data.recipe import Recipe
from ecgscale.training.monitors import (
    CollapseMonitor,
    effective_rank,
    embedding_sd,
    is_collapsed,
    retrieval_accuracy,
)


def gaussian(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def slow_sd(embeddings: Tensor) -> float:
    rows = [row / math.sqrt(sum(v * v for v in row)) for row in embeddings.numpy()]
    sds = []
    for column in zip(*rows, strict=True):
        mean = sum(column) / len(column)
        sds.append(math.sqrt(sum((v - mean) ** 2 for v in column) / len(column)))
    return sum(sds) / len(sds) * math.sqrt(len(sds))


def slow_rank(embeddings: Tensor) -> float:
    singular = np.linalg.svd(embeddings.double().numpy(), compute_uv=False)
    shares = [s / singular.sum() for s in singular if s > 0]
    return math.exp(-sum(p * math.log(p) for p in shares))


def slow_retrieval(first: Tensor, second: Tensor) -> float:
    def cosine(a: Tensor, b: Tensor) -> float:
        return float(a @ b / (a.norm() * b.norm()))

    n, hits = len(first), 0
    for i in range(n):
        hits += all(
            cosine(first[i], second[i]) > cosine(first[i], second[j]) for j in range(n) if j != i
        )
        hits += all(
            cosine(first[i], second[i]) > cosine(first[j], second[i]) for j in range(n) if j != i
        )
    return hits / (2 * n)


def test_measures_agree_with_slow_references() -> None:
    a = gaussian(30, 8) @ gaussian(8, 8, seed=1) + 0.5
    b = a + 0.7 * gaussian(30, 8, seed=2)
    assert embedding_sd(a) == pytest.approx(slow_sd(a), rel=1e-5)
    assert effective_rank(a) == pytest.approx(slow_rank(a), rel=1e-5)
    assert 0 < slow_retrieval(a, b) < 1
    assert retrieval_accuracy(a, b) == pytest.approx(slow_retrieval(a, b))


def test_isotropic_embeddings_are_near_the_upper_ends() -> None:
    z = gaussian(4000, 16)
    assert embedding_sd(z) == pytest.approx(1, abs=0.01)
    assert effective_rank(z) == pytest.approx(16, rel=0.01)
    assert effective_rank(torch.eye(5)) == pytest.approx(5)


@pytest.mark.parametrize(
    "collapsed",
    [
        torch.ones(50, 16),
        torch.zeros(50, 16),
        torch.ones(50, 16) + 1e-3 * gaussian(50, 16),
        gaussian(50, 1).abs() * gaussian(1, 16, seed=1),  # one direction, any length
        gaussian(50, 1) * gaussian(1, 16, seed=1),  # one line, both directions
        torch.full((50, 16), math.nan),
    ],
    ids=["constant", "zero", "nearly constant", "ray", "line", "nan"],
)
def test_collapse_is_flagged(collapsed: Tensor) -> None:
    values = {"embedding_sd": embedding_sd(collapsed), "effective_rank": effective_rank(collapsed)}
    assert is_collapsed(values)


def test_identical_embeddings_retrieve_nothing() -> None:
    same = torch.ones(20, 4)
    assert retrieval_accuracy(same, same) == 0
    z = gaussian(20, 4)
    assert retrieval_accuracy(z, z) == 1


def test_initialised_encoder_is_not_flagged_and_is_left_as_it_was() -> None:
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size="tiny", in_channels=1).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    time = torch.arange(1000) / 100
    rate = 1 + gaussian(24, 1, 1).abs()
    signal = torch.sin(2 * math.pi * rate * time) ** 9 + 0.1 * gaussian(24, 1, 1000, seed=1)
    monitor = CollapseMonitor(signal, Recipe())
    values = monitor(encoder)
    assert set(values) == {"embedding_sd", "effective_rank", "knn"}
    assert not is_collapsed(values)
    assert monitor(encoder) == values
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
