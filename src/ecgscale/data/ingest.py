"""Read a source, check every record, and write the store: no bad record stops it or vanishes."""

import hashlib
import multiprocessing
import shutil
import tempfile
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from ecgscale.data.amplitude import Checked, checked_amplitude, judge
from ecgscale.data.findings import Findings, findings
from ecgscale.data.fingerprint import fingerprints
from ecgscale.data.preprocess import keep, process, quantise, saturation_notes
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS, Record
from ecgscale.data.sources.base import (
    QuarantineError,
    Ref,
    Source,
    is_inside,
    sources,
    unexpected,
)
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.data.store import StoreWriter, input_digests, write_quarantine
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.files import file_digest, naming, write_whole

CHUNK = 64
"""Records that a worker reads and filters at once."""

SUMMARY = "summary.json"
"""In the store: what ingest found."""

FileDigest = tuple[str, int, str]


class IngestSummary(BaseModel, extra="forbid", frozen=True):
    """What went in and what became of it: `records` = `stored` + the sum of `quarantined`.

    `found` is what the stored ones have; it lies beside the store's table as ``summary.json``.
    """

    source: str
    reader: str
    records: int
    stored: int
    quarantined: dict[str, int]
    digest: str
    found: Findings

    def to_json(self) -> str:
        """Return the summary as JSON."""
        return self.model_dump_json(indent=1)


@dataclass(frozen=True)
class _Outcome:
    """A record ready for the store, or why it is not."""

    row: dict[str, Any]
    samples: npt.NDArray[np.int16] | None = None
    fingerprint: npt.NDArray[np.int8] | None = None
    apart: npt.NDArray[np.float32] | None = None
    problem: QuarantineError | None = None


@dataclass(frozen=True)
class _Chunk:
    outcomes: list[_Outcome]
    inputs: list[FileDigest]


