"""Studies and tracked runs with a known answer, made without training."""

import hashlib
import math

import numpy as np

from ecgscale.cells import study_cells
from ecgscale.config import Study
from ecgscale.results import RunRecord
from ecgscale.scaling.collect import BASELINES
from ecgscale.tracking import TrackedRecord

TASKS = (
    "ptb-xl-superdiagnostic",
    "ptb-xl-diagnostic",
    "ptb-xl-form",
    "ptb-xl-rhythm",
)


def make_study(
    sizes=(128, 256, 512, 1024, 2048),
    orders=(0, 1, 2),
    seeds=(0,),
    objectives=("clef", "simclr", "clef-uniform"),
    tasks=TASKS,
    **report,
):
    known = {
        "clef": {"kind": "clef"},
        "simclr": {"kind": "simclr"},
        "clef-uniform": {"kind": "clef", "control_of": "clef"},
        "random": {"kind": "random"},
        "supervised": {"kind": "supervised"},
    }
    return Study(
        study={"name": "synthetic", "description": "Numbers with a known answer, no training."},
        simulate={"hills": {"layout": "ptb-xl", "patients": 10}},
        sources={"ptb-xl": {"reader": "ptb-xl", "root": "data/raw/hills", "watch": "data/raw"}},
        pool={"ptb-xl": {}},
        grid={
            "objectives": objectives,
            "encoders": ("net1d-tiny",),
            "sizes": sizes,
            "orders": orders,
            "seeds": seeds,
        },
        encoders={"net1d-tiny": {"kind": "net1d"}},
        objectives=known,
        evaluation={"data": {"ptb-xl": "ptb-xl"}, "tasks": tasks},
        report={"primary_task": tasks[0], "bootstrap": 400, **report},
        tune={"encoder": "net1d-tiny", "size": sizes[0], "task": tasks[0]},
    )


def make_runs(
    study,
    slopes=None,
    run_sd=0.004,
    patient_sd=0.002,
    resamples=200,
    seed=0,
    collapsed=(),
    missing=(),
    run_ids="run",
):
    """Return (pretrain, evaluate) runs whose AUROC has the given slopes per doubling."""
    slopes = slopes if slopes is not None else {"clef": 0.012, "simclr": 0.004}
    rng = np.random.default_rng(seed)
    sizes = sorted(study.grid.sizes)
    tasks = study.evaluation.tasks
    level = {task: 0.78 - 0.03 * place for place, task in enumerate(tasks)}
    by_size = {t: rng.normal(0, patient_sd, (resamples, len(sizes) + 1)) for t in tasks}
    blocks = {}
    pretrain, evaluate = [], []
    for cell in [*study_cells(study), *BASELINES]:
        name = cell if isinstance(cell, str) else cell.name
        axes = _axes(study, cell)
        scaled = axes["objective"] in study.grid.objectives
        tags = {"git_commit": "0123456789abcdef", "git_dirty": "false", "python": "3.11.0"}
        tags |= {"objective_digest": hashlib.md5(axes["objective"].encode()).hexdigest()}
        metrics, details = {}, {}
        for task in tasks:
            value = level[task] + _fixed(axes["objective"])
            place = len(sizes)
            if scaled:
                place = sizes.index(cell.size)
                block = blocks.setdefault((task, cell.order, cell.seed), rng.normal(0, run_sd))
                value += slopes.get(axes["objective"], 0.0) * math.log2(cell.size / sizes[0])
                value += block + rng.normal(0, run_sd)
            replicates = value + by_size[task][:, place]
            metrics |= {
                f"{task}.macro_auroc": value,
                f"{task}.macro_auroc_low": value - 2 * patient_sd,
                f"{task}.macro_auroc_high": value + 2 * patient_sd,
                f"{task}.macro_average_precision": value - 0.3,
                f"{task}.probe_loss": 1 - value,
                f"{task}.labels_used": 2.0,
                f"{task}.labels_absent": 1.0,
            }
            details[task] = {
                "labels": [
                    {"name": "NORM", "positives": 120, "included": True},
                    {"name": "MI", "positives": 41, "included": True},
                    {"name": "WPW", "positives": 3, "included": False},
                ],
                "replicates": replicates.tolist(),
            }
        record = {
            "study": study.study.name,
            "cell": name,
            "axes": axes,
            "params": {},
            "tags": tags,
            "started": "2026-01-01T00:00:00+00:00",
            "ended": "2026-01-01T00:05:00+00:00",
        }
        if name in missing:
            continue
        if scaled:
            before = {
                "collapsed": float(name in collapsed),
                "patients": float(cell.size),
                "records": cell.size * 1.2 + cell.order,
                "hours": cell.size * 1.2 / 360,
                "sources": 1.0,
                "samples_seen": 19200.0,
                "epochs": 19200 / (cell.size * 1.2),
                "flops": 1e12,
            }
            pretrain.append(
                _tracked(run_ids, RunRecord(phase="pretrain", metrics=before, **record))
            )
        evaluate.append(
            _tracked(
                run_ids,
                RunRecord(phase="evaluate", metrics=metrics, details={"tasks": details}, **record),
            )
        )
    return pretrain, evaluate


def _axes(study, cell):
    if isinstance(cell, str):
        name = cell.split("/")[1]
        return {
            **{"objective": name, "kind": "baseline", "encoder": None, "regime": None},
            **{"size": 0, "order": 0, "seed": 0, "role": "baseline", "control_of": None},
        }
    config = study.objectives[cell.objective]
    scaled = cell.objective in study.grid.objectives
    return {
        "objective": cell.objective,
        "kind": config.kind,
        "encoder": cell.encoder,
        "size": cell.size,
        "order": cell.order,
        "seed": cell.seed,
        "regime": study.training_for(cell.objective).regime,
        "role": "control" if config.control_of or not scaled else "objective",
        "control_of": config.control_of,
    }


def _fixed(objective):
    return {"random": -0.04, "supervised": 0.05, "age-sex": -0.15, "prevalence": -0.28}.get(
        objective, 0.0
    )


def _tracked(run_ids, record):
    run_id = hashlib.md5(f"{run_ids}{record.phase}{record.cell}".encode()).hexdigest()
    return TrackedRecord(run_id=run_id, cell=record.cell, tags=dict(record.tags), record=record)
