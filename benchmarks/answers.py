"""Coverage and error rates of what is said beside the slope, by simulation of known truth.

`python benchmarks/answers.py pooled` prints a Markdown table; so do `gain`, `shapes`, `rivals`,
`laws`, `contrasts` and `exchange`.
"""

import argparse
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import track

from ecgscale.evaluation.endpoints import Endpoint
from ecgscale.evaluation.metrics.macro_auroc import MacroAuroc
from ecgscale.evaluation.settings import Protocol
from ecgscale.scaling.arms import contrast_arms
from ecgscale.scaling.axes import rho_on
from ecgscale.scaling.gain import share_of, start
from ecgscale.scaling.groups import Group
from ecgscale.scaling.labels import exchange_of, labels
from ecgscale.scaling.laws import fit_laws
from ecgscale.scaling.pooled import pool_slopes
from ecgscale.scaling.ranks import average_ranks, spearman
from ecgscale.scaling.rivals import concordance, duels, kendall_w
from ecgscale.scaling.shape import shape
from ecgscale.scaling.surface import surfaces
from ecgscale.scaling.variance import contrast_estimate
from ecgscale.scaling.without import left_out

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
                for _ in track(
                    range(studies), f"{blocks} {tasks} {tau}", console=Console(stderr=True)
                ):
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


def a_group(rng, curve, blocks, resamples=RESAMPLES, name="a", luck=None, common=None, quiet=1.0):
    """Return a group about a true curve; what seeds and test patients do to all sizes is shared.

    Runs have an SD of 0.004, a block and the test patients move all sizes by as much, and test
    patients each size by 0.0015; times `quiet`.
    """
    k = np.shape(curve)[-1]
    luck = rng.normal(0, 0.004, (blocks, 1)) if luck is None else luck
    common = rng.normal(0, 0.004, (resamples + 1, 1, 1)) if common is None else common
    patients = common + rng.normal(0, 0.0015 * quiet, (resamples + 1, 1, k))
    score = curve + luck + rng.normal(0, 0.004 * quiet, (blocks, k)) + patients[0]
    drawn = score + patients[1:] + rng.normal(0, 0.001 * quiet, (resamples, blocks, k))
    place = tuple((block, block) for block in range(blocks))
    endpoint = Endpoint("t", "t", Protocol(), MacroAuroc())
    return Group(name, "e", "r", endpoint, 64 * 2 ** np.arange(k), place, score, drawn)


def gain(studies):
    """Of the share, and how often a gain is said to start below where it does."""
    print("| Replicates | Share covers | Bounded | Starts too early |\n| --- | --- | --- | --- |")
    for blocks in (2, 3, 5):
        rng, seen = np.random.default_rng(0), []
        for _ in track(range(studies), f"{blocks}", console=Console(stderr=True)):
            # Gain over the random encoder: of 0.02 at the smallest size and 0.04 at the largest.
            found = a_group(rng, np.array([0.02, 0.025, 0.03, 0.035, 0.04]), blocks)
            parts = [(found.score[:, p], found.replicates[:, :, p]) for p in (0, -1)]
            share = share_of(*parts, found.blocks, 0.95)
            late = a_group(rng, np.array([0, 0, 0, 0.03, 0.06]), blocks)
            ends = [
                contrast_estimate(late.score[:, p], late.replicates[:, :, p], late.blocks, 0.95)
                for p in range(5)
            ]
            first = start([end.value > 0 for end in ends], [end.p for end in ends], 0.95)
            covers = share.low <= 0.5 <= share.high if not share.problem else np.nan
            seen.append([covers, not share.problem, first is not None and first < 3])
        covers, bounded, early = np.nanmean(np.array(seen, dtype=float), axis=0)
        print(f"| {blocks} | {covers:.3f} | {bounded:.2f} | {early:.3f} |")


def shapes(studies):
    """Of which form curves are said to be."""
    step = np.arange(6)
    curves = {
        "0.002 per doubling after the third size": 0.01 * np.minimum(step, 2)
        + 0.002 * np.maximum(step - 2, 0),
        "flat after the third size": 0.01 * np.minimum(step, 2),
        "0.002 per doubling": 0.002 * step,
        "flat": 0.0 * step,
        "0.01 per doubling": 0.01 * step,
    }
    forms = ["saturates", "only the first step", "negligible", "improves throughout"]
    forms += ["slows down", "no gain", "not told apart"]
    print("| Replicates | Noise | Truth |", " | ".join(forms), "|")
    print("| --- " * (len(forms) + 3) + "|")
    for blocks, quiet in ((3, 1.0), (5, 1.0), (5, 0.2), (10, 0.2)):
        for name, curve in curves.items():
            rng, seen = np.random.default_rng(0), Counter()
            for _ in track(range(studies), f"{blocks} {name}", console=Console(stderr=True)):
                seen[shape(a_group(rng, curve, blocks, quiet=quiet), 0.95, 0.002).form] += 1
            cells = [f"{seen[form] / studies:.3f}" for form in forms]
            print("|", " | ".join([str(blocks), f"x {quiet:g}", name, *cells]), "|")


