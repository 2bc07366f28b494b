"""Nested pretraining subsets: seeded, patient-level prefixes of one pool.

Every patient id is hashed together with the seed of the order; patients are sorted by hash (then
id), and a subset of size n is the first n of them with all their records in the pool. Whatever the
pool, two sizes of one order are therefore nested, and a patient's place depends on nothing but its
id, the seed and who else is in the pool: not on the machine, the Python version or the row order.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, Field, ValidationError

from ecgscale.data.copies import IdentityManifest, read_identity, same_people
from ecgscale.data.pool import PoolSource
from ecgscale.data.record import CLINICAL_FIELDS, UNKNOWN_PATIENT
from ecgscale.data.splits import assert_disjoint, held_out_patients
from ecgscale.data.store import Store, open_store
from ecgscale.errors import BadInputError
from ecgscale.files import whole_file, write_whole
from ecgscale.runs.cell import subset_name
from ecgscale.settings import first_problem

RECORDS = "records.parquet"
MANIFEST = "manifest.json"
OVERLAP = "overlap.json"

SCHEMA = pa.schema(
    [
        *(("source", pa.string()), ("row", pa.int64()), ("record_id", pa.string())),
        *(("patient_id", pa.string()), ("age", pa.float64()), ("sex", pa.string())),
        *((name, pa.float64()) for name in CLINICAL_FIELDS),
        *(("stored_seconds", pa.float64()), ("signal_digest", pa.string())),
    ]
)
"""Columns of ``records.parquet``: where the record lies in its store, and what it is."""

KEYS: tuple[str, ...] = ("source", "row", "record_id", "patient_id")
"""Columns by which a subset is drawn; the others are read for its own records alone."""

CONTENT: tuple[str, ...] = tuple(name for name in SCHEMA.names if name != "row")
"""Columns that the digest covers: all but the place in the store, which says nothing of content."""

BLOCK = 1 << 18
"""Rows whose texts are in memory as Python's at one time."""

ESCAPED: npt.NDArray[np.bool_] = np.array(
    [not 32 <= byte <= 126 or chr(byte) in '"\\' for byte in range(256)]
)
"""Bytes that JSON does not hold as they are."""

LARGE_SHARE = 0.5
"""Of the pool: above it, two orders have most of their patients in common."""

AGE_BANDS = 10
"""Width of the age bands in the manifest, years."""


@dataclass(frozen=True)
class Pool:
    """What subsets are drawn from.

    Attributes
    ----------
    records
        Columns of `SCHEMA`, of which all but `KEYS` may be absent.
    excluded_patients
        Patients that the filters kept but a task holds out; they are not in `records`.
    excluded_copies
        Patients per source that share a recording with a held-out patient under another id; they
        are not in `records` either.
    copies
        Pairs of records in `records` that are one recording; None if recordings were not compared.
    """

    records: pd.DataFrame
    excluded_patients: int
    excluded_copies: dict[str, int] = field(default_factory=dict)
    copies: int | None = None


class ParentSubset(BaseModel, extra="forbid", frozen=True):
    """The next smaller subset of the same order, which is contained in this one."""

    size: int = Field(ge=1)
    digest: str


