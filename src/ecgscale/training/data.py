"""What a cell trains on: signals in memory, and which records make up each batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from ecgscale.data.recipe import Recipe
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch

if TYPE_CHECKING:
    from ecgscale.data.store import Store

DEVICE_SHARE = 0.5
"""Largest share of an accelerator's free memory that the signals may take."""

_CHUNK = 1024


@dataclass(frozen=True)
class TrainingData:
    """The records of a cell."""

    signal: Tensor
    """Shape (record, lead, time), int16 as stored; on the training device if it fits there, else in
    host memory (pinned)."""
    risk: Tensor
    completeness: Tensor
    """Both of shape (record,), float32, on the training device; see `Batch`."""
    targets: Tensor | None
    """Shape (record, label), float32, on the training device, or None."""
    device: torch.device
    """Where batches are made."""

    def __len__(self) -> int:
        return len(self.signal)

    @property
    def n_labels(self) -> int:
        """Width of `targets`, 0 without."""
        return 0 if self.targets is None else self.targets.shape[1]

    def spread(self, most: int) -> npt.NDArray[np.int64]:
        """Return the rows of up to `most` records, spread evenly over the list."""
        return np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(np.int64)

    def batch(self, rows: npt.NDArray[np.int64]) -> Batch:
        """Return the records at `rows`, as stored, on the training device."""
        index = torch.from_numpy(rows)
        here = self._moved(index)
        on_device = self.signal.device.type == self.device.type  # "cuda" is not "cuda:0"
        stored = self.signal[here] if on_device else self._moved(self.signal[index])
        targets = None if self.targets is None else self.targets[here]
        return Batch(stored, self.risk[here], self.completeness[here], targets)

    def _moved(self, x: Tensor) -> Tensor:
        """Copy to the training device; from memory that is not pinned, a copy waits for it."""
        if self.device.type == "cuda":
            x = x.pin_memory()
        return x.to(self.device, non_blocking=True)


def load_training_data(
    rows: pd.DataFrame,
    stores: "Mapping[str, Store]",
    recipe: Recipe,
    device: torch.device,
    surrogate_seed: int | None = None,
) -> TrainingData:
    """Read the signals, risk and targets of a list of records.

    Parameters
    ----------
    rows
        A row per record: `source`, `row` (in the source's store), `record_id`, and `y` (targets)
        where there are labels.
    stores
        The store of each source.
    recipe
        `leads` are read, in that order.
    device
        Where training happens.
    surrogate_seed
        Of the surrogates (`ecgscale.data.surrogate`) to read in place of the recordings; None reads
        the recordings.

    Raises
    ------
    BadInputError
        If a source has no store, a row is not in it, or it was ingested with another recipe.
    """
    from ecgscale.data.risk import risk_of

    records = _records(rows, stores, recipe)
    signal = torch.empty((len(rows), len(recipe.leads), recipe.n_samples), dtype=torch.int16)
    for source, positions in _positions(rows):
        wanted = rows["row"].to_numpy(np.int64)[positions]
        for start in range(0, len(wanted), _CHUNK):
            part = slice(start, start + _CHUNK)
            stored = stores[source].raw(wanted[part], recipe.leads)
            if surrogate_seed is not None:
                stored = _surrogates(stored, records.iloc[positions[part]], surrogate_seed)
            signal[torch.from_numpy(positions[part])] = torch.from_numpy(stored)
    risk = risk_of(records)
    targets = np.stack(rows["y"].to_list()).astype(np.float32) if "y" in rows else None
    return TrainingData(
        signal=_place(signal, device),
        risk=_column(risk["score"], device),
        completeness=_column(risk["completeness"], device),
        targets=None if targets is None else torch.from_numpy(targets).to(device),
        device=device,
    )


def _surrogates(
    stored: npt.NDArray[np.int16], records: pd.DataFrame, seed: int
) -> npt.NDArray[np.int16]:
    from ecgscale.data.surrogate import surrogates

    named = zip(records["source"], records["record_id"], strict=True)
    keys = [f"{source}/{record_id}" for source, record_id in named]
    return surrogates(stored, records["valid_samples"].to_numpy(np.int64), keys, seed)


