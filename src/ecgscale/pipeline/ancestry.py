"""A graph of what was made of what, and how it is asked and shown."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os.path import normpath
from pathlib import Path
from typing import Any, Literal

from ecgscale.errors import BadInputError

Kind = Literal[
    "raw files",
    "store",
    "task",
    "subset",
    "settings",
    "code",
    "commit",
    "edits",
    "environment",
    "run",
    "encoder",
    "report",
    "page",
    "figure",
    "table",
]
SHORTEST = 6
"""Characters of a digest by which it may be named."""


@dataclass
class Thing:
    """A node of the graph.

    Attributes
    ----------
    path
        Where it lies, relative to the project; "" for what is no file.
    digest
        Of its content, as those state it that were made of it.
    facts
        What is known of it, in words.
    also
        Further names by which it can be asked for: run ids, digests of its files.
    """

    kind: Kind
    name: str
    path: str
    digest: str
    facts: dict[str, str] = field(default_factory=dict)
    also: set[str] = field(default_factory=set)

    @property
    def key(self) -> str:
        """What tells it from all others: two states of one path are two things."""
        return f"{self.kind} {self.path or self.name} {self.digest}"


@dataclass
class Ancestry:
    """The graph.

    Attributes
    ----------
    things
        By key.
    made_of, used_by
        Key to the keys of what it was made of, and of what was made of it, in order.
    """

    things: dict[str, Thing] = field(default_factory=dict)
    made_of: dict[str, list[str]] = field(default_factory=dict)
    used_by: dict[str, list[str]] = field(default_factory=dict)

    def add(self, thing: Thing, made_of: Iterable[Thing] = ()) -> Thing:
        """Add a thing, or what is known of it further; return the one that is in the graph."""
        kept = self.things.setdefault(thing.key, thing)
        kept.facts |= thing.facts
        kept.also |= thing.also
        for parent in made_of:
            self._link(self.made_of, kept, parent)
            self._link(self.used_by, parent, kept)
        return kept

    def _link(self, links: dict[str, list[str]], one: Thing, other: Thing) -> None:
        there = links.setdefault(one.key, [])
        if other.key not in there:
            there.append(other.key)

    def find(self, asked: str, root: Path) -> Thing:
        """Return what is asked for: a file or folder, a run id, a cell's run, a digest.

        Raises
        ------
        BadInputError
            If nothing, or more than one thing, is meant.
        """
        found = self._at(asked, root) or self._named(asked)
        if not found:
            raise BadInputError(
                f"{asked} is no file, run or digest that this project knows of: give a path in "
                "data/, models/, results/ or reports/, a run's id, or a digest of at least "
                f"{SHORTEST} characters"
            )
        if len(found) > 1:
            names = ", ".join(f"{thing.kind} {thing.path or thing.name}" for thing in found[:6])
            raise BadInputError(f"{asked} names {len(found)} things ({names}): name one of them")
        return found[0]

    def _at(self, asked: str, root: Path) -> list[Thing]:
        """Return the thing at a path, or the one that a file is part of; newest state first."""
        home = root.resolve()
        wanted = Path(normpath(home / asked))
        things = [(Path(normpath(home / x.path)), x) for x in self.things.values() if x.path]
        for part in (wanted, *wanted.parents):
            here = [thing for place, thing in things if place == part]
            current = [thing for thing in here if "here now" not in thing.facts]
            if here:
                return current[:1] or here[:1]
        inside = [thing for place, thing in things if wanted in place.parents and wanted != home]
        return [thing for thing in inside if "here now" not in thing.facts]

    def _named(self, asked: str) -> list[Thing]:
        things = self.things.values()
        exact = [x for x in things if asked in {x.digest, x.name, *x.also}]
        if exact or len(asked) < SHORTEST:
            return exact
        return [x for x in things if any(n.startswith(asked) for n in {x.digest, *x.also})]


def tree(graph: Ancestry, thing: Thing, up: bool, most: int | None = None) -> Iterator[str]:
    """Iterate over the lines of a tree below a thing, each thing in full once.

    Parameters
    ----------
    up
        Whether to show what it was made of; else what was made of it.
    most
        Things of one kind that are shown beside each other; None shows all.
    """
    links = graph.made_of if up else graph.used_by
    shown = {thing.key}

    def below(key: str, indent: str) -> Iterator[str]:
        children = [graph.things[child] for child in links.get(key, [])]
        rows, hidden = _first_of_each_kind(children, most)
        last = len(rows) + len(hidden) - 1
        for place, child in enumerate(rows):
            branch, further = ("└─ ", "   ") if place == last else ("├─ ", "│  ")
            again = child.key in shown and bool(links.get(child.key))
            yield f"{indent}{branch}{line(child)}{' (see above)' if again else ''}"
            if not again:
                shown.add(child.key)
                yield from below(child.key, indent + further)
        for place, text in enumerate(hidden, start=len(rows)):
            yield f"{indent}{'└─ ' if place == last else '├─ '}{text}"

    return below(thing.key, "")


def _first_of_each_kind(
    children: Iterable[Thing], most: int | None
) -> tuple[list[Thing], list[str]]:
    """Return up to `most` things of each kind, and in words how many there are beside them."""
    rows: list[Thing] = []
    count: Counter[Kind] = Counter()
    for child in children:
        count[child.kind] += 1
        if most is None or count[child.kind] <= most:
            rows.append(child)
    beyond = {kind: n - most for kind, n in count.items() if most is not None and n > most}
    return rows, [f"{kind:<11} and {n:,} more" for kind, n in beyond.items()]


def line(thing: Thing) -> str:
    """Return a thing in one line: kind, name or place, digest, what is known of it."""
    facts = [f"{name} {value}" for name, value in thing.facts.items() if name != "dvc"]
    name = thing.name if thing.kind in ("run", "commit", "code") or not thing.path else thing.path
    parts = [f"{thing.kind:<11} {name}", *([thing.digest[:12]] if thing.digest else [])]
    return "  ".join([*parts, *([", ".join(facts)] if facts else [])])


def to_json(graph: Ancestry, thing: Thing) -> dict[str, Any]:
    """Return a thing with all that it was made of and all that was made of it, and the links."""
    above, below = (_reached(links, thing.key) for links in (graph.made_of, graph.used_by))
    told = {
        key: {**asdict(graph.things[key]), "also": sorted(graph.things[key].also)}
        for key in [thing.key, *above, *below]
    }
    links = {
        key: [parent for parent in graph.made_of.get(key, []) if parent in told] for key in told
    }
    return {
        "asked": thing.key,
        "made_of": above,
        "used_by": below,
        "things": told,
        "links": links,
    }


def _reached(links: dict[str, list[str]], start: str) -> list[str]:
    found: dict[str, None] = {}
    waiting = list(links.get(start, []))
    while waiting:
        key = waiting.pop(0)
        if key not in found:
            found[key] = None
            waiting += links.get(key, [])
    return list(found)
