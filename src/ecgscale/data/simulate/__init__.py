"""Simulated ECG cohorts in published layouts, so that real readers read them.

See ``docs/simulation.md`` for what is physiological about them and what is not.
"""

from ecgscale.data.simulate.cohort import simulate
from ecgscale.data.simulate.conditions import CONDITIONS, Condition
from ecgscale.data.simulate.options import (
    ChallengeOptions,
    CohortOptions,
    NoiseOptions,
    PtbXlOptions,
    cohort_options,
)

__all__ = [
    "CONDITIONS",
    "ChallengeOptions",
    "CohortOptions",
    "Condition",
    "NoiseOptions",
    "PtbXlOptions",
    "cohort_options",
    "simulate",
]
