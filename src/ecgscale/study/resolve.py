"""From a study to what each of its stages is given, and to the files by which DVC sees a change.

A stage is given the settings that decide what it writes, every default filled in, and nothing else
of the study. The same settings are written to ``data/resolved``, with all code, tables and
libraries that the stage reaches (`ecgscale.code`). DVC's stages depend on these files and not on
the study as a whole: a changed parameter, a tuned winner or an edited loss re-runs the cells that
it concerns, and no others. The command line and this room are not part of any stage's code: all
that they hand over stands in the files as a value.
"""

import json
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import is_dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ecgscale.code import (
    OBSERVERS,
    PACKAGE,
    Closure,
    closure,
    entry_of,
    library_version,
    package_state,
    table_of,
)
from ecgscale.errors import BadInputError
from ecgscale.evaluation.settings import Evaluation, EvaluationSettings
from ecgscale.files import file_digest, write_whole
from ecgscale.ledger import CLAIMS
from ecgscale.literature.publication import FOLDER, read_literature
from ecgscale.runs.cell import Cell
from ecgscale.runs.record import RunRecord
from ecgscale.settings import digest_of
from ecgscale.study.cells import cell_axes, check_cell
from ecgscale.study.design import smallest_effect
from ecgscale.study.file import Study
from ecgscale.study.tasks import TaskBook, task_book
from ecgscale.training.settings import Pretraining, ResolvedEncoder, ResolvedObjective

RESOLVED = Path(".ecgscale") / "resolved.json"
"""What was resolved last, kept for as long as nothing that it follows from has changed."""

UNTRAINED = {"ecgscale.training.trainer": "an objective without training never starts it"}
"""What the pretraining of an encoder that keeps its initial weights does not reach."""

WITHOUT_LABELS = {"ecgscale.training.labels": "an objective that needs no labels never reads any"}
WITHOUT_SURROGATES = {"ecgscale.data.surrogate": "an objective on the recordings never makes any"}
"""What the training of most objectives does not reach."""

UNSEARCHED = {
    "ecgscale.data.pool": "a subset is made by its own stage",
    "ecgscale.data.simulate": "a cohort is made by its own stage",
    "ecgscale.data.sources": "a source is read by its own stage",
    "ecgscale.scaling": "what the report declares",
    "ecgscale.pipeline.tuning.storage": "keeps trials, and suggests none",
}
"""What a search reads of a study file and does not use."""

EVALUATE = "ecgscale.evaluation.stage:evaluate"
EVALUATE_BASELINE = "ecgscale.evaluation.stage:evaluate_baseline"

Content = dict[str, Any]


def resolve_encoder(study: Study, name: str) -> ResolvedEncoder:
    """Return an encoder of a study with every parameter, defaults included.

    Raises
    ------
    BadInputError
        If the kind does not exist or a parameter is unknown or out of range.
    """
    from ecgscale.encoders.base import encoders

    config = study.encoders[name]
    params = encoders.params(config.kind, config.params).model_dump(mode="json")
    return ResolvedEncoder(name, config.kind, params)


def resolve_objective(study: Study, name: str) -> ResolvedObjective:
    """Return an objective of a study with every parameter.

    Parameters are the published defaults, changed by the tuned winner's, changed by the study's;
    training and augmentation are the study's, changed by the winner's, then by the objective's.

    Raises
    ------
    BadInputError
        If the kind does not exist, a parameter is unknown or out of range, or the study asks for a
        tuned winner that has not been computed.
    """
    from ecgscale.objectives.base import objectives

    config = study.objectives[name]
    tuned = _winner(name, config.tuned) if config.tuned else {}
    params = {**tuned.get("params", {}), **config.params}
    study = study.with_overrides(name, training={**tuned.get("training", {}), **config.training})
    return ResolvedObjective(
        name=name,
        kind=config.kind,
        control_of=config.control_of,
        params=objectives.params(config.kind, params).model_dump(mode="json"),
        training=study.training_for(name),
        augment=study.augment_for(name),
        data=config.data,
    )


