"""How runs look in MLflow's pages: names of runs and metrics, descriptions.

The pages sort metrics by name, make one section of charts of all that share the part before "/",
and cut names of runs after some twenty characters. So metrics are shown in numbered groups, what
decides first, and a run's name begins with its size. Records have plain names; nothing is found by
a name of here.
"""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from ecgscale.runs.record import Phase, RunRecord

Experiment = Phase | Literal["report"]

NOTE = "mlflow.note.content"
"""Tag that MLflow's pages show as the description of a run or an experiment."""

LOG2_SIZE = "9 size/log2 patients"
_SIZE = "9 size/patients"
_PRETRAINING = {
    "1 quality": ("knn", "effective_rank", "embedding_sd", "loss", "collapsed"),
    "3 cost": ("steps", "epochs", "samples_seen", "flops", "seconds", "pairs_per_second"),
    "9 size": ("patients", "records", "hours", "sources", "unknown_patients"),
}
_SHOWN = {name: f"{group}/{name}" for group, names in _PRETRAINING.items() for name in names}
_LOSSES, _SHOWN_LOSSES = "train/", "2 train/"

_CELL = re.compile(r"(?P<rest>.+)/n(?P<size>\d+)-o(?P<order>\d+)-s(?P<seed>\d+)")

EXPERIMENTS: Mapping[Experiment, str] = {
    "pretrain": (
        "**Pretrainings** of the studies, one run a cell: an objective, an encoder, a subset of "
        "patients (size and order) and a seed; the name of a run begins with the size.\n\n"
        "How to read it: `1 quality` says whether training worked (`knn` and `effective_rank` are "
        "measured on embeddings, `collapsed` is 1 where they are all alike), `2 train` has the "
        "curves of the losses, `3 cost` what it took, `9 size` what the encoder was trained on. "
        "Losses of different objectives are not comparable; the accuracy on downstream tasks is "
        "in `ecgscale-evaluate`.\n\n"
        "Each run shows a record in `results/pretrain/`, which is the truth."
    ),
    "evaluate": (
        "**Evaluations** of the pretrained encoders on downstream tasks, one run a cell, and of "
        "baselines that need no encoder.\n\n"
        "How to read it: `1 primary` is the score of the study's first task with its interval over "
        "test patients, `2 scores` that of every other task and readout, `4 validation` what was "
        "seen in choosing settings. For the curve over sizes draw a scatter chart with "
        f"`{LOG2_SIZE}` as x. Whether a curve rises is a question for the report, which knows "
        "replicates and intervals: experiment `ecgscale-report`.\n\n"
        "Tag `pretrain_run_id` names the pretraining run. Each run shows a record in "
        "`results/evaluate/`, which is the truth."
    ),
    "tune": (
        "**Searches** of hyper-parameters on validation data (Optuna): the trials stand below "
        "their winner.\n\n"
        "How to read it: `validation_macro_auroc` is what is maximised; test patients are never "
        "looked at. A trial that was pruned has fewer steps than the others."
    ),
    "report": (
        "**Reports** of the studies, one run for each that says something else than the one before "
        "(which is tagged `ecgscale.superseded_by`).\n\n"
        "How to read it: the description is the answer; among the artifacts are the page "
        "(`index.html`), its figures and every table. Metrics are the slopes per doubling of the "
        "pretraining patients, with their intervals."
    ),
    "literature": (
        "**Published results** (`literature/*.yaml`), one run a model; nothing of it was measured "
        "here.\n\n"
        "How to read it: names of metrics are test sets and readouts; tags say where a value "
        "stands, and how sure it is."
    ),
}
"""What each experiment is and how to read it."""


def run_name(cell: str) -> str:
    """Return the name under which the run of a cell is shown, what tells it from others first.

    Examples
    --------
    >>> run_name("simclr/net1d-tiny/n1000-o0-s0")
    'n1000 o0 s0 simclr net1d-tiny'
    >>> run_name("baseline/age-sex"), run_name("simclr/trial-003")
    ('age-sex baseline', 'trial-003 simclr')
    """
    match = _CELL.fullmatch(cell)
    if match:
        place = f"n{match['size']} o{match['order']} s{match['seed']}"
        return f"{place} {match['rest'].replace('/', ' ')}"
    return " ".join(reversed(cell.split("/")))


