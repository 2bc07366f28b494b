"""What decides a stage's output: its settings with every default, its code, its libraries."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import ecgscale
from ecgscale.errors import BadInputError
from ecgscale.study.file import Study, load_study
from ecgscale.study.resolve import validate, write_resolved


@pytest.fixture
def study(project):
    return yaml.safe_load((project / "params.yaml").read_text())


@pytest.fixture
def resolved(study, tmp_path):
    """Return what is resolved of the study after a change: file to content."""

    def resolve(change=lambda study: None):
        changed = json.loads(json.dumps(study))
        change(changed)
        out = tmp_path / "resolved"
        write_resolved(Study(**changed), out, tmp_path / "kept.json")
        files = sorted(out.rglob("*.json"))
        return {p.relative_to(out).as_posix()[:-5]: json.loads(p.read_text()) for p in files}

    return resolve


def changed(before, after):
    return {name for name in {*before, *after} if before.get(name) != after.get(name)}


EVERY = {
    "one objective's parameter": (
        lambda s: s["objectives"]["clef"].update(params={"temperature": 0.2}),
        {"pretrain/clef/net1d-tiny", "tune/clef", "report"},
    ),
    "a size in between": (
        lambda s: s["grid"]["sizes"].append(200),
        {"grid", "subsets/n200", "subsets/n400", "report"},
    ),
    "a replicate with an order of its own": (
        lambda s: s["grid"]["replicates"].append({"order": 3, "seed": 3}),
        {"grid", "subsets/n64", "subsets/n160", "subsets/n400", "subsets/n1000", "report"},
    ),
    "a replicate of known orders": (
        lambda s: s["grid"].update(replicates=[{"order": 0, "seed": 0}, {"order": 1, "seed": 1}]),
        {"grid", "subsets/n64", "subsets/n160", "subsets/n400", "subsets/n1000", "report"},
    ),
    "what is changed of the records": (
        lambda s: s["objectives"]["simclr-surrogates"].update(data={}),
        {"pretrain/simclr-surrogates/net1d-tiny", "report"},
    ),
    "settings of a readout that is not used": (
        lambda s: s["evaluation"].setdefault("readouts", {}).update(knn={"k": 3}),
        set(),
    ),
    "when a run shows in the store": (
        lambda s: s["study"].update(live_tracking_after=1.0),
        set(),
    ),
    "another objective to search": (
        lambda s: s["tune"]["objectives"].update(simclr=None),
        {"tune/simclr", "report"},
    ),
    "what the report declares": (lambda s: s["report"].update(seed=1), {"report"}),
    "how long a search is": (lambda s: s["tune"].update(trials=9), {"tune/clef", "report"}),
    "the description": (lambda s: s["study"].update(description="other"), {"report"}),
    "one source": (
        lambda s: s["sources"]["sim-music"].update(max_quarantined=0.2),
        {"sources/sim-music", "report"},
    ),
    "one cohort": (
        lambda s: s["simulate"]["sim-music"].update(seed=9),
        {"cohorts/sim-music", "report"},
    ),
}


@pytest.mark.parametrize("what", EVERY)
def test_a_changed_setting_changes_what_it_decides(resolved, what):
    change, expected = EVERY[what]
    assert changed(resolved(), resolved(change)) == expected


def test_the_lead_matters_to_the_training_of_encoders_with_one(resolved):
    def change(study):
        study["evaluation"]["lead"] = "V1"

    names = changed(resolved(), resolved(change))
    assert "evaluate/clef/net1d-tiny" in names
    assert not {name for name in names if name.startswith("pretrain/")}

    def one_lead(study):
        study["encoders"]["net1d-tiny"]["params"]["in_channels"] = 1

    def both(study):
        one_lead(study)
        change(study)

    assert "pretrain/clef/net1d-tiny" in changed(resolved(one_lead), resolved(both))


def test_every_default_is_filled_in(resolved):
    settings = resolved()["pretrain/simclr/net1d-tiny"]["settings"]
    assert settings["objective"]["params"]["temperature"] > 0
    assert settings["objective"]["training"]["clip_norm"] == 1.0
    assert settings["encoder"]["params"]["batch_norm"] is False
    assert settings["axes"]["role"] == "objective"
    assert not {"cell", "size", "order", "seed"} & settings["axes"].keys()


def test_the_report_reaches_the_tasks_that_it_says_are_missing(resolved):
    def only_ptb_xl(study):
        task = "ptb-xl-form"
        study["evaluation"]["tasks"] = [task]
        study["report"]["primary_task"] = study["tune"]["task"] = task

    found = resolved(only_ptb_xl)
    assert "datasets/music/music-tasks.yaml" in found["report"]["tables"]
    assert "datasets/music/music-tasks.yaml" not in found["targets"]["tables"]


def test_a_search_reaches_no_more_than_its_trials(resolved):
    found = resolved()
    search, cell = (set(found[f"{name}"]["modules"]) for name in ("tune/clef", CELL))
    assert "ecgscale.objectives.search_space" in search - cell
    assert "ecgscale.training.card" in cell - search
    rooms = ("data.pool", "data.simulate", "data.sources", "scaling")
    assert not [name for name in search if name.startswith(tuple(f"ecgscale.{r}" for r in rooms))]


def test_only_what_makes_surrogates_or_reads_labels_follows_their_code(resolved):
    found = resolved()
    reached = {
        module: {name.split("/")[1] for name in found if module in found[name].get("modules", {})}
        for module in ("ecgscale.data.surrogate", "ecgscale.training.labels")
    }
    assert reached == {
        "ecgscale.data.surrogate": {"simclr-surrogates"},
        "ecgscale.training.labels": {"supervised", "supervised-subset"},
    }


CELL = "pretrain/clef/net1d-tiny"


def test_libraries_that_decode_or_compute_are_named(resolved):
    found = resolved()
    assert "torch" in found["pretrain/simclr/net1d-tiny"]["libraries"]
    assert "torchmetrics" in found["evaluate/simclr/net1d-tiny"]["libraries"]
    assert "scipy" in found["sources/sim-ptb-xl"]["libraries"]
    assert "sleepecg" in found["baselines/ecg-features"]["libraries"]
    assert "sleepecg" not in found["baselines/age-sex"]["libraries"]

    def read_with_wfdb(study):
        study["sources"]["sim-ptb-xl"].update(reader="wfdb-tree", options={})

    assert "soundfile" in resolved(read_with_wfdb)["sources/sim-ptb-xl"]["libraries"]


@pytest.mark.long
def test_nothing_is_kept_of_an_objective_of_another_package(study, tmp_path):
    """What another package's module says is in no state of this one: it is read each time."""
    (tmp_path / "elsewhere.py").write_text(PLUGIN)
    run = [sys.executable, "-c", RESOLVE, json.dumps(study), str(tmp_path)]
    path = tmp_path / "resolved" / "pretrain" / "elsewhere" / "net1d-tiny.json"
    found = []
    for text in (PLUGIN, PLUGIN, PLUGIN.replace("+ 1", "+ 2")):
        (tmp_path / "elsewhere.py").write_text(text)
        subprocess.run(
            run,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), SOURCE])},
        )
        found.append(path.read_text())
    assert found[0] == found[1] != found[2]


