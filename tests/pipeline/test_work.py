"""Which records are up to date, and what becomes of those that are not."""

import json
import shutil

import pytest

from ecgscale.files import path_digest
from ecgscale.pipeline import work
from ecgscale.pipeline.work import Digests, Task
from ecgscale.runs.record import RunRecord, result_path
from ecgscale.study.file import Study, load_study

CELL = "simclr/net1d-tiny/n64-o0-s0"
PRETRAIN, EVALUATE = Task("pretrain", CELL), Task("evaluate", CELL)
LABELLED = Task("pretrain", "supervised-subset/net1d-tiny/n64-o0-s0")
CONTROL = Task("pretrain", "random/net1d-tiny/n0-o0-s0")
BASELINE = Task("evaluate", "baseline/age-sex")


@pytest.fixture(scope="module")
def study(project):
    return load_study(project / "params.yaml")


@pytest.fixture
def root(tmp_path, study):
    """A project whose records are all made, by hand."""
    for task in (PRETRAIN, EVALUATE, LABELLED, CONTROL, BASELINE):
        for path in work.reads(task, study):
            if not path.startswith("models/"):
                write(tmp_path / path / ("table.json" if path == "data/tasks" else ""), path)
    for task in (PRETRAIN, LABELLED, CONTROL, EVALUATE, BASELINE):
        make(task, study, tmp_path)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def make(task, study, root, value=0.5):
    """Write the record of a task, and an encoder where it trains one, as the stages do."""
    made = []
    if task.phase == "pretrain":
        made = [f"models/{task.name}/encoder.safetensors", f"models/{task.name}/config.yaml"]
        for path in made:
            write(root / path, f"{path} {value}")
    RunRecord(
        phase=task.phase,
        study=study.study.name,
        cell=task.name,
        axes={},
        params={},
        metrics={"score": value, "undefined": float("nan")},
        made_from=Digests(root).of(work.reads(task, study)),
        made={path: path_digest(root / path) for path in made},
        started="2026-01-01T00:00:00.000+00:00",
        ended="2026-01-01T00:00:01.000+00:00",
    ).write(result_path(root / "results", task.phase, task.name))


ALL = [PRETRAIN, LABELLED, CONTROL, EVALUATE, BASELINE]


def due(study, root):
    return work.due(ALL, study, root)


def test_what_nothing_happened_to_is_up_to_date(study, root):
    assert due(study, root) == []
    assert not work.perform(PRETRAIN, study, root)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("data/resolved/pretrain/simclr/net1d-tiny.json", [PRETRAIN, EVALUATE]),
        ("data/resolved/evaluate/simclr/net1d-tiny.json", [EVALUATE]),
        ("data/resolved/baselines/age-sex.json", [BASELINE]),
        ("data/subsets/n64/o0/records.parquet", [PRETRAIN, LABELLED, EVALUATE]),
        ("data/tasks/table.json", [LABELLED, CONTROL, EVALUATE, BASELINE]),
        (f"models/{CELL}/encoder.safetensors", [PRETRAIN, EVALUATE]),
        (f"models/{CELL}/config.yaml", [PRETRAIN, EVALUATE]),
        (f"results/pretrain/{CELL}.json", [PRETRAIN, EVALUATE]),
        (f"results/evaluate/{CELL}.json", [EVALUATE]),
    ],
)
@pytest.mark.parametrize("how", ["a byte is changed", "it is deleted"])
def test_a_changed_file_makes_out_of_date_what_reads_or_wrote_it(study, root, path, expected, how):
    if how == "it is deleted":
        (root / path).unlink()
    else:
        content = bytearray((root / path).read_bytes())
        place = content.index(b"0.5") if b"0.5" in content else len(content) // 2
        content[place + 2 if b"0.5" in content else place] ^= 1
        (root / path).write_bytes(bytes(content))
    assert due(study, root) == expected


def test_what_lies_beside_a_subset_decides_nothing(study, root):
    write(root / "data/subsets/n64/o0/manifest.json", "{}")
    write(root / "data/subsets/n64/overlap.json", "{}")
    assert due(study, root) == []


def test_a_record_of_another_study_is_not_this_ones(study, root):
    other = study.model_copy(update={"study": study.study.model_copy(update={"name": "other"})})
    assert due(other, root) == ALL


def test_a_record_from_before_inputs_were_kept_is_made_again(study, root):
    path = result_path(root / "results", "evaluate", CELL)
    content = json.loads(path.read_text())
    for key in ("made_from", "made", "digest"):
        content.pop(key, None)
    path.write_text(json.dumps(content))
    assert due(study, root) == [EVALUATE]


def test_what_is_taken_back_comes_from_aside(study, root, monkeypatch):
    settings = root / "data/resolved/pretrain/simclr/net1d-tiny.json"
    files = [result_path(root / "results", "pretrain", CELL), *(root / "models" / CELL).iterdir()]
    before = {path: path.read_bytes() for path in files}
    made = []

    def compute(task, study, root):
        made.append(task)
        make(task, study, root, value=0.25 * len(made))

    monkeypatch.setattr(work, "_make", compute)
    first = settings.read_text()
    settings.write_text("other settings")
    assert work.perform(PRETRAIN, study, root)
    assert {path: path.read_bytes() for path in files} != before
    settings.write_text(first)
    assert work.perform(PRETRAIN, study, root)
    assert made == [PRETRAIN]
    assert {path: path.read_bytes() for path in files} == before
    settings.write_text("other settings")
    assert work.perform(PRETRAIN, study, root)
    assert made == [PRETRAIN]


def test_what_was_damaged_is_not_kept(study, root, monkeypatch):
    monkeypatch.setattr(work, "_make", make)
    (root / "models" / CELL / "encoder.safetensors").write_text("other weights")
    work.perform(PRETRAIN, study, root)
    assert not list((root / work.ASIDE).glob("*"))
    assert due(study, root) == []


def test_half_of_what_was_set_aside_is_not_taken_back(study, root):
    work.set_aside(PRETRAIN, root)
    (place,) = (root / work.ASIDE).iterdir()
    shutil.rmtree(place / CELL.rpartition("/")[2])
    assert not work.take_back(PRETRAIN, study, root)
    assert not work.is_current(PRETRAIN, study, root, Digests(root))


def test_cells_that_a_study_no_longer_asks_for(study, root):
    assert work.superseded(study, root) == []
    sizes = tuple(size for size in study.grid.sizes if size != 64)
    smaller = study.model_copy(update={"grid": study.grid.model_copy(update={"sizes": sizes})})
    assert work.superseded(smaller, root) == [PRETRAIN, LABELLED, EVALUATE]


def test_every_record_of_a_study_is_a_task_of_one_curve(study: Study):
    tasks = work.study_tasks(study)
    assert len(tasks) == len(set(tasks)) == 2 * 54 + 3
    assert {task.curve for task in tasks if not task.baseline} == {
        f"{name}/net1d-tiny" for name in (*study.grid.scaled, *study.grid.controls)
    }
