"""Lineage leads from any figure to the raw files, from these to every figure, and names changes."""

import json

import pytest

from ecgscale.errors import BadInputError
from ecgscale.pipeline.ancestry import line, to_json, tree
from ecgscale.pipeline.origins import ancestry
from ecgscale.runs.record import DatasetInput
from support.tracked import keep, record

CELL = "clef/net1d-tiny/n8-o0-s0"
SUBSET, TABLE, STORE, RAW = "5b" * 32, "7a" * 32, "57" * 32, "4a" * 32
STATE = {"git_commit": "c0ffee" * 6, "git_diff": "d1ff" * 4, "environment": "e0" * 8}


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))


def tables(*digests):
    parts = ("/training", "training"), ("/validation", "validation"), ("", "test")
    return [
        DatasetInput(name=f"t{part}", digest=digest, context=context, source="data/tasks/t.parquet")
        for digest in digests
        for part, context in parts
    ]


@pytest.fixture
def root(tmp_path):
    """A project with one cell, its evaluation, a baseline and a report."""
    files = {"signals-0.npy": {"bytes": 5, "sha256": "f1" * 32}}
    write(
        tmp_path / "data/store/hills/MANIFEST.json",
        {
            **{"digest": STORE, "stored": 9, "records": 10, "reader": "ptb-xl", "files": files},
            "inputs": {"files": 20, "bytes": 4000, "sha256": RAW},
        },
    )
    write(tmp_path / "data/resolved/sources/hills.json", {"settings": {"root": "/mnt/hills"}})
    write(
        tmp_path / "data/tasks/manifest.json",
        {"t": {"digest": TABLE, "source": "hills", "store_digest": STORE, "counts": {"test": 3}}},
    )
    write(
        tmp_path / "data/subsets/n8/o0/manifest.json",
        {
            **{"size": 8, "order": 0, "digest": SUBSET, "patients": 8, "records": 9},
            "stores": {"hills": STORE},
        },
    )
    tags = {"model_digest": "40de1" * 8, "code_digest": "c0de" * 4, **STATE}
    subset = {"name": "n8-o0", "digest": SUBSET, "source": "data/subsets/n8/o0"}
    made_from = {
        "data/resolved/pretrain/clef/net1d-tiny.json": "5e77" * 8,
        "data/subsets/n8/o0/records.parquet": "99" * 16,
    }
    trained = record(
        cell=CELL,
        inputs=[DatasetInput(context="pretraining", **subset)],
        tags=tags,
        made_from=made_from,
    )
    scores = {"t.macro_auroc": 0.75}
    read = {**made_from, f"models/{CELL}": "88" * 16, "data/tasks": "77" * 16}
    evaluated = record("evaluate", CELL, inputs=tables(TABLE), tags=tags, metrics=scores)
    keep(tmp_path, trained)
    keep(tmp_path, evaluated.model_copy(update={"made_from": read}))
    keep(tmp_path, record("evaluate", "baseline/age-sex", inputs=tables(TABLE), metrics=scores))
    rows = "".join(f"{cell},t,macro_auroc,0.75\n" for cell in (CELL, "baseline/age-sex"))
    write(tmp_path / "reports/runs.csv", "cell,endpoint,metric,score\n" + rows)
    for name in ("index.html", "figures/scaling-simulated.svg"):
        write(tmp_path / "reports" / name, "")
    write(
        tmp_path / "dvc.lock",
        f"stages:\n  a:\n    outs: [{{path: models/{CELL}, md5: abcdef0123.dir}}]\n",
    )
    return tmp_path


def names(root, asked, up):
    """Kind and path or name of all that a thing was made of, or of all that was made of it."""
    graph = ancestry(root)
    told = to_json(graph, graph.find(asked, root))
    keys = told["made_of" if up else "used_by"]
    things = [told["things"][key] for key in keys]
    return {f"{thing['kind']} {thing['path'] or thing['name']}" for thing in things}


TRAINED = {
    f"run results/pretrain/{CELL}.json",
    "subset data/subsets/n8/o0",
    "store data/store/hills",
    "raw files /mnt/hills",
    "settings data/resolved/pretrain/clef/net1d-tiny.json",
    "code that pretrain reaches",
    "commit git",
    f"edits .ecgscale/diffs/{STATE['git_diff']}.patch",
    f"environment .ecgscale/environments/{STATE['environment']}.txt",
}
EVALUATED = {
    f"run results/evaluate/{CELL}.json",
    f"encoder models/{CELL}",
    "task data/tasks/t.parquet",
    "code that evaluate reaches",
}
REPORTED = {
    "report reports",
    "table reports/runs.csv",
    "page reports/index.html",
    "figure reports/figures/scaling-simulated.svg",
}


