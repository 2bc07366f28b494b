"""How fast the evaluation's own kernels are, against scikit-learn.

    OMP_NUM_THREADS=2 python benchmarks/evaluate.py --out benchmarks/results/evaluate.json

The bootstrap has the size of Chapman-Shaoxing-Ningbo (38 labels, 4,620 test records), the probe
that of all PTB-XL tasks (103 labels, 17,000 training records, 1,024 dimensions, 8 penalties), on
made-up embeddings. Peers are timed on a few resamples or labels, as printed, and scaled up by that
number; every pair is checked to agree. For a try: --train 2000 --dim 64 --probe-labels 8.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from ecgscale.data.preprocess import process
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.simulate.options import CohortOptions
from ecgscale.data.simulate.population import draw_patient
from ecgscale.data.simulate.records import draw_record
from ecgscale.evaluation.bootstrap import patient_weights
from ecgscale.evaluation.features import ecg_features
from ecgscale.evaluation.metrics.functions import auroc, included_labels
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc
from ecgscale.evaluation.metrics.probe_loss import log_loss
from ecgscale.evaluation.probe import fit_linear_probes

TEST, LABELS, RESAMPLES = 4_620, 38, 1_000
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
AGREEMENT = 1e-4
"""Nats by which a minimum may be above the peer's."""


