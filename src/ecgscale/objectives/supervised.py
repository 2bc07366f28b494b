"""The control that learns the labels of a task from scratch."""

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from ecgscale.data.augment import Augmenter
from ecgscale.encoders.base import Encoder
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch, LossOutput, Objective, ObjectiveParams, objectives


@objectives.register("supervised")
class Supervised(Objective):
    """Supervised training from scratch: a linear head on the embedding, multi-label.

    The loss is the binary cross entropy with logits, averaged over the annotated entries of the
    batch: a target that is NaN (not annotated) has no part in it.

    Raises
    ------
    BadInputError
        If created without labels, or given a batch without targets.
    """

    reference: ClassVar[str] = "control: supervised training from scratch with the same encoder"
    needs_labels: ClassVar[bool] = True

    def __init__(self, encoder: Encoder, params: ObjectiveParams, n_labels: int = 0) -> None:
        super().__init__(encoder, params, n_labels)
        if n_labels < 1:
            raise BadInputError("objective supervised needs labels: n_labels must be 1 or more")
        self.head = nn.Linear(encoder.embed_dim, n_labels)

    def views(self, batch: Batch, augment: Augmenter) -> dict[str, Tensor]:
        """Return one augmented view, "view", and the batch's "targets"."""
        if batch.targets is None:
            raise BadInputError("objective supervised was given a batch without targets")
        return {"view": augment(batch.signal), "targets": batch.targets}

    def loss(self, encoder: Encoder, views: dict[str, Tensor]) -> LossOutput:
        """Return the mean cross entropy of the annotated targets; 0 if there are none."""
        logits = self.head(encoder.embed(views["view"])).float()
        targets = views["targets"]
        annotated = ~targets.isnan()
        each = F.binary_cross_entropy_with_logits(
            logits, targets.nan_to_num(), weight=annotated.to(logits.dtype), reduction="sum"
        )
        return LossOutput(each / annotated.sum().clamp_min(1))