def pretraining(study: Study, cell: Cell) -> Pretraining:
    """Return all that decides what the pretraining of a cell writes.

    Raises
    ------
    BadInputError
        If the cell is not of this study, or as `resolve_encoder` and `resolve_objective`.
    """
    from ecgscale.objectives.base import objectives

    check_cell(study, cell)
    objective = resolve_objective(study, cell.objective)
    encoder = resolve_encoder(study, cell.encoder)
    needs_labels = objectives.get(objective.kind).needs_labels
    return Pretraining(
        study=study.study,
        cell=cell,
        axes=cell_axes(study, cell),
        recipe=study.recipe,
        encoder=encoder,
        objective=objective,
        lead=study.evaluation.lead if encoder.params["in_channels"] == 1 else None,
        tasks=study.evaluation.tasks if needs_labels else (),
        code=_pretraining_code(objective, encoder.kind).digest,
    )


def evaluation(study: Study, baseline: str | None = None) -> Evaluation:
    """Return all that decides what an evaluation writes: of encoders, or of one baseline.

    Raises
    ------
    BadInputError
        If a readout or the baseline does not exist, a readout's setting is unknown or out of range,
        or a protocol asks for a depth that its readout does not read; the message names the key.
    """
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.readouts.base import check_protocol, parse_settings

    config = study.evaluation
    if baseline is None:
        for protocol in config.protocols:
            check_protocol(protocol)
        used = {protocol.readout for protocol in config.protocols}
        entry = EVALUATE
    else:
        entry = EVALUATE_BASELINE
        readout = baselines.get(baseline).readout
        used = {readout} if readout else set()
    settings = {
        name: parse_settings(name, config.readouts.get(name, {})).model_dump(mode="json")
        for name in sorted(used)
    }
    fields = {**config.model_dump(exclude={"data"}), "readouts": settings}
    return Evaluation(
        study=study.study,
        recipe=study.recipe,
        settings=EvaluationSettings(**fields),
        code=_evaluation_code(entry, settings, [baseline] if baseline else []).digest,
    )


def validate(study: Study, kept: Path | None = None) -> None:
    """Check that all a study names exists and every parameter is in range, before anything runs.

    Parameters
    ----------
    kept
        As `write_resolved` leaves it: what was right there need not be looked at again.

    Raises
    ------
    BadInputError
        Naming the first key that is wrong.
    """
    if kept is None or _unchanged(study, kept) is None:
        for _ in _contents(study):
            pass


def write_resolved(study: Study, out: Path, kept: Path) -> None:
    """Write what decides the output of every stage of a study, a small JSON file each.

    A file whose content is unchanged keeps its bytes, so DVC re-runs nothing behind it.

    Parameters
    ----------
    out
        The folder, written anew.
    kept
        A file that holds what was resolved last, for as long as the study, the package and the
        libraries are the same: to import all that a study names takes seconds.

    Raises
    ------
    BadInputError
        As `validate`.
    """
    contents = _unchanged(study, kept)
    if contents is None:
        contents = dict(_contents(study))
        modules = (name for content in contents.values() for name in content.get("modules", {}))
        if all(name.split(".")[0] == PACKAGE for name in modules):  # others are in no state
            write_whole(kept, json.dumps({"state": _state(study), "contents": contents}))
    shutil.rmtree(out, ignore_errors=True)
    for name, content in contents.items():
        path = out / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def _state(study: Study) -> str:
    """Return a digest of all that the contents follow from, but for the libraries' versions."""
    from ecgscale.data.sources import sources
    from ecgscale.data.sources.folder import Folder

    paths = {objective.tuned for objective in study.objectives.values() if objective.tuned}
    for config in study.sources.values():
        reader = sources.get(config.reader)
        if issubclass(reader, Folder) and reader.described_in:
            paths.add(config.root / reader.described_in)
    paths |= {CLAIMS, *Path(FOLDER).glob("*.yaml")}
    searched = _searched(study)
    roots = sorted(str(x.root) for x in study.sources.values() if x.root.is_dir())
    read = {str(path): file_digest(path) for path in sorted(paths) if path.is_file()}
    return digest_of([_plain(study), package_state(), read, searched, roots])


def _unchanged(study: Study, kept: Path) -> dict[str, Content] | None:
    try:
        found = json.loads(kept.read_text(encoding="utf-8"))
        contents: dict[str, Content] = found["contents"]
        used = {pair for c in contents.values() for pair in c.get("libraries", {}).items()}
        same = found["state"] == _state(study)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return contents if same and all(library_version(n) == v for n, v in used) else None


