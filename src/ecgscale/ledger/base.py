"""What a check of a claim supplies."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ecgscale.ledger.study import StudyAtHand
from ecgscale.registry import Registry
from ecgscale.settings import Settings

LedgerVerdict = Literal["supported", "contradicted", "not testable here"]


@dataclass(frozen=True)
class Finding:
    """What a check found.

    Attributes
    ----------
    said
        In one or two sentences, with the numbers that decide.
    value, low, high
        What was measured, with its interval; NaN where it is no number.
    claimed
        What it was held against; NaN where it is no number.
    evidence
        Where it can be looked up: cells, rows of a table of the report, publications.
    """

    verdict: LedgerVerdict
    said: str
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    claimed: float = math.nan
    evidence: tuple[str, ...] = ()


class CheckParams(Settings):
    """Base of every check's typed parameters; unknown names are an error."""


class Check:
    """A check: what it asks of the study at hand, of the package, or of the literature."""

    Params: ClassVar[type[CheckParams]] = CheckParams

    def __init__(self, params: Any) -> None:
        self.params = params

    @classmethod
    def code(cls, given: Mapping[str, Any]) -> tuple[type, ...]:
        """Return the registered classes, beside this one, that the check runs.

        The report depends on their code.

        Parameters
        ----------
        given
            The check's parameters.
        """
        return ()

    def run(self, study: StudyAtHand) -> Finding:
        """Return what is found.

        Raises
        ------
        Exception
            Whatever goes wrong: a check that no longer runs is a failure of the report.
        """
        raise NotImplementedError


checks: Registry[Check] = Registry("check", "ecgscale.ledger.checks", required=("Params",))


def held_against(
    value: float, low: float, high: float, claimed: float, relation: "Relation"
) -> LedgerVerdict:
    """Return what an interval says of a claimed value.

    A claim of equality is supported by an interval that holds the value. A claim of a bound needs
    the whole interval on its side, and is contradicted by one that is all on the other.

    Examples
    --------
    >>> held_against(0.80, 0.78, 0.82, 0.81, "equals"), held_against(0.8, 0.78, 0.82, 0.9, "equals")
    ('supported', 'contradicted')
    >>> held_against(0.80, 0.78, 0.82, 0.79, "at least")
    'not testable here'
    """
    if any(map(math.isnan, (value, low, high))):
        return "not testable here"
    if relation == "equals":
        return "supported" if low <= claimed <= high else "contradicted"
    near, far = (low, high) if relation == "at least" else (-high, -low)
    bound = claimed if relation == "at least" else -claimed
    if near >= bound:
        return "supported"
    return "contradicted" if far < bound else "not testable here"


Relation = Literal["equals", "at least", "at most"]
