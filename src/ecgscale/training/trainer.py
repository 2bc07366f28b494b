"""What only a cell that is trained needs: its records, its objective, the loop and the monitors.

A control that keeps its initial weights does without this module, and no change behind it makes
such a control anew.
"""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ecgscale import objectives
from ecgscale.data.augment import millivolts
from ecgscale.data.recipe import Recipe
from ecgscale.data.store import Store, open_store
from ecgscale.data.subsets import read_subset, without_sources
from ecgscale.encoders.base import Encoder, count_parameters
from ecgscale.errors import BadInputError
from ecgscale.runs.cell import subset_place
from ecgscale.runs.record import DatasetInput
from ecgscale.training.card import TrainedOn
from ecgscale.training.checkpoint import CheckpointDirectory
from ecgscale.training.data import TrainingData, load_training_data
from ecgscale.training.labels import all_labelled, shuffled, tables, with_labels
from ecgscale.training.loop import Curves, Monitor, TrainingOutcome, train
from ecgscale.training.monitors import CollapseMonitor, is_collapsed
from ecgscale.training.schedule import derived_seed
from ecgscale.training.settings import Pretraining

MONITORS = ("embedding_sd", "effective_rank", "knn")
SPENT = ("steps", "samples_seen", "epochs", "flops", "seconds", "pairs_per_second")


@dataclass(frozen=True)
class Trained:
    """What the training of a cell leaves besides the weights."""

    outcome: TrainingOutcome
    parameters: int
    """Of the encoder, without what only the objective has."""

    @property
    def measured(self) -> dict[str, float]:
        """The loss, and the collapse monitors after the last step."""
        curves = self.outcome.curves
        return {"loss": self.outcome.loss, **{name: curves[name][-1][1] for name in MONITORS}}

    @property
    def metrics(self) -> dict[str, float]:
        """The final values that the record states."""
        outcome, measured = self.outcome, self.measured
        return {
            **measured,
            "collapsed": float(is_collapsed(measured)),
            "parameters": float(self.parameters),
            **{name: getattr(outcome, name) for name in SPENT},
        }


class Trainer:
    """Trains the encoder of a cell on the cell's records.

    Parameters
    ----------
    plan
        The cell. It gets its subset, of an objective that needs labels with those of the plan's
        tasks; one that needs labels and has no subset gets all training records of the tasks.
    root
        The project.

    Attributes
    ----------
    trained_on
        The records.

    Raises
    ------
    BadInputError
        If the list of records or a store is missing.
    """

    def __init__(self, plan: Pretraining, root: Path) -> None:
        self.plan = plan
        labelled = objectives.objectives.get(plan.objective.kind).needs_labels
        records = _labelled if labelled and not plan.cell.size else _subset
        self.trained_on, self._rows, self._stores = records(plan, root)

    def train(
        self,
        encoder: Encoder,
        device: torch.device,
        checkpoints: Path | None,
        report: Callable[[Curves], None],
    ) -> Trained:
        """Train an encoder of `ecgscale.training.stage.initial_encoder` in place, on a device.

        `checkpoints` is the folder of the work checkpoints; None keeps none. As in
        `ecgscale.training.loop.train` the newest is gone on from, and `report` is given points.

        Raises
        ------
        BadInputError
            If a store does not fit the recipe, or there are too few records for a batch.
        TrainingDivergedError
            If the loss is no longer finite.
        """
        seed = self.plan.cell.seed if self.plan.objective.data.surrogates else None
        data = load_training_data(self._rows, self._stores, self.plan.recipe, device, seed)
        outcome = train_cell(
            self.plan,
            encoder,
            data,
            monitors=[_collapse_monitor(self.plan, data)],
            checkpoints=CheckpointDirectory(checkpoints) if checkpoints else None,
            report=report,
            title=self.plan.cell.name,
        )
        return Trained(outcome, count_parameters(encoder))


def train_cell(
    plan: Pretraining,
    encoder: Encoder,
    data: TrainingData,
    *,
    monitors: Sequence[Monitor],
    checkpoints: CheckpointDirectory | None = None,
    report: Callable[[Curves], None],
    title: str,
) -> TrainingOutcome:
    """Train an encoder with the objective, the settings and the seed of a cell.

    Parameters and errors are those of `ecgscale.training.loop.train`.
    """
    torch.manual_seed(derived_seed("objective", plan.cell.seed))
    objective = objectives.create(
        plan.objective.kind, encoder, n_labels=data.n_labels, **plan.objective.params
    )
    return train(
        encoder,
        objective,
        data,
        plan.objective.training,
        plan.objective.augment,
        plan.recipe,
        seed=plan.cell.seed,
        checkpoints=checkpoints,
        monitors=monitors,
        report=report,
        title=title,
    )


