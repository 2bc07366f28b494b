"""The report as one self-contained HTML page and as Markdown."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from ecgscale.evaluation.endpoints import protocol_words
from ecgscale.report import prose, tables
from ecgscale.report.analysis import Analysis
from ecgscale.report.figures import Panel, multiples_figure, panels, scaling_figure, slopes_figure
from ecgscale.report.numbers import (
    count,
    if_error,
    interval,
    name_of_change,
    number,
    p_text,
    signed,
)
from ecgscale.report.provenance import provenance, run_links
from ecgscale.report.suites import missing_tasks, suites_table
from ecgscale.report.svg import Drawing
from ecgscale.scaling.claims import Claim
from ecgscale.scaling.means import MeanScores
from ecgscale.study.file import Study

if TYPE_CHECKING:
    from jinja2 import Environment

    from ecgscale.runs.tracking import TrackedRecord

QUESTION = (
    "How does the amount of pretraining data correlate with downstream ECG classification accuracy?"
)
_OF_TASKS = (
    "Slope per doubling of the pretraining patients, by task, with intervals. Tasks share test "
    "patients and are not independent."
)
_OF_READOUTS = (
    "Slope per doubling of the pretraining patients on the primary task, by readout, with "
    "intervals. All readouts share the encoders and the test patients."
)

Page = dict[str, Any]
"""What the templates show, by the name that they know it under."""


def assemble(study: Study, analysis: Analysis, runs: Sequence["TrackedRecord"]) -> Page:
    """Return everything that the page shows, in the order of its sections.

    Parameters
    ----------
    runs
        All tracked runs, which say where they come from.
    """
    design, confidence, collection = analysis.design, analysis.confidence, analysis.collection
    objectives, primary, table = design.objectives, design.primary, collection.table
    titles, several = prose.titles(design.endpoints), len(design.readouts) > 1
    readout_titles = {e.name: protocol_words(e.protocol) for e in design.readouts}
    of_tasks = [(g, found) for g, found in analysis.results if g.endpoint in design.tasks]
    of_primary = [(g, found) for g, found in of_tasks if g.endpoint == primary]
    of_others = [(g, found) for g, found in of_tasks if g.endpoint != primary]
    of_readouts = [(g, found) for g, found in analysis.results if g.endpoint in design.readouts]
    comparisons = [c for c in analysis.comparisons if c.endpoint == primary]
    shown = panels(objectives, table, [group for group, _ in of_tasks], titles)
    large = [panel for panel in shown if panel.endpoint == primary]
    means = MeanScores(design, collection)
    page: Page = {
        "study": study.study.name,
        "description": study.study.description,
        "question": QUESTION,
        # The answer
        "primary_task": titles[primary.name] + f" ({readout_titles[primary.name]})" * several,
        "cards": [_card(claim, confidence) for claim in analysis.claims],
        "sentences": prose.answer(analysis.claims, confidence),
        "notes": [
            f"{claim.group.objective}: {note}" if len(analysis.claims) > 1 else note
            for claim in analysis.claims
            for note in prose.notes(claim, confidence)
        ],
        "completeness": prose.completeness(collection),
        "incomplete": not collection.complete,
        # Accuracy against pretraining size
        "scaling": [
            scaling_figure(f"scaling-{place}" if place else "scaling", panel, confidence)
            for place, panel in enumerate(large)
        ],
        "multiples": _multiples([p for p in shown if p.endpoint != primary], confidence),
        "slopes": _slopes("slopes", objectives, of_tasks, titles, _OF_TASKS),
        "legend": list(enumerate(objectives)),
        # Correlations; the primary task under every protocol, if there are several
        "correlations": tables.correlations_table(of_primary, titles, confidence),
        "other_correlations": tables.correlations_table(
            of_others, titles, confidence, "other-correlations"
        )
        if of_others
        else None,
        "readout_slopes": _slopes(
            "readout-slopes", objectives, of_readouts, readout_titles, _OF_READOUTS
        )
        if several
        else [],
        "readouts": [
            tables.readouts_table(design, of_readouts, collection, confidence),
            tables.readout_means_table(design, means),
        ]
        if several
        else [],
        # Controls, and means over the tasks of each benchmark suite
        "comparison_sentences": [
            prose.comparison_sentence(c, confidence) for c in comparisons if c.slope
        ],
        "comparisons": tables.comparisons_table(comparisons, primary.measure, confidence),
        "levels": tables.means_table(design, means, titles),
        "collapsed": tables.collapse_table(objectives, table),
        "suites": suites_table(design, means),
        "missing_tasks": missing_tasks(study.evaluation.tasks, study.evaluation.data),
        # Laws, tasks and data
        "laws": tables.laws_table(analysis.laws, primary.measure),
        "tasks": tables.tasks_table(design.tasks, collection.labels, titles),
        "data": tables.data_table(objectives, table),
        "gaps": tables.gaps_table(collection),
        # Methods, limits, provenance
        "methods": prose.methods(design, confidence, study.evaluation.bootstrap),
        "limits": prose.limits(design, _simulated(study)),
        "provenance": [("study", study.study.name), *provenance(runs)],
        "outside": collection.outside,
        "runs": run_links(table),
    }
    return page


def drawings(page: Page) -> list[Drawing]:
    """Return all figures of a page, in its order."""
    return [*page["scaling"], *page["multiples"], *page["slopes"], *page["readout_slopes"]]


def _card(claim: Claim, confidence: float) -> dict[str, str]:
    """Return the figures of the answer to one pre-declared test."""
    found, group, measure = claim.correlation, claim.group, claim.group.endpoint.measure
    card = {"headline": prose.headline(claim)}
    if found is None:
        return card
    orders, seeds = (len(set(axis)) for axis in zip(*group.blocks, strict=True))
    digits = measure.slope_digits
    return card | {
        "rho": signed(found.rho.value, 2),
        "rho_interval": interval(found.rho, 2),
        "p": p_text(found.rho_test.p),
        "p_kind": f"{found.rho_test.draws:,} draws" if found.rho_test.draws else "exact",
        "p_holm": p_text(claim.p_holm),
        "slope": signed(found.slope.value, digits),
        "slope_of": name_of_change(measure),
        "direction": if_error(measure, "lower is better"),
        "slope_interval": interval(found.slope, digits),
        "detectable": number(found.detectable_slope, digits) + measure.suffix,
        "confidence": f"{confidence:.0%}",
        "design": f"{count(len(group.sizes), 'size')}, {count(orders, 'order')}, {count(seeds, 'seed')}",
        "covers": found.slope.covers,
    }


def _multiples(shown: Sequence[Panel], confidence: float) -> list[Drawing]:
    """Return small panels: classification in one figure, regressions in another."""
    kinds = {"tasks": True, "regressions": False}
    chosen = {
        name: [panel for panel in shown if panel.endpoint.measure.higher_is_better == higher]
        for name, higher in kinds.items()
    }
    return [multiples_figure(name, part, confidence) for name, part in chosen.items() if part]


def _slopes(
    name: str,
    objectives: Sequence[str],
    results: tables.Results,
    titles: dict[str, str],
    caption: str,
) -> list[Drawing]:
    estimates = [found for _, found in results if found is not None]
    return [slopes_figure(name, objectives, estimates, titles, caption)] if estimates else []


def _simulated(study: Study) -> list[str]:
    """Return the sources behind the study's numbers that hold a simulated cohort."""
    used = dict.fromkeys([*study.pool, *study.evaluation.data.values()])
    return [n for n in used if n in study.simulate or study.sources[n].root.name in study.simulate]


def to_html(page: Page) -> str:
    """Return the page; it loads nothing from anywhere."""
    return str(_environment().get_template("report.html.j2").render(page=page))


def to_markdown(page: Page) -> str:
    """Return the same content for reading as text; figures are linked beside it."""
    return str(_environment().get_template("report.md.j2").render(page=page))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("ecgscale.report", "templates"),
        autoescape=select_autoescape(["html.j2"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["cell"] = lambda text: str(text).replace("|", "\\|")
    return environment
