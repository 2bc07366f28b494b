"""The training loop: one objective, one encoder, one set of records."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ecgscale import distributed
from ecgscale.data.augment_settings import AugmentConfig
from ecgscale.data.recipe import Recipe
from ecgscale.encoders.base import Encoder
from ecgscale.errors import BadInputError
from ecgscale.objectives.base import REFRESH_RECORDS, Batch, Objective
from ecgscale.progress import Bars
from ecgscale.training.checkpoint import CheckpointDirectory
from ecgscale.training.data import BatchSampler, TrainingData
from ecgscale.training.flops import step_flops
from ecgscale.training.schedule import derived_seed, learning_rate, total_steps
from ecgscale.training.settings import TrainingConfig
from ecgscale.training.step import GRADIENT, LOSS, make_step

Curves = dict[str, list[tuple[int, float]]]
"""Name to (optimizer steps done, value)."""

RATE = "train/lr"
"""The learning rate's curve; it stands beside those of the step."""

REPORT_SECONDS = 5.0
"""Least time between two reports of new points."""

FINAL_FRACTION = 0.1
"""Share of the training, at its end, whose mean loss is the training's `loss`."""


class TrainingDivergedError(RuntimeError):
    """The loss or the gradient is no longer a finite number."""


@dataclass(frozen=True)
class Monitor:
    """What is observed of the encoder while it trains."""

    every: int
    """Steps between two observations; there is always one after the last step."""
    observe: Callable[[int, Encoder], dict[str, float]]
    """Called with the steps done and the encoder; what it returns becomes points of the curves of
    these names. What it raises ends the training (a pruned trial)."""
    at_start: bool = False
    """Whether to observe the initialised encoder too, as step 0."""

    def due(self, step: int, steps: int) -> bool:
        """Return whether to observe after `step` of `steps` steps."""
        if step == 0:
            return self.at_start
        return step == steps or step % self.every == 0


@dataclass(frozen=True)
class TrainingOutcome:
    """What a finished training leaves besides the weights."""

    steps: int
    """Optimizer steps."""
    samples_seen: int
    """Records in all batches, repeats counted."""
    epochs: float
    """Mean number of times a record was seen."""
    loss: float
    """Mean training loss over the last tenth of the steps (whole logging intervals)."""
    flops: float
    """`step_flops` times steps."""
    seconds: float
    """Wall time of the steps, observations and checkpoints, over all interruptions."""
    pairs_per_second: float
    """Records trained on per second of that time; each gives a pair of views to a contrastive
    objective."""
    resumed_at: int
    """Steps that a checkpoint supplied; 0 for an uninterrupted run."""
    curves: Curves
    """``train/loss``, ``train/grad_norm`` and ``train/<part>`` for the objective's parts (means
    since the last point), ``train/lr``, and what was measured."""


def train(
    encoder: Encoder,
    objective: Objective,
    data: TrainingData,
    config: TrainingConfig,
    augment: AugmentConfig,
    recipe: Recipe,
    *,
    seed: int,
    checkpoints: CheckpointDirectory | None = None,
    monitors: Sequence[Monitor] = (),
    report: Callable[[Curves], None] | None = None,
    title: str = "training",
) -> TrainingOutcome:
    """Train an encoder in place, from the newest checkpoint if there is one.

    Every random draw is a function of the seed and the step, so a run that was killed and
    continued ends with the same bits as one that was not (same machine, threads, processes and
    versions).

    Where ``torchrun`` started several processes (`ecgscale.distributed.process_group`), all call
    this with the same arguments. Each takes its share of every batch, with draws of its own (the
    first process those of a single one), and all restore the checkpoint; only the first measures,
    reports and saves.

    Parameters
    ----------
    encoder, objective
        Moved to the data's device and trained.
    data
        The records; batches are made on its device.
    config
        Steps, optimizer, schedule, precision.
    augment, recipe
        How views are made.
    seed
        Seeds batches and augmentation (the weights are the caller's).
    checkpoints
        Where to save and look for checkpoints; None keeps none.
    monitors
        Asked between steps.
    report
        Given new points of the curves every few seconds, and at the end; after a resumption first
        all points so far.
    title
        Shown beside the progress bar.

    Raises
    ------
    BadInputError
        If there are fewer records than a batch needs, the processes cannot share a batch equally,
        or they found different checkpoints.
    TrainingDivergedError
        If the loss or the gradient norm is not finite.

    Examples
    --------
    >>> from ecgscale import encoders, objectives
    >>> recipe = Recipe(seconds=2.0, minimum_seconds=1.0)
    >>> signal = torch.randint(-900, 900, (16, 12, recipe.n_samples), dtype=torch.int16)
    >>> unknown = torch.full((16,), torch.nan)  # the risk of each record, which SimCLR ignores
    >>> data = TrainingData(signal, unknown, torch.zeros(16), None, torch.device("cpu"))
    >>> encoder = encoders.create("net1d", size="tiny", in_channels=1)
    >>> objective = objectives.create("simclr", encoder)
    >>> config = TrainingConfig(steps=2, batch_size=8)
    >>> outcome = train(
    ...     encoder, objective, data, config, AugmentConfig(crop_seconds=1.0), recipe, seed=0
    ... )
    >>> outcome.steps, outcome.epochs
    (2, 1.0)
    """
    training = Training(encoder, objective, data, config, augment, recipe, seed)
    resumed_at = training.restore(checkpoints) if checkpoints else 0
    training.agree()
    flops = training.count_flops()
    if distributed.rank() > 0:
        checkpoints, monitors, report = None, (), None
    training.go(checkpoints, monitors, report or (lambda points: None), title)
    seen = training.steps * config.batch_size
    return TrainingOutcome(
        steps=training.steps,
        samples_seen=seen,
        epochs=seen / len(data),
        loss=_final_loss(training.curves[LOSS], training.steps),
        flops=float(flops) * training.steps,
        seconds=training.seconds,
        pairs_per_second=seen / training.seconds,
        resumed_at=resumed_at,
        curves=training.curves,
    )


