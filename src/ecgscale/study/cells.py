"""The cells of a study: one pretraining each, named by its coordinates."""

import re
from dataclasses import asdict, dataclass
from itertools import product

from ecgscale.errors import BadInputError
from ecgscale.runs.record import Scalar
from ecgscale.study.file import Study

_NAME = re.compile(
    r"(?P<objective>[^/]+)/(?P<encoder>[^/]+)/n(?P<size>\d+)-o(?P<order>\d+)-s(?P<seed>\d+)"
)


@dataclass(frozen=True, order=True)
class Cell:
    """One pretraining: objective x encoder x subset x seed.

    Attributes
    ----------
    objective, encoder
        The names that the study gives them.
    size
        Pretraining patients; 0 for controls that see no subset.
    order
        Seed of the nesting order of the subsets.
    seed
        Seed of weights, batches and augmentation.
    """

    objective: str
    encoder: str
    size: int
    order: int
    seed: int

    @property
    def name(self) -> str:
        """``<objective>/<encoder>/n<size>-o<order>-s<seed>``."""
        subset = subset_name(self.size, self.order)
        return f"{self.objective}/{self.encoder}/{subset}-s{self.seed}"

    @classmethod
    def parse(cls, name: str) -> "Cell":
        """Read a cell from its name.

        Raises
        ------
        BadInputError
            If the name is not that of a cell.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise BadInputError(
                f"{name!r} is not a cell: expected <objective>/<encoder>/n<size>-o<order>-s<seed>"
            )
        return cls(
            objective=match["objective"],
            encoder=match["encoder"],
            size=int(match["size"]),
            order=int(match["order"]),
            seed=int(match["seed"]),
        )


def subset_name(size: int, order: int) -> str:
    """Return the name of a subset: ``n<size>-o<order>``."""
    return f"n{size}-o{order}"


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
    return {
        **asdict(cell),
        "kind": objective.kind,
        "regime": study.training_for(cell.objective).regime,
        "role": "control" if is_control else "objective",
        "control_of": objective.control_of,
    }


def study_cells(study: Study) -> list[Cell]:
    """Return every cell that a study asks for, controls last."""
    grid = study.grid
    scaled = product(grid.objectives, grid.encoders, grid.sizes, grid.orders, grid.seeds)
    controls = product(grid.controls, grid.encoders, (0,), (0,), grid.seeds)
    return [Cell(*axes) for axes in (*scaled, *controls)]
