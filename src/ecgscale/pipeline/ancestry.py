"""What came from what: a graph over all that a project holds, from raw files to figures.

It is read off what lies there: the manifests of stores, tasks and subsets, ``data/resolved``, the
records in ``results``, ``dvc.lock`` and the report's table of runs. Nothing is computed again, and
no tracking store is needed.
"""

import csv
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from os.path import normpath
from pathlib import Path
from typing import Any, Literal

from ecgscale.errors import BadInputError
from ecgscale.runs.lineage import DIFF, ENVIRONMENT, locked, state_files
from ecgscale.runs.record import DatasetInput, Phase, RunRecord, read_results

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
PHASES: tuple[Phase, ...] = ("pretrain", "evaluate", "tune")
SHORTEST = 6
"""Characters of a digest by which it may be named."""
REPORT = "reports"
_SUFFIXES: dict[str, Kind] = {".html": "page", ".md": "page", ".svg": "figure", ".png": "figure"}


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


def ancestry(root: Path, run_ids: dict[str, str] | None = None) -> Ancestry:
    """Build the graph of a project.

    Parameters
    ----------
    root
        The project.
    run_ids
        Digest of a record to the id of its run in the tracking store, where that is known.

    Raises
    ------
    BadInputError
        If a manifest or record is malformed.
    """
    graph = Ancestry()
    lock = locked(root)
    stores = _stores(graph, root)
    tasks = _tasks(graph, root, stores)
    subsets = _subsets(graph, root, stores)
    known = {**tasks, **subsets}
    records = [r for phase in PHASES for r in read_results(root / "results", phase)]
    encoders: dict[tuple[str, str], Thing] = {}
    runs: dict[tuple[str, str], tuple[Thing, RunRecord]] = {}
    for record in records:
        parents = [*_inputs(graph, record, known), *_states(graph, record)]
        read = encoders.get((record.cell, record.tags.get("model_digest", "")))
        if record.phase == "evaluate" and read:
            parents.insert(0, read)
        run = graph.add(_run(record, (run_ids or {}).get(record.digest, "")), parents)
        runs[record.phase, record.cell] = run, record
        if record.phase == "pretrain" and "model_digest" in record.tags:
            encoders[record.cell, record.tags["model_digest"]] = _encoder(graph, record, run)
    _report(graph, root, runs)
    for thing in graph.things.values():
        if thing.path in lock:
            thing.facts["dvc"] = lock[thing.path]
            thing.also.add(lock[thing.path])
    return graph


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise BadInputError(f"{path} is not JSON: {error}") from error


def _stores(graph: Ancestry, root: Path) -> dict[tuple[str, str], Thing]:
    found = {}
    for path in sorted((root / "data/store").glob("*/MANIFEST.json")):
        said = _json(path)
        source, inputs = path.parent.name, said["inputs"]
        settings = root / "data/resolved/sources" / f"{source}.json"
        config = _json(settings) if settings.is_file() else {}
        place = str(_first(config, "root") or f"data/raw/{source}")
        raw = Thing(
            *("raw files", source, place, inputs["sha256"]),
            {"files": f"{inputs['files']:,}", "bytes": f"{inputs['bytes']:,}"},
        )
        store = Thing(
            *("store", source, f"data/store/{source}", said["digest"]),
            {"records": f"{said['stored']:,} of {said['records']:,}", "reader": said["reader"]},
            {entry["sha256"] for entry in said["files"].values()},
        )
        found[source, store.digest] = graph.add(store, [graph.add(raw)])
    return found


def _first(value: Any, key: str) -> Any:
    """Return the first value of a key in nested mappings, or None."""
    if not isinstance(value, dict):
        return None
    if key in value:
        return value[key]
    return next((x for x in (_first(inner, key) for inner in value.values()) if x), None)


def _store(graph: Ancestry, stores: dict[tuple[str, str], Thing], name: str, digest: str) -> Thing:
    """Return a store as something else names it; one that is there in another state says so."""
    if (name, digest) not in stores:
        now = next((d for source, d in stores if source == name), "nothing")
        gone = Thing("store", name, f"data/store/{name}", digest, {"here now": now[:12]})
        stores[name, digest] = graph.add(gone)
    return stores[name, digest]


def _tasks(
    graph: Ancestry, root: Path, stores: dict[tuple[str, str], Thing]
) -> dict[tuple[str, str], Thing]:
    path = root / "data/tasks/manifest.json"
    found = {}
    for name, said in sorted(_json(path).items()) if path.is_file() else ():
        counts = {split: f"{count:,}" for split, count in sorted(said["counts"].items())}
        task = Thing("task", name, f"data/tasks/{name}.parquet", said["digest"], counts)
        parents = [_store(graph, stores, said["source"], said["store_digest"])]
        found[task.path, task.digest] = graph.add(task, parents)
    return found


def _subsets(
    graph: Ancestry, root: Path, stores: dict[tuple[str, str], Thing]
) -> dict[tuple[str, str], Thing]:
    found = {}
    for path in sorted((root / "data/subsets").glob("n*/o*/manifest.json")):
        said = _json(path)
        place = path.parent.relative_to(root).as_posix()
        facts = {key: f"{said[key]:,}" for key in ("patients", "records")}
        subset = Thing("subset", f"n{said['size']}-o{said['order']}", place, said["digest"], facts)
        parents = [_store(graph, stores, *each) for each in sorted(said["stores"].items())]
        found[place, subset.digest] = graph.add(subset, parents)
    return found


