"""How alike the labels of different data sets are."""

from itertools import combinations
from typing import ClassVar

from pydantic import Field

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand
from ecgscale.tasks.suites import suite


class LabelSetsParams(CheckParams):
    """Parameters of `LabelSets`."""

    suite: str
    shared_at_most: float = Field(default=0.5, ge=0, le=1)
    """Of the labels of the smaller task, for any two tasks of different data sets."""


@checks.register("label-sets")
class LabelSets(Check):
    """Tasks of different data sets have few labels of one name in common."""

    Params: ClassVar[type[CheckParams]] = LabelSetsParams

    def run(self, study: StudyAtHand) -> Finding:
        """Compare the names of the labels of every two tasks of different data sets."""
        params = self.params
        kinds = [task.metadata for task in suite(params.suite)]
        names = {one.name: {name.lower() for name in one.label_names} for one in kinds}
        shared = {
            f"{one.name} and {other.name}": len(names[one.name] & names[other.name])
            / min(len(one.labels), len(other.labels))
            for one, other in combinations(kinds, 2)
            if one.dataset != other.dataset
        }
        pair, most = max(shared.items(), key=lambda item: item[1])
        return Finding(
            "supported" if most <= params.shared_at_most else "contradicted",
            f"The {len(kinds)} tasks of {params.suite}, on {len({one.dataset for one in kinds})} "
            f"data sets, have {len(set().union(*names.values()))} labels by name; two tasks of "
            f"different data sets share at most {most:.0%} ({pair}).",
            value=most,
            claimed=params.shared_at_most,
        )
