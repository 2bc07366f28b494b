"""How good everything is: mean scores at the largest size, of controls and of baselines."""

import math

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics import MainMetric
from ecgscale.scaling.claims import number
from ecgscale.scaling.collect import Collection
from ecgscale.study.file import Study


class Levels:
    """Mean scores over runs: objectives at the largest size, controls and baselines.

    Attributes
    ----------
    columns
        Objectives, controls and baselines that have runs, in the order of the study.
    read_out
        Those of them that have an encoder.
    largest
        The largest size, pretraining patients.
    """

    def __init__(self, study: Study, collection: Collection) -> None:
        table = collection.table
        self.largest = max(study.grid.sizes)
        self._study = study
        self._rows = table[
            ((table["size"] == self.largest) | ~table["objective"].isin(study.grid.objectives))
            & ~table["collapsed"].astype(bool)
        ]
        self.columns = tuple(dict.fromkeys(self._rows["objective"]))
        encoded = self._rows[self._rows["encoder"].notna()]
        self.read_out = tuple(dict.fromkeys(encoded["objective"]))

    def mean(self, endpoint: Endpoint, encoder: str, objective: str) -> float:
        """Return a mean over runs; NaN where a run is missing or has no score."""
        table, study = self._rows, self._study
        rows = table[
            (table["endpoint"] == endpoint.name)
            & (table["objective"] == objective)
            & (table["encoder"].isna() | (table["encoder"] == encoder))
        ]
        scaled = objective in study.grid.objectives
        wanted = len(study.grid.orders) * len(study.grid.seeds) if scaled else 1
        if len(rows) < wanted or rows["score"].isna().any():
            return math.nan
        return float(rows["score"].mean())


def level_text(value: float, measure: MainMetric) -> str:
    """Format a score; a dash where there is none."""
    return "\u2013" if math.isnan(value) else number(value, measure.digits)
