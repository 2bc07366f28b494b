"""Lineage says which code and commit a run came from."""

import subprocess
from importlib.metadata import version

import pytest

from ecgscale.runs import lineage
from ecgscale.runs.lineage import dvc_tags, is_dirty, lineage_tags, state_files


@pytest.fixture
def checkout(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init", "-q")
    (tmp_path / "studies").mkdir()
    for name in ("code.py", "dvc.lock", "params.yaml"):
        (tmp_path / name).write_text("{}\n")
    (tmp_path / "studies" / "other.yaml").write_text("other: 1\n")
    git("add", "-A")
    git("commit", "-qm", "first")
    return tmp_path


def test_a_clean_checkout_names_its_commit(checkout):
    tags = lineage_tags(checkout)
    assert len(tags["git_commit"]) == 40
    assert tags["git_dirty"] == "false"


def test_an_edit_makes_it_dirty_but_what_a_run_writes_does_not(checkout):
    (checkout / "new.txt").write_text("untracked")
    (checkout / "dvc.lock").write_text("stages: {}\n")
    assert not is_dirty(checkout)
    (checkout / "code.py").write_text("x = 1\n")
    assert is_dirty(checkout)


def test_another_committed_study_is_not_dirty_an_edited_one_is(checkout):
    (checkout / "params.yaml").write_text("other: 1\n")
    assert not is_dirty(checkout)
    (checkout / "params.yaml").write_text("other: 2\n")
    assert is_dirty(checkout)


def test_outside_a_checkout_the_commit_is_unknown(tmp_path):
    assert lineage_tags(tmp_path)["git_commit"] == "unknown"


def test_the_digests_of_outputs_come_from_the_lock(tmp_path):
    assert dvc_tags(tmp_path, "data/subsets/n64") == {}
    (tmp_path / "dvc.lock").write_text(
        "stages:\n  subset@64:\n    deps: [{path: data/store, md5: aa.dir}]\n"
        "    outs: [{path: data/subsets/n64, md5: bb.dir}]\n"
    )
    for place in ("data/subsets/n64", "data/subsets/n64/o0"):
        tags = dvc_tags(tmp_path, place, "data/store")
        assert tags == {"dvc.data/subsets/n64": "bb.dir"}
    assert dvc_tags(tmp_path, "data/subsets/n640/o0") == {}


def kept(root):
    return sorted(path.relative_to(root).as_posix() for path in (root / ".ecgscale").rglob("*.*"))


def test_an_edit_is_kept_once_with_the_run_and_can_be_applied(checkout):
    assert "git_diff" not in lineage_tags(checkout)
    (checkout / "code.py").write_text("x = 1\n")
    (checkout / "dvc.lock").write_text("stages: {}\n")
    tags = lineage_tags(checkout)
    assert lineage_tags(checkout) == tags
    places = state_files(tags)
    assert kept(checkout) == sorted(places.values())
    patch = checkout / places["git_diff"]
    assert "dvc.lock" not in patch.read_text()
    (checkout / "code.py").write_text("{}\n")
    subprocess.run(["git", "apply", str(patch)], cwd=checkout, check=True)
    assert (checkout / "code.py").read_text() == "x = 1\n"
    (checkout / "code.py").write_text("x = 2\n")
    assert lineage_tags(checkout)["git_diff"] != tags["git_diff"]


def test_a_large_edit_is_cut_and_says_so(checkout, monkeypatch):
    monkeypatch.setattr(lineage, "DIFF_LIMIT", 500)
    digests = set()
    for end in ("a", "b"):
        (checkout / "code.py").write_text("x = 1\n" * 200 + end)
        tags = lineage_tags(checkout)
        patch = (checkout / state_files(tags)["git_diff"]).read_text()
        assert len(patch) < 600
        assert patch.splitlines()[-1].startswith("# cut: the difference has 1,")
        digests.add(tags["git_diff"])
    assert len(digests) == 2  # what is cut off counts


def test_an_edit_keeps_no_credentials_and_may_be_no_text(checkout):
    secret = "postgresql://ann:s3cret@host/db"
    (checkout / "code.py").write_bytes(f"x = '{secret}'\n".encode() + b"\xff\xfe\n")
    patch = (checkout / state_files(lineage_tags(checkout))["git_diff"]).read_text()
    assert "s3cret" not in patch
    assert "postgresql://host/db" in patch


def test_the_environment_lists_every_package(tmp_path):
    tags = lineage_tags(tmp_path)
    lines = (tmp_path / state_files(tags)["environment"]).read_text().splitlines()
    assert lines[0].startswith("python 3.")
    for package in ("torch", "mlflow", "pytest"):
        assert f"{package} {version(package)}" in lines
