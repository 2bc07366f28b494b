"""Which recordings of a study's sources are one recording, found once for all subsets."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from ecgscale.data.agreement import agreement, canonical, repeats
from ecgscale.data.fingerprint import RATE, fingerprint_length
from ecgscale.data.identity import find_beats, propose, self_correlation
from ecgscale.data.splits import held_out_patients
from ecgscale.data.store import Store, open_store
from ecgscale.errors import BadInputError
from ecgscale.settings import first_problem

MANIFEST = "manifest.json"
MATCHES = "matches.parquet"

CORRELATION = 0.97
"""Least correlation of the signals of one recording.

Of 15 million pairs of different real recordings that a fingerprint proposes, the next below the
limit of `EXCESS` reaches 0.954; one recording at 100 and 500 Hz has at least 0.996.
"""

NEAR = 1.5
"""Seconds between two copies up to which `CORRELATION` is enough."""

FAR_CORRELATION = 0.985
"""Least correlation beyond `NEAR`: less of the two is compared, and beats have more ways to meet.

Of 65 million pairs of different simulated recordings two reach 0.976, 2.5 and 3.3 seconds apart.
"""

EXCESS = 0.5
"""Most that two signals of one recording differ, as a part of what one differs from itself later.

A rhythm so regular that each beat is like the next agrees with any other of its rate.
"""

MINIMUM_SECONDS = 7.0
"""Shortest signal that is compared."""

REPEATS = 0.998
"""A course that agrees with itself more than this at another beat has no identity."""

SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("source", "record_id", "patient_id")),
        *((name, pa.string()) for name in ("other_source", "other_record_id", "other_patient_id")),
        *((name, pa.float64()) for name in ("lag", "correlation", "excess")),
    ]
)
"""Columns of ``matches.parquet``, one row a pair; `lag` in seconds (other later than one)."""


class SourceCheck(BaseModel, extra="forbid", frozen=True):
    """What of a source was compared with everything else.

    Attributes
    ----------
    store
        Digest of its store.
    leads
        Names of the stored leads; recordings are compared over all leads of each source.
    held_out
        Patients of it that a task holds out.
    records, checked
        Records in the store, and those that were compared.
    unchecked
        The others, by reason: "short" (below `MINIMUM_SECONDS`), "no beats" (no course to compare)
        or "repeats itself" (each beat like the next, so that it resembles too many).
    """

    store: str
    leads: tuple[str, ...]
    held_out: int
    records: int
    checked: int
    unchecked: dict[str, int]


class PairCheck(BaseModel, extra="forbid", frozen=True):
    """What was found between two sources, or within one.

    Attributes
    ----------
    source, other
        Names, in alphabetical order.
    copies
        Pairs of records that are one recording.
    undecided
        Pairs whose signals agree, and each with itself a beat later nearly as well: not counted as
        one recording.
    """

    source: str
    other: str
    copies: int
    undecided: int


class HeldOutCheck(BaseModel, extra="forbid", frozen=True):
    """How many records of a source are recordings of held-out patients under another patient's id.

    Attributes
    ----------
    source, held_out
        The source, and the one with the held-out patients.
    records, patients
        Records of `source` that are copies, and patients of `source` that have one; patients that
        are held out by their own id do not count.
    """

    source: str
    held_out: str
    records: int
    patients: int


class IdentityManifest(BaseModel, extra="forbid", frozen=True):
    """What was compared with what, and what was found.

    Attributes
    ----------
    sources
        By name.
    pairs
        Every two sources, and every source with itself.
    held_out
        Every two sources of which one holds copies of held-out patients of the other.
    """

    schema_version: Literal[1] = 1
    sources: dict[str, SourceCheck]
    pairs: tuple[PairCheck, ...]
    held_out: tuple[HeldOutCheck, ...]


def check_identity(
    names: Sequence[str], stores: Path, tasks_dir: Path, out: Path
) -> IdentityManifest:
    """Compare all recordings of some sources; write ``matches.parquet`` and ``manifest.json``.

    Parameters
    ----------
    names
        Sources.
    stores
        Folder of the ingested stores, one subfolder per source.
    tasks_dir
        Output of the tasks stage: it says which patients are held out.
    out
        Folder to write, made if absent.

    Raises
    ------
    BadInputError
        If a store or a task cannot be read.
    """
    opened = {name: open_store(stores / name) for name in sorted(set(names))}
    matches, manifest = find_copies(opened, held_out_patients(tasks_dir))
    columns = [pa.array(matches[field.name].to_numpy(), field.type) for field in SCHEMA]
    out.mkdir(parents=True, exist_ok=True)
    (out / MANIFEST).unlink(missing_ok=True)
    pq.write_table(pa.Table.from_arrays(columns, schema=SCHEMA), out / MATCHES, compression="zstd")
    text = json.dumps(manifest.model_dump(mode="json"), indent=1, sort_keys=True)
    (out / MANIFEST).write_text(text + "\n", encoding="utf-8")
    return manifest


def read_identity(directory: Path) -> tuple[pd.DataFrame, IdentityManifest]:
    """Read what `check_identity` wrote.

    Raises
    ------
    BadInputError
        If a file is missing or is not what was written.
    """
    path = directory / MANIFEST
    try:
        manifest = IdentityManifest.model_validate_json(path.read_text(encoding="utf-8"))
        matches = pq.read_table(directory / MATCHES, schema=SCHEMA).to_pandas()
    except FileNotFoundError as error:
        said = f"{error.filename or directory} does not exist: run `python -m ecgscale identity`"
        raise BadInputError(said) from error
    except ValidationError as error:
        raise BadInputError(f"{path} is not what was written: {first_problem(error)}") from error
    except (OSError, pa.ArrowException) as error:
        raise BadInputError(f"{directory / MATCHES} is not a table of matches: {error}") from error
    return matches, manifest


def same_people(matches: pd.DataFrame, patients: AbstractSet[str]) -> set[str]:
    """Return all patients that are, by a chain of shared recordings, one of some patients.

    Parameters
    ----------
    matches
        Columns patient_id and other_patient_id.
    patients
        Patients to start from; they are in the result where a match names them or not.
    """
    found = set(patients)
    pairs = list(zip(matches["patient_id"], matches["other_patient_id"], strict=True))
    while True:
        more = {patient for pair in pairs if found.intersection(pair) for patient in pair} - found
        if not more:
            return found
        found |= more


def find_copies(
    stores: Mapping[str, Store], held_out: AbstractSet[str]
) -> tuple[pd.DataFrame, IdentityManifest]:
    """Compare all recordings of some stores with each other.

    Returns
    -------
    DataFrame
        Columns of `SCHEMA`, one row a pair of records that are one recording.
    IdentityManifest
        What was compared.
    """
    names = list(stores)
    starts = np.cumsum([0, *(len(store) for store in stores.values())])
    prints, lengths = _fingerprints(list(stores.values()))
    reasons = _unchecked(prints, lengths)
    checked = np.flatnonzero(reasons == "")
    pairs = propose(prints[checked], lengths[checked])
    signal = _reader(list(stores.values()), starts)
    rows, undecided = [], Counter[tuple[str, str]]()
    members = checked[np.stack([pairs.first, pairs.second], axis=1)]
    for (first, second), lag in zip(members.tolist(), pairs.lag.tolist(), strict=True):
        one, other = signal(first), signal(second)
        if not len(one) or not len(other):
            continue
        correlation = agreement(one, other, lag / RATE)
        if correlation < (CORRELATION if abs(lag) <= NEAR * RATE else FAR_CORRELATION):
            continue
        excess = (1 - correlation) / max(1 - max(repeats(one), repeats(other)), 1e-6)
        ends = [int(np.searchsorted(starts, row, side="right")) - 1 for row in (first, second)]
        if excess > EXCESS:
            undecided[names[ends[0]], names[ends[1]]] += 1
            continue
        who = [
            (names[end], *_identity(stores[names[end]], row - int(starts[end])))
            for end, row in zip(ends, (first, second), strict=True)
        ]
        rows.append((*who[0], *who[1], lag / RATE, correlation, excess))
    matches = pd.DataFrame(rows, columns=SCHEMA.names)
    tally = Counter(zip(matches["source"], matches["other_source"], strict=True))
    return matches, IdentityManifest(
        sources={
            name: _source_check(store, reasons[start : start + len(store)], held_out)
            for (name, store), start in zip(stores.items(), starts, strict=False)
        },
        pairs=tuple(
            PairCheck(
                source=one, other=other, copies=tally[one, other], undecided=undecided[one, other]
            )
            for place, one in enumerate(names)
            for other in names[place:]
        ),
        held_out=_held_out(matches, held_out),
    )


def _fingerprints(
    stores: Sequence[Store],
) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.int64]]:
    """Return shape (record, time) and (record,): all fingerprints, and how much is signal."""
    kept = [store.fingerprints() for store in stores]
    width = max((part.shape[1] for part in kept), default=0)
    prints = np.zeros((sum(map(len, kept)), width), dtype=np.int8)
    lengths, start = [], 0
    for store, part in zip(stores, kept, strict=True):
        prints[start : start + len(part), : part.shape[1]] = part
        start += len(part)
        valid = store.records["valid_samples"].to_numpy()
        by_valid = {count: fingerprint_length(int(count), store.fs) for count in np.unique(valid)}
        lengths.append(np.array([by_valid[count] for count in valid], dtype=np.int64))
    return prints, np.concatenate(lengths)


def _unchecked(
    prints: npt.NDArray[np.int8], lengths: npt.NDArray[np.int64]
) -> npt.NDArray[np.object_]:
    """Return shape (record,): why a record cannot be compared, "" where it can."""
    reasons = np.full(len(prints), "", dtype=object)
    short = lengths < fingerprint_length(round(MINIMUM_SECONDS * RATE), RATE)
    if short.all():
        return np.full(len(prints), "short", dtype=object)
    reasons[self_correlation(prints, lengths) >= REPEATS] = "repeats itself"
    coded = np.bincount(find_beats(prints, lengths).record, minlength=len(prints))
    reasons[coded == 0] = "no beats"
    reasons[short] = "short"
    return reasons


def _reader(stores: Sequence[Store], starts: npt.NDArray[np.int64]) -> Any:
    valid = np.concatenate([store.records["valid_samples"].to_numpy() for store in stores])

    @lru_cache(maxsize=4096)
    def signal(row: int) -> npt.NDArray[np.float32]:
        place = int(np.searchsorted(starts, row, side="right")) - 1
        samples = stores[place].raw([row - int(starts[place])])[0]
        return canonical(samples[:, : valid[row]], stores[place].fs)

    return signal


def _identity(store: Store, row: int) -> tuple[str, str]:
    return store.records["record_id"].iloc[row], store.records["patient_id"].iloc[row]


def _source_check(
    store: Store, reasons: npt.NDArray[np.object_], held_out: AbstractSet[str]
) -> SourceCheck:
    counts = Counter(reasons.tolist())
    checked = counts.pop("", 0)
    return SourceCheck(
        store=store.digest,
        leads=store.leads,
        held_out=len(set(held_out).intersection(store.records["patient_id"])),
        records=len(store),
        checked=checked,
        unchecked=dict(sorted(counts.items())),
    )


def _held_out(matches: pd.DataFrame, held_out: AbstractSet[str]) -> tuple[HeldOutCheck, ...]:
    ends = [matches.columns[:3], matches.columns[3:6]]
    records: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for here, there in (ends, ends[::-1]):
        one, other = (
            matches[list(end)].itertuples(index=False, name=None) for end in (here, there)
        )
        for (source, record, patient), (theirs, _, other_patient) in zip(one, other, strict=True):
            if other_patient in held_out and patient not in held_out:
                records.setdefault((source, theirs), set()).add((record, patient))
    return tuple(
        HeldOutCheck(
            source=source,
            held_out=theirs,
            records=len(found),
            patients=len({patient for _, patient in found}),
        )
        for (source, theirs), found in sorted(records.items())
    )
