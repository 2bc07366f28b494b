"""How often intervals of slopes and of AUROCs cover the truth, and tests reject a true null.

Simulated is what the code does: seeds decide weights and batches, orders decide nested subsets of a
finite pool, and all runs are read out on the same test patients. Beside the interval and the test
of `ecgscale.scaling` stand those of Fisher's randomised blocks with Page's permutation test, which
take the runs of a block as independent; beside that of an AUROC stand percentiles of its resamples.
Prints the tables of docs/statistics.md and docs/evaluation.md:

    python benchmarks/coverage.py --studies 2000 [--out FILE.json]
"""

import argparse
import json
from itertools import product
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.special import ndtri, stdtrit

from ecgscale.evaluation.bootstrap import auroc_interval, interval
from ecgscale.evaluation.metrics.functions import auroc
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc, patients_of_rarer_class
from ecgscale.scaling.ranks import permutation_test
from ecgscale.scaling.variance import interaction, slope_weights, uncertainty

RUN_SD, LEVEL_SD = 0.004, 0.004
"""Of a run about its curve, and of what all sizes of an order, a seed or a block share."""
PATIENT_SD, PATIENT_LEVEL_SD, OWN_SD = 0.0015, 0.006, 0.001
"""Of test-patient noise: of one size in all runs, of all runs, of one run alone."""
POOL, SMALLEST, RESAMPLES = 2560, 64, 200
DESIGNS = {
    "2 replicates": ([(r, r) for r in range(2)], 5),
    "3 replicates": ([(r, r) for r in range(3)], 5),
    "5 replicates": ([(r, r) for r in range(5)], 5),
    "3 orders x 3 seeds": (list(product(range(3), range(3))), 7),
    "2 orders x 1 seed": ([(order, 0) for order in range(2)], 5),
    "5 orders x 1 seed": ([(order, 0) for order in range(5)], 5),
}
SCENARIOS = {
    "independent runs": {},
    "half of run variance is of the seed": {"of_seed": 0.5},
    "luck of the order 0.004": {"luck": 0.004},
    "luck of the order 0.008": {"luck": 0.008},
    "noise falls as n^-1/4": {"decay": 0.25},
    "noise falls as n^-1/2": {"decay": 0.5},
    "luck 0.006, a quarter of the seed, n^-1/4": {"luck": 0.006, "of_seed": 0.25, "decay": 0.25},
    "the same, and the curve saturates": {
        **{"luck": 0.006, "of_seed": 0.25, "decay": 0.25},
        "gain": 0.02,
    },
}
AREAS = {
    "1 label, 15 of 300 patients positive, AUROC 0.92": (0.92, 15, 300, 1, 1, 1.0),
    "1 label, 14 of 300, AUROC 0.98": (0.98, 14, 300, 1, 1, 1.0),
    "1 label, 14 of 300, AUROC 0.98, scores of positives spread twice as far": (
        *(0.98, 14, 300, 1, 1),
        2.0,
    ),
    "1 label, 15 of 300, AUROC 0.75": (0.75, 15, 300, 1, 1, 1.0),
    "1 label, 100 of 1,000, AUROC 0.92": (0.92, 100, 1000, 1, 1, 1.0),
    "5 labels, 15 of 300, AUROC 0.92, 2 records a patient": (0.92, 15, 300, 5, 2, 1.0),
    "20 labels, 15 of 300, AUROC 0.98": (0.98, 15, 300, 20, 1, 1.0),
}
"""AUROC, positives, patients, labels, records a patient, SD of positives over that of negatives."""


