"""An encoder under every protocol, on every task."""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ecgscale import encoders
from ecgscale.data.normalise import normalise
from ecgscale.data.recipe import Recipe
from ecgscale.data.store import Store
from ecgscale.encoders.base import Encoder
from ecgscale.evaluation.embed import Embeddings, cached_embeddings, input_leads
from ecgscale.evaluation.inputs import check_store, rows_of
from ecgscale.evaluation.readouts.base import Problem, labelled_share, parse_settings, readouts
from ecgscale.evaluation.result import TaskResult, minimum_positives, task_result
from ecgscale.evaluation.settings import EvaluationSettings, Protocol
from ecgscale.files import write_whole
from ecgscale.progress import Bars
from ecgscale.tasks.targets import TaskTable

Results = dict[str, TaskResult]
"""Endpoint to how it came out; see `ecgscale.evaluation.settings.EvaluationSettings.endpoint`."""


def evaluate_encoder(
    directory: Path,
    tables: Sequence[TaskTable],
    stores: Mapping[str, Store],
    settings: EvaluationSettings,
    recipe: Recipe,
    *,
    cache: Path,
    device: torch.device | str = "cpu",
    finished: Path | None = None,
) -> Results:
    """Evaluate any encoder directory on tasks, under every protocol of the settings.

    Parameters
    ----------
    directory
        Written by `ecgscale.encoders.save`.
    tables
        The tasks.
    stores
        The store of each table's source, by name.
    settings
        Protocols, readouts' settings, lead, resamples, minimum of positives, batch size.
    recipe
        How signals are normalised, and the leads of an encoder with several.
    cache
        Folder of cached embeddings.
    device
        Where to embed and to fit.
    finished
        Folder with a file per finished endpoint; what is there is taken from there. None keeps
        none.

    Returns
    -------
    dict
        Endpoint to its result, task by task in the order of `tables`.

    Raises
    ------
    BadInputError
        If the directory is no encoder, a task was made from another store or lacks examples, or an
        embedding is not finite.
    TrainingDivergedError
        If the loss of a readout that is trained is not finite.
    """
    for table in tables:
        check_store(table, stores[table.source])
    results: Results = {}
    with Bars() as bars:
        subject = _EncoderOnTasks(directory, tables, stores, settings, recipe, cache, device, bars)
        bar = bars.bar("reading out", len(tables) * len(settings.protocols))
        for table in tables:
            for protocol in settings.protocols:
                endpoint = settings.endpoint(table.task, protocol)
                file = finished / f"{endpoint}.json" if finished else None
                results[endpoint] = _once(file, partial(subject.result, table, protocol))
                bars.advance(bar)
    return results


@dataclass
class _EncoderOnTasks:
    """An encoder with the data that it is evaluated on; all that is costly waits for its use."""

    directory: Path
    tables: Sequence[TaskTable]
    stores: Mapping[str, Store]
    settings: EvaluationSettings
    recipe: Recipe
    cache: Path
    device: torch.device | str
    bars: Bars
    embedded: dict[str, dict[float, Embeddings]] = field(default_factory=dict)

    def result(self, table: TaskTable, protocol: Protocol) -> TaskResult:
        """Read a task out under a protocol, and compute its metrics."""
        train = labelled_share(table, protocol.fraction, self.settings.seed)
        predictions = readouts.get(protocol.readout)().predict(
            Problem(
                table=table,
                train=train,
                minimum_positives=minimum_positives(table, self.settings),
                settings=parse_settings(
                    protocol.readout, self.settings.readouts.get(protocol.readout, {})
                ),
                seed=self.settings.seed,
                batch_size=self.settings.batch_size,
                device=self.device,
                embeddings=lambda: self._embeddings(table, protocol.depth),
                signals=lambda positions: self._signals(table, positions),
                encoder=lambda: copy.deepcopy(self._encoder),
            )
        )
        named = {"name": protocol.name, **protocol.model_dump()}
        return task_result(table, predictions, train, self.settings, named)

    @cached_property
    def _encoder(self) -> Encoder:
        return encoders.load(self.directory, self.device)

    def _embeddings(self, table: TaskTable, depth: float) -> Embeddings:
        """Return shape (example, dim); the first call embeds the whole source, at all depths."""
        rows = rows_of(self.tables, table.source)
        if table.source not in self.embedded:
            depths = {
                protocol.depth
                for protocol in self.settings.protocols
                if readouts.get(protocol.readout).reads_depths
            }
            bar = self.bars.bar(f"embedding {table.source}", len(rows))
            self.embedded[table.source] = cached_embeddings(
                self.directory,
                self._encoder,
                self.stores[table.source],
                rows,
                self.recipe,
                self.settings.lead,
                self.settings.batch_size,
                sorted(depths),
                self.device,
                self.cache,
                lambda records: self.bars.advance(bar, records),
            )
        places = np.searchsorted(rows, table.frame["row"].to_numpy())
        return self.embedded[table.source][depth][places]

    def _signals(self, table: TaskTable, positions: npt.NDArray[np.intp]) -> Tensor:
        store = self.stores[table.source]
        leads = input_leads(self._encoder, store.leads, self.recipe, self.settings.lead)
        signal = store.signals(table.frame["row"].to_numpy()[positions], leads)
        return normalise(torch.from_numpy(signal).to(self.device), self.recipe)


def _once(file: Path | None, action: Callable[[], TaskResult]) -> TaskResult:
    """Return what a file holds, or do the action and keep its result in the file."""
    if file is not None and file.is_file():
        return TaskResult(**json.loads(file.read_text(encoding="utf-8")))
    result = action()
    if file is not None:
        # Python's JSON keeps every bit of a number, and NaN.
        write_whole(file, json.dumps(asdict(result)))
    return result
