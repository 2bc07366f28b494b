"""The design of a study: its grid as the statistics read it."""

from ecgscale.errors import BadInputError
from ecgscale.scaling.design import Design
from ecgscale.scaling.settings import USUAL_SMALLEST_EFFECT
from ecgscale.study.cells import study_cells
from ecgscale.study.endpoints import endpoints, primary
from ecgscale.study.file import Study


def study_design(study: Study) -> Design:
    """Return what a study set out to measure.

    Raises
    ------
    BadInputError
        As `smallest_effect`.
    """
    grid, cells = study.grid, study_cells(study)
    roles = {name: study.objectives[name].role for name in grid.scaled}
    return Design(
        objectives=grid.scaled,
        regimes={name: study.training_for(name).regime for name in grid.scaled},
        control_of={name: study.objectives[name].control_of for name in grid.scaled},
        arm_of={name: study.objectives[name].arm_of for name in grid.scaled},
        without={name: study.objectives[name].data.without for name in grid.scaled},
        kinds={name: study.encoders[name].kind for name in grid.encoders},
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
        smallest_effect=smallest_effect(study),
    )


def smallest_effect(study: Study) -> float:
    """Return the smallest effect of interest: stated, or `USUAL_SMALLEST_EFFECT` of a score.

    In the unit of the primary metric, per doubling of the pretraining patients.

    Raises
    ------
    BadInputError
        If none is stated and the primary task is judged by an error in a unit, of which only those
        who use it can say what matters.
    """
    stated, decides = study.report.smallest_effect, primary(study)
    if stated is not None:
        return stated
    if decides.metric.in_unit_of_target:
        unit = decides.metric.unit or f"the unit of {decides.metric.short}"
        raise BadInputError(
            f"study {study.study.name}: report.smallest_effect is missing; the primary task "
            f"{decides.task} is judged by {decides.metric.label}, and what change per doubling of "
            f"the pretraining patients would matter, in {unit}, only the study can say"
        )
    return USUAL_SMALLEST_EFFECT
