"""A simulated cohort, from files to an ECG.

Twelve patients are simulated in the published layout of PTB-XL, read with the reader of the real
data set, and one recording is drawn. Whoever has PTB-XL skips the first cell: the reader sees no
difference.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from ecgscale.data import open_store
from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig

# %%
# ## Simulate
#
# A layout's files are written as published: WFDB headers and signals, and a table with labels,
# folds and ages. The same seed gives the same bytes on every machine.

raw = Path("raw")
written = simulate(CohortSettings(layout="ptb-xl", patients=12, seed=3), raw)
print(written["patients"], "patients,", written["records"], "recordings")
print(*sorted(path.name for path in raw.iterdir()), sep="\n")

# %%
# ## Ingest
#
# The recipe says what becomes of a signal: resampled to 100 Hz, filtered to 0.5-40 Hz, ten seconds.
# A record that cannot be used is quarantined with a reason; it never stops the others, and never
# disappears.

recipe = Recipe(fs=100, seconds=10, band=(0.5, 40))
source = SourceConfig(reader="ptb-xl", root=raw, watch=raw, options={"rate": 100})
summary = ingest("example", source, recipe, Path("store"))
print(summary.stored, "of", summary.records, "records stored; quarantined:", summary.quarantined)

# %%
# ## Look
#
# A store is a few large files of 16-bit samples and a table with a row a record.

store = open_store("store")
print(store.records[["record_id", "patient_id", "age", "sex"]].head().to_string(index=False))

# %%
# Samples are stored in steps of 1 µV, so a thousandth of them is mV.

shown = ("I", "II", "V1", "V5")
millivolts = store.raw([0], leads=shown)[0] / 1000
seconds = np.arange(store.n_samples) / store.fs
figure, axes = plt.subplots(len(shown), sharex=True, sharey=True, figsize=(8, 5))
for axis, lead, signal in zip(axes, shown, millivolts, strict=True):
    axis.plot(seconds, signal, color="black", linewidth=0.8)
    axis.set_ylabel(lead, rotation=0, ha="right")
    axis.grid(color="mistyrose")
axes[-1].set_xlabel("seconds")
axes[0].set_title(f"Record {store.records['record_id'][0]}, mV")
