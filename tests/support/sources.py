"""Tiny sources in their published layouts: written by hand, or by their simulated layout.

What a data set's tests need of it lies in ``tests/datasets/<name>/example.py``:

- `COHORT`, options of its simulated layout that leave out every fault; or else `write(root)`, which
  writes two records or more;
- `OPTIONS`, the reader's options (default none);
- `UNREAD`, how the names of published files end that the reader does not read, or not as a whole
  (default none).
"""

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from ecgscale.data.ingest import ingest
from ecgscale.data.recipe import Recipe
from ecgscale.data.simulate import cohort_options
from ecgscale.data.simulate.layout import layouts
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.data.sources import sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import open_store

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
DATASETS = Path(__file__).parents[1] / "datasets"


def beats(seed=0, seconds=10.0, fs=100):
    """Sharp beats with noise on 12 leads in uV, int16 (lead, time); limb leads consistent."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * fs)) / fs
    phase = (time * rng.uniform(0.9, 1.5) + rng.uniform()) % 1.0
    shape = np.exp(-(((phase - 0.5) / 0.02) ** 2)) + 0.2 * np.exp(-(((phase - 0.8) / 0.05) ** 2))
    free = np.outer(rng.uniform(500, 1500, 8), shape) + rng.normal(0, 10, (8, len(time)))
    one, two = np.rint(free[:2])
    limb = [one, two, two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return np.rint(np.stack([*limb, *free[2:]])).astype(np.int16)


def write_wfdb(
    folder,
    name,
    samples,
    *,
    fs=100,
    suffix=".mat",
    offset=24,
    gain="1000/mV",
    leads=LEADS,
    comments=("#Age: 50", "#Sex: Female", "#Dx: 426783006"),
    record_line=None,
    file=None,
):
    """Write one header and one format-16 signal file; `samples` is int16 (lead, time)."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = np.asarray(samples, dtype=np.int16)
    layout = f"16+{offset}" if offset else "16"
    lines = [record_line or f"{name} {len(samples)} {fs} {samples.shape[1]}"]
    for lead, row in zip(leads, samples, strict=True):
        total = int(row.sum(dtype=np.int64)) % 65536
        lines.append(f"{file or name + suffix} {layout} {gain} 16 0 {row[0]} {total} 0 {lead}")
    header = folder / f"{name}.hea"
    header.write_text("\n".join([*lines, *comments]) + "\n", encoding="utf-8")
    (folder / (name + suffix)).write_bytes(b"\0" * offset + samples.T.astype("<i2").tobytes())
    return header


def write_ptb_xl(root, records, *, fs=100):
    """Write a PTB-XL folder; `records` is a list of rows that override the default row."""
    root.mkdir(parents=True, exist_ok=True)
    suffix, folder = {100: ("lr", "records100/00000"), 500: ("hr", "records500/00000")}[fs]
    rows = []
    for number, changes in enumerate(records, start=1):
        stem = f"{number:05d}_{suffix}"
        write_wfdb(
            root / folder,
            stem,
            beats(number, fs=fs),
            fs=fs,
            suffix=".dat",
            offset=0,
            gain="1000.0(0)/mV",
            leads=[lead.upper() for lead in LEADS],
            comments=(),
        )
        row = {
            "ecg_id": number,
            "patient_id": f"{100 + number}.0",
            "age": "60.0",
            "sex": "1",
            "height": "",
            "weight": "70.0",
            "scp_codes": "{'NORM': 100.0, 'SR': 0.0}",
            "strat_fold": "3",
            "filename_lr": f"{folder}/{stem}",
            "filename_hr": f"{folder}/{stem}",
        }
        rows.append({**row, **changes})
    write_csv(root / "ptbxl_database.csv", rows)
    write_csv(root / "scp_statements.csv", [{"": c, "description": c} for c in ("NORM", "SR")])
    return root


def write_csv(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    rewrite(path, rows)


def write_packed(root, changes=({},), *, signals=None, uids=None):
    """Write a packed source; `changes` overrides the default row of each record."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, change in enumerate(changes):
        row = {
            "uid": f"set_{number}",
            "fs_orig": 500,
            "n_orig": 5000,
            "amplitude": "mV",
            "patient_id": f"p_{number}",
            "age": "61.0",
            "sex": "M",
            "labels": "{'NORM': 100.0}",
            "strat_fold": "2.0",
            "clipped": "False",
        }
        rows.append({**row, **change})
    write_csv(root / "table.csv", rows)
    if signals is None:
        signals = np.stack([beats(number) for number in range(len(rows))])
    if uids is None:
        uids = np.array([row["uid"] for row in rows])
    np.savez(root / "signals.npz", signals=signals, uid=uids)
    return root


class Writers:
    """The writers above, for tests."""

    leads = LEADS
    beats = staticmethod(beats)
    wfdb = staticmethod(write_wfdb)
    ptb_xl = staticmethod(write_ptb_xl)
    packed = staticmethod(write_packed)
    csv = staticmethod(write_csv)


@pytest.fixture(scope="session")
def write():
    return Writers


def folder_of_tests(dataset: str) -> Path:
    """The folder with a data set's tests."""
    return DATASETS / dataset.replace("-", "_")


def load(path: Path) -> ModuleType:
    """A Python file beside the tests, as a module."""
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def example(dataset: str) -> ModuleType:
    """What a data set's tests need of it; see above."""
    return load(folder_of_tests(dataset) / "example.py")


def write_example(dataset: str, root: Path) -> None:
    """Write two records or more, without faults."""
    own = example(dataset)
    if hasattr(own, "COHORT"):
        Simulated(dataset).write(root, 2)
    else:
        own.write(root)


class Simulated:
    """A data set in its simulated layout, without faults, and its reader."""

    def __init__(self, name, namespace=None, seed=1):
        self.name = name
        self.namespace = namespace or name
        self.seed = seed
        self.clean = example(name).COHORT

    def layout(self, **options):
        recipe = CohortSettings(layout=self.name, patients=1, options={**self.clean, **options})
        return layouts.get(self.name)(cohort_options(recipe), self.seed)

    def write(self, root, patients, **options):
        root.mkdir(parents=True, exist_ok=True)
        made = self.layout(**options)
        written = made.write(root, 0, patients, 1)
        made.tables(root, written)
        return written

    def source(self, root, **options):
        return sources.get(self.name)(root, self.namespace, options)

    def read(self, root, **options):
        return list(self.source(root, **options).iter_records())

    def problems(self, root, **options):
        """The reasons for which records are set aside."""
        quarantined = {}
        list(self.source(root, **options).iter_records(quarantined))
        return {error.reason for error in quarantined.values()}


def rows(path, delimiter=None):
    """The rows of a table; tabs in .tsv, else commas."""
    delimiter = delimiter or ("\t" if path.suffix == ".tsv" else ",")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def rewrite(path, changed):
    """Replace the rows of a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(file, list(changed[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(changed)


def edit(path, old, new, count=-1):
    """Replace a text in a file, which must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, count), encoding="utf-8")


def contents(root):
    """Every file below a folder: path to content."""
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def quarantined(tmp_path, reader, root, options=None):
    """Ingest a folder that holds exactly one good record; return the quarantine table."""
    config = SourceConfig(
        reader=reader, root=root, watch=root, max_quarantined=0.99, options=options or {}
    )
    summary = ingest("s", config, Recipe(), tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert len(store) == summary.stored == 1
    assert summary.records == summary.stored + sum(summary.quarantined.values())
    return store.quarantine.to_dict("records")
