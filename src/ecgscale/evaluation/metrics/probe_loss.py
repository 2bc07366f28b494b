"""The loss on test that a readout is fitted to on training."""

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.metrics.base import LABELLED, Columns, Metric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import Floats, macro


@metrics.register("probe_loss")
class ProbeLoss(Metric):
    """Mean logistic loss of the labels in nats; of one class of several the softmax cross entropy.

    Of a label's positives and negatives alike, so it is dominated by the common kind.
    """

    name = "probe_loss"
    kinds = LABELLED
    title = "loss"
    short = "loss"
    higher_is_better = False

    def value(self, outcome: Outcome, columns: Columns) -> float:
        """Return the loss of the test examples, in nats."""
        if outcome.kind == "multi-class":
            return -float(outcome.scores[outcome.y == 1].mean())
        return macro(log_loss(outcome.y, outcome.scores), outcome.included)


def log_loss(y: npt.ArrayLike, log_odds: npt.ArrayLike) -> Floats:
    """Return shape (label,): the mean logistic loss, in nats, of arrays (example, label)."""
    z, truth = np.asarray(log_odds, dtype=np.float64), np.asarray(y) == 1
    return np.asarray(np.logaddexp(0, np.where(truth, -z, z)).mean(axis=0))
