"""The pretrain stage: one cell of a study, from its records to an encoder directory."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from ecgscale import distributed, encoders, objectives
from ecgscale.data.augment import millivolts
from ecgscale.data.store import Store, open_store
from ecgscale.data.subsets import read_subset
from ecgscale.device import device_name, study_device
from ecgscale.encoders.base import CARD, CONFIG, WEIGHTS, Encoder, model_digest
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Objective
from ecgscale.runs import resume, tracking
from ecgscale.runs.cell import Cell, subset_name
from ecgscale.runs.lineage import dvc_tags, lineage_tags
from ecgscale.runs.record import DatasetInput, RunRecord, Scalar, result_path
from ecgscale.settings import digest_of
from ecgscale.study.cells import cell_axes, check_cell
from ecgscale.study.file import Study
from ecgscale.study.resolve import (
    ResolvedEncoder,
    ResolvedObjective,
    encoder_recipe,
    objective_recipe,
)
from ecgscale.tasks.targets import training_targets
from ecgscale.training.card import CardData, CardObjective, model_card
from ecgscale.training.checkpoint import CheckpointDirectory
from ecgscale.training.data import TrainingData, load_training_data
from ecgscale.training.loop import Curves, Measurement, TrainingOutcome, train
from ecgscale.training.monitors import CollapseMonitor, is_collapsed
from ecgscale.training.schedule import derived_seed

MONITORS = ("embedding_sd", "effective_rank", "knn")


@dataclass(frozen=True)
class Corpus:
    """The records a cell trains on; none for a control that is not trained.

    Attributes
    ----------
    source
        Where the list of records lies, relative to the project.
    rows
        A row per record: source, row, patient_id, and y where there are targets.
    """

    facts: CardData
    source: str
    rows: pd.DataFrame
    stores: dict[str, Store]


@dataclass(frozen=True)
class Job:
    """A cell with everything that decides its weights."""

    study: Study
    cell: Cell
    root: Path
    objective: ResolvedObjective
    encoder: ResolvedEncoder
    corpus: Corpus
    device: torch.device

    @property
    def key(self) -> str:
        """Digest of all inputs: the name of the cell's work directory."""
        stores = {source: store.digest for source, store in self.corpus.stores.items()}
        inputs = {
            "cell": self.cell.name,
            "objective": self.objective.digest,
            "encoder": self.encoder.digest,
            "recipe": self.study.recipe.digest,
            "lead": self.study.evaluation.lead,
            "records": self.corpus.facts.digest,
            "stores": stores,
            "seed": self.cell.seed,
            "threads": self.study.study.threads,
            "device": self.device.type,
            "torch": torch.__version__,
        }
        if distributed.world_size() > 1:
            inputs["processes"] = distributed.world_size()
        return digest_of(inputs)[:32]

    @property
    def model(self) -> Path:
        """The encoder directory, relative to the project."""
        return Path("models") / self.cell.name


def pretrain(study: Study, cell: Cell, root: Path) -> RunRecord:
    """Train one cell, write its encoder directory and its record.

    Reads ``data/subsets`` (or ``data/tasks`` for an objective that needs labels) and
    ``data/store``; writes ``models/<cell>/`` and ``results/pretrain/<cell>.json``. Killed at any
    moment and called again, it goes on from the last work checkpoint, in the same tracked run, and
    ends with the same bytes. Started by ``torchrun``, all processes train and the first one writes.

    Parameters
    ----------
    study
        The study.
    cell
        One of its cells.
    root
        The project.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If the cell is not of this study, or an input is missing or does not fit.
    TrainingDivergedError
        If the loss is no longer finite.
    """
    torch.set_num_threads(study.study.threads)
    device = study_device(study.study.device)
    with distributed.process_group(device):
        job = _job(study, cell, root, device)
        work = root / ".ecgscale" / "work" / job.key
        result = result_path(root / "results", "pretrain", cell.name)
        if distributed.rank() > 0:
            return _help(job, work, result)
        return _lead(job, work, result)


def _lead(job: Job, work: Path, result: Path) -> RunRecord:
    """Train as the first process, or the only one: track the run and write its files."""
    study = job.study.study
    with (
        resume.alone(work),
        tracking.start_run(
            "pretrain",
            study.name,
            job.cell.name,
            job.root,
            work / "run_id",
            study.live_tracking_after,
        ) as tracked,
    ):
        started = resume.started(work)
        tracked.log_params(_params(job))
        tracked.log_tags(_tags(job))
        distributed.barrier()  # no other process reads checkpoints before this one holds the lock
        encoder, outcome = _run(job, CheckpointDirectory(work / "checkpoints"), tracked.log_points)
        _write_model(job, encoder, outcome)
        record = _record(job, outcome, started)
        record.write(result)
        tracked.finish(record)
        resume.remove(work)
    distributed.barrier()
    return record


