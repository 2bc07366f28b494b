"""What is said beside the pre-declared tests: over tasks, zero data, shape, rivals, other axes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecgscale.data.subsets import SubsetManifest
from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.arms import Arm, arms_of, contrast_arms
from ecgscale.scaling.axes import AxisSlope, axis_slopes, loss_slopes
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.compare import Comparison
from ecgscale.scaling.composition import Part, compositions
from ecgscale.scaling.design import Design
from ecgscale.scaling.gain import Gain, gains
from ecgscale.scaling.groups import Group
from ecgscale.scaling.labels import Labels, labels
from ecgscale.scaling.pooled import PooledSlope, pooled_slopes
from ecgscale.scaling.rivals import Concordance, Duel, concordance, duels
from ecgscale.scaling.settings import ReportConfig
from ecgscale.scaling.shape import Shape, shape
from ecgscale.scaling.surface import Surface, surfaces
from ecgscale.scaling.tally import Tally, tallies
from ecgscale.scaling.without import LeftOut, left_out


@dataclass(frozen=True)
class Further:
    """What is said beside the pre-declared tests.

    Attributes
    ----------
    confidence
        Of every interval.
    pooled, tallies
        Over the tasks under the first protocol.
    gains, shapes
        Of every group of these tasks that has numbers.
    duels, concordances
        Of the objectives at the primary endpoint, by encoder.
    scales, losses
        Of the groups at the primary endpoint.
    composition
        Of the subsets.
    arms
        At every task, each a family of its own: those with another training.
    left_out
        At the primary endpoint: those without some sources.
    surfaces
        Of the declared objectives at every task.
    labels
        Of the declared objectives at the primary task.
    """

    confidence: float
    pooled: list[PooledSlope]
    tallies: list[Tally]
    gains: list[Gain]
    shapes: list[Shape]
    duels: list[Duel]
    concordances: dict[str, Concordance]
    scales: list[AxisSlope]
    losses: list[AxisSlope]
    composition: list[Part]
    arms: list[Arm]
    left_out: list[LeftOut]
    surfaces: list[Surface]
    labels: list[Labels]


def look_further(
    design: Design,
    collection: Collection,
    groups: Sequence[Group],
    comparisons: Sequence[Comparison],
    subsets: Sequence[SubsetManifest],
    settings: ReportConfig,
) -> Further:
    """Compute what is said beside the pre-declared tests.

    Parameters
    ----------
    groups
        All groups of the study.
    comparisons
        Of all of them with their controls.
    subsets
        Manifests of the study's subsets.
    """
    confidence = settings.confidence
    tasks = [group for group in groups if group.endpoint in design.tasks]
    primary = [group for group in groups if group.endpoint == design.primary]
    rivals = {
        encoder: [g for g in primary if g.encoder == encoder and g.objective in design.declared]
        for encoder in design.encoders
    }
    declared = design.declared
    dropped = [name for name in design.objectives if design.without[name]]
    trained = [group for group in tasks if group.objective not in dropped]
    shapes = [shape(group, confidence, _negligible(design, group)) for group in tasks]
    return Further(
        confidence,
        pooled_slopes(tasks, confidence),
        tallies([c for c in comparisons if c.group.endpoint in design.tasks], confidence),
        gains(collection, tasks, confidence),
        [found for found in shapes if found is not None],
        [duel for groups in rivals.values() for duel in duels(groups, confidence)],
        {
            encoder: concordance(groups, confidence, settings.bootstrap, settings.seed)
            for encoder, groups in rivals.items()
        },
        axis_slopes(collection, primary, confidence),
        loss_slopes(collection, primary, confidence),
        compositions(subsets, confidence),
        [
            arm
            for endpoint in design.tasks
            for arm in contrast_arms(_at(endpoint, arms_of(design, trained)), confidence)
        ],
        left_out(
            collection,
            [pair for pair in arms_of(design, primary) if pair[0].objective in dropped],
            design.without,
            confidence,
        ),
        surfaces(design, collection, [g for g in tasks if g.objective in declared], confidence),
        labels(
            [g for g in groups if g.endpoint in design.readouts and g.objective in declared],
            confidence,
        ),
    )


def _at(endpoint: Endpoint, pairs: Sequence[tuple[Group, Group]]) -> list[tuple[Group, Group]]:
    return [pair for pair in pairs if pair[0].endpoint == endpoint]


def _negligible(design: Design, group: Group) -> float:
    """Return the smallest effect of interest, NaN of another metric than that it is declared of."""
    return design.smallest_effect if group.endpoint.metric == design.primary.metric else math.nan
