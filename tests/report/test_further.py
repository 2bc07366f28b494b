"""What the report says beside the pre-declared tests."""

import pandas as pd
import pytest

from ecgscale.report.analysis import analyse
from ecgscale.report.further import further_frames, further_tables
from ecgscale.report.stage import write_report
from ecgscale.study.design import study_design
from support import runs as synthetic

TASKS = ("ptb-xl-form", "ptb-xl-rhythm", "mc-med-sbp", "mimic-lvef")


@pytest.fixture(scope="module")
def found():
    study = synthetic.make_study(
        tasks=TASKS, orders=(0, 1, 2, 3), objectives=("clef", "simclr", "clef-uniform")
    )
    runs = synthetic.make_runs(study, run_sd=0.001)
    analysis = analyse(study_design(study), study.report, *runs)
    tables = {table.name: table for table in further_tables(analysis.further, "ptb-xl-form")}
    return tables, further_frames(analysis.further, analysis.laws), analysis


def rows(table):
    return [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_tables_say_what_is_established(found):
    tables, _, _ = found
    pooled = {(row["Objective"], row["Score"]): row for row in rows(tables["pooled"])}
    assert pooled["clef", "macro AUROC"]["Tasks"] == "2"
    assert pooled["clef", "macro AUROC"]["Slope of these tasks"].startswith("+0.01")
    assert pooled["clef", "MAE, relative"]["Slope of these tasks"].startswith("\u22120.01")
    beaten = {
        (row["Objective"], row["Control"], row["Score"]): row for row in rows(tables["beaten"])
    }
    assert beaten["clef", "random", "macro AUROC"]["Better"] == "2 (2)"
    assert beaten["simclr", "supervised", "macro AUROC"]["Worse"] == "2 (2)"
    gain = next(row for row in rows(tables["gains"]) if row["Objective"] == "clef")
    assert gain["Established from"] == "128"
    assert gain["128 patients"].startswith("+0.0")
    shapes = {row["Objective"]: row["Shape"] for row in rows(tables["shapes"])}
    assert shapes["clef"].startswith("improves throughout")
    assert shapes["clef-uniform"] == "the whole slope is negligible"
    duel = next(row for row in rows(tables["rivals"]) if row["At"] == "slope per doubling")
    assert duel["Difference"].startswith("+0.007")
    assert len(tables["rivals"].rows) == 6
    # Two objectives have no ranks to keep.
    assert "rank-stability" not in tables


def test_frames_hold_the_numbers_of_every_task(found):
    _, frames, analysis = found
    gains = frames["gains"]
    assert len(gains) == 3 * 4 * 5
    assert gains["established"].all()
    share = gains.loc[gains["share"].notna()].set_index(["objective", "endpoint"])["share"]
    assert share["clef", "ptb-xl-form"] == pytest.approx(0.04 / 0.088, abs=0.05)
    pooled = frames["pooled"].set_index(["objective", "measure"])
    assert pooled.loc[("clef", "macro AUROC"), "endpoints"] == "ptb-xl-form; ptb-xl-rhythm"
    assert pooled.loc[("clef", "macro AUROC"), "slope"] == pytest.approx(0.012, abs=0.001)
    assert (pooled["slope_of_tasks_alike_low"] <= pooled["slope_low"] + 1e-4).all()
    assert set(frames["ranks"]["problem"]) == {"2 objectives have numbers; 3 are needed"}
    assert len(frames["shapes"]) == 3 * 4
    laws = frames["laws"]
    power = laws[(laws["law"] == "power law") & (laws["objective"] == "clef")]
    assert (power["low"] < power["value"]).all()
    assert (power["value"] < power["high"]).all()
    axes = frames["axes"].set_index(["objective", "axis", "outcome"])
    slope = analysis.results[0][1].slope
    assert axes.loc[("clef", "patients", "score"), "slope"] == pytest.approx(slope.value)
    assert axes.loc[("clef", "flops", "score"), "problem"] == "the same at every size"


def test_a_study_without_a_run_has_empty_tables(tmp_path):
    study = synthetic.make_study(tasks=TASKS[:1])
    write_report(study, [], [], tmp_path)
    pooled = pd.read_csv(tmp_path / "further" / "pooled.csv")
    assert pooled["problem"].str.startswith("0 of 1 tasks").all()
