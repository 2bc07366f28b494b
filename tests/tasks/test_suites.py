import math
from dataclasses import replace

import pytest

from ecgscale.errors import BadInputError
from ecgscale.tasks import SUITES, suite, tasks
from ecgscale.tasks.suites import mean_over_tasks

LABELS = {
    "chaparral-cls13": [44, 23, 5, 19, 12, 38, 1, 3, 3, 4, 6, 5, 4],
    "chaparral-reg5": [1, 1, 1, 1, 1],
}
"""Columns of each task, in the suite's order; a binary task and a regression have one."""


@pytest.mark.parametrize("name", sorted(LABELS))
def test_every_task_of_chaparral_is_there_in_its_order(name):
    chaparral = suite(name)
    assert (chaparral.version, chaparral.missing()) == (1, ())
    found = list(chaparral)
    assert [task.metadata.name for task in found] == list(chaparral.declared)
    assert [len(task.metadata.labels) for task in found] == LABELS[name]
    regression = name == "chaparral-reg5"
    assert all((task.metadata.kind == "regression") == regression for task in found)
    assert len(chaparral) == len(LABELS[name])


def test_a_suite_says_which_of_its_tasks_are_not_there():
    known = suite("chaparral-reg5")
    longer = replace(known, declared=(*known.declared, "not-yet"))
    assert longer.missing() == ("not-yet",)
    assert longer.available() == known.declared
    assert len(list(longer)) == len(longer) == 5


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


def test_a_mean_over_tasks_needs_all_of_them():
    assert mean_over_tasks([0.5, 0.75]) == 0.625
    assert math.isnan(mean_over_tasks([0.5, math.nan]))
    assert math.isnan(mean_over_tasks([]))
