"""What re-runs when something of a study changes: its cells, and no others."""

import json

import pytest

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def least(checkout):
    """The small study with one size and one task, run."""
    made = checkout()

    def shrink(study):
        study["grid"]["sizes"] = [16]
        study["grid"].update(objectives=["clef", "simclr", "simclr-surrogates"])
        study["grid"]["labelled"] = ["supervised-subset"]
        study["evaluation"]["tasks"] = [study["tune"]["task"]]
        study["report"]["primary_task"] = study["tune"]["task"]

    made.change(shrink)
    made.run("repro", "--jobs", "1")
    return made


SCALED = ("clef", "simclr", "simclr-surrogates", "supervised-subset")


def rewritten(before, after):
    """Return the cells whose results were written anew, by phase."""
    names = {name for name, content in after.items() if before.get(name) != content}
    return {
        phase: {n.partition("/")[2][:-5] for n in names if n.startswith(phase)}
        for phase in ("pretrain", "evaluate")
    }


def test_a_changed_parameter_reruns_its_objective_and_a_new_size_its_own_cells(least):
    before = least.results()

    def change(study):
        study["objectives"]["clef"].update(params={"temperature": 0.2})
        study["grid"]["sizes"].append(32)

    least.change(change)
    least.run("repro", "--jobs", "1")
    expected = {
        "clef/net1d-tiny/n16-o0-s0",
        *(f"{name}/net1d-tiny/n32-o0-s0" for name in SCALED),
    }
    assert rewritten(before, least.results()) == {"pretrain": expected, "evaluate": expected}


def test_what_was_run_before_comes_from_the_cache(least):
    def restore(study):
        study["grid"]["sizes"].remove(32)
        study["objectives"]["clef"]["params"] = {}

    before = least.results()
    least.change(restore)
    least.run("repro", "--jobs", "1")
    restored = rewritten(before, least.results())
    expected = {"clef/net1d-tiny/n16-o0-s0"}
    assert restored == {"pretrain": expected, "evaluate": expected}
    assert list((least.root / "reports" / "metrics").rglob("*.json"))


def test_a_new_replicate_runs_its_own_cells_and_another_layout_only_what_it_lacks(least):
    before = least.results()

    def put(*pairs):
        replicates = [{"order": order, "seed": seed} for order, seed in pairs]
        least.change(lambda study: study["grid"].update(replicates=replicates))
        least.run("repro", "--jobs", "1")

    put((0, 0), (1, 1))
    expected = {f"{name}/net1d-tiny/n16-o1-s1" for name in SCALED}
    expected.add("random/net1d-tiny/n0-o1-s1")
    added = least.results()
    assert rewritten(before, added) == {"pretrain": expected, "evaluate": expected}
    overlap = json.loads((least.root / "data/subsets/n16/overlap.json").read_text())
    assert overlap["shared"].keys() == {"0-1"}

    put((0, 1), (1, 1))  # in another place of the list
    crossed = least.results()
    expected = {name.replace("-o1-s1", "-o0-s1") for name in expected}
    assert rewritten(added, crossed) == {"pretrain": expected, "evaluate": expected}
