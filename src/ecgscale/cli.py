"""The command line: each command calls one public function, imported only when it is called."""

import json
import logging
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table

from ecgscale.data.recipe import Recipe
from ecgscale.data.sources.settings import SourceConfig
from ecgscale.errors import BadInputError, StageFailedError
from ecgscale.files import is_full
from ecgscale.runs import spool
from ecgscale.runs.address import Redacting, redacted, tracking_uri, trouble
from ecgscale.runs.record import finite
from ecgscale.study.file import PARAMS, Study, load_study

app = typer.Typer(
    name="ecgscale",
    help="How does the amount of pretraining data correlate with downstream ECG accuracy?",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
out = Console()
err = Console(stderr=True)

CORES = os.cpu_count() or 1
ROOT = Path()
"""Commands run in the project's root, as DVC runs them."""

STAGES = (
    *("resolve", "simulate", "ingest", "targets", "identity", "subset"),
    *("pretrain", "evaluate", "baseline", "tune"),
)
"""Commands of which a study runs many."""
CARRYING = ("repro", "report", "sync")
"""Commands that carry to the tracking store what waits for it; all others have it carried."""

StudyFile = Annotated[Path, typer.Option("--study", help="The study file.")]
Jobs = Annotated[int, typer.Option("--jobs", min=1, help="Processes.")]
CellJobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Processes; default one a GPU, or a core.")
]
CELLS = (
    "<objective>/<encoder>/n<size>-o<order>-s<seed>, or <objective>/<encoder>: all that are due."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """Run the command line: exit status 0 done, 2 bad input, 1 failure."""
    handler = RichHandler(console=err, show_time=False, show_path=False)
    handler.addFilter(Redacting())
    logging.basicConfig(
        level=os.environ.get("ECGSCALE_LOG", "WARNING"),
        format="%(message)s",
        handlers=[handler],
    )
    tracking_uri(ROOT)  # takes credentials out of the address, for all that follows
    try:
        app()
    except BadInputError as error:
        print(f"ecgscale: {redacted(str(error))}", file=sys.stderr)
        sys.exit(2)
    except StageFailedError as error:
        print(f"ecgscale: {redacted(str(error))}", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        if not is_full(error):
            raise
        file = getattr(error, "filename", None) or "a file"
        print(
            f"ecgscale: {file} cannot be written: there is no room left on the disk; nothing "
            "half-written is kept, and the same command continues when there is room",
            file=sys.stderr,
        )
        sys.exit(2)
    except KeyboardInterrupt:
        print("ecgscale: interrupted; the same command continues", file=sys.stderr)
        sys.exit(130)


@app.callback()
def _before(context: typer.Context) -> None:
    """Have what waits for the tracking store carried to it, beside the command."""
    command = context.invoked_subcommand
    if command not in CARRYING:
        spool.start_courier(ROOT, hurry=command not in STAGES)


@app.command()
def resolve(study: StudyFile = PARAMS) -> None:
    """Write what decides each stage's output: settings, code, libraries (data/resolved)."""
    from ecgscale.study.resolve import RESOLVED, write_resolved

    write_resolved(load_study(study), ROOT / "data" / "resolved", ROOT / RESOLVED)


@app.command()
def simulate(
    cohort: Annotated[str, typer.Argument(help="A cohort of the study's `simulate` section.")],
    study: StudyFile = PARAMS,
    jobs: Jobs = CORES,
) -> None:
    """Write a simulated cohort in a published layout (data/raw/<cohort>)."""
    from ecgscale.data.simulate import simulate as run

    recipe = _entry(load_study(study).simulate, cohort, "simulate", study)
    manifest = run(recipe, ROOT / "data" / "raw" / cohort, jobs)
    out.print(f"{cohort}: {manifest['records']} records of {manifest['patients']} patients")


@app.command()
def ingest(
    name: Annotated[str | None, typer.Argument(help="A source of the study.")] = None,
    source: Annotated[
        str | None, typer.Option(help="Reader, for a folder outside a study.")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="The folder to read.")] = None,
    to: Annotated[Path | None, typer.Option("--out", help="The store to write.")] = None,
    option: Annotated[list[str] | None, typer.Option(help="Reader option, KEY=VALUE.")] = None,
    fs: Annotated[float, typer.Option(help="Sampling rate of the store, Hz.")] = 100.0,
    max_quarantined: Annotated[float, typer.Option(min=0, max=1)] = 0.1,
    study: StudyFile = PARAMS,
    jobs: Jobs = CORES,
    as_json: AsJson = False,
) -> None:
    """Read ECG files into a store; say how many went in and how many were quarantined, and why."""
    from ecgscale.data.ingest import ingest as run

    if name is not None:
        settings = load_study(study)
        config = _entry(settings.sources, name, "sources", study)
        config = config.model_copy(update={"namespace": settings.namespace(name)})
        _restore_simulated(settings, name, config)
        summary = run(name, config, settings.recipe, ROOT / "data" / "store" / name, jobs)
    elif source and root and to:
        config = SourceConfig(
            reader=source,
            root=root,
            namespace=source,
            max_quarantined=max_quarantined,
            options=_options(option or []),
        )
        summary = run(source, config, Recipe(fs=fs), to, jobs)
    else:
        raise BadInputError("ingest needs a source of the study, or --source, --root and --out")
    if as_json:
        print(summary.to_json())
    else:
        _show_ingest(summary)


@app.command()
def targets(study: StudyFile = PARAMS) -> None:
    """Write the targets and splits of every downstream task (data/tasks)."""
    from ecgscale.study.tasks import task_book
    from ecgscale.tasks.targets import write_targets

    settings, data = load_study(study), ROOT / "data"
    book = task_book(settings)
    names = settings.evaluation.tasks
    for name in names:
        book.get(name)
    written = write_targets(names, book.data, data / "store", data / "tasks", book.own)
    for name, entry in written.items():
        for reason, count in entry.get("left_out", {}).items():
            out.print(f"{name}: {count} records {reason} are left out", highlight=False)


@app.command()
def identity(study: StudyFile = PARAMS) -> None:
    """Find recordings that are in a study twice, whatever their names (data/identity)."""
    from ecgscale.data.copies import check_identity

    settings = load_study(study)
    data = ROOT / "data"
    found = check_identity(
        list(settings.sources), data / "store", data / "tasks", data / "identity"
    )
    records = sum(source.records for source in found.sources.values())
    checked = sum(source.checked for source in found.sources.values())
    copies = sum(pair.copies for pair in found.pairs)
    out.print(
        f"{checked:,} of {records:,} records compared: {copies:,} pairs are one recording, "
        f"{sum(pair.records for pair in found.held_out):,} records are held-out patients' own"
    )


@app.command()
def subset(
    size: Annotated[int, typer.Option(min=1, help="Patients.")],
    study: StudyFile = PARAMS,
) -> None:
    """Write the nested, patient-level subsets of a size (data/subsets/n<size>/o<order>)."""
    from ecgscale.data.subsets import build_subsets

    settings = load_study(study)
    data = ROOT / "data"
    target = data / "subsets" / f"n{size}"
    orders, parent = settings.grid.orders, settings.parent_size(size)
    inputs = data / "store", data / "tasks"
    made = build_subsets(settings.pool, size, orders, parent, *inputs, target, data / "identity")
    for drawn in made.subsets:
        if drawn.unknown_patients:
            out.print(
                f"{drawn.name}: {drawn.unknown_patients} of the {drawn.patients} patients are "
                "recordings whose source does not say whose they are, each counted as a patient"
            )
    if made.overlap.large:
        out.print(made.overlap.sentence())


@app.command()
def pretrain(
    cell: Annotated[str, typer.Argument(help=CELLS)],
    study: StudyFile = PARAMS,
    jobs: CellJobs = None,
) -> None:
    """Pretrain a cell, or all of an objective and encoder; continues after a kill."""
    if _is_curve(cell):
        _make_curve("pretrain", cell, study, jobs)
        return
    from ecgscale.runs.cell import Cell
    from ecgscale.study.resolve import pretraining
    from ecgscale.training.stage import pretrain as run

    run(pretraining(load_study(study), Cell.parse(cell)), ROOT)


@app.command()
def evaluate(
    cell: Annotated[str | None, typer.Argument(help=CELLS)] = None,
    encoder: Annotated[
        Path | None, typer.Option(help="Any encoder directory (models/external/...) instead.")
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="With --encoder: the suite to run. Default: the study's.")
    ] = None,
    study: StudyFile = PARAMS,
    jobs: CellJobs = None,
) -> None:
    """Evaluate an encoder on downstream tasks: a cell's on the study's, or any on a suite's."""
    if cell is not None and _is_curve(cell) and not suite and not encoder:
        _make_curve("evaluate", cell, study, jobs)
        return
    from ecgscale.study.resolve import evaluation

    if (cell is None) == (encoder is None) or (suite and cell):
        raise BadInputError("evaluate needs a cell of the study, or --encoder DIR [--suite NAME]")
    settings = load_study(study)
    if cell is not None:
        from ecgscale.evaluation.stage import evaluate as run
        from ecgscale.runs.cell import Cell
        from ecgscale.study.cells import cell_axes, check_cell

        parsed = Cell.parse(cell)
        check_cell(settings, parsed)
        run(evaluation(settings), parsed, cell_axes(settings, parsed), ROOT)
    elif encoder is not None:
        from ecgscale.evaluation.suite import evaluate_suite
        from ecgscale.study.tasks import task_book
        from ecgscale.tasks.catalogue import catalogue

        book = task_book(settings)
        known = catalogue(book.data, ROOT, book.own)
        result = evaluate_suite(evaluation(settings), encoder, suite, known, ROOT)
        _show(result.table())
        out.print(result.summary(), soft_wrap=True)


