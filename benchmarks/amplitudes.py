"""What the checks of amplitudes find, and what they cost: power and false alarms on real data.

    python benchmarks/amplitudes.py --recordings ../shared/ecg [--out FILE.json]

Prints the tables of docs/amplitudes.md: the amplitudes of each folder of real recordings and the
alarms that they give as they are; the usual amplitude of each lead (`amplitude.USUAL`); and how
much of a wrong gain is found, where real amplitudes are multiplied by a factor in one record of a
source, in a tenth of it (with the same header, and with a header of its own) and in all of it; and
how much where the factor is that of one lead, in one record and in a whole source. Wrong gains are
drawn from the records without defect (all folders but CinC 2011's).
"""

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich.console import Console
from rich.progress import track

from ecgscale.data.amplitude import (
    LEAD_NOTED,
    LEAD_POSSIBLE,
    UNEQUAL,
    USUAL,
    against_others,
    compared,
    judge,
    lead_amplitudes,
    usual_amplitude,
)
from ecgscale.data.ingest import ingest
from ecgscale.data.preprocess import keep
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources import sources
from ecgscale.data.sources.base import QuarantineError
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store

FOLDERS = {
    "PTB-XL, 100 Hz": ("ptb-xl", "ptb-xl", {}),
    "PTB-XL, 500 Hz": ("ptb-xl", "ptb-xl", {"rate": 500}),
    "PTB-XL as in the Challenge": ("challenge", "challenge-ptb-xl", {}),
    "Chapman-Shaoxing": ("challenge", "chapman-shaoxing", {}),
    "Ningbo": ("challenge", "ningbo", {}),
    "Georgia": ("challenge", "georgia", {}),
    "CPSC 2018": ("challenge", "cpsc2018", {}),
    "CPSC-Extra": ("challenge", "cpsc-extra", {}),
    "PTB": ("challenge", "ptb", {}),
    "LUDB": ("wfdb-tree", "ludb", {}),
    "CinC 2011": ("packed", "pool100", {"signals": "cinc2011.npz", "table": "cinc2011.csv"}),
}
NOISY = "CinC 2011"
LARGEST = "PTB-XL, 100 Hz"
FACTORS = (1 / 1000, 1 / 200, 1 / 10, 1 / 5, 1 / 2, 1, 2, 5, 10, 200, 1000)
SOURCE, DRAWS = 200, 200
"""Records of a drawn source, and how many sources are drawn."""


def stored(root, folder, reader, options, out):
    """Ingest a folder; return the amplitudes of what is stored and the alarms."""
    path = root / folder
    config = SourceConfig(reader=reader, root=path, watch=path, options=options, max_quarantined=1)
    summary = ingest(folder, config, Recipe(), out)
    store = open_store(out)
    left_out = store.quarantine[store.quarantine.reason == "bad-gain"]
    one_lead = store.records.notes.map(lambda notes: any("let expect" in x for x in notes))
    alone = store.records.notes.map(lambda notes: any("in one step" in x for x in notes))
    ends = store.records.notes.map(lambda notes: any(x.endswith(" are 32767") for x in notes))
    notes = store.records.notes.map(
        lambda notes: [x for x in notes if "amplitude" in x and "let expect" not in x]
    )
    corrected = notes.map(lambda found: any(" read as " in note for note in found))
    level = np.log(store.records.amplitude)
    spread = 1.4826 * np.median(abs(level - np.median(level)))
    return store.records.amplitude.to_numpy(), {
        "records": summary.records - summary.quarantined.get("missing-signal-file", 0),
        "median": float(np.exp(np.median(level))),
        "spread": float(np.exp(spread)),
        "smallest": float(store.records.amplitude.min()),
        "largest": float(store.records.amplitude.max()),
        "corrected": int(corrected.sum()),
        "noted": int((notes.map(bool) & ~corrected).sum()),
        "left out": len(left_out),
        "a lead noted": int(one_lead.sum()),
        "a lead left out": int(left_out.detail.str.startswith("lead ").sum()),
        "far samples": int(alone.sum()),
        "16-bit ends": int(ends.sum()),
        "source notes": list(summary.found.source_notes),
    }


def usual(root):
    """Return the median amplitude of each lead, over the largest folder."""
    reader, folder, options = FOLDERS[LARGEST]
    records = sources.get(reader)(root / folder, folder, options).iter_records({})
    found = [lead_amplitudes(x.signal[[x.leads.index(i) for i in LEADS]], x.fs) for x in records]
    return dict(zip(LEADS, np.nanmedian(found, axis=0).tolist(), strict=True))


def outcome(amplitudes, wrong, gains):
    """Return which records of a source are left out and which are noted.

    What is further off than the limits for any one record never reaches the comparison.
    """
    rows = [
        {"patient_id": i, "amplitude": x, "gain": g, "device": "", "fs_original": 500.0}
        for i, (x, g) in enumerate(zip(amplitudes, gains, strict=True))
    ]
    ratio = amplitudes / usual_amplitude(LEADS)
    alive = np.flatnonzero((ratio <= 10) & (ratio >= 0.1))
    found = judge([rows[i] for i in alive], LEADS)
    left = np.ones(len(rows), dtype=bool)
    left[alive] = [place in found.left_out for place in range(len(alive))]
    noted = np.zeros(len(rows), dtype=bool)
    noted[alive] = [place in found.noted for place in range(len(alive))]
    whole = any("the source" in note for note in found.notes)
    return {
        "left out": float(left[wrong].mean()),
        "found": float((left | noted)[wrong].mean()) if not whole else 1.0,
        "others left out": float(left[~wrong].mean()) if not wrong.all() else 0.0,
    }


