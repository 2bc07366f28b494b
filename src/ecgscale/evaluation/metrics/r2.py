"""The coefficient of determination of a regression."""

import numpy as np
import numpy.typing as npt

from ecgscale.evaluation.metrics.base import Columns, Metric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import as_tensor, paired_values


@metrics.register("r2")
class R2(Metric):
    """Share of the variance that is explained, ``1 - sum (y - p)^2 / sum (y - mean y)^2``."""

    name = "r2"
    kinds = ("regression",)
    title = "R\u00b2"
    short = "R\u00b2"
    higher_is_better = True

    def value(self, outcome: Outcome, columns: Columns) -> float:
        """Return the coefficient of determination."""
        return determination(outcome.y, outcome.scores)


def determination(y: npt.ArrayLike, predicted: npt.ArrayLike) -> float:
    """Compute the coefficient of determination of `paired_values`, with torchmetrics.

    0 for the mean of these examples, negative for worse; NaN where the target is constant.
    """
    from torchmetrics.functional.regression import r2_score

    truth, values = paired_values(y, predicted)
    spread = truth.std() if len(truth) and np.ptp(truth) > 0 else 0.0
    if spread == 0:
        return float("nan")
    # In units of the target's SD: torchmetrics takes a sum of squares below 1e-4 for none.
    scaled, target = (as_tensor((part - truth.mean()) / spread) for part in (values, truth))
    return float(r2_score(scaled, target))
