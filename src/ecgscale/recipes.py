"""Each objective and encoder of a study, resolved: parameters with their defaults, and code.

A cell depends on these files and not on params.yaml as a whole, so that a changed parameter, a
tuned winner or an edited loss re-runs the cells it concerns and no other.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ecgscale.config import AugmentConfig, Study, TrainingConfig, digest_of
from ecgscale.errors import BadInputError
from ecgscale.lineage import code_digest

TRAINING_CODE = (
    "ecgscale.training",
    "ecgscale.data.augment",
    "ecgscale.data.normalise",
    "ecgscale.data.risk",
    "ecgscale.objectives.base",
)
EVALUATION_CODE = ("ecgscale.evaluation", "ecgscale.data.normalise", "ecgscale.data.store")


@dataclass(frozen=True)
class EncoderRecipe:
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
class ObjectiveRecipe:
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


def encoder_recipe(study: Study, name: str) -> EncoderRecipe:
    """Resolve an encoder of the study.

    Raises
    ------
    BadInputError
        If the kind does not exist or a parameter is unknown or out of range.
    """
    from ecgscale.encoders.base import encoders, parse_params

    config = study.encoders[name]
    module = encoders.get(config.kind).__module__
    return EncoderRecipe(
        name=name,
        kind=config.kind,
        params=parse_params(config.kind, config.params).model_dump(mode="json"),
        code=code_digest(module, "ecgscale.encoders.base"),
    )


def objective_recipe(study: Study, name: str) -> ObjectiveRecipe:
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
    return ObjectiveRecipe(
        name=name,
        kind=config.kind,
        control_of=config.control_of,
        params=parse_params(config.kind, params).model_dump(mode="json"),
        training=study.training_for(name),
        augment=study.augment_for(name),
        code=code_digest(module, *TRAINING_CODE),
    )


def write_recipes(study: Study, out: Path) -> None:
    """Write every resolved recipe of a study, one small JSON file each.

    ``out/objectives/<name>.json``, ``out/encoders/<name>.json`` and ``out/evaluation.json``.
    A file whose content is unchanged keeps its bytes, so DVC re-runs nothing behind it.
    """
    for objective in (*study.grid.objectives, *study.grid.controls):
        recipe = objective_recipe(study, objective)
        content = {
            **asdict(recipe),
            "training": recipe.training.model_dump(mode="json"),
            "augment": recipe.augment.model_dump(mode="json"),
            "digest": recipe.digest,
        }
        _write(out / "objectives" / f"{objective}.json", content)
    for encoder in study.grid.encoders:
        resolved = encoder_recipe(study, encoder)
        _write(
            out / "encoders" / f"{encoder}.json", {**asdict(resolved), "digest": resolved.digest}
        )
    _write(
        out / "evaluation.json",
        {
            "settings": study.evaluation.model_dump(mode="json"),
            "code": code_digest(*EVALUATION_CODE),
        },
    )


def _tuned(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInputError(
            f"objective {name} asks for the tuned parameters in {path}, which does not exist: "
            "run `dvc repro tune` first"
        )
    winner: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["winner"]
    return winner


def _write(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
