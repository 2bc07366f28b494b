"""Is this machine ready for the study? Each finding says what was looked at and what was seen."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ecgscale.errors import BadInputError
from ecgscale.registry import Registry
from ecgscale.study.file import Study

PACKAGES = ("torch", "mlflow", "dvc", "optuna", "numpy", "pandas", "scipy", "wfdb")


@dataclass(frozen=True)
class Finding:
    """One thing looked at."""

    what: str
    ok: bool
    detail: str


def examine(study: Study, root: Path) -> list[Finding]:
    """Look at the packages, the study, its sources, the device, the disk and the tracking store."""
    return [
        *(_package(name) for name in PACKAGES),
        _check("plug-ins", _plugins),
        _check("study", lambda: _study(study)),
        *_sources(study, root),
        _check("device", lambda: _device(study)),
        _check("disk", lambda: _disk(root)),
        (store := _check("tracking store", lambda: _store(root))),
        *(tracked_runs(root) if store.ok else ()),
    ]


def _check(what: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(what, ok=True, detail=look())
    except BadInputError as error:
        return Finding(what, ok=False, detail=str(error))


def _package(name: str) -> Finding:
    try:
        return Finding(name, ok=True, detail=version(name))
    except PackageNotFoundError:
        return Finding(name, ok=False, detail="not installed")


def _plugins() -> str:
    from ecgscale.data.simulate import layouts
    from ecgscale.data.sources import sources
    from ecgscale.encoders.base import encoders
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.metrics import metrics
    from ecgscale.evaluation.readouts import readouts
    from ecgscale.objectives.base import objectives
    from ecgscale.tasks import tasks

    families: tuple[Registry[Any], ...] = (
        *(sources, layouts, tasks, encoders, objectives),
        *(readouts, metrics, baselines),
    )
    broken = [sentence for family in families for sentence in family.broken()]
    if broken:
        raise BadInputError("; ".join(broken))
    return f"{sum(len(family.names()) for family in families)} found"


def _study(study: Study) -> str:
    from ecgscale.study.cells import study_cells
    from ecgscale.study.resolve import validate

    validate(study)
    return f"{study.study.name}, {len(study_cells(study))} cells"


def _sources(study: Study, root: Path) -> Iterator[Finding]:
    for name, source in study.sources.items():
        if name in study.simulate:
            yield Finding(f"source {name}", ok=True, detail="simulated")
        else:
            found = (root / source.root).is_dir()
            detail = str(source.root) if found else f"{source.root} does not exist"
            yield Finding(f"source {name}", ok=found, detail=detail)


def _device(study: Study) -> str:
    import torch

    if study.study.device == "cuda" and not torch.cuda.is_available():
        raise BadInputError("study.device is cuda, and torch sees no CUDA device")
    if study.study.device != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {os.cpu_count()} cores, {study.study.threads} threads a process"


def _disk(root: Path) -> str:
    return f"{shutil.disk_usage(root).free / 2**30:.0f} GiB free"


def _store(root: Path) -> str:
    from ecgscale.runs.address import redacted, tracking_uri
    from ecgscale.runs.store import check_store

    check_store(root, whole=True)
    return redacted(tracking_uri(root))


def tracked_runs(root: Path) -> Iterator[Finding]:
    """Hold every run in the tracking store against its record."""
    from ecgscale.runs.record import read_results
    from ecgscale.runs.store import PHASES
    from ecgscale.runs.tracking import held

    what = "tracked runs"
    try:
        records = [record for phase in PHASES for record in read_results(root / "results", phase)]
        runs = held(records, root, thorough=True)
    except BadInputError as error:
        yield Finding(what, ok=False, detail=str(error))
        return
    for run in runs:
        if run.problems:
            name = f"run {run.run_id} ({run.record.phase} of {run.cell})"
            yield Finding(name, ok=False, detail=f"{'; '.join(run.problems)}; the record is used")
    lacking = sum(not run.run_id for run in runs)
    there = f"{len(runs) - lacking} of {len(runs)} records have their run in the store"
    if lacking:
        there += ", the others come with `python -m ecgscale sync`"
    yield Finding(what, ok=True, detail=there)
