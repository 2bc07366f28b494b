"""What the checks of claims see of the study at hand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ecgscale.data.store import Store, open_store
from ecgscale.literature.publication import Publication
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.correlate import Correlation
from ecgscale.scaling.design import Design
from ecgscale.scaling.groups import Group


@dataclass(frozen=True)
class StudyAtHand:
    """A study, its results, and the data behind them.

    Attributes
    ----------
    results
        Every group with its correlation, None where the group has a problem.
    encoders
        The study's name of an encoder to its kind and parameters.
    readers
        Source to the name of its reader.
    pool
        Sources that pretraining draws from.
    data
        Data set, as tasks name it, to the source that holds it.
    simulated
        Sources that hold a simulated cohort.
    stores
        Folder of the stores; it need not be there.
    publications
        The literature of the project.
    """

    name: str
    confidence: float
    design: Design
    collection: Collection
    results: Sequence[tuple[Group, Correlation | None]]
    encoders: Mapping[str, tuple[str, Mapping[str, Any]]]
    readers: Mapping[str, str]
    pool: Sequence[str]
    data: Mapping[str, str]
    simulated: frozenset[str]
    stores: Path
    publications: Sequence[Publication] = field(default=())

    def store(self, source: str) -> Store | None:
        """Return the store of a source; None if it is not here."""
        folder = self.stores / source
        return open_store(folder) if folder.is_dir() else None

    def encoders_like(self, kind: str, params: Mapping[str, Any]) -> list[str]:
        """Return the study's encoders of a kind that have some parameters."""
        return [
            name
            for name, (own, given) in self.encoders.items()
            if own == kind and all(given.get(key) == value for key, value in params.items())
        ]

    def published(self, name: str) -> Publication | None:
        """Return a publication by the name of its file."""
        return next((one for one in self.publications if one.name == name), None)
