"""A fresh clone pulls what was pushed: the same report, and nothing is trained."""

import json
import subprocess

import pytest

from support.project import Project
from support.s3 import s3_server

pytestmark = pytest.mark.long

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
NUMBERS = ("answer.txt", "correlations.csv", "comparisons.csv", "plots/scaling.csv")


@pytest.fixture(scope="module")
def tuned(small):
    """The small study, of which one objective takes what a search found."""
    winner = "results/tune/simclr/winner.json"
    small.run("tune", "simclr")
    small.change(lambda study: study["objectives"]["simclr"].update(tuned=winner))
    small.run("repro", "--jobs", "1")
    return small


def publish(made, remote, *settings):
    """Push all that DVC holds, and commit what the documentation names."""
    made.dvc("remote", "add", "--default", "--force", "shared", remote)
    for name, value in settings:
        made.dvc("remote", "modify", "shared", name, value)
    searches = [str(path) for path in made.root.glob("results/tune/*.dvc")]
    for command in (
        ["add", "params.yaml", "dvc.yaml", "dvc.lock", ".dvc/config", *searches],
        ["commit", "-qm", "results"],
    ):
        subprocess.run([*GIT, *command], cwd=made.root, check=True)
    made.dvc("push")


def cloned(made, folder, package):
    subprocess.run(["git", "clone", "-q", str(made.root), str(folder)], check=True)
    clone = Project(folder, package)
    clone.environment |= {key: v for key, v in made.environment.items() if key.startswith("AWS_")}
    clone.dvc("pull")
    return clone


def numbers(made):
    """Return the content of every file of numbers of a report."""
    reports = made.root / "reports"
    files = [*(reports / name for name in NUMBERS), *(reports / "metrics").rglob("*.json")]
    files += (reports / "further").iterdir()
    return {path.relative_to(reports): path.read_bytes() for path in files}


def reproduces(made, clone, *command):
    """Assert that a clone, asked for everything, trains nothing and says the same."""
    assert clone.results() == made.results()
    (clone.root / "reports" / "answer.txt").unlink()
    clone.run(*command)
    assert clone.results() == made.results()
    assert numbers(clone) == numbers(made)
    assert not (clone.root / ".ecgscale" / "work").exists()
    status = clone.dvc("status")
    assert status.split() == ["resolve:", "always", "changed"]


def test_of_a_study_that_has_run_nothing_is_out_of_date(small):
    assert small.dvc("status").split() == ["resolve:", "always", "changed"]
    untracked = subprocess.run(
        ["git", "status", "--porcelain"],
        cwd=small.root,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert untracked.split() == ["??", "dvc.lock"]


def test_metrics_are_a_row_a_curve_of_numbers(small):
    shown = small.dvc("metrics", "show")
    header, *rows = shown.splitlines()
    assert header.split()[0] == "Path"
    assert [row.split()[0] for row in rows] == [
        f"reports/metrics/{name}/net1d-tiny.json" for name in ("clef", "simclr")
    ]
    assert len(header) < 120


def test_a_clone_of_a_folder_remote_reproduces_the_report(small, tmp_path, project):
    publish(small, str(tmp_path / "remote"))
    reproduces(small, cloned(small, tmp_path / "clone", project), "repro", "--jobs", "1")


def test_a_tuned_study_comes_back_from_s3(tuned, tmp_path, project):
    with s3_server("studies") as address:
        tuned.environment |= {"AWS_ACCESS_KEY_ID": "ann", "AWS_SECRET_ACCESS_KEY": "secret"}
        publish(tuned, "s3://studies/small", ("endpointurl", address))
        clone = cloned(tuned, tmp_path / "clone", project)
        winner = json.loads((clone.root / "results/tune/simclr/winner.json").read_text())
        assert winner == json.loads((tuned.root / "results/tune/simclr/winner.json").read_text())
        reproduces(tuned, clone, "repro", "--jobs", "1")
        assert b"secret" not in (clone.root / ".dvc/config").read_bytes()


def test_an_experiment_changes_a_setting_and_is_compared(small):
    """`dvc exp run -S`: in the workspace, with what it changed of the curves."""
    small.dvc("exp", "run", "--name", "fewer", "-S", "report.bootstrap=100")
    assert small.study()["report"]["bootstrap"] == 100
    listed = json.loads(small.dvc("exp", "show", "--json"))
    names = [experiment.get("name") for row in listed for experiment in row["experiments"] or []]
    assert "fewer" in names
    small.dvc("exp", "remove", "fewer")
