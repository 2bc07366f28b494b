"""Readouts that are trained by gradient descent: loss, epochs, early stopping."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ecgscale.evaluation.metrics.functions import Floats
from ecgscale.evaluation.readouts.base import Predictions, Problem, ReadoutSettings, blank_scores
from ecgscale.training.schedule import derived_seed, learning_rate
from ecgscale.training.settings import TrainingConfig

Positions = npt.NDArray[np.intp]


class NetworkSettings(ReadoutSettings):
    """How a readout is trained by gradient descent (AdamW, warm-up, half a cosine).

    CLEF's public code fine-tunes with Adam, rate 1e-3, batches of 64, at most 100 epochs and a
    patience of 5 (github.com/Nokia-Bell-Labs/ecg-foundation-model). Rate, batch and patience are
    those; fewer epochs, which the cosine ends at.
    """

    epochs: int = Field(default=50, ge=1)
    """Passes over the training examples at most."""
    patience: int = Field(default=5, ge=1)
    """Epochs without a better validation metric after which training ends."""
    batch_size: int = Field(default=64, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Of weights; biases, scales and single vectors have none."""
    warmup_fraction: float = Field(default=0.1, ge=0, lt=1)
    clip_norm: float = Field(default=1.0, gt=0)
    pos_weight: bool = False
    """Multi-label and binary: weigh a label's positives by its negatives per positive."""


@dataclass(frozen=True)
class Layer:
    """Parameters that share a learning rate, and its factor."""

    parameters: list[nn.Parameter]
    scale: float = 1.0


def seed_readout(problem: Problem, *parts: str | int) -> int:
    """Seed torch for a use of randomness in a readout of a task, and return the seed."""
    seed = derived_seed("readout", problem.seed, problem.table.task, *parts)
    torch.manual_seed(seed)
    return seed


def train_network(
    problem: Problem,
    network: nn.Module,
    layers: Iterable[Layer],
    inputs: Callable[[Positions], Tensor],
) -> Predictions:
    """Train a network on the training examples and score the others with its best epoch.

    The loss is, per kind: multi-label and binary, the mean over labels of the binary cross entropy;
    multi-class, the softmax cross entropy; regression, the smooth L1 loss of the target in training
    standard deviations (Huber's with threshold 1 SD), which is close to the MAE that is reported.
    AdamW in float32 with linear warm-up and half a cosine over all `settings.epochs`; the gradient
    norm is clipped. After each epoch the main metric is read on validation; training ends after
    `settings.patience` epochs without a better one, and the best epoch's state (batch-norm
    statistics too) is restored. An epoch deals all training examples into batches of almost equal
    size. Every draw follows from the seed of the settings, the task and the epoch.

    Parameters
    ----------
    problem
        The task; its settings are `NetworkSettings`.
    network
        Maps inputs to (batch, label).
    inputs
        Maps positions in the task's table to the network's inputs, on the device.

    Returns
    -------
    Predictions
        Scores; ``epochs``, a row per epoch, and ``best_epoch`` among the details.

    Raises
    ------
    TrainingDivergedError
        If the loss is not finite.
    """
    from ecgscale.training.loop import TrainingDivergedError

    settings: NetworkSettings = problem.settings
    metric = problem.metric
    outputs = _Outputs(problem, network, inputs)
    optimizer = _optimizer(layers, settings, problem.device)
    examples = np.flatnonzero(problem.train)
    batches = math.ceil(len(examples) / settings.batch_size)
    validation = np.flatnonzero(problem.validation)
    epochs: list[dict[str, float]] = []
    best, best_epoch, state = -math.inf, 0, _copy(network)
    for epoch in range(1, settings.epochs + 1):
        order = np.random.default_rng(seed_readout(problem, "epoch", epoch)).permutation(examples)
        network.train()
        losses = []
        for number, batch in enumerate(np.array_split(order, batches)):
            step = (epoch - 1) * batches + number
            _set_rate(optimizer, step, settings.epochs * batches, settings)
            losses.append(_step(optimizer, outputs.loss(batch), network, settings.clip_norm))
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise TrainingDivergedError(
                f"task {problem.table.task}: the readout's loss is {loss} in epoch {epoch}: lower "
                "its lr"
            )
        scores = outputs.scores(validation)
        reached = problem.on_validation(scores)
        epochs.append({"epoch": epoch, "loss": loss, f"validation_{metric.name}": reached})
        quality = metric.quality(reached)
        # The first epoch counts even where no validation label can be measured.
        if epoch == 1 or quality > best:
            best, best_epoch, state = np.nan_to_num(quality, nan=-np.inf), epoch, _copy(network)
        elif epoch - best_epoch >= settings.patience:
            break
    network.load_state_dict(state)
    wanted = np.flatnonzero(~problem.table.where("train"))
    final = blank_scores(problem)
    final[wanted] = outputs.scores(wanted)
    return Predictions(final, {"epochs": epochs, "best_epoch": best_epoch})