class SubsetManifest(BaseModel, extra="forbid", frozen=True):
    """What a subset is; written beside its records.

    Attributes
    ----------
    size, order
        Patients asked for, and the seed of the nesting order.
    patients, records, hours
        What the subset holds; hours are those of stored signal, without padding.
    unknown_patients
        Of `patients`, recordings that are counted as a patient each since their source does not say
        whose they are.
    sources, sex, age
        Records per source; per "F", "M" and "unknown"; per age band ("60-69") and "unknown".
    pool_patients, pool_records
        What it was drawn from.
    excluded_patients
        Patients that the pool's filters kept but a task's validation or test split holds out.
    excluded_copies
        Further patients left out, per source: a recording of theirs is that of a held-out patient
        under another id (`ecgscale.data.copies`).
    pool_copies
        Pairs of records in the pool that are one recording, of the same patient or of two; None if
        recordings were not compared. They stay in, each under its own patient.
    unchecked
        Records per source of the pool that could not be compared, by reason, before its filters.
    stores
        Digest of each source's store.
    digest
        SHA-256 of the content (`content_digest`), 64 hexadecimal characters.
    parent
        The next smaller subset of the study's sizes, or None for the smallest.
    """

    schema_version: Literal[1] = 1
    size: int = Field(ge=1)
    order: int
    patients: int
    unknown_patients: int
    records: int
    hours: float
    sources: dict[str, int]
    sex: dict[str, int]
    age: dict[str, int]
    pool_patients: int
    pool_records: int
    excluded_patients: int
    excluded_copies: dict[str, int] = {}
    pool_copies: int | None = None
    unchecked: dict[str, dict[str, int]] = {}
    stores: dict[str, str]
    digest: str
    parent: ParentSubset | None

    @property
    def name(self) -> str:
        """``n<size>-o<order>``."""
        return subset_name(self.size, self.order)


class Overlap(BaseModel, extra="forbid", frozen=True):
    """How many patients the subsets of one size have in common, over their nesting orders.

    Attributes
    ----------
    size, pool_patients
        Patients of each subset, and of the pool that all are drawn from.
    shared
        ``<order>-<other order>`` to the patients that are in both subsets.
    """

    schema_version: Literal[1] = 1
    size: int = Field(ge=1)
    pool_patients: int = Field(ge=1)
    shared: dict[str, int]

    @property
    def expected(self) -> float:
        """Share of its patients that a subset is expected to have in common with another: n / N."""
        return self.size / self.pool_patients

    @property
    def measured(self) -> tuple[float, ...]:
        """The share of each pair of orders; none where there is one order."""
        return tuple(count / self.size for count in self.shared.values())

    @property
    def large(self) -> bool:
        """Whether the subsets take more than half of the pool, so that most of each is in all."""
        return self.expected > LARGE_SHARE

    def sentence(self) -> str:
        """Say how much of the pool a subset is, and how much two orders share."""
        mean = sum(self.measured) / max(len(self.shared), 1)
        shared = f"; two orders share {mean:.0%} of their patients" if self.shared else ""
        return (
            f"n{self.size}: a subset is {self.expected:.0%} of the pool's {self.pool_patients:,} "
            f"patients{shared}"
        )


@dataclass(frozen=True)
class Subsets:
    """The subsets of one size, one for each nesting order."""

    subsets: tuple[SubsetManifest, ...]
    overlap: Overlap


def build_subsets(
    sources: Mapping[str, PoolSource],
    size: int,
    orders: Sequence[int],
    parent: int | None,
    stores: Path,
    tasks_dir: Path,
    out: Path,
    identity: Path | None = None,
) -> Subsets:
    """Draw the subsets of a size and write ``records.parquet`` and ``manifest.json`` of each.

    Parameters
    ----------
    sources
        Sources to draw from, and what to keep of each.
    size
        Patients.
    orders
        Seeds of the nesting orders.
    parent
        A smaller size, whose subset of the same order each one contains; None for the smallest.
    stores
        Folder of the ingested stores, one subfolder per source.
    tasks_dir
        Output of the tasks stage; validation and test patients of every task are left out.
    out
        Folder to write, made if absent: ``o<order>/`` for each order, and ``overlap.json``.
    identity
        Output of the identity stage; None if recordings are told apart by their ids alone.

    Returns
    -------
    Subsets
        The manifests as written.

    Raises
    ------
    BadInputError
        If a store or task cannot be read, a filter keeps no record of its source, the pool has
        fewer patients than `size`, a patient of a subset is held out by a task, or `identity` was
        written for other stores.
    """
    opened = {source: open_store(stores / source) for source in sources}
    tables = {source: _table(store) for source, store in opened.items()}
    digests = {source: opened[source].digest for source in opened}
    matches, checks = read_identity(identity) if identity else (None, None)
    pool = pool_of(tables, sources, held_out_patients(tasks_dir), matches)
    del tables
    unchecked = _unchecked(checks, digests, identity) if identity and checks else {}
    made: list[SubsetManifest] = []
    patients: dict[int, set[str]] = {}
    for order in orders:
        records, manifest = draw_subset(
            pool, size, order, parent, digests, partial(_filled, stores=opened)
        )
        manifest = manifest.model_copy(update={"unchecked": unchecked})
        patients[order] = set(records["patient_id"].unique())
        assert_disjoint(patients[order], tasks_dir)
        write_subset(records, manifest, out / f"o{order}")
        made.append(manifest)
    overlap = Overlap(
        size=size,
        pool_patients=pool.records["patient_id"].nunique(),
        shared={
            f"{one}-{other}": len(patients[one] & patients[other])
            for one, other in combinations(orders, 2)
        },
    )
    text = json.dumps(overlap.model_dump(mode="json"), indent=1, sort_keys=True)
    write_whole(out / OVERLAP, text + "\n")
    return Subsets(tuple(made), overlap)


