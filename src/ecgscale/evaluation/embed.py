"""Embeddings of a store's records, computed once per encoder and kept by digest."""

import hashlib
import io
import logging
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from ecgscale.config import Recipe, digest_of
from ecgscale.data.normalise import normalise
from ecgscale.encoders.base import Encoder, model_digest
from ecgscale.errors import BadInputError
from ecgscale.lineage import code_digest

if TYPE_CHECKING:
    from ecgscale.data.store import Store

Embeddings = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

log = logging.getLogger(__name__)

_CODE = ("ecgscale.encoders.base", "ecgscale.data.normalise", "ecgscale.evaluation.embed")
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
    leads = input_leads(encoder, store, recipe, lead)
    encoder = encoder.to(device).eval()
    embeddings = np.empty((len(rows), encoder.embed_dim), dtype=np.float32)
    with torch.inference_mode():
        for start in range(0, len(rows), batch_size):
            part = rows[start : start + batch_size]
            signal = torch.from_numpy(store.signals(part, leads)).to(device)
            batch = encoder.embed(normalise(signal, recipe)).float().cpu().numpy()
            embeddings[start : start + len(part)] = batch
            advance(len(part))
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        record = store.records["record_id"].iloc[rows[bad[0]]]
        raise BadInputError(
            f"the encoder's embedding of record {record} of {store.path} is not finite"
        )
    return embeddings


def cached_embeddings(
    directory: Path,
    encoder: Encoder,
    store: "Store",
    rows: Rows,
    recipe: Recipe,
    lead: str,
    batch_size: int,
    device: torch.device | str,
    cache: Path,
    advance: Callable[[int], None] = lambda records: None,
) -> Embeddings:
    """Return what `embed_store` returns, from the cache if it is there and whole.

    Parameters
    ----------
    directory
        The encoder directory that `encoder` was loaded from.
    cache
        Folder of cached embeddings, made if absent. A file is named by the digest of everything
        that decides its content; a damaged one is computed again.

    Raises
    ------
    BadInputError
        As `embed_store`.
    """
    inputs = {
        "model": model_digest(directory),
        "code": code_digest(type(encoder).__module__, *_CODE),
        "store": store.digest,
        "rows": hashlib.sha256(np.ascontiguousarray(rows, dtype="<i8").tobytes()).hexdigest(),
        "leads": input_leads(encoder, store, recipe, lead),
        "recipe": recipe.digest,
    }
    path = cache / f"{digest_of(inputs)}.npy"
    kept = _read(path, (len(rows), encoder.embed_dim))
    if kept is not None:
        advance(len(rows))
        return kept
    embeddings = embed_store(encoder, store, rows, recipe, lead, batch_size, device, advance)
    _write(path, embeddings)
    return embeddings


def input_leads(encoder: Encoder, store: "Store", recipe: Recipe, lead: str) -> tuple[str, ...]:
    """Return the leads that an encoder is given.

    An encoder of one lead sees `lead`, or the first that a store without it has. An encoder of
    several sees the recipe's; those that the store lacks are zero.

    Raises
    ------
    BadInputError
        If it takes neither one lead nor as many as the recipe has, or the recipe lacks `lead`.
    """
    channels = encoder.params.in_channels
    if channels == 1:
        if lead not in recipe.leads:
            raise BadInputError(f"evaluation.lead {lead!r} is not in recipe.leads")
        return (lead if lead in store.leads else store.leads[0],)
    if channels != len(recipe.leads):
        raise BadInputError(
            f"encoder {encoder.name} takes {channels} leads, but recipe.leads has "
            f"{len(recipe.leads)}"
        )
    return recipe.leads


def _read(path: Path, shape: tuple[int, int]) -> Embeddings | None:
    """Return a cached array, or None if it is absent or damaged."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    array, checksum = content[:-_CHECKSUM_BYTES], content[-_CHECKSUM_BYTES:]
    if hashlib.sha256(array).digest() == checksum:
        embeddings: Embeddings = np.load(io.BytesIO(array), allow_pickle=False)
        if embeddings.shape == shape and embeddings.dtype == np.float32:
            return embeddings
    log.warning("cached embeddings %s are damaged and computed again", path)
    return None


def _write(path: Path, embeddings: Embeddings) -> None:
    """Write an array in NumPy's format with its SHA-256 behind it (which `numpy.load` ignores)."""
    buffer = io.BytesIO()
    np.save(buffer, embeddings, allow_pickle=False)
    array = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "wb") as file:
        file.write(array + hashlib.sha256(array).digest())
    os.replace(name, path)