@app.command("compare")
def compare_(
    first: Annotated[str, typer.Argument(help="An evaluated cell, or external/<name>.")],
    second: Annotated[str, typer.Argument(help="Another.")],
    as_json: AsJson = False,
) -> None:
    """Compare two evaluated encoders: the paired difference on every task, with its interval."""
    from ecgscale.scaling.cells import compare, difference_table, replicates_of

    one, other = (replicates_of(name, ROOT / "results") for name in (first, second))
    differences = compare(one, other)
    if as_json:
        rows = [{**vars(d), "difference": d.difference} for d in differences]
        print(json.dumps(rows, indent=1))
    else:
        out.print(difference_table(one[0], other[0], differences))


@app.command("tasks")
def tasks_(
    suite: Annotated[str | None, typer.Option(help="Only the tasks of this suite.")] = None,
    pages: Annotated[
        Path | None, typer.Option(help="Write a page per task into this folder instead.")
    ] = None,
    study: StudyFile = PARAMS,
    as_json: AsJson = False,
) -> None:
    """List every downstream task: what it is, and whether its data is here."""
    from ecgscale.study.tasks import task_book
    from ecgscale.tasks.catalogue import catalogue, write_pages
    from ecgscale.tasks.suites import suite as find_suite

    if pages is not None:
        out.print(f"{len(write_pages(pages))} pages written to {pages}")
        return
    names = find_suite(suite).declared if suite else None
    book = task_book(load_study(study))
    entries = [
        entry
        for entry in catalogue(book.data, ROOT, book.own)
        if names is None or entry.metadata.name in names
    ]
    if as_json:
        print(json.dumps([entry.to_json() for entry in entries], indent=1))
        return
    heading = ("task", "kind", "labels", "state", "train", "validation", "test")
    _show([heading, *(_catalogue_row(entry) for entry in entries)])
    for advice in dict.fromkeys(entry.advice for entry in entries if entry.advice):
        out.print(f"- {advice}", highlight=False)
    for sentence in (*book.broken, *book.absent):
        out.print(f"- {sentence}", highlight=False, soft_wrap=True)


