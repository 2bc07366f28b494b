"""The design of a study: its grid as the statistics read it."""

from itertools import product

from ecgscale.scaling.design import Design
from ecgscale.study.cells import study_cells
from ecgscale.study.endpoints import endpoints, primary
from ecgscale.study.file import Study


def study_design(study: Study) -> Design:
    """Return what a study set out to measure."""
    grid, cells = study.grid, study_cells(study)
    return Design(
        objectives=grid.objectives,
        regimes={name: study.training_for(name).regime for name in grid.objectives},
        control_of={name: study.objectives[name].control_of for name in grid.objectives},
        encoders=grid.encoders,
        sizes=tuple(sorted(grid.sizes)),
        blocks=tuple(product(grid.orders, grid.seeds)),
        endpoints=endpoints(study),
        primary=primary(study),
        baselines=grid.baselines,
        cells=(*(c.name for c in cells), *(f"baseline/{name}" for name in grid.baselines)),
        pretrained=frozenset(c.name for c in cells if c.objective in grid.objectives),
    )
