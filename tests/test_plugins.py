"""A mistake in a plug-in or a YAML file, by real commands in a copy of the package."""

import os
import shutil
import subprocess
import sys

import pytest
import yaml

TASK = """from ecgscale.tasks.base import Task, TaskMetadata, tasks

@tasks.register("clinic-af")
class ClinicAf(Task):
    metadata = TaskMetadata(name="clinic-af", version=1)
"""
MISTAKES = {
    "a task without its fields": (
        "datasets/clinic/tasks.py",
        TASK,
        "line 5: title: Field required",
    ),
    "a reader with a syntax error": (
        "datasets/clinic/reader.py",
        "def read(:\n",
        "line 1: invalid syntax",
    ),
    "an encoder that imports what is not there": (
        "encoders/clinic.py",
        "import a_library_that_nobody_has\n",
        "line 1: ModuleNotFoundError: No module named 'a_library_that_nobody_has'",
    ),
    "a data set's YAML without a key": (
        "datasets/clinic.yaml",
        "about: x\n",
        "title: Field required",
    ),
}


@pytest.fixture(scope="module")
def copied(tmp_path_factory, project):
    package = tmp_path_factory.mktemp("package")
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(project / "src" / "ecgscale", package / "ecgscale", ignore=skipped)
    return package


def run(package, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "ecgscale", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(package), "COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_every_mistake_stops_what_needs_the_file_and_nothing_else(copied, project, tmp_path):
    files = []
    for name, text, _ in MISTAKES.values():
        files.append(copied / "ecgscale" / name)
        files[-1].parent.mkdir(exist_ok=True)
        (files[-1].parent / "__init__.py").touch()
        files[-1].write_text(text)
    shutil.copy(project / "params.yaml", tmp_path)
    done = run(copied, "tasks", "--suite", "chaparral-cls13", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "chapman-38" in done.stdout
    done = run(copied, "resolve", cwd=tmp_path)
    assert done.returncode == 0, done.stderr

    done = run(copied, "doctor", cwd=tmp_path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL plug-ins: ")]
    for file, (_, _, sentence) in zip(files, MISTAKES.values(), strict=True):
        assert f"{file}" in line
        assert sentence in line

    study = yaml.safe_load((project / "params.yaml").read_text())
    needs = (
        lambda s: s["evaluation"]["tasks"].append("clinic-af"),
        lambda s: s["sources"]["sim-music"].update(reader="clinic-reader"),
        lambda s: s["encoders"]["net1d-tiny"].update(kind="clinic"),
        lambda s: s["sources"]["sim-music"].update(reader="clinic"),
    )
    for change, file, (_, _, sentence) in zip(needs, files, MISTAKES.values(), strict=True):
        changed = yaml.safe_load(yaml.safe_dump(study))
        change(changed)
        (tmp_path / "needs.yaml").write_text(yaml.safe_dump(changed))
        done = run(copied, "resolve", "--study", "needs.yaml", cwd=tmp_path)
        told = done.stderr.splitlines()[-1]
        assert done.returncode == 2, done.stderr
        assert told.startswith("ecgscale: ")
        assert f"{file}" in told
        assert sentence in told
        assert "Traceback" not in done.stderr