SOURCE = str(Path(ecgscale.__file__).parents[1])
PLUGIN = """
from ecgscale.objectives.base import objectives
from ecgscale.objectives.simclr import Simclr

@objectives.register("elsewhere")
class Elsewhere(Simclr):
    constant = 1 + 1
"""
RESOLVE = """
import json, sys
from pathlib import Path
import elsewhere
from ecgscale.study.file import Study
from ecgscale.study.resolve import write_resolved
study = json.loads(sys.argv[1])
study["objectives"]["elsewhere"] = {"kind": "elsewhere"}
study["grid"]["objectives"] = [*study["grid"]["objectives"], "elsewhere"]
out = Path(sys.argv[2])
write_resolved(Study(**study), out / "resolved", out / "kept.json")
"""


def test_what_was_resolved_is_kept_until_a_setting_or_a_library_changes(study, tmp_path):
    out, kept = tmp_path / "resolved", tmp_path / "kept.json"
    path = out / "pretrain" / "clef" / "net1d-tiny.json"
    write_resolved(Study(**study), out, kept)
    first = path.read_bytes()
    held = json.loads(kept.read_text())
    held["contents"]["pretrain/clef/net1d-tiny"]["settings"] = "from the kept file"
    kept.write_text(json.dumps(held))
    write_resolved(Study(**study), out, kept)
    assert "from the kept file" in path.read_text()
    held["contents"]["pretrain/clef/net1d-tiny"]["libraries"]["torch"] = "0.1"
    for text in (json.dumps(held), "{", "[]"):
        kept.write_text(text)
        write_resolved(Study(**study), out, kept)
        assert path.read_bytes() == first


