"""One training of a search: pretrained with some settings, judged on validation data alone."""

import math
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ecgscale.runs.cell import Cell, subset_place
from ecgscale.study.file import Study
from ecgscale.study.resolve import pretraining, untuned
from ecgscale.training.settings import Pretraining

if TYPE_CHECKING:
    from ecgscale.data.store import Store
    from ecgscale.encoders.base import Encoder
    from ecgscale.tasks.targets import TaskTable
    from ecgscale.training.data import TrainingData
    from ecgscale.training.loop import Curves

METRIC = "validation_macro_auroc"

Suggestion = dict[str, str | int | float | bool]
"""``params.<name>`` or ``training.<name>`` to the value tried."""


class TrainingFailedError(Exception):
    """A training that ended without a number to judge it by; the message says why."""


class Trainings:
    """What the trainings of one objective on one subset share, and how one of them goes.

    Parameters
    ----------
    study
        Its `tune` section says for how many steps, and which task decides.
    objective
        A name of the study's `objectives`.
    root
        The project.
    size
        Patients of the subset.
    """

    def __init__(self, study: Study, objective: str, root: Path, size: int) -> None:
        self.study = study
        self.objective = objective
        self.root = root
        self.size = size

    @property
    def subset(self) -> Path:
        """Where the subset lies, in the project."""
        return subset_place(self.size, self.study.search.order)

    @cached_property
    def subset_digest(self) -> str:
        """Digest of the subset's records."""
        from ecgscale.data.subsets import read_subset

        return read_subset(self.root / self.subset)[1].digest

    @cached_property
    def table(self) -> "TaskTable":
        """Targets of the task that decides."""
        from ecgscale.tasks.targets import read_targets

        return read_targets(self.root / "data" / "tasks", self.study.search.task)

    @cached_property
    def store(self) -> "Store":
        """Recordings of the task that decides."""
        from ecgscale.data.store import open_store

        return open_store(self.root / "data" / "store" / self.table.source)

    @cached_property
    def data(self) -> "TrainingData":
        """Recordings of the subset, on the study's device."""
        import torch

        from ecgscale.device import study_device
        from ecgscale.training.trainer import subset_data

        torch.set_num_threads(self.study.study.threads)
        device = study_device(self.study.study.device)
        return subset_data(self.root / self.subset, self.root, self.study.recipe, device)

    def plan(self, suggestion: Suggestion, seed: int) -> Pretraining:
        """Return the cell with the suggested values, trained for the search's steps.

        What an earlier search found is not part of it.
        """
        settings = self.study.search
        parts = split(suggestion)
        study = untuned(self.study, self.objective)
        config = study.objectives[self.objective]
        steps = {"regime": "fixed_steps", "steps": settings.steps}
        changed = config.model_copy(
            update={
                "params": {**config.params, **parts["params"]},
                "training": {**config.training, **parts["training"], **steps},
            }
        )
        return pretraining(
            study.model_copy(update={"objectives": {**study.objectives, self.objective: changed}}),
            Cell(self.objective, settings.encoder, self.size, settings.order, seed),
        )

    def train(
        self,
        suggestion: Suggestion,
        seed: int,
        judged: Callable[[int, float], None],
        report: "Callable[[Curves], None]",
        title: str,
    ) -> None:
        """Pretrain with some settings.

        Parameters
        ----------
        judged
            Called at every rung with the step and the probe's macro AUROC on the validation split;
            what it raises ends the training.
        report
            Given points of curves.
        title
            Of the progress bar.

        Raises
        ------
        TrainingFailedError
            If the AUROC is not a number.
        """
        from ecgscale.training.loop import Monitor
        from ecgscale.training.stage import initial_encoder
        from ecgscale.training.trainer import train_cell

        settings = self.study.search
        plan = self.plan(suggestion, seed)

        def observe(step: int, encoder: "Encoder") -> dict[str, float]:
            value = self.validation_auroc(encoder)
            if math.isnan(value):
                raise TrainingFailedError(f"the validation AUROC is not a number at step {step}")
            judged(step, value)
            return {METRIC: value}

        train_cell(
            plan,
            initial_encoder(plan.encoder, plan.cell.seed),
            self.data,
            monitors=[Monitor(max(settings.steps // settings.rungs, 1), observe)],
            report=report,
            title=title,
        )

    def validation_auroc(self, encoder: "Encoder") -> float:
        """Return the probe's macro AUROC on the validation split, at the best penalty."""
        from ecgscale.evaluation.embed import embed_store
        from ecgscale.evaluation.metrics.macro_auroc import selection_auroc
        from ecgscale.evaluation.probe import fit_linear_probes
        from ecgscale.evaluation.readouts.linear import Linear

        config, table = self.study.evaluation, self.table
        rows = table.frame["row"].to_numpy(np.int64)
        halves = {
            name: (
                embed_store(
                    encoder,
                    self.store,
                    rows[table.where(name)],
                    self.study.recipe,
                    config.lead,
                    config.batch_size,
                    self.data.device,
                ),
                table.y[table.where(name)],
            )
            for name in ("train", "validation")
        }
        encoder.train()
        linear = Linear.Settings(**config.readouts.get("linear", {}))
        probes = fit_linear_probes(
            *halves["train"], linear.penalties, max_iterations=linear.max_iterations
        )
        minimum = config.minimum_positives or table.minimum_positives
        x, y = halves["validation"]
        found = [selection_auroc(y, probe.scores(x), minimum) for probe in probes]
        return max((value for value in found if not math.isnan(value)), default=math.nan)


def split(suggestion: Suggestion) -> dict[str, dict[str, Any]]:
    """Sort ``params.<name>`` and ``training.<name>`` into two dictionaries."""
    parts: dict[str, dict[str, Any]] = {"params": {}, "training": {}}
    for key, value in suggestion.items():
        section, _, name = key.partition(".")
        parts[section][name] = value
    return parts
