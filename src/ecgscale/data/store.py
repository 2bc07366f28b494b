"""The one format in which processed ECGs are kept and read: int16 shards, a table, a manifest."""

import hashlib
import json
import os
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ValidationError

from ecgscale.data.fingerprint import fingerprints
from ecgscale.data.preprocess import STEP
from ecgscale.data.recipe import Recipe
from ecgscale.data.record import CLINICAL_FIELDS
from ecgscale.errors import BadInputError
from ecgscale.files import file_digest
from ecgscale.settings import digest_of, first_problem

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

MANIFEST = "MANIFEST.json"
RECORDS = "records.parquet"
QUARANTINE = "quarantine.parquet"
FINGERPRINTS = "fingerprints.npy"
SHARD_BYTES = 256 * 2**20
"""Largest signal shard."""

Rows = npt.NDArray[np.integer[Any]]


class InputDigests(BaseModel, extra="forbid", frozen=True):
    """What was read to make a store: files, bytes, and SHA-256 over (path, size, content)."""

    files: int
    bytes: int
    sha256: str


class FileEntry(BaseModel, extra="forbid", frozen=True):
    """One file of a store."""

    bytes: int
    sha256: str


class Shard(BaseModel, extra="forbid", frozen=True):
    """A file of signals and how many records it holds."""

    name: str
    records: int


class Manifest(BaseModel, extra="forbid", frozen=True):
    """What a store holds and how it was made; free of machine paths and times.

    Attributes
    ----------
    records
        Records that the source has.
    stored, quarantined
        Records in the store, and the others per reason; they add up to `records`.
    notes
        What was found of the source as a whole, in words.
    digest
        SHA-256 over recipe, leads and every record's samples and metadata.
    """

    format_version: Literal[1] = 1
    source: str
    reader: str
    namespace: str
    recipe: Recipe
    recipe_digest: str
    leads: tuple[str, ...]
    fs: float
    n_samples: int
    records: int
    stored: int
    quarantined: dict[str, int]
    inputs: InputDigests
    shards: tuple[Shard, ...]
    files: dict[str, FileEntry]
    notes: tuple[str, ...] = ()
    digest: str


