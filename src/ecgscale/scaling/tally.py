"""In how many tasks an objective beats a control."""

from collections.abc import Sequence
from dataclasses import dataclass

from ecgscale.scaling.claims import holm
from ecgscale.scaling.compare import Comparison

_Key = tuple[str, str, str, str, str]
"""Objective, encoder, regime, control and measure."""


@dataclass(frozen=True)
class Tally:
    """Objective against control at the largest size, by task.

    Attributes
    ----------
    measure
        Title of the tasks' metric; tasks of another metric are another tally.
    better, worse
        Endpoints whose interval leaves 0 out, each for itself.
    better_holm, worse_holm
        Those of them that Holm's adjustment over the tasks leaves.
    unclear
        The others, those without an interval over runs among them.
    """

    objective: str
    encoder: str
    regime: str
    control: str
    measure: str
    better: tuple[str, ...]
    better_holm: tuple[str, ...]
    unclear: tuple[str, ...]
    worse: tuple[str, ...]
    worse_holm: tuple[str, ...]


def tallies(comparisons: Sequence[Comparison], confidence: float) -> list[Tally]:
    """Count tasks for each objective and control, in the order of the comparisons.

    Parameters
    ----------
    comparisons
        Of `ecgscale.scaling.compare.compare`, under one protocol.
    """
    found: dict[_Key, list[Comparison]] = {}
    for one in comparisons:
        group = one.group
        names = (group.objective, group.encoder, group.regime, one.control)
        found.setdefault((*names, group.endpoint.metric.title), []).append(one)
    return [_tally(key, tasks, 1 - confidence) for key, tasks in found.items()]


def _tally(key: _Key, tasks: Sequence[Comparison], alpha: float) -> Tally:
    names = [one.group.endpoint.name for one in tasks]
    single = [one.level.p for one in tasks]
    better = [one.group.endpoint.metric.better(one.level.value) for one in tasks]

    def those(p: Sequence[float], side: bool) -> tuple[str, ...]:
        rows = zip(names, p, better, strict=True)
        return tuple(name for name, of, good in rows if of <= alpha and good == side)

    unclear = tuple(name for name, p in zip(names, single, strict=True) if not p <= alpha)
    adjusted = holm(single)
    ups, downs = those(single, side=True), those(single, side=False)
    return Tally(*key, ups, those(adjusted, side=True), unclear, downs, those(adjusted, side=False))
