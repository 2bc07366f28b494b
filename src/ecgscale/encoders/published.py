"""Published checkpoints of the Net1D family, read strictly and by name."""

import pickle
import re
import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecgscale.data.recipe import Recipe
from ecgscale.data.record import LEADS
from ecgscale.encoders.base import Encoder, create, model_digest, save
from ecgscale.encoders.card import CardOrigin, imported_card
from ecgscale.encoders.net1d import PUBLISHED_COUNTS, SIZES
from ecgscale.encoders.seen import seen_by_format
from ecgscale.errors import BadInputError
from ecgscale.files import file_digest

PLACE = Path("models/external")
"""Where imported encoders lie, relative to the project."""

RECIPE = Recipe(fs=500.0, seconds=10.0, band=(0.67, 40.0))
"""What a recipe can express of the preprocessing of CLEF and of ECGFounder: the same for both."""


@dataclass(frozen=True)
class Format:
    """How one project publishes its checkpoints."""

    title: str
    """Project and paper."""
    prefix: str
    """What stands before the encoder's names in ``state_dict``."""
    beside: frozenset[str]
    """Known entries of the file beside ``state_dict``; they are passed over."""
    modules: Mapping[str, str]
    """Known modules in ``state_dict`` beside the encoder, with what they are; passed over too."""
    beyond_recipe: str
    """What of the published preprocessing a `Recipe` cannot express."""


FORMATS: dict[str, Format] = {
    "clef": Format(
        title="CLEF (arXiv 2512.02180; github.com/Nokia-Bell-Labs/ecg-foundation-model)",
        prefix="backbone.",
        beside=frozenset(
            {
                "epoch",
                "global_step",
                "pytorch-lightning_version",
                "loops",
                "callbacks",
                "optimizer_states",
                "lr_schedulers",
                "MixedPrecision",
                "hparams_name",
                "hparams_type",
                "hyper_parameters",
                "datamodule_hparams_name",
                "datamodule_hparams_type",
                "datamodule_hyper_parameters",
            }
        ),
        modules={
            "backbone_k": "momentum encoder (MoCo)",
            "queue": "queue of keys (MoCo)",
            "queue_ptr": "place in the queue (MoCo)",
            "backbone_target": "target network (BYOL)",
            "predictor": "predictor (BYOL)",
        },
        beyond_recipe=(
            "The band-pass is a Butterworth filter of order 5, applied forward and backward; here "
            "the order is 3. Training took the first 10 s of a record."
        ),
    ),
    "ecgfounder": Format(
        title="ECGFounder (arXiv 2410.04133; github.com/PKUDigitalHealth/ECGFounder)",
        prefix="",
        beside=frozenset({"epoch", "step", "optimizer", "scheduler", "val_auroc"}),
        modules={"dense": "classification head"},
        beyond_recipe=(
            "Before the band-pass (Butterworth, order 4, forward and backward; here the order is "
            "3) there is a notch filter at 50 Hz (Q 30), and after it a running median of 0.4 s is "
            "subtracted. The 12-lead network's input is scaled by one mean and one standard "
            "deviation of all leads together, so that leads keep their relative amplitudes; here "
            "every lead is scaled by its own."
        ),
    ),
}

_BLOCK = {
    "bn1": "reduce_norm",
    "conv1.conv": "reduce",
    "bn2": "mix_norm",
    "conv2.conv": "mix",
    "bn3": "expand_norm",
    "conv3.conv": "expand",
    "se_fc1": "squeeze",
    "se_fc2": "excite",
}
"""Published names inside a block, and ours."""

_NEVER_APPLIED = "stage_list.0.block_list.0.bn1"
"""The published first block creates this layer and does not apply it."""