def _help(job: Job, work: Path, result: Path) -> RunRecord:
    """Train as one of the other processes, which write nothing."""
    distributed.barrier()
    _run(job, CheckpointDirectory(work / "checkpoints"))
    distributed.barrier()
    return RunRecord.read(result)


def initial_encoder(study: Study, cell: Cell) -> Encoder:
    """Return a cell's encoder before training.

    The weights depend on the encoder's settings and the seed alone, so cells of other sizes and
    objectives start from the same ones and differences between them are paired.
    """
    recipe = encoder_recipe(study, cell.encoder)
    torch.manual_seed(derived_seed("encoder", cell.seed))
    return encoders.create(recipe.kind, **recipe.params)


def subset_data(study: Study, directory: Path, root: Path, device: torch.device) -> TrainingData:
    """Load the records of a subset directory.

    Raises
    ------
    BadInputError
        If the subset or a store is missing, or does not fit the study's recipe.
    """
    rows, _ = read_subset(directory)
    return load_training_data(rows, _stores(rows, root), study.recipe, device)


def _job(study: Study, cell: Cell, root: Path, device: torch.device) -> Job:
    check_cell(study, cell)
    objective = objective_recipe(study, cell.objective)
    return Job(
        study=study,
        cell=cell,
        root=root,
        objective=objective,
        encoder=encoder_recipe(study, cell.encoder),
        corpus=_corpus(study, cell, objectives.objectives.get(objective.kind), root),
        device=device,
    )


def _corpus(study: Study, cell: Cell, objective: type[Objective], root: Path) -> Corpus:
    """Return what a cell trains on: nothing, the tasks' training records, or its subset."""
    if not objective.needs_training:
        nothing = CardData("none", "none", patients=0, records=0, hours=0.0, sources={})
        return Corpus(nothing, "none", pd.DataFrame(), {})
    if objective.needs_labels:
        return _labelled(study, root)
    place = Path("data/subsets") / subset_name(cell.size, cell.order)
    rows, manifest = read_subset(root / place)
    facts = CardData(
        name=manifest.name,
        digest=manifest.digest,
        patients=manifest.patients,
        records=manifest.records,
        hours=manifest.hours,
        sources=manifest.sources,
    )
    return Corpus(facts, place.as_posix(), rows, _stores(rows, root))


def _labelled(study: Study, root: Path) -> Corpus:
    place = Path("data/tasks")
    rows = training_targets(root / place, study.evaluation.tasks)
    stores = _stores(rows, root)
    seconds = [
        stores[str(source)].records["valid_samples"].to_numpy()[group["row"]].sum()
        / stores[str(source)].fs
        for source, group in rows.groupby("source")
    ]
    facts = CardData(
        name="training records of " + ", ".join(study.evaluation.tasks),
        digest=_targets_digest(rows),
        patients=int(rows["patient_id"].nunique()),
        records=len(rows),
        hours=math.fsum(seconds) / 3600,
        sources={str(k): int(v) for k, v in rows["source"].value_counts().sort_index().items()},
    )
    return Corpus(facts, place.as_posix(), rows, stores)


def _stores(rows: pd.DataFrame, root: Path) -> dict[str, Store]:
    return {name: open_store(root / "data/store" / name) for name in sorted(set(rows["source"]))}


def _targets_digest(rows: pd.DataFrame) -> str:
    hasher = hashlib.sha256(json.dumps(rows["source"].to_list()).encode())
    hasher.update(rows["row"].to_numpy("<i8").tobytes())
    hasher.update(np.stack(rows["y"].to_list()).astype("<f4").tobytes())
    return hasher.hexdigest()


def _run(
    job: Job, checkpoints: CheckpointDirectory, report: Callable[[Curves], None] | None = None
) -> tuple[Encoder, TrainingOutcome | None]:
    """Return the encoder, trained unless the objective does without."""
    encoder = initial_encoder(job.study, job.cell)
    if not job.corpus.facts.records:
        return encoder, None
    recipe = job.study.recipe
    data = load_training_data(job.corpus.rows, job.corpus.stores, recipe, job.device)
    torch.manual_seed(derived_seed("objective", job.cell.seed))
    objective = objectives.create(
        job.objective.kind, encoder, n_labels=data.n_labels, **job.objective.params
    )
    outcome = train(
        encoder,
        objective,
        data,
        job.objective.training,
        job.objective.augment,
        recipe,
        seed=job.cell.seed,
        checkpoints=checkpoints,
        measurements=[_collapse_measurement(job, data)],
        report=report,
        title=job.cell.name,
    )
    return encoder, outcome


