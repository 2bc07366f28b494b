"""What counts as code of a stage: all that it reaches, and nothing else."""

import json
import os
import shutil
import subprocess
import sys
from textwrap import dedent

import pytest

from ecgscale.code import _EFFECTS as AT_IMPORT
from ecgscale.code import MAY_BE_DYNAMIC, NEUTRAL, OBSERVERS, ROOT, closure
from ecgscale.code import _module as definitions_of

TOY = {
    "__init__.py": "",
    "entry.py": '''
        """A module."""

        from typing import TYPE_CHECKING

        import numpy as np
        import scipy.stats

        from ecgscale import whole
        from ecgscale.kept import passed
        from ecgscale.observer import watch

        if TYPE_CHECKING:
            from ecgscale.typed import Thing

        FACTOR = 2


        def double(x: "Thing"):
            """Return twice x."""
            watch(x)
            return passed(x) * FACTOR  # a comment


        def lazy():
            from ecgscale.late import passed

            return passed() + np.zeros(1)


        def pick():
            return whole.first()


        def reflect(name):
            return getattr(whole, name)


        def table():
            return "inner/codes.csv"


        def other():
            return scipy.stats.norm()
        ''',
    "whole.py": "def first():\n    return 1\n\n\ndef second():\n    return 2\n",
    "observer.py": "from ecgscale.whole import second\n\n\ndef watch(x):\n    second()\n",
    "typed.py": "class Thing:\n    pass\n",
    "late.py": "def passed():\n    return 5\n",
    "kept/__init__.py": "from ecgscale.kept.deep import passed\n"
    "from ecgscale.kept.aside import gone\n",
    "kept/deep.py": "from .near import scale\n\n\ndef passed(x):\n    return scale(x)\n",
    "kept/near.py": "class Base:\n    size = 1\n\n\nclass Sub(Base):\n    pass\n\n\n"
    "def scale(x):\n    return Sub.size * x\n",
    "kept/aside.py": "def gone():\n    pass\n",
    "inner/__init__.py": "",
    "inner/reads.py": "def named():\n    return f'{1}.txt'\n",
    "inner/codes.csv": "a,b\n",
    "inner/1.txt": "unnamed\n",
}


