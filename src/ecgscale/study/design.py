"""The design of a study: its grid as the statistics read it."""

from ecgscale.scaling.design import Design
from ecgscale.study.cells import study_cells
from ecgscale.study.endpoints import endpoints, primary
from ecgscale.study.file import Study


def study_design(study: Study) -> Design:
    """Return what a study set out to measure."""
    grid, cells = study.grid, study_cells(study)
    roles = {name: study.objectives[name].role for name in grid.scaled}
    return Design(
        objectives=grid.scaled,
        regimes={name: study.training_for(name).regime for name in grid.scaled},
        control_of={name: study.objectives[name].control_of for name in grid.scaled},
        encoders=grid.encoders,
        sizes=tuple(sorted(grid.sizes)),
        blocks=grid.blocks,
        endpoints=endpoints(study),
        primary=primary(study),
        baselines=grid.baselines,
        cells=(*(c.name for c in cells), *(f"baseline/{name}" for name in grid.baselines)),
        pretrained=frozenset(c.name for c in cells if c.objective in grid.scaled),
        positive_controls=tuple(n for n, role in roles.items() if role == "positive-control"),
        negative_controls=tuple(n for n, role in roles.items() if role == "negative-control"),
    )
