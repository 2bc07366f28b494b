"""Pretrain a tiny encoder and probe it.

A whole study in small: two sizes, one objective, one task. The commands are those of every study;
`make study` runs them for all cells, several at once, and skips what is up to date. Sizes and steps
are far too small for a conclusion.
"""

import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from ecgscale import encoders
from ecgscale.data import open_store
from ecgscale.runs.record import RunRecord, result_path

# %%
# ## The study file
#
# One YAML file says what to simulate or read, what to pretrain on, and what to evaluate.

STUDY = """
study: {name: example, description: The example of the gallery., live_tracking_after: 60}
simulate:
  cohort: {layout: ptb-xl, patients: 400, seed: 1}
sources:
  cohort: {reader: ptb-xl, root: data/raw/cohort, watch: data/raw/cohort, options: {rate: 100}}
pool:
  cohort: {folds: [1, 2, 3, 4, 5, 6, 7, 8]}
grid:
  objectives: [simclr]
  encoders: [tiny]
  sizes: [32, 256]
  replicates: [{order: 0, seed: 0}]
  controls: [random]
encoders:
  tiny: {kind: net1d, params: {size: tiny}}
objectives:
  simclr: {kind: simclr}
  random: {kind: random}
training: {steps: 100, batch_size: 32, lr: 0.005, monitor_every: 100}
augment: {crop_seconds: 2.5}
evaluation:
  data: {ptb-xl: cohort}
  tasks: [ptb-xl-superdiagnostic]
  bootstrap: 200
report: {primary_task: ptb-xl-superdiagnostic}
tune: {objectives: [simclr], encoder: tiny, sizes: [32], task: ptb-xl-superdiagnostic}
"""
Path("params.yaml").write_text(STUDY)


def ecgscale(*arguments: str) -> None:
    """Run one command, and show what it says."""
    command = [sys.executable, "-m", "ecgscale", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print("$ python -m ecgscale", *arguments)
    print(done.stdout, end="")


# %%
# ## Data, targets, subsets
#
# Targets come first: their validation and test patients are left out of every subset, and so is
# who shares a recording with one of them under another name.

ecgscale("simulate", "cohort")
ecgscale("ingest", "cohort")
ecgscale("targets")
ecgscale("identity")
ecgscale("subset", "--size", "32")
ecgscale("subset", "--size", "256")

# %%
# ## Pretrain and evaluate
#
# A cell is named by objective, encoder, size, order and seed. The control `random` is the same
# encoder without any training.

CELLS = {
    "random weights": "random/tiny/n0-o0-s0",
    "32 patients": "simclr/tiny/n32-o0-s0",
    "256 patients": "simclr/tiny/n256-o0-s0",
}
for cell in CELLS.values():
    ecgscale("pretrain", cell)
    ecgscale("evaluate", cell)

# %%
# ## The encoder
#
# It is loaded strictly: a missing or renamed weight is an error. It takes what the recipe makes of
# a record, here z-scores per lead.

encoder = encoders.load(Path("models") / CELLS["256 patients"])
signal = torch.from_numpy(open_store("data/store/cohort").raw([0, 1, 2])).float()
signal = (signal - signal.mean(-1, keepdim=True)) / signal.std(-1, keepdim=True)
print("embedding:", tuple(encoder.embed(signal).shape))

# %%
# ## The scores
#
# Each run leaves one JSON file with all it measured; MLflow mirrors it. The interval resamples test
# patients.

results = {
    name: RunRecord.read(result_path(Path("results"), "evaluate", cell)).metrics
    for name, cell in CELLS.items()
}
task = "ptb-xl-superdiagnostic"
figure, axes = plt.subplots()
for place, (name, metrics) in enumerate(results.items()):
    score, low, high = (metrics[f"{task}.macro_auroc{end}"] for end in ("", "_low", "_high"))
    print(f"{name:15} {score:.3f} ({low:.3f} to {high:.3f})")
    axes.errorbar(score, place, xerr=[[score - low], [high - score]], fmt="o", capsize=3)
axes.set_yticks(range(len(results)), list(results))
axes.invert_yaxis()
axes.axvline(0.5, color="grey", linewidth=0.8)
axes.set_xlabel(f"macro AUROC on {task}, 95 % interval")
