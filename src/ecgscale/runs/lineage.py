"""Where a run comes from: the commit, the code, the data versions and the environment."""

import ast
import hashlib
import importlib.util
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the lock file grows with the study
GENERATED = ("dvc.lock",)
"""Tracked files that a run itself rewrites; they do not make a checkout dirty."""
ACTIVE_STUDY = "params.yaml"


def lineage_tags(root: Path) -> dict[str, str]:
    """Return the tags that every run carries.

    Parameters
    ----------
    root
        The project: its git checkout is described, or "unknown" where there is none.
    """
    commit = _git(root, "rev-parse", "HEAD")
    return {
        "git_commit": commit or "unknown",
        "git_dirty": str(is_dirty(root)).lower() if commit else "unknown",
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "ecgscale_version": _version("ecgscale"),
        "torch": _version("torch"),
    }


def is_dirty(root: Path) -> bool:
    """Return whether tracked files differ from the commit.

    What a run rewrites does not count, nor does params.yaml while it is one of the studies that
    the commit holds.
    """
    changed = _git(root, "status", "--porcelain", "--untracked-files=no") or ""
    names = {line[3:] for line in changed.splitlines()} - set(GENERATED)
    if is_saved(root, root / ACTIVE_STUDY):
        names.discard(ACTIVE_STUDY)
    return bool(names)


def is_saved(root: Path, study: Path) -> bool:
    """Return whether the commit holds a study file's content, as params.yaml or in studies/."""
    listed = _git(root, "ls-tree", "-r", "--name-only", "HEAD", ACTIVE_STUDY, "studies/") or ""
    content = study.read_text(encoding="utf-8").rstrip("\n")
    return any(_git(root, "show", f"HEAD:{name}") == content for name in listed.splitlines())


def dvc_tags(root: Path, *paths: str) -> dict[str, str]:
    """Return ``dvc.<path>`` tags: the digests that DVC's lock file holds for stages' outputs.

    A path that is no output of a stage that has run has no tag.
    """
    lock = root / "dvc.lock"
    if not lock.is_file():
        return {}
    with lock.open(encoding="utf-8") as file:
        stages = (yaml.load(file, _Loader) or {}).get("stages", {})
    outputs = (item for stage in stages.values() for item in stage.get("outs", []))
    known = {item["path"]: item["md5"] for item in outputs if "md5" in item}
    return {f"dvc.{path}": known[path] for path in paths if path in known}


def code_digest(*modules: str) -> str:
    """Return a digest of what modules do: comments, layout and docstrings leave it unchanged.

    What a module imports from its own package counts as part of it.

    Parameters
    ----------
    *modules
        Dotted names. A package stands for the modules directly in it.

    Raises
    ------
    ModuleNotFoundError
        If a module does not exist.
    """
    hasher = hashlib.sha256()
    for name, path in sorted(_closure(modules).items()):
        statements, _ = _parsed(path, path.stat().st_mtime_ns)
        hasher.update(name.encode() + b"\0" + statements.encode() + b"\0")
    return hasher.hexdigest()[:16]


@cache
def _parsed(path: Path, changed: int) -> tuple[str, tuple[str, ...]]:
    """Return what a module does and what it imports from; read once for each time of `changed`."""
    del changed
    tree = ast.parse(path.read_text(encoding="utf-8"))
    _strip_docstrings(tree)
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    return ast.dump(tree), tuple(node.module for node in nodes if node.module)


def _closure(modules: tuple[str, ...]) -> dict[str, Path]:
    """Map the modules, and what they import from their own packages, to their files."""
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise ModuleNotFoundError(f"no module named {name!r}", name=name)
        path = Path(spec.origin)
        if path.name == "__init__.py":
            waiting += [f"{name}.{file.stem}" for file in path.parent.glob("[!_]*.py")]
        elif name not in found:
            found[name] = path
            waiting += _imports_within(path, package=name.rpartition(".")[0])
    return found


def _imports_within(path: Path, package: str) -> list[str]:
    """Return the modules of `package` that a file imports by name."""
    _, names = _parsed(path, path.stat().st_mtime_ns)
    return [name for name in names if name.startswith(f"{package}.")]


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        node.body = [item for item in body if not _is_string(item)]  # type: ignore[attr-defined]


def _is_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=root, capture_output=True, text=True, check=True, timeout=30
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
