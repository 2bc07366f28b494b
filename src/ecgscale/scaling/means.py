"""Mean scores over runs: objectives at the largest size, controls and baselines."""

import math

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.scaling.collect import Collection
from ecgscale.scaling.design import Design


class MeanScores:
    """Mean scores over runs, collapsed ones left out.

    Attributes
    ----------
    columns
        Objectives, controls and baselines that have runs, in the order of the study.
    with_encoder
        Those of them that have an encoder.
    largest
        The largest size, pretraining patients.
    """

    def __init__(self, design: Design, collection: Collection) -> None:
        table = collection.table
        self.largest = design.sizes[-1]
        self._runs = {objective: len(design.blocks) for objective in design.objectives}
        self._rows = table[
            ((table["size"] == self.largest) | ~table["objective"].isin(design.objectives))
            & ~table["collapsed"].astype(bool)
        ]
        self.columns = tuple(dict.fromkeys(self._rows["objective"]))
        encoded = self._rows[self._rows["encoder"].notna()]
        self.with_encoder = tuple(dict.fromkeys(encoded["objective"]))

    def mean(self, endpoint: Endpoint, encoder: str, objective: str) -> float:
        """Return a mean over runs; NaN where a run is missing or has no score."""
        table = self._rows
        rows = table[
            (table["endpoint"] == endpoint.name)
            & (table["objective"] == objective)
            & (table["encoder"].isna() | (table["encoder"] == encoder))
        ]
        if len(rows) < self._runs.get(objective, 1) or rows["score"].isna().any():
            return math.nan
        return float(rows["score"].mean())
