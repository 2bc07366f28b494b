"""Disturb a small study at random until it is done; hold what comes of it against a quiet run.

``make soak`` (``MINUTES=20``), or ``PYTHONPATH=tests python -m support.soak --minutes 20``.

A study with two objectives, two sizes, controls and baselines is run once undisturbed. Then again,
from nothing, by the same command over and over, while one thing after another happens to it, drawn
at random: a process that makes cells is killed, or any other of it, or the command itself; the
tracking server is away, slow or failing; no file may grow beyond some size, as on a full disk; a
file that a later stage reads is overwritten. When the command ends well it is compared, and the
next study begins, until the time is up. It counts from the end of the undisturbed run.
"""

import argparse
import contextlib
import json
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

from ecgscale.pipeline import pool
from support.project import PIPELINE, Project, shrink
from support.proxy import Proxy
from support.server import mlflow_server

PACKAGE = Path(__file__).resolve().parents[2]
OF_TIME = ("seconds", "pairs_per_second")
"""Metrics that measure the machine."""
REPORTS = ("correlations.csv", "comparisons.csv", "answer.txt")
INPUTS = (
    "data/store/*/records.parquet",
    "data/tasks/*.parquet",
    "data/subsets/*/*/records.parquet",
    "models/*/*/*/encoder.safetensors",
    "results/*/*/*/*.json",
)
COMMAND = [sys.executable, "-m", "ecgscale", "repro", "--jobs", "2"]
ATTEMPTS = 60
KILLED = ("worker", "child", "command")


class Soak:
    """A study under disturbance; what happened is counted."""

    def __init__(self, folder, proxy, seed):
        self.folder, self.proxy, self.random = folder, proxy, random.Random(seed)
        self.happened, self.ended = Counter(), Counter()

    def checkout(self, name):
        """Make a project, committed, nothing run."""
        root = self.folder / name
        root.mkdir()
        for file in PIPELINE:
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(PACKAGE / file, root / file)
        made = Project(root, PACKAGE)
        made.environment |= {"MLFLOW_TRACKING_URI": self.proxy.address()}
        made.change(lambda study: (shrink(study), study["study"].update(live_tracking_after=1)))
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "study"]):
            identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
            subprocess.run(["git", *identity, *command], cwd=root, check=True)
        return made

    def disturbed(self, project, until):
        """Run the command until it ends well; stop disturbing when the time is up."""
        for _ in range(ATTEMPTS):
            is_quiet = time.monotonic() > until
            happening = "nothing" if is_quiet else self.random.choice(self.ALL)
            if happening == "input" and not self._corrupt(project.root):
                happening = "child"  # there is nothing yet
            process = subprocess.Popen(
                COMMAND,
                cwd=project.root,
                env=project.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=self._no_room if happening == "disk" else None,
            )
            self.happened[happening] += 1
            if happening in KILLED:
                self._kill(process, happening)
            elif happening == "server":
                self._change_server(process)
            printed = process.communicate()[0]
            self.ended[process.returncode] += 1
            self.proxy.set("up")
            if "Traceback" in printed and happening not in KILLED:
                raise AssertionError(f"{happening}:\n{printed}")
            if process.returncode == 0:
                return
            if is_quiet:
                raise AssertionError(printed)
        raise AssertionError(f"not done after {ATTEMPTS} attempts")

    ALL = (*("worker",) * 3, "child", "command", "command", "server", "disk", "disk", "input")

    def _no_room(self):
        size = self.random.choice((1_000, 30_000, 200_000, 1_000_000))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    def _kill(self, process, which):
        if which == "worker":
            while process.poll() is None and not processes(process.pid, pool.MODULE):
                time.sleep(0.2)
            time.sleep(self.random.uniform(0, 20))
        else:
            time.sleep(self.random.uniform(2, 30))
        command = processes(process.pid)
        those = {"worker": processes(process.pid, pool.MODULE), "child": command[1:]}
        victims = those.get(which) or command[:1]
        if victims:
            sent = self.random.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM))
            with contextlib.suppress(psutil.NoSuchProcess):
                self.random.choice(victims).send_signal(sent)

    def _change_server(self, process):
        while process.poll() is None:
            self.proxy.set(self.random.choice(("up", "down", "slow", "failing")))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(self.random.uniform(1, 15))
            if not process.stdout or process.poll() is not None:
                return

    def _corrupt(self, root):
        found = [path for pattern in INPUTS for path in sorted(root.glob(pattern))]
        if found:
            path = self.random.choice(found)
            content = bytearray(path.read_bytes())
            for _ in range(20):
                content[self.random.randrange(len(content))] = self.random.randrange(256)
            path.unlink()  # the cache of DVC may hold the same file
            path.write_bytes(content)
            return True
        return False