def _contents(study: Study) -> Iterator[tuple[str, Content]]:
    """Yield every file's name and content; each stage of ``dvc.yaml`` names the one it is for."""
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.readouts.base import parse_settings

    for name in study.simulate:
        yield f"cohorts/{name}", _cohort(study, name)
    book = task_book(study)
    book.check()
    for name in study.sources:
        yield f"sources/{name}", _source(study, name)
    yield "targets", _targets(study, book)
    compared = {"sources": sorted(study.sources)}
    yield "identity", _content(compared, closure("ecgscale.data.copies:check_identity"))
    grid, orders = study.grid, study.grid.orders
    for size in grid.sizes:
        settings = {"pool": study.pool, "orders": orders, "parent": study.parent_size(size)}
        yield f"subsets/n{size}", _content(settings, closure("ecgscale.data.subsets:build_subsets"))
    # What it decides is which cells there are, and nothing that one of them writes.
    yield "grid", {"sizes": sorted(grid.sizes), "replicates": sorted(grid.blocks)}
    _check_labels(study)
    for objective, encoder in product((*grid.scaled, *grid.controls), grid.encoders):
        cell = Cell(objective, encoder, 0, 0, 0)
        yield f"pretrain/{objective}/{encoder}", _pretraining(study, cell)
        yield f"evaluate/{objective}/{encoder}", _evaluation(study, cell)
    for readout, given in study.evaluation.readouts.items():
        parse_settings(readout, given)  # those too that nothing uses
    for name in grid.baselines:
        if name not in baselines.names():
            known = ", ".join(baselines.names())
            raise BadInputError(
                f"grid.baselines: no baseline is named {name!r}; there are: {known}"
            )
        yield f"baselines/{name}", _baseline(study, name)
    for name in study.tune.objectives if study.tune else ():
        yield f"tune/{name}", tuning(study, name)
    smallest_effect(study)
    yield "report", _report(study, book)


def _check_labels(study: Study) -> None:
    """Hold what learns labels apart from what does not: DVC has their stages depend on more."""
    from ecgscale.objectives.base import objectives as kinds

    for name in (*study.grid.scaled, *study.grid.controls):
        config, listed = study.objectives[name], name in study.grid.labelled
        learns = kinds.get(config.kind).needs_labels
        if name in study.grid.objectives and learns:
            raise BadInputError(
                f"grid.objectives: {name} learns the tasks' labels: name it in grid.labelled (on "
                "the records of each subset) or in grid.controls (on all training records)"
            )
        if listed and not learns:
            raise BadInputError(
                f"grid.labelled: {name} learns no labels: name it in grid.objectives"
            )
        if config.data.is_changed and name in study.grid.controls:
            raise BadInputError(
                f"grid.controls: {name} changes the records of a subset: name it in "
                f"grid.{'labelled' if learns else 'objectives'}"
            )
        if config.data.shuffled_labels and not learns:
            raise BadInputError(f"objectives.{name}.data.shuffled_labels: it learns no labels")


def _content(settings: Any, code: Closure) -> Content:
    return {"settings": _plain(settings), **code._asdict()}


def _cohort(study: Study, name: str) -> Content:
    from ecgscale.data.simulate import cohort_options
    from ecgscale.data.simulate.cohort import cohort_code

    cohort = study.simulate[name]
    settings = {**_plain(cohort), "options": cohort_options(cohort)}
    return _content(settings, cohort_code(cohort.layout))


def _source(study: Study, name: str) -> Content:
    from ecgscale.data.sources import sources
    from ecgscale.data.sources.folder import Folder

    config = study.sources[name]
    reader = sources.get(config.reader)
    # Of its tasks, a store has the columns that they read.
    options = {key: value for key, value in config.options.items() if key != "tasks"}
    source = {**_plain(config), "options": options, "namespace": study.namespace(name)}
    if issubclass(reader, Folder) and config.root.is_dir():
        made = reader(config.root, study.namespace(name), config.options)
        source |= {"columns": made.asked}
        if reader.described_in:  # it is not code of the package, and `watch` may not name it
            source |= {"description": made.description.model_dump(mode="json", exclude={"tasks"})}
    written = [table_of(reader.written_in)] if issubclass(reader, Folder) else []
    code = closure("ecgscale.data.ingest:ingest", entry_of(reader), *written)
    return _content({"source": source, "recipe": study.recipe}, code)


