"""How fast the evaluation's own kernels are, against scikit-learn.

    python benchmarks/evaluate.py --out benchmarks/results/evaluate.json

Sizes are those of Chapman-Shaoxing-Ningbo (38 labels; 16,546 training and 4,620 test records), on
made-up embeddings. Peers are timed on a few resamples, labels or penalties, as printed, and scaled
up by that number; every pair is first checked to agree.
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

from ecgscale.evaluation.bootstrap import bootstrap_auroc, patient_weights
from ecgscale.evaluation.metrics import auroc, included_labels
from ecgscale.evaluation.probe import fit_linear_probes, log_loss

TRAIN, TEST, LABELS, RESAMPLES = 16_546, 4_620, 38, 1_000
PENALTIES = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def seconds(action: Callable[[], Any], repeats: int = 3) -> float:
    """Return the least wall time of a few calls."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def made_up(examples: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings from a few factors, and labels from common to rare that follow them."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99)
    factors = rng.normal(size=(examples, 24))
    x = factors @ mixing.normal(size=(24, dim)) + 0.5 * rng.normal(size=(examples, dim))
    odds = factors @ mixing.normal(size=(24, LABELS)) / 2 - np.linspace(0, 6, LABELS)
    return x.astype(np.float32), odds + rng.logistic(size=odds.shape) > 0


def bench_bootstrap(measured_resamples: int) -> dict[str, Any]:
    """All labels in all resamples, against scikit-learn called for each label and resample."""
    x, y = made_up(TEST, 64, seed=1)
    scores = y + np.random.default_rng(2).normal(size=y.shape) + x[:, :1] / 20
    patients = [f"p{number:05d}" for number in range(TEST)]
    included = included_labels(y, 10)

    def ours() -> np.ndarray:
        return bootstrap_auroc(
            y, scores, patients, included, resamples=RESAMPLES, seed=0, task="t"
        ).labels

    weights = patient_weights(TEST, RESAMPLES, 0, "t")

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
        "peer": "sklearn.metrics.roc_auc_score, one call per label and resample",
        "peer_seconds": slow,
        "peer_measured_on": f"{measured_resamples} of {RESAMPLES} resamples",
        "ratio": slow / fast,
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


def bench_probe(dim: int, measured_labels: int) -> dict[str, Any]:
    """All labels and penalties, against scikit-learn called for each."""
    x, y = made_up(TRAIN, dim)
    standard = (x - x.mean(axis=0)) / x.std(axis=0)
    chosen = np.linspace(0, LABELS - 1, measured_labels).astype(int)
    probes = fit_linear_probes(x, y, PENALTIES)

    def peer() -> float:
        """Fit; return the largest distance of a minimum from ours."""
        worst = 0.0
        for probe in probes:
            for label in chosen:
                model = LogisticRegression(C=1 / (TRAIN * probe.penalty), max_iter=1000)
                odds = model.fit(standard, y[:, label]).decision_function(standard)
                loss = log_loss(y[:, [label]], odds[:, None])[0]
                loss += probe.penalty / 2 * float((model.coef_**2).sum())
                worst = max(worst, abs(loss - probe.loss[label]))
        return worst

    assert peer() < 1e-4
    assert all(probe.converged.all() for probe in probes)
    fast = seconds(lambda: fit_linear_probes(x, y, PENALTIES))
    slow = seconds(peer, repeats=1) * LABELS / measured_labels
    return {
        "what": f"linear probe, {LABELS} labels x {len(PENALTIES)} penalties x {TRAIN} x {dim}",
        "seconds": fast,
        "peer": "sklearn LogisticRegression (lbfgs), one fit per label and penalty",
        "peer_seconds": slow,
        "peer_measured_on": f"{measured_labels} of {LABELS} labels",
        "ratio": slow / fast,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resamples", type=int, default=5, help="resamples the peer is timed on")
    parser.add_argument("--labels", type=int, default=4, help="labels the peer is timed on")
    parser.add_argument("--dims", type=int, nargs="*", default=[128, 256])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows = [bench_auroc(), bench_bootstrap(arguments.resamples)]
    rows += [bench_probe(dim, arguments.labels) for dim in arguments.dims]
    for row in rows:
        print(f"{row['what']}: {row['seconds']:.3f} s")
        print(
            f"  {row['peer']}: {row['peer_seconds']:.2f} s "
            f"({row['peer_measured_on']}), {row['ratio']:.1f} x"
        )
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


if __name__ == "__main__":
    main()