class Training:
    """A training under way: networks, optimizer, position, curves."""

    def __init__(
        self,
        encoder: Encoder,
        objective: Objective,
        data: TrainingData,
        config: TrainingConfig,
        augment: AugmentConfig,
        recipe: Recipe,
        seed: int,
    ) -> None:
        from ecgscale.data.augment import Augmenter

        device = data.device
        self.encoder = encoder.to(device).train()
        self.objective = objective.to(device).train()
        self.data = data
        self.config = config
        self.seed = seed
        self.steps = total_steps(config, len(data))
        self.sampler = BatchSampler(len(data), config.batch_size, derived_seed("batches", seed))
        self.generator = torch.Generator(device)
        channels = encoder.params.in_channels
        self.augment = Augmenter(augment, recipe.fs, channels, recipe, self.generator)
        self.take_step = make_step(encoder, objective, config, self.augment, device)
        self.share = _share(config.batch_size)
        self.refreshes = objective.refresh_steps(self.steps)
        self.step = 0
        self.seconds = 0.0
        self.curves: Curves = {}
        self.pending: dict[str, list[Tensor]] = {}

    def restore(self, checkpoints: CheckpointDirectory) -> int:
        """Continue from the newest checkpoint; return the steps it had done."""
        state = checkpoints.load(self.data.device)
        if state is None:
            return 0
        self.encoder.load_state_dict(state["encoder"])
        self.objective.load_state_dict(state["objective"])
        self.take_step.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds, self.curves = state["step"], state["seconds"], state["curves"]
        return self.step

    def state(self) -> dict[str, Any]:
        """Return all that `restore` needs; batches and random draws follow from the step."""
        return {
            "encoder": self.encoder.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizer": self.take_step.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "curves": self.curves,
        }

    def agree(self) -> None:
        """Let all processes start from the first one's step and weights."""
        steps = torch.tensor(self.step, device=self.data.device)
        distributed.broadcast([steps])
        if distributed.world_size() > 1 and steps.item() != self.step:
            raise BadInputError(
                f"process {distributed.rank()} found a checkpoint of step {self.step}, the first "
                f"process one of step {steps.item()}: the project must lie on a shared disk"
            )
        # Weights are not exchanged again: from one start, equal updates keep all processes equal.
        for network in (self.encoder, self.objective):
            distributed.broadcast(network.state_dict().values())

    def count_flops(self) -> int:
        """Return the FLOPs of a step of all processes, counted on the first batch."""
        # What this draws leaves no trace: every step is seeded anew, also the first.
        views = self.objective.views(self._batch(0), self.augment)
        return step_flops(self.encoder, self.objective, views) * distributed.world_size()

    def go(
        self,
        checkpoints: CheckpointDirectory | None,
        monitors: Sequence[Monitor],
        report: Callable[[Curves], None],
        title: str,
    ) -> None:
        """Take all steps that are left."""
        outbox = _Outbox(report)
        saved = time.monotonic()
        begun = time.perf_counter() - self.seconds  # as if earlier runs had just been before it
        with Bars(shown=distributed.rank() == 0) as bars:
            bar = bars.bar(title, total=self.steps, done=self.step)
            if self.step == 0:  # a continued training has these points in its checkpoint
                self._observe(monitors)
            while self.step < self.steps:
                self.advance()
                reading_due = self.step == self.steps or self.step % self.config.log_every == 0
                # Losses before monitors: a training that has diverged ends with its own sentence.
                if reading_due:
                    self.read_losses()
                self._observe(monitors)
                # A checkpoint only where losses were just read: those still on the device would be
                # lost with it, and it would keep weights that have diverged unnoticed.
                if reading_due:
                    self.seconds = time.perf_counter() - begun
                    bars.update(bar, completed=self.step, note=self._summary())
                    outbox.post(self.curves)
                    if checkpoints and time.monotonic() - saved >= self.config.checkpoint_seconds:
                        checkpoints.save(self.step, self.state())
                        saved = time.monotonic()
        outbox.flush(self.curves)

    def _batch(self, step: int) -> Batch:
        """Seed everything random in a step and return this process's share of its batch."""
        # The first process draws as a single one does, so that one process or two start alike.
        process = (distributed.rank(),) if distributed.rank() else ()
        self.generator.manual_seed(derived_seed("augment", self.seed, step, *process))
        torch.manual_seed(derived_seed("networks", self.seed, step, *process))
        return self.data.batch(self.sampler.batch(step)[self.share])

    def advance(self) -> None:
        """Take one step, without waiting for the device."""
        if self.step in self.refreshes:
            self._refresh()
        lr = learning_rate(self.step, self.steps, self.config)
        measured = self.take_step(self._batch(self.step), lr)
        self.step += 1
        self.objective.after_step(self.encoder, self.step / self.steps)
        for name, value in measured.items():
            self.pending.setdefault(name, []).append(value)

    def _refresh(self) -> None:
        """Let the objective fit what needs many records, spread evenly over the list."""
        # Not seeded by the step: every refresh is given the same leads of the same records, so that
        # what changes between two of them is the encoder alone.
        self.generator.manual_seed(derived_seed("refresh", self.seed))
        torch.manual_seed(derived_seed("refresh networks", self.seed, self.step))
        signal = self.data.batch(self.data.spread(REFRESH_RECORDS)).signal
        self.objective.refresh(self.encoder, self.augment.plain(signal))

    def read_losses(self) -> None:
        """Turn the losses since the last reading into points: the one wait for the device.

        All processes read the same values, so all notice a divergence.
        """
        names = list(self.pending)
        # In one tensor: a copy per name would wait for the device as many times.
        rows = torch.stack([torch.stack(self.pending[name]).double() for name in names])
        values = dict(zip(names, distributed.average(rows).tolist(), strict=True))
        self._check_finite(values[LOSS], values[GRADIENT])
        # fsum rounds once: the mean does not depend on the order of the steps.
        self._add_points({name: math.fsum(row) / len(row) for name, row in values.items()})
        self._add_points({RATE: learning_rate(self.step - 1, self.steps, self.config)})
        self.pending = {}

    def _check_finite(self, losses: list[float], norms: list[float]) -> None:
        for step, pair in enumerate(zip(losses, norms, strict=True), self.step - len(losses) + 1):
            for what, value in zip(("loss", "gradient norm"), pair, strict=True):
                if not math.isfinite(value):
                    raise TrainingDivergedError(
                        f"the {what} is {value} at step {step} of {self.steps}: lower training.lr, "
                        "lower training.clip_norm or set training.precision to fp32"
                    )

    def _observe(self, monitors: Sequence[Monitor]) -> None:
        for monitor in monitors:
            if monitor.due(self.step, self.steps):
                self._add_points(monitor.observe(self.step, self.encoder))

    def _add_points(self, values: dict[str, float]) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append((self.step, value))

    def _summary(self) -> str:
        rate = self.step * self.config.batch_size / self.seconds
        return f"loss {self.curves[LOSS][-1][1]:.4f}, {rate:,.0f} pairs/s"


