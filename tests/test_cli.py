"""The command line: help everywhere, one sentence and status 2 for bad input."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import wfdb

from ecgscale.data.record import LEADS
from support.full_disk import no_room

COMMANDS = (
    "resolve",
    "simulate",
    "ingest",
    "targets",
    "subset",
    "pretrain",
    "evaluate",
    "baseline",
    "compare",
    "tasks",
    "plan",
    "tune",
    "import-weights",
    "sync",
    "literature",
    "claims",
    "report",
    "repro",
    "ui",
    "doctor",
)


def run(*arguments, cwd, status=0):
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    done = subprocess.run(
        [sys.executable, "-m", "ecgscale", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stdout + done.stderr
    return done


def test_help_lists_every_command_and_each_has_help(tmp_path):
    from typer.testing import CliRunner

    from ecgscale.cli import app

    listed = run("--help", cwd=tmp_path).stdout
    for command in COMMANDS:
        assert f" {command} " in listed
        assert CliRunner().invoke(app, [command, "--help"]).exit_code == 0


def test_the_command_line_starts_without_the_heavy_libraries(tmp_path):
    """Start-up is paid by every stage."""
    script = (
        "import sys; import ecgscale.cli;"
        "heavy = {'torch', 'mlflow', 'optuna', 'pandas', 'scipy', 'sklearn', 'matplotlib', 'wfdb'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("report",), "params.yaml does not exist"),
        (("ingest",), "ingest needs a source of the study, or --source, --root and --out"),
        (
            ("ingest", "--source", "challenge", "--root", "nowhere", "--out", "store"),
            "nowhere does not exist",
        ),
        (
            ("ingest", "--source", "holter", "--root", ".", "--out", "store"),
            "no source is named 'holter'; there are: aurora-bp, ",
        ),
        (
            ("ingest", "--source", "challenge", "--root", ".", "--out", "store"),
            "source folder . has no WFDB records",
        ),
        (("import-weights", "clef.ckpt", "--name", "clef"), "clef.ckpt does not exist"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(tmp_path, arguments, sentence):
    done = run(*arguments, cwd=tmp_path, status=2)
    assert sentence in done.stderr
    assert done.stderr.startswith("ecgscale: ")
    assert done.stderr.count("\n") == 1


def test_an_unknown_cell_or_cohort_is_named(tmp_path, project):
    (tmp_path / "params.yaml").write_text((project / "params.yaml").read_text())
    assert "'a' is not a cell" in run("pretrain", "a", cwd=tmp_path, status=2).stderr
    assert "grid has no cells of a/b" in run("pretrain", "a/b", cwd=tmp_path, status=2).stderr
    assert "has no simulate.moon" in run("simulate", "moon", cwd=tmp_path, status=2).stderr
    assert "has no sources.moon" in run("ingest", "moon", cwd=tmp_path, status=2).stderr


def test_a_full_disk_is_one_sentence_and_status_2(tmp_path):
    for number in range(3):
        noise = np.random.default_rng(number).normal(0, 0.3, (12, 1000))
        write_challenge(tmp_path, f"r{number}", noise)
    before = sorted(tmp_path.iterdir())
    command = ("ingest", "--source", "challenge", "--root", ".", "--out", "store")
    with no_room(40_000):  # inherited
        done = run(*command, cwd=tmp_path, status=2)
    assert done.stderr.lstrip().startswith(
        "ecgscale: store cannot be written: there is no room left"
    )
    assert done.stderr.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def write_challenge(folder, name, signal):
    wfdb.wrsamp(
        name,
        fs=100,
        units=["mV"] * 12,
        sig_name=list(LEADS),
        p_signal=signal.T,
        fmt=["16"] * 12,
        adc_gain=[1000.0] * 12,
        baseline=[0] * 12,
        comments=["Age: 61", "Sex: Female", "Dx: 426783006"],
        write_dir=str(folder),
    )


def test_any_folder_is_ingested_and_what_is_quarantined_is_counted(tmp_path):
    folder = tmp_path / "ecgs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        signal = rng.normal(0, 0.2, (12, 1000))
        if number == 11:
            signal[4] = 0
        write_challenge(folder, f"R{number:03d}", signal)
    done = run(
        *("ingest", "--source", "challenge", "--root", "ecgs", "--out", "store", "--json"),
        cwd=tmp_path,
    )
    summary = json.loads(done.stdout)
    assert (summary["records"], summary["stored"]) == (12, 11)
    assert summary["quarantined"] == {"flat-lead": 1}


def test_the_doctor_names_what_is_missing(tmp_path, project):
    text = (project / "studies" / "ptb-xl.yaml").read_text().replace("../shared", "../nowhere")
    (tmp_path / "params.yaml").write_text(text)
    findings = json.loads(run("doctor", "--json", cwd=tmp_path, status=1).stdout)
    bad = {finding["what"] for finding in findings if not finding["ok"]}
    assert "source ptb-xl" in bad
    assert {"torch", "mlflow", "study", "tracking store"} <= {f["what"] for f in findings} - bad
