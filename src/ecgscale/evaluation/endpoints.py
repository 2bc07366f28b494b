"""An endpoint: a task under a protocol, and in which direction its score is better."""

from dataclasses import dataclass

from ecgscale.evaluation.metrics import MainMetric
from ecgscale.evaluation.settings import Protocol


@dataclass(frozen=True)
class Endpoint:
    """One result of every cell: a task under a protocol.

    Attributes
    ----------
    name
        The task's name under the study's first protocol, else ``<task>@<protocol>``.
    title
        The task's title, where not its name.
    """

    name: str
    task: str
    protocol: Protocol
    metric: MainMetric
    title: str = ""


def protocol_words(protocol: Protocol) -> str:
    """Return a protocol in words: "linear probe, 10% of the labels"."""
    from ecgscale.evaluation.readouts import readouts

    words = readouts.get(protocol.readout).title
    if protocol.fraction < 1:
        words += f", {protocol.fraction:.0%} of the labels"
    if protocol.depth < 1:
        words += f", blocks up to {protocol.depth:.0%}"
    return words
