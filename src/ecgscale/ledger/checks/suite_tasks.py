"""How many tasks a benchmark suite has, and of what kind."""

from typing import ClassVar, Literal

from ecgscale.ledger.base import Check, CheckParams, Finding, checks
from ecgscale.ledger.study import StudyAtHand
from ecgscale.tasks.base import tasks
from ecgscale.tasks.suites import suite


class SuiteTasksParams(CheckParams):
    """Parameters of `SuiteTasks`."""

    suite: str
    tasks: int
    kind: Literal["classification", "regression"] = "classification"


@checks.register("suite-tasks")
class SuiteTasks(Check):
    """A suite declares so many tasks, all of one kind, and the package has them all."""

    Params: ClassVar[type[CheckParams]] = SuiteTasksParams

    def run(self, study: StudyAtHand) -> Finding:
        """Count the tasks of the suite, by kind."""
        params = self.params
        found = suite(params.suite)
        kinds = {name: tasks.get(name).metadata.kind for name in found.available()}
        regressions = sum(kind == "regression" for kind in kinds.values())
        alike = regressions if params.kind == "regression" else len(kinds) - regressions
        same = len(found.declared) == params.tasks == alike and not found.missing()
        here = sum(endpoint.task in found.declared for endpoint in study.design.tasks)
        return Finding(
            "supported" if same else "contradicted",
            f"The suite {found.name} ({found.citation}) declares {len(found.declared)} tasks; "
            f"{alike} of them are implemented {params.kind} tasks. This study measures {here}.",
            value=float(alike),
            claimed=float(params.tasks),
        )
