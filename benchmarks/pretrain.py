"""Pretraining speed: pairs per second from the store on disk to the optimizer step.

    python benchmarks/pretrain.py --out pretrain.json
    python benchmarks/pretrain.py --device cuda --out pretrain-cuda.json
    python benchmarks/pretrain.py --curves 200

Recordings are written as WFDB files (500 Hz) and ingested into a store, both in a temporary folder.
The reference is the plain way: for each view of a pair `wfdb.rdrecord`, one lead, SciPy `filtfilt`,
NumPy noise, z-score; then the same network and objective, eager, in fp32, with PyTorch's AdamW.
Ours is `ecgscale.training.loop`: signals in memory, views as tensor operations (crop off, so both
see whole records; all other augmentations on). Contenders take turns, a few seconds each, and each
figure is the median of its turns.

Nothing here imports MLflow or DVC. Without `wfdb` the reference's rows are left out.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from ecgscale import distributed, encoders, objectives
from ecgscale.data.augment import Augmenter, millivolts
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store
from ecgscale.device import keep_freed_memory
from ecgscale.training.data import BatchSampler, TrainingData, load_training_data
from ecgscale.training.loop import Training
from ecgscale.training.settings import TrainingConfig
from ecgscale.training.step import LOSS

FS, LEAD, GAIN = 500, "II", 1000
AUGMENT = AugmentConfig(crop_seconds=None)
NOISE_SD = 0.1
TURNS = 3
WARM_UP = 5
LAST_CALL = 480.0
"""Seconds after which no further row is begun on a GPU: a lent machine's call may end at 600."""

console = Console(width=150, soft_wrap=True)


def write_recordings(folder: Path, records: int, leads: tuple[str, ...], samples: int) -> None:
    """Write WFDB records in format 16: beats at various rates, with noise."""
    rng = np.random.default_rng(0)
    seconds = np.arange(samples) / FS
    for number in range(records):
        phase = np.cos(np.pi * rng.uniform(0.9, 1.8) * seconds + rng.uniform(0, np.pi))
        beats = rng.uniform(0.5, 2.0, (len(leads), 1)) * phase**40
        signal = beats + 0.02 * rng.standard_normal((len(leads), samples))
        stored = np.rint(GAIN * signal).astype("<i2")
        name = f"r{number:05d}"
        stored.T.tofile(folder / f"{name}.dat")
        lines = [f"{name} {len(leads)} {FS} {samples}"]
        for lead, row in zip(leads, stored, strict=True):
            checksum = int(row.sum(dtype=np.int64)) & 0xFFFF
            checksum -= (checksum >> 15) << 16
            lines.append(f"{name}.dat 16 {GAIN}/mV 16 0 {row[0]} {checksum} 0 {lead}")
        (folder / f"{name}.hea").write_text("\n".join([*lines, "#Dx: 426783006"]) + "\n")


@dataclass
class Bench:
    """The recordings, as files and as loaded from their store."""

    raw: Path
    recipe: Recipe
    data: TrainingData
    load_seconds: float
    device: torch.device

    @property
    def lead(self) -> int:
        return self.recipe.leads.index(LEAD)


@contextmanager
def recordings(arguments: argparse.Namespace) -> Iterator[Bench]:
    """Write, ingest and load the recordings."""
    leads = LEADS if arguments.leads == len(LEADS) else (LEAD, *LEADS)[: arguments.leads]
    recipe = Recipe(fs=FS, seconds=arguments.samples / FS, minimum_seconds=1.0, leads=leads)
    device = torch.device("cuda", 0) if arguments.device == "cuda" else torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        raw, store = Path(folder) / "raw", Path(folder) / "store"
        raw.mkdir()
        write_recordings(raw, arguments.records, leads, arguments.samples)
        ingest("bench", SourceConfig(reader="challenge", root=raw, watch=raw), recipe, store)
        start = time.perf_counter()
        rows = pd.DataFrame({"source": "bench", "row": np.arange(arguments.records)})
        data = load_training_data(rows, {"bench": open_store(store)}, recipe, device)
        yield Bench(raw, recipe, data, time.perf_counter() - start, device)


