"""Run one example of the gallery, cell by cell, in a process of its own.

``python run_example.py SCRIPT FOLDER`` prints a JSON list: per cell what it printed and the figures
that it drew, which lie in FOLDER as SVG. A cell that raises ends the process.
"""

import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt

plt.switch_backend("Agg")
mpl.rcParams.update({"svg.hashsalt": "ecgscale", "figure.figsize": (8, 3.4)})


def cells(text: str) -> list[tuple[str, str]]:
    """Split a script at its "# %%" lines.

    Returns
    -------
    list
        (prose, code) a cell: the comment lines that follow the mark, and the rest. The module's
        docstring belongs to the first cell's code.
    """
    parts: list[tuple[str, str]] = []
    for block in ("\n" + text).split("\n# %%"):
        lines = block.splitlines()[1:]
        prose = 0
        while prose < len(lines) and lines[prose].startswith("#"):
            prose += 1
        parts.append(
            (
                "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines[:prose]),
                "\n".join(lines[prose:]).strip("\n"),
            )
        )
    return parts


def run(script: Path, folder: Path) -> list[dict[str, Any]]:
    """Run every cell; see the module's docstring."""
    namespace: dict[str, Any] = {"__name__": "__main__", "__file__": str(script)}
    results = []
    for number, (_, code) in enumerate(cells(script.read_text(encoding="utf-8"))):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"{script.name}, cell {number}", "exec"), namespace)
        figures = []
        for figure in map(plt.figure, plt.get_fignums()):
            name = f"{script.stem}-{number}-{len(figures)}.svg"
            figure.savefig(folder / name, metadata={"Date": None}, bbox_inches="tight")
            figures.append(name)
        plt.close("all")
        results.append({"printed": printed.getvalue(), "figures": figures})
    return results


if __name__ == "__main__":
    print(json.dumps(run(Path(sys.argv[1]), Path(sys.argv[2]))))