def rivals(studies):
    """How often equal objectives are told apart, and how often the interval of W holds it."""
    print("| Replicates | Any rejection | W covers |\n| --- | --- | --- |")
    step = np.arange(5)
    curves = {"a": 0.01 * step, "b": 0.018 + 0 * step, "c": 0.03 - 0.01 * step}
    ranks = np.array([average_ranks(-row) for row in np.array(list(curves.values())).T])
    truth = float(kendall_w(ranks))
    for blocks in (2, 3, 5):
        rng, seen = np.random.default_rng(0), []
        for _ in track(range(studies), f"{blocks}", console=Console(stderr=True)):
            luck = rng.normal(0, 0.004, (blocks, 1))
            common = rng.normal(0, 0.004, (RESAMPLES + 1, 1, 1))
            shared = {"luck": luck, "common": common}
            flat = [a_group(rng, 0.8 + 0 * step, blocks, name=name, **shared) for name in "abc"]
            apart = [a_group(rng, curve, blocks, name=n, **shared) for n, curve in curves.items()]
            kept = concordance(apart, 0.95, 300, 0)
            told = any(duel.p_holm <= 0.05 for duel in duels(flat, 0.95))
            seen.append([told, kept.low - 1e-9 <= truth <= kept.high + 1e-9])
        told, covers = np.mean(seen, axis=0)
        print(f"| {blocks} | {told:.3f} | {covers:.3f} |")


def scaling_laws(studies):
    """Of parameters, and of where a law expects the largest size."""
    print("| Replicates | Law | Parameters cover | Largest size as expected | Said open |")
    print("| --- | --- | --- | --- | --- |")
    n = 64.0 * 2 ** np.arange(7)
    truths = {
        "power law": (0.5 * n**-0.12, {"A": 0.5, "alpha": 0.12}),
        "log-linear": (0.4 - 0.02 * np.log2(n), {"a": 0.4, "b": 0.02}),
        "power law with floor": (0.1 + 2.0 * n**-0.6, {"E": 0.1, "A": 2.0, "alpha": 0.6}),
    }
    for blocks in (2, 3, 5):
        for name, (error, truth) in truths.items():
            rng, seen, opened, lost = np.random.default_rng(0), [], 0, 0
            for _ in track(range(studies), f"{blocks} {name}", console=Console(stderr=True)):
                fits = fit_laws(a_group(rng, 1 - error, blocks), draws=300)
                law = next(law for law in fits.laws if law.name == name)
                if law.problem:
                    lost += 1
                    continue
                ends = [(truth[key], *law.intervals[key]) for key in truth]
                seen.append([*(low <= value <= high for value, low, high in ends), not law.refuted])
                opened += bool(law.unidentified)
            covers = np.mean(seen, axis=0)
            said = ", ".join(f"{key} {of:.3f}" for key, of in zip(truth, covers, strict=False))
            told = f"{opened / studies:.2f}, not fitted {lost / studies:.2f}"
            print(f"| {blocks} | {name} | {said} | {covers[-1]:.3f} | {told} |")


def flat_table(groups, **columns):
    """Return a collection with a column for each function of a group, a block and a size."""
    rows = [
        {
            **{"objective": g.objective, "encoder": g.encoder, "endpoint": g.endpoint.name},
            **{"order": block[0], "seed": block[1], "size": size},
            **{name: of(g, block, size) for name, of in columns.items()},
        }
        for g in groups
        for block in g.blocks
        for size in g.sizes
    ]
    return SimpleNamespace(table=pd.DataFrame(rows))


def holds(estimate, truth):
    """Return whether an interval covers."""
    return estimate.low <= truth <= estimate.high


