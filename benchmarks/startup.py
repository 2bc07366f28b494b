"""What each stage's process costs before it works, against importing every library at once.

python benchmarks/startup.py [--repeats 5] [--out FILE.json]
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

REFERENCE = "import torch, mlflow, torchmetrics, pandas, scipy.stats, sklearn, matplotlib, wfdb"
PRETRAIN = "ecgscale.training.stage, ecgscale.training.trainer"
STAGES = {
    "command line": "import ecgscale.cli",
    "ingest": "import ecgscale.cli, ecgscale.data.ingest",
    "subset": "import ecgscale.cli, ecgscale.data.subsets",
    "pretrain, deferred tracking": f"import ecgscale.cli, {PRETRAIN}",
    "pretrain, live tracking": f"import ecgscale.cli, {PRETRAIN}, mlflow",
    "evaluate": "import ecgscale.cli, ecgscale.evaluation.stage, torchmetrics",
    "report": "import ecgscale.cli, ecgscale.report.stage, mlflow",
}


def seconds(code, repeats):
    """Return the median wall time of a process that runs `code`."""
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def main():
    """Measure, print a Markdown table of ratios, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    seconds(REFERENCE, 1)  # fills the page cache
    reference = seconds(REFERENCE, options.repeats)
    ratios = {name: seconds(code, options.repeats) / reference for name, code in STAGES.items()}
    print("| Process | Start-up, of importing everything |\n|---|---|")
    for name, ratio in ratios.items():
        print(f"| {name} | {ratio:.0%} |")
    if options.out:
        options.out.write_text(json.dumps({"reference_s": reference, "ratios": ratios}, indent=1))


if __name__ == "__main__":
    main()
