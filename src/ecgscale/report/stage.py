"""The report stage: query the tracking store, compute, and write everything under reports/."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

import pandas as pd

from ecgscale.data.copies import IdentityManifest, read_identity
from ecgscale.data.subsets import Overlap, SubsetManifest, read_overlaps, read_subset_manifest
from ecgscale.ledger.claims import Judged
from ecgscale.literature.records import write_records
from ecgscale.report import frames
from ecgscale.report.analysis import Analysis, analyse
from ecgscale.report.beside import Beside, beside_sections, judged_claims, read_beside
from ecgscale.report.contrasts import contrast_frames
from ecgscale.report.further import further_frames
from ecgscale.report.page import assemble, drawings, simulated_sources, to_html, to_markdown
from ecgscale.report.provenance import AWAY, with_runs
from ecgscale.report.tuning import SearchTransfer, read_transfers, transfers_frame
from ecgscale.runs.cell import subset_place
from ecgscale.runs.record import Phase, read_results
from ecgscale.runs.reported import show_report
from ecgscale.runs.tracking import TrackedRecord
from ecgscale.scaling.claims import Claim
from ecgscale.study.design import study_design
from ecgscale.study.file import Study

ANSWER = "answer.txt"
"""Below ``reports/``: what the study says, in sentences."""

PHASES: tuple[Phase, ...] = ("pretrain", "evaluate")
"""Phases whose runs the report shows."""


@dataclass(frozen=True)
class ReportSummary:
    """What the report says, in short.

    Attributes
    ----------
    headline
        A line for each of: what was asked of what data, whether pretraining helps, whether more of
        it does.
    claims
        All pre-declared tests, each with its numbers.
    complete
        Whether every cell of the grid is there.
    html, markdown
        The page in both forms.
    """

    headline: str
    claims: tuple[Claim, ...]
    complete: bool
    html: Path
    markdown: Path


def build_report(study: Study, root: Path) -> ReportSummary:
    """Compare the tracking store with the records, and write the report of a study.

    Runs that the store lacks are written to it. What store and record do not agree on is named, and
    the record's is used; a store that is away changes no number.

    Parameters
    ----------
    study
        Its settings; `study.report` was declared before any result was seen.
    root
        The project: ``results/`` is read, ``reports/`` is written.

    Raises
    ------
    BadInputError
        If a record is malformed, or two contradict each other.
    ClaimCheckError
        If a check of the claims ledger no longer runs.

    Examples
    --------
    In the folder of a project whose study has run:

    >>> from ecgscale.study.file import load_study
    >>> summary = build_report(load_study(), Path("."))  # doctest: +SKIP
    >>> summary.claims[0].verdict, summary.claims[0].correlation.slope  # doctest: +SKIP
    """
    write_records(root)
    every = {phase: read_results(root / "results", phase) for phase in get_args(Phase)}
    records = [
        record for phase in PHASES for record in every[phase] if record.study == study.study.name
    ]
    records.sort(key=lambda record: record.cell)
    beside = read_beside(root)
    runs, otherwise = with_runs(every, records, root)
    pretrain, evaluate = ([r for r in runs if r.record.phase == phase] for phase in PHASES)
    directory = root / "data" / "identity"
    identity = read_identity(directory)[1] if directory.is_dir() else None
    design = study_design(study)
    drawn = product(design.sizes, sorted({order for order, _ in design.blocks}))
    folders = [root / subset_place(size, order) for size, order in drawn]
    subsets = [read_subset_manifest(folder) for folder in folders if folder.is_dir()]
    overlaps = [o for o in read_overlaps(root / "data/subsets") if o.size in study.grid.sizes]
    out, transfers = root / "reports", read_transfers(study, root / "results")
    summary = write_report(
        *(study, pretrain, evaluate, out, identity, overlaps, subsets, otherwise, transfers, beside)
    )
    if AWAY not in otherwise:
        show_report(study.study.name, summary.headline, _slopes(summary.claims), out, root)
    return summary


def _slopes(claims: Sequence[Claim]) -> dict[str, float]:
    """Return the slopes of the pre-declared tests with their intervals, as a run shows them."""
    return {
        f"{claim.group.objective} {claim.group.encoder}/{name}": value
        for claim in claims
        if claim.correlation is not None
        for name, value in (
            ("slope", claim.correlation.slope.value),
            ("slope_low", claim.interval.low),
            ("slope_high", claim.interval.high),
            ("p_holm", claim.p_holm),
        )
        if math.isfinite(value)
    }


def write_report(
    study: Study,
    pretrain: Sequence[TrackedRecord],
    evaluate: Sequence[TrackedRecord],
    out: Path,
    identity: IdentityManifest | None = None,
    overlaps: Sequence[Overlap] = (),
    subsets: Sequence[SubsetManifest] = (),
    otherwise: Sequence[str] = (),
    transfers: Sequence[SearchTransfer] = (),
    beside: Beside | None = None,
) -> ReportSummary:
    """Write the report of given runs to `out`; the same records give the same bytes.

    `identity` is what the study's recordings were compared with, None if they were not; `overlaps`
    are what the subsets of each size share, and `subsets` their manifests; `otherwise` is what the
    tracking store says that the records do not; `transfers` is what became at larger sizes of what
    searches found; `beside` are the published evidence and the claims to judge. Run ids stand only
    there, in ``runs.csv`` and in the page's table of runs.
    """
    design = study_design(study)
    analysis = analyse(design, study.report, pretrain, evaluate, subsets)
    tables = _tables(analysis)
    simulated = simulated_sources(study)
    sections, more = beside_sections(study, analysis, beside or Beside(), simulated, tables)
    page = assemble(
        *(study, analysis, [*pretrain, *evaluate], identity, overlaps, otherwise),
        *(sections, transfers),
    )
    headline = "\n".join(part.short for part in page["opening"])
    for made_whole in ("figures", "metrics"):
        shutil.rmtree(out / made_whole, ignore_errors=True)
    for folder in (out, out / "figures", out / "plots", out / "further"):
        folder.mkdir(parents=True, exist_ok=True)
    tables["further/tuning.csv"] = transfers_frame(transfers)
    for name, frame in {**tables, **more}.items():
        frame.to_csv(out / name, index=False)
    for name, text in {
        **{f"figures/{drawing.file}.svg": drawing.alone for drawing in drawings(page)},
        **{
            f"metrics/{curve}.json": json.dumps(numbers, indent=1) + "\n"
            for curve, numbers in frames.metrics(analysis).items()
        },
        ANSWER: headline + "\n",
        "index.html": to_html(page),
        "report.md": to_markdown(page),
    }.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(text, encoding="utf-8")
    return ReportSummary(
        headline=headline,
        claims=tuple(analysis.claims),
        complete=analysis.collection.complete,
        html=out / "index.html",
        markdown=out / "report.md",
    )


def _tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """Return the study's numbers for machines, by their path below ``reports/``."""
    further = {
        **further_frames(analysis.further, analysis.laws),
        **contrast_frames(analysis.further),
    }
    return {
        "runs.csv": analysis.collection.table,
        "correlations.csv": frames.correlations_frame(analysis),
        "comparisons.csv": frames.comparisons_frame(analysis),
        "plots/scaling.csv": frames.plot_frame(analysis),
        **{f"further/{name}.csv": frame for name, frame in further.items()},
    }


def judge_claims(study: Study, root: Path) -> list[Judged]:
    """Judge the claims of a project's ledger by its study, as the report does, and write nothing.

    Raises
    ------
    BadInputError
        If the ledger, the literature or a record is wrong.
    ClaimCheckError
        If a check no longer runs.
    """
    pretrain, evaluate = (
        [
            TrackedRecord("", record.cell, {}, record)
            for record in read_results(root / "results", phase)
            if record.study == study.study.name
        ]
        for phase in PHASES
    )
    analysis = analyse(study_design(study), study.report, pretrain, evaluate)
    simulated = simulated_sources(study)
    return judged_claims(study, analysis, read_beside(root), simulated, _tables(analysis))
