"""Every number of the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pandas as pd

from ecgscale.data.subsets import SubsetManifest
from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.scaling.claims import Claim, claims, family
from ecgscale.scaling.collect import Collection, collect
from ecgscale.scaling.compare import Comparison, compare
from ecgscale.scaling.correlate import Correlation, correlate
from ecgscale.scaling.design import Design
from ecgscale.scaling.further import Further, look_further
from ecgscale.scaling.groups import Group, groups
from ecgscale.scaling.laws import LawComparison, fit_laws
from ecgscale.scaling.means import MeanScores
from ecgscale.scaling.settings import ReportConfig

if TYPE_CHECKING:
    from ecgscale.runs.tracking import TrackedRecord


@dataclass(frozen=True)
class Analysis:
    """Every number of a report, and the design that it answers to.

    Attributes
    ----------
    confidence
        Of every interval.
    results
        Every group with its correlation, None where the group has a problem: the primary endpoint
        first, then the others in the study's order.
    positive_controls, negative_controls
        What is said of them, each kind a family of tests of its own.
    laws
        Of the groups that the claims are about.
    means
        Of objectives at the largest size, controls and baselines.
    further
        What is said beside the pre-declared tests.
    """

    design: Design
    confidence: float
    collection: Collection
    results: list[tuple[Group, Correlation | None]]
    comparisons: list[Comparison]
    claims: list[Claim]
    positive_controls: list[Claim]
    negative_controls: list[Claim]
    laws: list[tuple[Group, LawComparison]]
    means: MeanScores
    further: Further

    @property
    def said(self) -> list[Claim]:
        """What is said of objectives and of controls that are trained at every size."""
        return [*self.claims, *self.positive_controls, *self.negative_controls]

    @property
    def primary_metric(self) -> MainMetric:
        """What the primary endpoint is measured by."""
        return self.design.primary.metric

    @property
    def primary_comparisons(self) -> list[Comparison]:
        """The comparisons at the primary endpoint."""
        return [c for c in self.comparisons if c.group.endpoint == self.design.primary]

    @property
    def scaled_rows(self) -> pd.DataFrame:
        """Those rows of the flat table that are of the grid's objectives."""
        table = self.collection.table
        return table[table["objective"].isin(self.design.objectives)]

    def results_of(self, endpoints: Sequence[Endpoint]) -> list[tuple[Group, Correlation | None]]:
        """Return the groups of some endpoints with their correlations."""
        return [(group, found) for group, found in self.results if group.endpoint in endpoints]


def analyse(
    design: Design,
    settings: ReportConfig,
    pretrain: Sequence["TrackedRecord"],
    evaluate: Sequence["TrackedRecord"],
    subsets: Sequence[SubsetManifest] = (),
) -> Analysis:
    """Compute every number of the report from a study's runs.

    Parameters
    ----------
    design
        Of the study (`ecgscale.study.design.study_design`).
    pretrain, evaluate
        The tracked runs of the two phases (`ecgscale.runs.tracking.query`).
    subsets
        Manifests of the study's subsets.
    """
    collection = collect(design, pretrain, evaluate)
    found = groups(design, collection)
    order = {endpoint: place for place, endpoint in enumerate(design.endpoints)}
    found.sort(key=lambda g: (g.endpoint != design.primary, order[g.endpoint]))
    options = settings.model_dump(exclude={"primary_task", "smallest_effect"})
    results = [(group, correlate(group, tests=design.tests, **options)) for group in found]
    declared = claims(results, design, settings.confidence)
    compared = compare(collection, found, settings.confidence)
    fitted = partial(
        fit_laws, confidence=settings.confidence, draws=settings.bootstrap, seed=settings.seed
    )
    return Analysis(
        design,
        settings.confidence,
        collection,
        results,
        compared,
        declared,
        family(results, design, design.positive_controls, settings.confidence),
        family(results, design, design.negative_controls, settings.confidence),
        [(claim.group, fitted(claim.group)) for claim in declared],
        MeanScores(design, collection),
        look_further(design, collection, found, compared, subsets, settings),
    )
