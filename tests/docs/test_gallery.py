"""The examples of the gallery: what they are made of, and that they draw the same twice."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = ROOT / "docs" / "hooks" / "run_example.py"
GALLERY = sorted((ROOT / "docs" / "gallery").glob("*.py"))
QUICK = ("2_nested_subsets", "4_exact_correlation")
"""The others take longer; `make docs` runs them all."""


def run(script, folder, status=0):
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(script), str(folder)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done


@pytest.mark.parametrize("script", GALLERY, ids=lambda script: script.stem)
def test_an_example_has_a_title_an_introduction_and_nothing_private(script):
    tree = ast.parse(script.read_text(encoding="utf-8"))
    title, blank, *introduction = ast.get_docstring(tree).splitlines()
    assert title.endswith(".")
    assert blank == ""
    assert introduction
    imported = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names = [name.name for node in imported for name in node.names]
    assert not [name for name in names if name.startswith("_")]


@pytest.mark.parametrize("name", QUICK)
def test_an_example_prints_and_draws_the_same_twice(name, tmp_path):
    script = ROOT / "docs" / "gallery" / f"{name}.py"
    first, again = (run(script, tmp_path / part) for part in ("a", "b"))
    assert first.stdout == again.stdout
    figures = [figure for cell in json.loads(first.stdout) for figure in cell["figures"]]
    assert figures
    for figure in figures:
        assert (tmp_path / "a" / figure).read_bytes() == (tmp_path / "b" / figure).read_bytes()


def test_cells_show_what_they_print_and_one_that_fails_ends_the_build(tmp_path):
    script = tmp_path / "example.py"
    script.write_text('"""Title."""\nx = 1\n# %%\n# Prose.\nprint(x + 1)\n# %%\nprint("end")\n')
    printed = [cell["printed"] for cell in json.loads(run(script, tmp_path / "a").stdout)]
    assert printed == ["", "2\n", "end\n"]
    script.write_text('"""Title."""\n# %%\nmissing\n')
    assert "cell 1" in run(script, tmp_path / "b", status=1).stderr
