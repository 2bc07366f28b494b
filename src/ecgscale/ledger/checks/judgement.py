"""A part of a claim that no computation decides."""

from typing import ClassVar

from pydantic import Field

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand


class JudgementParams(CheckParams):
    """Parameters of `Judgement`."""

    why: str = Field(min_length=1)
    """What would be needed, in one sentence."""


@checks.register("judgement")
class Judgement(Check):
    """Says that a part of a claim is not testable here, and why."""

    Params: ClassVar[type[CheckParams]] = JudgementParams

    def run(self, study: StudyAtHand) -> Finding:
        """Return that it is not testable here."""
        return Finding("not testable here", self.params.why)
