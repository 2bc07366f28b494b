"""Pages of the site that are made of something else than a file in docs/.

- ``reference/``: one page a room of the package, made by mkdocstrings of the docstrings; a room is
  found by its folder, so a new module appears without an edit;
- ``reference/commands.md``: the command line, as its own help says;
- ``datasets/index.md``: a list of the data sets' pages;
- ``contributing/index.md`` and ``changelog.md``: CONTRIBUTING.md and CHANGELOG.md of the project,
  which GitHub wants in the root.

A link to a folder, which GitHub shows as a list of files, becomes one to the folder's index.
"""

import ast
import posixpath
import re
import subprocess
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "ecgscale"

ROOT_PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing/index.md",
}
"""Files of the root that CONTRIBUTING.md and CHANGELOG.md may link to, and the pages they are."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    rooms = dict(sorted((place.stem, summary(place)) for place in PACKAGE.iterdir() if room(place)))
    pages = {
        "reference/index.md": index(rooms),
        "reference/commands.md": commands(),
        "contributing/index.md": moved("CONTRIBUTING.md", "contributing/index.md"),
        "changelog.md": moved("CHANGELOG.md", "changelog.md"),
    }
    for name in rooms:
        pages[f"reference/{name}.md"] = f"# ecgscale.{name}\n\n::: ecgscale.{name}\n"
    datasets = {file.src_uri: title(file) for file in files if file.src_uri.startswith("datasets/")}
    if datasets:
        pages["datasets/index.md"] = "# Data sets\n\n" + "".join(
            f"- [{name}]({posixpath.basename(uri)})\n" for uri, name in sorted(datasets.items())
        )
    for uri, text in pages.items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to folders into links to their indices."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        for name in ("README.md", "index.md"):
            uri = posixpath.normpath(posixpath.join(here, link[1], name))
            if files.get_file_from_path(uri):
                return f"]({link[1]}{name})"
        return link[0]

    return re.sub(r"\]\(((?!https?:)[^)#]*/)\)", turned, markdown)


def title(file: File) -> str:
    """Return a page's first heading."""
    found = re.search(r"^# (.+)$", file.content_string, re.M)
    if not found:
        raise PluginError(f"{file.src_uri} has no heading")
    return found[1]


def room(place: Path) -> bool:
    """Whether this is a room: a package or module other than the command line."""
    if place.stem.startswith("_") or place.name == "cli.py":
        return False
    return place.suffix == ".py" or (place / "__init__.py").is_file()


def summary(place: Path) -> str:
    """Return the first line of a module's docstring."""
    file = place if place.suffix == ".py" else place / "__init__.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    if not text:
        raise PluginError(f"{file} has no docstring")
    return text.splitlines()[0]


def index(rooms: dict[str, str]) -> str:
    """Return the overview of the reference."""
    rows = "".join(f"| [`{name}`]({name}.md) | {line} |\n" for name, line in rooms.items())
    return (
        "# API reference\n\nMade of the docstrings. What begins with an underscore is not shown.\n"
        "The command line is [a page of its own](commands.md).\n\n"
        f"| module | what it is |\n|---|---|\n{rows}"
    )


def commands() -> str:
    """Return the help of every command, as Markdown."""
    name = "python -m ecgscale"
    call = [sys.executable, "-m", "typer", "ecgscale.cli", "utils", "docs", "--name", name]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise PluginError(f"the help of the commands cannot be written: {done.stderr[-2000:]}")
    return done.stdout.replace(f"# `{name}`", "# Commands", 1)


def moved(file: str, uri: str) -> str:
    """Return a file of the root as the page `uri`, with its links turned to pages of the site."""
    text = (ROOT / file).read_text(encoding="utf-8")
    here = posixpath.dirname(uri)

    def turned(link: re.Match[str]) -> str:
        target = ROOT_PAGES.get(link[1], link[1].removeprefix("docs/"))
        return f"]({posixpath.relpath(target, here or '.')})"

    return re.sub(r"\]\((?!https?:)([^)#]+)\)", turned, text)
