"""The examples in the docstrings of these rooms run and print what they say."""

import doctest
import importlib
import pkgutil

import pytest

import ecgscale.report
import ecgscale.scaling

MODULES = [
    module.name
    for room in (ecgscale.scaling, ecgscale.report)
    for module in pkgutil.iter_modules(room.__path__, f"{room.__name__}.")
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_right(name):
    assert doctest.testmod(importlib.import_module(name)).failed == 0
