"""One optimizer step: views, loss, gradients, update."""

from dataclasses import replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from ecgscale.data.augment import Augmenter
from ecgscale.distributed import average_gradients, world_size
from ecgscale.encoders.base import Encoder
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import Batch, Objective
from ecgscale.training.settings import TrainingConfig

LOSS, GRADIENT = "train/loss", "train/grad_norm"
"""What every step gives; an objective's parts stand beside them as ``train/<part>``."""

WARM_UP = 3
"""Steps taken before one is captured: cuDNN tries its algorithms, the allocator finds its sizes."""


class Step:
    """The optimizer step of an objective, launched operation by operation.

    Nothing in it waits for the device.

    Parameters
    ----------
    encoder, objective
        Trained in place.
    config
        Optimizer, clipping and precision.
    augment
        Makes the views; whoever calls the step has seeded its generator.
    device
        Where the networks are.

    Attributes
    ----------
    optimizer
        AdamW, fused.
    """

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective,
        config: TrainingConfig,
        augment: Augmenter,
        device: torch.device,
    ) -> None:
        self.encoder = encoder
        self.objective = objective
        self.augment = augment
        self.clip_norm = config.clip_norm
        self.parameters = trainable(encoder, objective)
        self.optimizer = self._optimizer(config, device)
        self.autocast = torch.autocast(
            device.type, torch.bfloat16, enabled=uses_bf16(config, device)
        )
        self._loss = (
            torch.compile(objective.loss, dynamic=False) if config.compile else objective.loss
        )

    def __call__(self, batch: Batch, lr: float) -> dict[str, Tensor]:
        """Take a step on this process's share of the batch, with the learning rate `lr`.

        Returns scalars without gradient: the loss, the gradient norm before clipping, the parts.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return self._take(batch)

    def _optimizer(self, config: TrainingConfig, device: torch.device) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.parameters,
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=device.type in ("cpu", "cuda"),
        )

    def _take(self, batch: Batch) -> dict[str, Tensor]:
        views = self.objective.views(batch, self.augment)
        # The forward pass alone: the backward pass takes each operation's precision from it.
        with self.autocast:
            output = self._loss(self.encoder, views)
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(output.loss)
        # Averaged, then clipped: all processes clip by the norm of the whole batch's gradient.
        average_gradients(self.parameters)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)
        self.optimizer.step()
        parts = {f"train/{name}": value for name, value in output.parts.items()}
        measured = {LOSS: output.loss, GRADIENT: norm, **parts}
        return {name: value.detach() for name, value in measured.items()}


class CapturedStep(Step):
    """The same step as one CUDA graph, from the batch to the updated weights.

    Small networks spend most of a step on launching kernels; a graph launches them all at once.
    The first `WARM_UP` steps are taken as usual, on a side stream; the next one is captured, and it
    and all later ones are replays on copies of their batches. `Objective.after_step` stays outside.
    The generator of the views (and torch's own) belongs to the graph: a replay draws what the seeds
    set before it say, as the eager step does.

    What `Objective.loss` leaves in attributes for `after_step` lies in the graph's memory, where
    every replay renews it; after the capture that objective's `loss` must not be called again.

    cuDNN's autotuning is switched on for the whole process, so two trainings may differ in their
    last bits. **Written without a GPU at hand: it has not been run yet.**

    Parameters and attributes are those of `Step`.
    """

    _batch: Batch
    _measured: dict[str, Tensor]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        torch.backends.cudnn.benchmark = True
        device = self.parameters[0].device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._taken = 0
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, batch: Batch, lr: float) -> dict[str, Tensor]:
        """Take a step: as usual, by a capture and its replay, or by a replay."""
        for group in self.optimizer.param_groups:
            group["lr"].fill_(lr)  # in place: the graph reads the rate from this memory
        if self._taken < WARM_UP:
            self._taken += 1
            return self._warm_up(batch)
        if self._graph is None:
            self._graph = self._capture(batch)
        for name, kept in _tensors(self._batch).items():
            kept.copy_(_tensors(batch)[name], non_blocking=True)
        self._graph.replay()
        # Cloned: the next replay writes into the same memory before these are read.
        return {name: value.clone() for name, value in self._measured.items()}

    def _optimizer(self, config: TrainingConfig, device: torch.device) -> torch.optim.AdamW:
        return torch.optim.AdamW(
            self.parameters,
            lr=torch.tensor(config.lr, device=device),  # a number would be fixed by the capture
            weight_decay=config.weight_decay,
            fused=True,
            capturable=True,
        )

    def _warm_up(self, batch: Batch) -> dict[str, Tensor]:
        # On the capture's own stream: what autograd keeps belongs to the stream it was made on.
        current = torch.cuda.current_stream()
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            measured = self._take(batch)
        current.wait_stream(self._stream)
        return measured

    def _capture(self, batch: Batch) -> torch.cuda.CUDAGraph:
        """Record a step on a copy of a batch; nothing is computed yet."""
        self._batch = replace(batch, **{name: x.clone() for name, x in _tensors(batch).items()})
        self.optimizer.zero_grad(set_to_none=True)  # so that gradients lie in the graph's memory
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self.augment.generator)
        with torch.cuda.graph(graph, stream=self._stream):
            self._measured = self._take(self._batch)
        return graph


def make_step(
    encoder: Encoder,
    objective: Objective,
    config: TrainingConfig,
    augment: Augmenter,
    device: torch.device,
) -> Step:
    """Return the step that the settings ask for; parameters are those of `Step`.

    Raises
    ------
    BadInputError
        If `training.cuda_graph` is set on a CPU, or for several processes.
    """
    if not config.cuda_graph:
        return Step(encoder, objective, config, augment, device)
    if device.type != "cuda":
        raise BadInputError("training.cuda_graph is true, but the device is not a CUDA device")
    if world_size() > 1:
        raise BadInputError("training.cuda_graph is true, but there are several processes")
    return CapturedStep(encoder, objective, config, augment, device)


def trainable(encoder: Encoder, objective: Objective) -> list[nn.Parameter]:
    """Return what the optimizer changes, each parameter once."""
    # By identity: an objective that holds the encoder as a submodule has its parameters too, and an
    # optimizer that is given one twice updates it twice.
    found = {id(p): p for p in chain(encoder.parameters(), objective.parameters())}
    return [p for p in found.values() if p.requires_grad]


def uses_bf16(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether the loss is computed under bf16 autocast."""
    if config.precision == "auto":
        return device.type == "cuda"
    return config.precision == "bf16"


def _tensors(batch: Batch) -> dict[str, Tensor]:
    return {name: value for name, value in vars(batch).items() if value is not None}