class Store:
    """A store of processed records, opened by `open_store`.

    Attributes
    ----------
    path
        Its folder.
    manifest
        What it holds and how it was made.
    source, fs, leads, n_samples, digest
        Of the manifest: the source's name, the sampling rate in Hz, the leads in stored order, the
        samples of a record and the digest of the content.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.source, self.digest = manifest.source, manifest.digest
        self.fs, self.leads, self.n_samples = manifest.fs, manifest.leads, manifest.n_samples
        self._starts = np.cumsum([0, *(shard.records for shard in manifest.shards)])

    def __len__(self) -> int:
        return self.manifest.stored

    def __repr__(self) -> str:
        return f"Store({self.source}: {len(self)} records, {self.fs:g} Hz, {self.digest[:12]})"

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.path,)

    @cached_property
    def records(self) -> "pd.DataFrame":
        """One row per record, in store order; columns as in `records_schema`."""
        import pandas as pd
        import pyarrow.parquet as pq

        table = pq.read_table(self.path / RECORDS)
        columns: dict[str, Any] = {}
        for name, values in zip(table.column_names, table.columns, strict=True):
            if str(values.type) in ("double", "int32", "int64") and name != "fold":
                columns[name] = values.to_numpy()
            else:
                dtype: Any = "Int64" if name == "fold" else object
                columns[name] = pd.Series(values.to_pylist(), dtype=dtype)
        return pd.DataFrame(columns)

    def columns(self, names: Sequence[str]) -> "pd.DataFrame":
        """Read some columns of `records`, texts as pandas keeps them in little memory."""
        import pyarrow.parquet as pq

        table = pq.read_table(self.path / RECORDS, columns=list(names))
        frame: pd.DataFrame = table.to_pandas(self_destruct=True, split_blocks=True)
        return frame

    @cached_property
    def quarantine(self) -> "pd.DataFrame":
        """The records left out: record_id, reason, detail."""
        import pandas as pd

        return pd.read_parquet(self.path / QUARANTINE)

    def raw(
        self, rows: Rows | Sequence[int] | None = None, leads: Sequence[str] | None = None
    ) -> npt.NDArray[np.int16]:
        """Read stored samples.

        Parameters
        ----------
        rows
            Row numbers in any order, repeats allowed; None for all.
        leads
            Lead names in any order; None for all. A lead of the recipe that the source does not
            have is zero.

        Returns
        -------
        numpy.ndarray
            Shape (row, lead, time), int16, in steps of 1 uV (unit z: 1/1000 standard deviation).

        Raises
        ------
        IndexError
            If a row is not in the store.
        BadInputError
            If a lead is neither in the store nor in its recipe.
        """
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows)
        if wanted.size and wanted.dtype.kind not in "iu":
            raise IndexError(f"rows must be integers, not {wanted.dtype}")
        if wanted.size and not (wanted.min() >= 0 and wanted.max() < len(self)):
            raise IndexError(f"rows must be in [0, {len(self)}) in {self.path}")
        columns = self._columns(leads)
        shard_of = np.searchsorted(self._starts, wanted, side="right") - 1
        touched = np.unique(shard_of).tolist()
        if len(touched) == 1:
            return self._pick(touched[0], wanted - self._starts[touched[0]], columns)
        out = np.empty((len(wanted), len(columns), self.n_samples), dtype=np.int16)
        for shard in touched:
            at = np.flatnonzero(shard_of == shard)
            out[at] = self._pick(shard, wanted[at] - self._starts[shard], columns)
        return out

    def signals(
        self, rows: Rows | Sequence[int] | None = None, leads: Sequence[str] | None = None
    ) -> npt.NDArray[np.float32]:
        """Read signals.

        Returns
        -------
        numpy.ndarray
            Shape (row, lead, time), float32, mV (unit z: standard deviations).

        Raises
        ------
        IndexError
            If a row is not in the store.
        BadInputError
            If a lead is not in the store.
        """
        samples = self.raw(rows, leads).astype(np.float32)
        samples *= np.float32(STEP)
        return samples

    def fingerprints(self) -> npt.NDArray[np.int8]:
        """Return shape (record, time): what tells recordings apart whatever their name.

        Of a store that was written without them they are computed.
        """
        if FINGERPRINTS in self.manifest.files:
            kept: npt.NDArray[np.int8] = np.load(self.path / FINGERPRINTS, mmap_mode="r")
            return kept
        valid = self.records["valid_samples"].to_numpy()
        return np.concatenate(
            [fingerprints(self.raw([row]), self.fs, int(valid[row])) for row in range(len(self))]
        )

    def verify(self) -> None:
        """Read every file and compare it with the manifest.

        Raises
        ------
        BadInputError
            If a file has changed; the message names it.
        """
        for name, entry in self.manifest.files.items():
            if file_digest(self.path / name) != entry.sha256:
                raise BadInputError(f"{self.path / name} is not the file that was written")

    @cached_property
    def _shards(self) -> list[npt.NDArray[np.int16]]:
        return [self._map(shard) for shard in self.manifest.shards]

    def _map(self, shard: Shard) -> npt.NDArray[np.int16]:
        path = self.path / shard.name
        try:
            samples: npt.NDArray[np.int16] = np.load(path, mmap_mode="r")
        except (OSError, ValueError) as error:
            raise BadInputError(f"{path} is not a signal shard: {error}") from error
        expected = shard.records, len(self.leads), self.n_samples
        if samples.shape != expected or samples.dtype != np.int16:
            raise BadInputError(
                f"{path} holds {samples.dtype} {samples.shape}, {MANIFEST} says int16 {expected}"
            )
        return samples

    def _pick(self, shard: int, rows: Rows, columns: list[int | None]) -> npt.NDArray[np.int16]:
        samples = self._shards[shard]
        if columns == list(range(len(self.leads))):
            return samples[rows]
        # Lead by lead: only the pages that hold the wanted leads are touched.
        picked = np.zeros((len(rows), len(columns), self.n_samples), dtype=np.int16)
        for place, column in enumerate(columns):
            if column is not None:
                picked[:, place] = samples[rows, column]
        return picked

    def _columns(self, leads: Sequence[str] | None) -> list[int | None]:
        """Return where each lead is stored, None for one that the source does not have."""
        names = self.leads if leads is None else leads
        known = {*self.leads, *self.manifest.recipe.leads}
        unknown = [lead for lead in names if lead not in known]
        if unknown:
            raise BadInputError(f"{self.path} has no lead {unknown[0]!r}")
        return [self.leads.index(x) if x in self.leads else None for x in names]


def open_store(path: str | Path) -> Store:
    """Open a store; signals are mapped when they are first read.

    Raises
    ------
    BadInputError
        If a file is missing, has another size than the manifest says, or the manifest or the
        table is not what was written; the message names the file. `Store.verify` also reads the
        signals.

    Examples
    --------
    See `ecgscale.data.ingest.ingest`, which writes one.
    """
    path = Path(path)
    manifest = _read_manifest(path / MANIFEST)
    for name, entry in manifest.files.items():
        file = path / name
        if not file.is_file():
            raise BadInputError(f"{file} does not exist, though {MANIFEST} lists it")
        if file.stat().st_size != entry.bytes:
            raise BadInputError(
                f"{file} has {file.stat().st_size} bytes, {MANIFEST} says {entry.bytes}"
            )
        if file.suffix == ".parquet" and file_digest(file) != entry.sha256:
            raise BadInputError(f"{file} is not the file that was written")
    return Store(path, manifest)


def _read_manifest(path: Path) -> Manifest:
    try:
        manifest = Manifest(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise BadInputError(f"{path.parent} is not a store: it has no {MANIFEST}") from error
    except ValidationError as error:
        raise BadInputError(f"{path}: {first_problem(error)}") from error
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{path} is not a store manifest: {error}") from error
    names = {*(shard.name for shard in manifest.shards), RECORDS, QUARANTINE}
    names |= {FINGERPRINTS} & set(manifest.files)  # stores of earlier versions have none
    strange = names ^ set(manifest.files) | {n for n in names if os.path.basename(n) != n}
    if strange:
        raise BadInputError(f"{path} must list the store's own files: {sorted(strange)}")
    if sum(shard.records for shard in manifest.shards) != manifest.stored:
        raise BadInputError(f"{path}: the shards do not hold the {manifest.stored} records stored")
    return manifest


class StoreWriter:
    """Writes a store into an empty folder, record by record.

    Parameters
    ----------
    folder
        Exists and is empty.
    leads, n_samples
        Shape of a record.
    shard_bytes
        Largest shard.
    """

    def __init__(
        self, folder: Path, leads: tuple[str, ...], n_samples: int, shard_bytes: int = SHARD_BYTES
    ) -> None:
        self.folder = folder
        self.rows: list[dict[str, Any]] = []
        self.shards: list[Shard] = []
        self._leads = leads
        self._capacity = max(1, shard_bytes // (2 * len(leads) * n_samples))
        self._blocks: list[npt.NDArray[np.int16]] = []
        self._fingerprints: list[npt.NDArray[np.int8]] = []

    def add(
        self,
        row: dict[str, Any],
        samples: npt.NDArray[np.int16],
        fingerprint: npt.NDArray[np.int8] | None = None,
    ) -> None:
        """Add a record: its row of the table, its samples, int16 (lead, time), its fingerprint."""
        self.rows.append(row)
        if fingerprint is not None:
            self._fingerprints.append(fingerprint)
        self._blocks.append(samples)
        if len(self._blocks) == self._capacity:
            self._flush()

    def drop(self, rows: Collection[int]) -> None:
        """Take records out again, by their row; the store is as if they had never been added."""
        if not rows:
            return
        self._flush()
        prints: list[Any] = self._fingerprints or [None] * len(self.rows)
        shards, written = self.shards, zip(self.rows, prints, strict=True)
        self.shards, self.rows, self._fingerprints = [], [], []
        start = 0
        for shard in shards:
            # Written shards replace files that are still mapped: a replaced file stays readable.
            samples = np.load(self.folder / shard.name, mmap_mode="r")
            for number, one in enumerate(samples, start=start):
                row, fingerprint = next(written)
                if number not in rows:
                    self.add(row, np.array(one), fingerprint)
            start += shard.records
        self._flush()
        for shard in shards[len(self.shards) :]:
            (self.folder / shard.name).unlink()

    def finish(self, quarantine: list[dict[str, str]], **manifest: Any) -> Manifest:
        """Write the tables and the manifest.

        Parameters
        ----------
        quarantine
            Rows with record_id, reason and detail.
        **manifest
            The fields of `Manifest` that only the caller knows.
        """
        self._flush()
        write_rows(self.folder / RECORDS, self.rows, records_schema())
        write_quarantine(self.folder / QUARANTINE, quarantine)
        recipe: Recipe = manifest["recipe"]
        names = (*(shard.name for shard in self.shards), RECORDS, QUARANTINE)
        if self.rows and len(self._fingerprints) == len(self.rows):
            np.save(self.folder / FINGERPRINTS, np.stack(self._fingerprints))
            names = (*names, FINGERPRINTS)
        complete = Manifest(
            **manifest,
            recipe_digest=recipe.digest,
            leads=self._leads,
            fs=recipe.fs,
            n_samples=recipe.n_samples,
            stored=len(self.rows),
            shards=tuple(self.shards),
            files={name: _entry(self.folder / name) for name in names},
            digest=self._content_digest(recipe),
        )
        text = json.dumps(complete.model_dump(mode="json"), indent=1, sort_keys=True)
        (self.folder / MANIFEST).write_text(text + "\n", encoding="utf-8")
        return complete

    def _flush(self) -> None:
        if self._blocks:
            name = f"signals-{len(self.shards):03d}.npy"
            beside = self.folder / f"new-{name}"
            write_array(beside, np.stack(self._blocks))
            beside.replace(self.folder / name)
            self.shards.append(Shard(name=name, records=len(self._blocks)))
            self._blocks.clear()

    def _content_digest(self, recipe: Recipe) -> str:
        """Return the digest of the rows and of the samples as they lie there, in any shards."""
        total = hashlib.sha256(digest_of([recipe.digest, self._leads]).encode())
        for row in self.rows:
            total.update(digest_of(row).encode())
        for shard in self.shards:
            total.update(np.load(self.folder / shard.name, mmap_mode="r").data)
        return total.hexdigest()


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array as `numpy.save` does, which hides why it fails when the disk is full."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data.cast("B"))


def records_schema() -> "pa.Schema":
    """Return the columns of ``records.parquet``."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    texts, numbers, whole = pa.list_(text), pa.list_(number), pa.int64()
    return pa.schema(
        [
            *(("record_id", text), ("patient_id", text), ("source", text), ("age", number)),
            *(("sex", text), ("fold", whole), ("split", text), ("labels", texts)),
            *(("likelihoods", numbers), ("split_labels", texts), ("measurements", texts)),
            *(("measured", numbers), ("columns", texts), ("cells", texts), ("unit", text)),
            *(("amplitude", number), ("gain", text), ("device", text), ("fs_original", number)),
            *(("seconds", number), ("valid_samples", whole), ("notes", texts)),
            *(("signal_digest", text), *((name, number) for name in CLINICAL_FIELDS)),
        ]
    )


def write_quarantine(path: Path, rows: list[dict[str, str]]) -> None:
    """Write a table of quarantined records."""
    import pyarrow as pa

    names = ("record_id", "reason", "detail")
    write_rows(path, rows, pa.schema([(name, pa.string()) for name in names]))


def write_rows(path: Path, rows: list[dict[str, Any]], schema: "pa.Schema") -> None:
    """Write rows as Parquet with zstd compression."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")


def input_digests(entries: Sequence[tuple[str, int, str]]) -> InputDigests:
    """Combine (relative path, size, SHA-256 of the content) of files, whatever their order."""
    total = hashlib.sha256()
    for path, size, digest in sorted(set(entries)):
        total.update(f"{path}\0{size}\0{digest}\n".encode(errors="surrogateescape"))
    unique = set(entries)
    size = sum(size for _, size, _ in unique)
    return InputDigests(files=len(unique), bytes=size, sha256=total.hexdigest())


def _entry(path: Path) -> FileEntry:
    return FileEntry(bytes=path.stat().st_size, sha256=file_digest(path))
