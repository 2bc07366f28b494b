"""Published results in the tracking store."""

from ecgscale.literature.records import write_records
from ecgscale.runs import store, tracking
from ecgscale.runs.record import read_results
from literature.test_publication import PAPER, changed, write


def test_the_import_is_an_experiment_of_its_own_and_is_done_once(root):
    (root / "literature").mkdir()
    write(root / "literature", PAPER)
    write_records(root)
    assert len(tracking.sync(root / "results", root).created) == 2
    write_records(root)
    assert tracking.sync(root / "results", root).created == []
    runs = {run.cell: run for run in tracking.query("literature", "literature", root)}
    assert set(runs) == {"paper/a", "paper/b"}
    assert runs["paper/a"].record.metrics["af.macro_auroc.linear"] == 0.9
    records = read_results(root / "results", "literature")
    assert [held.problems for held in tracking.held(records, root, thorough=True)] == [(), ()]
    write(root / "literature", changed("models", "a", "records", value=2000))
    write_records(root)
    assert tracking.sync(root / "results", root).created == ["literature/paper/a"]
    found = tracking.query("literature", "literature", root)
    assert sum(store.SUPERSEDED in run.tags for run in found) == 1
