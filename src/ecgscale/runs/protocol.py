"""The life of a run, whatever its phase: begun or continued, tracked, recorded, done."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from ecgscale import distributed
from ecgscale.files import path_digest
from ecgscale.runs import resume
from ecgscale.runs.lineage import dvc_tags, lineage_tags, state_files
from ecgscale.runs.record import (
    WORK,
    DatasetInput,
    Phase,
    Points,
    RunIdentity,
    RunRecord,
    Scalar,
    result_path,
)
from ecgscale.runs.settings import StudyInfo
from ecgscale.runs.tracking import TrackedRun
from ecgscale.settings import digest_of


@contextmanager
def open_run(
    phase: Phase,
    study: StudyInfo,
    cell: str,
    root: Path,
    *,
    key: str | None = None,
    axes: dict[str, Scalar],
    params: dict[str, Scalar],
    tags: dict[str, str],
    inputs: Sequence[DatasetInput] = (),
    reads: Sequence[str] = (),
) -> Iterator["ActiveRun"]:
    """Begin the run of a cell, or continue the one that was killed.

    What is known before the work is given here and shown in the tracking store at once; what comes
    of the work is given to `ActiveRun.finish`. A block that is left without it, by whatever is
    raised, marks the tracked run as failed and keeps the work directory.

    Of several processes that ``torchrun`` started all call this; the first one leads, and the
    others wait until it holds the work directory.

    Parameters
    ----------
    phase, cell
        Name the record: ``results/<phase>/<cell>.json``.
    study
        Its name, and after how many seconds a run shows in the tracking store.
    root
        The project.
    key
        Digest of all that decides what the run writes: names its work directory, which one process
        at a time holds. None for a run that is not worth continuing; its work is then digested from
        the rest of what is given here.
    axes, params, inputs
        As in `RunRecord`.
    tags
        Beside the study's and those of `lineage_tags` and `dvc_tags`.
    reads
        Files and folders of the project that decide what the run writes: their digests are taken
        now, before the work, and of data those that DVC's lock file holds too.
    """
    folder = resume.work_directory(root, key) if key else None
    with ExitStack() as held:
        run = ActiveRun(root, result_path(root / "results", phase, cell), folder)
        if run.leads:
            if folder:
                held.enter_context(resume.alone(folder))
            given = {"axes": axes, "params": params, "tags": tags, "inputs": list(inputs)}
            identity = RunIdentity(
                phase=phase,
                study=study.name,
                cell=cell,
                work=key or _digest_of(given),
                started=resume.started(folder) if folder else resume.now(),
            )
            known = {
                **given,
                **{"phase": phase, "study": study.name, "cell": cell},
                "tags": {
                    **lineage_tags(root),
                    **dvc_tags(root, *(path for path in reads if _is_data(path))),
                    "study": study.name,
                    WORK: identity.work,
                    **tags,
                },
                "started": identity.started,
                "made_from": digests_of(root, reads),
            }
            tracked = TrackedRun(identity, root, study.live_tracking_after)
            run.begin(held.enter_context(tracked), known)
        # No other process reads what the work directory holds before the first one has it alone.
        distributed.barrier()
        yield run


def digests_of(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the digest of each of some files and folders of a project that exist."""
    return {path: path_digest(root / path) for path in paths if (root / path).exists()}


def _is_data(path: str) -> bool:
    """Whether it is a version of data, which DVC's lock file holds before any cell is run."""
    return path.startswith("data/") and not path.startswith("data/resolved/")


def _digest_of(given: dict[str, Any]) -> str:
    """Return the digest of the work of a run that is not worth continuing."""
    inputs = [item.model_dump(mode="json") for item in given["inputs"]]
    return digest_of({**given, "inputs": inputs})[:32]


class ActiveRun:
    """A run under way; made by `open_run`.

    Attributes
    ----------
    leads
        Whether this process calls `finish`; every other one calls `awaited` in its place.
    """

    def __init__(self, root: Path, result: Path, folder: Path | None) -> None:
        self.leads = distributed.rank() == 0
        self._root = root
        self._result = result
        self._folder = folder
        self._tracked: TrackedRun | None = None
        self._known: dict[str, Any] = {}

    def begin(self, tracked: TrackedRun, known: dict[str, Any]) -> None:
        """Take what is known before the work, and show it in the tracking store."""
        self._tracked, self._known = tracked, known
        tracked.log_params(known["params"])
        tracked.log_tags(known["tags"])

    def kept(self, name: str) -> Path | None:
        """Return a path for what a kill must not lose; None for a run without a work directory."""
        return self._folder / name if self._folder else None

    def log_points(self, points: Points) -> None:
        """Append points of curves in the tracking store; they are also due in `finish`."""
        if self._tracked:
            self._tracked.log_points(points)

    def finish(
        self,
        *,
        metrics: dict[str, float],
        curves: Points | None = None,
        tags: dict[str, str] | None = None,
        details: dict[str, Any] | None = None,
        artifacts: Sequence[str] = (),
        made: Sequence[str] = (),
    ) -> RunRecord:
        """Write the record, bring the tracked run to it, and remove the work directory.

        Parameters are those of `RunRecord`; `tags` join those known from the beginning, and `made`
        names the files whose digests are taken.
        """
        assert self._tracked is not None  # the first process alone finishes
        tags = {**self._known["tags"], **(tags or {})}
        record = RunRecord(
            **{**self._known, "tags": tags},
            metrics=metrics,
            curves=curves or {},
            details=details or {},
            artifacts=[*artifacts, *state_files(tags).values()],
            made=digests_of(self._root, made),
            ended=resume.now(),
        )
        record.write(self._result)
        self._tracked.finish(record)
        if self._folder:
            resume.remove(self._folder)
        distributed.barrier()
        return record

    def awaited(self) -> RunRecord:
        """Wait until the first process has finished, and return the record it wrote."""
        distributed.barrier()
        return RunRecord.read(self._result)
