"""Records of made-up runs, and a look at what a tracking store holds of them."""

import math

from ecgscale.runs import display, store, tracking
from ecgscale.runs.record import WORK, DatasetInput, RunRecord, result_path

CELL = "clef/net1d-tiny/n64-o0-s0"


def record(phase="pretrain", cell=CELL, **changes):
    base = {
        "phase": phase,
        "study": "trial",
        "cell": cell,
        "axes": {"size": 64},
        "params": {"lr": 0.001, "long": "x" * 9000},
        "metrics": {"loss": 0.5, "undefined": math.nan},
        "curves": {"loss": [(10, 1.0), (20, 0.75), (30, 0.5)]},
        "tags": {WORK: "w1", "model_digest": "d1", "git_commit": "c0ffee"},
        "inputs": [
            DatasetInput(name="n64-o0", digest="ab" * 32, context="pretraining", source="data/x")
        ],
        "started": "2026-01-01T00:00:00+00:00",
        "ended": "2026-01-01T00:01:00+00:00",
    }
    return RunRecord(**{**base, **changes})


def keep(root, kept):
    """Write a record where the project has it."""
    kept.write(result_path(root / "results", kept.phase, kept.cell))
    return kept


def client(root):
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=tracking.tracking_uri(root))


def runs_of(root, identity):
    """All runs of an attempt."""
    experiment = client(root).get_experiment_by_name(store.experiment_name(identity.phase))
    wanted = f"tags.`{store.ATTEMPT}` = '{identity.attempt}'"
    return client(root).search_runs([experiment.experiment_id], wanted)


def find(root, identity):
    """The one run of an attempt."""
    (run,) = runs_of(root, identity)
    return run


def points(root, kept, name="loss"):
    """A curve as the store has it, doubled points too."""
    history = client(root).get_metric_history(
        find(root, kept.identity).info.run_id, display.curve_name(name)
    )
    return sorted((point.step, point.value) for point in history)
