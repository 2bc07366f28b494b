"""Reading a store, and what storing only the eight independent leads would change.

    python benchmarks/store.py [--records 20000] [--out store.json]

Three ways to get float32 batches of 12 leads: the store (12 leads as int16), the eight independent
leads with III, aVR, aVL and aVF derived on reading, and `wfdb.rdrecord` on one file per record (the
reference). Each is read in random and in sequential batches of 256; every batch is checked against
the first way before anything is timed. Single-lead reads are timed for the two arrays.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import wfdb

from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS, INDEPENDENT_LEADS, LEADS
from ecgscale.data.store import StoreWriter, input_digests, open_store

BATCH = 256
FILES = 200
DERIVED = {"III": (-1, 1), "aVR": (-0.5, -0.5), "aVL": (1, -0.5), "aVF": (-0.5, 1)}
"""Weights of I and II (Einthoven, Goldberger)."""


def weights():
    """Return the matrix from the eight stored leads, in uV, to all twelve, in mV."""
    matrix = np.zeros((len(LEADS), len(INDEPENDENT_LEADS)), dtype=np.float32)
    for row, lead in enumerate(LEADS):
        if lead in DERIVED:
            matrix[row, :2] = DERIVED[lead]
        else:
            matrix[row, INDEPENDENT_LEADS.index(lead)] = 1
    return matrix * np.float32(1e-3)


def even_beats(count, n_samples):
    """Return int16 records, even numbers so that the derived leads are exact."""
    rng = np.random.default_rng(0)
    free = 2 * rng.integers(-500, 500, (count, len(INDEPENDENT_LEADS), n_samples), dtype=np.int16)
    return np.rint(np.matmul(weights() * 1000, free.astype(np.float32))).astype(np.int16)


def write_store(folder, records, recipe):
    pool = even_beats(min(records, 512), recipe.n_samples)
    writer = StoreWriter(folder, recipe.leads, recipe.n_samples)
    for number in range(records):
        row = {name: float("nan") for name in ("age", *CLINICAL_FIELDS)}
        writer.add({"record_id": str(number), **row}, pool[number % len(pool)])
    writer.finish(
        [],
        source="benchmark",
        reader="packed",
        namespace="benchmark",
        recipe=recipe,
        records=records,
        quarantined={},
        inputs=input_digests([]),
    )
    return open_store(folder)


def write_eight(path, store):
    columns = [LEADS.index(lead) for lead in INDEPENDENT_LEADS]
    shape = len(store), len(columns), store.n_samples
    eight = np.lib.format.open_memmap(path, "w+", np.int16, shape)
    for start in range(0, len(store), 1024):
        rows = np.arange(start, min(start + 1024, len(store)))
        eight[rows] = store.raw(rows)[:, columns]
    eight.flush()
    return np.load(path, mmap_mode="r")


def write_wfdb(folder, store):
    folder.mkdir()
    for number, samples in enumerate(store.raw(np.arange(FILES))):
        wfdb.wrsamp(
            str(number),
            fs=store.fs,
            units=["mV"] * len(LEADS),
            sig_name=list(LEADS),
            d_signal=samples.T.astype(np.int64),
            fmt=["16"] * len(LEADS),
            adc_gain=[1000.0] * len(LEADS),
            baseline=[0] * len(LEADS),
            write_dir=str(folder),
        )


def rate(read, batches):
    """Return records per second: the median over batches."""
    seconds = []
    for rows in batches:
        start = time.perf_counter()
        read(rows)
        seconds.append((time.perf_counter() - start) / len(rows))
    return round(1 / statistics.median(seconds))


def measure(records, folder):
    store = write_store(folder, records, Recipe())
    eight = write_eight(folder / "eight.npy", store)
    write_wfdb(folder / "wfdb", store)
    matrix = weights()

    def derive(rows):
        out = np.empty((len(rows), len(LEADS), store.n_samples), dtype=np.float32)
        for start in range(0, len(rows), 8):  # small enough to stay in the processor's cache
            part = eight[rows[start : start + 8]].astype(np.float32)
            np.matmul(matrix, part, out=out[start : start + 8])
        return out

    def files(rows):
        names = (folder / "wfdb" / str(row) for row in rows)
        return np.stack([wfdb.rdrecord(str(name)).p_signal.T for name in names])

    ways = {"store, 12 leads": store.signals, "8 leads, 4 derived": derive}
    check = np.arange(32)
    for way in (*ways.values(), files):
        np.testing.assert_allclose(way(check), store.signals(check), atol=1e-6)

    rng = np.random.default_rng(1)
    size = min(BATCH, records)
    orders = {
        "random": [rng.choice(records, size, replace=False) for _ in range(40)],
        "sequential": [np.arange(size) + k * size for k in range(min(40, records // size))],
    }
    results = {}
    for _ in range(2):  # the second round counts: pages are in memory, processor is awake
        for name, way in ways.items():
            results[name] = {order: rate(way, batches) for order, batches in orders.items()}
    second = INDEPENDENT_LEADS.index("II")
    results["store, 12 leads"]["lead II"] = rate(
        lambda rows: store.signals(rows, ["II"]), orders["random"]
    )
    results["8 leads, 4 derived"]["lead II"] = rate(
        lambda rows: eight[rows, second].astype(np.float32) * np.float32(1e-3), orders["random"]
    )
    results["wfdb.rdrecord"] = {"random": rate(files, [rng.permutation(FILES)[:50]])}
    sizes = {"store, 12 leads": store.raw([0]).nbytes, "8 leads, 4 derived": eight[0].nbytes}
    return {"records": records, "bytes_per_record": sizes, "records_per_second": results}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = json.dumps(measure(arguments.records, Path(folder)), indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
