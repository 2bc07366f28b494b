"""What came from what, over all that a project holds, from raw files to figures.

It is read off what lies there: the manifests of stores, tasks and subsets, ``data/resolved``, the
records in ``results``, ``dvc.lock`` and the report's table of runs. Nothing is computed again, and
no tracking store is needed.
"""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ecgscale.errors import BadInputError
from ecgscale.pipeline.ancestry import Ancestry, Kind, Thing
from ecgscale.runs.lineage import DIFF, ENVIRONMENT, locked, state_files
from ecgscale.runs.record import DatasetInput, Phase, RunRecord, read_results

PHASES: tuple[Phase, ...] = ("pretrain", "evaluate", "tune")
REPORT = "reports"
_SUFFIXES: dict[str, Kind] = {
    ".html": "page",
    ".md": "page",
    ".txt": "page",
    ".svg": "figure",
    ".png": "figure",
}


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