def _inputs(
    graph: Ancestry, record: RunRecord, known: dict[tuple[str, str], Thing]
) -> Iterator[Thing]:
    """Iterate over the data and the settings that a run has read, as its record names them."""
    inputs = record.inputs
    if record.phase == "pretrain" and len(inputs) > 1:
        inputs = inputs[1:]  # the first is the list that was put together from the others
    for item in inputs:
        place = _place(item)
        thing = known.get((place, item.digest))
        if thing is None:
            kind: Kind = "task" if place.startswith("data/tasks") else "subset"
            thing = Thing(kind, item.name.partition("/")[0], place, item.digest)
            now = [digest for at, digest in known if at == place]
            thing.facts |= {"here now": now[0][:12]} if now else {}
            thing = graph.add(thing)
        yield thing
    # The rest of what decided it; data sets and the encoder are named by their content already.
    places = [*map(_place, inputs), f"models/{record.cell}"]
    for path, digest in sorted(record.made_from.items()):
        if not any(f"{place}/".startswith(f"{path}/") for place in places) and not any(
            path.startswith(f"{place}/") for place in places
        ):
            yield graph.add(Thing(_kind_of(path), path, path, digest))


def _place(item: DatasetInput) -> str:
    """Return where what a run has read lies; some records name the folder of a table alone."""
    if item.source == "data/tasks":
        return f"data/tasks/{item.name}.parquet"
    return item.source.removesuffix("/records.parquet")


def _kind_of(path: str) -> Kind:
    kinds: dict[str, Kind] = {
        **{"data/tasks": "task", "data/subsets": "subset", "data/store": "store"},
        **{"models": "encoder", "data/raw": "raw files"},
    }
    return next((kind for start, kind in kinds.items() if path.startswith(start)), "settings")


def _states(graph: Ancestry, record: RunRecord) -> Iterator[Thing]:
    """Iterate over the code and the environment of a run."""
    tags, files = record.tags, state_files(record.tags)
    if "code_digest" in tags:
        yield graph.add(Thing("code", f"that {record.phase} reaches", "", tags["code_digest"]))
    commit = tags.get("git_commit", "unknown")
    if commit != "unknown":
        yield graph.add(Thing("commit", "git", "", commit))
    if DIFF in tags:
        yield graph.add(Thing("edits", "of the commit", files[DIFF], tags[DIFF]))
    elif tags.get("git_dirty") == "true":
        yield graph.add(Thing("edits", "of the commit, which were not kept", "", ""))
    described = ("python", "torch", "platform")
    facts: dict[str, str] = {name: tags[name] for name in described if name in tags}
    if ENVIRONMENT in tags:
        yield graph.add(
            Thing("environment", "packages", files[ENVIRONMENT], tags[ENVIRONMENT], facts)
        )
    elif facts:
        yield graph.add(Thing("environment", ", ".join(facts.values()), "", ""))


def _run(record: RunRecord, run_id: str) -> Thing:
    return Thing(
        kind="run",
        name=f"{record.phase} {record.cell}",
        path=f"results/{record.phase}/{record.cell}.json",
        digest=record.digest,
        facts={
            **({"mlflow run": run_id} if run_id else {}),
            **{"started": record.started[:19], "study": record.study},
        },
        also={record.identity.attempt, *([run_id] if run_id else [])},
    )


def _encoder(graph: Ancestry, record: RunRecord, run: Thing) -> Thing:
    path = f"models/{record.cell}"
    return graph.add(Thing("encoder", record.cell, path, record.tags["model_digest"]), [run])


def _report(
    graph: Ancestry, root: Path, runs: dict[tuple[str, str], tuple[Thing, RunRecord]]
) -> None:
    """Add what lies in ``reports`` with the runs that its table names."""
    table = root / REPORT / "runs.csv"
    if not table.is_file():
        return
    with table.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    cells = dict.fromkeys(row.get("cell", "") for row in rows)
    parents = [
        runs[phase, cell][0] for cell in cells for phase in PHASES[:2] if (phase, cell) in runs
    ]
    changed = set()
    for row in rows:
        _, record = runs.get(("evaluate", row.get("cell", "")), (None, None))
        if record is None or not _says(record, row):
            changed.add(row.get("cell", ""))
    facts = {"runs": f"{len(parents):,}"}
    if changed:
        facts["out of date"] = f"results of {len(changed)} cells are others now"
    report = graph.add(Thing("report", "the report", REPORT, "", facts), parents)
    for path in sorted((root / REPORT).rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            kind = _SUFFIXES.get(path.suffix, "table")
            place = path.relative_to(root).as_posix()
            graph.add(Thing(kind, path.name, place, ""), [report])


def _says(record: RunRecord, row: dict[str, str]) -> bool:
    """Return whether a row of the report's table has the score that a record has."""
    known = record.metrics.get(f"{row.get('endpoint')}.{row.get('metric')}", math.nan)
    try:
        told = float(row.get("score") or "nan")
    except ValueError:
        return False
    return math.isclose(known, told, rel_tol=1e-9) or (math.isnan(known) and math.isnan(told))


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