def ingest(
    name: str, config: SourceConfig, recipe: Recipe, out: Path, jobs: int = 1
) -> IngestSummary:
    """Write the store of one source.

    The result depends on the source's content and the recipe alone, not on `jobs` or on where the
    folders lie. `out` is replaced at the end, in one step; a failed run leaves it as it was.

    Parameters
    ----------
    name
        The source's name in the study.
    config
        Where it lies and how it is read.
    recipe
        Rate, length, band and leads.
    out
        Folder of the store.
    jobs
        Processes.

    Raises
    ------
    BadInputError
        If the folder is absent or has no records, an option is wrong, or more than
        ``config.max_quarantined`` of the records, or all of them, are quarantined; their table is
        then left beside `out`.
    StageFailedError
        If a process was killed.
    OSError
        If the disk is full; nothing is left of what was written.

    Examples
    --------
    >>> from ecgscale.data import open_store
    >>> from ecgscale.data.simulate import simulate
    >>> from ecgscale.data.simulate.settings import CohortSettings
    >>> folder = Path(tempfile.mkdtemp())
    >>> _ = simulate(CohortSettings(layout="ptb-xl", patients=3), folder / "raw")
    >>> config = SourceConfig(reader="ptb-xl", root=folder / "raw", watch=folder / "raw")
    >>> summary = ingest("clinic", config, Recipe(fs=50), folder / "store")
    >>> store = open_store(folder / "store")
    >>> len(store) == summary.stored, store.signals([0]).shape
    (True, (1, 12, 500))
    """
    namespace = config.namespace or name
    source = sources.get(config.reader)(config.root, namespace, config.options)
    refs = source.listed()
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        leads = stored_leads(name, source, recipe)
        writer = StoreWriter(folder, leads, recipe.n_samples)
        with naming(out):
            quarantine, inputs, apart = _write_records(
                source, refs, name, config, recipe, writer, jobs
            )
            source_notes = _judge_amplitudes(writer, leads, quarantine, apart)
            counts = dict(sorted(Counter(row["reason"] for row in quarantine).items()))
            _refuse_too_many(name, config, len(refs), counts, quarantine, out)
            manifest = writer.finish(
                quarantine,
                source=name,
                reader=config.reader,
                namespace=namespace,
                recipe=recipe,
                records=len(refs),
                quarantined=counts,
                notes=source_notes,
                inputs=input_digests([*inputs, *_digests(source.root, source.tables())]),
            )
            summary = IngestSummary(
                source=name,
                reader=config.reader,
                records=len(refs),
                stored=manifest.stored,
                quarantined=counts,
                digest=manifest.digest,
                found=findings(writer.rows, leads, source_notes),
            )
            write_whole(folder / SUMMARY, summary.to_json() + "\n")
            _replace(folder, out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return summary


def stored_leads(name: str, source: Source[Any], recipe: Recipe) -> tuple[str, ...]:
    """Return the recipe's leads that a source has, in the recipe's order.

    Raises
    ------
    BadInputError
        If it has none of them.
    """
    leads = tuple(x for x in recipe.leads if source.leads is None or x in source.leads)
    if not leads:
        raise BadInputError(
            f"source {name} has the leads {', '.join(source.leads or ())}, none of recipe.leads"
        )
    return leads


def quarantine_beside(out: Path) -> Path:
    """Return where the quarantine table of a refused ingest is left."""
    return out.with_name(f"{out.name}.quarantine.parquet")


def _write_records(
    source: Source[Any],
    refs: list[Ref],
    name: str,
    config: SourceConfig,
    recipe: Recipe,
    writer: StoreWriter,
    jobs: int,
) -> tuple[list[dict[str, str]], list[FileDigest], list[npt.NDArray[np.float32]]]:
    from rich.console import Console
    from rich.progress import Progress

    quarantine: list[dict[str, str]] = []
    inputs: list[FileDigest] = []
    apart: list[npt.NDArray[np.float32]] = []
    duplicates = _Duplicates()
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(f"ingest {name}", total=len(refs))
        for chunk in _chunks(source, refs, name, config, recipe, jobs):
            for outcome in map(duplicates.check, chunk.outcomes):
                samples, levels = outcome.samples, outcome.apart
                if outcome.problem is None and samples is not None and levels is not None:
                    writer.add(outcome.row, samples, outcome.fingerprint)
                    apart.append(levels)
                elif outcome.problem is not None:
                    quarantine.append(_quarantine_row(outcome.row, outcome.problem))
            inputs += chunk.inputs
            progress.advance(bar, len(chunk.outcomes))
    return quarantine, inputs, apart


def _judge_amplitudes(
    writer: StoreWriter,
    leads: tuple[str, ...],
    quarantine: list[dict[str, str]],
    apart: list[npt.NDArray[np.float32]],
) -> tuple[str, ...]:
    """Compare the amplitudes of what was written; return notes on the source."""
    found = judge(writer.rows, leads, apart)
    for place, detail in sorted(found.left_out.items()):
        problem = QuarantineError("bad-gain", detail)
        quarantine.append(_quarantine_row(writer.rows[place], problem))
    for place, note in found.noted.items():
        writer.rows[place]["notes"].append(note)
    writer.drop(found.left_out)
    return tuple(found.notes)


def _chunks(
    source: Source[Any], refs: list[Ref], name: str, config: SourceConfig, recipe: Recipe, jobs: int
) -> Iterator[_Chunk]:
    """Yield processed chunks in the order of `refs`, a few of them in flight."""
    parts = [refs[start : start + CHUNK] for start in range(0, len(refs), CHUNK)]
    if min(jobs, len(parts)) <= 1:
        worker = _Worker(source, name, recipe)
        yield from map(worker.run, parts)
        return
    # Spawned, not forked: the parent has threads (progress bar, Arrow), which a fork would break.
    with ProcessPoolExecutor(
        min(jobs, len(parts)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(name, config, recipe),
    ) as pool:
        waiting: deque[Future[_Chunk]] = deque()
        try:
            for part in parts:
                waiting.append(pool.submit(_run_worker, part))
                if len(waiting) > 2 * jobs:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise StageFailedError(
                f"source {name}: a process that reads it was killed, as happens when the memory is "
                "full; nothing was stored, and a smaller --jobs needs less memory"
            ) from error


class _Worker:
    """Reads and processes chunks of one source."""

    def __init__(self, source: Source[Any], name: str, recipe: Recipe) -> None:
        self.source = source
        self.name = name
        self.recipe = recipe
        self.leads = stored_leads(name, source, recipe)

    def run(self, refs: list[Ref]) -> _Chunk:
        """Process some records; the outcomes are in the order of `refs`."""
        outcomes: dict[int, _Outcome] = {}
        groups: dict[tuple[float, int, bool], list[tuple[int, Record, Any, Checked]]] = {}
        for position, ref in enumerate(refs):
            try:
                record = self.source.load(ref)
                kept, notes = keep(record, self.recipe, self.source.options.flat_leads, self.leads)
                checked = checked_amplitude(record, kept, self.leads)
            except QuarantineError as problem:
                outcomes[position] = _Outcome({"record_id": ref.record_id}, problem=problem)
                continue
            except BadInputError:
                raise
            except Exception as error:
                outcomes[position] = self._failed(ref, error)
                continue
            record = replace(record, notes=(*record.notes, *notes, *checked.notes))
            key = record.fs, kept.shape[1], record.unit == "z"
            groups.setdefault(key, []).append((position, record, kept, checked))
        for group in groups.values():
            try:
                outcomes |= self._processed(group)
            except Exception:
                for one in group:  # alone, to find out which of them it is
                    try:
                        outcomes |= self._processed([one])
                    except Exception as error:
                        outcomes[one[0]] = self._failed(refs[one[0]], error)
        root = self.source.root
        files = [path for ref in refs for path in self._files(ref) if is_inside(root, path)]
        return _Chunk([outcomes[position] for position in range(len(refs))], _digests(root, files))

    def _files(self, ref: Ref) -> list[Path]:
        with suppress(ValueError):  # a name that no file can have
            return self.source.files(ref)
        return []

    def _processed(self, group: list[tuple[int, Record, Any, Checked]]) -> dict[int, _Outcome]:
        """Process records of one rate and length at once."""
        (_, first, kept, _), *_ = group
        fs, length = first.fs, kept.shape[1]
        signals = np.stack([kept for _, _, kept, _ in group])
        samples, cut = quantise(process(signals, fs, self.recipe, first.unit == "z"))
        valid = self._valid_samples(length, fs)
        made = zip(
            group, samples, fingerprints(samples, self.recipe.fs, valid), cut.tolist(), strict=True
        )
        return {
            at: self._outcome(record, one, fingerprint, count, valid, checked)
            for (at, record, _, checked), one, fingerprint, count in made
        }

    def _failed(self, ref: Ref, error: Exception) -> _Outcome:
        problem = unexpected(error, self.source.file_name(ref))
        return _Outcome({"record_id": ref.record_id}, problem=problem)

    def _valid_samples(self, length: int, fs: float) -> int:
        ratio = Fraction(self.recipe.fs / fs).limit_denominator(10_000)
        return min(self.recipe.n_samples, -(-length * ratio.numerator // ratio.denominator))

    def _outcome(
        self,
        record: Record,
        samples: npt.NDArray[np.int16],
        fingerprint: npt.NDArray[np.int8],
        cut: int,
        valid: int,
        checked: Checked,
    ) -> _Outcome:
        try:
            notes = saturation_notes(cut, samples.size)
        except QuarantineError as problem:
            return _Outcome({"record_id": record.record_id}, problem=problem)
        said = (record.record_id, record.patient_id, *record.labels, *record.notes, record.device)
        for text in said:
            text.encode()  # a name that is no Unicode text cannot stand in the table
        row = {
            "record_id": record.record_id,
            "patient_id": record.patient_id,
            "source": self.name,
            "age": float("nan") if record.age is None else record.age,
            "sex": record.sex,
            "fold": record.fold,
            "split": record.split,
            "labels": list(record.labels),
            "likelihoods": list(record.labels.values()),
            "split_labels": list(record.split_labels),
            "measurements": list(record.measurements),
            "measured": list(record.measurements.values()),
            "columns": list(record.columns),
            "cells": list(record.columns.values()),
            "unit": record.unit,
            "amplitude": checked.amplitude,
            "gain": record.gain,
            "device": record.device,
            "fs_original": record.fs,
            "seconds": record.signal.shape[1] / record.fs,
            "valid_samples": valid,
            "notes": [*record.notes, *notes],
            "signal_digest": hashlib.sha256(samples.tobytes()).hexdigest()[:32],
            **{name: record.clinical.get(name, float("nan")) for name in CLINICAL_FIELDS},
        }
        return _Outcome(row, samples, fingerprint, checked.apart.astype(np.float32))


class _Duplicates:
    """Remembers what has been stored; the first record of a kind is kept."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._signals: dict[str, str] = {}

    def check(self, outcome: _Outcome) -> _Outcome:
        """Return the outcome, or its rejection as a duplicate."""
        if outcome.problem is not None:
            return outcome
        record_id, digest = outcome.row["record_id"], outcome.row["signal_digest"]
        if record_id in self._ids:
            return replace(outcome, problem=_duplicate("the same id as an earlier record"))
        if digest in self._signals:
            earlier = self._signals[digest]
            return replace(outcome, problem=_duplicate(f"the same samples as record {earlier}"))
        self._ids.add(record_id)
        self._signals[digest] = record_id
        return outcome


def _duplicate(detail: str) -> QuarantineError:
    return QuarantineError("duplicate-record", detail)


def _quarantine_row(row: dict[str, Any], problem: QuarantineError) -> dict[str, str]:
    row = {"record_id": row["record_id"], "reason": problem.reason, "detail": problem.detail}
    return {key: text.encode(errors="backslashreplace").decode() for key, text in row.items()}


def _digests(root: Path, paths: list[Path]) -> list[FileDigest]:
    """Digest the files that can be read, under names that do not depend on where `root` lies."""
    digests = []
    for path in paths:
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else path.name
        with suppress(OSError, ValueError):
            if path.is_file():
                digests.append((name, path.stat().st_size, file_digest(path)))
    return digests


def _refuse_too_many(
    name: str,
    config: SourceConfig,
    records: int,
    counts: dict[str, int],
    quarantine: list[dict[str, str]],
    out: Path,
) -> None:
    beside = quarantine_beside(out)
    bad = len(quarantine)
    if bad <= config.max_quarantined * records and bad < records:
        beside.unlink(missing_ok=True)
        return
    write_quarantine(beside, quarantine)
    reasons = ", ".join(f"{reason} {count}" for reason, count in counts.items())
    raise BadInputError(
        f"source {name}: {bad} of {records} records are quarantined ({reasons}), above the limit "
        f"of {config.max_quarantined:.0%}; {beside} says which"
    )


def _replace(folder: Path, out: Path) -> None:
    folder.chmod(0o755)
    if out.exists():
        old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        out.rename(old / out.name)
        folder.rename(out)
        shutil.rmtree(old)
    else:
        folder.rename(out)


_worker: _Worker | None = None


def _start_worker(name: str, config: SourceConfig, recipe: Recipe) -> None:
    global _worker
    source = sources.get(config.reader)(config.root, config.namespace or name, config.options)
    _worker = _Worker(source, name, recipe)


def _run_worker(refs: list[Ref]) -> _Chunk:
    if _worker is None:
        raise RuntimeError("the worker was not started")
    return _worker.run(refs)