def processes(pid, module=""):
    """Return a process with all that it started, or those that run a module."""
    with contextlib.suppress(psutil.NoSuchProcess):
        command = psutil.Process(pid)
        found = [command, *command.children(recursive=True)]
        return [each for each in found if not module or module in each.cmdline()]
    return []


def outcome(root):
    """Return all that a study found: records without times, weights, numbers of the report."""
    found = {}
    for phase in ("pretrain", "evaluate"):
        for path in (root / "results" / phase).rglob("*.json"):
            record = json.loads(path.read_text())
            for name in ("started", "ended", "digest"):  # the digest covers the times
                record.pop(name)
            for name in OF_TIME:
                record["metrics"].pop(name, None)
            for name in [name for name in record["tags"] if name.startswith(("git_", "dvc."))]:
                record["tags"].pop(name)
            found[str(path.relative_to(root))] = record
    for path in (root / "models").rglob("encoder.safetensors"):
        found[str(path.relative_to(root))] = path.read_bytes()
    for name in REPORTS:
        found[name] = (root / "reports" / name).read_bytes()
    return found


def tracked(project):
    """Return what the doctor says of the tracking store, after all was carried."""
    project.run("sync")
    done = subprocess.run(
        [sys.executable, "-m", "ecgscale", "doctor", "--json"],
        cwd=project.root,
        env=project.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    return [
        finding
        for finding in json.loads(done.stdout)
        if finding["what"].startswith(("tracked runs", "run ", "tracking store"))
    ]


def main():
    """Run, compare, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        mlflow_server(Path(name) / "server") as behind,
        Proxy(behind, delay=2.5) as proxy,
    ):
        proxy.set("up")
        soak = Soak(Path(name), proxy, options.seed)
        quiet = soak.checkout("quiet")
        began = time.monotonic()
        quiet.run("repro", "--jobs", "2")
        alone = time.monotonic() - began
        expected, studies = outcome(quiet.root), 0
        began = time.monotonic()
        until = began + options.minutes * 60
        while not studies or time.monotonic() + alone < until:
            project = soak.checkout(f"study-{studies}")
            soak.disturbed(project, until)
            found = outcome(project.root)
            differ = [each for each in expected if found.get(each) != expected[each]]
            assert not differ, differ
            findings = tracked(project)
            assert all(finding["ok"] for finding in findings), findings
            studies += 1
        minutes = (time.monotonic() - began) / 60
    print(
        f"{minutes:.0f} minutes, {studies} studies of {len(expected)} records, weights and tables, "
        f"{sum(soak.happened.values())} commands: all equal the undisturbed run's.\n"
    )
    print("| what happened | commands |\n|---|---|")
    for what, count in sorted(soak.happened.items()):
        print(f"| {WORDS[what]} | {count} |")
    statuses = ", ".join(f"{status} ({count})" for status, count in sorted(soak.ended.items()))
    print(f"\nExit statuses: {statuses}.")


WORDS = {
    "worker": "a process that makes cells is killed",
    "child": "any process of the command is killed",
    "command": "the command itself is killed",
    "server": "the tracking server is away, slow, failing and back, in turns",
    "disk": "no file may grow beyond 1 kB to 1 MB",
    "input": "20 bytes of a stored file are overwritten",
    "nothing": "nothing",
}

if __name__ == "__main__":
    main()