def _table(store: Store) -> pd.DataFrame:
    """Return what `pool_of` needs of a store's records."""
    table = store.columns(["record_id", "patient_id", "fold", "split"])
    return table.assign(row=np.arange(len(table)))


def _filled(records: pd.DataFrame, stores: Mapping[str, Store]) -> pd.DataFrame:
    """Return records of a pool with the columns that it lacks, read one by one.

    `records` are sorted by source.
    """
    rows = {str(source): part["row"].to_numpy() for source, part in records.groupby("source")}
    for name in [name for name in SCHEMA.names if name not in records]:
        parts = [_column(stores[source], name, rows[source]) for source in rows]
        records = records.assign(**{name: pd.concat(parts, ignore_index=True)})
    return records.reindex(columns=SCHEMA.names)


def _column(store: Store, name: str, rows: npt.NDArray[np.int64]) -> pd.Series:
    if name == "stored_seconds":
        return _column(store, "valid_samples", rows) / store.fs
    return store.columns([name])[name].take(rows)


def read_overlaps(subsets: Path) -> list[Overlap]:
    """Return what the subsets of each size share, ascending; `subsets` is ``data/subsets``.

    Raises
    ------
    BadInputError
        If a file is not as `build_subsets` writes it.
    """
    found = []
    for path in subsets.glob(f"n*/{OVERLAP}"):
        try:
            found.append(Overlap.model_validate_json(path.read_text(encoding="utf-8")))
        except ValidationError as error:
            raise BadInputError(f"{path}: {first_problem(error)}") from error
    return sorted(found, key=lambda overlap: overlap.size)


def _as_they_are(records: pd.DataFrame) -> pd.DataFrame:
    return records


def draw_subset(
    pool: Pool,
    size: int,
    order: int,
    parent: int | None,
    stores: Mapping[str, str],
    filled: Callable[[pd.DataFrame], pd.DataFrame] = _as_they_are,
) -> tuple[pd.DataFrame, SubsetManifest]:
    """Draw one subset and describe it.

    Parameters
    ----------
    pool
        What to draw from.
    size, order, parent
        As in `build_subsets`.
    stores
        Digest of each source's store.
    filled
        Gives drawn records the columns of `SCHEMA` that the pool lacks.

    Returns
    -------
    DataFrame
        Columns of `SCHEMA`, sorted by source and record_id.
    SubsetManifest
        Its manifest.

    Raises
    ------
    BadInputError
        If the pool has fewer patients than `size`.
    """
    records = filled(nested_subset(pool.records, size, order))
    manifest = SubsetManifest(
        size=size,
        order=order,
        **_counts(records),
        pool_patients=pool.records["patient_id"].nunique(),
        pool_records=len(pool.records),
        excluded_patients=pool.excluded_patients,
        excluded_copies=pool.excluded_copies,
        pool_copies=pool.copies,
        stores=dict(stores),
        digest=content_digest(records),
        parent=_parent(records, parent, order),
    )
    return records, manifest


