"""Damage files of every source at random and hold what the readers do against what they may do.

``python -m support.fuzz --cases 100000 --jobs 2`` (``make fuzz``) says what was found; it exits
with 1 if a reader crashed, hung, read a file outside of its folder, asked for more memory than
`MOST_MEMORY`, or gave a record that cannot be. ``--kind KIND --case N`` repeats one case.
"""

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np

from ecgscale.data.gate import RATES
from ecgscale.data.ingest import ingest
from ecgscale.data.preprocess import keep
from ecgscale.data.recipe import Recipe
from ecgscale.data.sources import QuarantineError, sources
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.errors import BadInputError
from support.dicom import CODES, group, write_dicom
from support.edf import write_edf
from support.sources import LEADS, beats, example, write_csv, write_example, write_wfdb

SECONDS = 20
"""A case that takes longer hangs."""
MOST_MEMORY = 2**30
"""Bytes by which a case may raise the process's peak."""
INGEST_EVERY = 25
"""Every how many cases the whole of ingest runs, and not the reader alone."""
CHUNK = 1000
"""Cases of one process; one that is killed costs no more than its case."""
RECIPE = Recipe(seconds=2, minimum_seconds=1)
SECRET = np.tile(np.array([12345, -12345], dtype=np.int16), (12, 500))
"""What lies outside of the folders: no record may hold it."""

Make = Callable[[Path], tuple[str, dict[str, Any]]]


# What is damaged: every reader's example, and files of other formats.


def _of_reader(name: str) -> Make:
    def make(root: Path) -> tuple[str, dict[str, Any]]:
        write_example(name, root)
        return name, getattr(example(name), "OPTIONS", {})

    return make