@app.command()
def baseline(name: str, study: StudyFile = PARAMS) -> None:
    """Evaluate a baseline, which needs no encoder."""
    from ecgscale.evaluation.stage import evaluate_baseline
    from ecgscale.study.resolve import evaluation

    evaluate_baseline(evaluation(load_study(study), name), name, ROOT)


@app.command()
def tune(
    objective: Annotated[str | None, typer.Argument(help="Default: every tuned objective.")] = None,
    study: StudyFile = PARAMS,
) -> None:
    """Search hyper-parameters on validation data; the winner goes to results/tune."""
    from ecgscale.pipeline.tuning.run import tune as run

    settings = load_study(study)
    for name in [objective] if objective else settings.search.objectives:
        winner = run(settings, name, ROOT)
        out.print(f"{name}: {winner.describe()}")


@app.command("import-weights")
def import_weights(
    file: Annotated[Path, typer.Argument(help="A published checkpoint of CLEF or ECGFounder.")],
    name: Annotated[str, typer.Option(help="Name under models/external.")],
    format: Annotated[str, typer.Option(help="auto, clef or ecgfounder.")] = "auto",
) -> None:
    """Make an encoder directory of a published checkpoint (models/external/<name>)."""
    from ecgscale.encoders.published import import_weights as run

    print(run(file, name, ROOT, format).describe())


