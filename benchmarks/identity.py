"""Which copies of real recordings are found, how many others are taken for copies, what it costs.

    python benchmarks/identity.py --recordings FOLDER [--large 100000 1000000] [--out identity.json]

FOLDER is PTB-XL in its published layout. Three parts:

- **Copies.** The first records are changed as another distributor might, stored as int16, and
  compared with all records as published, by the whole of `ecgscale.data.copies`. Every match but a
  record's own copy is false.
- **Different recordings.** All records with each other, and simulated cohorts with each other.
- **Size.** Courses with the beats of one real record, the rhythm of another and noise; among them
  real ones and 1,000 changed copies of these. Signals do not exist for them, so this measures the
  index: seconds, memory, proposals per record, and how many copies are still proposed.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d
from scipy.signal import butter, resample_poly, sosfiltfilt

from ecgscale.data.copies import find_copies
from ecgscale.data.fingerprint import STEPS, fingerprints
from ecgscale.data.identity import propose
from ecgscale.data.ingest import ingest
from ecgscale.data.preprocess import quantise
from ecgscale.data.recipe import Recipe
from ecgscale.data.simulate import simulate
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import StoreWriter, input_digests, open_store

UNFILTERED = (0.0, 1000.0)
FS = 100
COHORTS = {
    "ptb-xl": {},
    "challenge": {"options": {"fs": 100}},
    "mimic-iv-ecg": {"options": {"fs": 100}},
    "mc-med": {"options": {"fs": 100}},
    "icentia11k": {"options": {"segment_seconds": 20}},
}


def band(low, high):
    sos = butter(3, (low, high) if high else low, "band" if high else "high", fs=FS, output="sos")
    return lambda x: sosfiltfilt(sos, x, axis=-1)


def z_scored(x):
    x = band(0.5, 40)(x)
    return x / np.maximum(x.std(axis=-1, keepdims=True), 1e-9)


def noise(millivolts):
    return lambda x: x + np.random.default_rng(1).normal(0, millivolts, x.shape)


def mains(x):
    # 50 Hz at 100 Hz sampling has no sine: 49 Hz stands for what is left of it.
    return x + 0.1 * np.sin(2 * np.pi * 49 * np.arange(x.shape[-1]) / FS)


CHANGES = {
    "100 to 250 to 100 Hz": lambda x: resample_poly(resample_poly(x, 5, 2, axis=-1), 2, 5, axis=-1),
    "shift by 1 sample (10 ms)": lambda x: x[..., 1:],
    "shift by 5 samples": lambda x: x[..., 5:],
    "shift by 20 samples": lambda x: x[..., 20:],
    "shift by 25 samples (0.25 s)": lambda x: x[..., 25:],
    "shift by 1 s": lambda x: x[..., 100:],
    "band 0.5-40 Hz": band(0.5, 40),
    "band 1-30 Hz": band(1, 30),
    "band 0.05 Hz and above": band(0.05, None),
    "gain 0.1": lambda x: 0.1 * x,
    "gain 10": lambda x: 10 * x,
    "0.5-40 Hz, z-score per lead": z_scored,
    "leads in another order": lambda x: x[:, np.random.default_rng(2).permutation(12)],
    "signs turned": lambda x: -x,
    "one lead missing": lambda x: x[:, 1:],
    "8 leads (I, II, V1-V6)": lambda x: x[:, [0, 1, 6, 7, 8, 9, 10, 11]],
    "3 leads (I, II, III)": lambda x: x[:, :3],
    "lead I alone": lambda x: x[:, :1],
    "lead II alone": lambda x: x[:, 1:2],
    "mains hum, 0.1 mV": mains,
    "white noise, SD 0.02 mV": noise(0.02),
    "white noise, SD 0.05 mV": noise(0.05),
    "first 8 s": lambda x: x[..., :800],
    "middle 7 s": lambda x: x[..., 150:850],
    "first 5 s": lambda x: x[..., :500],
}


def changed_store(store, rows, change, folder):
    """Write rows of a store under the same ids, changed and rounded to int16."""
    samples, _ = quantise(change(store.signals(rows).astype(np.float64)))
    _, leads, length = samples.shape
    recipe = store.manifest.recipe.model_copy(update={"leads": store.leads[:leads]})
    writer = StoreWriter(folder, recipe.leads, store.n_samples)
    short = store.n_samples - length
    padded = np.pad(samples, ((0, 0), (0, 0), (0, max(short, 0))))[..., : store.n_samples]
    prints = fingerprints(padded, store.fs, min(length, store.n_samples))
    records = store.records.iloc[rows].assign(valid_samples=min(length, store.n_samples))
    for row, one, print_ in zip(records.to_dict("records"), padded, prints, strict=True):
        row["fold"] = int(row["fold"])
        writer.add(row, one, print_)
    writer.finish(
        [],
        source="changed",
        reader="packed",
        namespace="changed",
        recipe=recipe,
        records=len(rows),
        quarantined={},
        inputs=input_digests([]),
    )
    return open_store(folder)


def published(root, rate, folder):
    config = SourceConfig(
        reader="ptb-xl", root=root, watch=root, options={"rate": rate}, max_quarantined=0.99
    )
    ingest("ptb-xl", config, Recipe(fs=rate, band=UNFILTERED), folder)
    return open_store(folder)


def compare(one, other):
    """Return which records of `other` match their own, how many match another, and how many may."""
    matches, manifest = find_copies({"a": one, "b": other}, set())
    across = matches[matches["source"] != matches["other_source"]]
    own = across[across["record_id"] == across["other_record_id"]]
    check = manifest.sources["b"]
    return {
        "records": check.records,
        "checked": check.checked,
        "unchecked": check.unchecked,
        "found": len(own),
        "false": len(matches) - len(own),
        "undecided": sum(pair.undecided for pair in manifest.pairs),
    }


def copies(root, folder, count):
    base = published(root, FS, folder / "100")
    rows = np.arange(min(count, len(base)))
    table = {"500 Hz as published": compare(base, published(root, 500, folder / "500"))}
    for number, (name, change) in enumerate(CHANGES.items()):
        place = folder / str(number)
        place.mkdir()
        table[name] = compare(base, changed_store(base, rows, change, place))
        print(name, table[name], flush=True)
    return base, table


def different(base, folder, patients):
    stores = {"ptb-xl": base}
    for number, (layout, options) in enumerate(COHORTS.items()):
        raw = folder / f"raw-{layout}"
        simulate(CohortSettings(layout=layout, patients=patients, seed=number, **options), raw)
        config = SourceConfig(reader=layout, root=raw, watch=raw)
        ingest(f"sim-{layout}", config, Recipe(), folder / f"store-{layout}")
        stores[f"sim-{layout}"] = open_store(folder / f"store-{layout}")
    patients_of = base.records["patient_id"].value_counts()
    started = time.perf_counter()
    matches, manifest = find_copies(stores, set())
    return {
        "records": {name: len(store) for name, store in stores.items()},
        "unchecked": {name: check.unchecked for name, check in manifest.sources.items()},
        "pairs": int(sum(map(len, stores.values())) ** 2 // 2),
        "pairs of one real patient": int((patients_of * (patients_of - 1) // 2).sum()),
        "matches": len(matches),
        "undecided": sum(pair.undecided for pair in manifest.pairs),
        "seconds": time.perf_counter() - started,
    }


def look_alikes(base, count, rng):
    """Return courses: beats of one record, rhythm and heights of another, noise."""
    before, after, beats = 7, 13, 30
    width = base.shape[1]
    peak = (base >= STEPS) & (base == maximum_filter1d(base, 11, axis=1, mode="nearest"))
    kept = []
    for course, at in zip(base.astype(np.float32), peak, strict=True):
        places = np.flatnonzero(at)
        whole = places[(places >= before) & (places < width - after)]
        if len(places) < 5 or len(whole) < 3:
            continue
        beat = np.stack([course[p - before : p + after + 1] for p in whole])
        mean = np.pad(beat.mean(axis=0) - np.median(course), 1)
        heights = course[places] / course[places].mean()
        rhythm = np.resize(np.diff(places), beats), np.resize(heights, beats)
        kept.append((mean, (beat - beat.mean(axis=0)).std(), *rhythm))
    shapes, noises, intervals, heights = (np.array(column) for column in zip(*kept, strict=True))
    out = np.empty((count, width), dtype=np.int8)
    for start in range(0, count, 20_000):
        n = min(20_000, count - start)
        shape, rhythm = rng.integers(0, len(kept), (2, n))
        order = rng.permuted(np.tile(np.arange(beats), (n, 1)), axis=1)
        interval = np.take_along_axis(intervals[rhythm], order, axis=1)
        interval = interval * np.exp(rng.normal(0, 0.1, (n, 1))) + rng.normal(0, 0.3, (n, beats))
        height = np.take_along_axis(heights[rhythm], order, axis=1)
        times = np.cumsum(interval, axis=1) - rng.uniform(0, 30, (n, 1))
        course = np.zeros((n, width + 80), dtype=np.float32)
        for k in range(beats):
            below = np.floor(times[:, k]).astype(int)
            part = (times[:, k] - below)[:, None]
            beat = (1 - part) * shapes[shape][:, 1:] + part * shapes[shape][:, :-1]
            place = below[:, None] - before + 40 + np.arange(beat.shape[1])
            row = np.broadcast_to(np.arange(n)[:, None], place.shape)
            inside = (place >= 0) & (place < course.shape[1])
            np.add.at(course, (row[inside], place[inside]), (height[:, k : k + 1] * beat)[inside])
        course = course[:, 40:-40]
        rough = gaussian_filter1d(rng.normal(size=course.shape).astype(np.float32), 1.0, axis=1)
        course += rough / rough.std() * noises[shape][:, None] * 0.7
        course -= course.mean(axis=1, keepdims=True)
        course /= course.std(axis=1, keepdims=True)
        out[start : start + n] = np.clip(np.rint(course * STEPS), -127, 127)
    return out


def size(base, count):
    real = base.fingerprints()
    planted = np.linspace(0, len(real) - 1, min(1000, len(real))).astype(int)
    signals = band(0.67, 30)(base.signals(planted).astype(np.float64))[..., 20:]
    rounded, _ = quantise(signals)
    short = fingerprints(rounded, base.fs, rounded.shape[-1])
    prints = np.zeros((count, real.shape[1]), dtype=np.int8)
    lengths = np.full(count, real.shape[1])
    first = count - len(planted)
    prints[: len(real)] = real
    prints[first:, : short.shape[1]] = short
    lengths[first:] = short.shape[1]
    rng = np.random.default_rng(0)
    prints[len(real) : first] = look_alikes(np.asarray(real), first - len(real), rng)
    started = time.perf_counter(), time.process_time()
    pairs = propose(prints, lengths)
    seconds, busy = time.perf_counter() - started[0], time.process_time() - started[1]
    proposed = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    found = sum((row, first + place) in proposed for place, row in enumerate(planted.tolist()))
    return {
        "records": count,
        "seconds": seconds,
        "of one core": busy,
        "peak GiB of the process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "proposals per record": len(pairs.first) / count,
        "planted copies": len(planted),
        "of these proposed": found,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--recordings", type=Path, required=True)
    parser.add_argument("--copies", type=int, default=600, help="Records to change.")
    parser.add_argument("--patients", type=int, default=300, help="Of each simulated cohort.")
    parser.add_argument("--large", type=int, nargs="*", default=[100_000])
    parser.add_argument("--out", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        base, table = copies(chosen.recordings, folder, chosen.copies)
        result = {
            "copies": table,
            "different": different(base, folder, chosen.patients),
        }
        print(result["different"], flush=True)
        result["size"] = []
        for count in chosen.large:
            result["size"].append(size(base, count))
            print(result["size"][-1], flush=True)
    if chosen.out:
        chosen.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
