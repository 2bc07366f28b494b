"""A cell of a study: one pretraining, named by its coordinates."""

import re
from dataclasses import dataclass
from pathlib import Path

from ecgscale.errors import BadInputError

_NAME = re.compile(
    r"(?P<objective>[^/]+)/(?P<encoder>[^/]+)/n(?P<size>\d+)-o(?P<order>\d+)-s(?P<seed>\d+)"
)


@dataclass(frozen=True, order=True)
class Cell:
    """One pretraining: objective x encoder x subset x seed."""

    objective: str
    encoder: str
    """Objective and encoder by the names that the study gives them."""
    size: int
    """Pretraining patients; 0 for controls that see no subset."""
    order: int
    """Seed of the nesting order; of a control without a subset, that of the replicate it is for."""
    seed: int
    """Seed of weights, batches and augmentation."""

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

        Examples
        --------
        >>> Cell.parse("clef/net1d-tiny/n128-o0-s1")
        Cell(objective='clef', encoder='net1d-tiny', size=128, order=0, seed=1)
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


def pretraining_reads(cell: Cell, labelled: bool) -> list[str]:
    """Return what decides what the pretraining of a cell writes, relative to the project.

    `labelled` is true of what may learn the tasks' labels: all that no subset limits, and what
    learns the labels of a subset.
    """
    resolved = f"data/resolved/pretrain/{cell.objective}/{cell.encoder}.json"
    return [resolved, *(["data/tasks"] if labelled else []), *_subset_reads(cell)]


def evaluation_reads(cell: Cell) -> list[str]:
    """Return what decides what the evaluation of a cell writes, relative to the project."""
    resolved = f"data/resolved/evaluate/{cell.objective}/{cell.encoder}.json"
    return [resolved, "data/tasks", *_subset_reads(cell), f"models/{cell.name}"]


def baseline_reads(name: str) -> list[str]:
    """Return what decides what the evaluation of a baseline writes, relative to the project."""
    return [f"data/resolved/baselines/{name}.json", "data/tasks"]


def _subset_reads(cell: Cell) -> list[str]:
    # The manifest beside it also names the next smaller size of the study, and changes with that.
    place = subset_place(cell.size, cell.order) / "records.parquet"
    return [place.as_posix()] if cell.size else []


def subset_place(size: int, order: int) -> Path:
    """Return where a subset lies in a project: ``data/subsets/n<size>/o<order>``."""
    return Path("data/subsets") / f"n{size}" / f"o{order}"


def subset_name(size: int, order: int) -> str:
    """Return the name of a subset: ``n<size>-o<order>``."""
    return f"n{size}-o{order}"
