"""What drawing a subset costs as the store of its source grows: processor time and memory.

    python benchmarks/subsets.py [--records 250000 1000000 11000000] [--share 0.5] [--out FILE.json]

The store is made up: 5.5 records a patient, in no order, with ids and digests of true length, and
no signals, as `subset` reads none. One patient in a hundred is held out by a task. A process of its
own draws a subset of the share of all patients for one order and writes it. Processor time is that
of all its threads; memory is the largest that it held.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ecgscale.data.pool import PoolSource
from ecgscale.data.recipe import Recipe
from ecgscale.data.store import MANIFEST, StoreWriter, records_schema
from ecgscale.data.subsets import build_subsets
from ecgscale.files import file_digest

PER_PATIENT = 5.5
BLOCK = 250_000


def block(schema, start, stop, patients, rng):
    """Return some rows of a store's table."""
    rows = np.arange(start, stop)
    ids = pc.binary_join_element_wise("big:", pa.array(patients[rows].astype(str)), "")
    text = rng.bytes(16 * len(rows)).hex()
    digests = pa.array([text[at : at + 32] for at in range(0, len(text), 32)])
    columns = {
        "record_id": pa.array(np.char.mod("%09d", rng.permutation(rows))),
        "patient_id": ids,
        "source": pa.array(["big"] * len(rows)),
        "age": pa.array(rng.integers(18, 95, len(rows)).astype(float)),
        "sex": pa.array(rng.choice(["F", "M"], len(rows))),
        "fs_original": pa.array(np.full(len(rows), 500.0)),
        "seconds": pa.array(np.full(len(rows), 10.0)),
        "valid_samples": pa.array(np.full(len(rows), 1000)),
        "signal_digest": digests,
    }
    return pa.table(
        [columns.get(f.name, pa.nulls(len(rows), f.type)) for f in schema], schema=schema
    )


def fabricate(folder, records):
    """Write a store without signals and a task; return how many patients there are."""
    rng = np.random.default_rng(0)
    patients = max(200, round(records / PER_PATIENT))
    of_row = np.concatenate([np.arange(patients), rng.integers(0, patients, records - patients)])
    rng.shuffle(of_row)
    store = folder / "store" / "big"
    store.mkdir(parents=True)
    writer = StoreWriter(store, ("I",), 1000)
    writer.finish(
        [],
        source="big",
        reader="folder",
        namespace="big",
        recipe=Recipe(leads=("I",)),
        records=0,
        quarantined={},
        inputs={"files": 0, "bytes": 0, "sha256": "0" * 64},
    )
    schema = records_schema()
    with pq.ParquetWriter(store / "records.parquet", schema, compression="zstd") as out:
        for start in range(0, records, BLOCK):
            stop = min(start + BLOCK, records)
            out.write_table(block(schema, start, stop, of_row, rng))
    manifest = json.loads((store / MANIFEST).read_text())
    path = store / "records.parquet"
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    shard = store / "signals-000.npy"
    shard.touch()
    manifest["files"][shard.name] = {"bytes": 0, "sha256": file_digest(shard)}
    manifest["shards"] = [{"name": shard.name, "records": records}]
    manifest |= {"records": records, "stored": records}
    (store / MANIFEST).write_text(json.dumps(manifest))
    tasks = folder / "tasks"
    tasks.mkdir()
    held = pa.array([f"big:{number}" for number in range(0, patients, 100)])
    split = pa.array(["test"] * len(held))
    pq.write_table(pa.table({"patient_id": held, "split": split}), tasks / "task.parquet")
    (tasks / "manifest.json").write_text('{"task": {}}')
    return patients


def draw(folder, size):
    """Draw a subset; print what this process used."""
    began, used = time.perf_counter(), time.process_time()
    stores, tasks, out = folder / "store", folder / "tasks", folder / "out"
    made = build_subsets({"big": PoolSource()}, size, [0], None, stores, tasks, out)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        json.dumps(
            {
                "seconds": round(time.perf_counter() - began, 1),
                "processor_seconds": round(time.process_time() - used, 1),
                "peak_GiB": round(peak / 2**20, 2),
                "digest": made.subsets[0].digest,
            }
        )
    )


def measured(records, share):
    """Return what a subset of a store of so many records costs."""
    with tempfile.TemporaryDirectory() as temporary:
        patients = fabricate(Path(temporary), records)
        size = round(share * patients)
        command = [sys.executable, __file__, "--draw", temporary, "--size", str(size)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return {"records": records, "patients": patients, "size": size, **json.loads(done.stdout)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, nargs="+", default=[250_000, 1_000_000])
    parser.add_argument("--share", type=float, default=0.5, help="of all patients")
    parser.add_argument("--draw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.draw:
        draw(asked.draw, asked.size)
        return
    rows = []
    for records in asked.records:
        rows.append(measured(records, asked.share))
        print(rows[-1], flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