def _of_wfdb(fmt: str, **options: Any) -> Make:
    def make(root: Path) -> tuple[str, dict[str, Any]]:
        import wfdb

        root.mkdir(parents=True, exist_ok=True)
        digital = np.clip(beats(3, seconds=4).T // 8, -120, 120).astype(np.int64)
        samples = {"e_d_signal": [*digital.T]} if options else {"d_signal": digital}
        for name in ("a", "b"):
            wfdb.Record(
                record_name=name,
                n_sig=12,
                fs=100 / options.get("frame", 1),
                sig_len=400 // options.get("frame", 1),
                fmt=[fmt] * 12,
                adc_gain=[200.0] * 12,
                baseline=[0] * 12,
                units=["mV"] * 12,
                sig_name=list(LEADS),
                # FLAC holds eight signals at most.
                file_name=[f"{name}_1.dat"] * 6 + [f"{name}_2.dat"] * 6,
                adc_res=[12] * 12,
                adc_zero=[0] * 12,
                init_value=digital[0].tolist(),
                checksum=(digital.sum(axis=0) % 65536).tolist(),
                block_size=[0] * 12,
                samps_per_frame=[options.get("frame", 1)] * 12,
                comments=["Age: 50", "Sex: M", "Dx: 426783006"],
                **samples,
            ).wrsamp(write_dir=str(root), expanded=bool(options))
        return "wfdb-tree", {}

    return make


def _of_segments(root: Path) -> tuple[str, dict[str, Any]]:
    for part in ("m_1", "m_2"):
        write_wfdb(root, part, beats(4), suffix=".dat", offset=0, comments=())
    (root / "m.hea").write_text("m/3 12 100 2100\nm_1 1000\n~ 100\nm_2 1000\n")
    (root / "RECORDS").write_text("m\n")
    return "wfdb-tree", {}


def _described(
    write: Callable[[Path, str, Any], None],
    records: tuple[str, ...] = ("a", "b"),
    **description: Any,
) -> Make:
    """Return a folder of files that ``source.yaml`` describes, and a table with their records."""

    def make(root: Path) -> tuple[str, dict[str, Any]]:
        root.mkdir(parents=True, exist_ok=True)
        for number, name in enumerate("ab"):
            write(root, name, beats(number, seconds=4))
        rows = [{"file": n, "pid": n, "age": "60", "sex": "F", "dx": "AF;SR"} for n in records]
        write_csv(root / "table.csv", rows)
        table = {"path": "table.csv", "record": "file", "patient": "pid", "age": "age"}
        stated = {"table": {**table, "sex": "sex", "labels": "dx"}, **description}
        (root / "source.yaml").write_text(json.dumps(stated))
        return "folder", {}

    return make


def _csv(root: Path, name: str, samples: Any) -> None:
    text = "\n".join(",".join(map(str, row)) for row in samples.T.tolist())
    (root / f"{name}.csv").write_text(",".join(LEADS) + "\n" + text + "\n")


def _npy(root: Path, name: str, samples: Any) -> None:
    np.save(root / f"{name}.npy", samples)


def _npy_of_many(root: Path, name: str, samples: Any) -> None:
    np.save(root / f"{name}.npy", np.stack([samples, samples[:, ::-1]]))


def _parquet(root: Path, name: str, samples: Any) -> None:
    import pandas as pd

    pd.DataFrame(samples.T, columns=list(LEADS)).to_parquet(root / f"{name}.parquet")


def _edf(root: Path, name: str, samples: Any) -> None:
    write_edf(root / f"{name}.edf", samples, LEADS, Birthdate=date(1950, 1, 2), Sex=1)


def _dicom(root: Path, name: str, samples: Any) -> None:
    leads = tuple(zip(CODES, (f"Lead {lead}" for lead in LEADS), strict=True))
    made = group(samples, leads, fs=100)
    write_dicom(root / f"{name}.dcm", [made], PatientAge="050Y", PatientSex="F")


_ARRAYS = {"fs": 100, "units": "uV", "leads": list(LEADS)}


def kinds() -> dict[str, Make]:
    """Return all that is damaged: the name of each kind and what writes it."""
    made = {name: _of_reader(name) for name in sources.names()}
    formats = ("16", "212", "24", "32", "80", "508", "516", "524")
    made |= {f"wfdb {fmt}": _of_wfdb(fmt) for fmt in formats}
    made |= {"wfdb 16x8": _of_wfdb("16", frame=8), "wfdb segments": _of_segments}
    made |= {
        "csv": _described(_csv, format="csv", **_ARRAYS),
        "npy": _described(_npy, format="npy", **_ARRAYS),
        "npy of many": _described(
            _npy_of_many,
            ("a:0", "a:1", "b:0", "b:1"),
            format="npy",
            **{**_ARRAYS, "units": "adu"},
            gain=200,
        ),
        "parquet": _described(_parquet, format="parquet", **_ARRAYS),
        "edf": _described(_edf, format="edf", comments=True),
        "dicom": _described(_dicom, format="dicom", comments=True),
    }
    return made


# How it is damaged.

WORDS: tuple[bytes, ...] = (
    *(b"0", b"-1", b"1", b"2", b"13", b"1e999", b"nan", b"inf", b"-32768", b"1000000000"),
    *(b"99999999999999999999", b"0.0000001", b"1e-320", b"0x10", b"1_000", b"\xd9\xa1", b"1,5"),
    *(b"../secret", b"../secret.dat", b"../secret.hea", b"/etc/passwd", b"secret.csv", b"~", b"."),
    *(b"16", b"212", b"80", b"16x8", b"16x100000000", b"16+99999999", b"508", b"310", b"8", b"0x0"),
    *(b"0/mV", b"-200/mV", b"200(0)/uV", b"1e-9/mV", b"200/mmHg", b"200(999999999)/mV", b"(", b"/"),
    *(b"II", b"aVR", b"", b" ", b"\t", b"\x00", b"\xe9", b"\xff\xfe", b"\xef\xbb\xbf", b"\r"),
    *(b"#Age: -1", b"#Dx:", b"<<<<<<< HEAD", b"{'a':", b"[" * 200, b"9" * 5000, b'"', b"'", b"{}"),
    *(b"nan,nan", b";", b",", b"\n", b"#", b"a/2 12 100 1000", b"&a [*a]", b"!!python/name:os"),
)
NUMBERS = (0, 1, -1, 2**15, 2**16, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1)
TEXT = (".hea", ".csv", ".tsv", ".txt", ".yaml", ".json", "", ".atr")


def damage(root: Path, secret: Path, tables: set[Path], rng: np.random.Generator) -> list[Path]:
    """Damage one file, at times two, and return them.

    `tables` are files that all records share. They are the user's own: where one is a link, it is
    followed.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    chosen = [files[i] for i in rng.permutation(len(files))[: 1 + (rng.random() < 0.2)]]
    for path in chosen:
        content = path.read_bytes()
        kind = rng.random()
        if kind < 0.02:
            path.unlink()
        elif kind < 0.04 and path not in tables:
            path.unlink()
            beside = secret.with_suffix(path.suffix)
            path.symlink_to(beside if beside.exists() else secret.with_suffix(".dat"))
        elif kind < 0.06:
            there = [each for each in files if each.exists()]
            path.write_bytes(there[int(rng.integers(len(there)))].read_bytes())
        else:
            is_text = path.suffix in TEXT or path.name.startswith("RECORDS")
            for _ in range(int(rng.integers(1, 4))):
                content = (_text if is_text and rng.random() < 0.8 else _bytes)(content, rng)
            path.write_bytes(content)
    return chosen


def _text(content: bytes, rng: np.random.Generator) -> bytes:
    lines = content.split(b"\n")
    at = int(rng.integers(len(lines)))
    word = WORDS[int(rng.integers(len(WORDS)))]
    separator = next((s for s in (b",", b"\t", b" ", b":") if s in lines[at]), b" ")
    cells = lines[at].split(separator)
    cell = int(rng.integers(len(cells)))
    match int(rng.integers(8)):
        case 0 | 1 | 2:
            cells[cell] = word
        case 3:
            del cells[cell]
        case 4:
            cells.insert(cell, word)
        case 5:
            lines.insert(at, lines[int(rng.integers(len(lines)))])
        case 6:
            inside = cells[cell]
            place = int(rng.integers(len(inside) + 1))
            cells[cell] = inside[:place] + word + inside[place:]
        case _:
            other = int(rng.integers(len(lines)))
            lines[at], lines[other] = lines[other], lines[at]
            return b"\n".join(lines)
    lines[at] = separator.join(cells)
    return b"\n".join(lines)


def _bytes(content: bytes, rng: np.random.Generator) -> bytes:
    changed = bytearray(content)
    # Headers stand at the start or the end of a file: damage is densest there.
    reach = max(1, len(changed) if rng.random() < 0.4 else min(len(changed), 256))
    at = int(rng.integers(reach))
    at = max(0, len(changed) - at) if rng.random() < 0.3 else at
    match int(rng.integers(6)):
        case 0:
            changed[at : at + 1] = bytes([int(rng.integers(256))])
        case 1:
            del changed[at:]
        case 2:
            del changed[at : at + int(rng.integers(1, 64))]
        case 3:
            size = int(rng.choice([1, 2, 4, 8]))
            number = NUMBERS[int(rng.integers(len(NUMBERS)))] % 2 ** (8 * size)
            order = "little" if rng.random() < 0.7 else "big"
            changed[at : at + size] = number.to_bytes(size, order)
        case 4:
            changed += bytes(int(rng.integers(1, 5000)))
        case _:
            changed[at:at] = changed[at : at + int(rng.integers(1, 64))]
    return bytes(changed)


# What a reader may do with it.


class ViolationError(Exception):
    """What no reader may do."""


class HangError(BaseException):
    """A case took longer than `SECONDS`; no reader catches this."""


@dataclass
class Findings:
    """What became of some cases of a kind."""

    cases: int = 0
    refused: int = 0
    """Cases in which the whole source was refused with one sentence."""
    read: int = 0
    """Records that were read, and may be."""
    quarantined: Counter[str] = field(default_factory=Counter)
    """Reason to records."""
    violations: list[str] = field(default_factory=list)
    peak: int = 0
    """Largest rise of the process's memory in one case, bytes."""

    def add(self, other: "Findings") -> None:
        self.cases += other.cases
        self.refused += other.refused
        self.read += other.read
        self.quarantined.update(other.quarantined)
        self.violations += other.violations
        self.peak = max(self.peak, other.peak)


def run_cases(kind: str, cases: Iterator[int] | range, progress: Path | None = None) -> Findings:
    """Run some cases of a kind: each is the kind's files, damaged as its number says."""
    found = Findings()
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        pristine, root = base / "pristine", base / "root"
        reader, options = kinds()[kind](pristine)
        _write_secret(base)
        shutil.copytree(pristine, root)
        tables = set(sources.get(reader)(root, "fuzz", options).tables())
        with _watched_opens(base, root) as outside:
            for number in cases:
                if progress:
                    progress.write_text(str(number))
                damaged = damage(root, base / "secret", tables, _generator(kind, number))
                found.cases += 1
                before = _start_peak()
                try:
                    with _at_most(SECONDS):
                        _try(reader, root, options, number % INGEST_EVERY == 0, found)
                    if outside:
                        raise ViolationError(f"opened {outside[0]}")
                except (Exception, HangError) as error:
                    found.violations.append(f"{kind}, case {number}: {_said(error)}")
                outside.clear()
                rise = _memory("VmHWM") - before
                found.peak = max(found.peak, rise)
                if rise > MOST_MEMORY:
                    found.violations.append(f"{kind}, case {number}: {rise / 2**30:.1f} GiB more")
                for path in damaged:
                    path.unlink(missing_ok=True)
                    shutil.copyfile(pristine / path.relative_to(root), path)
    return found


def _try(reader: str, root: Path, options: dict[str, Any], whole: bool, found: Findings) -> None:
    try:
        source = sources.get(reader)(root, "fuzz", options)
        refs = source.index()
        source.tables()
    except BadInputError as error:
        _is_sentence(str(error))
        found.refused += 1
        return
    for ref in refs[:4]:
        try:
            source.files(ref)
            record = source.load(ref)
            keep(record, RECIPE, "keep", source.leads)
        except QuarantineError as error:
            _is_sentence(error.detail)
            _has_no(MemoryError, error)
            found.quarantined[error.reason] += 1
        except BadInputError as error:
            _is_sentence(str(error))
            found.refused += 1
            return
        else:
            _check(record)
            found.read += 1
    if whole:
        config = SourceConfig(
            reader=reader, root=root, watch=root, max_quarantined=1, options=options
        )
        try:
            ingest("fuzz", config, RECIPE, root.parent / "store")
        except BadInputError as error:
            _is_sentence(str(error))


def _check(record: Any) -> None:
    signal_ = record.signal
    shape = len(record.leads), signal_.shape[-1]
    facts = {
        "shape": signal_.shape == shape and signal_.dtype == np.float32,
        "rate": RATES[0] <= record.fs <= RATES[1],
        "leads": len(set(record.leads)) == len(record.leads) and all(record.leads),
        "age": record.age is None or 0 <= record.age <= 120,
        "sex": record.sex in ("F", "M", None),
        "labels": all(label.strip() for label in record.labels),
        "patient": record.patient_id.startswith("fuzz:") and len(record.patient_id) > 5,
        "measurements": all(math.isfinite(x) for x in record.measurements.values()),
        "secret": not any(_is_secret(row) for row in signal_),
    }
    wrong = [name for name, right in facts.items() if not right]
    if wrong:
        raise ViolationError(f"record {record.record_id[:80]!r} has an impossible {wrong[0]}")


def _is_secret(row: Any) -> bool:
    """Whether a signal goes up and down from sample to sample, as no other does for so long."""
    signs = np.sign(np.diff(row[:200]))
    return len(signs) > 100 and bool((signs[1:] * signs[:-1] < 0).all())


def _is_sentence(text: str) -> None:
    if not text.strip() or len(text) > 2000 or "Traceback" in text:
        raise ViolationError(f"said: {text[:200]!r}")


def _has_no(kind: type[BaseException], error: BaseException | None) -> None:
    while error is not None:
        if isinstance(error, kind):
            raise ViolationError(f"asked for too much memory: {error}")
        error = error.__cause__ or error.__context__


def _said(error: BaseException) -> str:
    if isinstance(error, ViolationError):
        return str(error)
    if isinstance(error, HangError):
        return f"longer than {SECONDS} s"
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(place.filename).name}:{place.lineno}: {error}"[:300]


