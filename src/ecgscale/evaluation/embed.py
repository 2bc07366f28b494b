"""Embeddings of a store's records, computed once per encoder and kept by digest."""

import hashlib
import io
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ecgscale.code import closure, entry_of
from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder, model_digest
from ecgscale.errors import BadInputError
from ecgscale.files import write_whole
from ecgscale.settings import digest_of

if TYPE_CHECKING:
    from ecgscale.data.store import Store

Embeddings = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

_CHECKSUM_BYTES = 32


def embed_store(
    encoder: Encoder,
    store: "Store",
    rows: Rows,
    recipe: Recipe,
    lead: str,
    batch_size: int,
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda records: None,
) -> Embeddings:
    """Embed records of a store with a frozen encoder.

    In float32 on every device, so that numbers from a CPU and a GPU can be compared.

    Parameters
    ----------
    encoder
        Moved to `device`; in evaluation mode afterwards.
    rows
        Shape (record,), row numbers in the store.
    recipe
        Says how signals are normalised and which leads an encoder of several leads sees.
    lead
        What an encoder of one lead sees.
    advance
        Called with the number of records done, after each batch.

    Returns
    -------
    array
        Shape (record, dim), float32.

    Raises
    ------
    BadInputError
        If the encoder wants other leads than recipe and store have, or an embedding is not finite.
    """
    whole = (1.0,)
    return embed_depths(encoder, store, rows, recipe, lead, batch_size, whole, device, advance)[1.0]


def embed_depths(
    encoder: Encoder,
    store: "Store",
    rows: Rows,
    recipe: Recipe,
    lead: str,
    batch_size: int,
    depths: Sequence[float],
    device: torch.device | str = "cpu",
    advance: Callable[[int], None] = lambda records: None,
) -> dict[float, Embeddings]:
    """Embed records as `embed_store`, at several depths of a frozen encoder, in one pass.

    The embedding at a depth is the mean over steps of the output of block ``ceil(depth * blocks)``
    (`ecgscale.encoders.base.Encoder.hidden_states`); depth 1 is `Encoder.embed`.

    Parameters
    ----------
    depths
        Shares of the encoder's blocks, in whole percent.

    Returns
    -------
    dict
        Depth to an array of shape (record, dim of the block), float32.
    """
    leads = input_leads(encoder, store.leads, recipe, lead)
    encoder = encoder.to(device).eval()
    parts: dict[float, list[Embeddings]] = {depth: [] for depth in depths}
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            signal = torch.from_numpy(store.signals(part, leads)).to(device)
            for depth, batch in _at_depths(encoder, normalise(signal, recipe), depths).items():
                parts[depth].append(batch.float().cpu().numpy())
            advance(len(part))
    found = {depth: np.concatenate(batches) for depth, batches in parts.items()}
    for embeddings in found.values():
        bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
        if len(bad):
            record = store.records["record_id"].iloc[rows[bad[0]]]
            raise BadInputError(
                f"the encoder's embedding of record {record} of {store.path} is not finite"
            )
    return found


def cached_embeddings(
    directory: Path,
    encoder: Encoder,
    store: "Store",
    rows: Rows,
    recipe: Recipe,
    lead: str,
    batch_size: int,
    depths: Sequence[float],
    device: torch.device | str,
    cache: Path,
    advance: Callable[[int], None] = lambda records: None,
) -> dict[float, Embeddings]:
    """Return what `embed_depths` returns, from the cache where it is there and whole.

    Parameters
    ----------
    directory
        The encoder directory that `encoder` was loaded from.
    cache
        Folder of cached embeddings, made if absent, with a file per depth. A file is named by the
        digest of everything that decides its content; a damaged one is computed again.
    """
    inputs = {
        "model": model_digest(directory),
        "code": closure("ecgscale.evaluation.embed:embed_store", entry_of(type(encoder))).digest,
        "store": store.digest,
        "rows": hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest(),
        "leads": input_leads(encoder, store.leads, recipe, lead),
        "recipe": recipe.digest,
        # The last bits of an embedding depend on these.
        "device": torch.device(device).type,
        "threads": torch.get_num_threads(),
        "batch_size": batch_size,
    }
    paths = {depth: cache / f"{digest_of({**inputs, 'depth': depth})}.npy" for depth in depths}
    found = {depth: _read(path, len(rows)) for depth, path in paths.items()}
    kept = {depth: embeddings for depth, embeddings in found.items() if embeddings is not None}
    missing = [depth for depth in depths if depth not in kept]
    if missing:
        given = (encoder, store, rows, recipe, lead, batch_size, missing, device, advance)
        for depth, embeddings in embed_depths(*given).items():
            _write(paths[depth], embeddings)
            kept[depth] = embeddings
    else:
        advance(len(rows))
    return kept


def input_leads(
    encoder: Encoder, there: Sequence[str], recipe: Recipe, lead: str
) -> tuple[str, ...]:
    """Return the leads that an encoder is given, of recordings that have the leads `there`.

    An encoder of one lead sees `lead`, or the first that is there in its place. An encoder of
    several sees the recipe's; those that are not there are zero.

    Raises
    ------
    BadInputError
        If it takes neither one lead nor as many as the recipe has, or the recipe lacks `lead`.
    """
    channels = encoder.params.in_channels
    if channels == 1:
        if lead not in recipe.leads:
            raise BadInputError(f"evaluation.lead {lead!r} is not in recipe.leads")
        return (lead if lead in there else there[0],)
    if channels != len(recipe.leads):
        raise BadInputError(
            f"encoder {encoder.name} takes {channels} leads, but recipe.leads has "
            f"{len(recipe.leads)}"
        )
    return recipe.leads


def _at_depths(encoder: Encoder, x: Tensor, depths: Sequence[float]) -> dict[float, Tensor]:
    """Map (batch, lead, time) to an embedding (batch, dim) at each depth."""
    if all(depth == 1 for depth in depths):
        return {depth: encoder.embed(x) for depth in depths}
    states = encoder.hidden_states(x)
    # In whole percent, so that no rounding of a product decides the block.
    blocks = {depth: -(-round(100 * depth) * len(states) // 100) for depth in depths}
    return {depth: states[block - 1].mean(dim=1) for depth, block in blocks.items()}


def _read(path: Path, records: int) -> Embeddings | None:
    """Return a cached array, or None if it is absent or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    array, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(array).digest() == checksum:
        embeddings: Embeddings = np.load(io.BytesIO(array), allow_pickle=False)
        if len(embeddings) == records and embeddings.dtype == np.float32:
            return embeddings
    log.warning("cached embeddings %s are damaged and computed again", path)
    return None


def _write(path: Path, embeddings: Embeddings) -> None:
    """Write an array in NumPy's format with its SHA-256 behind it (which `numpy.load` ignores)."""
    buffer = io.BytesIO()
    np.save(buffer, embeddings, allow_pickle=False)
    array = buffer.getvalue()
    write_whole(path, array + hashlib.sha256(array).digest())
