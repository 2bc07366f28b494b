"""A project with an empty tracking store of its own."""

import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def template(tmp_path_factory):
    """Return an empty store: making one costs more than every test of it."""
    root = tmp_path_factory.mktemp("template")
    script = "import sys; from pathlib import Path; from ecgscale.runs.store import check_store;"
    subprocess.run([sys.executable, "-c", f"{script} check_store(Path('{root}'))"], check=True)
    return root / "mlflow.db"


@pytest.fixture
def root(tmp_path, template, monkeypatch):
    """A project with an empty store."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    project = tmp_path / "project"
    project.mkdir()
    (project / "mlflow.db").write_bytes(template.read_bytes())
    return project
