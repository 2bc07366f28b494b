"""Where a run comes from: the commit, the code, the data versions and the environment."""

import hashlib
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath

import yaml

from ecgscale.files import write_whole
from ecgscale.runs.address import redacted

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the lock file grows with the study
GENERATED = ("dvc.lock",)
"""Tracked files that a run itself rewrites; they do not make a checkout dirty."""
ACTIVE_STUDY = "params.yaml"
DIFF, ENVIRONMENT = "git_diff", "environment"
"""Tags of a record: digests of what `state_files` keeps."""
DIFF_LIMIT = 2**20
"""Bytes that are kept of a diff."""
_DIGITS = 16


def lineage_tags(root: Path) -> dict[str, str]:
    """Return the tags that every run carries; the commit is "unknown" outside of a git checkout.

    What a commit does not hold, the difference of an edited checkout and the list of installed
    packages, is kept under the digest that the tag names (`state_files`), once for all runs.
    """
    commit = _git(root, "rev-parse", "HEAD")
    dirty = bool(commit) and is_dirty(root)
    kept = {ENVIRONMENT: installed(), **({DIFF: _diff(root)} if dirty else {})}
    digests = {tag: _digest(text) for tag, text in kept.items()}
    for tag, path in state_files(digests).items():
        if not (root / path).is_file():
            write_whole(root / path, kept[tag])
    return {
        "git_commit": commit or "unknown",
        "git_dirty": str(dirty).lower() if commit else "unknown",
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}",
        "ecgscale_version": _version("ecgscale"),
        "torch": _version("torch"),
        **digests,
    }


def state_files(tags: dict[str, str]) -> dict[str, str]:
    """Return where a run's diff and environment are kept, by tag, relative to the project."""
    places = {DIFF: "diffs/{}.patch", ENVIRONMENT: "environments/{}.txt"}
    return {
        tag: ".ecgscale/" + place.format(tags[tag]) for tag, place in places.items() if tag in tags
    }


@cache
def installed() -> str:
    """Return the interpreter, the platform and every installed package with its version.

    Read off the names of the folders that installers write, as opening each takes a second of many
    a cell.
    """
    found = {
        path.name.removesuffix(path.suffix).replace("-", " ", 1)
        for place in sys.path
        for suffix in ("dist-info", "egg-info")
        for path in Path(place or ".").glob(f"*.{suffix}")
    }
    first = f"python {platform.python_version()} {platform.system()}-{platform.machine()}"
    return "\n".join([first, *sorted(found, key=str.lower)]) + "\n"


def _diff(root: Path) -> str:
    """Return what differs from the commit; of a large difference the beginning, and that it is.

    Credentials in addresses are taken out, as everywhere.
    """
    ignored = [f":(exclude){name}" for name in GENERATED]
    text = redacted(_git(root, "diff", "HEAD", "--", ".", *ignored) or "")
    size = len(text.encode())
    if size <= DIFF_LIMIT:
        return text + "\n"
    head = text.encode()[:DIFF_LIMIT].decode(errors="ignore")
    return f"{head}\n# cut: the difference has {size:,} bytes, sha256 {_digest(text)}\n"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]


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
    known = locked(root)
    own = {place for path in paths for place in (path, *map(str, PurePosixPath(path).parents))}
    return {f"dvc.{path}": known[path] for path in known if path in own}


def locked(root: Path) -> dict[str, str]:
    """Return the digest that DVC's lock file holds of every output, by its path."""
    lock = root / "dvc.lock"
    if not lock.is_file():
        return {}
    with lock.open(encoding="utf-8") as file:
        stages = (yaml.load(file, _Loader) or {}).get("stages", {})
    outputs = (item for stage in stages.values() for item in stage.get("outs", []))
    return {item["path"]: item["md5"] for item in outputs if "md5" in item}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=True,
            timeout=30,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.rstrip("\n")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
