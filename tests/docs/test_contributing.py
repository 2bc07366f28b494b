"""Every page of docs/contributing is carried out to the letter in a copy of the project.

A block of code with a title is a file of that name. Written into the copy, it must be found and
pass its own tests and those of everything of its kind; the page's commands say which they are.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "contributing").glob("add-*.md"))
FILE = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.M | re.S)
COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.M | re.S)
COPIED = ("src", "tests", "studies", "docs", "pyproject.toml", "params.yaml", "README.md")


@pytest.fixture(params=PAGES, ids=lambda page: page.stem)
def page(request):
    return request.param.read_text(encoding="utf-8")


@pytest.fixture
def copy(tmp_path):
    """A copy of the project."""
    skipped = shutil.ignore_patterns("__pycache__", "*.egg-info", ".*_cache")
    for name in COPIED:
        place = ROOT / name
        if place.is_dir():
            shutil.copytree(place, tmp_path / name, ignore=skipped)
        else:
            shutil.copy(place, tmp_path / name)
    return tmp_path


def run(copy, *command):
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy / "src"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_there_is_a_page_for_everything_that_can_be_added():
    things = ("baseline", "dataset", "encoder", "metric", "objective", "readout")
    assert [page.stem for page in PAGES] == [f"add-{thing}" for thing in things]


@pytest.mark.timeout(600)
@pytest.mark.long
def test_what_a_page_adds_is_found_and_works(page, copy):
    files = FILE.findall(page)
    sources = [name for name, _ in files if name.startswith("src/")]
    assert sources
    for name, text in files:
        place = copy / name
        assert not place.exists(), f"{name} is there: pages add files and edit none"
        assert f"`{name}`:" in page, f"{name} is named in the prose, for readers on GitHub"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")
    if importlib.util.find_spec("ruff"):  # not where only what tests need is installed
        code = [name for name, _ in files if name.endswith(".py")]
        run(copy, "ruff", "check", *code)
        run(copy, "ruff", "format", "--check", *code)
    (commands,) = COMMANDS.findall(page)
    for line in commands.splitlines():
        python, dash_m, *command = shlex.split(line)
        assert (python, dash_m) == ("python", "-m")
        printed = run(copy, *command, *(["-q", "-x"] if command[0] == "pytest" else []))
        assert command[0] != "pytest" or re.search(r"\d+ passed", printed), printed


@pytest.mark.long
def test_all_that_the_pages_add_is_typed(copy):
    for page in PAGES:
        for name, text in FILE.findall(page.read_text(encoding="utf-8")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_text(text, encoding="utf-8")
    run(copy, "mypy")
