"""How many patients: half an AUROC's interval by the positives, half a slope's by the sizes.

    python benchmarks/patients.py [--shares 0.05 0.2] [--draws 40]

Scores are drawn from two normal distributions whose distance gives the true AUROC (binormal model),
one record a patient. Given is the mean over draws of half the width of the project's own 95%
interval, and in brackets 1.96 standard deviations of the AUROC over many draws. The last table is
half the width of the 95% interval of a slope per doubling, in standard deviations of one run, if
each order has its own seed and test patients add nothing.
"""

import argparse
import math

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from ecgscale.evaluation.bootstrap import auroc_interval
from ecgscale.evaluation.metrics.functions import Floats, auroc
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc
from ecgscale.scaling.variance import Uncertainty, slope_weights

POSITIVES = (10, 20, 50, 100, 200, 500)
AREAS = (0.7, 0.8, 0.9)
SIZES, REPLICATES = (3, 4, 5, 6), (2, 3, 5)


def drawn(area: float, positives: int, negatives: int, draws: int) -> tuple[Floats, Floats]:
    """Return targets of shape (patient, 1), and scores of shape (patient, draw)."""
    rng = np.random.default_rng([positives, negatives])
    y = np.repeat([1.0, 0.0], [positives, negatives])[:, None]
    return y, rng.normal(size=(len(y), draws)) + math.sqrt(2) * norm.ppf(area) * y


def of_the_interval(truth: float, positives: int, negatives: int, draws: int) -> float:
    """Return half the width of the interval, the mean over draws."""
    y, scores = drawn(truth, positives, negatives, draws)
    patients = np.arange(len(y)).astype(str).tolist()
    halves = []
    for draw in range(draws):
        found = bootstrap_auroc(
            *(y, scores[:, [draw]], patients, np.array([True])),
            **{"resamples": 500, "seed": draw},
        )
        area = float(auroc(y, scores[:, [draw]])[0])
        low, high = auroc_interval([area], found.labels, [min(positives, negatives)])
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
                f"{of_the_interval(area, positives, negatives, arguments.draws):.3f} "
                f"({of_the_draws(area, positives, negatives):.3f})"
                for area in AREAS
            ]
            table.add_row(str(positives), str(positives + negatives), *cells)
        Console().print(table)
    Console().print(of_a_slope())


def of_a_slope() -> Table:
    """Return half the width of a slope's interval, by sizes that double and by replicates."""
    table = Table(title="a slope per doubling, in SDs of one run", box=None)
    for heading in ("sizes", *(f"replicates: {count}" for count in REPLICATES)):
        table.add_column(heading, justify="right")
    for sizes in SIZES:
        variance = float((slope_weights(np.arange(sizes, dtype=np.float64)) ** 2).sum())
        halves = [Uncertainty(variance / n, n - 1.0, 0.0).reach(0.05) for n in REPLICATES]
        table.add_row(str(sizes), *(f"{half:.2f}" for half in halves))
    return table


if __name__ == "__main__":
    main()
