"""K-means on the device of its points, the same bits for the same draws."""

import torch
from torch import Generator, Tensor


@torch.no_grad()
def kmeans(
    points: Tensor, clusters: int, iterations: int, generator: Generator | None = None
) -> Tensor:
    """Return centroids that Lloyd's algorithm finds from a k-means++ start.

    The number of iterations is fixed and all shapes are known beforehand, so nothing waits for the
    device. A cluster that loses its last point keeps its centroid. Sums over a cluster are matrix
    products, not scattered additions, whose order is not fixed on a GPU.

    Parameters
    ----------
    points
        Shape (point, dim), float32 or float64.
    clusters
        Number of centroids; more than there are points gives repeats.
    iterations
        Rounds of assigning every point and moving every centroid.
    generator
        Source of the draws, on the points' device; None is torch's global one.

    Returns
    -------
    Tensor
        Shape (cluster, dim).
    """
    centroids = seeds(points, clusters, generator)
    cluster = torch.arange(clusters, device=points.device).unsqueeze(1)
    for _ in range(iterations):
        member = (nearest(points, centroids) == cluster).to(points.dtype)
        count = member.sum(dim=1, keepdim=True)
        centroids = torch.where(count > 0, member @ points / count.clamp_min(1), centroids)
    return centroids


def seeds(points: Tensor, clusters: int, generator: Generator | None = None) -> Tensor:
    """Choose points to start from, each far from those before it: k-means++.

    The first is drawn uniformly, every next one with probability proportional to the squared
    distance to the nearest chosen so far (Arthur & Vassilvitskii 2007, SODA, section 2.2). The
    draw takes the largest of ``distance / exponential``, which has that distribution and needs no
    cumulative sum.

    Parameters and return are as in `kmeans`.
    """
    weight = points.new_ones(len(points))
    chosen: list[Tensor] = []
    for index in range(clusters):
        wait = torch.empty_like(weight).exponential_(generator=generator)
        point = points[(weight / wait).argmax()]
        distance = (points - point).square().sum(dim=1)
        weight = distance if index == 0 else torch.minimum(weight, distance)
        chosen.append(point)
    return torch.stack(chosen)


def nearest(points: Tensor, centroids: Tensor) -> Tensor:
    """Return the index of the nearest centroid; of equal ones any, as rounding decides.

    Points (..., dim) and centroids (cluster, dim) to (...), int64.
    """
    # The points' own norms are the same for every centroid.
    return (centroids.square().sum(dim=1) - 2 * points @ centroids.T).argmin(dim=-1)
