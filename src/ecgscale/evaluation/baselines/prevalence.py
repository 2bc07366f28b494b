"""How common a label is, and nothing else."""

import numpy as np

from ecgscale.evaluation.baselines.base import Baseline, baselines
from ecgscale.evaluation.metrics.functions import Floats
from ecgscale.evaluation.readouts.base import Problem, blank_scores


@baselines.register("prevalence")
class Prevalence(Baseline):
    """Each label's share of the training examples, each class's share, or the training mean.

    So an AUROC of 0.5 by construction, and the floor of average precision.
    """

    words = "prevalence, or of a number its training mean"

    def scores(self, problem: Problem) -> Floats:
        """Give every example the same."""
        y = problem.y[problem.train].astype(np.float64)
        level = y.mean(axis=0)
        if problem.kind != "regression":
            # As if half an example of each class had been seen: no label is impossible or certain.
            least = 0.5 / (len(y) + 1)
            share = np.clip(level, least, 1 - least)
            one_of_all = problem.kind == "multi-class"
            level = np.log(share / share.sum()) if one_of_all else np.log(share / (1 - share))
        scores = blank_scores(problem)
        scores[~problem.table.where("train")] = level
        return scores
