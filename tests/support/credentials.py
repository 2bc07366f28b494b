"""A user name and a password, whatever a project does with them, and where they may not be."""

import json
import os
import subprocess
import sys

import yaml

from ecgscale.runs import address
from support import runs as synthetic

USER, PASSWORD = "ann.example", "s3cret/p@ss"
WRITTEN = "ann.example:s3cret%2Fp%40ss@"

WORK = """
import json, sys
from pathlib import Path
from ecgscale.report.stage import build_report
from ecgscale.runs.protocol import open_run
from ecgscale.runs.settings import StudyInfo
from ecgscale.study.file import load_study
root = Path()
study = load_study(root / "params.yaml")
with open_run("pretrain", StudyInfo(name="other"), "clef/t/n8-o0-s0", root, key="k", axes={},
              params={"lr": 0.1}, tags={}) as run:
    run.log_points({"loss": [(1, 1.0)]})
    run.finish(metrics={"loss": 1.0})
build_report(study, root)
"""


def use_store(tmp_path, uri):
    """Run, report and ask the doctor with a store; return all that was printed."""
    study = synthetic.make_study(
        sizes=(128, 256, 512), orders=(0,), objectives=("clef",), tasks=synthetic.TASKS[:1]
    )
    text = yaml.safe_dump(json.loads(study.model_dump_json(exclude_none=True)))
    (tmp_path / "params.yaml").write_text(text)
    for run in [run for phase in synthetic.make_runs(study, resamples=5) for run in phase]:
        run.record.write(tmp_path / "results" / run.record.phase / f"{run.cell}.json")
    commands = ([sys.executable, "-c", WORK], *([sys.executable, "-m", "ecgscale", *command]
        for command in (["sync"], ["doctor"])))  # fmt: skip
    environment = {**os.environ, address.VARIABLE: uri, "ECGSCALE_LOG": "DEBUG"}
    environment.pop("ECGSCALE_COURIER", None)
    printed = ""
    for command in commands:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        printed += done.stdout + done.stderr
    return printed


def assert_nowhere(tmp_path, printed):
    secrets = [USER, PASSWORD, *WRITTEN.strip("@").split(":")]
    assert not [secret for secret in secrets if secret in printed]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 10
    found = [path for path in files for s in secrets if s.encode() in path.read_bytes()]
    assert not found
