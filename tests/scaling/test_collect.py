import numpy as np
import pytest

from ecgscale.errors import BadInputError
from ecgscale.scaling.collect import COLUMNS, collect


@pytest.fixture
def study(synthetic):
    return synthetic.make_study()


def test_one_row_per_cell_and_task_controls_and_baselines_included(synthetic, study):
    collection = collect(study, *synthetic.make_runs(study))
    table = collection.table
    cells = 3 * 5 * 3 + 2 + 2
    assert tuple(table.columns) == COLUMNS
    assert len(table) == cells * 4
    assert not table.duplicated(["cell", "task"]).any()
    assert collection.complete
    assert collection.expected == cells
    assert set(table["role"]) == {"objective", "control", "baseline"}
    assert set(table.loc[table["objective"] == "clef-uniform", "control_of"]) == {"clef"}


def test_order_of_runs_does_not_matter(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    one = collect(study, pretrain, evaluate)
    other = collect(study, pretrain[::-1], evaluate[::-1])
    assert one.table.equals(other.table)


def test_scale_comes_from_the_pretraining_run(synthetic, study):
    table = collect(study, *synthetic.make_runs(study)).table
    row = table[table["cell"] == "clef/net1d-tiny/n512-o1-s0"].iloc[0]
    assert (row["size"], row["order"], row["patients"]) == (512, 1, 512)
    assert row["samples_seen"] == 19200
    assert row["pretrain_run_id"] != row["evaluate_run_id"]


def test_missing_cell_is_named(synthetic, study):
    cell = "simclr/net1d-tiny/n256-o2-s0"
    collection = collect(study, *synthetic.make_runs(study, missing=[cell]))
    assert [(gap.cell, gap.reason) for gap in collection.gaps] == [(cell, "not run")]
    assert not collection.complete


def test_pretrained_but_not_evaluated_is_named(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    cell = "clef/net1d-tiny/n128-o0-s0"
    collection = collect(study, pretrain, [r for r in evaluate if r.cell != cell])
    assert [gap.reason for gap in collection.gaps] == ["pretrained, not evaluated"]


def test_evaluated_without_a_pretraining_run_is_named(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    collection = collect(study, pretrain[1:], evaluate)
    assert [gap.cell for gap in collection.gaps] == [pretrain[0].cell]


def test_undefined_auroc_is_a_gap_not_a_number(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    evaluate[0].record.metrics["ptb-xl-form.macro_auroc"] = float("nan")
    collection = collect(study, pretrain, evaluate)
    assert collection.gaps[0].reason == "no macro AUROC for ptb-xl-form"


def test_two_runs_of_a_cell_are_an_error(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    with pytest.raises(BadInputError, match="has two evaluate runs"):
        collect(study, pretrain, [*evaluate, synthetic.make_runs(study, run_ids="b")[1][0]])


def test_cells_outside_the_grid_are_left_out_and_named(synthetic, study):
    larger = synthetic.make_study(sizes=(128, 256, 512, 1024, 2048, 4096))
    collection = collect(study, *synthetic.make_runs(larger))
    assert 4096 not in set(collection.table["size"])
    assert "clef/net1d-tiny/n4096-o0-s0" in collection.outside


def test_null_replicates_become_nan(synthetic, study):
    pretrain, evaluate = synthetic.make_runs(study)
    evaluate[0].record.details["tasks"]["ptb-xl-form"]["replicates"][3] = None
    values = collect(study, pretrain, evaluate).replicates[evaluate[0].cell, "ptb-xl-form"]
    assert np.flatnonzero(np.isnan(values)).tolist() == [3]
