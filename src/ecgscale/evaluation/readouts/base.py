"""What every readout is given and what it returns."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError
from torch import Tensor

from ecgscale.encoders.base import Encoder
from ecgscale.errors import BadInputError
from ecgscale.evaluation.embed import Embeddings
from ecgscale.evaluation.metrics import MainMetric, main_metric
from ecgscale.evaluation.metrics.functions import Bools, Floats
from ecgscale.evaluation.settings import Protocol
from ecgscale.registry import Registry
from ecgscale.settings import Settings, first_problem
from ecgscale.tasks.base import Kind
from ecgscale.tasks.targets import TaskTable


@dataclass(frozen=True)
class Problem:
    """One task, as a readout meets it.

    What is costly is behind a function, so that a readout pays for what it uses.

    Attributes
    ----------
    table
        The examples.
    train
        Shape (example,), the training examples that may be learned from: all, or those of a share
        of the patients. Labels of other training examples must not be used.
    minimum_positives
        Validation positives that a label needs to count when something is chosen there.
    settings
        The readout's own: an instance of its ``Settings``.
    seed
        Of the readouts that are trained.
    batch_size
        Records that pass through an encoder at once where nothing is trained.
    device
        Where to compute.
    embeddings
        Returns shape (example, dim), the frozen embeddings at the protocol's depth.
    signals
        Maps positions in the table to the encoder's input, shape (position, lead, time), normalised
        and on the device.
    encoder
        Returns a copy of the encoder that may be changed, on the device, in evaluation mode.
    """

    table: TaskTable
    train: Bools
    minimum_positives: int
    settings: Any
    seed: int
    batch_size: int
    device: torch.device | str
    embeddings: Callable[[], Embeddings]
    signals: Callable[[npt.NDArray[np.intp]], Tensor]
    encoder: Callable[[], Encoder]

    @property
    def kind(self) -> Kind:
        """Kind of the task."""
        return self.table.kind

    @property
    def y(self) -> npt.NDArray[np.float32]:
        """Shape (example, label), the targets."""
        return self.table.y

    @property
    def validation(self) -> Bools:
        """Shape (example,), whether an example is in the validation split."""
        return self.table.where("validation")

    @property
    def metric(self) -> MainMetric:
        """The main metric of the task."""
        return main_metric(self.table.metric, self.table.unit)

    def on_validation(self, scores: npt.ArrayLike) -> float:
        """Return the main metric of validation scores, NaN where none can be measured.

        Of shape (validation example, label), as `Predictions.scores`.
        """
        y = self.y[self.validation]
        return self.metric.on_validation(y, scores, self.minimum_positives)


@dataclass(frozen=True)
class Predictions:
    """What a readout says of the examples of a task.

    Attributes
    ----------
    scores
        Shape (example, label) in the order of the table's rows: log odds (multi-label, binary), log
        probabilities (multi-class), values (regression). NaN for training examples; finite for all
        others.
    details
        What was tried and how it went, plain JSON.
    metrics
        Final values that only this readout has.
    """

    scores: Floats
    details: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


class ReadoutSettings(Settings):
    """Base of every readout's typed settings; a study gives them in ``evaluation.readouts``."""


class Readout:
    """A way to predict a task from an encoder. Nothing is learned from validation or test targets.

    Validation targets choose among candidates (a penalty, an epoch); test targets are not read.

    Attributes
    ----------
    Settings
        The typed settings with their defaults.
    title
        Its name in a table: "linear probe".
    method
        What it is, as the sentence "Each run is read out by ..." goes on.
    reads_depths
        Whether it reads `Problem.embeddings`, of which a protocol may choose the depth.
    reference
        Where the method is published.
    """

    Settings: ClassVar[type[ReadoutSettings]] = ReadoutSettings
    title: ClassVar[str]
    method: ClassVar[str]
    reads_depths: ClassVar[bool] = False
    reference: ClassVar[str]

    def predict(self, problem: Problem) -> Predictions:
        """Learn from the training examples and score the validation and test examples."""
        raise NotImplementedError


readouts: Registry[Readout] = Registry("readout", "ecgscale.evaluation.readouts")


def parse_settings(name: str, settings: dict[str, Any]) -> ReadoutSettings:
    """Validate a study's settings of the readout `name`.

    Raises
    ------
    BadInputError
        If the readout does not exist, or a key is unknown or its value out of range; the message
        names the full key.
    """
    try:
        return _readout(name, f"evaluation.readouts.{name}").Settings(**settings)
    except ValidationError as error:
        raise BadInputError(f"evaluation.readouts.{name}.{first_problem(error)}") from error


def check_protocol(protocol: Protocol) -> None:
    """Check that the readout of a protocol exists and reads the depth that the protocol asks for.

    Raises
    ------
    BadInputError
        If not; the message names the key.
    """
    readout = _readout(protocol.readout, "evaluation.protocols.readout")
    if protocol.depth < 1 and not readout.reads_depths:
        able = ", ".join(name for name, known in readouts.items() if known.reads_depths)
        raise BadInputError(
            f"evaluation.protocols.depth: {protocol.readout} reads the last block; "
            f"a depth below 1 is for {able}"
        )


def _readout(name: str, key: str) -> type[Readout]:
    """Return a readout that the `key` of a study asks for."""
    try:
        return readouts.get(name)
    except BadInputError as error:
        raise BadInputError(f"{key}: {error}") from error


def labelled_share(table: TaskTable, fraction: float, seed: int) -> Bools:
    """Return shape (example,): the training examples of a share of the training patients.

    Patients are sorted by a hash of their id and the seed, and a prefix of at least one is taken:
    smaller shares are parts of larger ones, tasks that share patients share the choice, and it does
    not depend on the encoder.
    """
    train = table.where("train")
    if fraction == 1:
        return train
    owner = table.frame["patient_id"].to_numpy(dtype=np.str_)
    patients = sorted(set(owner[train].tolist()), key=lambda patient: _place(patient, seed))
    count = max(1, round(fraction * len(patients)))
    return np.asarray(train & np.isin(owner, patients[:count]))


def blank_scores(problem: Problem) -> Floats:
    """Return shape (example, label), all NaN."""
    return np.full(problem.y.shape, np.nan)


def log_probabilities(log_odds: npt.ArrayLike) -> Floats:
    """Return one-vs-rest log odds (example, class) as logs of probabilities that add up to 1.

    ``log(sigmoid(z)) - log(sum(sigmoid(z)))``, the normalisation of scikit-learn's
    ``OneVsRestClassifier``.
    """
    logs = -np.logaddexp(0.0, -np.asarray(log_odds, dtype=np.float64))
    return np.asarray(logs - np.logaddexp.reduce(logs, axis=1, keepdims=True))


def _place(patient: str, seed: int) -> bytes:
    return hashlib.sha256(f"label-share\0{seed}\0{patient}".encode()).digest()
