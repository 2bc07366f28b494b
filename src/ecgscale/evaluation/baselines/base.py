"""What every baseline is given and what it returns.

An encoder is worth its embedding only above these.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt

from ecgscale.data.store import Store
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.metrics.functions import Bools, Floats
from ecgscale.evaluation.readouts.base import Problem, readouts
from ecgscale.registry import Registry
from ecgscale.tasks.targets import TaskTable


class Baseline:
    """Predictions of a task that need no encoder, learned from the training examples.

    Attributes
    ----------
    words
        What it predicts from, as a page says it.
    reads_signals
        Whether it is given hand-crafted features of the ECG, and so needs the store.
    readout
        Name of the readout that it goes through, and whose settings it is given; None for none.
    """

    words: ClassVar[str]
    reads_signals: ClassVar[bool] = False
    readout: ClassVar[str | None] = None

    @classmethod
    def features(
        cls, store: Store, rows: npt.NDArray[np.int64], advance: Callable[[int], None]
    ) -> npt.NDArray[np.floating]:
        """Return shape (row, feature) of some records; asked of baselines that read signals.

        `advance` is told how many more records are done.
        """
        raise NotImplementedError

    def scores(self, problem: Problem) -> Floats:
        """Predict the validation and test examples, shape (example, label).

        As `ecgscale.evaluation.readouts.base.Predictions.scores`. The problem has no encoder; its
        embeddings are the features of the ECG.
        """
        raise NotImplementedError


class Probed(Baseline):
    """A baseline that puts numbers of its own in the place of an embedding."""

    readout: ClassVar[str | None] = "linear"

    def numbers(self, problem: Problem) -> Embeddings:
        """Return shape (example, number), finite."""
        raise NotImplementedError

    def scores(self, problem: Problem) -> Floats:
        """Read the numbers out with the linear probe of the encoders."""
        numbers = self.numbers(problem)
        probe = readouts.get(str(self.readout))()
        return probe.predict(replace(problem, embeddings=lambda: numbers)).scores


baselines: Registry[Baseline] = Registry("baseline", "ecgscale.evaluation.baselines")


def baseline_scores(
    name: str,
    table: TaskTable,
    settings: Any,
    *,
    minimum_positives: int = 1,
    features: npt.NDArray[np.floating] | None = None,
) -> Floats:
    """Predict a task without an encoder.

    Parameters
    ----------
    name
        A registered baseline.
    table
        The task's examples.
    settings
        Of the readout that the baseline goes through, if it does.
    minimum_positives
        Validation positives that a label needs to count when a penalty is chosen.
    features
        For a baseline that reads signals: shape (example, feature), in the order of the table's
        rows, NaN where unknown (`ecgscale.evaluation.features.store_features`).

    Returns
    -------
    array
        As `Baseline.scores`, NaN for training examples.

    Raises
    ------
    BadInputError
        If there is no baseline of this name, or the features it needs are not given or not one
        row an example.
    """
    baseline = baselines.get(name)
    if baseline.reads_signals and (features is None or len(features) != len(table.y)):
        given = "none" if features is None else f"{len(features)} rows"
        raise BadInputError(
            f"baseline {name} needs features of the {len(table.y)} examples of task {table.task}, "
            f"there are {given}"
        )
    return baseline().scores(
        Problem(
            table=table,
            train=table.where("train"),
            minimum_positives=minimum_positives,
            settings=settings,
            seed=0,
            batch_size=1,
            device="cpu",
            embeddings=lambda: np.asarray(features, dtype=np.float32),
            signals=_no_encoder,
            encoder=_no_encoder,
        )
    )


def imputed(values: Floats, train: Bools) -> Floats:
    """Return values (example,) with the training examples' median for what is not known (NaN)."""
    known = values[train & ~np.isnan(values)]
    return np.where(np.isnan(values), np.median(known) if len(known) else 0.0, values)


def _no_encoder(*arguments: object) -> NoReturn:
    raise NotImplementedError("a baseline has no encoder")
