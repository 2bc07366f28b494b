"""Where a run comes from: the commit, the code, the data versions and the environment."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

import yaml

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the lock file grows with the study
GENERATED = ("dvc.lock",)
"""Tracked files that a run itself rewrites; they do not make a checkout dirty."""
ACTIVE_STUDY = "params.yaml"


def lineage_tags(root: Path) -> dict[str, str]:
    """Return the tags that every run carries; the commit is "unknown" outside of a git checkout."""
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

    A path inside an output has that output's tag, one that no stage has written has none.
    """
    lock = root / "dvc.lock"
    if not lock.is_file():
        return {}
    with lock.open(encoding="utf-8") as file:
        stages = (yaml.load(file, _Loader) or {}).get("stages", {})
    outputs = (item for stage in stages.values() for item in stage.get("outs", []))
    known = {item["path"]: item["md5"] for item in outputs if "md5" in item}
    own = {place for path in paths for place in (path, *map(str, PurePosixPath(path).parents))}
    return {f"dvc.{path}": known[path] for path in known if path in own}


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