@app.command()
def sync() -> None:
    """Write to the tracking store every run that it lacks, from results/."""
    from ecgscale.runs.tracking import sync as run

    summary = run(ROOT / "results", ROOT)
    out.print(f"{len(summary.created)} runs written, {len(summary.present)} were there")
    _show_waiting()


@app.command()
def report(study: StudyFile = PARAMS) -> None:
    """Query the tracking store, compute the correlations, write reports/."""
    from ecgscale.report.stage import build_report

    summary = build_report(load_study(study), ROOT)
    out.print(summary.headline)
    _show_waiting()


@app.command()
def claims(study: StudyFile = PARAMS, as_json: AsJson = False) -> None:
    """Judge every claim of the ledger (claims.yaml) by the study at hand."""
    from ecgscale.report.ledger import claims_frame, evidence_of, said_of, summary
    from ecgscale.report.stage import judge_claims

    judged = judge_claims(load_study(study), ROOT)
    if as_json:
        print(json.dumps(finite(claims_frame(judged).to_dict("records")), indent=1))
        return
    for one in judged:
        out.print(f"[bold]{one.claim.id}[/bold]: {one.verdict}", highlight=False)
        for text in (one.claim.claim, *said_of(one), f"Evidence: {'; '.join(evidence_of(one))}"):
            out.print(f"  {text}", highlight=False, markup=False, soft_wrap=True)
    out.print(summary(judged))


@app.command()
def literature(as_json: AsJson = False) -> None:
    """List published results (literature/*.yaml), and import them into the tracking store."""
    from ecgscale.literature.publication import FOLDER, published_rows, read_literature
    from ecgscale.literature.records import write_records
    from ecgscale.runs.tracking import sync as run

    publications = read_literature(ROOT / FOLDER)
    rows = [row.columns for row in published_rows(publications)]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        heading = ("publication", "model", "task", "metric", "readout", "value", "grade")
        _show([heading, *(tuple(str(row[name]) for name in heading) for row in rows)])
    written = write_records(ROOT)
    run(ROOT / "results", ROOT)
    err.print(f"{len(publications)} publications: {written} models are in the tracking store")


