"""The report as one self-contained HTML page and as Markdown."""

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from ecgscale.report.figures import Drawing
from ecgscale.report.suites import Missing
from ecgscale.report.tables import Table

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class RunLink:
    """The tracked runs of one cell; addresses are "" where the store is not a web server."""

    cell: str
    pretrain: str
    evaluate: str
    pretrain_url: str = ""
    evaluate_url: str = ""


@dataclass(frozen=True)
class Page:
    """All that the templates show.

    Attributes
    ----------
    cards
        Figures of the answer, one dictionary for each pre-declared test.
    sentences
        The answer with its numbers, one for each pre-declared test.
    notes
        What must be said with it.
    completeness
        How much of the grid there is.
    incomplete
        Whether anything is missing.
    readout_slopes, readouts
        The primary task under every protocol; empty where the study has one.
    suites, missing_tasks
        Means over the tasks of each benchmark suite, and the tasks that are not in them.
    provenance
        Name and value, of the records themselves.
    """

    study: str
    description: str
    question: str
    primary_task: str
    cards: list[dict[str, str]]
    sentences: list[str]
    notes: list[str]
    completeness: str
    incomplete: bool
    scaling: list[Drawing]
    multiples: list[Drawing]
    slopes: list[Drawing]
    legend: list[tuple[int, str]]
    correlations: Table
    other_correlations: Table | None
    levels: Table
    comparisons: Table
    comparison_sentences: list[str]
    laws: Table
    tasks: Table
    data: Table
    gaps: Table
    collapsed: Table
    methods: list[tuple[str, str]]
    limits: list[str]
    provenance: list[tuple[str, str]]
    runs: list[RunLink]
    readout_slopes: list[Drawing]
    readouts: list[Table]
    suites: Table
    missing_tasks: list[Missing]
    outside: list[str] = field(default_factory=list)

    @property
    def drawings(self) -> list[Drawing]:
        """All figures, in the order of the page."""
        return [*self.scaling, *self.multiples, *self.slopes, *self.readout_slopes]


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
