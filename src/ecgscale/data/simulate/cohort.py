"""Write a whole cohort: in parallel, the same bytes every time, never half."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from ecgscale.code import Closure, closure, entry_of
from ecgscale.data.simulate.layout import Layout, Written, clinical_table, cohort_options, layouts
from ecgscale.data.simulate.population import draw_patient
from ecgscale.data.simulate.settings import CohortSettings
from ecgscale.errors import BadInputError
from ecgscale.files import naming
from ecgscale.settings import digest_of

MANIFEST = "MANIFEST.json"
MARKER = "SIMULATED"
"""Written first: says that no patient is in here, and that the folder may be rebuilt."""

PATIENTS_PER_BATCH = 100


def simulate(recipe: CohortSettings, out: Path, jobs: int = 1) -> dict[str, Any]:
    """Simulate a cohort and write it in a published layout.

    The same recipe gives the same bytes, whatever `jobs` is. A folder that already holds the whole
    cohort is left alone; one that is incomplete, or holds another simulated cohort, is rebuilt.

    Parameters
    ----------
    out
        The cohort's folder; ``MANIFEST.json`` is written in it last.
    jobs
        Processes.

    Returns
    -------
    The manifest: recipe and its digest, counts of patients, records and files, the digest of all
    files' contents, and how many records carry each label.

    Raises
    ------
    BadInputError
        If an option of the recipe is unknown or out of range, or `out` holds something else.

    Examples
    --------
    >>> import tempfile
    >>> cohort = CohortSettings(layout="ptb-xl", patients=3)
    >>> simulate(cohort, Path(tempfile.mkdtemp()) / "cohort")["patients"]
    3
    """
    options = cohort_options(recipe)
    described = {
        "layout": recipe.layout,
        "patients": recipe.patients,
        "seed": recipe.seed,
        "options": options.model_dump(mode="json"),
    }
    marker = _marker(described)
    existing = _complete(out, marker)
    if existing is not None:
        return existing
    _clear(out)
    (out / MARKER).write_text(marker, encoding="utf-8")
    layout = layouts.get(recipe.layout)(options, _seed(recipe))
    try:
        with naming(out):
            written = _write(layout, recipe, out, jobs)
            layout.tables(out, written)
            clinical_table(out, written)
    except OSError:
        _clear(out)  # a full disk needs the room
        raise
    labels = Counter(code for codes in written.codes for code in codes)
    manifest = {
        "recipe": described,
        "recipe_digest": digest_of(described)[:16],
        "patients": recipe.patients,
        "records": len(written.rows),
        "files": len(written.files),
        "digest": digest_of(written.files)[:16],
        "labels": dict(sorted(labels.items())),
    }
    partial = out / f".{MANIFEST}.partial"
    partial.write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    os.replace(partial, out / MANIFEST)
    return manifest


def cohort_code(layout: str) -> Closure:
    """Return the code that decides what a cohort in this layout holds.

    Raises
    ------
    BadInputError
        If the layout does not exist.
    """
    return closure("ecgscale.data.simulate.cohort:simulate", entry_of(layouts.get(layout)))


def _seed(recipe: CohortSettings) -> int:
    """Return the seed of all streams: cohorts of different layouts never share a patient."""
    return int(digest_of([recipe.layout, recipe.seed])[:16], 16)


def _marker(described: dict[str, Any]) -> str:
    content = {
        "about": "Simulated by ecgscale; no patient is in this folder. It may be rebuilt.",
        "recipe_digest": digest_of(described)[:16],
        "code": cohort_code(described["layout"]).digest,
    }
    return json.dumps(content, indent=1) + "\n"


def _complete(out: Path, marker: str) -> dict[str, Any] | None:
    """Return the manifest if the folder holds all of the cohort that `marker` stands for."""
    if not (out / MANIFEST).is_file() or not (out / MARKER).is_file():
        return None
    if (out / MARKER).read_text(encoding="utf-8") != marker:
        return None
    manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    ours = {MANIFEST, MARKER}
    found = sum(name not in ours and not _hidden(name) for _, _, n in os.walk(out) for name in n)
    return manifest if manifest.get("files") == found else None


def _clear(out: Path) -> None:
    """Empty the folder if it is a simulated cohort's; hidden files (.gitignore) stay.

    Raises
    ------
    BadInputError
        If it holds anything else: real recordings lie in the same layouts.
    """
    out.mkdir(parents=True, exist_ok=True)
    content = [path for path in out.iterdir() if not _hidden(path.name)]
    if content and not (out / MARKER).is_file():
        raise BadInputError(f"{out} holds files that simulate did not write: choose another folder")
    for path in sorted(content, key=lambda path: path.name == MARKER):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _hidden(name: str) -> bool:
    return name.startswith(".")


def _write(layout: Layout, recipe: CohortSettings, out: Path, jobs: int) -> Written:
    """Write all records, batch by batch, and put the batches together in order."""
    batches = list(_batches(layout, recipe.patients))
    written = Written()
    console = Console(stderr=True)
    if jobs == 1:
        results: Iterator[Written] = (layout.write(out, *batch) for batch in batches)
        for result in track(results, "simulate", total=len(batches), console=console):
            written.extend(result)
        return written
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        results = pool.map(layout.write, [out] * len(batches), *zip(*batches, strict=True))
        for result in track(results, "simulate", total=len(batches), console=console):
            written.extend(result)
    return written


def _batches(layout: Layout, patients: int) -> Iterator[tuple[int, int, int]]:
    """Yield (first patient, last patient, number of the first record) of each batch."""
    number = 1
    for first in range(0, patients, PATIENTS_PER_BATCH):
        last = min(first + PATIENTS_PER_BATCH, patients)
        yield first, last, number
        number += _records(layout, first, last)


def _records(layout: Layout, first: int, last: int) -> int:
    return sum(
        draw_patient(index, layout.seed, layout.options).records for index in range(first, last)
    )
