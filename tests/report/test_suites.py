import math

import pytest

from ecgscale.report.analysis import analyse
from ecgscale.report.suites import missing_tasks, suites_table
from ecgscale.study.design import study_design
from ecgscale.tasks.suites import SUITES
from support import runs as synthetic


def table(study, **options):
    pretrain, evaluate = synthetic.make_runs(study, resamples=2, **options)
    found = suites_table(analyse(study_design(study), study.report, pretrain, evaluate))
    return evaluate, [dict(zip(found.columns, row, strict=True)) for row in found.rows]


def missing(study):
    return missing_tasks(study.evaluation.tasks, study.evaluation.data)


def small(tasks, **options):
    return synthetic.make_study(tasks=tasks, sizes=(128, 256, 512), objectives=("clef",), **options)


def by_hand(evaluate, tasks, metric, where):
    values = [
        run.record.metrics[f"{task}.{metric}"]
        for task in tasks
        for run in evaluate
        if where in run.cell
    ]
    return sum(values) / len(values)


def test_a_mean_names_the_tasks_behind_it_and_is_that_of_all_runs():
    tasks = ("ptb-xl-form", "ptb-xl-rhythm", "chapman-38")
    evaluate, rows = table(small(tasks))
    assert len(rows) == 1
    assert rows[0]["Suite"] == "chaparral-cls13\N{NO-BREAK SPACE}v1"
    assert rows[0]["What the number is"] == "mean macro AUROC of 3 of the 13 tasks"
    assert rows[0]["clef"] == f"{by_hand(evaluate, tasks, 'macro_auroc', '/n512-'):.3f}"
    assert rows[0]["random"] == f"{by_hand(evaluate, tasks, 'macro_auroc', 'random/'):.3f}"
    assert rows[0]["age-sex"] == f"{by_hand(evaluate, tasks, 'macro_auroc', 'age-sex'):.3f}"


def test_only_the_whole_suite_has_a_score():
    declared = SUITES["chaparral-cls13"].declared
    study = small(declared, orders=(0,))
    _, rows = table(study)
    assert rows[0]["What the number is"] == "score: mean macro AUROC of all 13 tasks"
    assert missing(study) == []


def test_units_are_not_averaged_together():
    tasks = ("mc-med-sbp", "mc-med-dbp", "mimic-lvef")
    evaluate, rows = table(small(tasks))
    assert [row["What the number is"] for row in rows] == [
        "mean MAE (mmHg) of 2 of the 5 tasks",
        "MAE (%) of 1 of the 5 tasks",
    ]
    assert rows[0]["clef"] == f"{by_hand(evaluate, tasks[:2], 'mae', '/n512-'):.2f}"


def test_a_missing_run_leaves_a_dash_not_a_mean_of_the_rest():
    study = small(("ptb-xl-form", "ptb-xl-rhythm"))
    _, rows = table(study, missing=["clef/net1d-tiny/n512-o1-s0"])
    assert rows[0]["clef"] == "\N{EN DASH}"
    assert math.isfinite(float(rows[0]["random"]))


def test_a_task_in_no_suite_gives_no_row():
    study = small(("of-nobody",))
    assert table(study)[1] == []
    assert missing(study) == []


def test_missing_tasks_say_where_their_data_are():
    lines = [str(one) for one in missing(small(("ptb-xl-form",)))]
    assert lines[0] == (
        "chaparral-cls13: ptb-xl-diagnostic, ptb-xl-subdiagnostic, ptb-xl-superdiagnostic, "
        "ptb-xl-rhythm: not asked for: name it in evaluation.tasks"
    )
    assert any(
        line.startswith("chaparral-cls13: chapman-38: not installed: get it from https://")
        for line in lines
    )
    assert not any("chaparral-reg5" in line for line in lines)
    named = {name for line in lines for name in line.split(": ")[1].split(", ")}
    assert named == set(SUITES["chaparral-cls13"].declared) - {"ptb-xl-form"}


@pytest.mark.parametrize("fraction", [1.0, 0.1])
def test_suites_are_read_under_the_first_protocol(fraction):
    protocols = ({"fraction": fraction}, {"readout": "knn"})
    study = small(("ptb-xl-form",), protocols=protocols)
    evaluate, rows = table(study)
    expected = by_hand(evaluate, ("ptb-xl-form",), "macro_auroc", "/n512-")
    assert rows[0]["clef"] == f"{expected:.3f}"