class BatchSampler:
    """Which records make up the batch of each step.

    The epochs' permutations laid end to end and cut into batches: every record appears once per
    epoch. Where a batch spans two epochs, records that the first has put into it are moved back in
    the second, so that no batch holds a record twice (to a contrastive objective that would be a
    false negative, and more of them the smaller the subset). A function of the seed and the step
    alone, so a resumed run has nothing to restore.

    Parameters
    ----------
    n
        Records.
    batch_size
        At most `n`.
    seed
        Seed of all permutations.

    Raises
    ------
    BadInputError
        If there are fewer records than a batch needs.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        if n < batch_size:
            raise BadInputError(
                f"training.batch_size is {batch_size}, but the cell has only {n} records"
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self._orders: dict[int, npt.NDArray[np.int64]] = {}

    def batch(self, step: int) -> npt.NDArray[np.int64]:
        """Return the records of a step (from 0), shape (batch,)."""
        start = step * self.batch_size
        epoch, offset = divmod(start, self.n)
        head = self._order(epoch)[offset : offset + self.batch_size]
        if len(head) == self.batch_size:
            return head
        return np.concatenate([head, self._order(epoch + 1)[: self.batch_size - len(head)]])

    def _order(self, epoch: int) -> npt.NDArray[np.int64]:
        """Return an epoch's order, from the nearest earlier one that is known."""
        if epoch not in self._orders:
            known = [e for e in self._orders if e < epoch]
            order = self._orders[max(known)] if known else None
            for e in range(max(known) + 1 if known else self._first(epoch), epoch + 1):
                order = self._without_repeats(e, order)
                self._orders[e] = order
                self._orders.pop(e - 2, None)
        return self._orders[epoch]

    def _first(self, epoch: int) -> int:
        """Return the epoch to begin at: moves reach a tail only in very short epochs."""
        return max(epoch - 1, 0) if self.n >= 2 * self.batch_size else 0

    def _without_repeats(
        self, epoch: int, previous: npt.NDArray[np.int64] | None
    ) -> npt.NDArray[np.int64]:
        """Return the epoch's permutation, its head free of the batch that the last one began.

        Of the first `batch_size` records, those in the unfinished batch go behind the others; no
        other order changes.
        """
        order = np.random.default_rng((self.seed, epoch)).permutation(self.n)
        begun = epoch * self.n % self.batch_size
        if previous is None or begun == 0:
            return order
        head = order[: self.batch_size]
        repeats = np.isin(head, previous[self.n - begun :])
        order[: self.batch_size] = np.concatenate([head[~repeats], head[repeats]])
        return order


def _positions(rows: pd.DataFrame) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """Return each source with the positions of its rows."""
    groups = rows.groupby("source", sort=True).indices
    return [(str(source), np.asarray(where, np.int64)) for source, where in groups.items()]


def _records(rows: pd.DataFrame, stores: "Mapping[str, Store]", recipe: Recipe) -> pd.DataFrame:
    """Return the stores' metadata of each row, in the order of the rows."""
    parts = []
    for source, positions in _positions(rows):
        if source not in stores:
            raise BadInputError(f"source {source!r} has no store")
        store = stores[source]
        _check_store(store, recipe)
        wanted = rows["row"].to_numpy(np.int64)[positions]
        if len(wanted) and wanted.max() >= len(store):
            raise BadInputError(
                f"row {wanted.max()} is not in the store {store.path} of {len(store)} records"
            )
        part = store.records.iloc[wanted]
        parts.append(part.set_index(pd.Index(positions)))
    records: pd.DataFrame = pd.concat(parts).sort_index()
    return records


def _check_store(store: "Store", recipe: Recipe) -> None:
    if store.n_samples != recipe.n_samples or store.fs != recipe.fs:
        raise BadInputError(
            f"store {store.path} holds {store.n_samples} samples at {store.fs:g} Hz, the study's "
            f"recipe asks for {recipe.n_samples} at {recipe.fs:g} Hz: ingest it again"
        )


def _place(signal: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return signal.to(device)
    free, _ = torch.cuda.mem_get_info(device)
    if signal.nbytes <= DEVICE_SHARE * free:
        return signal.to(device)
    return signal.pin_memory()


def _column(values: pd.Series, device: torch.device) -> Tensor:
    return torch.from_numpy(values.to_numpy(np.float32)).to(device)
