"""Lineage says which code and commit a run came from."""

import subprocess

import pytest

from ecgscale.runs.lineage import dvc_tags, is_dirty, lineage_tags


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
