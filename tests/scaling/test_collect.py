import dataclasses

import numpy as np
import pytest

from ecgscale.errors import BadInputError
from ecgscale.scaling.collect import COLUMNS, collect
from ecgscale.study.design import study_design
from support import runs as synthetic


@pytest.fixture
def study():
    return synthetic.make_study()


def test_one_row_per_cell_and_endpoint_controls_and_baselines_included(study):
    collection = collect(study_design(study), *synthetic.make_runs(study))
    table = collection.table
    cells = 3 * 5 * 3 + 2 * 3 + 3
    assert tuple(table.columns) == COLUMNS
    assert len(table) == cells * 4
    assert not table.duplicated(["cell", "endpoint"]).any()
    assert collection.complete
    assert collection.expected == cells
    assert set(table["role"]) == {"objective", "control", "baseline"}
    assert set(table.loc[table["objective"] == "clef-uniform", "control_of"]) == {"clef"}


def test_order_of_runs_does_not_matter(study):
    pretrain, evaluate = synthetic.make_runs(study)
    one = collect(study_design(study), pretrain, evaluate)
    other = collect(study_design(study), pretrain[::-1], evaluate[::-1])
    assert one.table.equals(other.table)


def test_scale_comes_from_the_pretraining_run(study):
    table = collect(study_design(study), *synthetic.make_runs(study)).table
    row = table[table["cell"] == "clef/net1d-tiny/n512-o1-s0"].iloc[0]
    assert (row["size"], row["order"], row["patients"]) == (512, 1, 512)
    assert row["samples_seen"] == 19200
    assert row["pretrain_run_id"] != row["evaluate_run_id"]


def test_missing_cell_is_named(study):
    cell = "simclr/net1d-tiny/n256-o2-s0"
    collection = collect(study_design(study), *synthetic.make_runs(study, missing=[cell]))
    assert collection.gaps == {cell: "not run"}
    assert not collection.complete


def test_pretrained_but_not_evaluated_is_named(study):
    pretrain, evaluate = synthetic.make_runs(study)
    cell = "clef/net1d-tiny/n128-o0-s0"
    collection = collect(study_design(study), pretrain, [r for r in evaluate if r.cell != cell])
    assert list(collection.gaps.values()) == ["pretrained, not evaluated"]


def test_evaluated_without_a_pretraining_run_is_named(study):
    pretrain, evaluate = synthetic.make_runs(study)
    collection = collect(study_design(study), pretrain[1:], evaluate)
    assert list(collection.gaps) == [pretrain[0].cell]


def test_undefined_auroc_is_a_gap_not_a_number(study):
    pretrain, evaluate = synthetic.make_runs(study)
    evaluate[0].record.metrics["ptb-xl-form.macro_auroc"] = float("nan")
    collection = collect(study_design(study), pretrain, evaluate)
    assert next(iter(collection.gaps.values())) == "no macro AUROC for ptb-xl-form"


def test_two_runs_of_a_cell_are_an_error(study):
    pretrain, evaluate = synthetic.make_runs(study)
    with pytest.raises(BadInputError, match="has two evaluate runs"):
        collect(
            study_design(study),
            pretrain,
            [*evaluate, synthetic.make_runs(study, run_ids="b")[1][0]],
        )


def test_cells_outside_the_grid_are_left_out_and_named(study):
    larger = synthetic.make_study(sizes=(128, 256, 512, 1024, 2048, 4096))
    collection = collect(study_design(study), *synthetic.make_runs(larger))
    assert 4096 not in set(collection.table["size"])
    assert "clef/net1d-tiny/n4096-o0-s0" in collection.outside


def test_null_replicates_become_nan(study):
    pretrain, evaluate = synthetic.make_runs(study)
    evaluate[0].record.details["tasks"]["ptb-xl-form"]["replicates"][3] = None
    values = collect(study_design(study), pretrain, evaluate).replicates[
        evaluate[0].cell, "ptb-xl-form"
    ]
    assert np.flatnonzero(np.isnan(values)).tolist() == [3]


