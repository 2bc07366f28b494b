"""Nearest neighbours in the frozen embedding."""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from ecgscale.evaluation.metrics.functions import Floats
from ecgscale.evaluation.readouts.base import (
    Predictions,
    Problem,
    Readout,
    ReadoutSettings,
    blank_scores,
    readouts,
)

_SIMILARITIES = 1 << 24
"""Similarities held at once (64 MB)."""


@readouts.register("knn")
class Knn(Readout):
    """The mean target of the k nearest training examples by cosine similarity, unweighted.

    A class that s of k neighbours have gets the probability ``(s + 1/2) / (k + 1)`` (multi-class:
    ``(s + 1/2) / (k + classes / 2)``): half an example of each class, so that no log odds are
    infinite; the order of the scores is that of s. A number is predicted by the neighbours' mean.
    The embedding is neither centred nor scaled.
    """

    class Settings(ReadoutSettings):
        """How many neighbours."""

        k: int = Field(default=20, ge=1)
        """Neighbours; all training examples where there are fewer."""

    title = "nearest neighbours"
    method = "the nearest neighbours of the frozen embedding"
    reads_depths = True
    reference = (
        "Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, "
        "CVPR 2018, arXiv 1805.01978 (there weighted, k = 200); k = 20 unweighted: "
        "Caron et al., DINO, ICCV 2021, arXiv 2104.14294"
    )

    def predict(self, problem: Problem) -> Predictions:
        """Look up the neighbours of the validation and test examples."""
        x, wanted = problem.embeddings(), ~problem.table.where("train")
        train, targets, queries = (
            torch.from_numpy(np.ascontiguousarray(part)).to(problem.device)
            for part in (x[problem.train], problem.y[problem.train], x[wanted])
        )
        settings: Knn.Settings = problem.settings
        k = min(settings.k, len(train))
        mean = neighbour_mean(train, targets, queries, k).double().cpu().numpy()
        scores = blank_scores(problem)
        scores[wanted] = (
            mean if problem.kind == "regression" else _scores(problem, np.rint(mean * k), k)
        )
        return Predictions(scores, {"neighbours": k})


def neighbour_mean(train: Tensor, targets: Tensor, queries: Tensor, k: int = 20) -> Tensor:
    """Return the mean target of each query's nearest training examples (cosine similarity).

    Of `train`, shape (example, dim), with `targets`, shape (example, label), for `queries`, shape
    (query, dim), it has shape (query, label). Of fewer than k training examples all are taken.
    """
    unit = torch.nn.functional.normalize(train, dim=1)
    parts = []
    for part in torch.split(queries, max(1, _SIMILARITIES // len(train))):
        similarity = torch.nn.functional.normalize(part, dim=1) @ unit.T
        nearest = similarity.topk(min(k, len(train)), dim=1).indices
        parts.append(targets[nearest].float().mean(dim=1))
    return torch.cat(parts)


def _scores(problem: Problem, positives: Floats, k: int) -> Floats:
    if problem.kind == "multi-class":
        return np.asarray(np.log((positives + 0.5) / (k + positives.shape[1] / 2)))
    return np.asarray(np.log((positives + 0.5) / (k - positives + 0.5)))
