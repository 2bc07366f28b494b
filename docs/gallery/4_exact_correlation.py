"""The exact test of a correlation over few sizes.

Five sizes and two orders are few numbers. The usual p value of a rank correlation assumes many;
here all arrangements of the sizes are counted instead, within each order. The table is made up.
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import numpy as np

from ecgscale.scaling.ranks import permutation_test

# %%
# ## Scores that rise, with one step back
#
# A row an order (a draw of patients), a column a size, from the smallest to the largest.

SIZES = np.array([64, 160, 400, 1000, 2500])
rising = np.array([[0.71, 0.73, 0.72, 0.76, 0.78], [0.70, 0.72, 0.75, 0.76, 0.77]])
flat = np.array([[0.74, 0.73, 0.75, 0.72, 0.74], [0.73, 0.75, 0.72, 0.74, 0.73]])

# %%
# ## Count all arrangements
#
# If size did not matter, the scores of an order could as well have come in any of the 5! = 120
# sequences. The p value is the share of all 120 × 120 pairs of sequences that correlate at least
# as much as what was seen. No random number is drawn: `draws` counts only where there are too many
# arrangements.

rng = np.random.default_rng(0)
for name, scores in (("rising", rising), ("flat", flat)):
    test = permutation_test(scores, "spearman", draws=1000, rng=rng)
    print(f"{name:7} mean rho {test.statistic:+.3f}, p = {test.p:.5f}, random draws: {test.draws}")

# %%
# ## What few sizes cannot show
#
# The smallest p that a perfect sequence can reach depends on sizes and orders alone. With three
# sizes and one order, even a perfect rise has p = 1/3.

counts = range(3, 7)
figure, axes = plt.subplots()
for orders in (1, 2, 3):
    perfect = [
        permutation_test(np.tile(np.arange(float(k)), (orders, 1)), "spearman", 1000, rng)
        for k in counts
    ]
    smallest = [test.p for test in perfect]
    assert all(later < earlier for earlier, later in pairwise(smallest))
    axes.plot(counts, smallest, marker="o", label=f"{orders} order{'s' * (orders > 1)}")
axes.axhline(0.05, color="grey", linewidth=0.8)
axes.set_yscale("log")
axes.set_xticks(counts)
axes.set_xlabel("sizes")
axes.set_ylabel("smallest possible p")
axes.legend(frameon=False)
