"""A small study, run once for all tests of the pipeline."""

import shutil
import subprocess

import pytest

from support.project import PIPELINE, Project, shrink


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, project):
    """Return a function that makes a project with the small study in it, committed, nothing run."""

    def make(shrink=shrink):
        root = tmp_path_factory.mktemp("project")
        for name in PIPELINE:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(project / name, root / name)
        made = Project(root, project)
        made.change(shrink)
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "study"]):
            identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
            subprocess.run(["git", *identity, *command], cwd=root, check=True)
        return made

    return make


@pytest.fixture(scope="module")
def small(checkout):
    """The small study, run from nothing by one command."""
    made = checkout()
    made.first = made.run("repro", "--jobs", "1")
    return made


@pytest.fixture(scope="module")
def prepared(checkout):
    """The small study up to its smallest subset: what a search needs."""
    made = checkout()
    for source in ("sim-ptb-xl", "sim-chapman"):
        made.run("ingest", source)
    made.run("targets")
    made.run("identity")
    made.run("subset", "--size", "16")
    return made
