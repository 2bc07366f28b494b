"""Lineage says which code and commit a run came from."""

import subprocess
import sys

import pytest

from ecgscale.runs.lineage import code_digest, dvc_tags, is_dirty, lineage_tags

CODE = '''
"""A module."""


def double(x):
    """Return twice x."""
    return 2 * x  # a comment
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    folder = tmp_path / "pkg_under_test"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "helper.py").write_text("FACTOR = 2\n")
    (folder / "double.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.startswith("pkg_under_test")]:
        del sys.modules[name]


def test_comments_and_docstrings_leave_the_digest(package):
    before = code_digest("pkg_under_test.double")
    (package / "double.py").write_text("def double(x):\n    return 2 * x\n")
    assert code_digest("pkg_under_test.double") == before


def test_a_changed_statement_changes_the_digest(package):
    before = code_digest("pkg_under_test.double")
    (package / "double.py").write_text(CODE.replace("2 * x ", "3 * x "))
    assert code_digest("pkg_under_test.double") != before


def test_what_a_module_imports_from_its_package_counts(package):
    (package / "double.py").write_text(f"from pkg_under_test.helper import FACTOR\n{CODE}")
    before = code_digest("pkg_under_test.double")
    (package / "helper.py").write_text("FACTOR = 3\n")
    assert code_digest("pkg_under_test.double") != before


def test_a_module_it_does_not_import_does_not_count(package):
    before = code_digest("pkg_under_test.double")
    (package / "helper.py").write_text("FACTOR = 3\n")
    assert code_digest("pkg_under_test.double") == before


def test_an_unknown_module_is_an_error():
    with pytest.raises(ModuleNotFoundError):
        code_digest("ecgscale.nonesuch")


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
    assert dvc_tags(tmp_path, "data/subsets/n64-o0") == {}
    (tmp_path / "dvc.lock").write_text(
        "stages:\n  subset@64-0:\n    deps: [{path: data/store, md5: aa.dir}]\n"
        "    outs: [{path: data/subsets/n64-o0, md5: bb.dir}]\n"
    )
    tags = dvc_tags(tmp_path, "data/subsets/n64-o0", "data/store")
    assert tags == {"dvc.data/subsets/n64-o0": "bb.dir"}