def contrasts(studies):
    """Of arms, model sizes, labels, left-out sources and of Spearman's coefficient."""
    columns = ("Arm", "Equal arms told apart", "Product", "Labels", "Source", "Bent", "Rho")
    print("| Replicates |", " | ".join(columns), "|")
    print("| --- " * (len(columns) + 1) + "|")
    step = np.arange(5)
    sizes = {"tiny": 1e4, "small": 8e4, "base": 3e5}
    scaled = np.log2(list(sizes.values()))
    design = SimpleNamespace(kinds=dict.fromkeys(sizes, "net1d"), endpoints=())
    many = np.random.default_rng(1)
    curve = 0.004 * step + many.normal(0, 0.004, (20000, 5)) + many.normal(0, 0.0015, (20000, 5))
    losses = -0.1 * step + many.normal(0, 0.05, (20000, 5))
    rho = np.mean([spearman(y[np.argsort(x)]) for x, y in zip(losses, curve, strict=True)])
    for blocks in (2, 3, 5):
        rng, seen = np.random.default_rng(0), []
        for _ in track(range(studies), f"{blocks}", console=Console(stderr=True)):
            alike = {
                "luck": rng.normal(0, 0.004, (blocks, 1)),
                "common": rng.normal(0, 0.004, (RESAMPLES + 1, 1, 1)),
            }

            def made(curve, name="a", with_alike=alike, rng=rng, blocks=blocks):
                return a_group(rng, curve, blocks, name=name, **with_alike)

            parent = made(0.01 * step)
            arm = contrast_arms([(made(0.015 * step, "b"), parent)], 0.95)[0].difference
            equal = [(made(0.01 * step, name), parent) for name in "bcd"]
            told = any(one.p_holm <= 0.05 for one in contrast_arms(equal, 0.95) if not one.size)
            wide = [
                replace(made((0.01 + 0.001 * at) * (step - 2)), encoder=name)
                for name, at in zip(sizes, scaled - scaled.mean(), strict=True)
            ]
            design.endpoints = (wide[0].endpoint,)
            table = flat_table(wide, parameters=lambda group, *_: sizes[group.encoder])
            product = surfaces(design, table, wide, 0.95)[0].terms["product"]
            few = replace(
                made(0.015 * step),
                endpoint=replace(parent.endpoint, name="few", protocol=Protocol(fraction=0.1)),
            )
            (bought,) = labels([few, parent], 0.95)
            left = 0.7 + rng.normal(0, 0.02, (blocks, 5))
            of_sources = []
            for rises in (lambda at: 0.01 * at, lambda at: 0.06 * (1 - 0.6**at)):
                truth, at = rises(step), rises(step + np.log2(left))
                less, whole = made(at + 0.003, "less"), made(truth)
                known = flat_table(
                    [less, whole],
                    patients=lambda g, block, n, left=left: (
                        n * left[block[0], int(np.log2(n / 64))]
                    ),
                )
                mean = left_out(known, [(less, whole)], {"less": ("s",)}, 0.95)[0]
                of_sources.append(holds(mean.same_patients, 0.003))
            scattered = a_group(rng, 0.004 * step, blocks)
            loss = -0.1 * step + rng.normal(0, 0.05, (blocks, 5))
            found = rho_on(loss, scattered.score, scattered.replicates, scattered.blocks, 0.95)
            known_rho = np.nan if np.isnan(found.low) else holds(found, rho)
            seen.append(
                [
                    *(holds(arm, 0.005), told, holds(product, 0.001)),
                    *(holds(bought.interaction, 0.005), *of_sources, known_rho),
                ]
            )
        cells = " | ".join(f"{cell:.3f}" for cell in np.nanmean(np.array(seen, float), axis=0))
        print(f"| {blocks} | {cells} |")


def exchange(studies):
    """Of how many times more labels equal more pretraining patients."""
    print("| Replicates | True ratio | Interval covers | Open | Read off |")
    print("| --- | --- | --- | --- | --- |")
    shares = np.array([0.1, 0.25, 0.5, 1.0])
    means = 0.70 + 0.02 * np.log2(shares / 0.1)
    for blocks in (2, 3, 5):
        for ratio in (2.0, 4.0):
            rng, seen = np.random.default_rng(0), []
            for _ in track(range(studies), f"{blocks} {ratio}", console=Console(stderr=True)):
                luck = rng.normal(0, 0.004, (blocks, 1))
                common = rng.normal(0, 0.004, (RESAMPLES + 1, 1, 1))
                alike = {"luck": luck, "common": common}
                small = a_group(rng, means, blocks, **alike)
                goal = a_group(rng, np.array([0.70 + 0.02 * np.log2(ratio)]), blocks, **alike)
                found = exchange_of(
                    shares,
                    (small.score, small.replicates),
                    (goal.score[:, 0], goal.replicates[:, :, 0]),
                    *(0.1, small.blocks, 0.95),
                )
                open_end = found.low == 0 or np.isinf(found.high)
                seen.append([found.low <= ratio <= found.high, open_end, not found.problem])
            cells = " | ".join(f"{cell:.3f}" for cell in np.mean(seen, axis=0))
            print(f"| {blocks} | {ratio:g} | {cells} |")


def main():
    """Simulate and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(PARTS))
    parser.add_argument("--studies", type=int, default=1000)
    options = parser.parse_args()
    PARTS[options.what](options.studies)


PARTS = {
    **{"pooled": pooled, "gain": gain, "shapes": shapes, "rivals": rivals, "laws": scaling_laws},
    **{"contrasts": contrasts, "exchange": exchange},
}

if __name__ == "__main__":
    main()