def _write_secret(base: Path) -> None:
    write_wfdb(base, "secret", SECRET, suffix=".dat", offset=0)
    shutil.copyfile(base / "secret.dat", base / "secret.mat")
    _csv(base, "secret", SECRET)
    _npy(base, "secret", SECRET)
    _parquet(base, "secret", SECRET)


_watch: dict[str, Any] = {}


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event == "open" and _watch and isinstance(args[0], (str, bytes, os.PathLike)):
        _opened(os.path.realpath(os.fsdecode(args[0])))


def _opened(path: str) -> None:
    base, root = _watch["base"], _watch["root"]
    inside = path.startswith((f"{root}/", f"{base}/store", f"{base}/.store"))
    if path.startswith("/etc/passwd") or (path.startswith(f"{base}/") and not inside):
        _watch["outside"].append(path)


@contextmanager
def _watched_opens(base: Path, root: Path) -> Iterator[list[str]]:
    if "hooked" not in globals():
        sys.addaudithook(_audit)
        globals()["hooked"] = True
    outside: list[str] = []
    # The damage itself copies from outside: `run_cases` clears the list before a reader runs.
    _watch.update(base=str(base), root=str(root), outside=outside)
    try:
        yield outside
    finally:
        _watch.clear()


@contextmanager
def _at_most(seconds: int) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise HangError

    _watch["outside"].clear()
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _generator(kind: str, number: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(kind.encode()), number])