def _collapse_measurement(job: Job, data: TrainingData) -> Measurement:
    """Watch records spread evenly over the list; one-lead encoders see the evaluation lead."""
    config, recipe = job.objective.training, job.study.recipe
    count = min(config.monitor_records, len(data))
    rows = np.linspace(0, len(data) - 1, count).round().astype(np.int64)
    signal = millivolts(data.batch(rows).signal)
    if job.encoder.params["in_channels"] == 1:
        lead = job.study.evaluation.lead
        if lead not in recipe.leads:
            raise BadInputError(f"evaluation.lead {lead!r} is not in recipe.leads")
        signal = signal[:, [recipe.leads.index(lead)]]
    monitor = CollapseMonitor(signal, recipe)
    return Measurement(config.monitor_every, lambda step, encoder: monitor(encoder), at_start=True)


def _write_model(job: Job, encoder: Encoder, outcome: TrainingOutcome | None) -> None:
    """Write the encoder directory aside and rename it into place."""
    final = job.root / job.model
    aside = final.with_name(f".{final.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    recipe = job.study.recipe
    settings = {
        "params": job.objective.params,
        "training": job.objective.training.model_dump(mode="json"),
        "augment": job.objective.augment.model_dump(mode="json"),
    }
    reference = objectives.objectives.get(job.objective.kind).reference
    card = model_card(
        job.cell,
        encoder,
        CardObjective(job.objective.name, job.objective.kind, reference, settings),
        job.corpus.facts,
        recipe,
        _measured(outcome) if outcome else {},
    )
    encoders.save(encoder, aside, {**recipe.model_dump(mode="json"), "digest": recipe.digest}, card)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)


def _measured(outcome: TrainingOutcome) -> dict[str, float]:
    return {"loss": outcome.loss, **{name: outcome.curves[name][-1][1] for name in MONITORS}}


def _record(job: Job, outcome: TrainingOutcome | None, started: str) -> RunRecord:
    facts = job.corpus.facts
    inputs = [
        DatasetInput(
            name=facts.name, digest=facts.digest, context="pretraining", source=job.corpus.source
        )
    ]
    return RunRecord(
        phase="pretrain",
        study=job.study.study.name,
        cell=job.cell.name,
        axes=_axes(job),
        params=_params(job),
        metrics={**_metrics(outcome), **_scale(facts)},
        curves=outcome.curves if outcome else {},
        tags={**_tags(job), "model_digest": model_digest(job.root / job.model)},
        inputs=inputs if facts.records else [],
        artifacts=[(job.model / name).as_posix() for name in (WEIGHTS, CONFIG, CARD)],
        started=started,
        ended=resume.now(),
    )


def _axes(job: Job) -> dict[str, Scalar]:
    scale = _scale(job.corpus.facts)
    # A control sees no pretraining subset; what it did see is among the metrics.
    return {
        **cell_axes(job.study, job.cell),
        **(scale if job.cell.size else dict.fromkeys(scale, 0)),
    }


def _scale(facts: CardData) -> dict[str, float]:
    return {
        "patients": facts.patients,
        "records": facts.records,
        "hours": facts.hours,
        "sources": len(facts.sources),
    }


def _metrics(outcome: TrainingOutcome | None) -> dict[str, float]:
    """Return the final values; what only training has is NaN without it."""
    if outcome is None:
        unknown = dict.fromkeys(("loss", *MONITORS, "collapsed", "pairs_per_second"), math.nan)
        work = dict.fromkeys(("steps", "samples_seen", "epochs", "flops", "seconds"), 0.0)
        return {**unknown, **work}
    measured = _measured(outcome)
    return {
        **measured,
        "collapsed": float(is_collapsed(measured)),
        "steps": outcome.steps,
        "samples_seen": outcome.samples_seen,
        "epochs": outcome.epochs,
        "flops": outcome.flops,
        "seconds": outcome.seconds,
        "pairs_per_second": outcome.pairs_per_second,
    }


def _params(job: Job) -> dict[str, Scalar]:
    facts = job.corpus.facts
    return _flat(
        {
            "seed": job.cell.seed,
            "threads": job.study.study.threads,
            "processes": distributed.world_size(),
            "device": job.device.type,
            "data": {"name": facts.name, **_scale(facts)},
            "recipe": job.study.recipe.model_dump(mode="json"),
            "encoder": {"kind": job.encoder.kind, **job.encoder.params},
            "objective": {"kind": job.objective.kind, **job.objective.params},
            "training": job.objective.training.model_dump(mode="json"),
            "augment": job.objective.augment.model_dump(mode="json"),
        }
    )


def _flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Scalar]:
    """Return nested settings with dotted names; lists become JSON."""
    flat: dict[str, Scalar] = {}
    for name, value in settings.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = json.dumps(value) if isinstance(value, list) else value
    return flat


def _tags(job: Job) -> dict[str, str]:
    return {
        **lineage_tags(job.root),
        **dvc_tags(job.root, job.corpus.source),
        "study": job.study.study.name,
        "subset_digest": job.corpus.facts.digest,
        "recipe_digest": job.study.recipe.digest,
        "objective_digest": job.objective.digest,
        "encoder_digest": job.encoder.digest,
        "device": device_name(job.device),
    }
