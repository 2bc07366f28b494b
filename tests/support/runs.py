"""Studies and tracked runs with a known answer, made without training."""

import hashlib
import math
from itertools import product

import numpy as np

from ecgscale.runs.record import RunRecord
from ecgscale.runs.tracking import TrackedRecord
from ecgscale.study.cells import cell_axes, study_cells
from ecgscale.study.endpoints import endpoints
from ecgscale.study.file import Study

TASKS = (
    "ptb-xl-superdiagnostic",
    "ptb-xl-diagnostic",
    "ptb-xl-form",
    "ptb-xl-rhythm",
)
REGRESSIONS = ("mc-med-sbp", "mimic-lvef")
PROTOCOLS = (
    {"readout": "linear"},
    {"readout": "linear", "fraction": 0.1},
    {"readout": "linear", "depth": 0.5},
    {"readout": "knn"},
    {"readout": "finetune"},
)
ERROR, PER_AUROC = 14.0, -20.0
"""What a regression's error starts from, and how much of it an AUROC of 1 is worth."""


def make_study(
    sizes=(128, 256, 512, 1024, 2048),
    orders=(0, 1, 2),
    seeds=(0,),
    objectives=("clef", "simclr", "clef-uniform"),
    tasks=TASKS,
    protocols=PROTOCOLS[:1],
    encoders=("net1d-tiny",),
    more=None,
    **report,
):
    known = {
        "clef": {"kind": "clef"},
        "simclr": {"kind": "simclr"},
        "clef-uniform": {"kind": "clef", "control_of": "clef"},
        "random": {"kind": "random"},
        "supervised": {"kind": "supervised"},
        **(more or {}),
    }
    return Study(
        study={"name": "synthetic", "description": "Numbers with a known answer, no training."},
        simulate={"hills": {"layout": "ptb-xl", "patients": 10}},
        sources={
            name: {"reader": "ptb-xl", "root": "data/raw/hills", "watch": "data/raw"}
            for name in ("ptb-xl", "georgia")
        },
        pool={"ptb-xl": {}, "georgia": {}} if more else {"ptb-xl": {}},
        grid={
            "objectives": objectives,
            "encoders": encoders,
            "sizes": sizes,
            "replicates": [
                {"order": order, "seed": seed} for order, seed in product(orders, seeds)
            ],
        },
        encoders={name: {"kind": "net1d"} for name in encoders},
        objectives=known,
        evaluation={"data": {"ptb-xl": "ptb-xl"}, "tasks": tasks, "protocols": protocols},
        report={
            **{"primary_task": tasks[0], "bootstrap": 400},
            "smallest_effect": 0.04 if tasks[0] in REGRESSIONS else None,
            **report,
        },
        tune={"encoder": encoders[0], "sizes": sizes[:1], "task": tasks[0]},
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
    unknown=0,
):
    """Return (pretrain, evaluate) runs whose AUROC has the given slopes per doubling.

    A regression's error falls where an AUROC would rise, `PER_AUROC` times as fast; under each
    further protocol slopes are 0.3 times steeper and levels 0.02 lower.
    """
    slopes = slopes if slopes is not None else {"clef": 0.012, "simclr": 0.004}
    rng = np.random.default_rng(seed)
    sizes = sorted(study.grid.sizes)
    measured, tasks = endpoints(study), study.evaluation.tasks
    level = {task: 0.78 - 0.03 * place for place, task in enumerate(tasks)}
    by_size = {e: rng.normal(0, patient_sd, (resamples, len(sizes) + 1)) for e in measured}
    blocks = {}
    pretrain, evaluate = [], []
    baselines = [f"baseline/{name}" for name in study.grid.baselines]
    for cell in [*study_cells(study), *baselines]:
        name = cell if isinstance(cell, str) else cell.name
        axes = _axes(study, cell)
        scaled = axes["objective"] in study.grid.scaled
        tags = {"git_commit": "0123456789abcdef", "git_dirty": "false", "python": "3.11.0"}
        tags |= {"objective_digest": hashlib.md5(axes["objective"].encode()).hexdigest()}
        metrics, details = {}, {}
        asked = measured[: len(tasks)] if isinstance(cell, str) else measured
        for endpoint in asked:
            further = study.evaluation.protocols.index(endpoint.protocol)
            value = level[endpoint.task] - 0.02 * further + _fixed(axes["objective"])
            place = len(sizes)
            if scaled:
                place = sizes.index(cell.size)
                block = blocks.setdefault((endpoint, cell.order, cell.seed), rng.normal(0, run_sd))
                slope = slopes.get(axes["objective"], 0.0) * (1 + 0.3 * further)
                value += slope * math.log2(cell.size / sizes[0])
                value += block + rng.normal(0, run_sd)
            replicates = value + by_size[endpoint][:, place]
            found, told = _result(endpoint, value, replicates, patient_sd)
            metrics |= {f"{endpoint.name}.{name}": number for name, number in found.items()}
            if isinstance(cell, str):
                none = {"name": axes["objective"], "readout": None, "fraction": 1.0, "depth": None}
                told["protocol"] |= none
            details[endpoint.name] = told
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
                "patients": cell.size * (0.5 if axes["without"] else 1.0),
                "parameters": 1000.0 * 4 ** study.grid.encoders.index(cell.encoder),
                "unknown_patients": float(unknown),
                "records": cell.size * 1.2 + cell.order,
                "hours": cell.size * 1.2 / 360,
                "sources": 1.0,
                "loss": 3.0 - 0.1 * math.log2(cell.size / sizes[0]) + 0.001 * cell.order,
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