def seconds(action: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least wall time of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def made_up(
    examples: int, dim: int, labels: int = LABELS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings from a few factors, and labels from common to rare that follow them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99)
    factors = rng.normal(size=(examples, 24))
    x = factors @ mixing.normal(size=(24, dim)) + 0.5 * rng.normal(size=(examples, dim))
    odds = factors @ mixing.normal(size=(24, labels)) / 2 - np.linspace(0, 6, labels)
    return x.astype(np.float32), odds + rng.logistic(size=odds.shape) > 0


def bench_bootstrap(measured_resamples: int) -> dict[str, Any]:
    """All labels in all resamples, against scikit-learn called for each label and resample."""
    x, y = made_up(TEST, 64, seed=1)
    scores = y + np.random.default_rng(2).normal(size=y.shape) + x[:, :1] / 20
    patients = [f"p{number:05d}" for number in range(TEST)]
    included = included_labels(y, 10)

    def ours() -> np.ndarray:
        return bootstrap_auroc(y, scores, patients, included, resamples=RESAMPLES, seed=0).labels

    weights = patient_weights(patients, RESAMPLES, 0)

    def naive() -> np.ndarray:
        return np.array(
            [
                [
                    roc_auc_score(y[:, label], scores[:, label], sample_weight=weights[:, b])
                    for b in range(measured_resamples)
                ]
                for label in range(LABELS)
            ]
        )

    np.testing.assert_allclose(ours()[:, :measured_resamples], naive(), atol=1e-9)
    fast, slow = seconds(ours), seconds(naive, repeats=1) * RESAMPLES / measured_resamples
    return {
        "what": f"bootstrap, {RESAMPLES} resamples x {LABELS} labels x {TEST} records",
        "seconds": fast,
        "target_seconds": 5.0,
        "peer": "sklearn.metrics.roc_auc_score, one call per label and resample",
        "peer_seconds": slow,
        "peer_measured_on": f"{measured_resamples} of {RESAMPLES} resamples",
        "ratio": slow / fast,
        "target_ratio": 50.0,
    }


def bench_auroc() -> dict[str, Any]:
    """Point values of all labels."""
    _, y = made_up(TEST, 64, seed=1)
    scores = y + np.random.default_rng(2).normal(size=y.shape)

    def peer() -> list[float]:
        return [roc_auc_score(y[:, label], scores[:, label]) for label in range(LABELS)]

    np.testing.assert_allclose(auroc(y, scores), peer(), atol=1e-12)
    fast, slow = seconds(lambda: auroc(y, scores)), seconds(peer)
    return {
        "what": f"AUROC, {LABELS} labels x {TEST} records",
        "seconds": fast,
        "peer": "sklearn.metrics.roc_auc_score, one call per label",
        "peer_seconds": slow,
        "peer_measured_on": "all",
        "ratio": slow / fast,
    }


def bench_probe(train: int, dim: int, labels: int, measured_labels: int) -> dict[str, Any]:
    """All labels and penalties, against scikit-learn called for each."""
    x, y = made_up(train, dim, labels)
    standard = ((x - x.mean(axis=0)) / x.std(axis=0)).astype(np.float64)
    chosen = np.linspace(0, labels - 1, measured_labels).astype(int)
    start = time.perf_counter()
    probes = fit_linear_probes(x, y, PENALTIES)
    fast = time.perf_counter() - start
    slow, excess = 0.0, []
    for probe in probes:
        for label in chosen:
            model = LogisticRegression(C=1 / (train * probe.penalty), max_iter=1000)
            start = time.perf_counter()
            model.fit(standard, y[:, label])
            slow += time.perf_counter() - start
            odds = model.decision_function(standard)
            loss = log_loss(y[:, [label]], odds[:, None])[0]
            loss += probe.penalty / 2 * float((model.coef_**2).sum())
            excess.append(probe.loss[label] - loss)
    assert max(excess) < AGREEMENT, f"a loss is {max(excess):.2g} nats above the peer's"
    slow *= labels / measured_labels
    return {
        "what": f"linear probe, {labels} labels x {len(PENALTIES)} penalties x {train} x {dim}",
        "seconds": fast,
        "target_seconds": 60.0,
        "peer": "sklearn LogisticRegression (lbfgs), one fit per label and penalty",
        "peer_seconds": slow,
        "peer_measured_on": f"{measured_labels} of {labels} labels, all penalties; losses "
        f"{-max(excess):.1g} to {-min(excess):.1g} nats above ours",
        "unconverged": int(sum((~probe.converged).sum() for probe in probes)),
        "ratio": slow / fast,
        "target_ratio": 10.0,
    }


def bench_features(records: int) -> dict[str, Any]:
    """Hand-crafted features of simulated 12-lead records of 10 s at 100 Hz."""
    recipe, options = Recipe(), CohortOptions()
    drawn = [draw_record(draw_patient(i, 0, options), 0, 0, options) for i in range(64)]
    signals = process(np.stack([r.signals[500] / 1000.0 for r in drawn]), 500.0, recipe)
    signals = np.resize(signals, (records, *signals.shape[1:]))
    ecg_features(signals[:1], recipe.fs, LEADS)
    taken = seconds(lambda: ecg_features(signals, recipe.fs, LEADS))
    return {
        "what": f"hand-crafted features, {records} records x {len(LEADS)} leads x 10 s",
        "seconds": taken,
        "records_per_second": records / taken,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-resamples", type=int, default=5, help="the peer is timed on")
    parser.add_argument("--peer-labels", type=int, default=3, help="the peer is timed on")
    parser.add_argument("--train", type=int, default=17_000)
    parser.add_argument("--dim", type=int, default=1_024)
    parser.add_argument("--probe-labels", type=int, default=103)
    parser.add_argument("--feature-records", type=int, default=512)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [
        bench_auroc(),
        bench_bootstrap(arguments.peer_resamples),
        bench_features(arguments.feature_records),
        bench_probe(arguments.train, arguments.dim, arguments.probe_labels, arguments.peer_labels),
    ]
    for row in rows:
        print(describe(row))
    if arguments.out:
        machine = {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"benchmark": "evaluate", "machine": machine, "results": rows}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


def describe(row: dict[str, Any]) -> str:
    text = f"{row['what']}: {row['seconds']:.3f} s"
    if "target_seconds" in row:
        text += f" (target {row['target_seconds']:g} s)"
    if "records_per_second" in row:
        text += f", {row['records_per_second']:.0f} records/s"
    if "peer" in row:
        text += f"\n  {row['peer']}: {row['peer_seconds']:.2f} s ({row['peer_measured_on']}), "
        text += f"{row['ratio']:.1f} x"
    if "target_ratio" in row:
        text += f" (target {row['target_ratio']:g} x)"
    return text


if __name__ == "__main__":
    main()