def write_subset(records: pd.DataFrame, manifest: SubsetManifest, out: Path) -> None:
    """Write ``records.parquet`` and ``manifest.json``; the same input gives the same bytes.

    Parameters are as `draw_subset` returns them, and the folder `out` is made if absent.
    """
    columns = [
        _texts(records[field.name]).cast(field.type)
        if pa.types.is_string(field.type)
        else pa.array(records[field.name].to_numpy(field.type.to_pandas_dtype()), field.type)
        for field in SCHEMA
    ]
    table = pa.Table.from_arrays(columns, schema=SCHEMA)
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    out.mkdir(parents=True, exist_ok=True)
    # Away first and back last: a manifest never stands beside records that are not all there.
    (out / MANIFEST).unlink(missing_ok=True)
    with whole_file(out / RECORDS) as path:
        pq.write_table(table, path, compression="zstd", row_group_size=1 << 17)
    write_whole(out / MANIFEST, text + "\n")


def read_subset(directory: Path) -> tuple[pd.DataFrame, SubsetManifest]:
    """Read a subset and check it against its manifest.

    Returns
    -------
    DataFrame
        Columns of `SCHEMA`, sorted by source and record_id.
    SubsetManifest
        Its manifest.

    Raises
    ------
    BadInputError
        If a file is missing or unreadable, a column is missing, unknown or of another type, or the
        records are not those that the manifest describes.
    """
    manifest = read_subset_manifest(directory)
    path = directory / RECORDS
    try:
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{path} is not a parquet file: {error}") from error
    if not table.schema.equals(SCHEMA):
        raise BadInputError(f"{path} does not have the columns of a subset")
    records = table.to_pandas()
    found = {"digest": content_digest(records), "size": len(records["patient_id"].unique())}
    for key, value in {**found, **_counts(records)}.items():
        if getattr(manifest, key) != value:
            raise BadInputError(
                f"{path} is not the subset that {directory / MANIFEST} describes: {key} is {value}"
            )
    return records, manifest


def without_sources(
    records: pd.DataFrame, manifest: SubsetManifest, sources: Sequence[str]
) -> tuple[pd.DataFrame, SubsetManifest]:
    """Return a subset without the records of some sources, counted anew; as it is without any.

    Parameters
    ----------
    records, manifest
        As `read_subset` returns them. `size` stays what was drawn, and `patients` is what is left.
    sources
        Names of sources; one that the subset happens to hold nothing of drops nothing.

    Raises
    ------
    BadInputError
        If no record is left.
    """
    if not sources:
        return records, manifest
    kept = records.loc[~records["source"].isin(sources)].reset_index(drop=True)
    if kept.empty:
        raise BadInputError(
            f"subset {manifest.name} without {', '.join(sources)} has no records left"
        )
    changed = {**_counts(kept), "digest": content_digest(kept), "parent": None}
    return kept, manifest.model_copy(update=changed)