def _result(endpoint, value, replicates, patient_sd):
    """Return metrics and details as the evaluate stage writes them."""
    protocol = {
        **{"name": endpoint.protocol.name, **endpoint.protocol.model_dump()},
        "train_examples": round(1000 * endpoint.protocol.fraction),
        "train_patients": round(800 * endpoint.protocol.fraction),
    }
    if endpoint.metric.name == "mae":
        error = ERROR + PER_AUROC * (value - 0.7)
        low, high = sorted((error - 2 * PER_AUROC * patient_sd, error + 2 * PER_AUROC * patient_sd))
        return (
            {"mae": error, "mae_low": low, "mae_high": high, "r2": 0.2, "validation_mae": error},
            {
                **{"kind": "regression", "metric": "mae", "protocol": protocol, "labels": []},
                "replicates": (ERROR + PER_AUROC * (replicates - 0.7)).tolist(),
            },
        )
    metrics = {
        "macro_auroc": value,
        "macro_auroc_low": value - 2 * patient_sd,
        "macro_auroc_high": value + 2 * patient_sd,
        "macro_average_precision": value - 0.3,
        "macro_f1": value - 0.2,
        "ece": 0.05,
        "probe_loss": 1 - value,
        "labels_used": 2.0,
        "labels_absent": 1.0,
    }
    details = {
        **{"kind": "multi-label", "metric": "macro_auroc", "protocol": protocol},
        "labels": [
            {"name": "NORM", "positives": 120, "included": True},
            {"name": "MI", "positives": 41, "included": True},
            {"name": "WPW", "positives": 3, "included": False},
        ],
        "replicates": replicates.tolist(),
    }
    return metrics, details


def _axes(study, cell):
    if isinstance(cell, str):
        name = cell.split("/")[1]
        return {
            **{"objective": name, "kind": "baseline", "encoder": None, "regime": None},
            **{"size": 0, "order": 0, "seed": 0, "role": "baseline", "control_of": None},
        }
    return cell_axes(study, cell)


def _fixed(objective):
    return {
        "random": -0.04,
        "supervised": 0.05,
        "age-sex": -0.15,
        "ecg-features": -0.06,
        "prevalence": -0.28,
    }.get(objective, 0.0)


def _tracked(run_ids, record):
    run_id = hashlib.md5(f"{run_ids}{record.phase}{record.cell}".encode()).hexdigest()
    return TrackedRecord(run_id=run_id, cell=record.cell, tags=dict(record.tags), record=record)
