import pytest

from ecgscale.errors import BadInputError
from ecgscale.tasks import SUITES, suite, tasks


def test_chaparral_declares_thirteen_and_says_which_are_missing():
    chaparral = suite("chaparral-cls13")
    assert (chaparral.name, chaparral.version) == ("chaparral-cls13", 1)
    assert len(chaparral.declared) == len(set(chaparral.declared)) == 13
    assert chaparral.missing() == (
        "mimic-lvef-binary",
        "icentia11k-beat",
        "icentia11k-rhythm",
        "mc-med-ed-disposition",
        "mc-med-discharge-disposition",
        "mc-med-acuity",
        "music-outcome",
    )


def test_iterating_gives_the_implemented_tasks_in_the_suites_order():
    chaparral = suite("chaparral-cls13")
    found = list(chaparral)
    assert [task.metadata.name for task in found] == list(chaparral.available())
    assert [len(task.metadata.labels) for task in found] == [44, 23, 5, 19, 12, 38]
    assert len(chaparral) == 6


@pytest.mark.parametrize("name", sorted(SUITES))
def test_every_suite_is_consistent(name):
    found = suite(name)
    assert found.name == name
    assert found.primary in found.available()
    assert sorted(found.available() + found.missing()) == sorted(found.declared)
    assert set(found.available()) <= set(tasks.names())


def test_an_unknown_suite_is_refused_by_name():
    with pytest.raises(BadInputError, match=r"no suite is named 'nope'.*chaparral-cls13"):
        suite("nope")
