"""What DVC and the bookkeeping of cells cost as a study grows, beside the cells themselves.

PYTHONPATH=tests python benchmarks/pipeline.py [--cells 100 1000] [--planned 2000] [--out FILE.json]

One small study is run for real. Its grid is then enlarged, and the records and encoders of the new
cells are copies of a real one's under their own names, so that files have their true sizes. Timed
are: telling DVC of all cells at once (all lock writing of a fresh study), `dvc status`, a `repro`
that finds nothing to do, and `repro --dry-run`; then `plan` and `repro --dry-run` of a grid
of which no cell has been made. The plain way, a stage of DVC for each cell, was
measured once at dab6f51: `dvc status` 26.9 s and a no-op `repro` 59.0 s at 1,010 cells, one
rewriting of its lock file 20.7 s at 2,082 stages.
"""

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ecgscale.files import path_digest
from ecgscale.pipeline.cells import Cells
from ecgscale.pipeline.repro import Dvc
from ecgscale.pipeline.work import Digests, reads
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.study.file import load_study
from support.project import PIPELINE, Project, shrink

PACKAGE = Path(__file__).parents[1]
SIZES = [16, 18, 20, 24, 28, 32, 40, 48, 56, 64]
REPLICATES = [{"order": number, "seed": number} for number in range(5)]


def project(folder):
    """Return a project in which the smallest of studies has run."""
    for name in PIPELINE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, folder / name)
    made = Project(folder, PACKAGE)
    made.change(shrink)
    made.change(lambda study: study["grid"].update(objectives=["simclr"], sizes=[16], baselines=[]))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    made.run("repro", "--jobs", "1")
    return made


def widen(made, cells):
    """Give the study's grid about so many cells."""
    curves = max(1, cells // (len(SIZES) * len(REPLICATES)))
    names = [f"simclr-{number}" for number in range(curves)]

    def change(study):
        for number, name in enumerate(names):
            study["objectives"][name] = {
                "kind": "simclr",
                "params": {"temperature": 0.1 + number / 100},
            }
        study["grid"].update(objectives=names, sizes=SIZES, replicates=REPLICATES, controls=[])

    made.change(change)


def enlarge(made, cells):
    """Give the study about so many cells, and write their records."""
    template = {
        phase: RunRecord.read(
            made.root / "results" / phase / "simclr" / "net1d-tiny" / "n16-o0-s0.json"
        )
        for phase in ("pretrain", "evaluate")
    }
    widen(made, cells)
    made.run("resolve")
    stages = [name for name in made.dvc("stage", "list", "--name-only").split() if "subset" in name]
    made.dvc("repro", *stages)
    study = load_study(made.root / "params.yaml")
    cells = Cells(study, Path("params.yaml"), "", made.root, made.environment)
    model = made.root / "models" / template["pretrain"].cell
    for phase in ("pretrain", "evaluate"):
        due = [task for task in cells.due() if task.phase == phase]
        known = Digests(made.root)
        for task in due:
            files = {}
            if phase == "pretrain":
                target = made.root / "models" / task.name
                shutil.copytree(model, target)
                files = {
                    path.relative_to(made.root).as_posix(): path_digest(path)
                    for path in target.iterdir()
                }
            made_from = known.of(reads(task, study))
            changed = {"cell": task.name, "made_from": made_from, "made": files}
            record = template[phase].model_copy(update=changed)
            record.write(result_path(made.root / "results", phase, task.name))
    return study, sorted({cells._stage(task) for task in cells_of(study)})


def cells_of(study):
    from ecgscale.pipeline.work import study_tasks

    return [task for task in study_tasks(study) if not task.baseline]


def timed(run):
    begun = time.perf_counter()
    run()
    return round(time.perf_counter() - begun, 1)


def measured(made, cells):
    """Return the seconds of each of the four."""
    study, stages = enlarge(made, cells)
    dvc = Dvc(made.root, made.environment)
    found = {"cells": len(cells_of(study)) // 2, "stages": len(stages)}
    found["commit"] = timed(lambda: dvc.commit(stages))
    made.run("repro", "--jobs", "1")  # the report
    found["dvc status"] = timed(lambda: made.dvc("status"))
    found["no-op repro"] = timed(lambda: made.run("repro", "--jobs", "1"))
    found["dry run"] = timed(lambda: made.run("repro", "--dry-run"))
    found["lock kB"] = (made.root / "dvc.lock").stat().st_size // 1000
    return found


def planned(made, cells):
    """Return the seconds that it takes to say what a study would do that has not begun."""
    widen(made, cells)
    for folder in ("models", "results"):
        shutil.rmtree(made.root / folder)
    found = {"cells": len(cells_of(load_study(made.root / "params.yaml"))) // 2}
    found["plan"] = timed(lambda: made.run("plan", "--run-sd", "0.01"))
    found["dry run"] = timed(lambda: made.run("repro", "--dry-run"))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cells", type=int, nargs="+", default=[100, 400, 1000])
    parser.add_argument("--planned", type=int, default=2000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.keep or Path(temporary) / "project"
        folder.mkdir(parents=True, exist_ok=True)
        made = project(folder)
        rows = []
        for cells in asked.cells:
            rows.append(measured(made, cells))
            print(rows[-1], flush=True)
        rows.append(planned(made, asked.planned))
        print(rows[-1], flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
