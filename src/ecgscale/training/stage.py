"""The pretrain stage: one cell of a study, from its records to an encoder directory."""

import json
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ecgscale import distributed, encoders
from ecgscale.device import device_name, study_device
from ecgscale.encoders.base import CARD, CONFIG, WEIGHTS, Encoder, model_digest
from ecgscale.objectives.base import objectives
from ecgscale.runs.cell import pretraining_reads
from ecgscale.runs.protocol import open_run
from ecgscale.runs.record import DatasetInput, RunRecord, Scalar
from ecgscale.settings import digest_of
from ecgscale.training.card import NO_DATA, TrainedOn, model_card
from ecgscale.training.schedule import derived_seed
from ecgscale.training.settings import Pretraining, ResolvedEncoder

if TYPE_CHECKING:
    from ecgscale.training.trainer import Trained

UNTRAINED: dict[str, float] = {
    **dict.fromkeys(("loss", "embedding_sd", "effective_rank", "knn", "collapsed"), math.nan),
    "pairs_per_second": math.nan,
    **dict.fromkeys(("steps", "samples_seen", "epochs", "flops", "seconds"), 0.0),
}
"""The final values of an encoder that keeps its initial weights: what only training has is NaN."""


def pretrain(plan: Pretraining, root: Path) -> RunRecord:
    """Train one cell, write its encoder directory and its record.

    Reads ``data/subsets``, ``data/tasks`` for an objective that needs labels, and ``data/store``;
    writes ``models/<cell>/`` and ``results/pretrain/<cell>.json``. Killed at any moment and called
    again, it goes on from the last work checkpoint, in the same tracked run, and ends with the same
    bytes. Started by ``torchrun``, all processes train and the first one writes.

    Parameters
    ----------
    plan
        The cell; `ecgscale.study.resolve.pretraining` makes it of a study.
    root
        The project.

    Returns
    -------
    RunRecord
        As written.

    Raises
    ------
    BadInputError
        If an input is missing or does not fit.
    TrainingDivergedError
        If the loss is no longer finite.
    """
    torch.set_num_threads(plan.study.threads)
    device = study_device(plan.study.device)
    with distributed.process_group(device):
        trainer = None  # a control that is not trained does without the module
        if objectives.get(plan.objective.kind).needs_training:
            from ecgscale.training.trainer import Trainer

            trainer = Trainer(plan, root)
        seen = trainer.trained_on if trainer else NO_DATA
        with open_run(
            "pretrain",
            plan.study,
            plan.cell.name,
            root,
            key=_key(plan, seen, device),
            axes=_axes(plan, seen),
            params=_params(plan, seen, device),
            tags=_tags(plan, seen, device),
            inputs=_inputs(seen),
            reads=pretraining_reads(plan.cell, labelled=bool(plan.tasks) or not plan.cell.size),
        ) as run:
            encoder = initial_encoder(plan.encoder, plan.cell.seed)
            trained = (
                trainer.train(encoder, device, run.kept("checkpoints"), run.log_points)
                if trainer
                else None
            )
            if not run.leads:
                return run.awaited()
            model = Path("models") / plan.cell.name
            _write_model(plan, encoder, seen, trained, root / model)
            files = [(model / name).as_posix() for name in (WEIGHTS, CONFIG, CARD)]
            return run.finish(
                metrics={**(trained.metrics if trained else UNTRAINED), **_scale(seen)},
                curves=trained.outcome.curves if trained else {},
                tags={"model_digest": model_digest(root / model)},
                details={"embed_dim": encoder.embed_dim},
                # DVC holds the weights; the tracking store points at them.
                artifacts=[path for path in files if not path.endswith(WEIGHTS)],
                made=files,
            )


def initial_encoder(encoder: ResolvedEncoder, seed: int) -> Encoder:
    """Return a cell's encoder before training.

    The weights depend on the encoder's settings and the seed alone, so cells of other sizes and
    objectives start from the same ones and differences between them are paired.
    """
    torch.manual_seed(derived_seed("encoder", seed))
    return encoders.create(encoder.kind, **encoder.params)


def _key(plan: Pretraining, seen: TrainedOn, device: torch.device) -> str:
    """Return the digest of all inputs: the name of the cell's work directory."""
    inputs = {
        "cell": plan.cell.name,
        "objective": plan.objective.digest,
        "encoder": plan.encoder.digest,
        "code": plan.code,
        "recipe": plan.recipe.digest,
        "lead": plan.lead,
        "records": seen.digest,
        "stores": seen.stores,
        "seed": plan.cell.seed,
        "threads": plan.study.threads,
        "device": device.type,
        "torch": torch.__version__,
        "processes": distributed.world_size(),
    }
    return digest_of(inputs)[:32]


def _write_model(
    plan: Pretraining, encoder: Encoder, seen: TrainedOn, trained: "Trained | None", final: Path
) -> None:
    """Write the encoder directory aside and rename it into place."""
    aside = final.with_name(f".{final.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    recipe, measured = plan.recipe, trained.measured if trained else {}
    card = model_card(plan.cell, encoder, plan.objective, seen, recipe, measured)
    encoders.save(encoder, aside, {**recipe.model_dump(mode="json"), "digest": recipe.digest}, card)
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)


def _inputs(seen: TrainedOn) -> list[DatasetInput]:
    if not seen.records:
        return []
    whole = DatasetInput(
        name=seen.name, digest=seen.digest, context="pretraining", source=seen.place
    )
    return [whole, *seen.parts]


def _axes(plan: Pretraining, seen: TrainedOn) -> dict[str, Scalar]:
    scale = _scale(seen)
    # A control sees no pretraining subset; what it did see is among the metrics.
    return {**plan.axes, **(scale if plan.cell.size else dict.fromkeys(scale, 0))}


def _scale(seen: TrainedOn) -> dict[str, float]:
    return {
        "patients": seen.patients,
        "unknown_patients": seen.unknown_patients,
        "records": seen.records,
        "hours": seen.hours,
        "sources": len(seen.sources),
    }


def _params(plan: Pretraining, seen: TrainedOn, device: torch.device) -> dict[str, Scalar]:
    settings = plan.objective.settings
    return _flat(
        {
            "seed": plan.cell.seed,
            **({"lead": plan.lead} if plan.lead else {}),
            "threads": plan.study.threads,
            "processes": distributed.world_size(),
            "device": device.type,
            "data": {"name": seen.name, **_scale(seen), **settings["data"]},
            "recipe": plan.recipe.model_dump(mode="json"),
            "encoder": {"kind": plan.encoder.kind, **plan.encoder.params},
            "objective": {"kind": plan.objective.kind, **settings["params"]},
            "training": settings["training"],
            "augment": settings["augment"],
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


def _tags(plan: Pretraining, seen: TrainedOn, device: torch.device) -> dict[str, str]:
    return {
        "subset_digest": seen.digest,
        "recipe_digest": plan.recipe.digest,
        "objective_digest": plan.objective.digest,
        "encoder_digest": plan.encoder.digest,
        "code_digest": plan.code,
        "device": device_name(device),
    }
