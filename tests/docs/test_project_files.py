"""What visitors and tools read beside the code says the same as the code."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

import ecgscale

ROOT = Path(__file__).parents[2]
TESTED_ELSEWHERE = {"torch"}
"""requirements-lowest.txt says why."""

PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "data/README.md"]
PAGES.append(ROOT / "models/README.md")


def bounds():
    """Return the lower bound of every dependency of the package and its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return dict(re.match(r"([\w.-]+)>=([\d.]+)", line).groups() for line in needed)


def pins(name):
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line)


def number(version):
    parts = [int(part) for part in version.split(".")]
    return parts + [0] * (3 - len(parts))


def test_the_lowest_versions_are_the_lower_bounds():
    lowest = pins("requirements-lowest.txt")
    assert lowest.keys() == bounds().keys()
    for name, bound in bounds().items():
        if name not in TESTED_ELSEWHERE:
            assert number(lowest[name]) == number(bound), name


def test_the_site_needs_nothing_that_the_lock_pins_otherwise():
    assert not pins("requirements-docs.lock").keys() & pins("requirements.lock").keys()


def test_the_version_is_the_same_everywhere():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == ecgscale.__version__
    assert f"\n## {ecgscale.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_workflows_run_targets_that_exist_with_pinned_actions():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    (workflow,) = (ROOT / ".github" / "workflows").glob("*.yml")
    text = workflow.read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)["jobs"]
    assert set(jobs["make"]["strategy"]["matrix"]["target"]) <= targets
    assert "secrets" not in text
    actions = re.findall(r"uses: (\S+)", text)
    assert actions
    assert all(re.search(r"@v\d+\.\d+\.\d+$", action) for action in actions)


@pytest.mark.parametrize("form", ["bug", "dataset", "objective"])
def test_issue_forms_have_what_github_asks_for(form):
    path = ROOT / ".github" / "ISSUE_TEMPLATE" / f"{form}.yml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert content["name"]
    assert content["description"]
    ids = [field["id"] for field in content["body"] if field["type"] != "markdown"]
    assert len(set(ids)) == len(ids) > 0
    assert all(field["attributes"] for field in content["body"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_relative_links_lead_somewhere(page):
    """As GitHub shows the pages; the site's own check covers what only it has."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    made = {ROOT / "docs/gallery/index.md", ROOT / "docs/contributing/index.md"}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"https?:|mailto:|#", target):
            place = (page.parent / target.partition("#")[0]).resolve()
            assert place in made or place.exists(), target


def test_clean_keeps_what_git_has(tmp_path):
    shutil.copy(ROOT / "Makefile", tmp_path)
    for folder in ("data", "models"):
        (tmp_path / folder / "made" / "deep").mkdir(parents=True)
        (tmp_path / folder / ".gitignore").write_text("/made\n")
        shutil.copy(ROOT / folder / "README.md", tmp_path / folder)
    (tmp_path / "results").mkdir()
    for _ in range(2):
        subprocess.run(["make", "-s", "clean"], cwd=tmp_path, check=True)
        left = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
        expected = ["Makefile", "data", "data/README.md", "models", "models/README.md"]
        assert left == expected


def test_git_ignores_what_a_study_makes_and_nothing_else():
    def ignored(path):
        done = subprocess.run(["git", "check-ignore", "-q", path], cwd=ROOT, check=False)
        return done.returncode == 0

    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    assert ignored("data/store/x")
    assert ignored("data/.gitignore")
    assert ignored("models/.gitignore")
    assert not ignored("data/README.md")
    assert not ignored("models/README.md")
