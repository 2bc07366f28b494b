"""The gallery: scripts that are run when the site is built, and shown with what they drew.

A script in docs/gallery is plain Python. Its docstring is the title and the introduction, "# %%"
begins a cell, and the comment under such a line is Markdown. One that fails fails the build.
"""

import ast
import importlib.util
import json
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

RUNNER = Path(__file__).with_name("run_example.py")
AT_ONCE = 2
"""Examples that run at the same time."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Run the examples and add their pages and figures."""
    scripts = sorted((Path(config.docs_dir) / "gallery").glob("*.py"))
    runner = _runner()
    listed = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(AT_ONCE) as pool:
        for script, results in zip(
            scripts, pool.map(lambda script: run(script, Path(folder)), scripts), strict=True
        ):
            text = script.read_text(encoding="utf-8")
            title, introduction = described(text)
            page = [f"# {title}\n\n{introduction}\n"]
            figures = [name for result in results for name in result["figures"]]
            for (prose, code), result in zip(runner.cells(text), results, strict=True):
                page.append(shown(prose, code, result))
            page.append(f"[Download {script.name}]({script.name})\n")
            listed.append(entry(script.stem, title, introduction, figures))
            files.append(
                File.generated(config, f"gallery/{script.stem}.md", content="\n".join(page))
            )
            for name in figures:
                drawn = (Path(folder) / name).read_bytes()
                files.append(File.generated(config, f"gallery/{name}", content=drawn))
    head = "# Gallery\n\nPlain scripts that are run whenever this site is built.\n\n"
    files.append(File.generated(config, "gallery/index.md", content=head + "\n".join(listed)))
    return files


def run(script: Path, folder: Path) -> list[dict[str, Any]]:
    """Run one script in an empty folder; return what `run_example.py` prints."""
    with tempfile.TemporaryDirectory() as empty:
        done = subprocess.run(
            [sys.executable, str(RUNNER), str(script), str(folder)],
            cwd=empty,
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise PluginError(f"{script} failed:\n{done.stderr[-4000:]}")
    results: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return results


def described(text: str) -> tuple[str, str]:
    """Return a script's title and introduction, from its docstring."""
    title, _, introduction = (ast.get_docstring(ast.parse(text)) or "").partition("\n")
    if not title:
        raise PluginError("a script in docs/gallery begins without a docstring")
    return title.rstrip("."), introduction.strip()


def shown(prose: str, code: str, result: dict[str, Any]) -> str:
    """Return one cell as Markdown: prose, code, what it printed, what it drew."""
    parts = [prose]
    code = _without_docstring(code)
    if code:
        parts.append(f"```python\n{code}\n```")
    if result["printed"].strip():
        parts.append(f"```text\n{result['printed'].rstrip()}\n```")
    parts += [f"![What this cell draws]({name})" for name in result["figures"]]
    return "\n\n".join(filter(None, parts)) + "\n"


def entry(name: str, title: str, introduction: str, figures: list[str]) -> str:
    """Return an example's entry in the list."""
    picture = f"[![{title}]({figures[-1]}){{ width=420 }}]({name}.md)\n\n" if figures else ""
    first = introduction.partition("\n\n")[0]
    return f"## [{title}]({name}.md)\n\n{first}\n\n{picture}"


def _without_docstring(code: str) -> str:
    tree = ast.parse(code)
    if ast.get_docstring(tree) is None:
        return code
    return "\n".join(code.splitlines()[tree.body[0].end_lineno or 0 :]).strip("\n")


def _runner() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_example", RUNNER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