class TestEndpoints:
    @pytest.fixture
    def several(self):
        return synthetic.make_study(
            tasks=("ptb-xl-form", "mc-med-sbp"), protocols=synthetic.PROTOCOLS[:2]
        )

    def test_one_row_per_protocol_with_its_coordinates(self, several):
        collection = collect(study_design(several), *synthetic.make_runs(several))
        assert collection.complete
        cell = collection.table[collection.table["cell"] == "clef/net1d-tiny/n512-o1-s0"]
        columns = ["endpoint", "task", "readout", "fraction", "depth", "train_patients"]
        assert cell[columns].to_numpy().tolist() == [
            ["ptb-xl-form", "ptb-xl-form", "linear", 1.0, 1.0, 800],
            ["mc-med-sbp", "mc-med-sbp", "linear", 1.0, 1.0, 800],
            ["ptb-xl-form@linear-10pct", "ptb-xl-form", "linear", 0.1, 1.0, 80],
            ["mc-med-sbp@linear-10pct", "mc-med-sbp", "linear", 0.1, 1.0, 80],
        ]
        assert (cell["cell"] + "/" + cell["endpoint"]).is_unique

    def test_score_is_the_main_metric_in_its_direction(self, several):
        table = collect(study_design(several), *synthetic.make_runs(several)).table
        error = table["task"] == "mc-med-sbp"
        assert (table.loc[error, "score"] == table.loc[error, "mae"]).all()
        assert table.loc[error, "macro_auroc"].isna().all()
        assert set(table.loc[error, "unit"]) == {"mmHg"}
        assert not table.loc[error, "higher_is_better"].any()
        assert set(table.loc[error, "task_kind"]) == {"regression"}
        assert (table.loc[~error, "score"] == table.loc[~error, "macro_auroc"]).all()
        assert table.loc[~error, "mae"].isna().all()
        assert (table["low"] <= table["score"]).all()
        assert (table["score"] <= table["high"]).all()

    def test_a_record_without_protocols_is_that_of_the_linear_probe(self, several):
        one = synthetic.make_study(tasks=("ptb-xl-form", "mc-med-sbp"))
        pretrain, evaluate = synthetic.make_runs(one)
        for run in evaluate:
            for told in run.record.details["tasks"].values():
                del told["protocol"], told["kind"], told["metric"]
        collection = collect(study_design(one), pretrain, evaluate)
        assert collection.complete
        encoded = collection.table[collection.table["role"] != "baseline"]
        assert set(encoded["readout"]) == {"linear"}
        assert collection.table["train_patients"].isna().all()
        reasons = set(collect(study_design(several), pretrain, evaluate).gaps.values())
        assert reasons == {
            "no macro AUROC for ptb-xl-form@linear-10pct; no MAE for mc-med-sbp@linear-10pct"
        }

    def test_a_result_of_another_protocol_is_not_taken_for_this_one(self):
        runs = synthetic.make_runs(synthetic.make_study())
        other = synthetic.make_study(protocols=({"readout": "knn"},))
        collection = collect(study_design(other), *runs)
        assert set(collection.table["role"]) == {"baseline"}
        assert len(collection.gaps) == collection.expected - 3

    def test_baselines_are_asked_for_the_first_protocol_only(self, several):
        collection = collect(study_design(several), *synthetic.make_runs(several))
        baselines = collection.table[collection.table["role"] == "baseline"]
        assert set(baselines["endpoint"]) == {"ptb-xl-form", "mc-med-sbp"}
        assert baselines["readout"].isna().all()
        assert set(baselines["fraction"]) == {1.0}

    def test_further_baselines_are_read_where_recorded(self, several):
        pretrain, evaluate = synthetic.make_runs(several)
        known = next(run for run in evaluate if run.cell == "baseline/age-sex")
        axes = {**known.record.axes, "objective": "heart-rate"}
        name = {"cell": "baseline/heart-rate"}
        record = known.record.model_copy(update={**name, "axes": axes})
        more = dataclasses.replace(known, **name, record=record)
        collection = collect(study_design(several), pretrain, [*evaluate, more])
        assert "heart-rate" in set(collection.table["objective"])
        assert collection.outside == ()
        assert collection.complete

    def test_replicates_belong_to_their_endpoint(self, several):
        collection = collect(study_design(several), *synthetic.make_runs(several))
        cell = "clef/net1d-tiny/n512-o1-s0"
        error = collection.replicates[cell, "mc-med-sbp@linear-10pct"]
        row = collection.table.set_index(["cell", "endpoint"]).loc[
            (cell, "mc-med-sbp@linear-10pct")
        ]
        assert error.mean() == pytest.approx(row["score"], abs=0.05)