def pool_of(
    tables: Mapping[str, pd.DataFrame],
    filters: Mapping[str, PoolSource],
    held_out: AbstractSet[str],
    matches: pd.DataFrame | None = None,
) -> Pool:
    """Return what pretraining may draw from.

    Parameters
    ----------
    tables
        Records of each source: the columns of `SCHEMA`, fold and split. Those of `SCHEMA` that no
        `KEYS` are may be left out, and are then not in the pool either.
    filters
        What to keep of each source; a record must pass both folds and splits where both are given.
    held_out
        Patients to leave out, and with them each recording of nobody knows whom that has their
        namespace: it may be theirs.
    matches
        Pairs of records that are one recording (`ecgscale.data.copies.SCHEMA`): who shares one with
        a held-out patient is that patient and is left out too. None: none are known.

    Raises
    ------
    BadInputError
        If a filter keeps no record of its source, a record has no patient, or a source has two
        records of one id.
    """
    kept = []
    for source, keep in filters.items():
        table = tables[source]
        mask = np.ones(len(table), dtype=bool)
        if keep.folds is not None:
            mask &= table["fold"].isin(keep.folds).to_numpy(bool)
        if keep.splits is not None:
            mask &= table["split"].isin(keep.splits).to_numpy(bool)
        if not mask.any():
            raise BadInputError(f"pool.{source} keeps none of the source's {len(table)} records")
        rows = table if mask.all() else table.loc[mask]
        rows = rows.assign(source=source)
        kept.append(rows[[name for name in SCHEMA.names if name in rows]])
    pool = kept[0] if len(kept) == 1 else pd.concat(kept, ignore_index=True)
    del kept, rows
    _check_identities(pool)
    excluded = _among(pool["patient_id"], held_out) | _may_be(pool["patient_id"], held_out)
    same = same_people(matches, held_out) if matches is not None else ()
    copied = _among(pool["patient_id"], same) & ~excluded
    excluded_patients = pool.loc[excluded, "patient_id"].nunique()
    copies = pool.loc[copied, ["source", "patient_id"]].drop_duplicates()
    records = pool.loc[~excluded & ~copied].reset_index(drop=True)
    return Pool(
        records=records,
        excluded_patients=excluded_patients,
        excluded_copies=_tally(copies["source"]),
        copies=None if matches is None else _count_within(records, matches),
    )


def _may_be(patients: "pd.Series[str]", held_out: AbstractSet[str]) -> "pd.Series[bool]":
    """Return which are unknown patients, in a namespace that has patients held out."""
    unknown = patients.str.contains(UNKNOWN_PATIENT, regex=False).astype(bool)
    namespaces = {patient.partition(":")[0] for patient in held_out}
    spaces = patients[unknown].str.split(":", n=1).str[0]
    unknown[spaces.index] = spaces.isin(namespaces)
    return unknown


def _count_within(records: pd.DataFrame, matches: pd.DataFrame) -> int:
    """Return how many matches lie between two of some records."""
    ids = {*matches["record_id"], *matches["other_record_id"]}
    named = records.loc[records["record_id"].isin(ids), ["source", "record_id"]]
    inside = set(zip(named["source"], named["record_id"], strict=True))
    one = zip(matches["source"], matches["record_id"], strict=True)
    other = zip(matches["other_source"], matches["other_record_id"], strict=True)
    return sum(inside.issuperset(pair) for pair in zip(one, other, strict=True))


def _unchecked(
    checks: IdentityManifest, digests: Mapping[str, str], identity: Path
) -> dict[str, dict[str, int]]:
    for source, digest in digests.items():
        if source not in checks.sources or checks.sources[source].store != digest:
            raise BadInputError(
                f"{identity} did not compare the store of {source} as it is now: "
                "run `python -m ecgscale identity` again"
            )
    return {source: checks.sources[source].unchecked for source in digests}


def nested_subset(pool: pd.DataFrame, size: int, order: int) -> pd.DataFrame:
    """Return all records of the first `size` patients of an order.

    Parameters
    ----------
    pool
        Table with at least source, record_id and patient_id.
    size, order
        As in `build_subsets`.

    Returns
    -------
    DataFrame
        Rows of `pool`, sorted by source and record_id.

    Raises
    ------
    BadInputError
        If the pool has fewer patients.

    Examples
    --------
    >>> ids = [f"p{number}" for number in range(6)]
    >>> pool = pd.DataFrame({"source": "clinic", "record_id": ids, "patient_id": ids})
    >>> small, large = (nested_subset(pool, size, order=0)["patient_id"] for size in (2, 4))
    >>> set(small) < set(large)
    True
    """
    names = _texts(pd.Series(pool["patient_id"].unique()))
    by_id = pa.array(np.lexsort(_words(names)[::-1]))
    patients = np.array(names.take(by_id).to_pylist(), dtype=object)
    if size > len(patients):
        raise BadInputError(
            f"subset {subset_name(size, order)} asks for {size} patients, "
            f"but the pool has {len(patients)}"
        )
    # Stable, so that patients of equal hash keep the order of their ids.
    chosen = patients[np.argsort(_hashes(patients, order), kind="stable")[:size]]
    rows = np.flatnonzero(_among(pool["patient_id"], chosen))
    keys = pool[["source", "record_id"]].take(rows)
    return pool.take(rows[_order(keys)]).reset_index(drop=True)


