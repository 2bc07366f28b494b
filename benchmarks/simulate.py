"""How fast cohorts are simulated and written: records per second, per layout and process count.

    python benchmarks/simulate.py --patients 2000 --jobs 1 2 --out benchmarks/results/simulate.json

Reference: 10,000 records of 10 s, 12 leads, 100 Hz in under 60 s on 2 cores (167 records/s).
"""

import argparse
import json
import os
import platform
import tempfile
import time
from pathlib import Path

from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortRecipe

REFERENCE = 10_000 / 60


def measure(layout: str, patients: int, jobs: int) -> dict[str, object]:
    options = {"fs": 100} if layout == "challenge" else {}
    recipe = CohortRecipe(layout=layout, patients=patients, options=options)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        manifest = simulate(recipe, Path(folder) / layout, jobs=jobs)
        seconds = time.perf_counter() - begin
    rate = manifest["records"] / seconds
    return {
        "layout": layout,
        "jobs": jobs,
        "records": manifest["records"],
        "seconds": round(seconds, 2),
        "records_per_second": round(rate, 1),
        "times_reference": round(rate / REFERENCE, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    results = []
    for layout in ("ptb-xl", "challenge"):
        for jobs in arguments.jobs:
            results.append(measure(layout, arguments.patients, jobs))
            print(results[-1])
    if arguments.out:
        machine = {"platform": platform.platform(), "cores": os.cpu_count()}
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        report = {"benchmark": "simulate", "machine": machine, "results": results}
        arguments.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
