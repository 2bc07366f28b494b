"""What decides a stage's output besides its settings: the code it reaches, tables, libraries.

A stage re-runs when, and only when, something that can change what it writes has changed. Its code
is found from the source, over the whole package, and not from a list that somebody must keep:
starting at its entry, every function, class, constant and import that is named there, that is named
in those, and so on, with all that runs when their modules are imported. Comments, docstrings and
layout do not count. Where the source leaves open which of several things a name stands for, all of
them count; where it cannot tell at all, the code is refused.

Two things cannot be read off the source and are handled here. A registry imports by name what a
study asks for: whoever asks for a closure names those too (`ecgscale.study.resolve`). A table or
template counts as code of what names its file.
"""

import ast
import json
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from fnmatch import fnmatchcase
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import yaml

from ecgscale.errors import BadInputError
from ecgscale.files import write_whole

PACKAGE = "ecgscale"
ROOT = Path(__file__).parent

OBSERVERS: Mapping[str, str] = {
    "ecgscale.code": "says what has changed, and changes nothing itself",
    "ecgscale.progress": "draws bars on the console",
    "ecgscale.runs.lineage": "names the commit and the machine; no number depends on them",
    "ecgscale.runs.reported": "shows a report in MLflow, and writes none of its files",
    "ecgscale.runs.store": "reaches MLflow; the report believes the records",
    "ecgscale.runs.tracking": "mirrors records to MLflow; the report believes the records",
}
"""Modules that see the work and do not change its results, and why each of them may be here."""

NEUTRAL: Mapping[str, str] = {
    "filelock": "makes a second process wait",
    "pydantic": "checks settings, whose values count",
    "rich": "prints",
    "typer": "reads the command line",
}
"""Libraries that neither decode nor compute: their versions are not part of a digest."""

_BUILTIN = {"eval", "exec", "globals", "locals"}
DYNAMIC = {
    *_BUILTIN,
    *("__import__", "__builtins__", "entry_points", "getmodule", "get_objects"),
    *("import_module", "load_module", "run_module", "run_path"),
    *(
        "__globals__",
        "f_globals",
        "__subclasses__",
        "__init_subclass__",
        "__set_name__",
        "metaclass",
    ),
}
"""Names by which code could reach, or add to, what it does not name."""

LOADERS = ("builtins", "imp", "importlib", "pkgutil", "runpy", "sys.modules", "zipimport")
"""Libraries, and a table of one, that hand out code by a name that is put together."""

HARMLESS = ("importlib.metadata", "importlib.resources")
"""What in `LOADERS` reads versions and files."""

MAY_BE_DYNAMIC: Mapping[str, str] = {
    "ecgscale.registry": "imports what a study names, and the study's resolver names it here too",
}
"""Modules that may use `DYNAMIC` calls, and how what they load is accounted for."""

SET_ASIDE: Mapping[str, tuple[str, ...]] = {
    "ecgscale.objectives": ("searched", "search_space"),
    "ecgscale.evaluation.metrics": ("digits", "slope_digits", "short", "subject"),
    "ecgscale.evaluation.readouts": ("method",),
}
"""Members of a room's classes that a search or the page reads, and nothing else.

They count where their module is an entry, and where they are named on their class."""

DESCRIBED: Mapping[str, str] = {
    "datasets": "each YAML file is a source, and the study's resolver names those asked for",
}
"""Folders whose own YAML files a registry finds, and how what it finds is accounted for."""

_DIGITS = 16
_IS_NO_TABLE = re.compile(r"^py\.typed$|^\.|~$|\.(orig|rej|swp)$")
"""Names of what editors and merges leave beside modules."""
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE, _EFFECTS = "*", ""
"""In place of a definition's name: all of a module; what runs when it is imported."""
_KEPT = "@"
"""Before a table's name and that of a definition which a decorator adds to it."""

Import = ast.Import | ast.ImportFrom
Defining = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


class Reference(NamedTuple):
    """What code names: a module of this package, and a name there or below it (`a`, `a.b.c`).

    `*` stands for all of the module, and of all modules in it if it is a package. `a.*` is how a
    package is bound by an import of its module `a`.
    """

    module: str
    name: str


