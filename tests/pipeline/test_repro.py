"""Making a study the active one loses nothing; threads never outnumber cores."""

import shutil
import subprocess

import pytest

from ecgscale.errors import BadInputError
from ecgscale.pipeline.pool import worker_count
from ecgscale.pipeline.repro import activate


@pytest.fixture
def root(tmp_path, project):
    """A checkout with two studies, one of them active and committed."""
    (tmp_path / "studies").mkdir()
    shutil.copy(project / "params.yaml", tmp_path)
    shutil.copy(project / "studies" / "ptb-xl.yaml", tmp_path / "studies")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "studies"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    return tmp_path


def test_a_committed_study_gives_way(root):
    activate(root / "studies" / "ptb-xl.yaml", root)
    assert (root / "params.yaml").read_text() == (root / "studies" / "ptb-xl.yaml").read_text()
    activate(root / "params.yaml", root)


def test_edits_that_are_saved_nowhere_are_kept(root):
    edited = (root / "params.yaml").read_text().replace("batch_size: 64", "batch_size: 32")
    (root / "params.yaml").write_text(edited)
    with pytest.raises(BadInputError, match="edits that neither a commit nor a file in studies"):
        activate(root / "studies" / "ptb-xl.yaml", root)
    assert (root / "params.yaml").read_text() == edited
    (root / "studies" / "mine.yaml").write_text(edited)
    activate(root / "studies" / "ptb-xl.yaml", root)
    assert (root / "studies" / "mine.yaml").read_text() == edited


def test_a_bad_study_changes_nothing(root):
    before = (root / "params.yaml").read_text()
    (root / "studies" / "bad.yaml").write_text("study: {name: x}")
    with pytest.raises(BadInputError, match=r"bad\.yaml"):
        activate(root / "studies" / "bad.yaml", root)
    assert (root / "params.yaml").read_text() == before


@pytest.mark.parametrize(
    ("jobs", "threads", "cores", "expected"),
    [
        (4, 2, 2, 1),
        (4, 1, 2, 2),
        (1, 1, 8, 1),
        (4, 4, 2, 1),
        (3, 2, 8, 3),
        (None, 2, 8, 4),
        (None, 4, 2, 1),
    ],
)
def test_threads_of_all_workers_fit_the_cores(jobs, threads, cores, expected):
    assert worker_count(jobs, threads, cores) == expected
