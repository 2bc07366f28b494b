"""Cells are named by their coordinates, and a study lists them all once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgscale.errors import BadInputError
from ecgscale.runs.cell import Cell
from ecgscale.study.cells import study_cells
from ecgscale.study.file import load_study

names = st.from_regex(r"[a-z][a-z0-9-]{0,12}", fullmatch=True)
counts = st.integers(0, 10**9)


@given(names, names, counts, counts, counts)
def test_a_name_reads_back_as_its_cell(objective, encoder, size, order, seed):
    cell = Cell(objective, encoder, size, order, seed)
    assert Cell.parse(cell.name) == cell


@pytest.mark.parametrize("name", ["", "clef", "clef/net1d", "clef/net1d/n12-o1", "a/b/c/n1-o1-s1"])
def test_other_names_are_refused(name):
    with pytest.raises(BadInputError, match="is not a cell"):
        Cell.parse(name)


def test_a_study_lists_the_product_of_its_axes_and_its_controls(project):
    study = load_study(project / "params.yaml")
    cells = study_cells(study)
    grid = study.grid
    scaled = (len(grid.objectives) + len(grid.labelled)) * len(grid.encoders) * len(grid.sizes)
    assert len(cells) == len(set(cells))
    controls = len(grid.controls) * len(grid.encoders)
    assert len(cells) == len(grid.replicates) * (scaled + controls)
    assert {cell.size for cell in cells if cell.objective in grid.controls} == {0}
    written = {(replicate.order, replicate.seed) for replicate in grid.replicates}
    for name in (*grid.scaled, *grid.controls):
        assert {(cell.order, cell.seed) for cell in cells if cell.objective == name} == written