class Definition(NamedTuple):
    """A top-level function, class, constant or import: its digest, and what it names."""

    digest: str
    is_import: bool
    references: list[Reference]
    libraries: list[str]
    strings: list[str]


class Closure(NamedTuple):
    """Everything that decides what some code does.

    Attributes
    ----------
    modules
        Module to the digest of the part of it that is reached.
    tables
        Data file, as a path below the package, to the digest of its content.
    libraries
        Library to its version, without the part that names a build (``+cpu``).
    """

    modules: dict[str, str]
    tables: dict[str, str]
    libraries: dict[str, str]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, 16 hexadecimal characters."""
        return _hash(json.dumps(self))


def closure(*entries: str, without: Iterable[str] = OBSERVERS) -> Closure:
    """Return all code that is reached from some entries, with the tables and libraries it uses.

    Parameters
    ----------
    *entries
        ``<module>:<definition>``, ``<module>`` for all of it, or a data file as its path below the
        package (``datasets/cinc-2011.yaml``). A module of another package counts as one file.
    without
        Modules or packages that are left out, with all that only they reach.

    Raises
    ------
    ModuleNotFoundError
        If the module of an entry does not exist.
    BadInputError
        If code that is reached loads code that it does not name; the message says where.

    Examples
    --------
    >>> reached = closure("ecgscale.objectives.simclr")
    >>> "ecgscale.objectives.contrastive" in reached.modules
    True
    >>> "ecgscale.objectives.clef" in reached.modules
    False
    """
    left_out = tuple(without)
    tables = {entry for entry in entries if "/" in entry}
    modules = [entry for entry in entries if entry not in tables]
    waiting = [_entry(entry) for entry in modules if _is_ours(entry)]
    reached: set[Reference] = set()
    while waiting:
        reference = waiting.pop()
        if reference in reached or _is_below(reference.module, left_out):
            continue
        reached.add(reference)
        waiting += _next(reference)
    parts: dict[str, list[str]] = {}
    libraries: set[str] = set()
    for module, name in sorted({(m, part) for m, n in reached for part in (_first(n), n)}):
        definition = _module(module).get(name)
        if definition is not None and definition.digest:
            parts.setdefault(module, []).append(f"{name}={definition.digest}")
            libraries.update(definition.libraries)
            tables |= _tables_of(module, name)
    plugins = {name: _plugin(name.partition(":")[0]) for name in modules if not _is_ours(name)}
    return Closure(
        modules={module: _hash("\n".join(lines)) for module, lines in parts.items()} | plugins,
        tables={name: _content(ROOT / name) for name in sorted(tables)},
        libraries={name: library_version(name) for name in sorted(libraries - NEUTRAL.keys())},
    )


def package_state() -> str:
    """Return a digest of every file of the package, whatever it is for: while it stays, so do all.

    Examples
    --------
    >>> package_state() == package_state()
    True
    """
    files = sorted(path for path in ROOT.rglob("*") if path.is_file())
    kept = (path for path in files if "__pycache__" not in path.parts)
    return _hash("".join(f"{path.relative_to(ROOT)}={_hash(path.read_bytes())}" for path in kept))


def entry_of(implementation: type) -> str:
    """Return a registered class as an entry of `closure`."""
    return f"{implementation.__module__}:{implementation.__qualname__}"


def table_of(path: Path) -> str:
    """Return a data file of the package as an entry of `closure`."""
    return path.relative_to(ROOT).as_posix()


def _entry(text: str) -> Reference:
    module, _, name = text.partition(":")
    if _source(module) is None:
        raise ModuleNotFoundError(f"no module named {module!r}", name=module)
    return Reference(module, name or _WHOLE)


def _plugin(module: str) -> str:
    """Return the digest of a module of another package, which has been imported."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise ModuleNotFoundError(f"no module named {module!r}", name=module)
    tree = ast.parse(Path(file).read_bytes())
    _strip_docstrings(tree)
    return _hash(ast.unparse(tree))


@cache
def _next(reference: Reference) -> tuple[Reference, ...]:
    """Return what is reached at once from what code names."""
    module, name = reference
    definitions = _module(module)
    # Whatever is used of a module, the module is imported, and so are the packages it lies in.
    parts = module.split(".")
    found = [Reference(".".join(parts[:n]), _EFFECTS) for n in range(1, len(parts) + 1)]
    every = [Reference(module, each) for each in definitions]
    head, _, rest = name.partition(".")
    if name == _EFFECTS:
        found = [Reference(".".join(parts[:-1]), _EFFECTS)] if parts[1:] else []
        for each in definitions[_EFFECTS].references if definitions else ():
            table, _, kept = each.name.removeprefix(_KEPT).partition(" ")
            if not kept:
                found.append(each)
            elif not _is_registry(Reference(module, table)):
                found.append(Reference(module, kept))
    elif name == _WHOLE:
        found += every + [Reference(inner, _WHOLE) for inner in _inner(module)]
    else:
        inner = f"{module}.{head}"
        is_module = _source(inner) is not None
        if is_module:
            found.append(Reference(inner, rest or _WHOLE))
        if head in definitions:
            definition = definitions[head]
            passed = definition.is_import and rest
            found += [_below(r, rest) if passed else r for r in definition.references]
            found += definitions[name].references if name in definitions else []
        elif not is_module:
            found += every  # made in a way that is not seen here
    return tuple(found)


def _is_registry(reference: Reference) -> bool:
    """Return whether an object is a `Registry`: a resolver names what is asked of it."""
    module, name = reference
    definition = _module(module).get(name)
    if definition is None or not definition.references:
        return False
    if definition.is_import:
        return all(map(_is_registry, definition.references))
    return Reference(module, "Registry") in definition.references


def _below(reference: Reference, rest: str) -> Reference:
    """Return a name that is taken from what is named."""
    module, name = reference
    if not rest or name == _EFFECTS:
        return reference
    return Reference(module, rest if name.endswith(_WHOLE) else f"{name}.{rest}")


