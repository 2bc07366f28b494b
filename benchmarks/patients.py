"""How many patients: half an AUROC's interval by the test split's positives, p by the sizes.

    python benchmarks/patients.py [--shares 0.05 0.2] [--draws 40]

Scores are drawn from two normal distributions whose distance gives the true AUROC (binormal model),
one record a patient. Given is the mean over draws of half the 95% interval of the project's own
bootstrap, and in brackets 1.96 standard deviations of the AUROC over many draws, which is what it
should be. The last table is the smallest p of the permutation test, that of sizes which order every
run.
"""

import argparse
import math

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from ecgscale.evaluation.bootstrap import interval
from ecgscale.evaluation.metrics.functions import Floats, auroc
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc
from ecgscale.scaling.ranks import permutation_test

POSITIVES = (10, 20, 50, 100, 200, 500)
AREAS = (0.7, 0.8, 0.9)
SIZES, ORDERS = (3, 4, 5, 6), (1, 2, 3)


def drawn(area: float, positives: int, negatives: int, draws: int) -> tuple[Floats, Floats]:
    """Return targets of shape (patient, 1), and scores of shape (patient, draw)."""
    rng = np.random.default_rng([positives, negatives])
    y = np.repeat([1.0, 0.0], [positives, negatives])[:, None]
    return y, rng.normal(size=(len(y), draws)) + math.sqrt(2) * norm.ppf(area) * y


def of_the_bootstrap(area: float, positives: int, negatives: int, draws: int) -> float:
    """Return half the width of the bootstrap's interval, the mean over draws."""
    y, scores = drawn(area, positives, negatives, draws)
    patients = np.arange(len(y)).astype(str).tolist()
    halves = []
    for draw in range(draws):
        found = bootstrap_auroc(
            *(y, scores[:, [draw]], patients, np.array([True])),
            **{"resamples": 500, "seed": draw, "task": "benchmark"},
        )
        low, high = interval(found.metric)
        halves.append((high - low) / 2)
    return float(np.mean(halves))


def of_the_draws(area: float, positives: int, negatives: int, draws: int = 1000) -> float:
    """Return 1.96 standard deviations of the AUROC over draws."""
    y, scores = drawn(area, positives, negatives, draws)
    return 1.96 * float(auroc(np.tile(y, (1, draws)), scores).std())


def main() -> None:
    """Print a table for each share of positives."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--shares", type=float, nargs="+", default=[0.05, 0.2])
    parser.add_argument("--draws", type=int, default=40)
    arguments = parser.parse_args()
    for share in arguments.shares:
        table = Table(title=f"{share:.0%} of the test patients are positive", box=None)
        for heading in ("positives", "test patients", *(f"AUROC {area}" for area in AREAS)):
            table.add_column(heading, justify="right")
        for positives in POSITIVES:
            negatives = round(positives * (1 - share) / share)
            cells = [
                f"{of_the_bootstrap(area, positives, negatives, arguments.draws):.3f} "
                f"({of_the_draws(area, positives, negatives):.3f})"
                for area in AREAS
            ]
            table.add_row(str(positives), str(positives + negatives), *cells)
        Console().print(table)
    Console().print(smallest_p())


def smallest_p() -> Table:
    """Return the p of perfectly ordered runs, by sizes and orders."""
    table = Table(title="smallest p", box=None)
    for heading in ("sizes", *(f"orders: {orders}" for orders in ORDERS)):
        table.add_column(heading, justify="right")
    for sizes in SIZES:
        ordered = np.arange(sizes, dtype=np.float64)
        tests = [
            permutation_test(np.tile(ordered, (n, 1)), "spearman", 100, np.random.default_rng(0))
            for n in ORDERS
        ]
        table.add_row(str(sizes), *(f"{test.p:.2g}" for test in tests))
    return table


if __name__ == "__main__":
    main()
