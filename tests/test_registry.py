"""The registry finds modules by itself and keeps names unique."""

import sys

import pytest

from ecgscale.errors import BadInputError
from ecgscale.registry import Registry


@pytest.fixture
def family(tmp_path, monkeypatch):
    package = tmp_path / "zoo"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from ecgscale.registry import Registry\nanimals = Registry('animal', 'zoo')\n"
    )
    (package / "cat.py").write_text(
        "from zoo import animals\n@animals.register('cat')\nclass Cat: ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield package
    for name in [name for name in sys.modules if name.split(".")[0] == "zoo"]:
        del sys.modules[name]


def test_a_new_file_is_found_without_being_listed(family):
    (family / "dog.py").write_text(
        "from zoo import animals\n@animals.register('dog')\nclass Dog: ...\n"
    )
    from zoo import animals

    assert animals.names() == ["cat", "dog"]
    assert animals.get("dog").__name__ == "Dog"


def test_an_unknown_name_lists_the_known_ones(family):
    from zoo import animals

    with pytest.raises(BadInputError, match="no animal is named 'cow'; there are: cat"):
        animals.get("cow")


def test_two_classes_of_one_name_are_an_error(family):
    (family / "lion.py").write_text(
        "from zoo import animals\n@animals.register('cat')\nclass Lion: ...\n"
    )
    from zoo import animals

    with pytest.raises(ValueError, match=r"named 'cat': zoo\.cat and zoo\.lion"):
        animals.names()


def test_registering_the_same_class_again_is_harmless():
    registry: Registry[object] = Registry("thing", "json")

    class Thing: ...

    assert registry.register("thing")(Thing) is registry.register("thing")(Thing)
