"""Simulated ECG cohorts in published layouts, so that real readers read them.

See ``docs/simulation.md`` for what is physiological about them and what is not.
"""

from ecgscale.data.simulate.cohort import simulate
from ecgscale.data.simulate.conditions import CONDITIONS, Condition
from ecgscale.data.simulate.layout import Layout, cohort_options, layouts
from ecgscale.data.simulate.options import CohortOptions, NoiseOptions

__all__ = [
    "CONDITIONS",
    "CohortOptions",
    "Condition",
    "Layout",
    "NoiseOptions",
    "cohort_options",
    "layouts",
    "simulate",
]