def study(rng, blocks, k, of_seed=0.0, luck=0.0, decay=0.0, gain=0.0):
    """Return scores (block, size), the same on resampled patients, sizes, and two true curves.

    `of_seed` is the part of the run variance that runs of one seed and size share, `luck` the SD of
    what a prefix of the smallest size is worth, `decay` the power by which run noise falls, `gain`
    the height of a curve that saturates. The curves are those over orders and seeds, and over
    orders given the first seed.
    """
    orders, seeds = (np.array(axis) for axis in zip(*blocks, strict=True))
    sizes = np.geomspace(SMALLEST, 2500, k).round().astype(int)
    sd = RUN_SD * (sizes / sizes[0]) ** -decay
    truth = 0.8 + gain * (1 - (sizes / sizes[0]) ** -0.7)
    # What a patient is worth as pretraining data; a subset is worth the mean of its patients.
    worth = rng.normal(0, luck * np.sqrt(SMALLEST), POOL)
    worth -= worth.mean()
    prefixes = np.cumsum([rng.permutation(worth) for _ in set(orders)], axis=1)
    of_order = prefixes[:, sizes - 1] / sizes + rng.normal(0, LEVEL_SD, (len(prefixes), 1))
    by_seed = np.sqrt(of_seed) * rng.normal(0, sd, (len(set(seeds)), k))
    own = np.sqrt(1 - of_seed) * rng.normal(0, sd, (len(blocks), k))
    level = rng.normal(0, LEVEL_SD, (len(by_seed), 1))
    runs = truth + of_order[orders] + (by_seed + level)[seeds] + own
    # What the test patients at hand add (row 0), and what other patients would.
    shape = (RESAMPLES + 1, len(blocks), k)
    patients = rng.normal(0, OWN_SD, shape) + rng.normal(0, PATIENT_SD, (RESAMPLES + 1, 1, k))
    patients += rng.normal(0, PATIENT_LEVEL_SD, (RESAMPLES + 1, 1, 1))
    score = runs + patients[0]
    return score, score + patients[1:], sizes, truth, truth + by_seed[0]


def read_out_study(rng, blocks, k, patients=300):
    """Return the same from scores of test patients with rare, correlated labels, two records each.

    All runs have one expected AUROC but for the skill that their weights have by luck.
    """
    sizes = np.geomspace(SMALLEST, 2500, k).round().astype(int)
    liability = rng.normal(size=(patients, 1)) + rng.normal(size=(patients, 3))
    y = np.repeat(liability > np.sqrt(2) * np.array([1.3, 1.6, 1.8]), 2, axis=0)
    ids = np.repeat([f"p{number:03d}" for number in range(patients)], 2)
    hard = np.repeat(rng.normal(size=(patients, 3)), 2, axis=0)
    score, resampled = np.empty((len(blocks), k)), np.empty((RESAMPLES, len(blocks), k))
    for block, size in np.ndindex(score.shape):
        logits = (1.5 + rng.normal(0, 0.02)) * y + 0.8 * hard + 0.6 * rng.normal(size=y.shape)
        found = bootstrap_auroc(y, logits, ids, np.ones(3, dtype=bool), resamples=RESAMPLES, seed=0)
        resampled[:, block, size] = found.metric
        ranks = logits.argsort(axis=0).argsort(axis=0) + 1.0
        positive = y.sum(axis=0)
        above = (ranks * y).sum(axis=0) - positive * (positive + 1) / 2
        score[block, size] = (above / positive / (len(y) - positive)).mean()
    flat = np.full(k, 0.8)
    return score, resampled, sizes, flat, flat


def randomised_blocks(score, replicates, weights):
    """Return the interval that adds the block x size mean square and all patient variance."""
    blocks, k = score.shape
    df = (blocks - 1) * (k - 1)
    runs = float((interaction(score) ** 2).sum()) / df * float(weights @ weights) / blocks
    patients = float((replicates.mean(axis=1) @ weights).var(ddof=1))
    reach = stdtrit((runs + patients) ** 2 / (runs**2 / df), 0.975) * np.sqrt(runs + patients)
    value = float(score.mean(axis=0) @ weights)
    return value - reach, value + reach


