"""Coverage and error rates of what is said beside the slope, by simulation of known truth.

`python benchmarks/answers.py pooled` prints a Markdown table.
"""

import argparse

import numpy as np
from rich.console import Console
from rich.progress import track

from ecgscale.scaling.pooled import pool_slopes

RESAMPLES = 200


def tasks_of_a_study(rng, blocks, tasks, tau, uneven=False):
    """Return slopes (block, task) and resamples of tasks on shared patients and shared runs.

    The unit is the SD of a run's slope. Runs have half of their variance in common over tasks;
    tasks lie in data sets of three, whose patients move them together by 0.7. With `uneven` the
    noise of the last third of the tasks is four times as large.
    """
    scale = np.where(np.arange(tasks) >= 2 * tasks / 3, 4.0, 1.0) if uneven else np.ones(tasks)
    truth = tau * rng.normal(size=tasks)
    runs = np.sqrt(0.5) * (rng.normal(size=(blocks, 1)) + rng.normal(size=(blocks, tasks)))
    datasets = np.arange(tasks) // 3
    shared = rng.normal(size=(RESAMPLES + 1, 1, datasets[-1] + 1))[:, :, datasets]
    own = rng.normal(size=(RESAMPLES + 1, 1, tasks))
    patients = 0.5 * (np.sqrt(0.7) * shared + np.sqrt(0.3) * own)
    patients = patients + 0.2 * rng.normal(size=(RESAMPLES + 1, blocks, tasks))
    slopes = truth + scale * (runs + patients[0])
    return slopes, slopes + scale * patients[1:], truth


def pooled(studies):
    """Of the mean over these tasks, over tasks like these, and of tau2."""
    print("| Replicates | Tasks | Tau | Noise | These tasks | Tasks alike | Tau2 | Width |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for blocks in (2, 3, 5):
        for tasks in (3, 6, 13):
            for tau, uneven in ((0, False), (0.5, False), (2, False), (0, True), (0.5, True)):
                rng, seen = np.random.default_rng(0), []
                for _ in track(range(studies), f"{blocks} {tasks} {tau}", console=Console(stderr=True)):
                    slopes, drawn, truth = tasks_of_a_study(rng, blocks, tasks, tau, uneven)
                    found = pool_slopes(slopes, drawn, [(b, b) for b in range(blocks)], 0.95)
                    these, alike = found.these, found.alike
                    row = [these.low <= truth.mean() <= these.high, alike.low <= 0 <= alike.high]
                    row += [found.tau2_low <= tau**2 <= found.tau2_high]
                    seen.append([*row, (alike.high - alike.low) / (these.high - these.low)])
                cells = [f"{cell:.3f}" for cell in np.mean(seen, axis=0)[:3]]
                cells.append(f"{np.median(np.array(seen)[:, 3]):.1f}")
                noise = "uneven" if uneven else "even"
                print("|", " | ".join([str(blocks), str(tasks), str(tau), noise, *cells]), "|")


def main():
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(PARTS))
    parser.add_argument("--studies", type=int, default=1000)
    options = parser.parse_args()
    PARTS[options.what](options.studies)


PARTS = {"pooled": pooled}

if __name__ == "__main__":
    main()
