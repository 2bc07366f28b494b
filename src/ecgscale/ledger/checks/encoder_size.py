"""Where the size of an encoder stands among its family."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ecgscale.encoders.base import create, encoders
from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand


class EncoderSizeParams(CheckParams):
    """Parameters of `EncoderSize`."""

    encoder: str
    size: str
    above: str
    """The size that it is larger than."""
    below: str
    """The size that it is smaller than."""
    params: dict[str, Any] = Field(default={})
    """Of the encoder."""
    parameters: int | None = Field(default=None, ge=1)
    """How many parameters the published network of this size has."""


@checks.register("encoder-size")
class EncoderSize(Check):
    """An encoder's size lies between two others, and has the published number of parameters."""

    Params: ClassVar[type[CheckParams]] = EncoderSizeParams

    @classmethod
    def code(cls, given: Mapping[str, Any]) -> tuple[type, ...]:
        """Return the encoder."""
        return (encoders.get(given["encoder"]),)

    def run(self, study: StudyAtHand) -> Finding:
        """Count the parameters of the three networks, which are not allocated."""
        params = self.params
        small, own, large = (
            self._count(size) for size in (params.above, params.size, params.below)
        )
        same = small < own < large and params.parameters in (None, own)
        return Finding(
            "supported" if same else "contradicted",
            f"{params.encoder} {params.size} has {own:,} parameters, {params.above} {small:,} and "
            f"{params.below} {large:,}"
            + (f"; published: {params.parameters:,}." if params.parameters else "."),
            value=float(own),
            claimed=float(params.parameters or "nan"),
        )

    def _count(self, size: str) -> int:
        import torch

        with torch.device("meta"):
            encoder = create(self.params.encoder, size=size, **self.params.params)
        return sum(parameter.numel() for parameter in encoder.parameters())
