"""The cells that a study asks for."""

from dataclasses import asdict
from itertools import product

from ecgscale.errors import BadInputError
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import Scalar
from ecgscale.study.file import Study


def check_cell(study: Study, cell: Cell) -> None:
    """Check that a study has the objective and the encoder that a cell names.

    Raises
    ------
    BadInputError
        If it does not.
    """
    if cell.objective not in study.objectives:
        raise BadInputError(f"cell {cell.name}: the study has no objective {cell.objective!r}")
    if cell.encoder not in study.encoders:
        raise BadInputError(f"cell {cell.name}: the study has no encoder {cell.encoder!r}")


def cell_axes(study: Study, cell: Cell) -> dict[str, Scalar]:
    """Return the coordinates of a cell as its run records state them."""
    objective = study.objectives[cell.objective]
    is_control = cell.objective in study.grid.controls or objective.control_of
    plain = "arm" if objective.arm_of else "objective"
    role = objective.role or ("control" if is_control else plain)
    return {
        **asdict(cell),
        "kind": objective.kind,
        "regime": study.training_for(cell.objective).regime,
        "role": role,
        "control_of": objective.control_of,
        "arm_of": objective.arm_of,
        "without": ", ".join(objective.data.without) or None,
    }


def study_cells(study: Study) -> list[Cell]:
    """Return every cell that a study asks for, controls last."""
    grid = study.grid
    scaled = product(grid.scaled, grid.encoders, grid.sizes, grid.blocks)
    controls = product(grid.controls, grid.encoders, (0,), grid.blocks)
    return [
        Cell(objective, encoder, size, order, seed)
        for objective, encoder, size, (order, seed) in (*scaled, *controls)
    ]