_STEM = "first_conv.conv.weight"
_COUNTER = "num_batches_tracked"
_BATCH_NORM = re.compile(r"first_bn|.*\.bn[123]")
_STATISTICS = ("running_mean", "running_var", _COUNTER)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Weights:
    """The encoder in a published checkpoint."""

    size: str
    in_channels: int
    batch_norm: bool
    """These three are the parameters of the `Net1d` it is."""
    state: dict[str, Tensor]
    """Its state under our names, float32."""
    published_parameters: int
    """Parameters of the published network, without its head."""
    passed_over: dict[str, int]
    """What was recognised and left out, with the number of entries."""

    def encoder(self) -> Encoder:
        """Return the encoder, in evaluation mode."""
        encoder = _empty(self.size, self.in_channels, self.batch_norm)
        encoder.load_state_dict(self.state, strict=True, assign=True)
        return encoder.eval()


@dataclass(frozen=True)
class Imported:
    """What `import_weights` wrote."""

    directory: Path
    """The encoder directory."""
    format: str
    """The format that the file had."""
    digest: str
    """Digest of the model, as evaluations name it."""
    weights: Weights

    def describe(self) -> str:
        """Return what was imported and what was passed over, in one line."""
        weights = self.weights
        ours = sum(t.numel() for key, t in weights.state.items() if not key.endswith(_STATISTICS))
        left = ", ".join(f"{what} ({count})" for what, count in weights.passed_over.items())
        return (
            f"{self.directory}: {self.format}, net1d {weights.size}, leads {weights.in_channels}, "
            f"{'with' if weights.batch_norm else 'without'} batch norm, {ours:,} of "
            f"{weights.published_parameters:,} published parameters, digest {self.digest[:16]}; "
            f"entries passed over: {left or 'none'}"
        )


def import_weights(file: Path, name: str, root: Path, format: str = "auto") -> Imported:
    """Make an encoder directory, ``models/external/<name>``, of a published checkpoint.

    Reading is strict: every entry of the file is used, or known and counted, and nothing of the
    encoder is left at random. The directory is written aside and renamed, so it is complete or
    absent.

    Parameters
    ----------
    file
        A checkpoint as published.
    name
        Name of the directory: letters, digits, dots, dashes and underscores.
    root
        The project.
    format
        One of `FORMATS`, or auto: the names of the weights tell.

    Returns
    -------
    Imported
        What was written.

    Raises
    ------
    BadInputError
        If the file is missing, damaged, not plain data or not such a checkpoint, an entry is
        missing, unknown or of another shape, the name is not one, or the directory exists.
    """
    if not _NAME.fullmatch(name):
        raise BadInputError(f"--name {name!r} must be letters, digits, dots, dashes, underscores")
    if format != "auto" and format not in FORMATS:
        raise BadInputError(f"--format {format!r} is none of auto, {', '.join(FORMATS)}")
    target = root / PLACE / name
    if target.exists():
        raise BadInputError(f"{target} exists; remove it or choose another --name")
    checkpoint = _load(file)
    kind = _format_of(file, checkpoint) if format == "auto" else format
    weights = read_weights(file, checkpoint, FORMATS[kind])
    encoder = weights.encoder()
    origin = CardOrigin(
        file=file.name,
        sha256=file_digest(file),
        format=kind,
        title=FORMATS[kind].title,
        published_parameters=weights.published_parameters,
        passed_over=weights.passed_over,
        beyond_recipe=FORMATS[kind].beyond_recipe,
        seen=seen_by_format()[kind].sentence(),
    )
    directory = (PLACE / name).as_posix()
    card = imported_card(directory, encoder, origin, RECIPE)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as aside:
        written = Path(aside) / name
        made_for = {**RECIPE.model_dump(mode="json"), "digest": RECIPE.digest}
        save(encoder, written, made_for, card, imported_as=kind)
        written.rename(target)
    return Imported(Path(directory), kind, model_digest(target), weights)