def _targets(study: Study, book: TaskBook) -> Content:
    evaluation = study.evaluation
    classes = [book.get(name) for name in evaluation.tasks]
    for name, task in zip(evaluation.tasks, classes, strict=True):
        if task.metadata.dataset not in book.data:
            key = f"evaluation.data.{task.metadata.dataset}"
            raise BadInputError(f"task {name} needs {key}: the source to read")
    used = {task.metadata.dataset: book.data[task.metadata.dataset] for task in classes}
    settings = {"tasks": evaluation.tasks, "data": evaluation.data | used, **_own(study, book)}
    code = closure("ecgscale.tasks.targets:write_targets", *map(entry_of, classes))
    return _content(settings, code)


def _own(study: Study, book: TaskBook) -> Content:
    """Return the declarations of a study's tasks, where there are any."""
    used = [name for name in study.evaluation.tasks if name in book.own]
    return {"declared": {name: book.own[name].declaration for name in used}} if used else {}


def _pretraining(study: Study, cell: Cell) -> Content:
    winner = study.objectives[cell.objective].tuned
    if winner and not winner.is_file():
        pretraining(untuned(study, cell.objective), cell)
        return {"waits_for": str(winner)}  # so that the search for it can run at all
    plan = pretraining(study, cell)
    return _content(_of_all_cells(plan), _pretraining_code(plan.objective, plan.encoder.kind))


def _evaluation(study: Study, cell: Cell) -> Content:
    from ecgscale.encoders.base import encoders

    plan = evaluation(study)
    settings = {**vars(plan), "axes": cell_axes(study, cell)}
    encoder = encoders.get(study.encoders[cell.encoder].kind)
    code = _evaluation_code(EVALUATE, plan.settings.readouts, (), entry_of(encoder))
    return _content(_of_all_cells(settings), code)


def _baseline(study: Study, name: str) -> Content:
    plan = evaluation(study, name)
    code = _evaluation_code(EVALUATE_BASELINE, plan.settings.readouts, [name])
    return _content(_of_all_cells(plan), code)


def tuning(study: Study, name: str) -> Content:
    """Return all that decides what the search of an objective's parameters finds.

    Raises
    ------
    BadInputError
        As `pretraining`, or if a setting of the linear readout is wrong.
    """
    from ecgscale.encoders.base import encoders
    from ecgscale.evaluation.readouts.base import parse_settings
    from ecgscale.objectives.base import objectives

    tune, config = study.search, study.evaluation
    cell = Cell(name, tune.encoder, tune.smallest, tune.order, tune.seed)
    plan = pretraining(untuned(study, name), cell)
    settings = {
        "tune": tune.model_dump(mode="json", exclude={"objectives"}),
        "pretraining": _of_all_cells(plan),
        "linear": parse_settings("linear", config.readouts.get("linear", {})),
        **config.model_dump(include={"lead", "batch_size", "minimum_positives"}),
    }
    kind, encoder = objectives.get(plan.objective.kind), encoders.get(plan.encoder.kind)
    entries = (
        "ecgscale.pipeline.tuning.search",
        entry_of(kind),
        entry_of(encoder),
        *_modules(kind),
    )
    return _content(
        settings,
        closure(
            *entries, without={**OBSERVERS, **WITHOUT_LABELS, **WITHOUT_SURROGATES, **UNSEARCHED}
        ),
    )


