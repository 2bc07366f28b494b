"""Each objective and encoder of a study, resolved: parameters with their defaults, and code.

A cell depends on these files and not on params.yaml as a whole, so that a changed parameter, a
tuned winner or an edited loss re-runs the cells it concerns and no other.
"""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ecgscale.errors import BadInputError
from ecgscale.runs.cell import Cell
from ecgscale.runs.lineage import code_digest
from ecgscale.runs.record import RunRecord
from ecgscale.settings import digest_of
from ecgscale.study.cells import cell_axes, check_cell
from ecgscale.study.file import Study
from ecgscale.training.settings import Pretraining, ResolvedEncoder, ResolvedObjective

TRAINING_CODE = (
    "ecgscale.training.stage",
    "ecgscale.training.trainer",
    "ecgscale.data.augment",
    "ecgscale.data.normalise",
    "ecgscale.data.risk",
    "ecgscale.objectives.base",
)
EVALUATION_CODE = (
    "ecgscale.evaluation",
    "ecgscale.evaluation.readouts",
    "ecgscale.data.normalise",
    "ecgscale.data.store",
)
INGEST_CODE = ("ecgscale.data.ingest", "ecgscale.data.preprocess", "ecgscale.data.store")


def encoder_recipe(study: Study, name: str) -> ResolvedEncoder:
    """Resolve an encoder of the study.

    Raises
    ------
    BadInputError
        If the kind does not exist or a parameter is unknown or out of range.
    """
    from ecgscale.encoders.base import parse_params

    config = study.encoders[name]
    return ResolvedEncoder(
        name=name,
        kind=config.kind,
        params=parse_params(config.kind, config.params).model_dump(mode="json"),
    )


def objective_recipe(study: Study, name: str) -> ResolvedObjective:
    """Resolve an objective of the study.

    Raises
    ------
    BadInputError
        If the kind does not exist, a parameter is unknown or out of range, or the study asks for a
        tuned winner that has not been computed.
    """
    from ecgscale.objectives.base import parse_params

    config = study.objectives[name]
    tuned = _tuned(name, config.tuned) if config.tuned else {}
    params = {**tuned.get("params", {}), **config.params}
    training = {**tuned.get("training", {}), **config.training}
    study = study.with_overrides(name, training=training)
    return ResolvedObjective(
        name=name,
        kind=config.kind,
        control_of=config.control_of,
        params=parse_params(config.kind, params).model_dump(mode="json"),
        training=study.training_for(name),
        augment=study.augment_for(name),
    )


def pretraining(study: Study, cell: Cell) -> Pretraining:
    """Return all that decides what the pretraining of a cell writes.

    Raises
    ------
    BadInputError
        If the cell is not of this study, or as `encoder_recipe` and `objective_recipe`.
    """
    check_cell(study, cell)
    encoder = encoder_recipe(study, cell.encoder)
    objective = objective_recipe(study, cell.objective)
    return Pretraining(
        study=study.study,
        cell=cell,
        axes=cell_axes(study, cell),
        recipe=study.recipe,
        encoder=encoder,
        objective=objective,
        lead=study.evaluation.lead,
        tasks=study.evaluation.tasks,
        code=digest_of([_encoder_code(encoder.kind), _objective_code(objective.kind)])[:16],
    )


def _encoder_code(kind: str) -> str:
    from ecgscale.encoders.base import encoders

    return code_digest(encoders.get(kind).__module__, "ecgscale.encoders.base")


def _objective_code(kind: str) -> str:
    from ecgscale.objectives.base import objectives

    return code_digest(objectives.get(kind).__module__, *TRAINING_CODE)


def validate(study: Study) -> None:
    """Check that all a study names exists and every parameter is in range, before anything runs.

    Raises
    ------
    BadInputError
        Naming the first key that is wrong.
    """
    from ecgscale.data.simulate import cohort_options
    from ecgscale.data.sources import sources
    from ecgscale.tasks import tasks

    for cohort in study.simulate.values():
        cohort_options(cohort)
    for source in study.sources.values():
        sources.get(source.reader)
    for task in study.evaluation.tasks:
        dataset = tasks.get(task).metadata.dataset
        if dataset not in study.evaluation.data:
            raise BadInputError(f"task {task} needs evaluation.data.{dataset}: the source to read")
    for encoder in study.grid.encoders:
        encoder_recipe(study, encoder)
    for objective in (*study.grid.objectives, *study.grid.controls):
        objective_recipe(_untuned(study, objective), objective)


def write_recipes(study: Study, out: Path) -> None:
    """Write every resolved recipe of a study, one small JSON file each.

    ``out/{objectives,encoders,sources,cohorts}/<name>.json`` and ``out/evaluation.json``. A file
    whose content is unchanged keeps its bytes, so DVC re-runs nothing behind it.
    """
    validate(study)
    contents = {
        **{f"objectives/{name}": _objective(study, name) for name in _objectives(study)},
        **{f"encoders/{name}": _encoder(study, name) for name in study.grid.encoders},
        **{f"sources/{name}": _source(study, name) for name in study.sources},
        **{f"cohorts/{name}": _cohort(study, name) for name in study.simulate},
        "evaluation": {
            "settings": study.evaluation.model_dump(mode="json"),
            "code": code_digest(*EVALUATION_CODE),
        },
    }
    shutil.rmtree(out, ignore_errors=True)
    for name, content in contents.items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _objectives(study: Study) -> tuple[str, ...]:
    return (*study.grid.objectives, *study.grid.controls)


def _objective(study: Study, name: str) -> dict[str, Any]:
    winner = study.objectives[name].tuned
    if winner and not winner.is_file():
        return {"name": name, "waits_for": str(winner)}  # so that `dvc repro tune` can run at all
    recipe = objective_recipe(study, name)
    return {
        **{key: getattr(recipe, key) for key in ("name", "kind", "control_of")},
        **recipe.settings,
        "code": _objective_code(recipe.kind),
    }


def _encoder(study: Study, name: str) -> dict[str, Any]:
    recipe = encoder_recipe(study, name)
    return {**asdict(recipe), "code": _encoder_code(recipe.kind)}


def _source(study: Study, name: str) -> dict[str, Any]:
    from ecgscale.data.sources import sources

    config = study.sources[name]
    settings = config.model_dump(mode="json") | {"namespace": study.namespace(name)}
    module = sources.get(config.reader).__module__
    return {
        "settings": settings,
        "recipe": study.recipe.model_dump(mode="json"),
        "code": code_digest(module, *INGEST_CODE),
    }


def _cohort(study: Study, name: str) -> dict[str, Any]:
    from ecgscale.data.simulate.cohort import simulation_code

    settings = study.simulate[name]
    return {"settings": settings.model_dump(mode="json"), "code": simulation_code(settings.layout)}


def _untuned(study: Study, name: str) -> Study:
    """Return the study as it is before the objective's tuned winner exists."""
    config = study.objectives[name]
    if config.tuned is None or config.tuned.is_file():
        return study
    objectives = {**study.objectives, name: config.model_copy(update={"tuned": None})}
    return study.model_copy(update={"objectives": objectives})


def _tuned(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInputError(
            f"objective {name} asks for the tuned parameters in {path}, which does not exist: "
            "run `dvc repro tune` first"
        )
    winner: dict[str, Any] = RunRecord.read(path).details["winner"]
    return winner