def read_weights(file: Path, checkpoint: Mapping[str, Any], format: Format) -> Weights:
    """Read the encoder out of a checkpoint, strictly and by name.

    The size is read off the shapes. The published code creates every batch-norm layer, whether or
    not it applies them; a layer counts the batches that it was trained on, so the counters tell.

    Parameters
    ----------
    file
        Named in messages.
    checkpoint
        Content of the file.
    format
        How its project publishes.

    Raises
    ------
    BadInputError
        If an entry is missing, unknown, not a tensor of finite numbers or of another shape, or the
        counters contradict each other.
    """
    beside = _beside(file, checkpoint, format)
    state, modules = _split(file, checkpoint["state_dict"], format)
    size, leads = _size(file, state)
    names = _names(size)
    expected = _expected(size, leads, names)
    _check(file, state, expected, size)
    batch_norm = _batch_norm_ran(file, state)
    unused = {_NEVER_APPLIED, *(() if batch_norm else filter(_BATCH_NORM.fullmatch, names))}
    ours: dict[str, Tensor] = {}
    dropped: Counter[str] = Counter()
    for key, value in state.items():
        module, _, entry = key.rpartition(".")
        if module in unused:
            dropped["batch norm that is never applied"] += 1
        elif entry == _COUNTER:
            dropped["batch norm's count of batches"] += 1
        elif not value.isfinite().all():
            raise BadInputError(f"{file}: {key} holds values that are not finite")
        else:
            ours[f"{names[module]}.{entry}"] = _own(value)
    return Weights(
        size=size,
        in_channels=leads,
        batch_norm=batch_norm,
        state=ours,
        published_parameters=sum(
            shape.numel() for key, shape in expected.items() if not key.endswith(_STATISTICS)
        ),
        passed_over={**dropped, **modules, **beside},
    )


class _Inert:
    """Stands in for the NumPy scalars in a checkpoint (a score beside the weights): never read."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


_SAFE: list[Any] = [
    (_Inert, f"numpy.{name}")
    for name in ("dtype", "core.multiarray.scalar", "_core.multiarray.scalar")
]


def _load(file: Path) -> Mapping[str, Any]:
    """Return a checkpoint's content: tensors, numbers, text and containers, nothing else."""
    if not file.is_file():
        raise BadInputError(f"{file} does not exist")
    try:
        with torch.serialization.safe_globals(_SAFE), warnings.catch_warnings(action="ignore"):
            checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        # Damage shows as almost any exception.
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError) and unsafe:
            raise BadInputError(
                f"{file} is refused: it is a pickle that would run {unsafe[1]}, and only tensors, "
                "numbers and text are read; if you trust it, save its state_dict alone"
            ) from error
        what = type(error).__name__
        raise BadInputError(f"{file} is damaged or no PyTorch checkpoint ({what})") from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("state_dict"), dict):
        raise BadInputError(f"{file} has no 'state_dict' of weights")
    return checkpoint


def _format_of(file: Path, checkpoint: Mapping[str, Any]) -> str:
    for name, format in FORMATS.items():
        if f"{format.prefix}{_STEM}" in checkpoint["state_dict"]:
            return name
    wanted = " or ".join(f"{format.prefix}{_STEM}" for format in FORMATS.values())
    raise BadInputError(f"{file} is of no known format: its state_dict has no {wanted}")


def _beside(file: Path, checkpoint: Mapping[str, Any], format: Format) -> dict[str, int]:
    """Count the entries beside the weights."""
    beside = [str(key) for key in checkpoint if key != "state_dict"]
    for key in beside:
        if key not in format.beside:
            raise BadInputError(f"{file} holds {key!r} beside state_dict, which is not known")
    return dict.fromkeys(beside, 1)


def _split(
    file: Path, state: Mapping[str, Any], format: Format
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Return the encoder's entries without their prefix, and a count of the known others."""
    mine: dict[str, Tensor] = {}
    others: Counter[str] = Counter()
    for key, value in state.items():
        module = str(key).partition(".")[0]
        if module in format.modules:
            others[f"{module}, {format.modules[module]}"] += 1
        elif not str(key).startswith(format.prefix):
            raise BadInputError(f"{file}: state_dict has {key!r}, which is not known")
        elif not _is_numbers(value):
            raise BadInputError(f"{file}: {key} is not a tensor of numbers")
        else:
            mine[str(key).removeprefix(format.prefix)] = value
    return mine, dict(others)


def _is_numbers(value: Any) -> bool:
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and (value.is_floating_point() or value.dtype is torch.int64)
    )