def _report(study: Study, book: TaskBook) -> Content:
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.metrics import metrics
    from ecgscale.evaluation.readouts.base import readouts
    from ecgscale.ledger.claims import code_of, read_claims
    from ecgscale.tasks import SUITES, tasks

    evaluation = study.evaluation
    used = {protocol.readout for protocol in evaluation.protocols}
    settings = _plain(study)
    settings["study"].pop("live_tracking_after")
    asked_for = used | {baselines.get(name).readout for name in study.grid.baselines}
    for name in evaluation.readouts.keys() - asked_for:
        settings["evaluation"]["readouts"].pop(name)
    # The page also says what a study lacks of the suites that it has a task of.
    suites = [s.declared for s in SUITES.values() if set(s.declared) & set(evaluation.tasks)]
    shown = {*evaluation.tasks, *(name for declared in suites for name in declared)}
    known = shown & {*tasks.names(), *book.own}
    named = sorted({entry_of(book.get(name)) for name in known})
    # The words and digits of the page.
    for kind in (*(metric for _, metric in metrics.items()), *map(readouts.get, sorted(used))):
        named += _modules(kind)
    claims, publications = read_claims(CLAIMS), read_literature(Path(FOLDER))
    named += map(entry_of, code_of(claims))
    entry = "ecgscale.report.stage:build_report"
    code = _evaluation_code(entry, sorted(used), study.grid.baselines, *named)
    beside = {"claims": claims, "literature": digest_of(_plain(publications))}
    searched = {"searched": read} if (read := _searched(study)) else {}
    return _content({**settings, **_own(study, book), **beside, **searched}, code)


def _searched(study: Study) -> dict[str, str]:
    """Return the digests of what searches found: no stage makes it, and the report reads it."""
    names = study.tune.objectives if study.tune else ()
    found = (path for name in names for path in Path("results/tune", name).rglob("*.json"))
    return {str(path): file_digest(path) for path in sorted(found)}


def _modules(kind: type) -> list[str]:
    """Return the modules of a registered class and its bases, for all that is said of it there."""
    names = {base.__module__ for base in kind.__mro__}
    return sorted(name for name in names if name.split(".")[0] == PACKAGE)


def _pretraining_code(objective: ResolvedObjective, encoder: str) -> Closure:
    from ecgscale.encoders.base import encoders
    from ecgscale.objectives.base import objectives

    kind = objectives.get(objective.kind)
    entries = ("ecgscale.training.stage:pretrain", entry_of(kind), entry_of(encoders.get(encoder)))
    left_out = dict(OBSERVERS)
    left_out |= {} if kind.needs_training else UNTRAINED
    left_out |= {} if kind.needs_labels else WITHOUT_LABELS
    left_out |= {} if objective.data.surrogates else WITHOUT_SURROGATES
    return closure(*entries, without=left_out)


def _evaluation_code(
    entry: str, used: Iterable[str], read_by: Iterable[str], *others: str
) -> Closure:
    """Return what is reached with some readouts and baselines; every metric is in every record."""
    from ecgscale.evaluation.baselines import baselines
    from ecgscale.evaluation.metrics import metrics
    from ecgscale.evaluation.readouts.base import readouts

    named: list[type] = [metric for _, metric in metrics.items()]
    named += [readouts.get(name) for name in used]
    named += [baselines.get(name) for name in read_by]
    return closure(entry, *map(entry_of, named), *others)


_OF_ONE_CELL = ("cell", "size", "order", "seed")
"""What tells the cells of a file apart: DVC's stages name it."""
_WITHOUT_EFFECT = ("description", "live_tracking_after")
"""Settings of a study that change no record."""


def _of_all_cells(settings: Any) -> Content:
    """Return a stage's settings without what tells its cells apart, and without what is idle."""
    plain = _plain(settings)
    plain.pop("code")  # it stands beside the settings, module by module
    for name in _OF_ONE_CELL:
        plain.pop(name, None)
        plain.get("axes", {}).pop(name, None)
    for name in _WITHOUT_EFFECT:
        plain["study"].pop(name)
    return dict(plain)


def _plain(value: Any) -> Any:
    """Return settings as JSON has them."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if is_dataclass(value):
        return {name: _plain(item) for name, item in vars(value).items()}
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def untuned(study: Study, name: str) -> Study:
    """Return the study without what a search has found for an objective."""
    config = study.objectives[name]
    objectives = {**study.objectives, name: config.model_copy(update={"tuned": None})}
    return study.model_copy(update={"objectives": objectives})


def _winner(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInputError(
            f"objective {name} asks for the tuned parameters in {path}, which does not exist: "
            f"run `python -m ecgscale tune {name}` first, or `dvc pull` where it was run"
        )
    winner: dict[str, Any] = RunRecord.read(path).details["winner"]
    return winner
