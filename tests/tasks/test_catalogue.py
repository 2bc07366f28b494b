"""The catalogue: every task, what state its data is in, and a page that is up to date."""

from pathlib import Path

import pytest

from ecgscale.study.file import load_study
from ecgscale.tasks import tasks
from ecgscale.tasks.catalogue import PAGES_COMMAND, catalogue, task_page, write_pages
from ecgscale.tasks.targets import write_targets

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def study():
    study = load_study(REPOSITORY / "params.yaml")
    data = {"ptb-xl": "sim-ptb-xl"}
    settings = study.evaluation.model_copy(update={"data": data, "tasks": ("ptb-xl-form",)})
    return study.model_copy(update={"evaluation": settings})


def test_every_task_is_listed_once_with_its_state(study, random_records, write_store, tmp_path):
    records = random_records(tasks.get("ptb-xl-form").metadata)
    write_store(tmp_path / "stores", "sim-ptb-xl", records)
    manifest = write_targets(
        study.evaluation.tasks,
        study.evaluation.data,
        tmp_path / "stores",
        tmp_path / "data" / "tasks",
    )
    entries = {entry.metadata.name: entry for entry in catalogue(study.evaluation.data, tmp_path)}
    assert sorted(entries) == tasks.names()
    assert entries["ptb-xl-form"].state == "installed"
    assert entries["ptb-xl-form"].counts == manifest["ptb-xl-form"]["counts"]
    assert entries["ptb-xl-rhythm"].state == "not ingested"
    assert "sim-ptb-xl" in entries["ptb-xl-rhythm"].advice
    chapman = entries["chapman-38"]
    assert (chapman.state, chapman.counts) == ("not installed", {})
    assert chapman.metadata.url in chapman.advice
    assert chapman.suites == ("chaparral-cls13",)
    assert chapman.to_json()["labels"] == 38


@pytest.mark.parametrize("name", tasks.names())
def test_a_page_holds_all_that_is_known(name):
    metadata = tasks.get(name).metadata
    page = task_page(metadata)
    assert all(f"| {label.name} |" in page for label in metadata.labels)
    for text in (metadata.citation, metadata.licence, metadata.split_rule, metadata.url):
        assert text in page
    assert all(issue in page for issue in metadata.known_issues)


def test_the_pages_in_the_docs_are_up_to_date(tmp_path):
    written = {path.name: path.read_text() for path in write_pages(tmp_path)}
    committed = {path.name: path.read_text() for path in (REPOSITORY / "docs/tasks").glob("*.md")}
    assert committed == written, f"run `{PAGES_COMMAND}`"


def test_stale_pages_are_removed(tmp_path):
    (tmp_path / "no-such-task.md").write_text("old")
    assert tmp_path / "no-such-task.md" not in write_pages(tmp_path)
    assert not (tmp_path / "no-such-task.md").exists()