class _Outbox:
    """Hands new points of the curves on, not more often than every few seconds."""

    def __init__(self, report: Callable[[Curves], None]) -> None:
        self._report = report
        self._sent: dict[str, int] = {}
        self._last = time.monotonic()

    def post(self, curves: Curves) -> None:
        if time.monotonic() - self._last >= REPORT_SECONDS:
            self.flush(curves)

    def flush(self, curves: Curves) -> None:
        fresh = {name: points[self._sent.get(name, 0) :] for name, points in curves.items()}
        fresh = {name: points for name, points in fresh.items() if points}
        if fresh:
            self._report(fresh)
        self._sent = {name: len(points) for name, points in curves.items()}
        self._last = time.monotonic()


def _share(batch_size: int) -> slice:
    """Return which part of every batch this process takes."""
    processes = distributed.world_size()
    size, left = divmod(batch_size, processes)
    if left:
        raise BadInputError(
            f"training.batch_size is {batch_size}, which {processes} processes cannot share equally"
        )
    return slice(distributed.rank() * size, (distributed.rank() + 1) * size)


def _final_loss(points: list[tuple[int, float]], steps: int) -> float:
    """Return the mean of the logged losses over the end of the run (always the last one)."""
    late = [value for step, value in points if step > (1 - FINAL_FRACTION) * steps]
    return sum(late) / len(late)