def _size(file: Path, state: Mapping[str, Tensor]) -> tuple[str, int]:
    """Return size and input leads, as the stem's shape tells them."""
    if _STEM not in state:
        raise BadInputError(f"{file}: state_dict lacks {_STEM}")
    shape = tuple(state[_STEM].shape)
    for size in PUBLISHED_COUNTS:
        for leads in (1, len(LEADS)):
            if shape == (SIZES[size].base, leads, SIZES[size].kernel):
                return size, leads
    raise BadInputError(f"{file}: {_STEM} has shape {shape}, which no published Net1D has")


def _empty(size: str, in_channels: int, batch_norm: bool) -> Encoder:
    """Return the network without memory for its weights."""
    with torch.device("meta"):
        return create("net1d", size=size, in_channels=in_channels, batch_norm=batch_norm)


def _names(size: str) -> dict[str, str]:
    """Map the published names of modules to ours."""
    names = {"first_conv.conv": "stem", "first_bn": "stem_norm"}
    places = [(i, j) for i, count in enumerate(SIZES[size].blocks) for j in range(count)]
    for number, (stage, index) in enumerate(places):
        block = f"stage_list.{stage}.block_list.{index}"
        names |= {f"{block}.{theirs}": f"blocks.{number}.{ours}" for theirs, ours in _BLOCK.items()}
    return names


def _expected(size: str, leads: int, names: Mapping[str, str]) -> dict[str, torch.Size]:
    """Return the shape of every entry of the published network, its head aside."""
    published = {ours: theirs for theirs, ours in names.items()}
    shapes = {}
    for key, value in _empty(size, leads, batch_norm=True).state_dict().items():
        module, _, entry = key.rpartition(".")
        shapes[f"{published[module]}.{entry}"] = value.shape
    for entry in ("weight", "bias", "running_mean", "running_var"):
        # The stem's batch norm is as wide as the one that is missing from ours.
        shapes[f"{_NEVER_APPLIED}.{entry}"] = shapes[f"first_bn.{entry}"]
    counted = [module for module in names if _BATCH_NORM.fullmatch(module)]
    return {**shapes, **{f"{module}.{_COUNTER}": torch.Size() for module in counted}}


def _check(
    file: Path, state: Mapping[str, Tensor], expected: Mapping[str, torch.Size], size: str
) -> None:
    for key in expected:
        if key not in state:
            raise BadInputError(f"{file}: state_dict lacks {key} of the {size} Net1D")
    for key, value in state.items():
        if key not in expected:
            raise BadInputError(f"{file}: state_dict has {key!r}, which is not known")
        if value.shape != expected[key]:
            raise BadInputError(
                f"{file}: {key} has shape {tuple(value.shape)}, "
                f"the {size} Net1D has {tuple(expected[key])}"
            )


def _batch_norm_ran(file: Path, state: Mapping[str, Tensor]) -> bool:
    """Return whether training applied the batch-norm layers."""
    ran = {
        key: bool(value > 0)
        for key, value in state.items()
        if key.endswith(_COUNTER) and not key.startswith(_NEVER_APPLIED)
    }
    for key, value in ran.items():
        if value != ran[f"first_bn.{_COUNTER}"]:
            raise BadInputError(
                f"{file}: {key} and first_bn.{_COUNTER} disagree on whether batch norm was applied"
            )
    return ran[f"first_bn.{_COUNTER}"]


def _own(value: Tensor) -> Tensor:
    """Return a float32 copy that shares no memory."""
    return value.detach().to(torch.float32, copy=True, memory_format=torch.contiguous_format)
