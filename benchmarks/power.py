"""Whether simulated studies reach the power that `ecgscale plan` promises for their noise.

Studies are those of benchmarks/coverage.py: seeds decide weights, orders nested subsets of a finite
pool, all runs share test patients. The variance components of a scenario are means over many
studies; from them `ecgscale.scaling.power` promises how often the verdict is "rises" at two slopes,
and "no effect of interest" without a slope. Then the verdicts of whole studies are counted, of one
objective among several. Prints the table of docs/planning.md:

    python benchmarks/power.py --studies 2000 [--out FILE.json]
"""

import argparse
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from coverage import DESIGNS, SCENARIOS, study
from rich.console import Console
from rich.progress import track
from scipy.optimize import brentq

from ecgscale.evaluation.metrics import main_metric
from ecgscale.scaling.claims import family
from ecgscale.scaling.power import simulate_power
from ecgscale.scaling.variance import (
    Components,
    axes,
    components,
    contrast_estimate,
    mean_squares,
    slope_weights,
    uncertainty,
)

TESTS, ALPHA, PROMISED = 3, 0.05, (0.5, 0.8)
CHOSEN = ("2 replicates", "3 replicates", "5 replicates", "3 orders x 3 seeds")
RUNS = [name for name, options in SCENARIOS.items() if "gain" not in options]
PRIMARY = SimpleNamespace(metric=main_metric("macro_auroc"))
NAMES = tuple(f"objective {number}" for number in range(TESTS))


def mean_components(rng, studies, blocks, k, options):
    """Return the variance components of a slope, from mean squares averaged over studies."""
    squares, patients = [], []
    for _ in range(studies):
        score, resampled, sizes, *_ = study(rng, blocks, k, **options)
        weights = slope_weights(np.log2(sizes))
        squares.append([value for value, _ in mean_squares(score @ weights, blocks)])
        patients.append(components(score @ weights, resampled @ weights, blocks).patients)
    means = np.mean(squares, axis=0)
    if len(means) == 1:
        return Components(math.nan, math.nan, float(means[0]), float(np.mean(patients)))
    orders, seeds = axes(blocks)
    of_order, of_seed, rest = (float(value) for value in means)
    parts = max(of_order - rest, 0) / seeds, max(of_seed - rest, 0) / orders
    return Components(*parts, rest, float(np.mean(patients)))


def verdicts(rng, blocks, k, options, slopes, smallest_effect):
    """Return the verdict of the first objective of one study, for each of its true slopes."""
    drawn = []
    for _ in NAMES:
        score, resampled, sizes, *_ = study(rng, blocks, k, **options)
        weights = slope_weights(np.log2(sizes))
        drawn.append((score @ weights, resampled @ weights))
    said = []
    for slope in slopes:
        results = []
        for place, (name, (contrast, resampled)) in enumerate(zip(NAMES, drawn, strict=True)):
            true = slope * (place == 0)
            group = SimpleNamespace(objective=name, endpoint=PRIMARY)
            given = (contrast + true, resampled + true, blocks)
            # What a verdict reads of a correlation.
            parts = {"slope": contrast_estimate(*given, 1 - ALPHA), "variance": uncertainty(*given)}
            results.append((group, SimpleNamespace(group=group, **parts)))
        design = SimpleNamespace(primary=PRIMARY, smallest_effect=smallest_effect)
        said.append(family(results, design, NAMES, 1 - ALPHA)[0].verdict)
    return said


def measure(studies, title, blocks, k, options):
    """Return promised and reached shares of a design and scenario."""
    rng = np.random.default_rng(0)
    noise = mean_components(rng, studies, blocks, k, options)
    power = simulate_power(noise, blocks, tests=TESTS, alpha=ALPHA, draws=20_000)
    slopes = [power.detectable(share) for share in PROMISED]
    effect = brentq(lambda bound: power.no_effect(bound) - 0.8, 0, 10 * slopes[-1], xtol=1e-5)
    found = [
        verdicts(rng, blocks, k, options, [*slopes, 0.0], effect)
        for _ in track(range(studies), title, console=Console(stderr=True))
    ]
    *rises, null = np.array(found).T
    return {
        "slopes": slopes,
        "reached": [float((said == "rises").mean()) for said in rises],
        "smallest_effect": effect,
        "no_effect_promised": power.no_effect(effect),
        "no_effect_reached": float((null == "no effect of interest").mean()),
    }


def main():
    """Simulate, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--designs", nargs="*", default=list(CHOSEN), choices=list(DESIGNS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    rows = {}
    print("| Design | Runs | Slope | 50% | Slope | 80% | Smallest effect | 80% no effect |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for design in options.designs:
        blocks, k = DESIGNS[design]
        for name in RUNS:
            row = measure(options.studies, f"{design}: {name}", blocks, k, SCENARIOS[name])
            rows[f"{design}: {name}"] = row
            pairs = zip(row["slopes"], row["reached"], strict=True)
            cells = [text for slope, share in pairs for text in (f"{slope:.4f}", f"{share:.1%}")]
            cells += [f"{row['smallest_effect']:.4f}", f"{row['no_effect_reached']:.1%}"]
            print("|", " | ".join([design, name, *cells]), "|", flush=True)
    if options.out:
        options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
