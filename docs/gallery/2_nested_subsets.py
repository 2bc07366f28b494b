"""Nested subsets, and how their orders overlap.

If each size were a new draw of patients, two sizes would differ by luck as well as by amount. Here
a subset is a prefix of one seeded order of the patients, so that the larger always holds the
smaller. Other orders tell how much the luck of the draw matters.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ecgscale.data.subsets import nested_subset

# %%
# ## A pool
#
# All that counts of a pool is which record belongs to which patient. Every fifth patient has a
# second record here.

patients = [f"example:{number}" for number in range(1000)]
pool = pd.DataFrame({"patient_id": patients + patients[::5]})
pool["source"] = "example"
pool["record_id"] = [f"r{number}" for number in range(len(pool))]
print(len(pool), "records of", pool["patient_id"].nunique(), "patients")

# %%
# ## Prefixes are nested
#
# Sizes count patients; all records of a chosen patient come with it.

SIZES = [50, 100, 200, 400, 800]


def chosen(size: int, order: int) -> set[str]:
    """Return the patients of one subset."""
    return set(nested_subset(pool, size, order)["patient_id"])


for smaller, larger in pairwise(SIZES):
    inside = chosen(smaller, order=0) <= chosen(larger, order=0)
    print(f"{smaller:4} patients within the {larger:4}: {inside}")

# %%
# ## Newcomers reshuffle nobody
#
# A patient's place follows from its id and the order alone. When patients join the pool, those who
# were there keep their sequence; a prefix changes only by the newcomers that fall into it.

more = [f"example:{number}" for number in range(1000, 1200)]
newcomers = pd.DataFrame({"patient_id": more, "source": "example", "record_id": more})
grown = nested_subset(pd.concat([pool, newcomers]), 200, order=0)
kept = len(chosen(200, order=0) & set(grown["patient_id"]))
print(f"of 200 patients, {kept} are still in the subset of 200; the others are newcomers")

# %%
# ## How orders overlap
#
# Two orders share about size / pool of their patients: at 800 of 1,000, four fifths. Close to the
# whole pool, orders are hardly different draws, and their spread says little about the luck of the
# draw. That is why a study should not go up to its last patient.

orders = range(6)
shared = [
    [
        len(chosen(size, one) & chosen(size, other)) / size
        for one in orders
        for other in orders
        if one < other
    ]
    for size in SIZES
]
figure, axes = plt.subplots()
axes.plot(SIZES, np.array(SIZES) / 1000, color="grey", label="size / pool")
for size, shares in zip(SIZES, shared, strict=True):
    axes.scatter([size] * len(shares), shares, s=12, color="tab:blue")
axes.set_xscale("log", base=2)
axes.set_xticks(SIZES, map(str, SIZES))
axes.set_xlabel("patients in a subset")
axes.set_ylabel("share common to two orders")
axes.legend(frameon=False)