@pytest.mark.parametrize(
    "asked", [f"models/{CELL}", f"models/{CELL}/encoder.safetensors", "40de140de1", "abcdef0123"]
)
def test_an_encoder_leads_up_to_the_raw_files_and_down_to_the_figures(root, asked):
    assert names(root, asked, up=True) == TRAINED
    assert names(root, asked, up=False) == {f"run results/evaluate/{CELL}.json", *REPORTED}


def test_a_figure_leads_up_to_all_that_is_behind_it(root):
    above = names(root, "reports/figures/scaling-simulated.svg", up=True)
    assert {*TRAINED, *EVALUATED, "report reports"} < above
    assert "run results/evaluate/baseline/age-sex.json" in above


@pytest.mark.parametrize("asked", ["/mnt/hills", RAW, RAW[:8], "data/store/hills", "f1" * 32])
def test_raw_files_and_stores_lead_down_to_every_run_and_figure(root, asked):
    below = names(root, asked, up=False)
    runs = {
        *(f"run results/{phase}/{CELL}.json" for phase in ("pretrain", "evaluate")),
        "run results/evaluate/baseline/age-sex.json",
    }
    assert {*runs, f"encoder models/{CELL}", *REPORTED} <= below


@pytest.mark.parametrize("asked", [STATE["environment"], STATE["git_diff"], "5e775e77"])
def test_what_a_run_was_made_in_leads_down_to_it(root, asked):
    assert f"run results/pretrain/{CELL}.json" in names(root, asked, up=False)


def test_a_run_is_found_by_its_id(root):
    kept = json.loads((root / f"results/pretrain/{CELL}.json").read_text())
    digest = ancestry(root).find(f"results/pretrain/{CELL}.json", root).digest
    graph = ancestry(root, {digest: "0123456789abcdef"})
    thing = graph.find("0123456789abcdef", root)
    assert (thing.name, kept["cell"]) == (f"pretrain {CELL}", CELL)
    assert "mlflow run 0123456789abcdef" in line(thing)


def test_a_tree_shows_everything_once_and_says_what_it_leaves_out(root):
    graph = ancestry(root)
    up = list(tree(graph, graph.find("reports/index.html", root), up=True))
    assert sum("raw files" in row for row in up) == 1
    again = ["(see above)" in row for row in up if "data/tasks/t.parquet" in row]
    assert again == [False, True]
    table = graph.find("data/tasks/t.parquet", root)
    every, few = (list(tree(graph, table, up=False, most=most)) for most in (None, 1))
    assert sum("run         evaluate" in row for row in every) == 2
    assert sum("run         evaluate" in row for row in few) == 1
    assert few[-1] == "└─ run         and 1 more"


def test_a_state_that_is_no_longer_there_is_said(root):
    path = root / "data/tasks/manifest.json"
    path.write_text(path.read_text().replace(TABLE, "7b" * 32))
    graph = ancestry(root)
    used = graph.find(TABLE, root)
    assert used.facts == {"here now": ("7b" * 32)[:12]}
    assert graph.find("data/tasks/t.parquet", root).digest == "7b" * 32
    assert not graph.used_by.get(graph.find("7b" * 32, root).key)


def test_a_report_of_other_results_says_so(root):
    assert "out of date" not in ancestry(root).find("reports", root).facts
    keep(root, record("evaluate", "baseline/age-sex", metrics={"t.macro_auroc": 0.5}))
    facts = ancestry(root).find("reports", root).facts
    assert facts["out of date"] == "results of 1 cells are others now"


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("nonsense", "nonsense is no file, run or digest that this project knows of"),
        ("5b", "5b is no file, run or digest"),
        ("/etc/passwd", "/etc/passwd is no file, run or digest"),
        ("results", "results names 3 things"),
    ],
)
def test_what_is_not_known_or_not_one_thing_is_a_sentence(root, asked, sentence):
    with pytest.raises(BadInputError, match=sentence):
        ancestry(root).find(asked, root)


def test_a_damaged_manifest_is_named(root):
    (root / "data/store/hills/MANIFEST.json").write_text("{")
    with pytest.raises(BadInputError, match=r"hills/MANIFEST\.json is not JSON"):
        ancestry(root)