def power(pool, rng):
    """Return, by design and factor, the shares that are found."""
    table = {}
    designs = {"one record": 1, "tenth": SOURCE // 10, "tenth, own header": SOURCE // 10}
    designs |= {"whole source": SOURCE, "5 of 5 records": 5}
    for name, count in track(designs.items(), "power", console=Console(stderr=True)):
        for factor in FACTORS:
            size = 5 if name.startswith("5") else SOURCE
            every = []
            for _ in range(DRAWS):
                amplitudes = rng.choice(pool, size, replace=False)
                wrong = np.arange(size) < count
                own = name.endswith("own header")
                gains = np.where(wrong & own, "200/mV", "1000/mV").tolist()
                every.append(outcome(np.where(wrong, factor, 1) * amplitudes, wrong, gains))
            means = {key: float(np.mean([each[key] for each in every])) for key in every[0]}
            table[f"{name} x {factor:g}"] = means
    return table


def of_leads(root):
    """Return the amplitude of each lead in the records without defect, shape (record, lead)."""
    found = []
    for reader, folder, options in (FOLDERS[name] for name in FOLDERS if name != NOISY):
        source = sources.get(reader)(root / folder, folder, options)
        for ref in source.listed():
            try:
                record = source.load(ref)
                kept, _ = keep(record, Recipe())
            except QuarantineError:
                continue
            found.append(lead_amplitudes(kept, record.fs))
    return np.array(found)


def lead_power(amplitudes, rng):
    """Return, by factor, the shares found where the gain of one chest lead is wrong."""
    table = {}
    lowest, highest = LEAD_POSSIBLE
    usual = np.array([USUAL[lead] for lead in LEADS])
    alone = compared(LEADS)
    for factor in track(FACTORS, "one lead", console=Console(stderr=True)):
        left, noted, by_header, whole, whole_noted = ([] for _ in range(5))
        for place in np.flatnonzero(alone):
            wrong = amplitudes * np.where(np.arange(len(LEADS)) == place, factor, 1)
            level = wrong[:, place] / usual[place]
            out = (level > highest) | ((level < lowest) & (level > 0))
            apart = np.array([against_others(one, LEADS) for one in wrong])
            noted.append(out | (np.nanmax(abs(apart[:, alone]), axis=1) > np.log(LEAD_NOTED)))
            own, off = abs(apart[:, place]), abs(np.log(factor))
            unequal = (own > off / 2) & (own > abs(apart[:, place] - np.log(factor)))
            by_header.append(noted[-1] | (unequal & (off >= np.log(UNEQUAL))))
            left.append(out)
            for _ in range(DRAWS // alone.sum()):
                drawn = rng.choice(len(wrong), SOURCE, replace=False)
                rows = [
                    {"patient_id": i, "amplitude": x, "gain": "", "device": "", "fs_original": 500}
                    for i, x in enumerate(np.nanmedian(wrong[drawn], axis=1))
                ]
                judged = judge(rows, LEADS, apart[drawn])
                whole.append(len(judged.left_out) > SOURCE / 2)
                said = any(note.startswith(f"lead {LEADS[place]} ") for note in judged.notes)
                whole_noted.append(whole[-1] or said)
        table[f"{factor:g}"] = {
            "found": float(np.mean(noted)),
            "found, worst lead": float(np.mean(noted, axis=1).min()),
            "left out": float(np.mean(left)),
            "found, own gain in the header": float(np.mean(by_header)),
            "whole source: left out": float(np.mean(whole)),
            "whole source: left out or noted": float(np.mean(whole_noted)),
        }
    return table


def main():
    """Measure, print Markdown tables, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=Path, default=Path("../shared/ecg"))
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    pool, folders = [], {}
    with TemporaryDirectory() as scratch:
        for name, (reader, folder, options) in FOLDERS.items():
            out = Path(scratch) / name
            amplitudes, folders[name] = stored(arguments.recordings, folder, reader, options, out)
            if name != NOISY:
                pool.append(amplitudes)
    keys = [key for key in folders[LARGEST] if key != "source notes"]
    print("| Recordings |", " | ".join(keys), "|")
    for name, row in folders.items():
        print(
            "|", name, "|", " | ".join(f"{row[key]:.3g}" for key in keys), "|", row["source notes"]
        )
    leads = usual(arguments.recordings)
    print({lead: round(value, 2) for lead, value in leads.items()})
    found = power(np.concatenate(pool), np.random.default_rng(0))
    for name, row in found.items():
        print("|", name, "|", " | ".join(f"{100 * value:.2f}" for value in row.values()), "|")
    one_lead = lead_power(of_leads(arguments.recordings), np.random.default_rng(0))
    print("| one chest lead times |", " | ".join(next(iter(one_lead.values()))), "|")
    for name, row in one_lead.items():
        print("|", name, "|", " | ".join(f"{100 * value:.2f}" for value in row.values()), "|")
    if arguments.out:
        result = {"folders": folders, "usual": leads, "power": found, "one lead": one_lead}
        arguments.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
