"""What every pretraining objective supplies."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

from ecgscale.encoders.base import Encoder
from ecgscale.objectives.search_space import TRAINING_SPACE, SearchSpace
from ecgscale.registry import Registry
from ecgscale.settings import Settings

if TYPE_CHECKING:
    from ecgscale.data.augment import Augmenter


REFRESH_RECORDS = 1024
"""Most records that `Objective.refresh` is given."""


@dataclass(frozen=True)
class Batch:
    """A batch of records on the training device."""

    signal: Tensor
    """Shape (batch, lead, time), float32 in mV, or int16 as stored
    (`ecgscale.data.augment.millivolts`)."""
    risk: Tensor
    """Shape (batch,), cardiovascular risk in [0, 1]; NaN where unknown."""
    completeness: Tensor
    """Shape (batch,), fraction of the risk score's inputs that were measured, in [0, 1]."""
    targets: Tensor | None = None
    """Shape (batch, label), 0, 1 or NaN for "not annotated"; None when the study has no labels."""


@dataclass(frozen=True)
class LossOutput:
    """A loss and the parts worth plotting."""

    loss: Tensor
    """Scalar, with gradient."""
    parts: dict[str, Tensor] = field(default_factory=dict)
    """Scalars without gradient, by name; they become curves in the tracker."""


class ObjectiveParams(Settings):
    """Base of every objective's typed parameters; unknown names are an error."""


class Objective(nn.Module):
    """A pretraining objective: how to make views of a batch, and a loss on them.

    The trainer owns the encoder, the optimizer and the schedule. An objective owns what it adds
    (projector, queue, target network); those are in its `state_dict` and so in checkpoints.
    """

    Params: ClassVar[type[ObjectiveParams]] = ObjectiveParams
    """The typed parameters with their published defaults."""
    reference: ClassVar[str]
    """The paper, as a citation with its identifier."""
    needs_training: ClassVar[bool] = True
    """False for the random-initialised control."""
    needs_labels: ClassVar[bool] = False
    """True if `Batch.targets` must be given."""
    searched: ClassVar[SearchSpace] = {}
    """What a tuning run varies beside the training's settings."""

    @classmethod
    def search_space(cls) -> SearchSpace:
        """Return what a tuning run varies; empty if there is nothing to train."""
        return TRAINING_SPACE | cls.searched if cls.needs_training else {}

    def __init__(self, encoder: Encoder, params: Any, n_labels: int = 0) -> None:
        super().__init__()
        self.params = params
        self.embed_dim = encoder.embed_dim
        self.n_labels = n_labels

    def views(self, batch: Batch, augment: "Augmenter") -> dict[str, Tensor]:
        """Return the named tensors that `loss` needs, made from a batch on its device."""
        raise NotImplementedError

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return the loss of the encoder on views made by `views`."""
        raise NotImplementedError

    def after_step(self, encoder: Encoder, progress: float) -> None:
        """Update what follows the encoder without gradient (EMA target, queue).

        Parameters
        ----------
        encoder
            After the optimizer's step.
        progress
            Share of the training's steps that are done, in (0, 1].
        """

    def refresh_steps(self, steps: int) -> tuple[int, ...]:
        """Return before which of a training's steps (from 0) `refresh` is called; usually none."""
        return ()

    def refresh(self, encoder: Encoder, signal: Tensor) -> None:
        """Fit what needs many records at once (targets by clustering).

        Random draws come from torch's global generator, which the trainer has seeded for the step.

        Parameters
        ----------
        encoder
            As trained so far.
        signal
            Shape (record, encoder lead, time): whole records, normalised and not augmented, at most
            `REFRESH_RECORDS` of them, the same whenever it is called.
        """


objectives: Registry[Objective] = Registry("objective", "ecgscale.objectives")


def create(name: str, encoder: Encoder, *, n_labels: int = 0, **params: Any) -> Objective:
    """Create an objective for an encoder.

    Parameters
    ----------
    name
        A registered objective ("simclr", "clef", ...).
    encoder
        Read for its `embed_dim`; an objective that needs a second network copies it.
    n_labels
        Width of `Batch.targets`, for objectives that need labels.
    **params
        The objective's parameters; the published defaults stand where nothing is given.

    Raises
    ------
    BadInputError
        If the objective does not exist or a parameter is unknown or out of range.

    Examples
    --------
    >>> from ecgscale import encoders, objectives
    >>> encoder = encoders.create("net1d", size="tiny", in_channels=1)
    >>> objective = objectives.create("simclr", encoder, temperature=0.2)
    >>> objective.params.temperature
    0.2
    """
    return objectives.get(name)(encoder, objectives.params(name, params), n_labels=n_labels)
