"""The files of a run: where they lie among its artifacts, and whether they are what they were."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ecgscale.files import file_digest
from ecgscale.runs.lineage import state_files
from ecgscale.runs.record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


RECORD_FILE = "record.json"
ENCODER_FOLDER, FIGURE_FOLDER, STATE_FOLDER = "encoder", "figures", "state"


def local_folder(run: "Run") -> Path | None:
    """Return where a run's artifacts lie, if that is a folder of this machine."""
    uri = run.info.artifact_uri or ""
    if uri.startswith("file://"):
        return Path(url2pathname(urlsplit(uri).path))
    return Path(uri) if uri.startswith("/") else None


def log_artifacts(client: "MlflowClient", run_id: str, record: RunRecord, root: Path) -> None:
    """Log a record and the files that it names."""
    client.log_text(run_id, record.to_json(), RECORD_FILE)
    for place, path in artifacts_of(record, root).items():
        client.log_artifact(run_id, str(path), place.rpartition("/")[0])


def artifacts_of(record: RunRecord, root: Path) -> dict[str, Path]:
    """Return the files of a run beside its record, by their places among its artifacts."""
    states = set(state_files(record.tags).values())
    return {
        _artifact_place(root / name, name in states): root / name
        for name in record.artifacts
        if (root / name).is_file()
    }


def _artifact_place(path: Path, is_state: bool) -> str:
    """Return where a file lies among a run's artifacts; a picture is shown there by MLflow."""
    is_figure = path.suffix in (".png", ".svg")
    folder = STATE_FOLDER if is_state else FIGURE_FOLDER if is_figure else ENCODER_FOLDER
    return f"{folder}/{path.name}"


def artifact_problems(
    client: "MlflowClient", run: "Run", record: RunRecord, root: Path, thorough: bool
) -> list[str]:
    """Return which artifacts are missing or not what they were, each a clause.

    Parameters
    ----------
    thorough
        Whether to compare more than the sizes of files beside the record.
    """
    found = []
    with _artifact(client, run, RECORD_FILE) as path:
        if path is None:
            found.append(f"artifact {RECORD_FILE} is missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest()[:32] != record.digest:
            found.append(f"artifact {RECORD_FILE} is not the record in results/")
    for place, source in artifacts_of(record, root).items():
        size = _artifact_size(client, run, place)
        is_same = size == source.stat().st_size
        if is_same and thorough:
            with _artifact(client, run, place) as path:
                is_same = path is not None and file_digest(path) == file_digest(source)
        if size is None:
            found.append(f"artifact {place} is missing")
        elif not is_same:
            found.append(f"artifact {place} is not {source.relative_to(root)}")
    return found


@contextmanager
def _artifact(client: "MlflowClient", run: "Run", place: str) -> Iterator[Path | None]:
    """Give an artifact as a file, where it lies if it lies in a folder; None if it is missing."""
    from mlflow.exceptions import MlflowException

    folder = local_folder(run)
    if folder is not None:
        yield folder / place if (folder / place).is_file() else None
        return
    with TemporaryDirectory() as aside:
        try:
            path = Path(client.download_artifacts(run.info.run_id, place, aside))
        except MlflowException:
            path = None
        yield path


def _artifact_size(client: "MlflowClient", run: "Run", place: str) -> int | None:
    folder = local_folder(run)
    if folder is not None:
        return (folder / place).stat().st_size if (folder / place).is_file() else None
    listed = client.list_artifacts(run.info.run_id, place.rpartition("/")[0])
    return next((item.file_size for item in listed if item.path == place), None)