class PlainLoader:
    """The reference's loader: files, one at a time."""

    def __init__(self, bench: Bench) -> None:
        from scipy.signal import butter

        self.names = sorted(str(path.with_suffix("")) for path in bench.raw.glob("*.hea"))
        self.lead = bench.lead
        self.filter = butter(3, bench.recipe.band, "bandpass", fs=FS)
        self.rng = np.random.default_rng(0)

    def view(self, name: str) -> np.ndarray:
        import wfdb
        from scipy.signal import filtfilt

        x = filtfilt(*self.filter, wfdb.rdrecord(name).p_signal[:, self.lead])
        x = x + self.rng.normal(0, NOISE_SD * x.std(), x.shape)
        return ((x - x.mean()) / x.std()).astype(np.float32)[None]

    def pairs(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        both = [np.stack([self.view(self.names[row]) for row in rows]) for _ in range(2)]
        return torch.from_numpy(both[0]), torch.from_numpy(both[1])


class Plain:
    """The reference: a loop as one writes it first.

    `loader` None feeds the same random views every step: the network alone.
    """

    def __init__(self, bench: Bench, size: str, batch_size: int, loader: PlainLoader | None):
        self.device, self.loader, self.batch_size = bench.device, loader, batch_size
        self.encoder, self.objective = networks(size, bench.device)
        parameters = [*self.encoder.parameters(), *self.objective.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=5e-4)
        self.rng = np.random.default_rng(1)
        self.records = len(bench.data)
        shape = (batch_size, 1, bench.recipe.n_samples)
        self.fixed = (
            torch.randn(shape, device=bench.device),
            torch.randn(shape, device=bench.device),
        )

    def step(self) -> None:
        first, second = self.fixed
        if self.loader is not None:
            rows = self.rng.choice(self.records, self.batch_size, replace=False)
            first, second = (x.to(self.device) for x in self.loader.pairs(rows))
        self.optimizer.zero_grad()
        output = self.objective.loss(self.encoder, {"first": first, "second": second})
        output.loss.backward()
        self.optimizer.step()


class Ours:
    """`ecgscale.training.loop`, a step at a time."""

    def __init__(self, bench: Bench, size: str, batch_size: int, **settings: Any) -> None:
        encoder, objective = networks(size, bench.device)
        config = TrainingConfig(batch_size=batch_size, steps=10**9, **settings)
        self.training = Training(encoder, objective, bench.data, config, AUGMENT, bench.recipe, 0)

    def step(self) -> None:
        self.training.advance()
        if self.training.step % self.training.config.log_every == 0:
            self.training.read_losses()


def networks(size: str, device: torch.device) -> tuple[encoders.Encoder, objectives.Objective]:
    torch.manual_seed(0)
    encoder = encoders.create("net1d", size=size, in_channels=1)
    objective = objectives.create("simclr", encoder)
    return encoder.to(device), objective.to(device)


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def turn(step: Callable[[], Any], device: torch.device, seconds: float) -> float:
    """Return calls per second over at least `seconds`."""
    done, start = 0, time.perf_counter()
    while done == 0 or time.perf_counter() - start < seconds:
        step()
        done += 1
        if done % 8 == 0:
            wait(device)  # else a queue of launches grows that the clock does not see
    wait(device)
    return done / (time.perf_counter() - start)


def alternate(
    contenders: dict[str, Callable[[], Any]], device: torch.device, seconds: float, warm_up: int
) -> dict[str, list[float]]:
    """Return calls per second of each contender in each turn."""
    for step in contenders.values():
        for _ in range(warm_up):
            step()
        wait(device)
    found: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(TURNS):
        for name, step in contenders.items():
            found[name].append(turn(step, device, seconds / TURNS))
    return found


class Rows:
    """Results, printed as they come."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, what: str, unit: str, turns: list[float], **axes: Any) -> float:
        rate = statistics.median(turns)
        self.rows.append({"what": what, **axes, "unit": unit, "rate": rate, "turns": turns})
        place = " ".join(f"{key} {value}" for key, value in axes.items())
        console.print(f"{what}  {place}: {rate:,.0f} {unit}")
        return rate

    def table(self) -> Table:
        table = Table("what", "encoder", "batch", "rate", "unit", "x reference")
        references = {
            (row.get("encoder"), row.get("batch"), row["unit"]): row["rate"]
            for row in self.rows
            if row["what"].startswith("reference")
        }
        for row in self.rows:
            key = (row.get("encoder"), row.get("batch"), row["unit"])
            ratio = f"{row['rate'] / references[key]:.2f}" if key in references else ""
            cells = (row["what"], row.get("encoder", ""), str(row.get("batch", "")))
            table.add_row(*cells, f"{row['rate']:,.0f}", row["unit"], ratio)
        return table


def loaders(bench: Bench, rows: Rows, plain: PlainLoader | None, seconds: float) -> None:
    """Measure loading alone, in records (views of one record) per second."""
    size = min(64, len(bench.data))
    sampler = BatchSampler(len(bench.data), size, 0)
    generator = torch.Generator(bench.device)
    augment = Augmenter(AUGMENT, FS, 1, bench.recipe, generator)
    quiet = AugmentConfig(
        crop_seconds=None, wander_prob=0, mask_prob=0, scale_range=(1, 1), noise_prob=1
    )
    noise = Augmenter(quiet, FS, 1, bench.recipe, generator)
    counts = {name: iter(range(10**9)) for name in ("read", "noise", "views")}

    def batch(name: str) -> Tensor:
        return bench.data.batch(sampler.batch(next(counts[name]))).signal

    contenders: dict[str, Callable[[], Any]] = {
        "ours, read": lambda: millivolts(batch("read")),
        "ours, noise and z-score": lambda: noise(batch("noise")),
        "ours, pairs with all augmentations": lambda: augment.pair(batch("views")),
    }
    records = dict.fromkeys(contenders, size) | {"ours, pairs with all augmentations": 2 * size}
    if plain is not None:
        contenders = {"reference loader": lambda: plain.view(plain.names[0])} | contenders
        records["reference loader"] = 1
    for name, turns in alternate(contenders, bench.device, seconds, 2).items():
        rows.add(name, "records/s", [records[name] * value for value in turns])


def variants(device: torch.device, size: str) -> dict[str, dict[str, Any]]:
    """Return the settings to measure."""
    if device.type == "cpu":
        return {"ours, fp32": {"precision": "fp32"}, "ours, bf16": {"precision": "bf16"}}
    graph = {"precision": "bf16", "cuda_graph": True, "log_every": 50}
    found: dict[str, dict[str, Any]] = {
        "ours, bf16, eager": {"precision": "bf16", "log_every": 50},
        "ours, bf16, graph": graph,
    }
    if size != "large":
        found["ours, bf16, graph, compiled"] = {**graph, "compile": True}
    return found


def training(
    bench: Bench, rows: Rows, plain: PlainLoader | None, size: str, batch: int, seconds: float
) -> None:
    """Measure end to end, in pairs per second."""
    axes = {"encoder": size, "batch": batch}
    made: dict[str, Callable[[], Any]] = {}
    if plain is not None:
        made["reference, end to end"] = partial(Plain, bench, size, batch, plain)
    made["network alone, eager fp32"] = partial(Plain, bench, size, batch, None)
    for name, settings in variants(bench.device, size).items():
        made[name] = partial(Ours, bench, size, batch, **settings)
    if bench.device.type == "cpu":
        contenders = {name: make().step for name, make in made.items()}
        for name, turns in alternate(contenders, bench.device, seconds, 1).items():
            rows.add(name, "pairs/s", [batch * value for value in turns], **axes)
        return
    for name, make in made.items():  # one at a time: their memory would add up
        start = time.perf_counter()
        try:
            found = alternate({name: make().step}, bench.device, seconds, WARM_UP)
        except Exception as error:
            reason = str(error).strip().splitlines() or [""]
            console.print(f"{name}  {axes}: {type(error).__name__}: {reason[0][:300]}")
            rows.rows.append({"what": name, **axes, "unit": "failed", "rate": 0.0, "turns": []})
        else:
            rows.add(name, "pairs/s", [batch * value for value in found[name]], **axes)
        memory = torch.cuda.max_memory_allocated() / 2**30
        console.print(f"    {time.perf_counter() - start:.0f} s, peak {memory:.1f} GiB")
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def processes(arguments: argparse.Namespace, rows: Rows, size: str, batch: int) -> None:
    """Measure two data-parallel processes with one thread each, started by torchrun."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", __file__, "--share", "--precision", "bf16"]
    for name in ("leads", "samples", "records", "seconds"):
        command += [f"--{name}", str(getattr(arguments, name))]
    command += ["--encoders", size, "--batch-sizes", str(batch), "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    turns = json.loads(done.stdout.strip().splitlines()[-1])
    name = "ours, bf16, 2 processes of 1 thread"
    rows.add(name, "pairs/s", turns, encoder=size, batch=batch)


def share(arguments: argparse.Namespace) -> None:
    """Train as one of the processes of `processes`; the first prints its pairs per second."""
    with distributed.process_group(torch.device("cpu")), recordings(arguments) as bench:
        batch = arguments.batch_sizes[0]
        ours = Ours(bench, arguments.encoders[0], batch, precision=arguments.precision)
        ours.step()
        turns = []
        for _ in range(TURNS):
            start = time.perf_counter()
            steps = 4
            for _ in range(steps):
                ours.step()
            turns.append(batch * steps / (time.perf_counter() - start))
        if distributed.rank() == 0:
            print(json.dumps(turns))


def curves(bench: Bench, size: str, batch: int, steps: int) -> dict[str, list[float]]:
    """Return the loss curves of the first steps: fp32 (two seeds), bf16, and captured on CUDA."""
    settings: dict[str, dict[str, Any]] = {
        "fp32": {"precision": "fp32"},
        "bf16": {"precision": "bf16"},
    }
    if bench.device.type == "cuda":
        settings["bf16, graph"] = {"precision": "bf16", "cuda_graph": True}
    found = {}
    for name, extra in settings.items():
        encoder, objective = networks(size, bench.device)
        config = TrainingConfig(batch_size=batch, steps=steps, log_every=10, **extra)
        training = Training(encoder, objective, bench.data, config, AUGMENT, bench.recipe, 0)
        while training.step < steps:
            training.advance()
            if training.step % config.log_every == 0 or training.step == steps:
                training.read_losses()
        found[name] = [value for _, value in training.curves[LOSS]]
    table = Table("steps", *found, title=f"net1d {size}, batch {batch}: mean loss")
    for row, values in enumerate(zip(*found.values(), strict=True), 1):
        table.add_row(str(10 * row), *(f"{value:.4f}" for value in values))
    console.print(table)
    for name in found:
        gap = np.abs(np.subtract(found[name], found["fp32"]))
        console.print(
            f"{name}: mean |difference to fp32| {gap.mean():.4f}, largest {gap.max():.4f}"
        )
    return found


def machine(device: torch.device) -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--encoders", nargs="+", help="sizes of net1d")
    parser.add_argument("--batch-sizes", nargs="+", type=int)
    parser.add_argument("--seconds", type=float, help="per contender")
    parser.add_argument("--leads", type=int, default=12, help="of a recording; encoders take one")
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--records", type=int)
    parser.add_argument("--threads", type=int, help="default: the cores on a CPU")
    parser.add_argument("--curves", type=int, metavar="STEPS", help="compare loss curves instead")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--share", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--precision", default="bf16", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    on_gpu = arguments.device == "cuda"
    arguments.seconds = arguments.seconds or (6.0 if on_gpu else 12.0)
    arguments.records = arguments.records or (1024 if on_gpu else 192)
    return arguments


def cells(arguments: argparse.Namespace) -> list[tuple[str, int]]:
    """Return the encoders and batch sizes to measure."""
    if arguments.device == "cuda" and not (arguments.encoders or arguments.batch_sizes):
        return [("small", 64), ("small", 512), ("medium", 64), ("large", 128)]
    sizes, batches = arguments.encoders or ["small"], arguments.batch_sizes or [64]
    return [(size, batch) for size in sizes for batch in batches]


def plain_loader(bench: Bench) -> PlainLoader | None:
    if find_spec("wfdb") is None:
        console.print("the reference's loader is left out: wfdb is not installed")
        return None
    return PlainLoader(bench)


def main() -> None:
    arguments = parse()
    begun = time.perf_counter()
    if arguments.device == "cpu":
        keep_freed_memory()
        torch.set_num_threads(arguments.threads or os.cpu_count() or 1)
    if arguments.share:
        share(arguments)
        return
    rows = Rows()
    report: dict[str, Any] = {"benchmark": "pretrain"}
    with recordings(arguments) as bench:
        report["machine"] = machine(bench.device)
        console.print(report["machine"])
        console.print(f"{len(bench.data)} records read from the store: {bench.load_seconds:.2f} s")
        report["load"] = {"records": len(bench.data), "seconds": bench.load_seconds}
        if arguments.curves:
            size, batch = cells(arguments)[0]
            report["curves"] = curves(bench, size, batch, arguments.curves)
        else:
            plain = plain_loader(bench)
            loaders(bench, rows, plain, arguments.seconds)
            for size, batch in cells(arguments):
                if bench.device.type == "cuda" and time.perf_counter() - begun > LAST_CALL:
                    console.print(f"left out for lack of time: {size}, batch {batch}")
                    continue
                training(bench, rows, plain, size, batch, arguments.seconds)
                if bench.device.type == "cpu" and (os.cpu_count() or 1) > 1:
                    processes(arguments, rows, size, batch)
                if arguments.out:
                    report["results"] = rows.rows
                    arguments.out.write_text(json.dumps(report, indent=1) + "\n")
            console.print(rows.table())
            report["results"] = rows.rows
    if arguments.out:
        arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
