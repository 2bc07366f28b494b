"""The report as one self-contained HTML page and as Markdown."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ecgscale.data.copies import IdentityManifest
from ecgscale.data.subsets import Overlap
from ecgscale.report import contamination, prose, tables, words
from ecgscale.report.analysis import Analysis
from ecgscale.report.contrasts import contrasts
from ecgscale.report.figures import multiples_figure, panels, scaling_figure
from ecgscale.report.forest import forest_figures
from ecgscale.report.further import further_tables
from ecgscale.report.opening import opening
from ecgscale.report.overlap import finite_pool, overlap_table
from ecgscale.report.provenance import provenance, run_links
from ecgscale.report.suites import missing_tasks, suites_table
from ecgscale.report.svg import Drawing
from ecgscale.report.tables import Table
from ecgscale.report.tuning import SearchTransfer, transfers_table
from ecgscale.scaling.claims import Claim
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


def assemble(
    study: Study,
    analysis: Analysis,
    runs: Sequence["TrackedRecord"],
    identity: IdentityManifest | None = None,
    overlaps: Sequence[Overlap] = (),
    otherwise: Sequence[str] = (),
    sections: Mapping[str, Any] = MappingProxyType({}),
    transfers: Sequence[SearchTransfer] = (),
) -> Page:
    """Return everything that the page shows, in the order of its sections, of all tracked runs.

    `sections` are those that modules of their own make ("literature", "claims"), each by the name
    that its template knows it under. `identity` is what the study's recordings were compared with,
    None if they were not; `overlaps` are what the subsets of each size share; `otherwise` is what
    the tracking store says that the records do not; `transfers` is what became at larger sizes of
    what searches found.
    """
    design, collection, confidence = analysis.design, analysis.collection, analysis.confidence
    primary, several = design.primary, len(design.readouts) > 1
    simulated = simulated_sources(study)
    further = {table.name: table for table in further_tables(analysis.further, primary.name)}
    links = run_links(collection.table)
    return {
        "study": study.study.name,
        "description": study.study.description,
        "question": QUESTION,
        "simulated": bool(simulated),
        "addresses": {link["cell"]: link["address"] for link in links},
        # The answer
        "opening": opening(analysis, list(study.pool), simulated),
        "primary_task": words.title_of(primary) + f" ({words.readout_of(primary)})" * several,
        "cards": [_card(claim, confidence) for claim in analysis.claims],
        "sentences": prose.answer(analysis.claims),
        "notes": [
            f"{claim.group.objective}: {note}" if len(analysis.claims) > 1 else note
            for claim in analysis.claims
            for note in prose.notes(claim)
        ],
        "completeness": prose.completeness(collection),
        "incomplete": not collection.complete,
        **_curves(analysis, simulated=bool(simulated)),
        # Tasks
        "unadjusted": prose.unadjusted(analysis),
        "tasks_tables": [
            *_present(further, "pooled"),
            tables.correlations_table(
                analysis, [e for e in design.tasks if e != primary], "other-correlations"
            ),
        ],
        "suites": suites_table(analysis),
        "missing_tasks": missing_tasks(study.evaluation.tasks, study.evaluation.data),
        # Objectives side by side
        "objectives_tables": [
            tables.correlations_table(analysis, [primary]),
            *_present(further, "gains", "shapes", "rivals", "rank-stability"),
            tables.laws_table(analysis),
        ],
        "readouts": [tables.readout_slopes_table(analysis), tables.readout_means_table(analysis)]
        if several
        else [],
        # Controls and sensitivity
        "control_sentences": [
            *prose.sensitivity(analysis.positive_controls, analysis.negative_controls),
            *(
                prose.comparison_sentence(c, confidence)
                for c in analysis.primary_comparisons
                if c.slope
            ),
        ],
        "control_tables": [
            tables.means_table(analysis),
            *_present(further, "beaten"),
            tables.comparisons_table(analysis),
            tables.components_table(analysis),
        ],
        "collapsed": tables.collapse_table(analysis),
        # Arms, model sizes, labels, sources: what a study has of them
        "contrasts": contrasts(analysis.further, primary.name),
        "axes": _present(further, "axes"),
        # Settings that a search found, at larger sizes
        "transfers": [one.sentence for one in transfers],
        "tuning": transfers_table(transfers),
        # Published evidence, claims
        **{name: sections.get(name, {}) for name in ("literature", "claims")},
        # Data
        "data_tables": [
            tables.tasks_table(analysis),
            tables.data_table(analysis),
            *_present(further, "composition"),
            overlap_table(overlaps),
        ],
        "contamination": contamination.sentence(identity),
        "copies": [contamination.copies_table(study, identity), contamination.seen_table(runs)],
        "gaps": tables.gaps_table(analysis),
        # Methods, limits, provenance
        "methods": prose.methods(design, confidence, study.evaluation.bootstrap),
        "limits": [*prose.limits(design, simulated), *finite_pool(overlaps)],
        "provenance": [("study", study.study.name), *provenance(runs)],
        "otherwise": otherwise,
        "outside": collection.outside,
        "runs": links,
        "local": any("127.0.0.1" in link["address"] for link in links),
    }


def _present(known: Mapping[str, Table], *names: str) -> list[Table]:
    return [known[name] for name in names if name in known]


def _curves(analysis: Analysis, simulated: bool) -> dict[str, Any]:
    """Return the figures, by the part of the page that shows them."""
    design, confidence = analysis.design, analysis.confidence
    shown = panels(analysis)
    others = [panel for panel in shown if panel.endpoint != design.primary]
    small = {
        "tasks": [panel for panel in others if panel.endpoint.metric.higher_is_better],
        "regressions": [panel for panel in others if not panel.endpoint.metric.higher_is_better],
    }
    main = [panel for panel in shown if panel.endpoint == design.primary]
    of_tasks = forest_figures(
        *("slopes", analysis, design.tasks, words.title_of, _OF_TASKS), simulated=simulated
    )
    of_readouts = forest_figures(
        *("readout-slopes", analysis, design.readouts, words.readout_of, _OF_READOUTS),
        simulated=simulated,
    )
    return {
        "scaling": [
            scaling_figure(f"scaling-{place}" if place else "scaling", panel, confidence, simulated)
            for place, panel in enumerate(main)
        ],
        "multiples": [
            multiples_figure(name, part, confidence, simulated)
            for name, part in small.items()
            if part
        ],
        "slopes": of_tasks,
        "readout_slopes": of_readouts if len(design.readouts) > 1 else [],
        "legend": list(enumerate(design.objectives)),
    }


def drawings(page: Page) -> list[Drawing]:
    """Return all figures of a page, in its order."""
    return [*page["scaling"], *page["slopes"], *page["multiples"], *page["readout_slopes"]]


def _card(claim: Claim, confidence: float) -> dict[str, str]:
    """Return the figures of the answer to one pre-declared test."""
    found, group, metric = claim.correlation, claim.group, claim.group.endpoint.metric
    card = {"headline": prose.headline(claim)}
    if found is None:
        return card
    digits, interval = metric.slope_digits, claim.interval
    return card | {
        "slope": words.signed(found.slope.value, digits),
        "slope_of": words.name_of_change(metric),
        "direction": words.if_error(metric, "lower is better"),
        "slope_interval": words.ends(interval.low, interval.high, digits),
        "slope_level": words.percent(interval.confidence),
        "verdict": claim.verdict,
        "p": words.p_text(found.slope.p),
        "p_holm": words.p_text(claim.p_holm),
        "rho": words.signed(found.rho.value, 2),
        "rho_interval": words.interval(found.rho, 2),
        "detectable": words.number(found.detectable_slope, digits) + metric.suffix,
        "detectable_range": f"{words.number(found.detectable_low, digits)} to "
        f"{words.number(found.detectable_high, digits)}",
        "rho_level": words.percent(confidence),
        "design": f"{words.count(len(group.sizes), 'size')}, "
        f"{words.count(len(group.blocks), 'replicate')}",
        "covers": found.slope.covers,
    }


def simulated_sources(study: Study) -> list[str]:
    """Return the sources behind the study's numbers that hold a simulated cohort."""
    used = dict.fromkeys([*study.pool, *study.evaluation.data.values()])
    return [n for n in used if n in study.simulate or study.sources[n].root.name in study.simulate]


def to_html(page: Page) -> str:
    """Return the page; it loads nothing from anywhere, and no script but its own runs."""
    script = files("ecgscale.report").joinpath("templates/report.js").read_text(encoding="utf-8")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    template = _environment().get_template("report.html.j2")
    return str(template.render(page=page, script=script, digest=digest))


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
