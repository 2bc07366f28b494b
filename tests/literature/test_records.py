"""Published results as run records."""

import pytest

from ecgscale.literature import read_literature
from ecgscale.literature.records import literature_records, write_records
from ecgscale.runs.record import read_results
from literature.test_publication import PAPER, changed, write


@pytest.fixture
def root(tmp_path):
    (tmp_path / "literature").mkdir()
    write(tmp_path / "literature", PAPER)
    return tmp_path


def test_a_record_is_a_model_of_a_publication(root):
    assert write_records(root) == 2
    first, second = read_results(root / "results", "literature")
    assert (first.cell, second.cell) == ("paper/a", "paper/b")
    assert first.metrics == {"af.macro_auroc.finetune": 0.95, "af.macro_auroc.linear": 0.9}
    assert first.params["records"] == 1000
    assert (first.params["size_grade"], first.params["grade of af"]) == ("2nd", "R")
    assert first.tags["identifier"] == "arXiv:2501.00001"
    assert first.details["exposure"] == {"ptb-xl": "seen"}
    assert first.started == "2025-01-01T00:00:00+00:00"


def test_the_same_files_give_the_same_records_and_a_removed_one_goes(root):
    write_records(root)
    before = [record.digest for record in read_results(root / "results", "literature")]
    write_records(root)
    assert [record.digest for record in read_results(root / "results", "literature")] == before
    paper = changed("models", value={"b": PAPER["models"]["b"]})
    paper["results"][0]["values"].pop("a")
    write(root / "literature", paper)
    assert write_records(root) == 1
    assert [record.cell for record in read_results(root / "results", "literature")] == ["paper/b"]


def test_names_are_such_that_mlflow_takes_them(project):
    for record in literature_records(read_literature(project / "literature")):
        for name in (*record.metrics, *record.params):
            assert set(name) <= set(
                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-. :/"
            )
