"""Each objective and encoder of a study, resolved: parameters with their defaults, and code.

A cell depends on these files and not on params.yaml as a whole, so that a changed parameter, a
tuned winner or an edited loss re-runs the cells it concerns and no other.
"""

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.errors import BadInputError
from ecgscale.evaluation.settings import Evaluation, EvaluationSettings
from ecgscale.runs.lineage import code_digest
from ecgscale.runs.record import RunRecord
from ecgscale.settings import digest_of
from ecgscale.study.file import Study
from ecgscale.training.settings import TrainingConfig

TRAINING_CODE = (
    "ecgscale.training.data",
    "ecgscale.training.loop",
    "ecgscale.training.monitors",
    "ecgscale.training.schedule",
    "ecgscale.data.augment",
    "ecgscale.data.normalise",
    "ecgscale.data.risk",
    "ecgscale.objectives.base",
)
EVALUATION_CODE = (
    "ecgscale.evaluation",
    "ecgscale.evaluation.baselines",
    "ecgscale.evaluation.metrics",
    "ecgscale.evaluation.readouts",
    "ecgscale.data.normalise",
    "ecgscale.data.store",
)
INGEST_CODE = ("ecgscale.data.ingest", "ecgscale.data.preprocess", "ecgscale.data.store")


@dataclass(frozen=True)
class ResolvedEncoder:
    """An encoder as the study asks for it.

    Attributes
    ----------
    params
        Every parameter, defaults included.
    code
        Digest of the encoder's code.
    """

    name: str
    kind: str
    params: dict[str, Any]
    code: str

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the name, 16 hexadecimal characters."""
        return digest_of([self.kind, self.params, self.code])[:16]


@dataclass(frozen=True)
class ResolvedObjective:
    """An objective as the study asks for it.

    Attributes
    ----------
    params
        Every parameter: the published default, else the tuned winner's, else the study's.
    training, augment
        The study's settings with the objective's overrides (and the tuned winner's).
    code
        Digest of the objective's, the trainer's and the augmentation's code.
    """

    name: str
    kind: str
    control_of: str | None
    params: dict[str, Any]
    training: TrainingConfig
    augment: AugmentConfig
    code: str

    @property
    def digest(self) -> str:
        """SHA-256 over everything but the name, 16 hexadecimal characters."""
        training, augment = self.training.model_dump(), self.augment.model_dump()
        return digest_of([self.kind, self.params, training, augment, self.code])[:16]


def encoder_recipe(study: Study, name: str) -> ResolvedEncoder:
    """Resolve an encoder of the study.

    Raises
    ------
    BadInputError
        If the kind does not exist or a parameter is unknown or out of range.
    """
    from ecgscale.encoders.base import encoders, parse_params

    config = study.encoders[name]
    module = encoders.get(config.kind).__module__
    return ResolvedEncoder(
        name=name,
        kind=config.kind,
        params=parse_params(config.kind, config.params).model_dump(mode="json"),
        code=code_digest(module, "ecgscale.encoders.base"),
    )


def objective_recipe(study: Study, name: str) -> ResolvedObjective:
    """Resolve an objective of the study.

    Raises
    ------
    BadInputError
        If the kind does not exist, a parameter is unknown or out of range, or the study asks for a
        tuned winner that has not been computed.
    """
    from ecgscale.objectives.base import objectives, parse_params

    config = study.objectives[name]
    tuned = _tuned(name, config.tuned) if config.tuned else {}
    params = {**tuned.get("params", {}), **config.params}
    training = {**tuned.get("training", {}), **config.training}
    study = study.with_overrides(name, training=training)
    module = objectives.get(config.kind).__module__
    return ResolvedObjective(
        name=name,
        kind=config.kind,
        control_of=config.control_of,
        params=parse_params(config.kind, params).model_dump(mode="json"),
        training=study.training_for(name),
        augment=study.augment_for(name),
        code=code_digest(module, *TRAINING_CODE),
    )


def evaluation(study: Study, baseline: str | None = None) -> Evaluation:
    """Return all that decides what an evaluation writes: of encoders, or of one baseline.

    Raises
    ------
    BadInputError
        If a readout or the baseline does not exist, a readout's setting is unknown or out of range,
        or a protocol asks for a depth that its readout does not read; the message names the key.
    """
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.readouts.base import check_protocol, parse_settings

    config = study.evaluation
    if baseline is None:
        for protocol in config.protocols:
            check_protocol(protocol)
        used = {protocol.readout for protocol in config.protocols}
    else:
        readout = baselines.get(baseline).readout
        used = {readout} if readout else set()
    readouts = {
        name: parse_settings(name, config.readouts.get(name, {})).model_dump(mode="json")
        for name in sorted(used)
    }
    settings = {**config.model_dump(exclude={"data"}), "readouts": readouts}
    return Evaluation(
        study=study.study,
        recipe=study.recipe,
        settings=EvaluationSettings(**settings),
        code=code_digest(*EVALUATION_CODE),
    )


def validate(study: Study) -> None:
    """Check that all a study names exists and every parameter is in range, before anything runs.

    Raises
    ------
    BadInputError
        Naming the first key that is wrong.
    """
    from ecgscale.data.simulate import cohort_options
    from ecgscale.data.sources import sources
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.readouts.base import parse_settings
    from ecgscale.tasks import tasks

    for cohort in study.simulate.values():
        cohort_options(cohort)
    for source in study.sources.values():
        sources.get(source.reader)
    for task in study.evaluation.tasks:
        dataset = tasks.get(task).metadata.dataset
        if dataset not in study.evaluation.data:
            raise BadInputError(f"task {task} needs evaluation.data.{dataset}: the source to read")
    for readout, settings in study.evaluation.readouts.items():
        parse_settings(readout, settings)
    evaluation(study)
    for baseline in study.grid.baselines:
        if baseline not in baselines.names():
            known = ", ".join(baselines.names())
            raise BadInputError(
                f"grid.baselines: no baseline is named {baseline!r}; there are: {known}"
            )
        evaluation(study, baseline)
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
        "evaluation": _evaluation(study),
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
        **asdict(recipe),
        "training": recipe.training.model_dump(mode="json"),
        "augment": recipe.augment.model_dump(mode="json"),
        "digest": recipe.digest,
    }


def _encoder(study: Study, name: str) -> dict[str, Any]:
    recipe = encoder_recipe(study, name)
    return {**asdict(recipe), "digest": recipe.digest}


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


def _evaluation(study: Study) -> dict[str, Any]:
    plan = evaluation(study)
    used = {name: evaluation(study, name).settings.readouts for name in study.grid.baselines}
    settings = plan.settings.model_dump(mode="json")
    return {"settings": settings, "baselines": used, "code": plan.code}


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