LABELLED = "supervised-subset"
BAD = {
    "labels in the objectives": (
        lambda s: (s["grid"]["labelled"].clear(), s["grid"]["objectives"].append(LABELLED)),
        "grid.objectives: supervised-subset learns the tasks' labels: name it in grid.labelled",
    ),
    "no labels in the labelled": (
        lambda s: (
            s["grid"]["objectives"].remove("simclr"),
            s["grid"]["labelled"].append("simclr"),
        ),
        "grid.labelled: simclr learns no labels: name it in grid.objectives",
    ),
    "a negative control without sizes": (
        lambda s: (
            s["grid"]["objectives"].remove("simclr-surrogates"),
            s["grid"]["controls"].append("simclr-surrogates"),
        ),
        "grid.controls: simclr-surrogates changes the records of a subset: name it in "
        "grid.objectives",
    ),
    "shuffled labels of an objective without": (
        lambda s: s["objectives"]["simclr-surrogates"].update(data={"shuffled_labels": True}),
        "objectives.simclr-surrogates.data.shuffled_labels: it learns no labels",
    ),
    "a layout": (lambda s: s["simulate"]["sim-music"].update(layout="nope"), "no layout is named"),
    "a reader": (lambda s: s["sources"]["sim-music"].update(reader="nope"), "no source is named"),
    "a task": (lambda s: s["evaluation"]["tasks"].append("nope"), "no task is named"),
    "data of a task": (lambda s: s["evaluation"]["data"].pop("music"), "evaluation.data.music"),
    "a kind": (lambda s: s["objectives"]["clef"].update(kind="nope"), "no objective is named"),
    "a parameter": (
        lambda s: s["objectives"]["clef"].update(params={"nope": 1}),
        "nope",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_does_not_exist_is_one_sentence(study, what):
    change, sentence = BAD[what]
    change(study)
    with pytest.raises(BadInputError, match=sentence):
        validate(Study(**study))


def test_every_study_that_is_shipped_resolves(project):
    for path in (project / "params.yaml", *(project / "studies").glob("*.yaml")):
        validate(load_study(path))


class TestOwnTasks:
    """Tasks that a folder's source.yaml declares."""

    @pytest.fixture
    def clinic(self, study, tmp_path):
        """A function that resolves the study with a folder that declares a task."""
        root = tmp_path / "clinic"
        root.mkdir()
        study["sources"]["clinic"] = {"reader": "folder", "root": str(root)}
        study["evaluation"]["tasks"].append("clinic-af")

        def resolve(**task):
            described = {"format": "wfdb", "table": {"path": "t.csv", "record": "r"}}
            described["tasks"] = {"clinic-af": {"kind": "binary", "positive": ["AF"], **task}}
            (root / "source.yaml").write_text(yaml.safe_dump(described))
            out, kept = tmp_path / "resolved", tmp_path / "kept.json"
            write_resolved(
                Study(**study), out, kept
            )  # a kept file of another source.yaml is of no use
            return {
                path.relative_to(out).with_suffix("").as_posix(): json.loads(path.read_text())
                for path in out.rglob("*.json")
            }

        return resolve

    def test_the_declaration_decides_the_targets_and_the_report(self, clinic):
        before = clinic()
        declared = before["targets"]["settings"]["declared"]["clinic-af"]
        assert (declared["positive"], declared["minimum_positives"]) == (["AF"], 10)
        assert before["targets"]["settings"]["data"]["clinic"] == "clinic"
        for change in ({"positive": ["AF", "AFL"]}, {"title": "AF"}):
            assert changed(before, clinic(**change)) == {"targets", "report"}

    def test_a_column_that_is_read_decides_the_store(self, clinic):
        found = changed(clinic(), clinic(column="out", positive=["died"]))
        assert found == {"sources/clinic", "targets", "report"}

    def test_a_mistake_is_one_sentence(self, clinic):
        with pytest.raises(BadInputError, match=r"source\.yaml: tasks\.clinic-af\.colum: Extra"):
            clinic(colum="out")

    def test_a_name_that_comes_with_the_package_is_refused(self, study):
        task = {"kind": "binary", "positive": ["AF"]}
        study["sources"]["sim-music"]["options"] = {"tasks": {"chapman-38": task}}
        study["sources"]["sim-music"]["root"] = "."
        with pytest.raises(BadInputError, match=r"tasks\.chapman-38: a task of this name"):
            validate(Study(**study))


def test_a_newcomers_study_needs_few_keys(study):
    for section in ("tune", "pool", "report"):
        study.pop(section)
    for source in study["sources"].values():
        source.pop("watch")
    made = Study(**study)
    assert made.tune is None
    assert made.report.primary_task == study["evaluation"]["tasks"][0]
    assert list(made.pool) == list(study["sources"])
    assert made.sources["sim-music"].watch == made.sources["sim-music"].root
    validate(made)


def test_claims_and_literature_decide_the_report_alone(resolved, project, tmp_path, monkeypatch):
    for name in ("claims.yaml", "literature"):
        os.symlink(project / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    before = resolved()
    assert {"ecgscale.objectives.clef", "ecgscale.ledger.checks.loss_terms"} <= set(
        before["report"]["modules"]
    )
    stated = yaml.safe_load((project / "claims.yaml").read_text())["claims"]
    for name in ("claims.yaml", "literature"):
        (tmp_path / name).unlink()
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump({"claims": stated[:1]}))
    after = resolved()
    assert changed(before, after) == {"report"}
    assert before["report"]["settings"]["literature"] != after["report"]["settings"]["literature"]
    assert "ecgscale.ledger.checks.loss_terms" not in after["report"]["modules"]