class Toy:
    """A package of the project's name with a few modules, and digests of what its entries reach."""

    def __init__(self, root, project):
        self.root = root / "ecgscale"
        for name, text in TOY.items():
            self.write(name, dedent(text).lstrip())
        for name in ("code.py", "files.py"):
            shutil.copy(project / "src" / "ecgscale" / name, self.root / name)

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def edit(self, name, old, new):
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def closure(self, *entries, without=("ecgscale.observer",)):
        code = (
            "import json; from ecgscale.code import closure; "
            f"print(json.dumps(closure(*{entries!r}, without={without!r})))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(self.root.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stderr.splitlines()[-1])
        return json.loads(done.stdout)


@pytest.fixture
def toy(tmp_path, project):
    return Toy(tmp_path, project)


EDITS = {
    "what a function does": ("entry.py", "* FACTOR", "+ FACTOR", "double"),
    "a constant that it names": ("entry.py", "FACTOR = 2", "FACTOR = 3", "double"),
    "what a package passes on": ("kept/near.py", "return Sub", "return 2 * Sub", "double"),
    "a base class": ("kept/near.py", "size = 1", "size = 2", "double"),
    "an import within a function": ("late.py", "5", "6", "lazy"),
    "a function of a module": ("whole.py", "return 1", "return 3", "pick"),
    "whatever a module holds": ("whole.py", "return 2", "return 3", "reflect"),
    "what runs at an import": ("late.py", "def", "assert True\n\n\ndef", "lazy"),
    "what runs at a package's import": ("__init__.py", "", "assert True\n", "pick"),
    "a table that is named": ("inner/codes.csv", "b", "c", "table"),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edit_of_what_is_reached_counts(toy, what):
    name, old, new, entry = EDITS[what]
    before = toy.closure(f"ecgscale.entry:{entry}")
    toy.edit(name, old, new)
    assert toy.closure(f"ecgscale.entry:{entry}") != before


OTHERS = {
    "a comment, a docstring, layout": [
        ("entry.py", "  # a comment", ""),
        ("entry.py", '"""Return twice x."""', '"""Twice x."""'),
        ("entry.py", "passed(x) * FACTOR", "(passed(x)  *  FACTOR)"),
    ],
    "another function of the module": [("entry.py", "norm()", "t()")],
    "another function of a module used": [("whole.py", "return 2", "return 3")],
    "an observer": [("observer.py", "second()", "second(); second()")],
    "what an observer reaches": [("whole.py", "return 2", "return 4")],
    "what is for type checkers": [("typed.py", "pass", "x = 1")],
    "what a package passes on to others": [("kept/aside.py", "pass", "return 1")],
    "a table of others": [("inner/codes.csv", "a", "z"), ("inner/1.txt", "unnamed", "new")],
    "an import of the same name in another function": [("late.py", "5", "6")],
}


@pytest.mark.parametrize("what", OTHERS)
def test_an_edit_of_anything_else_does_not(toy, what):
    entries = ("ecgscale.entry:double", "ecgscale.entry:pick")
    before = toy.closure(*entries)
    for edit in OTHERS[what]:
        toy.edit(*edit)
    assert toy.closure(*entries) == before


def test_a_table_whose_name_is_put_together_counts_for_its_neighbours(toy):
    before = toy.closure("ecgscale.inner.reads")
    toy.edit("inner/1.txt", "unnamed", "new")
    assert toy.closure("ecgscale.inner.reads") != before


def test_the_libraries_are_those_that_are_used(toy):
    assert toy.closure("ecgscale.entry:double")[2] == {}
    assert list(toy.closure("ecgscale.entry:lazy")[2]) == ["numpy"]
    assert list(toy.closure("ecgscale.entry:other")[2]) == ["scipy"]
    assert list(toy.closure("ecgscale.entry")[2]) == ["numpy", "scipy"]


@pytest.mark.parametrize(
    "line", ["importlib.import_module(x)", "__import__(x)", "exec(x)", "eval(x)", "globals()[x]"]
)
def test_code_that_cannot_be_followed_is_refused(toy, line):
    toy.write("loads.py", f"import importlib\n\n\ndef load(x):\n    return {line}\n")
    with pytest.raises(RuntimeError, match=r"ecgscale\.loads uses .* cannot be followed"):
        toy.closure("ecgscale.loads:load")


@pytest.mark.parametrize(
    "text",
    [
        "from importlib import import_module as load\n",
        "from ecgscale.whole import *\n",
        "import importlib\n\nloaded = list(map(importlib.import_module, ['a']))\n",
    ],
)
def test_another_way_to_load_what_is_not_named_is_refused_too(toy, text):
    toy.write("loads.py", text)
    with pytest.raises(RuntimeError, match="cannot be followed"):
        toy.closure("ecgscale.loads")


# Ways to reach code that are easily overlooked: the module that does so, and an edit that counts.
WAYS = {
    "a package's own name in place of what it imports": (
        "from ecgscale.kept import passed\n\n\ndef use():\n    return passed(1)\n",
        ("kept/__init__.py", "return 7", "return 8"),
    ),
    "what checkers do not see": (
        "from typing import TYPE_CHECKING\n\nif not TYPE_CHECKING:\n    FACTOR = 1\n",
        ("way.py", "FACTOR = 1", "FACTOR = 2"),
    ),
    "a module under its whole name": (
        "import ecgscale.late\nimport ecgscale.whole\n\n\ndef use():\n"
        "    return ecgscale.late.passed()\n",
        ("late.py", "5", "6"),
    ),
    "a class that an annotation names in text": (
        "from ecgscale.kept.near import Base\n\n\nclass Model:\n"
        "    parts: 'tuple[Base, ...]' = ()\n",
        ("kept/near.py", "size = 1", "size = 2"),
    ),
    "a table at the top whose name is put together": (
        "def use():\n    return f'{2}.txt'\n",
        ("2.txt", "top", "bottom"),
    ),
}


@pytest.mark.parametrize("what", WAYS)
def test_ways_that_are_easily_overlooked(toy, what):
    text, edit = WAYS[what]
    toy.write("way.py", text)
    toy.write("2.txt", "top\n")
    if what.startswith("a package's own"):
        toy.write(
            "kept/__init__.py",
            "from ecgscale.kept.deep import passed as _\n\n\ndef passed(x):\n    return 7\n",
        )
    before = toy.closure("ecgscale.way")
    toy.edit(*edit)
    assert toy.closure("ecgscale.way") != before


@pytest.mark.parametrize("name", ["inner/.reads.py.swp", "inner/reads.py~", "inner/1.txt.orig"])
def test_what_editors_leave_does_not_count(toy, name):
    before = toy.closure("ecgscale.inner.reads")
    toy.write(name, "x")
    assert toy.closure("ecgscale.inner.reads") == before


def test_a_method_called_eval_is_no_builtin(toy):
    toy.write("loads.py", "def load(model):\n    return model.eval()\n")
    assert toy.closure("ecgscale.loads:load")


def test_what_was_read_is_kept_and_read_anew_when_it_changes(toy):
    first = toy.closure("ecgscale.entry")
    assert list((toy.root / "__pycache__").glob("entry.*.code"))
    assert toy.closure("ecgscale.entry") == first
    # The same text means something else once a module of that name is there.
    toy.write("whole/__init__.py", "first = 1\n")
    (toy.root / "whole.py").unlink()
    assert toy.closure("ecgscale.entry") != first


def test_a_damaged_cache_is_read_anew(toy):
    first = toy.closure("ecgscale.entry")
    for path in (toy.root / "__pycache__").glob("*.code"):
        path.write_bytes(path.read_bytes()[:20])
    assert toy.closure("ecgscale.entry") == first


def test_a_broken_module_that_nothing_reaches_stops_nothing(toy):
    before = toy.closure("ecgscale.inner.reads")
    toy.write("broken.py", "<<<<<<< mine\n")
    toy.write("loads.py", "def load(x):\n    exec(x)\n")
    assert toy.closure("ecgscale.inner.reads") == before


def test_an_entry_that_is_not_there_is_an_error(toy):
    with pytest.raises(RuntimeError, match=r"no module named 'ecgscale\.nonesuch'"):
        toy.closure("ecgscale.nonesuch")
    with pytest.raises(ModuleNotFoundError):
        closure("ecgscale.nonesuch")


def test_what_a_registry_imports_does_nothing_at_import():
    """A study that names one implementation imports all, and its files tell of the one alone."""
    rooms = ("encoders", "objectives", "datasets", "evaluation/readouts", "evaluation/metrics")
    found = []
    for room in (*rooms, "evaluation/baselines"):
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(["ecgscale", *parts]).removesuffix(".__init__")
            found += [name] if AT_IMPORT in definitions_of(name) else []
    assert not found


def test_exceptions_are_few_and_each_has_its_reason(project):
    named = {**OBSERVERS, **MAY_BE_DYNAMIC}
    assert all(len(reason.split()) > 3 for reason in named.values())
    assert all((project / "src" / f"{name.replace('.', '/')}.py").is_file() for name in named)
    assert all(reason for reason in NEUTRAL.values())
    assert len(OBSERVERS) <= 6
