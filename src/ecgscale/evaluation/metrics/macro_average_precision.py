"""The average precision, averaged over labels."""

from functools import partial

from ecgscale.evaluation.metrics.base import LABELLED, Columns, Metric, Outcome, metrics
from ecgscale.evaluation.metrics.functions import of_each_label


@metrics.register("macro_average_precision")
class MacroAveragePrecision(Metric):
    """Mean over labels of the precision at each positive, of torchmetrics.

    The order of the scores alone decides; what it is worth depends on how rare a label is.
    """

    name = "macro_average_precision"
    kinds = LABELLED
    title = "macro average precision"
    short = "average precision"
    higher_is_better = True
    column = "average_precision"

    def by_label(self, outcome: Outcome) -> Columns:
        """Return the average precision of each label."""
        from torchmetrics.functional.classification import binary_average_precision

        precision = partial(binary_average_precision, validate_args=False)
        return {self.column: of_each_label(outcome.y, outcome.ranks, precision)}