def subset_data(directory: Path, root: Path, recipe: Recipe, device: torch.device) -> TrainingData:
    """Load the records of a subset directory.

    Raises
    ------
    BadInputError
        If the subset or a store is missing, or a store does not fit the recipe.
    """
    rows, _ = read_subset(directory)
    return load_training_data(rows, _stores(rows, root), recipe, device)


Records = tuple[TrainedOn, pd.DataFrame, dict[str, Store]]
"""What a cell trains on; a row per record (source, row, patient_id, and y where there are targets);
the store of each source."""


def _subset(plan: Pretraining, root: Path) -> Records:
    place = subset_place(plan.cell.size, plan.cell.order)
    changed = plan.objective.data
    rows, manifest = without_sources(*read_subset(root / place), changed.without)
    stores, name, digest = _stores(rows, root), manifest.name, manifest.digest
    if changed.without:
        name += f" without {', '.join(changed.without)}"
    parts: tuple[DatasetInput, ...] = ()
    if plan.tasks:
        listed = {"name": name, "digest": digest, "source": place.as_posix()}
        parts = (DatasetInput(context="pretraining", **listed), *tables(root, plan.tasks))
        rows = with_labels(rows, root, plan.tasks)
        if changed.shuffled_labels:
            seed = derived_seed("labels", plan.cell.seed)
            rows = shuffled(rows, np.random.default_rng(seed))
        name += f" with {'shuffled ' * changed.shuffled_labels}labels"
        digest = _targets_digest(rows)
    if changed.surrogates:
        name += " as surrogates"
    trained_on = TrainedOn(
        name=name,
        digest=digest,
        place=place.as_posix(),
        stores=_digests(stores),
        patients=manifest.patients,
        records=manifest.records,
        hours=manifest.hours,
        sources=manifest.sources,
        unknown_patients=manifest.unknown_patients,
        parts=parts,
    )
    return trained_on, rows, stores


def _labelled(plan: Pretraining, root: Path) -> Records:
    place = Path("data/tasks")
    rows = all_labelled(root, plan.tasks)
    stores = _stores(rows, root)
    seconds = [
        stores[str(source)].records["valid_samples"].to_numpy()[group["row"]].sum()
        / stores[str(source)].fs
        for source, group in rows.groupby("source")
    ]
    trained_on = TrainedOn(
        name="training records of " + ", ".join(plan.tasks),
        digest=_targets_digest(rows),
        place=place.as_posix(),
        stores=_digests(stores),
        patients=int(rows["patient_id"].nunique()),
        records=len(rows),
        hours=math.fsum(seconds) / 3600,
        sources={str(k): int(v) for k, v in rows["source"].value_counts().sort_index().items()},
        parts=tables(root, plan.tasks),
    )
    return trained_on, rows, stores


def _stores(rows: pd.DataFrame, root: Path) -> dict[str, Store]:
    return {name: open_store(root / "data/store" / name) for name in sorted(set(rows["source"]))}


def _digests(stores: dict[str, Store]) -> dict[str, str]:
    return {source: store.digest for source, store in stores.items()}


def _targets_digest(rows: pd.DataFrame) -> str:
    hasher = hashlib.sha256(json.dumps(rows["source"].to_list()).encode())
    hasher.update(rows["row"].to_numpy("<i8").tobytes())
    hasher.update(np.stack(rows["y"].to_list()).astype("<f4").tobytes())
    return hasher.hexdigest()


def _collapse_monitor(plan: Pretraining, data: TrainingData) -> Monitor:
    """Watch records spread evenly over the list; one-lead encoders see the plan's lead."""
    config, recipe = plan.objective.training, plan.recipe
    signal = millivolts(data.batch(data.spread(config.monitor_records)).signal)
    if plan.encoder.params["in_channels"] == 1:
        if plan.lead not in recipe.leads:
            raise BadInputError(f"evaluation.lead {plan.lead!r} is not in recipe.leads")
        signal = signal[:, [recipe.leads.index(plan.lead)]]
    collapse = CollapseMonitor(signal, recipe)
    return Monitor(config.monitor_every, lambda step, encoder: collapse(encoder), at_start=True)
