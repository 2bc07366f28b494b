"""Benchmark suites: named, versioned lists of tasks."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ecgscale.errors import BadInputError
from ecgscale.tasks.base import Task, tasks


@dataclass(frozen=True)
class Suite:
    """A benchmark: the tasks it declares, whether or not they are implemented yet.

    Iterating gives the task classes that exist. A mean over fewer tasks than declared is not the
    suite's score: `missing` says what it lacks.

    Attributes
    ----------
    version
        Raised whenever `declared` changes.
    declared
        Names of all tasks of the benchmark, in its order.
    primary
        The task that decides.
    """

    name: str
    version: int
    title: str
    declared: tuple[str, ...]
    primary: str
    citation: str

    def available(self) -> tuple[str, ...]:
        """Return the declared names that are implemented, in the suite's order."""
        return tuple(name for name in self.declared if name in tasks.names())

    def missing(self) -> tuple[str, ...]:
        """Return the declared names that are not implemented, in the suite's order."""
        return tuple(name for name in self.declared if name not in tasks.names())

    def __iter__(self) -> Iterator[type[Task]]:
        return (tasks.get(name) for name in self.available())

    def __len__(self) -> int:
        return len(self.available())


SUITES: dict[str, Suite] = {
    suite.name: suite
    for suite in (
        Suite(
            name="chaparral-cls13",
            version=1,
            title="Chaparral: the 13 classification tasks of CLEF",
            declared=(
                *("ptb-xl-diagnostic", "ptb-xl-subdiagnostic", "ptb-xl-superdiagnostic"),
                *("ptb-xl-form", "ptb-xl-rhythm", "chapman-38", "mimic-lvef-binary"),
                *("icentia11k-beat", "icentia11k-rhythm", "mc-med-ed-disposition"),
                *("mc-med-discharge-disposition", "mc-med-acuity", "music-outcome"),
            ),
            primary="chapman-38",
            citation="CLEF, arXiv:2512.02180",
        ),
        Suite(
            name="chaparral-reg5",
            version=1,
            title="Chaparral: the 5 regression tasks of CLEF",
            declared=("mimic-lvef", "mc-med-sbp", "mc-med-dbp", "aurora-bp-sbp", "aurora-bp-dbp"),
            primary="mimic-lvef",
            citation="CLEF, arXiv:2512.02180",
        ),
    )
}


def suite(name: str) -> Suite:
    """Return a benchmark suite.

    Raises
    ------
    BadInputError
        If there is no suite of this name; the message lists those there are.

    Examples
    --------
    >>> len(suite("chaparral-cls13").declared)
    13
    """
    if name not in SUITES:
        raise BadInputError(f"no suite is named {name!r}; there are: {', '.join(sorted(SUITES))}")
    return SUITES[name]


def mean_over_tasks(values: Sequence[float]) -> float:
    """Return the unweighted mean over the tasks of a suite; NaN if one is missing or there is none.

    It is the suite's score only where every task that the suite declares is among them.
    """
    return math.fsum(values) / len(values) if values else math.nan
