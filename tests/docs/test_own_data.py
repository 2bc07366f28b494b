"""docs/own-data.md is carried out to the letter: from a folder of ECGs to a curve on its labels."""

import csv
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.project import PIPELINE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_page_leads_from_a_folder_to_a_curve(tmp_path):
    for name in PIPELINE:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "as cloned"]):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    said = {}
    for language, file, text in BLOCK.findall(PAGE):
        if file:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).write_text(text, encoding="utf-8")
        elif language == "sh":
            for line in text.splitlines():
                said[line.partition(" --study")[0]] = run(line, tmp_path)

    ingested = said["python -m ecgscale ingest clinic"].splitlines()
    assert re.fullmatch(r"clinic: \d+ of \d+ records stored", ingested[0])
    assert any(line.startswith("patients    400, ") for line in ingested)
    listed = said["python -m ecgscale tasks"]
    assert re.search(r"clinic-lvh +binary +1 +not ingested", listed)
    assert re.search(r"clinic-diagnoses +multi-label +2 +not ingested", listed)
    assert "simclr (tiny): " in said["python -m ecgscale repro"]

    with (tmp_path / "reports" / "runs.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["objective"] == "simclr"]
    for task in ("clinic-lvh", "clinic-diagnoses"):
        curve = {int(row["size"]): float(row["score"]) for row in rows if row["task"] == task}
        assert sorted(curve) == [32, 64, 128]
        assert all(0 < score < 1 for score in curve.values())
    html = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "Left ventricular hypertrophy, as the clinic codes it" in html

    described = tmp_path / "data" / "raw" / "clinic" / "source.yaml"
    text = described.read_text(encoding="utf-8")
    described.write_text(text.replace("[AFIB, AFLT]", "[AFIB]"), encoding="utf-8")
    run("python -m ecgscale resolve", tmp_path)
    stale = json.loads(run("python -m dvc status --json", tmp_path))
    changed = {name for name, why in stale.items() if "changed deps" in str(why)}
    assert changed == {"ingest@clinic", "targets", "report"}


def run(line, root):
    python, *arguments = shlex.split(line)
    assert python == "python"
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env={
            **{key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"},
            **{"PYTHONPATH": str(ROOT / "src"), "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"},
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout
