"""What decides a stage's output besides its settings: the code it reaches, tables, libraries.

A stage re-runs when, and only when, something that can change what it writes has changed. Its code
is found from the source, over the whole package, and not from a list that somebody must keep:
starting at its entry, every function, class and constant that is named there, that is named in
those, and so on. Comments, docstrings and layout do not count.

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
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, NamedTuple

from ecgscale.files import write_whole

PACKAGE = "ecgscale"
ROOT = Path(__file__).parent

OBSERVERS: Mapping[str, str] = {
    "ecgscale.code": "says what has changed, and changes nothing itself",
    "ecgscale.progress": "draws bars on the console",
    "ecgscale.runs.lineage": "names the commit and the machine; no number depends on them",
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

DYNAMIC = ("import_module", "__import__", "exec", "eval", "globals", "run_module", "run_path")
"""Calls by which code could reach what it does not name."""

MAY_BE_DYNAMIC: Mapping[str, str] = {
    "ecgscale.registry": "imports what a study names, and the study's resolver names it here too",
}
"""Modules that may use `DYNAMIC` calls, and how what they load is accounted for."""

_DIGITS = 16
_IS_NO_TABLE = re.compile(r"^py\.typed$|^\.|~$|\.(orig|rej|swp)$")
"""Names of what editors and merges leave beside modules."""
_WHOLE, _EFFECTS = "*", ""
"""In place of a definition's name: all of a module; what runs when it is imported."""


class Reference(NamedTuple):
    """A definition of a module of this package, `*` for all of it."""

    module: str
    name: str


class Definition(NamedTuple):
    """A top-level function, class or constant: its digest, and what it names."""

    digest: str
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
    ValueError
        If code that is reached loads code that it does not name.

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
    found: list[tuple[str, Definition]] = []
    for module, name in sorted(reached):
        definition = _module(module).get(name)
        if definition is not None:
            parts.setdefault(module, []).append(f"{name}={definition.digest}")
            found.append((module, definition))
    libraries = {library for _, item in found for library in item.libraries} - NEUTRAL.keys()
    tables |= {table for module, item in found for table in _tables_of(module, item)}
    plugins = {name: _plugin(name.partition(":")[0]) for name in modules if not _is_ours(name)}
    return Closure(
        modules={module: _hash("\n".join(lines)) for module, lines in parts.items()} | plugins,
        tables={name: _hash((ROOT / name).read_bytes()) for name in sorted(tables)},
        libraries={name: library_version(name) for name in sorted(libraries)},
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


def _next(reference: Reference) -> Iterator[Reference]:
    """Iterate over what is reached at once from a definition."""
    module, name = reference
    definitions = _module(module)
    if name == _WHOLE:
        yield from (Reference(module, each) for each in definitions)
        return
    # Whatever is used of a module, the module is imported, and so are the packages it lies in.
    parts = module.split(".")
    yield from (Reference(".".join(parts[:n]), _EFFECTS) for n in range(1, len(parts) + 1))
    if name in definitions:
        yield from definitions[name].references
    elif name != _EFFECTS:
        yield Reference(module, _WHOLE)  # made in a way that is not seen here


class _Reader(ast.NodeVisitor):
    """Collects what the statements of one module name."""

    def __init__(self, module: str, is_package: bool) -> None:
        self.module = module
        self.is_package = is_package
        self.ours: dict[str, Reference] = {}
        """Names that imports bind to something of this package."""
        self.theirs: dict[str, str] = {}
        """Names that imports bind to something of a library."""
        self.dotted: set[Reference] = set()
        """Modules of this package that are imported under their whole names."""
        self.own: set[str] = set()
        """Names that the module itself defines."""
        self.begin()

    def begin(self) -> None:
        self.references: set[Reference] = set()
        self.libraries: set[str] = set()
        self.strings: set[str] = set()

    def bind(self, node: ast.Import | ast.ImportFrom) -> None:
        """Remember what an import binds."""
        base = "" if isinstance(node, ast.Import) else self._base(node)
        for alias in node.names:
            name = alias.name if isinstance(node, ast.Import) else f"{base}.{alias.name}"
            bound = alias.asname or alias.name.partition(".")[0]
            if alias.name == "*" or alias.name in DYNAMIC:
                self._refuse(alias.name)
            if not _is_ours(name):
                self.theirs[bound] = name.partition(".")[0]
            elif isinstance(node, ast.Import) and not alias.asname:
                self.dotted.add(Reference(name, _WHOLE))  # used as ecgscale.room.module.name
            elif isinstance(node, ast.Import):
                self.ours[bound] = Reference(name, _WHOLE)
            else:
                self.ours[bound] = _provider(base, alias.name)

    def visit_Import(self, node: ast.Import) -> None:
        self._use(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        self._use(node)

    def visit_If(self, node: ast.If) -> None:
        for part in node.orelse if _is_for_checkers(node) else ast.iter_child_nodes(node):
            self.visit(part)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in DYNAMIC:
            self._refuse(node.id)
        self._name(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if node.attr in DYNAMIC and node.attr not in ("eval", "exec"):  # model.eval() is no builtin
            self._refuse(node.attr)
        bound = self.ours.get(node.value.id) if isinstance(node.value, ast.Name) else None
        if bound and bound.name == _WHOLE:  # a module: only what is taken from it counts
            self.references.add(_provider(bound.module, node.attr))
        else:
            self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str):
            self.strings.add(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for part in ast.walk(node.annotation):  # a class may be named there as text
            if isinstance(part, ast.Constant) and isinstance(part.value, str):
                for name in re.findall(r"\w+", part.value):
                    self._name(name)
        self.generic_visit(node)

    def _refuse(self, name: str) -> None:
        if self.module not in MAY_BE_DYNAMIC:
            raise ValueError(f"{self.module} uses {name}: what that loads cannot be followed")

    def _use(self, node: ast.Import | ast.ImportFrom) -> None:
        """Count an import within a function as use of what it binds, and bind it."""
        self.bind(node)
        for alias in node.names:
            bound = alias.asname or alias.name.partition(".")[0]
            if self.ours.get(bound, Reference("", "")).name != _WHOLE:
                self._name(bound)

    def _name(self, name: str) -> None:
        if name == PACKAGE:
            self.references |= self.dotted
        if name in self.own:
            self.references.add(Reference(self.module, name))
        if name in self.ours:
            self.references.add(self.ours[name])
        if name in self.theirs:
            self.libraries.add(self.theirs[name])

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
    for node in tree.body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            reader.bind(node)
        elif isinstance(node, ast.If) and _is_for_checkers(node):
            statements[_EFFECTS] += node.orelse
        else:
            for name in _defined(node):
                statements.setdefault(name, []).append(node)
    reader.own = set(statements) - {_EFFECTS}
    definitions = {}
    for name, nodes in statements.items():
        if nodes:
            reader.begin()
            bound = dict(reader.ours), dict(reader.theirs)
            for node in nodes:
                reader.visit(node)
            if name != _EFFECTS:  # an import within a function binds a name there alone
                reader.ours, reader.theirs = bound
            definitions[name] = Definition(
                digest=_hash("\n".join(map(ast.unparse, nodes))),
                references=sorted(reader.references - {Reference(module, name)}),
                libraries=sorted(reader.libraries - set(sys.stdlib_module_names)),
                strings=sorted(reader.strings),
            )
    return definitions


def _defined(node: ast.stmt) -> list[str]:
    """Return the names that a top-level statement defines; of any other, that it runs at import."""
    if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
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
    ValueError
        If it loads code that it does not name.
    """
    file = _source(name)
    if file is None:
        return {}
    content = file.read_bytes()
    # What an import is bound to depends on which modules there are.
    state = _hash(content + ROOT.joinpath("code.py").read_bytes() + _layout().encode())
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
    digest, references, libraries, strings = value
    return Definition(digest, [Reference(*each) for each in references], libraries, strings)


@cache
def _layout() -> str:
    """Return every module's path below the package, and the text of what packages pass on."""
    files = sorted(path for path in ROOT.rglob("*.py"))
    packages = (path.read_text(encoding="utf-8") for path in files if path.name == "__init__.py")
    return "\n".join([*(path.relative_to(ROOT).as_posix() for path in files), *packages])


@cache
def _source(name: str) -> Path | None:
    """Return the file of a module of this package, or None."""
    if not _is_ours(name):
        return None
    path = ROOT.joinpath(*name.split(".")[1:])
    files = (path / "__init__.py", *([path.with_suffix(".py")] if path != ROOT else []))
    return next((file for file in files if file.is_file()), None)


@cache
def _provider(base: str, name: str) -> Reference:
    """Return what ``from base import name`` gives."""
    if _source(f"{base}.{name}"):
        return Reference(f"{base}.{name}", _WHOLE)
    file = _source(base)
    # A package often only passes on what a module of it defines.
    if file is not None and file.name == "__init__.py":
        reader = _Reader(base, is_package=True)
        for node in ast.parse(file.read_bytes()).body:
            if name in _defined(node):
                return Reference(base, name)
            if isinstance(node, ast.ImportFrom):
                reader.bind(node)
        return reader.ours.get(name, Reference(base, name))
    return Reference(base, name)


def _tables_of(module: str, definition: Definition) -> set[str]:
    """Return the data files that a definition names; what nobody names counts for neighbours."""
    strings, home = definition.strings, "/".join(module.split(".")[1:-1])
    named = {table for table in _tables() if _names(table, strings)}
    return named | {table for table, folder in _unnamed().items() if folder == home}


def _names(table: str, strings: Iterable[str]) -> bool:
    return any(text.endswith(Path(table).name) for text in strings)


@cache
def _tables() -> tuple[str, ...]:
    """Return every file of the package that is no module, as paths below it."""
    files = (path for path in ROOT.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    paths = (path.relative_to(ROOT) for path in files if path.suffix != ".py")
    return tuple(sorted(path.as_posix() for path in paths if not _IS_NO_TABLE.search(path.name)))


@cache
def _unnamed() -> dict[str, str]:
    """Map data files that no module names to the folder whose modules may build their names."""
    parts = (path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py"))
    modules = [".".join([PACKAGE, *names]) for names in parts if names[-1] != "__init__"]
    texts: set[str] = set()
    for name in modules:
        with suppress(SyntaxError, ValueError):  # told to whoever reaches it
            texts |= {text for item in _module(name).values() for text in item.strings}
    homes = {"/".join(name.split(".")[1:-1]) for name in modules}
    found = {}
    for table in _tables():
        if not _names(table, texts):
            folder = Path(table).parent
            while folder.as_posix() not in homes and not (ROOT / folder / "__init__.py").is_file():
                folder = folder.parent
            found[table] = "" if folder == Path() else folder.as_posix()
    return found


@cache
def library_version(library: str) -> str:
    """Return a library's version without its build: a build for another device is the same code."""
    try:
        found = version(library)
    except PackageNotFoundError:
        # The name that is imported differs from the one that is installed (sklearn).
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


def _is_for_checkers(node: ast.If) -> bool:
    return ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _is_ours(name: str) -> bool:
    return re.split(r"[.:]", name, maxsplit=1)[0] == PACKAGE


def _is_below(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def _hash(content: str | bytes) -> str:
    return sha256(content.encode() if isinstance(content, str) else content).hexdigest()[:_DIGITS]
