"""What counts as code of a stage: all that it reaches, and nothing else."""

import shutil
from textwrap import dedent

import pytest

from ecgscale import code
from ecgscale.code import MAY_BE_DYNAMIC, NEUTRAL, OBSERVERS, ROOT
from ecgscale.errors import BadInputError

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
        shutil.copy(project / "src" / "ecgscale" / "code.py", self.root)

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)

    def edit(self, name, old, new):
        text = (self.root / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def closure(self, *entries, without=("ecgscale.observer",)):
        forget()
        return code.closure(*entries, without=without)


def forget():
    for function in vars(code).values():
        if hasattr(function, "cache_clear"):
            function.cache_clear()


@pytest.fixture
def toy(tmp_path, project, monkeypatch):
    made = Toy(tmp_path, project)
    monkeypatch.setattr(code, "ROOT", made.root)
    yield made
    forget()


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
    toy.write("loads.py", f"import importlib.metadata\n\n\ndef load(x):\n    return {line}\n")
    with pytest.raises(BadInputError, match=r"ecgscale/loads\.py, line 5: .* cannot be followed"):
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
    with pytest.raises(BadInputError, match="cannot be followed"):
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


# The same with modules that are added, where ONE is 1 and then 2.
TWICE = "def twice(x):\n    return ONE * x\n"
PASSED_ON = {"extra/__init__.py": "from ecgscale.extra.deep import twice\n", "extra/deep.py": TWICE}
FAST_OR_SLOW = """
try:
    from ecgscale import fast as impl
except ImportError:
    from ecgscale import slow as impl


def use():
    return impl.twice(1)
"""
METHODS = """
from ecgscale.fast import twice


class Model:
    def legacy(self):
        from ecgscale.slow import twice

        return twice(1)

    def use(self):
        return twice(1)
"""
STEPS = """
STEPS = {}


def step(name):
    def add(function):
        STEPS[name] = function
        return function

    return add


@step("gain")
def _gain(x):
    return ONE


def use():
    return STEPS["gain"](1)
"""
GENERIC = """
from functools import singledispatch


@singledispatch
def use(x):
    return x


@use.register
def _(x: float):
    return ONE
"""
FILED = """
class Table(dict):
    def register(self, name):
        return lambda function: self.setdefault(name, function)


STEPS = Table()


def use():
    return STEPS["gain"](1)
"""
BUILT = "from pathlib import Path\n\n\ndef {}(x):\n    return Path(f'limits-{{x}}.csv')\n"
ADDED = {
    "a plain module that passes on": (
        {"way.py": "from ecgscale.old import rows\n\n\ndef use():\n    return rows(1)\n"},
        {"old.py": "from ecgscale.new import twice as rows\n", "new.py": TWICE},
    ),
    "a package under its whole name that passes on": (
        {"way.py": "import ecgscale.extra\n\n\ndef use():\n    return ecgscale.extra.twice(1)\n"},
        PASSED_ON,
    ),
    "a module that another import has loaded": (
        {"way.py": "import ecgscale.late\n\n\ndef use():\n    return ecgscale.fast.twice(1)\n"},
        {"fast.py": TWICE},
    ),
    "a package as a value": (
        {"way.py": "from ecgscale import extra\n\n\ndef use(n):\n    return getattr(extra, n)\n"},
        PASSED_ON,
    ),
    "a module of a package that is a value": (
        {"way.py": "from ecgscale import extra\n\n\ndef use(n):\n    return getattr(extra, n)\n"},
        {"extra/__init__.py": "", "extra/deep.py": TWICE},
    ),
    "attributes through packages": (
        {
            "way.py": "from ecgscale import extra\n\n\ndef use():\n"
            "    return extra.near.deep.twice(1)\n"
        },
        {"extra/__init__.py": "", "extra/near/__init__.py": "", "extra/near/deep.py": TWICE},
    ),
    "an import that a method hides": ({"way.py": METHODS}, {"slow.py": "", "fast.py": TWICE}),
    "one of two modules": ({"way.py": FAST_OR_SLOW}, {"slow.py": "", "fast.py": TWICE}),
    "an import below what uses it": (
        {
            "way.py": "def use():\n    def inner():\n        return fast.twice(1)\n\n"
            "    from ecgscale import fast\n\n    return inner()\n"
        },
        {"fast.py": TWICE},
    ),
    "an import that binds the module's name": (
        {
            "way.py": "impl = None\n\n\ndef set_up():\n    global impl\n"
            "    from ecgscale import fast as impl\n\n\ndef use():\n    set_up()\n"
            "    return impl.twice(1)\n"
        },
        {"fast.py": TWICE},
    ),
    "an import that is an attribute": (
        {
            "way.py": "class Model:\n    from ecgscale import fast\n\n\ndef use():\n"
            "    return Model.fast.twice(1)\n"
        },
        {"fast.py": TWICE},
    ),
    "an import for its effect": (
        {"way.py": "import ecgscale.numerics\n\n\ndef use():\n    return 5\n"},
        {"numerics.py": "print(ONE)\n"},
    ),
    "an import for its effect, within": (
        {"way.py": "def use():\n    import ecgscale.numerics\n"},
        {"numerics.py": "from ecgscale import aside\n", "aside.py": "print(ONE)\n"},
    ),
    "another function of a library": (
        {"way.py": "def use(x):\n    return maths.twice(x)\n\n\nfrom ecgscale import maths\n"},
        {"maths.py": "from math import expmONE as twice\n"},
    ),
    "a table that a decorator fills": ({"way.py": STEPS}, {}),
    "what a generic function dispatches to": ({"way.py": GENERIC}, {}),
    "a table that another module's decorator fills": (
        {"way.py": "import ecgscale.fills\nfrom ecgscale.steps import use\n"},
        {
            "steps.py": FILED,
            "fills.py": "from ecgscale.steps import STEPS\n\n\n@STEPS.register('gain')\n"
            "def gain(x):\n    return ONE\n",
        },
    ),
    "a table that a package reads": (
        {"way.py": "from ecgscale.extra import use\n"},
        {"extra/__init__.py": BUILT.format("use"), "extra/limits-a.csv": "ONE\n"},
    ),
    "a table that another folder's module names": (
        {"way.py": "from ecgscale.extra.deep import use\n"},
        {
            "extra/__init__.py": "",
            "extra/deep.py": BUILT.format("use"),
            "extra/limits-a.csv": "ONE\n",
            "aside.py": "LIMITS = 'limits-a.csv'\n",
        },
    ),
    "a table that a neighbour names": (
        {"way.py": "from ecgscale.extra.deep import use\n"},
        {
            "extra/__init__.py": "LIMITS = 'limits-a.csv'\n",
            "extra/deep.py": BUILT.format("use"),
            "extra/limits-a.csv": "ONE\n",
        },
    ),
    "tables that a pattern finds": (
        {"way.py": "def use(root):\n    return sorted(root.glob('ext*/*.csv'))\n"},
        {"extra/deep.py": "LIMITS = 'limits-a.csv'\n", "extra/limits-a.csv": "ONE\n"},
    ),
    "a described list": (
        {"way.py": "def use():\n    return 'tasks.yaml'\n"},
        {"tasks.yaml": "- ONE\n"},
    ),
}


@pytest.mark.parametrize("what", ADDED)
def test_ways_through_other_modules(toy, what):
    found = []
    for one in "12":
        for name, text in (ADDED[what][0] | ADDED[what][1]).items():
            toy.write(name, text.replace("ONE", one))
        found.append(toy.closure("ecgscale.way:use"))
    assert found[0] != found[1]


REFUSED = {
    "pkgutil": "import pkgutil\n\nload = pkgutil.resolve_name('ecgscale.late')\n",
    "modules": "import sys as system\n\n\ndef load(x):\n    return system.modules[x]\n",
    "modules by name": "from sys import modules\n",
    "a file": "from importlib.util import spec_from_file_location\n",
    "importlib behind a part": "import importlib.metadata as m, importlib.util\n",
    "builtins": "import builtins\n\n\ndef load(x):\n    return builtins.exec(x)\n",
    "subclasses": "def load(base):\n    return base.__subclasses__()\n",
    "a hook": "class Base:\n    def __init_subclass__(cls):\n        print(cls)\n",
    "a metaclass": "class Base(metaclass=type):\n    pass\n",
    "a function's names": "def load(f):\n    return f.__globals__['x']\n",
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_hands_out_code_is_refused(toy, what):
    toy.write("loads.py", REFUSED[what])
    with pytest.raises(
        BadInputError, match=r"^ecgscale/loads\.py, line \d: .* cannot be followed$"
    ):
        toy.closure("ecgscale.loads")


def test_a_registry_keeps_what_its_resolver_names(toy):
    toy.write("registry.py", "class Registry:\n    pass\n")
    toy.write("base.py", "from ecgscale.registry import Registry\n\nkinds = Registry()\n")
    toy.write(
        "kind.py",
        "from ecgscale.base import kinds\n\n\n@kinds.register('a')\nclass A:\n    x = 1\n\n\n"
        "@kinds.register('b')\nclass B:\n    x = 2\n",
    )
    before = [toy.closure(f"ecgscale.kind:{name}") for name in "AB"]
    toy.edit("kind.py", "x = 1", "x = 3")
    after = [toy.closure(f"ecgscale.kind:{name}") for name in "AB"]
    assert (before[0] == after[0], before[1] == after[1]) == (False, True)


def test_what_only_a_search_or_the_page_reads_counts_there(toy):
    toy.write(
        "objectives/one.py",
        "class Base:\n    searched = {1: 2}\n\n\nclass One(Base):\n"
        "    searched = Base.searched | {3: 4}\n    x = 1\n\n\n"
        "class Params:\n    searched: int = 1\n",
    )
    entries = ["ecgscale.objectives.one:One", "ecgscale.objectives.one"]
    before = [toy.closure(entry) for entry in entries]
    toy.edit("objectives/one.py", "1: 2", "1: 3")
    after = [toy.closure(entry) for entry in entries]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)
    toy.edit("objectives/one.py", "x = 1", "x = 2")
    assert toy.closure(entries[0]) != after[0]
    before = toy.closure("ecgscale.objectives.one:Params")
    toy.edit("objectives/one.py", "int = 1", "int = 2")
    assert toy.closure("ecgscale.objectives.one:Params") != before


def test_of_two_tables_of_one_name_the_nearer_is_meant(toy):
    for folder in ("first", "second"):
        toy.write(f"{folder}/reader.py", "def read():\n    return 'limits.csv'\n")
        toy.write(f"{folder}/limits.csv", "1\n")
    assert list(toy.closure("ecgscale.first.reader").tables) == ["first/limits.csv"]
    toy.edit("second/reader.py", "return", "print('../first')\n    return")
    found = toy.closure("ecgscale.second.reader").tables
    assert list(found) == ["first/limits.csv", "second/limits.csv"]


def test_of_yaml_what_it_says_counts(toy):
    toy.write("way.py", "def use():\n    return 'tasks.yaml'\n")
    toy.write("tasks.yaml", "a: 1\nb: 2\n")
    before = toy.closure("ecgscale.way")
    toy.write("tasks.yaml", "# What they are for.\na: 1\nb:  2\n")
    assert toy.closure("ecgscale.way") == before
    toy.write("tasks.yaml", "b: 2\na: 1\n")
    assert toy.closure("ecgscale.way") != before


@pytest.mark.parametrize("name", ["inner/.reads.py.swp", "inner/reads.py~", "inner/1.txt.orig"])
def test_what_editors_leave_does_not_count(toy, name):
    before = toy.closure("ecgscale.inner.reads")
    toy.write(name, "x")
    assert toy.closure("ecgscale.inner.reads") == before


def test_a_method_called_eval_is_no_builtin(toy):
    toy.write("loads.py", "def load(model):\n    return model.eval(), model.globals\n")
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
    with pytest.raises(ModuleNotFoundError, match=r"no module named 'ecgscale\.nonesuch'"):
        toy.closure("ecgscale.nonesuch")


def test_what_a_registry_imports_does_nothing_at_import():
    """A study that names one implementation imports all, and its files tell of the one alone."""
    rooms = ("encoders", "objectives", "datasets", "evaluation/readouts", "evaluation/metrics")
    found = []
    for room in (*rooms, "evaluation/baselines"):
        for path in (ROOT / room).rglob("*.py"):
            parts = path.relative_to(ROOT).with_suffix("").parts
            name = ".".join(["ecgscale", *parts]).removesuffix(".__init__")
            at_import = code.Reference(name, code._EFFECTS)
            found += [name] if code._module(name)[code._EFFECTS].digest else []
            found += [each for each in code._next(at_import) if each.name != code._EFFECTS]
    assert not found


def test_exceptions_are_few_and_each_has_its_reason(project):
    named = {**OBSERVERS, **MAY_BE_DYNAMIC}
    assert all(len(reason.split()) > 3 for reason in named.values())
    assert all((project / "src" / f"{name.replace('.', '/')}.py").is_file() for name in named)
    assert all(reason for reason in NEUTRAL.values())
    assert len(OBSERVERS) <= 6
