"""How many patients an AUROC needs: half its interval by the positives of the test split.

    python benchmarks/patients.py [--shares 0.05 0.2] [--draws 40]

Scores are drawn from two normal distributions whose distance gives the true AUROC (binormal model),
one record a patient. Given is the mean over draws of half the 95% interval of the project's own
bootstrap, and beside it the formula of Hanley & McNeil (Radiology 143:29-36, 1982).
"""

import argparse
import math

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import norm

from ecgscale.evaluation.bootstrap import interval
from ecgscale.evaluation.metrics.macro_auroc import bootstrap_auroc

POSITIVES = (10, 20, 50, 100, 200, 500)
AREAS = (0.7, 0.8, 0.9)


def simulated(area: float, positives: int, negatives: int, draws: int) -> float:
    """Return half the width of the bootstrap's interval, the mean over draws."""
    rng = np.random.default_rng([positives, negatives])
    y = np.repeat([1, 0], [positives, negatives])[:, None]
    patients = np.arange(len(y)).astype(str)
    shift = math.sqrt(2) * norm.ppf(area)
    halves = []
    for draw in range(draws):
        scores = rng.normal(size=y.shape) + shift * y
        found = bootstrap_auroc(
            y, scores, patients, np.array([True]), resamples=500, seed=draw, task="benchmark"
        )
        low, high = interval(found.metric)
        halves.append((high - low) / 2)
    return float(np.mean(halves))


def formula(area: float, positives: int, negatives: int) -> float:
    """Return 1.96 standard errors after Hanley & McNeil."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area)
    variance += (positives - 1) * (one - area**2) + (negatives - 1) * (two - area**2)
    return 1.96 * math.sqrt(variance / (positives * negatives))


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
                f"{simulated(area, positives, negatives, arguments.draws):.3f} "
                f"({formula(area, positives, negatives):.3f})"
                for area in AREAS
            ]
            table.add_row(str(positives), str(positives + negatives), *cells)
        Console().print(table)


if __name__ == "__main__":
    main()
