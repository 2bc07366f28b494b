"""Where the size of an encoder stands among its published family."""

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import Field

from ecgscale.encoders.base import create, encoders
from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand


class EncoderSizeParams(CheckParams):
    """Parameters of `EncoderSize`."""

    encoder: str
    params: dict[str, Any] = Field(default={})
    """Of the encoder."""
    publication: str
    """Name of the file in ``literature/`` that knows the numbers of parameters."""
    model: str
    """The published model that the encoder stands for."""
    above: str
    """A published model that has fewer parameters."""
    below: str
    """One that has more."""
    unused: int = Field(default=0, ge=0)
    """Parameters that the published network has and never applies."""


@checks.register("encoder-size")
class EncoderSize(Check):
    """A published model lies between two others in size, and an encoder has its parameters."""

    Params: ClassVar[type[CheckParams]] = EncoderSizeParams

    @classmethod
    def code(cls, given: Mapping[str, Any]) -> tuple[type, ...]:
        """Return the encoder."""
        return (encoders.get(given["encoder"]),)

    def run(self, study: StudyAtHand) -> Finding:
        """Count the parameters of the encoder, and compare the published numbers."""
        params = self.params
        publication = study.published(params.publication)
        if publication is None:
            raise LookupError(f"literature/ has no {params.publication}.yaml")
        models = [publication.models[n] for n in (params.above, params.model, params.below)]
        titles = [model.title for model in models]
        small, own, large = (model.parameters or 0 for model in models)
        encoder = create(params.encoder, **params.params)
        counted = sum(parameter.numel() for parameter in encoder.parameters())
        same = counted == own - params.unused
        return Finding(
            "supported" if same and small < own < large else "contradicted",
            f"Of {titles[1]}, {own:,} parameters are published, more than the {small:,} of "
            f"{titles[0]} and fewer than the {large:,} of {titles[2]}; it applies all but "
            f"{params.unused:,}. The encoder of this project has {counted:,}.",
            value=float(counted),
            claimed=float(own - params.unused),
        )