def measure(studies, title, simulate, blocks, k, **options):
    """Return the shares of simulated studies in which intervals cover and tests reject at 0.05."""
    rng = np.random.default_rng(0)
    seen = []
    for _ in track(range(studies), title, console=Console(stderr=True)):
        score, resampled, sizes, truth, given_seed = simulate(rng, blocks, k, **options)
        weights = slope_weights(np.log2(sizes))
        # What the interval claims to cover: with one seed the curve of that seed.
        claimed = weights @ (given_seed if len({seed for _, seed in blocks}) == 1 else truth)
        found, slope = uncertainty(score @ weights, resampled @ weights, blocks), score @ weights
        reach, off = found.reach(0.05), slope.mean() - np.array([claimed, weights @ truth])
        low, high = randomised_blocks(score, resampled, weights)
        page = permutation_test(score - truth, "spearman", 100, rng).p
        row = {
            "coverage": abs(off[0]) <= reach,
            "coverage_over_seeds": abs(off[1]) <= reach,
            "level": found.p(off[0]) <= 0.05,
            "old_coverage": low <= weights @ truth <= high,
            "old_level": page <= 0.05,
            "width": 2 * reach,
            "old_width": high - low,
        }
        seen.append(row)
    return {name: float(np.mean([row[name] for row in seen])) for name in seen[0]}


def area(studies, title, truth, positives, patients, labels, records, spread):
    """Return how often the interval of a macro AUROC, and its percentile interval, cover."""
    rng = np.random.default_rng(0)
    shift = np.sqrt(1 + spread**2) * ndtri(truth)
    ids = np.repeat([f"p{number:04d}" for number in range(patients)], records)
    covered = []
    for _ in track(range(studies), title, console=Console(stderr=True)):
        y = np.array([rng.permutation(patients) < positives for _ in range(labels)]).T
        # Records of a patient have most of their score in common, labels some of it.
        shared = rng.normal(size=(patients, 1)) * 0.5 + rng.normal(size=y.shape) * 0.7
        y, shared = np.repeat(y, records, axis=0), np.repeat(shared, records, axis=0)
        noise = shared + np.sqrt(1 - 0.25 - 0.49) * rng.normal(size=y.shape)
        scores = np.where(y, shift + spread * noise, noise)
        used = np.ones(labels, dtype=bool)
        options = {"resamples": RESAMPLES, "seed": 0}
        drawn = bootstrap_auroc(y, scores, ids, used, **options)
        fewest = patients_of_rarer_class(y, ids)
        ends = (auroc_interval(auroc(y, scores), drawn.labels, fewest), interval(drawn.metric))
        covered.append([low <= truth <= high for low, high in ends])
    new, old = np.mean(covered, axis=0)
    return {"coverage": float(new), "percentiles": float(old)}


def main():
    """Simulate, print Markdown tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--read-out", type=int, default=300, help="studies with simulated labels")
    parser.add_argument("--designs", nargs="*", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--areas", type=int, default=2000, help="test sets of each AUROC")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {"slopes": {}, "areas": {}}
    print("| Design | Runs | Coverage | Level | Width | Randomised blocks: coverage | Page |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for design in options.designs:
        blocks, k = DESIGNS[design]
        kinds = {name: (study, options.studies, given) for name, given in SCENARIOS.items()}
        kinds["rare labels, scores of patients"] = (read_out_study, options.read_out, {})
        for name, (simulate, studies, given) in kinds.items():
            row = measure(studies, f"{design}: {name}", simulate, blocks, k, **given)
            found["slopes"].setdefault(design, {})[name] = row
            cells = [f"{row['coverage']:.3f}", f"{row['level']:.1%}"]
            cells += [f"{row['width'] / row['old_width']:.1f}", f"{row['old_coverage']:.3f}"]
            print("|", " | ".join([design, name, *cells, f"{row['old_level']:.1%}"]), "|")
    print("\n| Test set | Coverage | Percentiles |\n| --- | --- | --- |")
    for name, case in AREAS.items():
        row = area(options.areas, name, *case)
        found["areas"][name] = row
        print(f"| {name} | {row['coverage']:.3f} | {row['percentiles']:.3f} |")
    if options.out:
        options.out.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
