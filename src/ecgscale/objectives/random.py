"""The control without pretraining: a random-initialised encoder."""

from typing import ClassVar

from ecgscale.objectives.base import Objective, objectives


@objectives.register("random")
class RandomInit(Objective):
    """No training: the encoder keeps its initial weights, and has no views and no loss.

    What a linear probe reads from it is what the architecture and the preprocessing give, the
    size 0 of every scaling curve.
    """

    reference: ClassVar[str] = "argued for in arXiv 2602.17531 (ICML 2026 position paper)"
    needs_training: ClassVar[bool] = False