def command_of(phase: Phase, cell: str) -> str:
    """Return the command that does the work of a cell, whichever process does it or shows it."""
    if phase == "literature":
        return "python -m ecgscale literature"
    if cell.startswith("baseline/"):
        return f"python -m ecgscale {cell.replace('/', ' ')}"
    return f"python -m ecgscale {phase} {cell.rpartition('/')[0] if phase == 'tune' else cell}"


def curve_name(name: str) -> str:
    """Return the name under which a curve, or a final value that belongs to one, is shown."""
    if name.startswith(_LOSSES):
        return _SHOWN_LOSSES + name.removeprefix(_LOSSES)
    return _SHOWN.get(name, plain_name(name))


def metric_names(record: RunRecord) -> dict[str, str]:
    """Return the name under which each metric of a record is shown."""
    if record.phase != "evaluate":
        return {name: curve_name(name) for name in record.metrics}
    first = _first_task(record)
    return {name: f"{_group(name, record, first)}/{plain_name(name)}" for name in record.metrics}


def own_name(shown: str) -> str:
    """Return the name that a record has for a metric that is shown: the inverse of both above.

    Examples
    --------
    >>> own_name("1 primary/chapman-38.macro_auroc"), own_name("2 train/loss")
    ('chapman-38.macro_auroc', 'train/loss')
    """
    if shown.startswith(_SHOWN_LOSSES):
        return _LOSSES + shown.removeprefix(_SHOWN_LOSSES)
    return re.sub(r"^\d [a-z ]+/", "", shown).replace(":", "@")


def plain_name(name: str) -> str:
    """Return a metric's name as MLflow accepts it: an endpoint's @ is refused."""
    return name.replace("@", ":")


def sizes(record: RunRecord) -> dict[str, float]:
    """Return the sizes that charts have as their x axis, beside a record's own metrics."""
    size = record.axes.get("size")
    if record.phase == "tune" or not isinstance(size, int):
        return {}
    return {_SIZE: float(size), **({LOG2_SIZE: math.log2(size)} if size > 0 else {})}


def description(record: RunRecord, root: Path) -> str:
    """Return what a run is and how to read it, in Markdown.

    Of a pretraining it ends with the model card, of an evaluation with its scores.
    """
    study = f"of study `{record.study}` by `{command_of(record.phase, record.cell)}`"
    if record.phase == "pretrain":
        return f"Pretraining {study}: `{record.cell}`.\n\n{_card(record, root)}"
    if record.phase == "evaluate":
        return (
            f"Evaluation {study}: `{record.cell}`. Scores with their interval over test patients; "
            f"the first is the study's first task.\n\n{_scores(record)}"
        )
    if record.phase == "tune":
        return f"Search of hyper-parameters {study}: `{record.cell}`, on validation data alone."
    return f"Published results: `{record.cell}`."


def _group(name: str, record: RunRecord, first: str) -> str:
    endpoint, _, metric = name.rpartition(".")
    main = _main_metric(record, endpoint)
    if metric.startswith("validation_"):
        return "4 validation"
    if main and metric in (main, f"{main}_low", f"{main}_high"):
        if endpoint == first:
            return "1 primary"
        return "2 scores" if metric == main else "3 intervals"
    return "5 further metrics"


def _first_task(record: RunRecord) -> str:
    return str(record.params.get("tasks", "")).split(", ")[0]


def _main_metric(record: RunRecord, endpoint: str) -> str:
    return str(record.details.get("tasks", {}).get(endpoint, {}).get("metric", ""))


def _scores(record: RunRecord) -> str:
    first = _first_task(record)
    endpoints = sorted(record.details.get("tasks", {}), key=lambda name: (name != first, name))
    rows = ["| endpoint | metric | score | interval |", "|---|---|---|---|"]
    for endpoint in endpoints:
        main = _main_metric(record, endpoint)
        values = [record.metrics.get(f"{endpoint}.{main}{end}") for end in ("", "_low", "_high")]
        score, low, high = ("" if value is None else f"{value:.4g}" for value in values)
        rows.append(f"| {endpoint} | {main} | {score} | {low} to {high} |")
    return "\n".join(rows)


def _card(record: RunRecord, root: Path) -> str:
    for name in record.artifacts:
        path = root / name
        if path.suffix == ".md" and path.is_file():
            return path.read_text(encoding="utf-8")
    return ""
