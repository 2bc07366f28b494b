"""How often limb leads contradict each other in real recordings, and are found when made to.

    python benchmarks/limb_leads.py ../shared/ecg

Reads every recording in the published folders there. Alarms are recordings in which a lead is
beyond the tolerance of `ecgscale.data.limb_leads`. Then two limb leads are swapped, or one is
multiplied, in those without an alarm, and what is found is counted.
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np

from ecgscale.data.limb_leads import FOLLOWS, contradictions, differences
from ecgscale.data.sources import sources

FOLDERS = {
    "ptb-xl": "ptb-xl",
    **dict.fromkeys(
        ("chapman-shaoxing", "ningbo", "georgia", "cpsc2018", "cpsc-extra"), "challenge"
    ),
    **dict.fromkeys(("challenge-ptb-xl", "ptb"), "challenge"),
    "ludb": "wfdb-tree",
}
LIMB = ("I", "II", *FOLLOWS)
FACTORS = (-1.0, 0.1, 0.5, 0.8, 1.2, 2.0, 10.0)


def limb_leads(record):
    """The six limb leads of a record, shape (lead, time), or None."""
    if not {*LIMB} <= {*record.leads}:
        return None
    return record.signal[[record.leads.index(lead) for lead in LIMB]]


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("root", type=Path)
    root = parser.parse_args().root
    good = []
    print("| Folder | Recordings | Alarms | Largest difference without |")
    print("|---|---|---|---|")
    for folder, reader in FOLDERS.items():
        records = sources.get(reader)(root / folder, folder, {}).iter_records({})
        signals = [found for record in records if (found := limb_leads(record)) is not None]
        calm = [signal for signal in signals if not contradictions(signal, LIMB)]
        largest = max((max(differences(x, LIMB).values(), default=0.0) for x in calm), default=0.0)
        print(f"| {folder} | {len(signals)} | {len(signals) - len(calm)} | {largest:.1%} |")
        good += calm[::10] if folder == "ptb-xl" else calm
    print(f"\n| Made in {len(good)} recordings | Found |\n|---|---|")
    for a, b in combinations(range(len(LIMB)), 2):
        order = np.arange(len(LIMB))
        order[[a, b]] = b, a
        found = np.mean([bool(contradictions(signal[order], LIMB)) for signal in good])
        print(f"| {LIMB[a]} and {LIMB[b]} swapped | {found:.1%} |")
    for factor in FACTORS:
        scales = np.ones((len(LIMB), len(LIMB), 1))
        scales[np.diag_indices(len(LIMB))] = factor
        found = [bool(contradictions(signal * scale, LIMB)) for signal in good for scale in scales]
        print(f"| one lead times {factor:g} | {np.mean(found):.1%} |")


if __name__ == "__main__":
    main()