def _among(column: pd.Series, texts: Iterable[str]) -> npt.NDArray[np.bool_]:
    found = pc.is_in(_texts(column), value_set=pa.array(texts, pa.large_string()))
    mask: npt.NDArray[np.bool_] = found.to_numpy(zero_copy_only=False)
    return mask


def _sorted(records: pd.DataFrame) -> pd.DataFrame:
    """Return records by source and record_id, with rows numbered anew."""
    if not _is_sorted(records):
        records = records.take(_order(records))
    return records.reset_index(drop=True)


def _order(records: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the rows of some records by source and record_id, in the order of code points."""
    if _is_sorted(records):
        return np.arange(len(records))
    sources = _texts(records["source"]).dictionary_encode()
    places = np.argsort(np.argsort(np.array(sources.dictionary.to_pylist(), dtype=object)))
    source = places[sources.indices.to_numpy()]
    return np.lexsort([*reversed(_words(_texts(records["record_id"]))), source])


def _words(texts: pa.Array) -> list[npt.NDArray[np.uint64]]:
    """Return numbers that compare as texts do, the first ones first: a word is eight bytes.

    UTF-8 has the order of code points. Ends are filled with zeros; of texts that differ only in
    zeros at the end the shorter one is first, for which their lengths are the last word.
    """
    starts, content = _content(texts)
    lengths = np.diff(starts)
    words = []
    for at in range(0, int(lengths.max(initial=0)), 8):
        word = np.zeros(len(texts), np.uint64)
        for place in range(at, at + 8):
            inside = np.flatnonzero(lengths > place)
            shift = np.uint64(8 * (at + 7 - place))
            word[inside] |= content[starts[inside] + place].astype(np.uint64) << shift
        words.append(word)
    return [*words, lengths.astype(np.uint64)]


def _is_sorted(records: pd.DataFrame) -> bool:
    source, record = (_texts(records[name]) for name in ("source", "record_id"))
    within = pc.and_(_pairs(pc.equal, source), _pairs(pc.less_equal, record))
    return bool(pc.all(pc.or_(_pairs(pc.less, source), within), skip_nulls=False).as_py())


def _pairs(compare: Callable[[pa.Array, pa.Array], pa.Array], values: pa.Array) -> pa.Array:
    """Compare each value with the next one."""
    return compare(values[:-1], values[1:])


def content_digest(records: pd.DataFrame) -> str:
    """Return the SHA-256 of what the records are, whatever their order and place in the store.

    Covers the columns of `CONTENT` one after the other: numbers as little-endian IEEE 754 (one NaN,
    one zero), strings as JSON, rows sorted by source and record_id.
    """
    ordered = _sorted(records)
    digest = hashlib.sha256()
    for name in CONTENT:
        digest.update(f"{name}:{len(ordered)}\n".encode())
        for part in _column_bytes(ordered[name], SCHEMA.field(name).type):
            digest.update(part)
    return digest.hexdigest()


def _column_bytes(column: pd.Series, kind: pa.DataType) -> Iterator[bytes]:
    """Give a column's bytes in parts, as all its texts at once are many times their size."""
    if pa.types.is_string(kind):
        yield b"["
        for start in range(0, len(column), BLOCK):
            text = _json(_texts(column.iloc[start : start + BLOCK]))
            yield ("," * (start > 0) + text).encode()
        yield b"]"
        return
    values = column.to_numpy("<f8", na_value=np.nan)
    yield np.where(np.isnan(values), np.nan, values + 0.0).astype("<f8").tobytes()


def _content(texts: pa.Array) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    """Return where each text begins among the bytes of all, with the end of the last, and these."""
    _, places, content = texts.buffers()
    if not len(texts):
        return np.zeros(1, np.int64), np.zeros(0, np.uint8)
    starts = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    first, end = int(starts[0]), int(starts[-1])
    return starts - first, np.frombuffer(content or b"", np.uint8)[first:end]


def _json(texts: pa.Array) -> str:
    """Return texts as JSON has them in a list; the common kind is joined without Python's."""
    if ESCAPED[_content(texts)[1]].any():
        return json.dumps(texts.to_pylist(), separators=(",", ":"))[1:-1]
    quoted = pc.fill_null(
        pc.binary_join_element_wise('"', texts.cast(pa.string()), '"', ""), "null"
    )
    (joined,) = pc.binary_join(pa.ListArray.from_arrays([0, len(quoted)], quoted), ",").to_pylist()
    return str(joined)


def _texts(column: pd.Series) -> pa.Array:
    """Return a column of texts; what is missing is null."""
    texts = pa.array(column, pa.large_string(), from_pandas=True)
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _hashes(patients: npt.NDArray[np.object_], order: int) -> npt.NDArray[np.uint64]:
    """Return the first eight bytes of SHA-256("<order>:<patient>"), big-endian.

    The mark of an unknown patient does not count: that a source says more moves nobody.
    """
    digest, start = hashlib.sha256, f"{order}:".encode()
    names = [patient.replace(UNKNOWN_PATIENT, ":", 1).encode() for patient in patients]
    digests = [digest(start + name).digest()[:8] for name in names]
    return np.frombuffer(b"".join(digests), dtype=">u8").astype(np.uint64)


def _check_identities(pool: pd.DataFrame) -> None:
    nameless = pool["patient_id"].isna()
    if nameless.any():
        first = pool.loc[nameless].iloc[0]
        raise BadInputError(f"record {first['record_id']} of {first['source']} has no patient_id")
    # By their order, equal ones lie beside each other.
    keys = pool[["source", "record_id"]]
    ordered = keys if _is_sorted(keys) else keys.take(_order(keys))
    same = [_pairs(pc.equal, _texts(ordered[name])) for name in ("source", "record_id")]
    repeated = np.flatnonzero(pc.and_(*same).to_numpy(zero_copy_only=False))
    if len(repeated):
        first = ordered.iloc[repeated[0]]
        raise BadInputError(f"record {first['record_id']} of {first['source']} occurs twice")


def _parent(records: pd.DataFrame, size: int | None, order: int) -> ParentSubset | None:
    """Return a smaller subset; drawn from this one, which by nesting contains it."""
    if size is None:
        return None
    return ParentSubset(size=size, digest=content_digest(nested_subset(records, size, order)))


def _counts(records: pd.DataFrame) -> dict[str, Any]:
    known_sex = records["sex"].where(records["sex"].isin(["F", "M"]), "unknown")
    return {
        "patients": records["patient_id"].nunique(),
        "unknown_patients": sum(
            UNKNOWN_PATIENT in patient for patient in records["patient_id"].unique().tolist()
        ),
        "records": len(records),
        # fsum is exact: the same on every machine, whatever its vector width.
        "hours": math.fsum(records["stored_seconds"]) / 3600,
        "sources": _tally(records["source"]),
        "sex": _tally(known_sex),
        "age": _tally(_age_bands(records["age"])),
    }


def _age_bands(age: pd.Series) -> pd.Series:
    decade = age // AGE_BANDS * AGE_BANDS
    names = {low: f"{int(low)}-{int(low) + AGE_BANDS - 1}" for low in decade.dropna().unique()}
    return decade.map(names).astype(object).fillna("unknown")


def _tally(values: pd.Series) -> dict[str, int]:
    return {str(key): int(count) for key, count in values.value_counts().sort_index().items()}


def read_subset_manifest(directory: Path) -> SubsetManifest:
    """Read the manifest of a subset alone, without its records.

    Raises
    ------
    BadInputError
        If it is missing or is no manifest of a subset.
    """
    path = directory / MANIFEST
    try:
        return SubsetManifest.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadInputError(f"{path} does not exist") from error
    except ValidationError as error:
        raise BadInputError(f"{path} is not a subset manifest: {first_problem(error)}") from error
