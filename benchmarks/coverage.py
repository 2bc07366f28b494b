"""How often the slope's interval covers the truth and the test rejects, by simulated studies.

The reference is the resampling of whole blocks with the test patients. Prints the two tables of
docs/statistics.md:

    python benchmarks/coverage.py --studies 1000 [--out FILE.json]
"""

import argparse
import json
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from ecgscale.scaling.correlate import correlate
from ecgscale.scaling.groups import Group
from ecgscale.scaling.variance import slope_weights

SIZES = 64 * 2 ** np.arange(6)
RUN_SD, PATIENT_SD, RESAMPLES = 0.004, 0.0015, 300
NEIGHBOURS = ((0.3, 2), (0.3, 4), (0.6, 2))
SHARED = ((2, 2), (3, 3))


def study(rng, orders, seeds=1, slope=0.0, neighbours=0.0, shared=0.0, patient_sd=0.0):
    """Return a group of runs with a known slope per doubling.

    Run noise has one variance; `neighbours` is its correlation between adjacent sizes of a block,
    `shared` the part of its variance that the seeds of an order have in common. With a
    `patient_sd` of 0 the truth is that of the test patients at hand, which is what p is about.
    """
    k = len(SIZES)
    correlation = neighbours ** np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    root = np.linalg.cholesky(correlation) if neighbours else np.eye(k)
    own = rng.normal(0, RUN_SD, (orders, seeds, k)) @ root.T
    common = rng.normal(0, RUN_SD, (orders, 1, k)) @ root.T
    noise = np.sqrt(1 - shared) * own + np.sqrt(shared) * common
    level = rng.normal(0, RUN_SD, (orders, seeds, 1))
    # What the test patients at hand add, and what other patients would: one draw each, by size.
    patients = rng.normal(0, patient_sd, (RESAMPLES + 1, 1, k))
    auroc = (0.8 + slope * np.arange(k) + level + noise).reshape(-1, k) + patients[0]
    blocks = tuple((order, seed) for order in range(orders) for seed in range(seeds))
    replicates = auroc + patients[1:]
    return Group("clef", "net1d", "fixed_steps", "task", SIZES, blocks, auroc, replicates)


def block_bootstrap(group, rng, draws=400):
    """Return the percentile interval of the slope over resampled blocks and test patients."""
    weights = slope_weights(np.log2(group.sizes))
    by_block = group.replicates @ weights
    picked = rng.integers(0, len(group.blocks), (draws, len(group.blocks)))
    resample = rng.integers(0, len(by_block), draws)
    return np.percentile(by_block[resample[:, None], picked].mean(axis=1), [2.5, 97.5])


def measure(studies, title, slope=0.0, **design):
    """Return the shares of simulated studies in which intervals cover and the test rejects."""
    rng = np.random.default_rng(0)
    covered = reference = rejected = 0
    for number in track(range(studies), title, console=Console(stderr=True)):
        group = study(rng, slope=slope, **design)
        found = correlate(group, confidence=0.95, permutations=1000, bootstrap=100, seed=number)
        covered += found.slope.low <= slope <= found.slope.high
        rejected += found.rho_test.p <= 0.05
        low, high = block_bootstrap(group, rng)
        reference += low <= slope <= high
    return {
        "coverage": covered / studies,
        "block_bootstrap": reference / studies,
        "rejected": rejected / studies,
    }


def main():
    """Simulate, print Markdown tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    blocks = {
        f"{count}": measure(
            options.studies, f"{count} blocks", slope=0.004, orders=count, patient_sd=PATIENT_SD
        )
        for count in (2, 3, 5)
    }
    violations = {"none, 2 blocks": measure(options.studies, "none, 2 blocks", orders=2)}
    for correlation, count in NEIGHBOURS:
        name = f"neighbouring sizes correlated {correlation}, {count} blocks"
        design = {"orders": count, "neighbours": correlation}
        violations[name] = measure(options.studies, name, **design)
    for orders, seeds in SHARED:
        name = f"30% of run variance shared by the {seeds} seeds of each of {orders} orders"
        design = {"orders": orders, "seeds": seeds, "shared": 0.3}
        violations[name] = measure(options.studies, name, **design)
    print("| Blocks | Blocks and patients resampled | As computed here |\n| --- | --- | --- |")
    for name, row in blocks.items():
        print(f"| {name} | {row['block_bootstrap']:.2f} | {row['coverage']:.2f} |")
    print("\n| Violation | p at most 0.05 | Coverage of the slope |\n| --- | --- | --- |")
    for name, row in violations.items():
        print(f"| {name} | {row['rejected']:.2f} | {row['coverage']:.2f} |")
    if options.out:
        options.out.write_text(json.dumps({"blocks": blocks, "violations": violations}, indent=1))


if __name__ == "__main__":
    main()
