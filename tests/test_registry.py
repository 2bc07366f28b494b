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


def test_two_classes_of_one_name_are_nobodys_and_the_others_stay(family):
    (family / "lion.py").write_text(
        "from zoo import animals\n@animals.register('cat')\nclass Lion: ...\n"
    )
    (family / "dog.py").write_text(
        "from zoo import animals\n@animals.register('dog')\nclass Dog: ...\n"
    )
    from zoo import animals

    assert animals.names() == ["dog"]
    with pytest.raises(BadInputError, match=r"named 'cat': zoo\.cat and zoo\.lion"):
        animals.get("cat")


BROKEN = {
    "syntax": ("x = (\n", "{file}, line 1: '(' was never closed"),
    "import": (
        "import nowhere\n",
        "{file}, line 1: ModuleNotFoundError: No module named 'nowhere'",
    ),
    "validation": (
        "from ecgscale.data.recipe import Recipe\nRecipe(fs=-1)\n",
        "{file}, line 2: fs: Input should be greater than 0",
    ),
    "half way": (
        "from zoo import animals\n@animals.register('dog')\nclass Dog: ...\n1 / 0\n",
        "{file}, line 4: ZeroDivisionError: division by zero",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_file_is_one_sentence_and_the_others_stay(family, kind):
    text, sentence = BROKEN[kind]
    file = family / "dog.py"
    file.write_text(text)
    from zoo import animals

    assert animals.names() == ["cat"]
    assert animals.broken() == [sentence.format(file=file)]
    with pytest.raises(BadInputError) as raised:
        animals.get("dog")
    told = f"no animal is named 'dog'; there are: cat; {sentence.format(file=file)}"
    assert str(raised.value) == told


def test_a_class_without_what_its_family_needs_is_not_taken():
    registry: Registry[object] = Registry("thing", "json", required=("size",))

    class Thing: ...

    with pytest.raises(BadInputError, match=r"the thing small \(Thing\) has no size"):
        registry.register("small")(Thing)


def test_registering_the_same_class_again_is_harmless():
    registry: Registry[object] = Registry("thing", "json")

    class Thing: ...

    assert registry.register("thing")(Thing) is registry.register("thing")(Thing)