@app.command()
def plan(
    study: StudyFile = PARAMS,
    slope: Annotated[
        float | None, typer.Option(help="True change per doubling; default the smallest effect.")
    ] = None,
    pilot: Annotated[
        list[Path] | None, typer.Option(help="A study that has run, or a folder of results.")
    ] = None,
    run_sd: Annotated[
        float | None, typer.Option(min=0, help="SD of a run about its replicate's line.")
    ] = None,
    slope_sd: Annotated[
        float, typer.Option(min=0, help="SD of the slope between replicates, beyond their runs.")
    ] = 0.0,
    patient_sd: Annotated[
        float, typer.Option(min=0, help="SD of the slope that test patients cause in all runs.")
    ] = 0.0,
    speed: Annotated[
        float | None, typer.Option(min=1e-9, help="Samples a second; with a pilot it is measured.")
    ] = None,
    steps: Annotated[list[int] | None, typer.Option(min=1, help="Steps to consider.")] = None,
    power: Annotated[float, typer.Option(min=0.05, max=0.999, help="To reach.")] = 0.8,
    fewest_sizes: Annotated[
        int | None, typer.Option(min=3, help="Of grids that are looked for; default at most 5.")
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="Write the study with the cheapest grid to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say what a study would find and what it would cost, before anything runs."""
    from dataclasses import asdict

    from ecgscale.pipeline import plan as planning
    from ecgscale.study.design import study_design

    settings = load_study(study)
    if pilot:
        design = study_design(settings)
        pilots = [planning.read_pilot(given, ROOT, design) for given in pilot]
    elif run_sd is not None:
        noise = {"run": run_sd, "slope": slope_sd, "patients": patient_sd}
        pilots = [planning.stated(settings, **noise, speed=speed or math.nan)]
    else:
        raise BadInputError("plan needs --pilot, a study that has run, or --run-sd")
    found = planning.plan(
        settings, pilots, slope=slope, steps=steps or (), fewest_sizes=fewest_sizes, wanted=power
    )
    if as_json:
        print(json.dumps(finite(asdict(found)), indent=1))
    else:
        for line in planning.heading(found):
            out.print(line, highlight=False, soft_wrap=True)
        _show(planning.table(found))
        for line in planning.conclusion(found):
            out.print(line, highlight=False, soft_wrap=True)
    if write:
        if found.cheapest is None:
            raise BadInputError(f"{write} is not written: no grid reaches {power:.0%} power")
        for note in planning.write_plan(study, found.cheapest, write):
            err.print(note, highlight=False, soft_wrap=True)
        err.print(f"{write} has the cheapest grid", highlight=False, soft_wrap=True)


@app.command()
def repro(
    study: Annotated[
        Path | None, typer.Option("--study", help="Make this study file the active one first.")
    ] = None,
    jobs: CellJobs = None,
    engine: Annotated[
        str, typer.Option(help="processes, on this machine, or ray: a cluster (RAY_ADDRESS).")
    ] = "processes",
    gpus_per_cell: Annotated[
        float, typer.Option(min=0, help="With ray: GPUs that a cell asks for; 0.5 shares one.")
    ] = 0.0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, and run nothing.")
    ] = False,
) -> None:
    """Run the whole study: what is out of date, several cells at once; then show the answer."""
    from ecgscale.pipeline import repro as pipeline
    from ecgscale.pipeline.cells import Engine
    from ecgscale.pipeline.repro import activate
    from ecgscale.pipeline.repro import repro as run

    activate(study or PARAMS, ROOT)
    settings = load_study(PARAMS)
    if dry_run:
        stages, tasks = pipeline.dry_run(settings, ROOT)
        for title in (*stages, *(task.title for task in tasks)):
            print(title)
        out.print(f"{len(stages)} stages of data and {len(tasks)} records are out of date")
        return
    if engine not in ("processes", "ray"):
        raise BadInputError(f"--engine {engine}: it is processes or ray")
    run(settings, ROOT, Engine(jobs, engine == "ray", gpus_per_cell))
    _show_answer(settings)
    _show_waiting()


@app.command()
def lineage(
    asked: Annotated[
        str, typer.Argument(help="A file or folder, a run's id, a cell, or (part of) a digest.")
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Show more than 12 of a kind beside each other.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Say what something was made of, up to the raw files, and all that was made of it."""
    from ecgscale.pipeline import ancestry, origins

    graph = origins.ancestry(ROOT, _run_ids())
    thing = graph.find(asked, ROOT)
    if as_json:
        print(json.dumps(ancestry.to_json(graph, thing), indent=1))
        return
    print(ancestry.line(thing))
    for title, is_up in (("made of", True), ("used by", False)):
        rows = list(ancestry.tree(graph, thing, is_up, None if everything else 12))
        print("\n".join([title, *(rows or ["└─ nothing that this project knows of"])]))


@app.command()
def ui(port: Annotated[int, typer.Option(min=1, max=65535)] = 5000) -> None:
    """Open the study's tracking store in the MLflow UI, on this machine only."""
    from ecgscale.runs.store import experiment_pages, serve

    pages = experiment_pages(ROOT)
    out.print("MLflow UI, ready in a few seconds (Ctrl-C ends it):")
    for phase, page in pages.items():
        out.print(f"{phase:<12}http://127.0.0.1:{port}/{page}", highlight=False, soft_wrap=True)
    serve(ROOT, port)


@app.command()
def doctor(study: StudyFile = PARAMS, as_json: AsJson = False) -> None:
    """Check the study file, the packages, the device and the tracking store."""
    from ecgscale.pipeline.doctor import examine

    findings = examine(load_study(study), ROOT)
    if as_json:
        print(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        for finding in findings:
            state = "ok  " if finding.ok else "FAIL"
            out.print(f"{state} {finding.what}: {finding.detail}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def _is_curve(name: str) -> bool:
    """Whether it names an objective with an encoder, and no cell of theirs."""
    return name.count("/") == 1


def _make_curve(phase: Any, curve: str, study: Path, jobs: int | None) -> None:
    from ecgscale.pipeline.cells import make_curve

    made = make_curve(phase, curve, study, ROOT, jobs)
    out.print(f"{phase} {curve}: {made} cells made, the others were up to date", highlight=False)


def _run_ids() -> dict[str, str]:
    """Return the tracked run of every record by its digest; none while the store is away."""
    from ecgscale.runs.store import StoreTroubleError
    from ecgscale.runs.tracking import run_ids

    try:
        return run_ids(ROOT)
    except StoreTroubleError as error:
        err.print(f"{error}; runs are shown without their ids", highlight=False, soft_wrap=True)
        return {}


def _entry(section: dict[str, Any], name: str, key: str, study: Path) -> Any:
    if name not in section:
        known = ", ".join(section) or "none"
        raise BadInputError(f"{study} has no {key}.{name}; there are: {known}")
    return section[name]


def _restore_simulated(study: Study, name: str, config: SourceConfig) -> None:
    """Write a simulated source's files again where DVC has restored only their manifest."""
    cohort = study.simulate.get(name)
    if cohort is not None and config.root == Path("data/raw") / name:
        from ecgscale.data.simulate import simulate as run

        run(cohort, ROOT / config.root, os.cpu_count() or 1)


def _options(pairs: list[str]) -> dict[str, str]:
    bad = [pair for pair in pairs if "=" not in pair]
    if bad:
        raise BadInputError(f"--option {bad[0]!r} must be KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _show_ingest(summary: Any) -> None:
    print(f"{summary.source}: {summary.stored:,} of {summary.records:,} records stored")
    print("\n".join(summary.found.lines()))
    reasons = (f"{reason} {count:,}" for reason, count in sorted(summary.quarantined.items()))
    print(f"quarantined {', '.join(reasons) or 'none'}")


def _catalogue_row(entry: Any) -> tuple[str, ...]:
    counts = [f"{count:,}" for count in entry.counts.values()] or [""] * 3
    metadata = entry.metadata
    return metadata.name, metadata.kind, str(len(metadata.labels)), entry.state, *counts


def _show(rows: list[tuple[str, ...]]) -> None:
    """Print a table whose first row is its heading; numbers stand on the right."""
    heading, *body = rows
    table = Table(box=None)
    for column, name in enumerate(heading):
        numeric = all(row[column][:1] in "+-\u2212.0123456789" for row in body)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in body:
        table.add_row(*row)
    out.print(table)


def _show_waiting() -> None:
    """Say what the tracking store does not have yet, if anything, and why."""
    waiting = len(spool.entries(ROOT))
    if waiting:
        store = redacted(tracking_uri(ROOT))
        said = trouble(ROOT)
        why = f", which {said}" if said else ""
        out.print(
            f"{waiting} runs wait for the tracking store {store}{why}; "
            "the next command carries them",
            highlight=False,
            soft_wrap=True,
        )


def _show_answer(study: Study) -> None:
    out.rule(f"[bold]{study.study.name}")
    out.print((ROOT / "reports" / "answer.txt").read_text(encoding="utf-8").rstrip())
    out.print(f"\nReport      {(ROOT / 'reports' / 'index.html').resolve()}")
    out.print("MLflow UI   make ui")