class _Reader(ast.NodeVisitor):
    """Collects what the statements of one module name."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.is_package = is_package
        self.imported: dict[str, list[Reference]] = {}
        """Names that the module's imports bind to what they may stand for."""
        self.own: set[str] = set()
        """Names that the module defines or imports."""
        self.begin([])

    def begin(self, nodes: Iterable[ast.AST]) -> None:
        """Start a definition; what an import binds anywhere in it is bound in all of it."""
        self.references: set[Reference] = set()
        self.libraries: set[str] = set()
        self.strings: set[str] = set()
        self.inner: dict[str, list[Reference]] = {}
        for node in (part for each in nodes for part in ast.walk(each)):
            if isinstance(node, Import):
                self.bind(node, self.inner)

    def bind(self, node: Import, names: dict[str, list[Reference]]) -> None:
        """Add what an import binds to `names`, with modules of libraries under whole names."""
        base = "" if isinstance(node, ast.Import) else self._base(node)
        for alias in node.names:
            if alias.name == "*" or alias.name in DYNAMIC:
                self._refuse(node, alias.name)
            if base or alias.asname:
                target = Reference(base, alias.name) if base else Reference(alias.name, _WHOLE)
            else:  # the outermost package is bound, and what is loaded is found through it
                first, _, rest = f"{alias.name}.{_WHOLE}".partition(".")
                target = Reference(first, rest)
            self._check_library(node, f"{base}.{alias.name}" if base else alias.name)
            names.setdefault(alias.asname or _first(alias.name), []).append(target)

    def use(self, target: Reference) -> None:
        """Count something that was imported."""
        if _is_ours(target.module):
            self.references.add(target)
        else:
            self.libraries.add(_first(target.module))

    def visit_Import(self, node: ast.Import) -> None:
        self.references |= {Reference(x.name, _EFFECTS) for x in node.names if _is_ours(x.name)}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = self._base(node)
        if _is_ours(base):
            loaded = (base, *(f"{base}.{alias.name}" for alias in node.names))
            self.references |= {Reference(name, _EFFECTS) for name in loaded}

    def visit_If(self, node: ast.If) -> None:
        for part in node.orelse if _is_for_checkers(node) else ast.iter_child_nodes(node):
            self.visit(part)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._check_name(node, node.name)
        self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for keyword in node.keywords:
            self._check_name(node, keyword.arg or "")
        bound: dict[str, list[Reference]] = {}
        for statement in node.body:  # an attribute of the class, whoever asks for it
            if isinstance(statement, Import):
                self.bind(statement, bound)
        for targets in bound.values():
            for target in targets:
                self.use(target)
        self.generic_visit(node)

    def visit_Global(self, node: ast.Global) -> None:
        for name in node.names:
            self._name(node, name)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in DYNAMIC:
            self._refuse(node, node.id)
        self._name(node, node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        taken: list[str] = []
        inner: ast.expr = node
        while isinstance(inner, ast.Attribute):
            self._check_name(node, inner.attr)
            taken.insert(0, inner.attr)
            inner = inner.value
        if isinstance(inner, ast.Name):  # of a module, only what is taken from it counts
            self._name(inner, inner.id, ".".join(taken))
        else:
            self.visit(inner)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in ast.walk(node.annotation):  # a class may be named there as text
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                for name in re.findall(r"\w+", part.value):
                    self._name(part, name)
        self.generic_visit(node)

    def _name(self, node: ast.AST, name: str, rest: str = "") -> None:
        """Count a name with what is taken from it."""
        if name in self.own:
            self.references.add(_below(Reference(self.module, name), rest))
        for target in self.inner.get(name, ()):
            self.use(_below(target, rest))
        for target in (*self.imported.get(name, ()), *self.inner.get(name, ())):
            self._check_library(node, ".".join(_below(target, rest)).removesuffix(f".{_WHOLE}"))

    def _check_name(self, node: ast.AST, name: str) -> None:
        if name in DYNAMIC - _BUILTIN:  # model.eval() is none
            self._refuse(node, name)

    def _check_library(self, node: ast.AST, name: str) -> None:
        if _is_below(name, LOADERS) and not _is_below(name, HARMLESS):
            self._refuse(node, name)

    def _refuse(self, node: ast.AST, name: str) -> None:
        if self.module not in MAY_BE_DYNAMIC:
            file = self.module.replace(".", "/") + ("/__init__.py" if self.is_package else ".py")
            line = getattr(node, "lineno", 0)
            raise BadInputError(f"{file}, line {line}: what {name} leads to cannot be followed")

    def _base(self, node: ast.ImportFrom) -> str:
        """Return the absolute name of what a ``from`` imports from."""
        if not node.level:
            return node.module or ""
        parts = self.module.split(".")
        up = parts[: len(parts) - node.level + self.is_package]
        return ".".join([*up, *([node.module] if node.module else [])])


def _read(module: str, tree: ast.Module, is_package: bool) -> dict[str, Definition]:
    """Map the top-level names of a module, and what runs at its import, to what they name."""
    reader = _Reader(module, is_package)
    statements: dict[str, list[ast.stmt]] = {_EFFECTS: []}
    for name, node in _expanded(module, tree.body):
        statements.setdefault(name, []).append(node)
    for node in statements[_EFFECTS]:
        for part in ast.walk(node):
            if isinstance(part, Import):
                reader.bind(part, reader.imported)
    reader.own = {*statements, *reader.imported} - {_EFFECTS}
    theirs = {n for n, x in reader.imported.items() if not any(_is_ours(r.module) for r in x)}
    definitions = {}
    for name in (_EFFECTS, *sorted(reader.own)):
        nodes = statements.get(name, [])
        bound = reader.imported.get(name, [])
        reader.begin(nodes)
        for target in bound:
            reader.use(target)
        for node in nodes:
            reader.visit(node)
        if name == _EFFECTS:
            nodes = [node for node in nodes if not isinstance(node, Import)]
            for node in tree.body:
                reader.references.update(_kept(module, node, reader.own - theirs))
        text = [*map(str, sorted(bound)), *map(ast.unparse, nodes)]
        definitions[name] = Definition(
            digest=_hash("\n".join(text)) if text else "",
            is_import=not nodes,
            references=sorted(reader.references - {Reference(module, name)}),
            libraries=sorted(reader.libraries - set(sys.stdlib_module_names)),
            strings=sorted(reader.strings),
        )
    return definitions


def _expanded(module: str, body: list[ast.stmt]) -> Iterator[tuple[str, ast.stmt]]:
    """Iterate over the names that a module's statements define, each with what defines it."""
    aside = {x for room, names in SET_ASIDE.items() if _is_below(module, [room]) for x in names}
    for node in body:
        if isinstance(node, ast.If) and _is_for_checkers(node):
            yield from _expanded(module, node.orelse)
            continue
        if isinstance(node, ast.ClassDef):
            apart = [part for part in node.body if aside.intersection(_defined(part))]
            apart = [part for part in apart if not _is_field(part)]
            yield from ((f"{node.name}.{name}", part) for part in apart for name in _defined(part))
            node.body = [part for part in node.body if part not in apart] or [ast.Pass()]
        yield from ((name, node) for name in _defined(node))


def _kept(module: str, node: ast.stmt, ours: set[str]) -> Iterator[Reference]:
    """Iterate over a function or class if a decorator of this package may keep it in a table.

    That of a registry is left open: `_next` knows which objects are registries.
    """
    defining = [each for each in ast.walk(node) if isinstance(each, Defining)]
    for decorator in (decorator for each in defining for decorator in each.decorator_list):
        match decorator:
            case ast.Call(ast.Attribute(ast.Name(table), "register"), [ast.Constant()]):
                yield from (Reference(module, f"{_KEPT}{table} {name}") for name in _defined(node))
            case _ if any(isinstance(x, ast.Name) and x.id in ours for x in ast.walk(decorator)):
                yield from (Reference(module, name) for name in _defined(node))


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a top-level statement defines; of any other, that it runs at import."""
    if isinstance(node, Defining):
        return [node.name]
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    leaves = [leaf for target in targets for leaf in ast.walk(target)]
    names = [leaf.id for leaf in leaves if isinstance(leaf, ast.Name)]
    plain = all(isinstance(leaf, (ast.Name, ast.Tuple, ast.expr_context)) for leaf in leaves)
    return names if plain and names else [_EFFECTS]


@cache
def _module(name: str) -> dict[str, Definition]:
    """Return the definitions of a module, kept beside its bytecode for as long as it is the same.

    Raises
    ------
    BadInputError
        If it loads code that it does not name.
    """
    file = _source(name)
    if file is None:
        return {}
    content = file.read_bytes()
    state = _hash(content + ROOT.joinpath("code.py").read_bytes())
    kept = file.parent / "__pycache__" / f"{file.stem}.{sys.implementation.cache_tag}.code"
    with suppress(OSError, ValueError, KeyError, TypeError, zlib.error):
        found = json.loads(zlib.decompress(kept.read_bytes()))
        if found["state"] == state:
            return {key: _restored(value) for key, value in found["definitions"].items()}
    tree = ast.parse(content)
    _strip_docstrings(tree)
    definitions = _read(name, tree, file.name == "__init__.py")
    with suppress(OSError):  # a package that is installed for all may be read-only
        content = json.dumps({"state": state, "definitions": definitions}).encode()
        write_whole(kept, zlib.compress(content))
    return definitions


def _restored(value: list[Any]) -> Definition:
    digest, is_import, references, *others = value
    return Definition(digest, is_import, [Reference(*each) for each in references], *others)


@cache
def _source(name: str) -> Path | None:
    """Return the file of a module of this package, or None."""
    if not _is_ours(name):
        return None
    path = ROOT.joinpath(*name.split(".")[1:])
    files = (path / "__init__.py", *([path.with_suffix(".py")] if path != ROOT else []))
    return next((file for file in files if file.is_file()), None)


@cache
def _inner(package: str) -> list[str]:
    """Return the modules that lie in a package, the packages among them."""
    file = _source(package)
    if file is None or file.name != "__init__.py":
        return []
    names = sorted(path.stem for path in file.parent.iterdir() if path.stem != "__init__")
    return [f"{package}.{name}" for name in names if _source(f"{package}.{name}")]


@cache
def _tables_of(module: str, name: str) -> set[str]:
    """Return the data files that a definition names; what nobody names counts for neighbours."""
    file = _source(module)
    home = file.parent.relative_to(ROOT).as_posix() if file else ""
    strings = _module(module)[name].strings
    named = {table for table, folder in _tables().items() if _names(table, folder == home, strings)}
    nearer = {PurePath(table).name for table in named if _tables()[table] == home}
    return _unnamed(home) | {
        table
        for table in named
        if _tables()[table] == home
        or PurePath(table).name not in nearer
        or any(PurePath(table).parent.name in text for text in strings)
    }


def _names(table: str, is_near: bool, strings: Iterable[str]) -> bool:
    """Return whether one of the strings is a data file's name, or may be the end of it."""
    name, ending = _ends(table)
    for text in (text for text in strings if text.endswith(ending)):
        if text.endswith(name) or (is_near and fnmatchcase(name, "*" + text.rpartition("/")[2])):
            return True
        if "*" in text and "/" in text and fnmatchcase(table, f"*{text}"):
            return True
    return False


@cache
def _ends(table: str) -> tuple[str, str]:
    """Return a file's name, and what each string ends with that may stand for it."""
    path = PurePath(table)
    return path.name, path.suffix or path.name


@cache
def _tables() -> dict[str, str]:
    """Map every file of the package that is no module to the folder whose modules lie nearest."""
    files = (path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    found = {}
    for path in sorted(files):
        if path.suffix != ".py" and not _IS_NO_TABLE.search(path.name):
            home = next(
                folder for folder in path.parents if folder == ROOT or any(folder.glob("*.py"))
            )
            found[path.relative_to(ROOT).as_posix()] = home.relative_to(ROOT).as_posix()
    return found


@cache
def _unnamed(home: str) -> set[str]:
    """Return a folder's data files that none of its modules names: any may build their names."""
    texts: set[str] = set()
    for path in (ROOT / home).glob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join([PACKAGE, *parts]).removesuffix(".__init__")
        with suppress(SyntaxError, BadInputError):  # told to whoever reaches it
            texts |= {text for item in _module(name).values() for text in item.strings}
    return {
        table
        for table, folder in _tables().items()
        if folder == home
        and not _names(table, False, texts)
        and not (PurePath(table).suffix == ".yaml" and str(PurePath(table).parent) in DESCRIBED)
    }


@cache
def _content(path: Path) -> str:
    """Return the digest of a data file; of YAML, of what it says."""
    content = path.read_bytes()
    if path.suffix == ".yaml":
        with suppress(yaml.YAMLError):  # told to whoever reads it
            content = repr(yaml.load(content, _Loader)).encode()
    return _hash(content)


INSTALLED_AS = {"sklearn": "scikit-learn", "yaml": "pyyaml"}
"""Names of libraries that are imported by another one, where looking among all takes a second."""


@cache
def library_version(library: str) -> str:
    """Return a library's version without its build: a build for another device is the same code."""
    try:
        found = version(INSTALLED_AS.get(library, library))
    except PackageNotFoundError:
        # The name that is imported differs from the one that is installed.
        names = packages_distributions().get(library, [])
        found = version(names[0]) if names else "not installed"
    return found.partition("+")[0]


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [item for item in body if not _is_string(item)]
            empty: list[ast.stmt] = [] if isinstance(node, ast.Module) else [ast.Pass()]
            node.body = kept or empty  # type: ignore[attr-defined]


def _is_string(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _is_field(node: ast.stmt) -> bool:
    """Return whether a statement of a class may declare a field of its objects."""
    return isinstance(node, ast.AnnAssign) and "ClassVar" not in ast.unparse(node.annotation)


def _is_for_checkers(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _first(name: str) -> str:
    return name.partition(".")[0]


def _is_ours(name: str) -> bool:
    return re.split(r"[.:]", name, maxsplit=1)[0] == PACKAGE


def _is_below(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _hash(content: str | bytes) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:_DIGITS]
