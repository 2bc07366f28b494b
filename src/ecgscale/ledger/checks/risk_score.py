"""What the risk score estimates, found by computing it."""

from typing import Any, ClassVar

from pydantic import Field

from ecgscale.data import risk
from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand


class RiskScoreParams(CheckParams):
    """Parameters of `RiskScore`."""

    years: int = Field(ge=1)
    """The period that the risk is of."""
    person: dict[str, Any]
    """Arguments of `ecgscale.data.risk.score2`."""
    published: float = Field(ge=0, le=1)
    """The risk of this person in the score's publication."""
    rises_with: dict[str, float] = Field(default={})
    """Input to a step by which it is raised; the risk must rise."""


@checks.register("risk-score")
class RiskScore(Check):
    """The score is a probability over a stated period, as published, and rises with its factors."""

    Params: ClassVar[type[CheckParams]] = RiskScoreParams

    def run(self, study: StudyAtHand) -> Finding:
        """Compute the published worked example, and it again with each factor raised."""
        params = self.params
        own = self._risk(params.person)
        raised = {
            name: self._risk({**params.person, name: params.person[name] + step})
            for name, step in params.rises_with.items()
        }
        stated = f"{_WORDS.get(params.years, params.years)}-year risk" in str(risk.__doc__).lower()
        same = abs(own - params.published) < 0.001
        rises = all(own < other <= 1 for other in raised.values())
        ups = ", ".join(f"{name} {value:.1%}" for name, value in raised.items())
        return Finding(
            "supported" if stated and same and rises and 0 <= own <= 1 else "contradicted",
            f"SCORE2 of a published example is {own:.1%} (published {params.published:.1%})"
            + (f"; with a raised factor: {ups}" if raised else "")
            + f". It is {'' if stated else 'not '}documented as a risk over {params.years} years.",
            value=own,
            claimed=params.published,
        )

    @staticmethod
    def _risk(person: dict[str, Any]) -> float:
        return float(risk.score2(**person).score)


_WORDS = {5: "five", 10: "ten", 30: "thirty"}