def _memory(what: str) -> int:
    """Return a line of what Linux knows of this process, bytes: VmRSS now, VmHWM at its peak."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{what}:")[1].split()[0]) * 1024


def _start_peak() -> int:
    """Let the peak begin anew; return what is held now."""
    Path("/proc/self/clear_refs").write_text("5")
    return _memory("VmRSS")


# Many cases, in processes that may die.


def fuzz(cases: int, jobs: int) -> dict[str, Findings]:
    """Share cases among all kinds and run them; a process that dies or hangs is a violation."""
    names = list(kinds())
    share = -(-cases // len(names))
    parts = [
        (name, start, min(start + CHUNK, share))
        for name in names
        for start in range(0, share, CHUNK)
    ]
    found = {name: Findings() for name in names}
    with ThreadPoolExecutor(jobs) as pool:
        for (name, _, _), part in zip(parts, pool.map(_chunk, parts), strict=True):
            found[name].add(part)
    return found


def _chunk(part: tuple[str, int, int]) -> Findings:
    kind, start, stop = part
    total = Findings()
    with tempfile.TemporaryDirectory() as folder:
        progress = Path(folder) / "case"
        while start < stop:
            progress.write_text(str(start))
            command = [sys.executable, "-m", "support.fuzz", "--kind", kind]
            command += ["--range", str(start), str(stop), "--progress", str(progress)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            output, dead = _wait(process, progress)
            if not dead:
                said = json.loads(output.splitlines()[-1])
                total.add(Findings(**{**said, "quarantined": Counter(said["quarantined"])}))
                break
            case = int(progress.read_text())
            total.violations.append(f"{kind}, case {case}: {dead}")
            # What the dead process had found is found again, up to the case that killed it.
            if case > start:
                total.add(_chunk((kind, start, case)))
            start = case + 1
    return total


def _wait(process: "subprocess.Popen[bytes]", progress: Path) -> tuple[bytes, str]:
    while True:
        try:
            output, errors = process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            if time.time() - progress.stat().st_mtime > 3 * SECONDS:
                process.kill()
                process.communicate()
                return b"", "hung, and could not be interrupted"
            continue
        last = errors.decode(errors="replace").strip().splitlines()[-1:]
        said = f"the process ended with {process.returncode}: {' '.join(last)}"
        return output, said if process.returncode else ""


def table(found: dict[str, Findings]) -> str:
    """Return a row a kind, as Markdown."""
    lines = [
        "| files | cases | records read | quarantined | source refused | violations |",
        "|---|---|---|---|---|---|",
    ]
    total = Findings()
    for part in found.values():
        total.add(part)
    for name, part in [*found.items(), ("all", total)]:
        set_aside = sum(part.quarantined.values())
        lines.append(
            f"| {name} | {part.cases:,} | {part.read:,} | {set_aside:,} | {part.refused:,} "
            f"| {len(part.violations)} |"
        )
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in total.quarantined.most_common())
    return "\n".join(
        [
            *lines,
            "",
            f"Quarantined: {reasons}.",
            f"Largest rise of a process's memory in one case: {total.peak / 2**20:.0f} MiB.",
            *(f"- VIOLATION {violation}" for violation in total.violations),
        ]
    )


def main() -> int:
    """Run cases as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m support.fuzz")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--kind", choices=list(kinds()))
    parser.add_argument("--case", type=int)
    parser.add_argument("--range", type=int, nargs=2)
    parser.add_argument("--progress", type=Path)
    given = parser.parse_args()
    if given.range:
        findings = run_cases(given.kind, range(*given.range), given.progress)
        print(json.dumps(vars(findings)))
        return 0
    if given.case is not None:
        found = {given.kind: run_cases(given.kind, range(given.case, given.case + 1))}
    else:
        started = time.monotonic()
        found = fuzz(given.cases, given.jobs)
        print(f"{(time.monotonic() - started) / 60:.1f} minutes, {given.jobs} processes\n")
    print(table(found))
    return int(any(part.violations for part in found.values()))


if __name__ == "__main__":
    sys.exit(main())