class _Outputs:
    """A network's outputs as a loss and as scores."""

    def __init__(
        self, problem: Problem, network: nn.Module, inputs: Callable[[Positions], Tensor]
    ) -> None:
        self.kind = problem.kind
        self.network = network
        self.inputs = inputs
        self.batch_size = problem.batch_size
        train = problem.y[problem.train].astype(np.float64)
        regression = self.kind == "regression"
        spread = train.std(axis=0)
        self.centre = train.mean(axis=0) if regression else np.zeros(train.shape[1])
        self.scale = np.where(regression & (spread > 0), spread, 1.0)
        standard = ((problem.y - self.centre) / self.scale).astype(np.float32)
        self.target = torch.from_numpy(standard).to(problem.device)
        self.pos_weight = (
            _pos_weight(train, problem.device)
            if problem.settings.pos_weight and self.kind in ("multi-label", "binary")
            else None
        )

    def loss(self, positions: Positions) -> Tensor:
        """Return the mean loss of a batch."""
        output = self.network(self.inputs(positions))
        target = self.target[torch.from_numpy(positions).to(self.target.device)]
        if self.kind == "regression":
            return F.smooth_l1_loss(output, target)
        if self.kind == "multi-class":
            return F.cross_entropy(output, target)
        return F.binary_cross_entropy_with_logits(output, target, pos_weight=self.pos_weight)

    def scores(self, positions: Positions) -> Floats:
        """Return shape (position, label), as `Predictions.scores`."""
        self.network.eval()
        parts = []
        with torch.no_grad():
            for start in range(0, len(positions), self.batch_size):
                output = self.network(self.inputs(positions[start : start + self.batch_size]))
                output = output.double()
                if self.kind == "multi-class":
                    output = F.log_softmax(output, dim=1)
                parts.append(output.cpu().numpy())
        return np.asarray(np.concatenate(parts) * self.scale + self.centre)


def _pos_weight(y: Floats, device: torch.device | str) -> Tensor:
    """Return shape (label,): negatives per positive in training, 1 for a label of one class."""
    positives = y.sum(axis=0)
    both = (positives > 0) & (positives < len(y))
    weight = np.where(both, (len(y) - positives) / np.maximum(positives, 1), 1.0)
    return torch.from_numpy(weight.astype(np.float32)).to(device)


def _optimizer(
    layers: Iterable[Layer], settings: NetworkSettings, device: torch.device | str
) -> torch.optim.AdamW:
    groups: list[dict[str, Any]] = []
    for layer in layers:
        for decays in (True, False):
            chosen = [p for p in layer.parameters if (p.ndim > 1) == decays]
            decay = settings.weight_decay if decays else 0.0
            groups.append({"params": chosen, "scale": layer.scale, "weight_decay": decay})
    fused = torch.device(device).type in ("cpu", "cuda")
    return torch.optim.AdamW([group for group in groups if group["params"]], fused=fused)


def _set_rate(
    optimizer: torch.optim.Optimizer, step: int, steps: int, settings: NetworkSettings
) -> None:
    schedule = TrainingConfig(
        lr=settings.lr, warmup_fraction=settings.warmup_fraction, min_lr_fraction=0.0
    )
    rate = learning_rate(step, steps, schedule)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


def _step(
    optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module, clip_norm: float
) -> Tensor:
    """Take one step and return the loss before it."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    torch.nn.utils.clip_grad_norm_(network.parameters(), clip_norm)
    optimizer.step()
    return loss.detach()


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
