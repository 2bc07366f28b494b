import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ecgscale.objectives.kmeans import kmeans, nearest, seeds


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def cloud(points, dim, seed=0):
    return torch.randn(points, dim, dtype=torch.float64, generator=generator(seed))


# A slow reference, point by point


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def nearest_reference(points, centroids):
    return [min(range(len(centroids)), key=lambda c: distance(p, centroids[c])) for p in points]


def lloyd_reference(points, centroids, iterations):
    for _ in range(iterations):
        label = nearest_reference(points, centroids)
        moved = []
        for c, old in enumerate(centroids):
            members = [p for p, own in zip(points, label, strict=True) if own == c]
            moved.append([sum(x) / len(members) for x in zip(*members, strict=True)] or old)
            if not members:
                moved[-1] = old
        centroids = moved
    return centroids


def inertia(points, centroids):
    return float((points[:, None] - centroids).square().sum(dim=2).min(dim=1).values.sum())


@settings(max_examples=30, deadline=None)
@given(
    points=st.integers(1, 20),
    dim=st.integers(1, 4),
    clusters=st.integers(1, 6),
    iterations=st.integers(0, 4),
    seed=st.integers(0, 99),
)
def test_kmeans_is_lloyds_algorithm_from_its_seeds(points, dim, clusters, iterations, seed):
    clusters = min(clusters, points)  # repeated centroids share their points as rounding decides
    x = cloud(points, dim, seed)
    found = kmeans(x, clusters, iterations, generator(seed))
    start = seeds(x, clusters, generator(seed)).tolist()
    expected = lloyd_reference(x.tolist(), start, iterations)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    assert nearest(x, found).tolist() == nearest_reference(x.tolist(), found.tolist())


def test_seeds_are_drawn_by_squared_distance():
    line = torch.tensor([[0.0], [1.0], [3.0]])
    draws, source = 4000, generator()
    counts = {(a, b): 0 for a in (0, 1, 3) for b in (0, 1, 3)}
    for _ in range(draws):
        first, second = seeds(line, 2, source).flatten().tolist()
        counts[first, second] += 1
    for first in (0, 1, 3):
        total = sum((first - x) ** 2 for x in (0, 1, 3))
        for second in (0, 1, 3):
            expected = (first - second) ** 2 / total / 3
            spread = math.sqrt(expected * (1 - expected) / draws)
            assert abs(counts[first, second] / draws - expected) <= 5 * spread


def test_separate_clouds_each_get_a_centroid():
    centres = 20 * torch.eye(5)
    x = (centres[:, None] + 0.5 * torch.randn(5, 40, 5, generator=generator())).flatten(0, 1)
    for seed in range(5):
        centroids = kmeans(x, 5, 10, generator(seed))
        label = nearest(x, centroids).view(5, 40)
        assert (label == label[:, :1]).all()
        assert len(label[:, 0].unique()) == 5


def test_more_iterations_never_raise_the_inertia():
    x = cloud(200, 3)
    values = [inertia(x, kmeans(x, 8, n, generator())) for n in range(8)]
    assert values == sorted(values, reverse=True)
    assert values[-1] < values[0]


def test_same_draws_same_bits_from_the_global_generator_too():
    x = cloud(100, 4).float()
    assert torch.equal(kmeans(x, 7, 5, generator(3)), kmeans(x, 7, 5, generator(3)))
    assert not torch.equal(kmeans(x, 7, 5, generator(3)), kmeans(x, 7, 5, generator(4)))
    torch.manual_seed(3)
    first = kmeans(x, 7, 5)
    torch.manual_seed(3)
    assert torch.equal(kmeans(x, 7, 5), first)


@pytest.mark.parametrize("x", [torch.zeros(4, 2), torch.tensor([[1.0, 2.0]])])
def test_fewer_different_points_than_clusters_gives_repeats(x):
    centroids = kmeans(x, 6, 3, generator())
    assert torch.equal(centroids, x[:1].expand(6, -1))


def test_nearest_keeps_leading_shapes():
    x, centroids = cloud(24, 3), cloud(5, 3, seed=1)
    assert torch.equal(nearest(x.view(2, 3, 4, 3), centroids).flatten(), nearest(x, centroids))
