"""What won at the smallest size, trained at the other sizes too, with seeds of its own."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ecgscale.files import is_full
from ecgscale.pipeline.tuning.search import Search
from ecgscale.pipeline.tuning.training import METRIC, Suggestion, Trainings
from ecgscale.runs.cell import subset_name
from ecgscale.runs.record import RunRecord, result_path

log = logging.getLogger(__name__)

DEFAULT = "default"
"""Name of the study's own settings, without what a search found."""


class Setting(NamedTuple):
    """Settings that are trained at several sizes."""

    name: str
    """``trial-<number>``, or `DEFAULT`."""
    suggestion: Suggestion


def best_settings(search: Search) -> list[Setting]:
    """Return the best different settings of a search, the winner first, then the study's own."""
    finished = sorted(search.by_end()["complete"], key=lambda t: (-float(t.value or 0.0), t.number))
    kept: list[Setting] = []
    for trial in finished:
        suggestion = {key: trial.params[key] for key in search.search_space}
        if suggestion not in [setting.suggestion for setting in kept]:
            kept.append(Setting(f"trial-{trial.number:03d}", suggestion))
    return [*kept[: search.settings.transfer], Setting(DEFAULT, {})]


def train_best(search: Search) -> None:
    """Train the best settings at every size, the smallest too, with seeds of their own.

    A number by which a setting was chosen would flatter it; so none of the search's is used again.
    Writes ``results/tune/<objective>/transfer/<setting>/n<size>-o<order>-s<seed>.json``; what is
    there of this search is not repeated. A training that fails has no number (NaN).
    """
    for size in sorted(search.settings.sizes):
        trainings = Trainings(search.study, search.objective, search.root, size)
        for setting, seed in _wanted(search):
            cell = (
                f"{search.objective}/transfer/{setting.name}/"
                f"{subset_name(size, search.settings.order)}-s{seed}"
            )
            if not _is_there(result_path(search.root / "results", "tune", cell), search, setting):
                _train(search, trainings, setting, cell, seed)


def _wanted(search: Search) -> Iterator[tuple[Setting, int]]:
    settings = search.settings
    for setting in best_settings(search):
        for number in range(1, settings.transfer_seeds + 1):
            yield setting, settings.seed + number


def _is_there(path: Path, search: Search, setting: Setting) -> bool:
    if not path.is_file():
        return False
    record = RunRecord.read(path)
    same = {name: record.params.get(name) for name in setting.suggestion} == setting.suggestion
    return record.tags["search"] == search.name and same


def _train(search: Search, trainings: Trainings, setting: Setting, cell: str, seed: int) -> None:
    values: list[tuple[int, float]] = []

    def judged(step: int, value: float) -> None:
        values.append((step, value))

    opened = search.open_run(trainings, cell, setting.suggestion, role="transfer", seed=seed)
    with opened as run:
        failure = ""
        try:
            title = f"{search.objective} {setting.name} at {trainings.size}"
            trainings.train(setting.suggestion, seed, judged, run.log_points, title)
        except Exception as error:
            if is_full(error):
                raise
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            log.warning("%s failed: %s", cell, failure)
        run.finish(
            metrics={METRIC: math.nan if failure else values[-1][1]},
            curves={METRIC: values},
            details={"setting": setting.name, "failure": failure},
        )
