"""A checkout with a small study in it, run by real processes."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

PIPELINE = (
    *("dvc.yaml", "params.yaml", ".dvc/config", ".dvc/.gitignore", ".dvc/plots/scaling.json"),
    *(".dvcignore", ".gitignore"),
)


class Project:
    """A checkout with a study in it."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root = root
        self.environment = {
            **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            "OMP_NUM_THREADS": "1",
            "DVC_NO_ANALYTICS": "1",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "200",
        }
        self.environment.pop("ECGSCALE_COURIER", None)  # as in life
        self.environment["PYTHONPATH"] = str(package / "src")

    def run(self, *arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-m", "ecgscale", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done

    def dvc(self, *arguments):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    def study(self):
        return yaml.safe_load((self.root / "params.yaml").read_text())

    def change(self, change):
        study = self.study()
        change(study)
        (self.root / "params.yaml").write_text(yaml.safe_dump(study, sort_keys=False))

    def results(self):
        """Return the content of every result file by its name."""
        folder = self.root / "results"
        return {
            path.relative_to(folder).as_posix(): path.read_bytes()
            for phase in ("pretrain", "evaluate")
            for path in (folder / phase).rglob("*.json")
        }


COHORTS = ("sim-ptb-xl", "sim-chapman")


def shrink(study):
    study["study"]["name"] = "small"
    for section in ("simulate", "sources"):
        study[section] = {name: study[section][name] for name in COHORTS}
    data = study["evaluation"]["data"]
    study["evaluation"]["data"] = {key: name for key, name in data.items() if name in COHORTS}
    for name in COHORTS:
        study["simulate"][name]["patients"] = 250
    study["grid"].update(
        objectives=["simclr", "clef"],
        sizes=[16, 32],
        replicates=[{"order": 0, "seed": 0}],
        labelled=[],
    )
    study["grid"]["controls"] = ["random"]
    study["training"].update(steps=8, batch_size=16, monitor_every=8, log_every=2)
    study["evaluation"]["tasks"] = ["chapman-38", "ptb-xl-superdiagnostic"]
    study["evaluation"].update(bootstrap=50, minimum_positives=2)
    study["report"].update(permutations=200, bootstrap=200)
    study["tune"].update(
        objectives={"simclr": None, "clef": None},
        sizes=[16],
        trials=3,
        steps=6,
        rungs=2,
        startup_trials=1,
    )
