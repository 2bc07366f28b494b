"""Drawings as SVG: text stays text, colours follow the page's light or dark scheme."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape, unescape
from io import StringIO
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Layout = Literal["wide", "narrow"]

INK, MUTED, LINE = "#1b1f23", "#5c6670", "#d5d9de"
SERIES: tuple[str, ...] = ("#0063a6", "#c14a00", "#00755a", "#a3477f", "#7a5c00", "#3f5bd9")
"""Colours told apart with any colour vision (after Okabe and Ito), dark enough for text."""
MARKERS: tuple[str, ...] = ("o", "s", "^", "D", "v", "P")
SIMULATED = "Simulated data"
CELL = "cell:"
"""Before the name of a cell, in the link of an element that shows its run."""
_ANCHOR = re.compile(r"</?a\b[^>]*>")
VARIABLES: dict[str, str] = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    **{colour: f"var(--s{i})" for i, colour in enumerate(SERIES)},
}
"""Colours of the drawing to the page's custom properties."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ecgscale",
    "font.family": "sans-serif",
    **dict.fromkeys(("font.size", "axes.titlesize"), 10.5),
    **dict.fromkeys(("axes.labelcolor", "axes.titlecolor", "text.color"), INK),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    **dict.fromkeys(("figure.facecolor", "axes.facecolor", "savefig.facecolor"), "none"),
    **dict.fromkeys(("axes.spines.top", "axes.spines.right", "xtick.minor.visible"), False),
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Drawing:
    """One figure in the layouts for wide and narrow screens.

    Attributes
    ----------
    name
        Prefix of the SVG's ids.
    file
        File stem, which says so where data are simulated.
    alt
        What the figure shows, in at most two sentences.
    wide, narrow
        SVG documents with fixed colours; elements of a cell are links to `CELL` and its name.
    tips
        Id of an element to the text shown when it is pointed at.
    """

    name: str
    file: str
    caption: str
    alt: str
    wide: str
    narrow: str
    tips: dict[str, str]

    @property
    def alone(self) -> str:
        """The wide SVG as a file of its own, without links into the page."""
        return _ANCHOR.sub("", self.wide)

    def inline(self, layout: Layout, addresses: Mapping[str, str]) -> str:
        """Return the SVG to be put into the page: unique ids, the page's colours, tool tips, links.

        Parameters
        ----------
        addresses
            Name of a cell to where its run is shown; elements of other cells are no links.
        """
        body, prefix = self.wide if layout == "wide" else self.narrow, f"{self.name}-{layout}"
        for gid, tip in self.tips.items():
            body = body.replace(
                f'<g id="{gid}">', f'<g id="{gid}" class="point"><title>{escape(tip)}</title>'
            )
        body = re.sub(
            rf'xlink:href="{CELL}([^"]+)"',
            lambda found: f'href="{escape(addresses.get(unescape(found[1]), ""))}"',
            body,
        )
        body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
        body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
        body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
        body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
        for colour, variable in VARIABLES.items():
            body = body.replace(colour, variable)
        head = re.search(r'viewBox="([^"]+)"', body)
        view = head.group(1) if head else "0 0 1 1"
        label = f'role="group" aria-label="{escape(self.alt)}"'
        return re.sub(r"<svg[^>]*>", f'<svg viewBox="{view}" {label}>', body, count=1)


def drawing(
    name: str,
    caption: str,
    alt: str,
    draw: Callable[[Layout], "Figure"],
    tips: dict[str, str] | None = None,
    simulated: bool = False,
) -> Drawing:
    """Return a figure, drawn (with `blank`) once for each layout; `draw` may fill the tips.

    One of simulated data says so in the drawing, its caption and the name of its file.
    """

    def marked(layout: Layout) -> str:
        figure = draw(layout)
        if simulated:
            figure.text(0.998, 0.998, SIMULATED, ha="right", va="top", color=MUTED, fontsize=9.5)
        return _svg(figure)

    with styled():
        wide, narrow = marked("wide"), marked("narrow")
    file, said = (f"{name}-simulated", f"{SIMULATED}. ") if simulated else (name, "")
    return Drawing(name, file, said + caption, said + alt, wide, narrow, tips or {})


@contextmanager
def styled() -> Iterator[None]:
    """Draw as the report does for the length of a block."""
    import matplotlib as mpl

    with mpl.rc_context(_STYLE):
        yield


def blank(width: float, height: float) -> "Figure":
    """Return an empty figure, inches; unlike pyplot's it is not kept anywhere."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasSVG(figure)
    return figure


def style_of(series: int) -> tuple[str, str]:
    """Return colour and marker of an objective, by its place in the grid."""
    return SERIES[series % len(SERIES)], MARKERS[series % len(MARKERS)]


def _svg(figure: "Figure") -> str:
    buffer = StringIO()
    # Neither the date nor the version of matplotlib: the same records give the same bytes.
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
