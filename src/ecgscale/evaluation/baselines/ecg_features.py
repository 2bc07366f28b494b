"""Hand-crafted features of the ECG."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from ecgscale.data.store import Store
from ecgscale.evaluation.baselines.base import Probed, baselines, imputed
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.features import store_features
from ecgscale.evaluation.metrics.functions import Bools, Floats
from ecgscale.evaluation.readouts.base import Problem

OUTLIER = 0.005
"""Share of training values, at each end, that a feature is cut back to."""


@baselines.register("ecg-features")
class EcgFeatures(Probed):
    """The linear probe on features as a ruler would measure them (`ecgscale.evaluation.features`).

    Values that could not be measured are the training median, and the outermost are cut back.
    """

    words = "hand-crafted features of the ECG"
    reads_signals = True

    @classmethod
    def features(
        cls, store: Store, rows: npt.NDArray[np.int64], advance: Callable[[int], None]
    ) -> npt.NDArray[np.floating]:
        """Measure some records."""
        return store_features(store, rows, advance).values

    def numbers(self, problem: Problem) -> Embeddings:
        """Return shape (example, feature)."""
        columns = problem.embeddings().T.astype(np.float64)
        return np.column_stack([_tamed(c, problem.train) for c in columns]).astype(np.float32)


def _tamed(values: Floats, train: Bools) -> Floats:
    """Impute, and cut to the training examples' inner quantiles: a slipped ruler has no bounds."""
    known = imputed(values, train)
    return np.clip(known, *np.quantile(known[train], [OUTLIER, 1 - OUTLIER]))
